//! The output of commands.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Writes a line to the standard output. When whoever reads it has gone (`kith user list | head`), nothing is lost.
pub(super) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
