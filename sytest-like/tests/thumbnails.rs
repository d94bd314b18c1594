//! Pictures made small, and what files are served as.

mod animations;
mod headers;
mod hostile;
mod pictures;
mod sizes;
