//! hs-rooms
