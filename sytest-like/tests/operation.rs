//! What whoever runs the server relies on: health, figures, starting, stopping and starting again.

mod lifecycle;
