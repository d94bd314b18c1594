//! The cluster's settings, written anew at every start so that they follow the machine and the program.

use std::{fs, os::unix::fs::chown, path::Path};

use super::{PostgresError, cluster::Cluster, identity::Identity};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// Connections beyond those of the server: its commands, other replicas on the machine, and people with psql.
const SPARE_CONNECTIONS: u32 = 40;

/// How much memory there is to share out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    /// Bytes, of the machine or of the container we run in.
    pub bytes: u64,
}

impl MachineMemory {
    /// What the machine has, or what a container is limited to.
    pub fn detect() -> Self {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text));
        let container = fs::read_to_string("/sys/fs/cgroup/memory.max")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        let bytes = match (machine, container) {
            (Some(machine), Some(container)) => machine.min(container),
            (machine, container) => machine.or(container).unwrap_or(GIB),
        };
        Self { bytes }
    }
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Writes `postgresql.conf`, `pg_hba.conf` and `pg_ident.conf`.
pub(super) fn write(
    cluster: &Cluster,
    identity: &Identity,
    socket_dir: &Path,
    max_connections: u32,
) -> Result<(), PostgresError> {
    let settings = postgresql_conf(MachineMemory::detect(), socket_dir, max_connections);
    write_file(cluster, identity, "postgresql.conf", &settings)?;
    write_file(
        cluster,
        identity,
        "pg_hba.conf",
        "# Written by Kith at every start.\nlocal all kith peer map=kith\n",
    )?;
    write_file(cluster, identity, "pg_ident.conf", &pg_ident_conf(identity))
}

fn write_file(cluster: &Cluster, identity: &Identity, name: &str, text: &str) -> Result<(), PostgresError> {
    let path = cluster.directory().join(name);
    fs::write(&path, text).map_err(PostgresError::io(&path))?;
    if identity.is_switched() {
        chown(&path, Some(identity.user.uid), Some(identity.user.gid)).map_err(PostgresError::io(&path))?;
    }
    Ok(())
}

/// Who may be the database's user `kith`: we, and the user that the cluster belongs to.
fn pg_ident_conf(identity: &Identity) -> String {
    let mut text = "# Written by Kith at every start.\n".to_owned();
    let mut names = vec![identity.our_name.as_str(), identity.user.name.as_str()];
    names.dedup();
    for name in names {
        text.extend(["kith \"", name, "\" kith\n"]);
    }
    text
}

/// Shares and sizes follow the usual advice for a machine that runs the application beside the database: an eighth of
/// the memory for Postgres' own cache, and the operating system's cache for the rest.
fn postgresql_conf(memory: MachineMemory, socket_dir: &Path, max_connections: u32) -> String {
    let mib = |bytes: u64, least: u64, most: u64| (bytes / MIB).clamp(least, most);
    let settings = [
        ("listen_addresses", "''".to_owned()),
        ("unix_socket_directories", quote(&socket_dir.display().to_string())),
        ("unix_socket_permissions", "0700".to_owned()),
        ("max_connections", (max_connections + SPARE_CONNECTIONS).to_string()),
        ("shared_buffers", format!("{}MB", mib(memory.bytes / 8, 32, 16 * 1024))),
        ("effective_cache_size", format!("{}MB", mib(memory.bytes / 2, 128, 1024 * 1024))),
        ("maintenance_work_mem", format!("{}MB", mib(memory.bytes / 32, 32, 1024))),
        ("work_mem", format!("{}MB", mib(memory.bytes / 512, 4, 64))),
        ("wal_buffers", "16MB".to_owned()),
        ("max_wal_size", format!("{}MB", mib(memory.bytes / 8, 512, 4096))),
        ("min_wal_size", "128MB".to_owned()),
        ("checkpoint_timeout", "'15min'".to_owned()),
        ("checkpoint_completion_target", "0.9".to_owned()),
        // Solid-state disks, where reading here and there costs little more than reading in a row.
        ("random_page_cost", "1.1".to_owned()),
        // Queries are short; compiling one costs more than running it.
        ("jit", "off".to_owned()),
        ("autovacuum_naptime", "'20s'".to_owned()),
        ("autovacuum_vacuum_cost_limit", "1000".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", "''".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        // Warnings of Postgres are about statements that a client sent in vain, such as ending no transaction.
        ("log_min_messages", "error".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("lc_messages", "'C'".to_owned()),
        ("default_text_search_config", "'pg_catalog.simple'".to_owned()),
    ];
    let mut text = "# Written by Kith at every start. Settings of your own go into kith.local.conf beside this file.\n\n"
        .to_owned();
    for (name, value) in settings {
        text.extend([name, " = ", &value, "\n"]);
    }
    text.push_str("\ninclude_if_exists 'kith.local.conf'\n");
    text
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{super::identity::User, *};

    fn settings(gib: u64) -> String {
        postgresql_conf(MachineMemory { bytes: gib * GIB }, Path::new("/run/it's"), 20)
    }

    #[test]
    fn nothing_listens_on_the_network() {
        assert!(settings(4).contains("listen_addresses = ''\n"));
        assert!(settings(4).contains("unix_socket_directories = '/run/it''s'\n"));
    }

    #[test]
    fn durability_is_left_alone() {
        for name in ["synchronous_commit", "fsync", "full_page_writes"] {
            assert!(!settings(4).contains(name));
        }
    }

    #[test]
    fn cache_follows_the_memory_within_bounds() {
        assert!(settings(0).contains("shared_buffers = 32MB\n"));
        assert!(settings(8).contains("shared_buffers = 1024MB\n"));
        assert!(settings(1024).contains("shared_buffers = 16384MB\n"));
    }

    #[test]
    fn memory_is_read_from_the_kernel() {
        assert_eq!(parse_meminfo("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 * MIB));
        assert_eq!(parse_meminfo(""), None);
    }

    #[test]
    fn only_our_users_are_admitted() {
        let user = User { name: "nobody".to_owned(), uid: 65534, gid: 65534 };
        let identity = Identity { ours: 0, our_name: "root".to_owned(), user };

        let text = pg_ident_conf(&identity);

        assert!(text.ends_with("kith \"root\" kith\nkith \"nobody\" kith\n"));
    }
}
