//! Commands of Kith, run beside the server on its configuration.

use std::process::{Command, Output, Stdio};

use crate::Server;

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Whether it succeeded.
    pub is_success: bool,
    /// What it printed.
    pub output: String,
    /// What it complained of.
    pub errors: String,
}

impl Ran {
    /// It succeeded; returns what it printed.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.is_success, "{self:?}");
        self.output
    }

    /// It failed, and said this among other things.
    #[track_caller]
    pub fn expect_failure(self, complaint: &str) {
        assert!(!self.is_success && self.errors.contains(complaint), "{self:?}");
    }
}

impl Server {
    /// Runs `kith` with these arguments and the configuration of this server, which goes on running.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let (program, configuration) = self.program_and_configuration();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let run = move || {
            let mut command = Command::new(program);
            command.args(arguments).arg("--config").arg(configuration).stdin(Stdio::null()).output()
        };
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run)
            .await
            .expect("the command does not panic")
            .expect("the command can be run");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { is_success: status.success(), output: text(stdout), errors: text(stderr) }
    }
}
