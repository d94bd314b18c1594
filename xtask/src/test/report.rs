//! Counts what passed and what failed.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Result, ensure};

#[derive(Debug, Default)]
pub(super) struct Report {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

impl Report {
    /// Something that either holds or does not, counted as one.
    pub(super) fn step(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let started_at = Instant::now();
        println!("== {name}");
        let outcome = check();
        let seconds = started_at.elapsed().as_secs();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {name} ({seconds} s)");
            }
            Err(error) => {
                self.fail(1, name);
                println!("FAIL {name} ({seconds} s): {error:#}");
            }
        }
    }

    /// A program made of tests, which counts for itself.
    pub(super) fn tests(&mut self, name: &str, command: &mut Command) {
        let started_at = Instant::now();
        let mut counts = Counts::default();
        let mut transcript = Vec::new();
        let ended_well = match command.stdout(Stdio::piped()).spawn() {
            Ok(mut child) => {
                for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
                    let Ok(line) = line else { break };
                    counts.note(&line);
                    transcript.push(line);
                }
                child.wait().is_ok_and(|status| status.success())
            }
            Err(error) => {
                transcript.push(error.to_string());
                false
            }
        };
        self.passed += counts.passed;
        let seconds = started_at.elapsed().as_secs();
        if ended_well {
            println!("ok   {name}: {} tests ({seconds} s)", counts.passed);
            return;
        }
        let mut output = std::io::stdout().lock();
        for line in transcript.iter().filter(|line| !line.ends_with("... ok")) {
            // Whoever reads this has gone; the exit code still says what happened.
            let _ = writeln!(output, "{line}");
        }
        drop(output);
        println!("FAIL {name}: {} of {} tests ({seconds} s)", counts.failed, counts.passed + counts.failed);
        // A program that dies before it has counted has failed too.
        self.fail(counts.failed.max(1), name);
    }

    fn fail(&mut self, count: u64, name: &str) {
        self.failed += count;
        self.failures.push(name.to_owned());
    }

    /// The last line says how it went.
    pub(super) fn finish(&self) -> Result<()> {
        if !self.failures.is_empty() {
            println!("failed: {}", self.failures.join(", "));
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        ensure!(self.failed == 0, "not everything passed");
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    /// Reads "test result: FAILED. 12 passed; 1 failed; ...".
    fn note(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split_whitespace().collect();
        let before = |word: &str| {
            let at = words.iter().position(|one| one.trim_end_matches(';') == word)?;
            words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
        };
        self.passed += before("passed").unwrap_or(0);
        self.failed += before("failed").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let mut counts = Counts::default();

        counts.note("running 3 tests");
        counts.note("test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.note("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");

        assert_eq!(counts, Counts { passed: 15, failed: 1 });
    }

    #[test]
    fn program_that_dies_uncounted_is_a_failure() {
        let mut report = Report::default();

        report.tests("a", &mut Command::new("false"));
        report.tests("b", &mut Command::new("/nonexistent/program"));

        assert_eq!(report.failed, 2);
        assert!(report.finish().is_err());
    }
}
