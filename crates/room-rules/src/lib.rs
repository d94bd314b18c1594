//! hs-room-rules
