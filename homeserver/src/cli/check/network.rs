//! Ports, names, and what others learn about the server.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

use super::Finding;
use crate::{
    config::{Bind, Config, Resource},
    listener::{Bound, ListenError},
};

const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn check_ports(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let has_health = listener.resources.contains(&Resource::Health);
        findings.push(check_port(&listener.bind, listener.tls.as_ref(), has_health).await);
    }
    if config.metrics.enabled {
        findings.push(check_port(&config.metrics.bind, None, true).await);
    }
    findings
}

async fn check_port(bind: &Bind, tls: Option<&crate::config::Tls>, has_health: bool) -> Finding {
    match Bound::new(bind, tls).await {
        Ok(_) => Finding::ok("port", format!("{bind} is free")),
        Err(ListenError::Bind { error, .. }) if error.kind() == std::io::ErrorKind::AddrInUse => match bind {
            Bind::Tcp(address) if has_health && tls.is_none() && is_kith(*address).await => {
                Finding::ok("port", format!("{bind} is served by a running Kith"))
            }
            _ => Finding::bad(
                "port",
                format!(
                    "{bind} is taken; unless that is Kith, see what holds it with `ss -ltnp`, or bind elsewhere"
                ),
            ),
        },
        Err(error) => Finding::bad("port", error.to_string()),
    }
}

async fn is_kith(address: SocketAddr) -> bool {
    let reachable = if address.ip().is_unspecified() {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    };
    match fetch(&format!("http://{reachable}/health/live")).await {
        Ok(body) => body.get("status").is_some(),
        Err(_) => false,
    }
}

pub(super) async fn check_names(config: &Config) -> Vec<Finding> {
    if config.server.is_local() {
        let name = &config.server.name;
        return vec![Finding::note(
            "server name",
            format!(
                "{name} is only known to this machine; set server.name to a domain for others to reach it"
            ),
        )];
    }
    let mut findings = vec![check_dns(config).await];
    findings.push(check_client_well_known(config).await);
    if config.federation.enabled {
        findings.push(check_server_well_known(config).await);
    }
    findings
}

async fn check_dns(config: &Config) -> Finding {
    let url = config.server.public_base_url.parse::<http::Uri>().ok();
    let host = url.as_ref().and_then(http::Uri::host).unwrap_or_default();
    match tokio::net::lookup_host((host, 443)).await {
        Ok(addresses) => {
            let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
            Finding::ok("DNS", format!("{host} is {}", addresses.join(", ")))
        }
        Err(error) => {
            Finding::bad("DNS", format!("{host} has no address ({error}); add an A or AAAA record for it"))
        }
    }
}

async fn check_client_well_known(config: &Config) -> Finding {
    const SUBJECT: &str = "well-known";
    let (name, base_url) = (&config.server.name, &config.server.public_base_url);
    let url = format!("https://{name}/.well-known/matrix/client");
    let remedy = format!(
        "serve {{\"m.homeserver\": {{\"base_url\": \"{base_url}\"}}}} there, so that clients find the server by its name"
    );
    match fetch(&url).await {
        Ok(body) => match body["m.homeserver"]["base_url"].as_str() {
            Some(found) if found.trim_end_matches('/') == base_url => Finding::ok(SUBJECT, url),
            found => Finding::bad(
                SUBJECT,
                format!("{url} names {} instead of {base_url}; {remedy}", found.unwrap_or("no server")),
            ),
        },
        Err(error) if base_url.split("://").nth(1) == Some(name.as_str()) => Finding::bad(
            SUBJECT,
            format!("{url}: {error}; is the server running, and reachable from outside?"),
        ),
        Err(error) => Finding::bad(SUBJECT, format!("{url}: {error}; {remedy}")),
    }
}

/// Without this file, other servers look for the server at port 8448 of its name.
async fn check_server_well_known(config: &Config) -> Finding {
    const SUBJECT: &str = "federation";
    let name = &config.server.name;
    let url = format!("https://{name}/.well-known/matrix/server");
    if let Ok(body) = fetch(&url).await
        && let Some(target) = body["m.server"].as_str()
    {
        return Finding::ok(SUBJECT, format!("{url} sends other servers to {target}"));
    }
    let at_8448 = format!("https://{}:8448/_matrix/key/v2/server", name.host());
    match fetch(&at_8448).await {
        Ok(_) => Finding::ok(SUBJECT, format!("{}:8448 answers", name.host())),
        Err(error) => Finding::bad(
            SUBJECT,
            format!(
                "other servers find nothing at {}:8448 ({error}); serve {{\"m.server\": \"host:port\"}} at {url}, or \
                 listen there with TLS",
                name.host()
            ),
        ),
    }
}

/// A short answer in JSON. Errors are said in a few words.
async fn fetch(url: &str) -> Result<Value, String> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
    let response = client.get(url).send().await.map_err(|error| reason(&error))?;
    if !response.status().is_success() {
        return Err(format!("answers {}", response.status()));
    }
    response.json().await.map_err(|error| reason(&error))
}

fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
