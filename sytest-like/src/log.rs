//! The server's log as a witness: panics and undeclared warnings fail the case that sees them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;

/// Reads a log from where it last stopped.
#[derive(Debug)]
pub(crate) struct LogWatch {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    read_to: u64,
    /// The beginning of a line that the server has not finished writing.
    partial: Vec<u8>,
    declared: Vec<String>,
}

impl LogWatch {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// Lines that contain this text are expected.
    pub(crate) fn declare(&self, text: &str) {
        self.lock().declared.push(text.to_owned());
    }

    /// The lines since the last call that no case declared: panics, errors and warnings.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut state = self.lock();
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        let mut bytes = std::mem::take(&mut state.partial);
        let read = file.seek(SeekFrom::Start(state.read_to)).and_then(|_| file.read_to_end(&mut bytes));
        state.read_to += read.unwrap_or(0) as u64;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        state.partial = bytes.split_off(whole);
        let text = String::from_utf8_lossy(&bytes);
        text.lines()
            .filter(|line| {
                let is_declared = || state.declared.iter().any(|declared| line.contains(declared.as_str()));
                is_panic(line) || (is_warning(line) && !is_declared())
            })
            .map(str::to_owned)
            .collect()
    }

    /// Everything the server wrote, for messages and for cases that look for one line.
    pub(crate) fn text(&self) -> String {
        std::fs::read(&self.path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// No case may declare a panic.
fn is_panic(line: &str) -> bool {
    line.contains("panicked at")
}

fn is_warning(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|entry| entry["level"].as_str().is_some_and(|level| matches!(level, "WARN" | "ERROR")))
}
