//! Signals: when to stop, and when to read the configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the server acts on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Finish what is going on and end (SIGTERM, SIGINT).
    Stop,
    /// Read again what can be read again (SIGHUP).
    Reload,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next request.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits for a request to stop, while there is nothing to reload: before the server runs, and when it is stopping
    /// already and somebody loses patience.
    pub async fn stopped(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
