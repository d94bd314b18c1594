//! The rules of `deny.toml`, for when `cargo deny` is not at hand: licences, banned crates, duplicate versions.
//!
//! `cargo deny check` reads the same file and looks for security advisories as well.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};

use crate::workspace::{Package, Workspace};

/// The part of `deny.toml` that is checked here.
#[derive(Debug, Default)]
struct Rules {
    licenses: Vec<String>,
    banned: Vec<String>,
    /// Crates that may be there in several versions.
    duplicates: Vec<String>,
}

impl Rules {
    fn parse(text: &str) -> Result<Self> {
        let file: toml::Table = toml::from_str(text).context("deny.toml")?;
        let list = |section: &str, key: &str| -> Vec<String> {
            let values =
                file.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
            values.into_iter().flatten().filter_map(name_of).collect()
        };
        Ok(Self {
            licenses: list("licenses", "allow"),
            banned: list("bans", "deny"),
            duplicates: list("bans", "skip"),
        })
    }
}

/// An entry is a name, or a table with a name (and a reason).
fn name_of(entry: &toml::Value) -> Option<String> {
    let name = entry.as_str().or_else(|| entry.get("crate")?.as_str())?;
    Some(name.split('@').next().unwrap_or(name).to_owned())
}

pub(crate) fn check() -> Result<()> {
    let workspace = Workspace::load()?;
    let rules = Rules::parse(&fs::read_to_string(workspace.root.join("deny.toml"))?)?;
    let problems = find_problems(&workspace.packages, &rules);
    for problem in &problems {
        eprintln!("{problem}");
    }
    ensure!(problems.is_empty(), "{} dependencies break the rules of deny.toml", problems.len());
    Ok(())
}

fn find_problems(packages: &[Package], rules: &Rules) -> Vec<String> {
    let mut problems = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !package.is_ours) {
        let (name, version) = (&package.name, &package.version);
        versions.entry(name).or_default().push(version);
        if rules.banned.contains(name) {
            problems.push(format!("{name} {version} is banned"));
        }
        match &package.license {
            Some(license) if is_allowed(license, &rules.licenses) => {}
            license => problems
                .push(format!("{name} {version} has the licence {license:?}, which is not on the list")),
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !rules.duplicates.iter().any(|allowed| allowed == name) {
            problems.push(format!("{name} is there in the versions {}", versions.join(" and ")));
        }
    }
    problems
}

/// Whether an SPDX expression can be met with the allowed licences. `AND` binds more tightly than `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(tokens: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = all_of(tokens, allowed);
    while let ["OR", rest @ ..] = *tokens {
        *tokens = rest;
        met |= all_of(tokens, allowed);
    }
    met
}

fn all_of(tokens: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = single(tokens, allowed);
    while let ["AND", rest @ ..] = *tokens {
        *tokens = rest;
        met &= single(tokens, allowed);
    }
    met
}

fn single(tokens: &mut &[&str], allowed: &[String]) -> bool {
    match *tokens {
        ["(", rest @ ..] => {
            *tokens = rest;
            let met = any_of(tokens, allowed);
            *tokens = tokens.strip_prefix(&[")"]).unwrap_or(tokens);
            met
        }
        [license, "WITH", exception, rest @ ..] => {
            *tokens = rest;
            allowed.contains(&format!("{license} WITH {exception}"))
                || allowed.iter().any(|one| one == license)
        }
        [license, rest @ ..] => {
            *tokens = rest;
            allowed.iter().any(|one| one == license)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            "[licenses]\nallow = [\"MIT\", \"Apache-2.0\"]\n\
             [bans]\ndeny = [{ crate = \"openssl\", reason = \"x\" }]\nskip = [\"hashbrown@0.1\"]\n",
        )
        .unwrap()
    }

    fn package(name: &str, version: &str, license: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(license.to_owned()),
            directory: "/".into(),
            is_ours: false,
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn licence_expressions_are_understood() {
        let allowed = &rules().licenses;

        for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR GPL-3.0) AND Apache-2.0", "MIT WITH X"]
        {
            assert!(is_allowed(good, allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND (GPL-3.0 OR Y)", ""] {
            assert!(!is_allowed(bad, allowed), "{bad}");
        }
    }

    #[test]
    fn banned_and_duplicate_crates_are_named() {
        let packages = [
            package("openssl", "1", "MIT"),
            package("hashbrown", "1", "MIT"),
            package("hashbrown", "2", "MIT"),
            package("syn", "1", "MIT"),
            package("syn", "2", "MIT"),
        ];

        let problems = find_problems(&packages, &rules());

        assert_eq!(problems, ["openssl 1 is banned", "syn is there in the versions 1 and 2"]);
    }
}
