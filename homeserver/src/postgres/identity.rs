//! The user of the operating system as which Postgres runs.

use std::{fs, os::unix::fs::MetadataExt, process::Stdio};

use tokio::process::Command;

use super::{PostgresError, cluster::Cluster};

/// Users to run as when we are root, in order of preference. `nobody` exists everywhere.
const USUAL_USERS: [&str; 3] = ["kith", "postgres", "nobody"];

const PASSWD: &str = "/etc/passwd";

/// Who we are, and as whom Postgres runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Our own user id.
    pub(super) ours: u32,
    /// The name of our own user, as Postgres will see it.
    pub(super) our_name: String,
    /// The user that Postgres runs as.
    pub(super) user: User,
}

/// A user of the operating system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Identity {
    /// The owner of the cluster, or, for a new one, ourselves or a low-privilege user.
    pub(super) fn choose(cluster: &Cluster, configured: Option<&str>) -> Result<Self, PostgresError> {
        let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
        let ours = rustix::process::geteuid().as_raw();
        let owner = fs::metadata(cluster.directory()).ok().map(|metadata| metadata.uid());
        Self::from_parts(&passwd, ours, owner, configured).map_err(|error| match error {
            ChooseError::NotOwner { owner } => {
                PostgresError::NotOwner { cluster: cluster.directory().to_owned(), owner, ours }
            }
            ChooseError::NoUser(user) => PostgresError::NoUser { user },
        })
    }

    fn from_parts(
        passwd: &str,
        ours: u32,
        owner: Option<u32>,
        configured: Option<&str>,
    ) -> Result<Self, ChooseError> {
        let users: Vec<User> = passwd.lines().filter_map(parse_passwd_line).collect();
        let by_uid = |uid: u32| users.iter().find(|user| user.uid == uid).cloned();
        let unnamed = |uid: u32| User { name: uid.to_string(), uid, gid: uid };
        let us = by_uid(ours).unwrap_or_else(|| unnamed(ours));
        let user = match owner {
            Some(owner) if owner != ours && ours != 0 => return Err(ChooseError::NotOwner { owner }),
            Some(owner) if owner != 0 => by_uid(owner).unwrap_or_else(|| unnamed(owner)),
            _ if ours != 0 => us.clone(),
            _ => low_privilege_user(&users, configured)?,
        };
        Ok(Self { ours, our_name: us.name, user })
    }

    /// Whether Postgres runs as another user than we do.
    pub(super) fn is_switched(&self) -> bool {
        self.ours != self.user.uid
    }

    /// A command that runs as Postgres' user, apart from our terminal and its signals.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if self.is_switched() {
            command.uid(self.user.uid).gid(self.user.gid);
        }
        // Postgres reads a number of PG* variables, and its messages are parsed by people of all tongues in one log.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

enum ChooseError {
    NotOwner { owner: u32 },
    NoUser(String),
}

fn low_privilege_user(users: &[User], configured: Option<&str>) -> Result<User, ChooseError> {
    let named = |name: &str| users.iter().find(|user| user.name == name && user.uid != 0).cloned();
    match configured {
        Some(name) => named(name).ok_or_else(|| ChooseError::NoUser(name.to_owned())),
        None => USUAL_USERS
            .iter()
            .find_map(|name| named(name))
            .ok_or_else(|| ChooseError::NoUser(USUAL_USERS.join("`, `"))),
    }
}

fn parse_passwd_line(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { name, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n\
                          nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nann:x:1000:1000::/home/ann:/bin/sh\n";

    fn user(ours: u32, owner: Option<u32>, configured: Option<&str>) -> Option<String> {
        Identity::from_parts(PASSWD, ours, owner, configured).ok().map(|identity| identity.user.name)
    }

    #[test]
    fn ordinary_user_runs_it_itself() {
        assert_eq!(user(1000, None, None).unwrap(), "ann");
        assert_eq!(user(1000, Some(1000), Some("postgres")).unwrap(), "ann");
    }

    #[test]
    fn root_runs_it_as_someone_else() {
        assert_eq!(user(0, None, None).unwrap(), "postgres");
        assert_eq!(user(0, None, Some("nobody")).unwrap(), "nobody");
        assert_eq!(user(0, None, Some("missing")), None);
        assert_eq!(user(0, None, Some("root")), None);
    }

    #[test]
    fn existing_cluster_keeps_its_owner() {
        assert_eq!(user(0, Some(1000), None).unwrap(), "ann");
        assert_eq!(user(1000, Some(101), None), None);
    }

    #[test]
    fn user_without_a_name_is_known_by_its_number() {
        assert_eq!(user(4242, None, None).unwrap(), "4242");
    }
}
