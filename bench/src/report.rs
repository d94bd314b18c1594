//! The figures, as a table, as Markdown and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    load::Load,
    measure::{Cpu, Memory},
    server::Kind,
};

/// One line of the result.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) server: &'static str,
    pub(crate) scenario: &'static str,
    pub(crate) variant: String,
    /// What is counted: messages, deliveries, joins.
    pub(crate) operations: usize,
    pub(crate) errors: usize,
    pub(crate) seconds: f64,
    pub(crate) per_second: Option<f64>,
    /// Server and Postgres together.
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) postgres_cpu_ms: Option<f64>,
    pub(crate) client_cpu_ms: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) server_mb: f64,
    pub(crate) server_peak_mb: f64,
    pub(crate) postgres_mb: f64,
    pub(crate) note: String,
    /// What Kith sets out to reach.
    pub(crate) goal: &'static str,
}

impl Row {
    pub(crate) fn new(kind: Kind, scenario: &'static str, variant: impl Into<String>) -> Self {
        let variant = variant.into();
        let goal = goal(scenario, &variant);
        Self { server: kind.name(), scenario, variant, goal, ..Self::default() }
    }

    /// Fills in what a load did and what it cost.
    pub(crate) fn with_load(mut self, mut load: Load, cpu: Cpu) -> Self {
        let done = load.done();
        let each = |ms: f64| (done > 0).then(|| ms / done as f64);
        self.operations = done;
        self.errors = load.errors;
        self.seconds = load.elapsed.as_secs_f64();
        self.per_second = (done > 0).then(|| done as f64 / self.seconds);
        self.cpu_ms = each(cpu.server + cpu.postgres);
        self.postgres_cpu_ms = each(cpu.postgres);
        self.client_cpu_ms = each(cpu.client);
        self.p50_ms = load.latencies.per_mille_ms(500);
        self.p99_ms = load.latencies.per_mille_ms(990);
        if let Some(error) = load.first_error {
            self.add_note(&format!("first error: {error}"));
        }
        self
    }

    pub(crate) fn with_memory(mut self, memory: Memory) -> Self {
        self.server_mb = memory.server;
        self.server_peak_mb = memory.server_peak;
        self.postgres_mb = memory.postgres;
        self
    }

    pub(crate) fn add_note(&mut self, note: &str) {
        if !self.note.is_empty() {
            self.note += "; ";
        }
        self.note += note;
    }

    /// One line for the terminal while the run goes on.
    pub(crate) fn summary(&self) -> String {
        let head = format!("{} {}, {}", self.server, self.scenario, self.variant);
        if self.operations == 0 {
            return format!("{head}: {:.0} MB ({})", self.server_mb, self.note);
        }
        format!(
            "{head}: {} operations, {}/s, {} ms CPU each ({} Postgres), p50 {} ms, p99 {} ms, {:.0} MB{}{}",
            self.operations,
            number(self.per_second),
            number(self.cpu_ms),
            number(self.postgres_cpu_ms),
            number(self.p50_ms),
            number(self.p99_ms),
            self.server_peak_mb,
            if self.errors == 0 { String::new() } else { format!(", {} ERRORS", self.errors) },
            if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) },
        )
    }

    fn cells(&self) -> [String; 13] {
        let errors = if self.errors == 0 { String::new() } else { self.errors.to_string() };
        let operations = if self.operations == 0 { String::new() } else { self.operations.to_string() };
        [
            self.scenario.to_owned(),
            self.variant.clone(),
            operations,
            number(self.per_second),
            number(self.cpu_ms),
            number(self.postgres_cpu_ms),
            number(self.client_cpu_ms),
            number(self.p50_ms),
            number(self.p99_ms),
            format!("{:.0} / {:.0}", self.server_mb, self.server_peak_mb),
            format!("{:.0}", self.postgres_mb),
            errors,
            self.goal.to_owned(),
        ]
    }
}

const HEADINGS: [&str; 13] = [
    "scenario",
    "case",
    "operations",
    "per second",
    "CPU ms/op",
    "of it Postgres",
    "generator",
    "p50 ms",
    "p99 ms",
    "server MB now / peak",
    "Postgres MB",
    "errors",
    "goal",
];

