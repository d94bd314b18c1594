//! The operations of the specification's OpenAPI, and the shapes of their bodies.
//!
//! Both lists are committed in a short form that `tools/openapi.py` makes from a checkout of the specification.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::cases;

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The HTTP method.
    pub method: String,
    /// The path with `{parameters}`.
    pub path: String,
    /// `client-server` or `server-server`.
    pub api: String,
    /// Whether the operation wants an access token (or a signed request).
    pub needs_token: bool,
    /// The tag it has in the OpenAPI.
    pub section: String,
}

impl Operation {
    /// `METHOD /path`, as `covers:` lines say it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The fields of a JSON body: a type name, `["item"]`, `{"field": …}` or, for maps, `{"*": …}`.
#[derive(Clone, Debug)]
pub struct Body {
    /// The operation that takes it.
    pub operation: Operation,
    /// The shape.
    pub shape: Value,
}

/// All operations, in the order of the list.
pub fn all() -> Vec<Operation> {
    include_str!("../operations.txt").lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

fn parse(line: &str) -> Operation {
    let mut fields = line.split('\t').map(str::to_owned);
    let mut next = || fields.next().expect("a line of operations.txt has five fields");
    Operation { method: next(), path: next(), api: next(), needs_token: next() == "token", section: next() }
}

/// The shapes of all JSON bodies.
pub fn bodies() -> Vec<Body> {
    let operations: BTreeMap<String, Operation> =
        all().into_iter().map(|operation| (operation.name(), operation)).collect();
    include_str!("../bodies.jsonl")
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("bodies.jsonl is JSON");
            let text = |key: &str| row[key].as_str().expect("a row has method and path").to_owned();
            let name = format!("{} {}", text("method"), text("path"));
            Body { operation: operations[&name].clone(), shape: row["body"].clone() }
        })
        .collect()
}

/// The query parameters of the operations that have some: the operation and the names.
pub fn queries() -> Vec<(Operation, Vec<String>)> {
    let operations: BTreeMap<String, Operation> =
        all().into_iter().map(|operation| (operation.name(), operation)).collect();
    include_str!("../queries.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut cells = line.split('\t');
            let mut next = || cells.next().expect("a line of queries.txt has three fields");
            let operation = operations[&format!("{} {}", next(), next())].clone();
            let names =
                next().split(' ').filter_map(|name| Some(name.split_once(':')?.0.to_owned())).collect();
            (operation, names)
        })
        .collect()
}

/// How many cases touch each operation.
pub fn case_counts() -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for case in cases::all() {
        for operation in case.covers {
            *counts.entry(operation).or_default() += 1;
        }
    }
    counts
}

/// Whether an operation answers, as `COVERAGE.md` says it.
pub type Built = BTreeMap<String, bool>;

/// The text of `COVERAGE.md`.
pub fn coverage(built: &Built) -> String {
    let counts = case_counts();
    let operations = all();
    let mut out = String::from(
        "# Coverage\n\n\
         Made by `cargo run -p sytest-like --bin coverage`; do not edit. For every operation in the specification's\n\
         OpenAPI: whether a running Kith has it, and how many cases of this suite touch it.\n\n",
    );
    let count_of = |operation: &Operation| counts.get(&operation.name()).copied().unwrap_or(0);
    let is_built = |operation: &Operation| built.get(&operation.name()).copied().unwrap_or(false);
    for api in ["client-server", "server-server"] {
        let own: Vec<_> = operations.iter().filter(|operation| operation.api == api).collect();
        let have = own.iter().filter(|operation| is_built(operation)).count();
        let tested = own.iter().filter(|operation| count_of(operation) > 0).count();
        writeln!(out, "## {api}: {have} of {} built, {tested} with cases\n", own.len())
            .expect("a string takes all");
        out.push_str("| Operation | Section | Built | Cases |\n|---|---|---|---:|\n");
        for operation in own {
            let mark = if is_built(operation) { "yes" } else { "no" };
            let (name, section) = (operation.name(), &operation.section);
            writeln!(out, "| `{name}` | {section} | {mark} | {} |", count_of(operation))
                .expect("a string takes all");
        }
        out.push('\n');
    }
    writeln!(out, "{} cases in all.", cases::all().len()).expect("a string takes all");
    out
}

/// Reads the `Built` column back out of a `COVERAGE.md`.
pub fn built_in(coverage: &str) -> Built {
    coverage
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            Some((name, cells.nth(1)? == "yes"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_covers_operations_that_exist() {
        let known: Vec<String> = all().iter().map(Operation::name).collect();
        for case in cases::all() {
            for operation in &case.covers {
                let is_ours = operation.contains(" /_synapse/")
                    || operation.contains(" /_kith/")
                    || operation.contains(" /health/");
                assert!(is_ours || known.contains(operation), "{}: no operation {operation}", case.name);
            }
        }
    }

    #[test]
    fn every_case_says_where_the_specification_has_it() {
        for case in cases::all() {
            assert!(!case.spec.is_empty(), "{}: no `spec:` line", case.name);
        }
    }

    #[test]
    fn coverage_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
        let committed = std::fs::read_to_string(file).expect("COVERAGE.md is committed");
        assert_eq!(
            committed,
            coverage(&built_in(&committed)),
            "run `cargo run -p sytest-like --bin coverage -- --counts`"
        );
    }
}
