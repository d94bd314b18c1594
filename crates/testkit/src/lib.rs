//! hs-testkit