/// The figures that Kith is held to on two cores; other rows are there to be looked at.
fn goal(scenario: &str, variant: &str) -> &'static str {
    match (scenario, variant) {
        ("send", v) if v.starts_with("many rooms") => "2,000/s, 0.6 ms",
        ("send", v) if v.starts_with("one room") => "1,500/s, 0.6 ms",
        ("send-sizes", _) => "0.6 ms, flat",
        ("fanout", v) if v.contains("rooms") => "p99 under 20 ms",
        ("fanout", v) if v.contains("burst") => "",
        ("fanout", _) => "0.2 ms, p99 under 20 ms",
        ("join", _) => "1.5 ms",
        ("rooms", _) => "4 ms",
        ("initial-sync", v) if v.starts_with("20 rooms, warm") => "5 ms",
        ("initial-sync", v) if v.starts_with("200 rooms, warm") => "100 ms",
        ("mixed", _) => "0.4 ms",
        ("memory", "idle after start") => "50 MB",
        ("memory", v) if v.contains("polls") => "150 MB with 5,000",
        ("growth", _) => "300 bytes of state storage",
        ("start", "migrated") => "2 s",
        ("media", v) if v.contains("nginx") => "",
        ("media", v) if v.starts_with("one of") => "20 MB more",
        ("media", v) if v.ends_with("downloaded") => "70 % of nginx",
        ("media", v) if v.contains("thumbnails") => "3 times Synapse",
        _ => "",
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// All rows of one server as a Markdown table, padded so that a terminal shows it well too.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let mut text = markdown(&HEADINGS, &cells);
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let _ = write!(text, "\n- {}, {}: {}", row.scenario, row.variant, row.note);
    }
    text.push('\n');
    text
}

/// The cases that both servers ran, side by side.
pub(crate) fn comparison(left: &[Row], right: &[Row]) -> String {
    let cells: Vec<_> = left
        .iter()
        .filter_map(|row| {
            let other = right.iter().find(|r| r.scenario == row.scenario && r.variant == row.variant)?;
            let ratio = match (row.cpu_ms, other.cpu_ms) {
                (Some(ours), Some(theirs)) if ours > 0.0 => format!("{:.0}", theirs / ours),
                _ => String::new(),
            };
            Some([
                row.scenario.to_owned(),
                row.variant.clone(),
                number(row.per_second),
                number(other.per_second),
                number(row.cpu_ms),
                number(other.cpu_ms),
                ratio,
                number(row.p99_ms),
                number(other.p99_ms),
                format!("{:.0}", row.server_peak_mb),
                format!("{:.0}", other.server_peak_mb),
            ])
        })
        .collect();
    let (Some(ours), Some(theirs)) = (left.first(), right.first()) else { return String::new() };
    let (ours, theirs) = (ours.server, theirs.server);
    let headings = [
        "scenario".to_owned(),
        "case".to_owned(),
        format!("{ours} per second"),
        theirs.to_owned(),
        format!("{ours} CPU ms/op"),
        theirs.to_owned(),
        "times".to_owned(),
        format!("{ours} p99 ms"),
        theirs.to_owned(),
        format!("{ours} peak MB"),
        theirs.to_owned(),
    ];
    markdown(&headings.each_ref().map(String::as_str), &cells)
}

fn markdown<const N: usize>(headings: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        longest.max(headings[column].chars().count())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        for (column, cell) in cells.iter().enumerate() {
            // The first two columns are words, the others figures.
            let _ = if column < 2 {
                write!(text, "| {cell:<width$} ", width = widths[column])
            } else {
                write!(text, "| {cell:>width$} ", width = widths[column])
            };
        }
        text.push_str("|\n");
    };
    line(*headings);
    let rules: [String; N] = std::array::from_fn(|column| {
        let dashes = "-".repeat(widths[column].saturating_sub(1));
        if column < 2 { format!("{dashes}-") } else { format!("{dashes}:") }
    });
    line(rules.each_ref().map(String::as_str));
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn costs_are_per_operation_done() {
        let mut load = Load { elapsed: Duration::from_secs(2), errors: 1, ..Load::default() };
        for _ in 0..4 {
            load.latencies.push(Duration::from_millis(3));
        }
        let cpu = Cpu { server: 6.0, postgres: 2.0, client: 1.0 };
        let row = Row::new(Kind::Kith, "join", "8 at a time").with_load(load, cpu);
        assert_eq!((row.operations, row.per_second, row.cpu_ms), (4, Some(2.0), Some(2.0)));
        assert_eq!((row.p99_ms, row.goal), (Some(3.0), "1.5 ms"));
    }

    #[test]
    fn table_columns_line_up() {
        let rows = [Row::new(Kind::Kith, "send", "many rooms"), Row::new(Kind::Kith, "join", "x")];
        let table = table(&rows);
        let widths: Vec<_> = table.lines().take(4).map(str::len).collect();
        assert_eq!(widths, [widths[0]; 4]);
    }

    #[test]
    fn comparison_has_the_cases_both_ran() {
        let ours = [Row::new(Kind::Kith, "send", "a"), Row::new(Kind::Kith, "join", "b")];
        let theirs = [Row::new(Kind::Synapse, "join", "b")];
        let table = comparison(&ours, &theirs);
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("| join"));
    }
}
