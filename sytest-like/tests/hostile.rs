//! Input that no honest client sends: whatever comes in, the answer is a 4xx with a code, never a 5xx, and the server's
//! log holds no panic.
//!
//! Most of it is generated from the specification's OpenAPI. Each case tries thousands of requests and lists all that
//! went wrong, so that one run shows the whole damage.

mod ground;

mod access;
mod generated;
mod numbers;
mod sockets;
mod types;
