//! hs-http
