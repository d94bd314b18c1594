//! How a Synapse is started, to ask it the same questions.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::authority::{Authority, CertificateFiles};
use crate::kith::Place;
use crate::process::Recipe;
use crate::server::{Registration, ServerOptions};

/// The Python that has `matrix-synapse` installed; the `conformance` program of this crate installs it there.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("KITH_TEST_SYNAPSE_PYTHON").map_or_else(
        || {
            let home = std::env::var_os("HOME").expect("HOME is set");
            PathBuf::from(home).join(".cache/kith/synapse/bin/python")
        },
        PathBuf::from,
    )
}

pub(crate) fn recipe(place: &Place<'_>, options: &ServerOptions) -> Recipe {
    let file = place.directory.join("homeserver.yaml");
    let log_file = place.directory.join("log.yaml");
    // YAML is a superset of JSON.
    std::fs::write(&file, configuration(place, options).to_string())
        .expect("the configuration can be written");
    std::fs::write(&log_file, log_configuration().to_string()).expect("the log configuration can be written");
    let mut arguments = vec!["-m".to_owned(), "synapse.app.homeserver".to_owned()];
    arguments.extend(["-c".to_owned(), file.display().to_string()]);
    let generated = Command::new(python())
        .args(&arguments)
        .arg("--generate-keys")
        .current_dir(place.directory)
        .output()
        .expect("Synapse's Python can be started; the `conformance` program installs it");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    Recipe {
        program: python(),
        arguments,
        environment: Vec::new(),
        directory: place.directory.to_owned(),
        log: place.directory.join("server.log"),
        address: place.address,
        ready_path: "/health",
    }
}

fn configuration(place: &Place<'_>, options: &ServerOptions) -> Value {
    let address = place.address;
    let data = place.data_directory.display();
    let database = if place.database_url.is_empty() {
        json!({"name": "sqlite3", "args": {"database": format!("{data}/homeserver.db")}})
    } else {
        json!({"name": "psycopg2", "args": {"dsn": place.database_url, "cp_min": 1, "cp_max": 8}})
    };
    let mut configuration = json!({
        "server_name": place.name,
        "public_baseurl": format!("http://{address}/"),
        "pid_file": format!("{data}/homeserver.pid"),
        "log_config": place.directory.join("log.yaml"),
        "media_store_path": format!("{data}/media"),
        "signing_key_path": format!("{data}/signing.key"),
        "listeners": [{
            "port": address.port(),
            "bind_addresses": [address.ip().to_string()],
            "type": "http",
            "resources": [{"names": ["client", "federation"]}],
        }],
        "database": database,
        "report_stats": false,
        "trusted_key_servers": [],
        "federation_domain_whitelist": [],
        "macaroon_secret_key": "not secret",
        "form_secret": "not secret",
        "bcrypt_rounds": 4,
        // It would answer the same initial sync with the same answer for two minutes.
        "caches": {"sync_response_cache_duration": "0s"},
        "enable_registration": options.registration != Registration::Closed,
        "enable_registration_without_verification": options.registration == Registration::Open,
        "registration_requires_token": options.registration == Registration::Token,
        "login_via_existing_session": {"enabled": true, "require_ui_auth": true, "token_timeout": "5m"},
        "allow_public_rooms_without_auth": false,
        "room_list_publication_rules": [{"action": "allow"}],
        "enable_search": true,
        "user_directory": {"enabled": true, "search_all_users": true},
        "presence": {"enabled": true},
        "max_event_delay_duration": "24h",
        "experimental_features": {"msc4222_enabled": true},
        "caches": {"sync_response_cache_duration": "0s"},
    });
    if let Some(secret) = &options.shared_secret {
        configuration["registration_shared_secret"] = json!(secret);
    }
    if !options.rate_limits {
        raise_limits(&mut configuration);
    }
    if let Some(files) = &place.certificate {
        federate(&mut configuration, place, files);
    }
    for (key, value) in &options.synapse {
        configuration[key] = value.clone();
    }
    configuration
}

/// Lets Synapse talk to servers in this network that the run's authority vouches for.
fn federate(configuration: &mut Value, place: &Place<'_>, files: &CertificateFiles) {
    let address = place.federation_address();
    let listener = json!({
        "port": address.port(),
        "bind_addresses": [address.ip().to_string()],
        "type": "http",
        "tls": true,
        "resources": [{"names": ["federation"]}],
    });
    if place.serves_tls
        && let Some(listeners) = configuration["listeners"].as_array_mut()
    {
        listeners.push(listener);
    }
    if let Some(keys) = configuration.as_object_mut() {
        keys.remove("federation_domain_whitelist");
    }
    configuration["tls_certificate_path"] = json!(files.certificate);
    configuration["tls_private_key_path"] = json!(files.key);
    configuration["federation_custom_ca_list"] = json!([Authority::get().file()]);
    configuration["ip_range_blacklist"] = json!([]);
    configuration["allow_public_rooms_over_federation"] = json!(true);
    configuration["allow_device_name_lookup_over_federation"] = json!(true);
    configuration["allow_profile_lookup_over_federation"] = json!(true);
    configuration["rc_federation"] = json!({"window_size": 1000, "sleep_limit": 100_000, "sleep_delay": 1,
        "reject_limit": 100_000, "concurrent": 100});
    // A peer that was away must be asked again at once, not after ten minutes.
    configuration["federation"] = json!({
        "destination_min_retry_interval": 100,
        "destination_retry_multiplier": 1,
        "destination_max_retry_interval": 200,
        "max_short_retry_delay": 1000,
        "max_short_retries": 1,
    });
}

fn raise_limits(configuration: &mut Value) {
    let unlimited = json!({"per_second": 100_000, "burst_count": 100_000});
    for key in [
        "rc_message",
        "rc_registration",
        "rc_registration_token_validity",
        "rc_admin_redaction",
        "rc_third_party_invite",
        "rc_3pid_validation",
        "rc_presence",
        "rc_delayed_event_mgmt",
        "rc_reports",
        "rc_room_creation",
        "rc_user_directory",
    ] {
        configuration[key] = unlimited.clone();
    }
    configuration["rc_presence"] = json!({"per_user": unlimited});
    configuration["rc_login"] =
        json!({"address": unlimited, "account": unlimited, "failed_attempts": unlimited});
    configuration["rc_joins"] = json!({"local": unlimited, "remote": unlimited});
    configuration["rc_joins_per_room"] = unlimited.clone();
    configuration["rc_invites"] =
        json!({"per_room": unlimited, "per_user": unlimited, "per_issuer": unlimited});
}

fn log_configuration() -> Value {
    json!({
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
        "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter"}},
        "handlers": {"console": {
            "class": "logging.StreamHandler", "formatter": "plain", "filters": ["context"],
        }},
        "root": {"level": "INFO", "handlers": ["console"]},
        "disable_existing_loggers": false,
    })
}
