//! How a Kith is started: its configuration file and its command line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::authority::{Authority, CertificateFiles};
use crate::process::{FEDERATION_PORT, Recipe};
use crate::server::{Registration, ServerOptions};

/// Where one Kith of a cluster stands.
pub(crate) struct Place<'a> {
    /// The server name in user ids; the same for all replicas.
    pub(crate) name: &'a str,
    pub(crate) address: SocketAddr,
    pub(crate) directory: &'a Path,
    /// Shared by the replicas of one cluster.
    pub(crate) data_directory: &'a Path,
    /// Empty for the embedded database.
    pub(crate) database_url: &'a str,
    /// Of a server that federates.
    pub(crate) certificate: Option<CertificateFiles>,
    /// Whether it listens for other servers itself.
    pub(crate) serves_tls: bool,
}

impl Place<'_> {
    /// Where other servers reach this one.
    pub(crate) fn federation_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), FEDERATION_PORT)
    }
}

/// The program under test: `KITH_BIN`, or what `cargo build` made.
pub(crate) fn program() -> PathBuf {
    let program = std::env::var_os("KITH_BIN").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR")
                .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
            target.join("debug/kith")
        },
        PathBuf::from,
    );
    assert!(program.exists(), "{} is not there: build it, or set KITH_BIN", program.display());
    program
}

/// What sets a program's clock off by some minutes. Only the time of day: spans of time stay what they are.
fn clock(offset_minutes: i32) -> Vec<(String, String)> {
    if offset_minutes == 0 {
        return Vec::new();
    }
    let libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketime.so.1"));
    let library = libraries.into_iter().find(|file| Path::new(file).exists());
    let library = library.expect("libfaketime is installed (Debian: libfaketime)");
    let pairs = [
        ("LD_PRELOAD", library),
        ("FAKETIME", format!("{offset_minutes:+}m")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

pub(crate) fn recipe(place: &Place<'_>, options: &ServerOptions) -> Recipe {
    let file = place.directory.join("kith.toml");
    std::fs::write(&file, configuration(place, options)).expect("the configuration can be written");
    Recipe {
        program: program(),
        arguments: vec!["serve".to_owned(), "--config".to_owned(), file.display().to_string()],
        environment: clock(options.clock_offset_minutes),
        directory: place.directory.to_owned(),
        log: place.directory.join("server.log"),
        address: place.address,
        ready_path: "/health/ready",
    }
}

fn configuration(place: &Place<'_>, options: &ServerOptions) -> String {
    let text = |value: &str| format!("{value:?}");
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        keys.insert(key.to_owned(), value);
    };
    set("server.name", text(place.name));
    set("server.public_base_url", text(&format!("http://{}", place.address)));
    set("server.data_dir", text(&place.data_directory.display().to_string()));
    set("database.url", text(place.database_url));
    set("database.max_connections", "8".to_owned());
    let mode = match options.registration {
        Registration::Open => "open",
        Registration::Token => "token",
        Registration::Closed => "closed",
    };
    set("registration.mode", text(mode));
    set("registration.shared_secret", text(options.shared_secret.as_deref().unwrap_or_default()));
    set("rate_limits.enabled", options.rate_limits.to_string());
    set("logging.format", text("json"));
    set("metrics.bind", text(&format!("{}:9008", place.address.ip())));
    // A cheap hash: the cases log in thousands of times, and the cost is not what they ask about.
    set("passwords.hash_memory_kib", "1024".to_owned());
    set("passwords.hash_iterations", "1".to_owned());
    if place.certificate.is_some() {
        set("federation.extra_ca_file", text(&Authority::get().file().display().to_string()));
        set("federation.allowed_private_ranges", "[\"127.0.0.0/8\"]".to_owned());
    }
    for (key, value) in &options.kith {
        set(key, value.clone());
    }

    let mut sections: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (key, value) in &keys {
        let (section, name) = key.rsplit_once('.').expect("a key has a section");
        sections.entry(section).or_default().push((name, value));
    }
    let mut out = format!(
        "[[listeners]]\nbind = \"{}\"\nresources = [\"client\", \"federation\", \"health\"]\n",
        place.address
    );
    if let Some(files) = place.certificate.as_ref().filter(|_| place.serves_tls) {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        write!(
            out,
            "\n[[listeners]]\nbind = \"{}\"\nresources = [\"federation\"]\n\
             tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n",
            place.federation_address()
        )
        .expect("a string takes everything");
    }
    for (section, entries) in sections {
        write!(out, "\n[{section}]\n").expect("a string takes everything");
        for (name, value) in entries {
            writeln!(out, "{name} = {value}").expect("a string takes everything");
        }
    }
    out
}
