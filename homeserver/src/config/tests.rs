use super::{example::example, *};

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let file = tempfile(text);
    let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let result = Config::load(&Source::File(file.clone()), environment).map_err(|error| error.to_string());
    std::fs::remove_file(&file).unwrap();
    result.map_err(|error| error.replace(&file.display().to_string(), "kith.toml"))
}

fn tempfile(text: &str) -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = format!("kith-config-{}-{}.toml", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn empty_file_is_the_defaults() {
    assert_eq!(load("", &[]).unwrap(), Config::default());
}

#[test]
fn defaults_are_safe() {
    let config = Config::default();

    assert!(config.server.is_local());
    assert_eq!(config.registration.mode, RegistrationMode::Closed);
    assert!(
        config
            .listeners
            .iter()
            .all(|listener| matches!(&listener.bind, Bind::Tcp(address) if address.ip().is_loopback()))
    );
}

#[test]
fn example_with_everything_uncommented_is_the_defaults() {
    let uncommented: String = example()
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| !line.starts_with(' '))
        .flat_map(|line| [line, "\n"])
        .collect();

    assert_eq!(load(&uncommented, &[]).unwrap(), Config::default());
}

#[test]
fn example_as_it_stands_is_the_defaults() {
    assert_eq!(load(&example(), &[]).unwrap(), Config::default());
}

#[test]
fn file_sets_options() {
    let config = load(
        "[server]\nname = \"example.org\"\npublic_base_url = \"https://chat.example.org/\"\n\
         [[listeners]]\nbind = \"unix:/run/kith.sock\"\nresources = [\"client\"]\n\
         [[listeners]]\nbind = \"[::]:8448\"\ntls = { certificate = \"c.pem\", key = \"k.pem\" }\n\
         [rate_limits]\nlogin = { per_second = 1.5, burst = 3 }\n",
        &[],
    )
    .unwrap();

    assert_eq!(config.server.name, "example.org");
    assert_eq!(config.server.public_base_url, "https://chat.example.org");
    assert_eq!(config.listeners[0].bind, Bind::Unix("/run/kith.sock".into()));
    assert_eq!(config.listeners[0].resources, [Resource::Client]);
    assert!(config.listeners[1].tls.is_some());
    assert_eq!(config.rate_limits.login, RateLimit { per_second: 1.5, burst: 3 });
}

#[test]
fn unknown_key_is_named_with_its_line_and_what_exists() {
    let error = load("[server]\nnmae = \"example.org\"\n", &[]).unwrap_err();

    assert!(error.starts_with("kith.toml: "), "{error}");
    assert!(error.contains("line 2"), "{error}");
    assert!(error.contains("nmae") && error.contains("public_base_url"), "{error}");
}

#[test]
fn impossible_value_names_key_and_remedy() {
    let error = load("[rooms]\ndefault_version = \"99\"\n", &[]).unwrap_err();

    assert_eq!(
        error,
        "kith.toml: rooms.default_version: there is no room version `99` here; write one of \"1\" to \"12\""
    );
}

#[test]
fn impossible_listener_is_counted() {
    let error = load("[[listeners]]\n[[listeners]]\nresources = []\n", &[]).unwrap_err();

    assert!(error.contains("listeners[1].resources"), "{error}");
}

#[test]
fn environment_overrides_the_file() {
    let config = load(
        "[server]\nname = \"example.org\"\n[database]\nmax_connections = 7\n",
        &[
            ("KITH_SERVER__NAME", "example.net"),
            ("KITH_DATABASE__MAX_CONNECTIONS", "9"),
            ("KITH_FEDERATION__ENABLED", "false"),
            ("KITH_FEDERATION__DENY_SERVERS", "[\"a.example\", \"b.example\"]"),
            ("KITH_RATE_LIMITS__LOGIN__BURST", "5"),
            ("KITH_ROOMS__DEFAULT_VERSION", "11"),
            ("KITH_LISTENERS", "[{ bind = \"127.0.0.1:1\" }]"),
            ("KITH_CONFIG", "elsewhere.toml"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();

    assert_eq!(config.server.name, "example.net");
    assert_eq!(config.database.max_connections, 9);
    assert!(!config.federation.enabled);
    assert_eq!(config.federation.deny_servers, ["a.example", "b.example"]);
    assert_eq!(config.rate_limits.login, RateLimit { per_second: 0.5, burst: 5 });
    assert_eq!(config.rooms.default_version.as_str(), "11");
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:1");
}

#[test]
fn wrong_variable_is_named() {
    for (variable, value, expected) in [
        ("KITH_SERVER__NMAE", "x", "unknown field `nmae`"),
        ("KITH_DATABASE__MAX_CONNECTIONS", "many", "not TOML"),
        ("KITH_DATABASE__MAX_CONNECTIONS", "2", "at least 4"),
        ("KITH_SERVER__NAME", "not a name", "server name"),
    ] {
        let error = load("", &[(variable, value)]).unwrap_err();

        assert!(error.contains(variable) && error.contains(expected), "{error}");
    }
}

#[test]
fn missing_file_is_named() {
    let source = Source::File("/nonexistent/kith.toml".into());

    let error = Config::load(&source, []).unwrap_err().to_string();

    assert!(error.contains("/nonexistent/kith.toml") && error.contains("generate-config"), "{error}");
}

#[test]
fn secrets_do_not_show() {
    let config = load("[registration]\nshared_secret = \"hunter2\"\n", &[]).unwrap();

    assert_eq!(config.registration.shared_secret.expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn limits_can_be_switched_off_together_and_one_by_one() {
    let mut limits = RateLimits::default();
    assert!(limits.rate(|limits| limits.login).burst > 0);

    limits.enabled = false;

    assert_eq!(limits.rate(|limits| limits.login), hs_http::rate_limit::Rate::UNLIMITED);
}
