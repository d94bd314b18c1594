//! State resolution: scenarios with their expected outcome, and what must hold for every room.

mod graph;
mod properties;
mod scenario;

use scenario::Scenario;

/// Runs every file under `tests/fixtures/state_res`.
#[test]
fn scenarios_resolve_as_expected() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/state_res");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario: Scenario = serde_json::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        scenario.check(&path.display().to_string());
        count += 1;
    }
    assert!(count >= 12, "only {count} scenarios found");
}
