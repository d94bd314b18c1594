//! The rules of the house that no lint knows: floors between the crates, and the length of files and functions.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use crate::workspace::Workspace;

/// Each crate with its floor. A crate uses only lower ones; crates on one floor never use each other.
const FLOORS: [(&str, u32); 15] = [
    ("hs-model", 1),
    ("hs-room-rules", 2),
    ("hs-storage", 2),
    ("hs-http", 2),
    ("hs-outbound", 2),
    ("hs-rooms", 3),
    ("hs-accounts", 3),
    ("hs-ephemeral", 3),
    ("hs-push", 3),
    ("hs-e2ee", 3),
    ("hs-search", 3),
    ("media-repo", 3),
    ("hs-sync", 4),
    ("federation", 4),
    ("homeserver", 5),
];

/// Crates beside the house. The first may be used by tests of the others; the rest use none of them.
const ASIDE: [&str; 4] = ["hs-testkit", "sytest-like", "bench", "xtask"];

const LONG_FILE: usize = 500;
const TOO_LONG_FILE: usize = 700;
const TOO_LONG_FUNCTION: usize = 120;

pub(crate) fn check() -> Result<()> {
    let workspace = Workspace::load()?;
    let mut problems = check_floors(&workspace);
    for package in workspace.ours() {
        check_files(&package.directory, &workspace.root, &mut problems)?;
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    ensure!(problems.is_empty(), "{} things are not tidy", problems.len());
    Ok(())
}

fn check_floors(workspace: &Workspace) -> Vec<String> {
    let floor =
        |name: &str| FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor);
    let mut problems = Vec::new();
    for package in workspace.ours() {
        let name = package.name.as_str();
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| floor(dependency).is_some() || ASIDE.contains(&dependency.as_str()));
        for dependency in ours {
            let is_lower = match (floor(name), floor(dependency)) {
                (Some(floor), Some(lower)) => lower < floor,
                // The test kit stands beside storage and below everything that tests with it.
                (None, Some(_)) => name == "hs-testkit",
                (_, None) => false,
            };
            if !is_lower {
                problems.push(format!(
                    "{name} must not depend on {dependency}: see the floors in ARCHITECTURE.md"
                ));
            }
        }
        if floor(name).is_none() && !ASIDE.contains(&name) {
            problems
                .push(format!("{name} has no floor: name it in xtask/src/tidy.rs and in ARCHITECTURE.md"));
        }
    }
    problems
}

fn check_files(directory: &Path, root: &Path, problems: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // Other packages have their own turn.
            if name != "target" && !name.starts_with('.') && !path.join("Cargo.toml").exists() {
                check_files(&path, root, problems)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            check_file(&shown, &fs::read_to_string(&path)?, problems);
        }
    }
    Ok(())
}

fn check_file(shown: &str, text: &str, problems: &mut Vec<String>) {
    let length = text.lines().count();
    if length > TOO_LONG_FILE {
        problems.push(format!("{shown} has {length} lines, more than {TOO_LONG_FILE}: split it"));
    } else if length > LONG_FILE {
        eprintln!("note: {shown} has {length} lines; past {LONG_FILE}, think of splitting it");
    }
    if !text.starts_with("//!") && (shown.ends_with("/lib.rs") || shown.ends_with("/main.rs")) {
        problems.push(format!("{shown} does not say what it is for: begin with `//!`"));
    }
    for (line, function, length) in functions(text) {
        if length > TOO_LONG_FUNCTION {
            problems.push(format!(
                "{shown}:{line}: `{function}` has {length} lines, more than {TOO_LONG_FUNCTION}: split it"
            ));
        }
    }
}

/// The functions of a file with their line and length. The code is formatted, so a function ends at the first closing
/// brace with the indentation of its beginning.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indentation = line.len() - line.trim_start().len();
        let end = lines[index..].iter().position(|later| {
            later.len() > indentation
                && later[indentation..].starts_with('}')
                && later[..indentation].trim().is_empty()
        });
        if let Some(length) = end {
            found.push((index + 1, name, length + 1));
        }
    }
    found
}

/// The name of a function with a body that begins on this line.
fn function_name(line: &str) -> Option<&str> {
    const WORDS: [&str; 8] =
        ["pub", "pub(crate)", "pub(super)", "async", "const", "default", "extern", "move"];
    let mut rest = line.trim_start();
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            let end = after.find(['(', '<'])?;
            let has_body = !line.ends_with(';') && !line.ends_with('}');
            return has_body.then_some(&after[..end]);
        }
        if !WORDS.contains(&word) {
            return None;
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let text = "impl A {\n    pub(crate) async fn one(\n        a: u8,\n    ) {\n        if a {\n        }\n    }\n\n    \
                    fn two() {}\n}\n\nfn three<T>() {\n    x();\n}\n";

        assert_eq!(functions(text), [(2, "one", 6), (12, "three", 3)]);
    }

    #[test]
    fn long_files_and_functions_are_named() {
        let mut problems = Vec::new();

        check_file("a.rs", &format!("fn f() {{\n{}}}\n", "    x();\n".repeat(130)), &mut problems);
        check_file("b.rs", &"\n".repeat(701), &mut problems);

        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
