//! What cargo knows about the workspace.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output};

/// A package, ours or not.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// The folder of its manifest.
    pub(crate) directory: PathBuf,
    pub(crate) is_ours: bool,
    /// Direct dependencies, without those of tests.
    pub(crate) dependencies: Vec<String>,
}

/// The workspace and everything it depends on.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let answer = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
        let metadata: Value = serde_json::from_slice(&answer.stdout).context("cargo metadata is not JSON")?;
        let root = metadata["workspace_root"].as_str().context("no workspace root")?.into();
        let members: Vec<&str> = strings(&metadata["workspace_members"]);
        // Only what is built on this system: the lock file has the dependencies of all.
        let used = used_packages(&metadata, &members);
        let packages = array(&metadata["packages"])
            .filter(|package| package["id"].as_str().is_some_and(|id| used.contains(id)))
            .map(|package| {
                let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
                let id = text("id");
                let manifest = PathBuf::from(text("manifest_path"));
                Package {
                    name: text("name"),
                    version: text("version"),
                    license: package["license"].as_str().map(str::to_owned),
                    directory: manifest.parent().unwrap_or(Path::new("")).to_owned(),
                    is_ours: members.contains(&id.as_str()),
                    dependencies: array(&package["dependencies"])
                        .filter(|dependency| dependency["kind"].is_null())
                        .filter_map(|dependency| dependency["name"].as_str())
                        .map(str::to_owned)
                        .collect(),
                }
            })
            .collect();
        Ok(Self { root, packages })
    }

    /// Our own packages.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_ours)
    }
}

/// The packages reachable from the members through dependencies of this system.
fn used_packages<'a>(metadata: &'a Value, members: &[&'a str]) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let mut used = BTreeSet::new();
    let mut next: Vec<&str> = members.to_vec();
    while let Some(id) = next.pop() {
        if !used.insert(id) {
            continue;
        }
        let Some(node) = nodes.get(id) else { continue };
        next.extend(
            array(&node["deps"]).filter(|dep| is_for_linux(dep)).filter_map(|dep| dep["pkg"].as_str()),
        );
    }
    used
}

fn is_for_linux(dependency: &Value) -> bool {
    const ELSEWHERE: [&str; 8] = ["windows", "macos", "ios", "apple", "android", "wasm", "wasi", "redox"];
    array(&dependency["dep_kinds"]).any(|kind| match kind["target"].as_str() {
        None => true,
        Some(target) => target.contains("not(") || !ELSEWHERE.iter().any(|system| target.contains(system)),
    })
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<&str> {
    array(value).filter_map(Value::as_str).collect()
}
