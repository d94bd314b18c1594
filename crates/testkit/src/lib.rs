//! For tests only: databases that exist as long as a test, and a server's core on top of one.
//!
//! Start with [`TestDb`] and [`TestServer`].

pub mod db;
pub mod server;

pub use db::TestDb;
pub use server::TestServer;
