//! CPU time and memory of the server, its Postgres and the load generator, read from `/proc`.

use std::{collections::HashMap, fs, time::Duration};

/// CPU time is counted in this unit on Linux, whatever the kernel's own tick is.
const TICK_MS: f64 = 10.0;
/// A server that uses less than this share of a core has finished what the load left behind.
const QUIET_SHARE: f64 = 0.05;
const QUIET_STEP: Duration = Duration::from_millis(200);
const QUIET_STEPS: usize = 25;

/// The two process trees under measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pids {
    pub(crate) server: u32,
    pub(crate) postmaster: u32,
}

/// CPU time used so far, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) server: f64,
    pub(crate) postgres: f64,
    pub(crate) client: f64,
}

impl Cpu {
    pub(crate) fn read(pids: Pids) -> Self {
        let table = process_table();
        let mut cpu = Self::default();
        for (&pid, process) in &table {
            // A Postgres started by the server lies in both trees and counts as Postgres.
            if is_below(&table, pid, pids.postmaster) {
                cpu.postgres += process.cpu_ms;
            } else if is_below(&table, pid, pids.server) {
                cpu.server += process.cpu_ms;
            } else if pid == std::process::id() {
                cpu.client += process.own_cpu_ms;
            }
        }
        cpu
    }

    /// Of two servers together. The load generator is counted once.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            server: self.server + other.server,
            postgres: self.postgres + other.postgres,
            client: self.client,
        }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server - earlier.server,
            postgres: self.postgres - earlier.postgres,
            client: self.client - earlier.client,
        }
    }
}

/// Waits until server and Postgres have gone quiet, so that work done after the answer is counted too.
pub(crate) async fn quiesce(pids: Pids) {
    let mut last = Cpu::read(pids);
    for _ in 0..QUIET_STEPS {
        tokio::time::sleep(QUIET_STEP).await;
        let now = Cpu::read(pids);
        let used = now.since(last);
        if used.server + used.postgres < QUIET_SHARE * QUIET_STEP.as_secs_f64() * 1000.0 {
            break;
        }
        last = now;
    }
}

/// Memory in use, in megabytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) server: f64,
    /// The most since the last reset.
    pub(crate) server_peak: f64,
    /// Proportional share, so that Postgres's shared buffers count once.
    pub(crate) postgres: f64,
}

impl Memory {
    pub(crate) fn read(pids: Pids) -> Self {
        let table = process_table();
        let mut memory = Self::default();
        for &pid in table.keys() {
            if is_below(&table, pid, pids.postmaster) {
                memory.postgres += proportional_mb(pid);
            } else if is_below(&table, pid, pids.server) {
                memory.server += status_mb(pid, "VmRSS:");
                memory.server_peak += status_mb(pid, "VmHWM:");
            }
        }
        memory
    }

    /// Lets the peak start anew. Without the right to do so the peak stays that of the server's whole life.
    pub(crate) fn reset_peak(pids: Pids) {
        let _ = fs::write(format!("/proc/{}/clear_refs", pids.server), "5");
    }
}

#[derive(Debug, PartialEq)]
struct Process {
    parent: u32,
    /// Own time and that of children already reaped; those still alive stand in the table themselves.
    cpu_ms: f64,
    own_cpu_ms: f64,
}

fn process_table() -> HashMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            Some((pid, parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
        })
        .collect()
}

/// The command name in the second field may hold spaces and brackets, so fields count from the last bracket.
fn parse_stat(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let own = number(11)? + number(12)?;
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        cpu_ms: (own + number(13)? + number(14)?) * TICK_MS,
        own_cpu_ms: own * TICK_MS,
    })
}

fn is_below(table: &HashMap<u32, Process>, mut pid: u32, root: u32) -> bool {
    while pid != root {
        match table.get(&pid) {
            Some(process) if process.parent != 0 => pid = process.parent,
            _ => return false,
        }
    }
    true
}

fn status_mb(pid: u32, field: &str) -> f64 {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), field) / 1024.0
}

fn proportional_mb(pid: u32) -> f64 {
    match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(rollup) => kilobytes(&rollup, "Pss:") / 1024.0,
        // Another user's process: leave the shared pages out rather than count them per backend.
        Err(_) => status_mb(pid, "RssAnon:"),
    }
}

fn kilobytes(text: &str, field: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_strange_name_is_read() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 0 0 10 5 3 2 20 0 1 0 100 0 0";
        assert_eq!(parse_stat(stat), Some(Process { parent: 7, cpu_ms: 200.0, own_cpu_ms: 150.0 }));
    }

    #[test]
    fn descent_follows_parents_to_the_root() {
        let process = |parent| Process { parent, cpu_ms: 0.0, own_cpu_ms: 0.0 };
        let table = HashMap::from([(1, process(0)), (10, process(1)), (11, process(10)), (20, process(1))]);
        assert!(is_below(&table, 11, 10));
        assert!(is_below(&table, 10, 10));
        assert!(!is_below(&table, 20, 10));
    }

    #[test]
    fn own_memory_is_visible() {
        assert!(status_mb(std::process::id(), "VmRSS:") > 0.5);
        assert!(proportional_mb(std::process::id()) > 0.1);
    }
}
