//! Synapse from PyPI, in a virtual environment that is made when it is missing.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{Certificate, HashCost, Setup, postgres::Cluster, run, write_file};

pub(super) fn prepare(
    setup: &Setup,
    dir: &Path,
    addr: SocketAddr,
    cost: HashCost,
    cluster: &Cluster,
    certificate: Option<&Certificate>,
) -> Result<Command> {
    ensure_installed(&setup.synapse_venv)?;
    let bcrypt_rounds = match cost {
        HashCost::Shipped => 12,
        HashCost::Cheap => 4,
    };
    let config = dir.join("homeserver.yaml");
    let socket_dir = cluster.postmaster()?.socket_dir;
    let (name, listener, trust) = match certificate {
        None => (addr, String::new(), String::new()),
        Some(certificate) => (certificate.address, federation_listener(certificate), trust(certificate)),
    };
    write_file(
        &config,
        &format!(
            r"server_name: '{name}'
public_baseurl: 'http://{addr}/'
pid_file: '{dir}/synapse.pid'
listeners:
  - port: {port}
    bind_addresses: ['{ip}']
    type: http
    resources: [{{names: [client, federation]}}]
{listener}{trust}database:
  name: psycopg2
  args: {{user: bench, dbname: bench, host: '{socket_dir}', cp_min: 5, cp_max: 10}}
log_config: '{dir}/log.yaml'
media_store_path: '{dir}/media'
max_upload_size: 2G
signing_key_path: '{dir}/signing.key'
macaroon_secret_key: bench
report_stats: false
suppress_key_server_warning: true
trusted_key_servers: []
enable_registration: true
enable_registration_without_verification: true
bcrypt_rounds: {bcrypt_rounds}
default_room_version: '12'
{limits}",
            ip = addr.ip(),
            port = addr.port(),
            dir = dir.display(),
            limits = unlimited(),
        ),
    )?;
    write_file(
        &dir.join("log.yaml"),
        "version: 1\nhandlers: {err: {class: logging.StreamHandler}}\nroot: {level: WARNING, handlers: [err]}\n",
    )?;
    let python = setup.synapse_venv.join("bin/python");
    run(synapse(&python, dir).arg("-c").arg(&config).arg("--generate-keys"))?;
    let mut command = synapse(&python, dir);
    command.arg("-c").arg(config);
    Ok(command)
}

fn synapse(python: &Path, dir: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "synapse.app.homeserver"]).current_dir(dir);
    command
}

/// A listener for other servers.
fn federation_listener(certificate: &Certificate) -> String {
    format!(
        r"  - port: {port}
    bind_addresses: ['{ip}']
    type: http
    tls: true
    resources: [{{names: [federation]}}]
",
        ip = certificate.address.ip(),
        port = certificate.address.port(),
    )
}

/// Trust in other servers, which are on this machine.
fn trust(certificate: &Certificate) -> String {
    format!(
        r"tls_certificate_path: '{certificate}'
tls_private_key_path: '{key}'
federation_custom_ca_list: ['{authority}']
ip_range_blacklist: []
rc_federation: {{window_size: 1000, sleep_limit: 100000, sleep_delay: 1, reject_limit: 100000, concurrent: 100}}
",
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
        authority = certificate.authority.display(),
    )
}

/// Every rate limit of Synapse, set so high that it never acts.
fn unlimited() -> String {
    let rate = "{per_second: 100000, burst_count: 100000}";
    let mut text = String::new();
    for name in [
        "rc_message",
        "rc_registration",
        "rc_admin_redaction",
        "rc_room_creation",
        "rc_3pid_validation",
        "rc_presence",
    ] {
        let rate = if name == "rc_presence" { format!("{{per_user: {rate}}}") } else { rate.to_owned() };
        let _ = writeln!(text, "{name}: {rate}");
    }
    let _ = writeln!(text, "rc_login: {{address: {rate}, account: {rate}, failed_attempts: {rate}}}");
    let _ = writeln!(text, "rc_joins: {{local: {rate}, remote: {rate}}}\nrc_joins_per_room: {rate}");
    let _ = writeln!(text, "rc_invites: {{per_room: {rate}, per_user: {rate}, per_issuer: {rate}}}");
    text
}

/// Several runs may find it missing at once; the lock lets one install it and the others wait.
fn ensure_installed(venv: &Path) -> Result<()> {
    let parent = venv.parent().context("the virtual environment needs a parent directory")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(venv.with_extension("lock"))?;
    lock.lock()?;
    let python = venv.join("bin/python");
    let complete = Command::new(&python)
        .args(["-c", "import synapse, psycopg2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !complete {
        run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "matrix-synapse",
            "psycopg2-binary",
        ]))?;
    }
    Ok(())
}
