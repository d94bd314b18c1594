//! Kith: the release binary with its embedded Postgres.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::{Result, ensure};

use super::{Certificate, HashCost, Setup, write_file};

pub(super) fn prepare(
    setup: &Setup,
    dir: &Path,
    addr: SocketAddr,
    cost: HashCost,
    certificate: Option<&Certificate>,
) -> Result<Command> {
    ensure!(setup.kith.is_file(), "no Kith binary at {}; build it or set KITH_BIN", setup.kith.display());
    let passwords = match cost {
        HashCost::Shipped => "",
        HashCost::Cheap => "[passwords]\nhash_memory_kib = 64\nhash_iterations = 1\n",
    };
    let (name, federation) = match certificate {
        None => (addr, String::new()),
        Some(certificate) => (certificate.address, federation(certificate)),
    };
    let config = dir.join("kith.toml");
    write_file(
        &config,
        &format!(
            r#"[server]
name = "{name}"
public_base_url = "http://{addr}"
data_dir = "{data}"
[[listeners]]
bind = "{addr}"
resources = ["client", "federation", "health"]
[registration]
mode = "open"
[rooms]
default_version = "12"
[media]
max_upload_bytes = 2147483648
[rate_limits]
enabled = false
[logging]
filter = "warn"
[metrics]
enabled = false
{passwords}{federation}"#,
            data = dir.join("data").display(),
        ),
    )?;
    let mut command = Command::new(&setup.kith);
    command.arg("serve").arg("--config").arg(config).current_dir(dir);
    Ok(command)
}

/// A listener for other servers, and trust in them.
fn federation(certificate: &Certificate) -> String {
    format!(
        r#"[[listeners]]
bind = "{address}"
resources = ["federation"]
tls = {{ certificate = "{certificate}", key = "{key}" }}
[federation]
extra_ca_file = "{authority}"
allowed_private_ranges = ["127.0.0.0/8"]
"#,
        address = certificate.address,
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
        authority = certificate.authority.display(),
    )
}
