//! What the repository needs from others.
