//! hs-sync
