//! The `kith` program.

use std::process::ExitCode;

/// Gives memory back after a burst, where the allocator of the C library keeps several times of what is in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    homeserver::cli::main()
}
