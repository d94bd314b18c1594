//! sytest-like
