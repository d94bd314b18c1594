//! hs-model
