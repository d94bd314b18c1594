//! Finding the programs of Postgres.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{MIN_MAJOR, PostgresError};

/// Where Debian and its relatives put each major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// The directories of other systems.
const OTHER_DIRS: [&str; 4] =
    ["/usr/pgsql/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/local/bin"];

/// The programs of one installed version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// The version that made the cluster, or else the newest.
    pub(super) fn find(
        configured: Option<&Path>,
        cluster_version: Option<&str>,
        cluster: &Path,
    ) -> Result<Self, PostgresError> {
        let candidates = match configured {
            Some(dir) => vec![dir.to_owned()],
            None => candidate_dirs(Path::new(DEBIAN_ROOT)),
        };
        let installed: Vec<Self> = candidates.iter().filter_map(|dir| Self::at(dir)).collect();
        choose(&installed, cluster_version, cluster).cloned().map_err(|error| match error {
            PostgresError::NotInstalled { .. } => {
                let searched: Vec<_> = candidates.iter().map(|dir| dir.display().to_string()).collect();
                PostgresError::NotInstalled { searched: searched.join(", ") }
            }
            other => other,
        })
    }

    fn at(dir: &Path) -> Option<Self> {
        if !dir.join("initdb").exists() {
            return None;
        }
        let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        let major = parse_major(std::str::from_utf8(&output.stdout).ok()?)?;
        Some(Self { dir: dir.to_owned(), major })
    }

    pub(super) fn major(&self) -> u32 {
        self.major
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "PATH is where the system says programs are, not a setting of ours"
)]
fn candidate_dirs(debian_root: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(debian_root)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    dirs.sort();
    dirs.extend(OTHER_DIRS.iter().map(PathBuf::from));
    if let Some(path) = std::env::var_os("PATH") {
        dirs.extend(std::env::split_paths(&path).filter(|dir| dir.is_absolute()));
    }
    dirs.dedup();
    dirs
}

/// The major version in "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split(") ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn choose<'a>(
    installed: &'a [Binaries],
    cluster_version: Option<&str>,
    cluster: &Path,
) -> Result<&'a Binaries, PostgresError> {
    let supported = || installed.iter().filter(|binaries| binaries.major >= MIN_MAJOR);
    // `max_by_key` takes the last of equals, and the first is the more specific directory.
    let Some(newest) = supported().rev().max_by_key(|binaries| binaries.major) else {
        return Err(PostgresError::NotInstalled { searched: String::new() });
    };
    let Some(version) = cluster_version else { return Ok(newest) };
    supported().find(|binaries| binaries.major.to_string() == version).ok_or_else(|| {
        let mut majors: Vec<u32> = supported().map(|binaries| binaries.major).collect();
        majors.sort_unstable();
        majors.dedup();
        PostgresError::VersionMismatch {
            cluster: cluster.to_owned(),
            found: version.to_owned(),
            installed: majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(majors: &[u32]) -> Vec<Binaries> {
        majors
            .iter()
            .map(|major| Binaries { dir: PathBuf::from(format!("/{major}")), major: *major })
            .collect()
    }

    #[test]
    fn version_is_read_in_all_its_forms() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }

    #[test]
    fn new_cluster_gets_the_newest_version() {
        assert_eq!(choose(&installed(&[15, 17, 16]), None, Path::new("/c")).unwrap().major, 17);
    }

    #[test]
    fn existing_cluster_gets_the_version_that_made_it() {
        assert_eq!(choose(&installed(&[15, 17]), Some("15"), Path::new("/c")).unwrap().major, 15);
    }

    #[test]
    fn missing_version_is_named_together_with_what_there_is() {
        let error = choose(&installed(&[15, 17]), Some("16"), Path::new("/c")).unwrap_err().to_string();

        assert!(error.contains("made by Postgres 16") && error.contains("installed is 15, 17"), "{error}");
    }

    #[test]
    fn versions_that_are_too_old_do_not_count() {
        assert!(matches!(
            choose(&installed(&[13]), None, Path::new("/c")),
            Err(PostgresError::NotInstalled { .. })
        ));
    }
}
