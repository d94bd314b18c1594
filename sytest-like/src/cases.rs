//! The cases as text: what each covers and where it does not apply, read from the doc comments under `tests/`.

use std::path::{Path, PathBuf};

/// One `#[tokio::test]` with what its doc comment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// The name as `cargo test` prints it.
    pub name: String,
    /// The `covers:` lines: `METHOD /path/{with}/{parameters}`.
    pub covers: Vec<String>,
    /// The `spec:` lines.
    pub spec: Vec<String>,
    /// The reason of a `not on synapse:` line.
    pub not_on_synapse: Option<String>,
}

/// All cases under `tests/`, by name.
pub fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut cases: Vec<Case> = files
        .iter()
        .flat_map(|file| {
            let source = std::fs::read_to_string(file).expect("a source file can be read");
            parse(&module_of(file.strip_prefix(&root).expect("the file is below the root")), &source)
        })
        .collect();
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    cases
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the tests are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `accounts/login.rs` is `accounts::login`; `main.rs` is the root.
fn module_of(file: &Path) -> String {
    let stem = file.with_extension("");
    let parts: Vec<_> = stem.iter().map(|part| part.to_string_lossy()).collect();
    if parts == ["main"] { String::new() } else { parts.join("::") }
}

fn parse(module: &str, source: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut current = Case::default();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            read_comment(&mut current, comment.trim());
        } else if line.starts_with("#[tokio::test") || line == "#[test]" {
            is_test = true;
        } else if let Some(name) = function_name(line) {
            let case = std::mem::take(&mut current);
            if std::mem::take(&mut is_test) {
                let name = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
                cases.push(Case { name, ..case });
            }
        } else if !line.starts_with("#[") {
            current = Case::default();
        }
    }
    cases
}

fn read_comment(case: &mut Case, comment: &str) {
    if let Some(operation) = comment.strip_prefix("covers:") {
        case.covers.push(operation.trim().to_owned());
    } else if let Some(section) = comment.strip_prefix("spec:") {
        case.spec.push(section.trim().to_owned());
    } else if let Some(reason) = comment.strip_prefix("not on synapse:") {
        case.not_on_synapse = Some(reason.trim().to_owned());
    }
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub(crate) ").unwrap_or(line);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_comments_become_cases() {
        let source = "
/// Not a case.
fn helper() {}

/// A login works.
/// spec: client-server-api/#login
/// covers: POST /_matrix/client/v3/login
/// not on synapse: it has no such thing
#[tokio::test]
async fn login_works() {
}
";
        let case = Case {
            name: "accounts::login::login_works".to_owned(),
            covers: vec!["POST /_matrix/client/v3/login".to_owned()],
            spec: vec!["client-server-api/#login".to_owned()],
            not_on_synapse: Some("it has no such thing".to_owned()),
        };
        assert_eq!(parse("accounts::login", source), [case]);
    }
}
