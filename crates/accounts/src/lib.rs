//! hs-accounts
