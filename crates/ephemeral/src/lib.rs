//! hs-ephemeral
