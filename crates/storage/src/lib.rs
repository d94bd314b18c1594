//! hs-storage
