//! Figures about this process, under the names that Prometheus' own clients use.

use std::fs;

use metrics::{describe_gauge, gauge};

use super::Metrics;

impl Metrics {
    /// Adds memory, processor time and open files of this process.
    #[must_use]
    pub fn with_process_figures(self) -> Self {
        self.on_scrape(record);
        self
    }
}

pub(super) fn describe() {
    describe_gauge!("process_resident_memory_bytes", "Memory of this process that is in RAM.");
    describe_gauge!("process_cpu_seconds_total", "Processor time that this process has used.");
    describe_gauge!("process_open_fds", "Open files and connections of this process.");
    describe_gauge!("process_threads", "Threads of this process.");
}

fn record() {
    describe();
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let page_size = rustix::param::page_size() as f64;
        gauge!("process_cpu_seconds_total").set(stat.cpu_ticks as f64 / ticks_per_second);
        gauge!("process_resident_memory_bytes").set(stat.resident_pages as f64 * page_size);
        gauge!("process_threads").set(stat.threads as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(open.count() as f64);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    /// The name of the program stands in parentheses and may hold anything, so fields are counted from behind it.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, threads: field(20)?, resident_pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let text = "1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0 9 0 100 1000 250 0";

        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 42, threads: 9, resident_pages: 250 }));
    }

    #[test]
    fn kernel_is_understood() {
        let text = fs::read_to_string("/proc/self/stat").unwrap();

        assert!(Stat::parse(&text).unwrap().resident_pages > 0);
    }
}
