//! Every step of finding a server, against a DNS and `.well-known` files that are written down.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

/// Who was asked, in order, and what they answer.
#[derive(Debug, Default)]
struct Script {
    addresses: HashMap<&'static str, Vec<&'static str>>,
    services: HashMap<&'static str, Vec<SrvRecord>>,
    well_known: HashMap<&'static str, Fetched>,
    asked: AtomicUsize,
}

impl Dns for Script {
    fn addresses<'a>(&'a self, name: &'a str) -> DnsFuture<'a, Vec<IpAddr>> {
        let found =
            self.addresses.get(name).into_iter().flatten().map(|text| text.parse().unwrap()).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn srv<'a>(&'a self, name: &'a str) -> DnsFuture<'a, Vec<SrvRecord>> {
        Box::pin(std::future::ready(Ok(self.services.get(name).cloned().unwrap_or_default())))
    }
}

impl Fetch for Script {
    fn fetch<'a>(&'a self, host: &'a str) -> FetchFuture<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(self.well_known.get(host).cloned().unwrap_or(Fetched::Absent)))
    }
}

fn record((priority, weight): (u16, u16), target: &str, port: u16) -> SrvRecord {
    SrvRecord { priority, weight, port, target: target.to_owned() }
}

fn name(text: &str) -> OwnedServerName {
    text.try_into().unwrap()
}

fn delegated(to: &str) -> Fetched {
    Fetched::Delegated(name(to), None)
}

fn discovery(script: Script) -> (Discovery, Arc<Script>) {
    let script = Arc::new(script);
    (Discovery::new(script.clone(), WellKnownCache::new(script.clone())), script)
}

/// What is connected to, and what is asked for there.
async fn find(discovery: &Discovery, server: &str) -> (String, Result<Vec<String>, String>) {
    let authority = discovery.authority(&name(server)).await;
    let addresses = discovery.addresses(&authority).await;
    let addresses = addresses.map(|found| found.iter().map(ToString::to_string).collect());
    (authority.to_string(), addresses.map_err(|error| error.to_string()))
}

async fn check(script: Script, server: &str, authority: &str, addresses: &[&str]) {
    let (discovery, _) = discovery(script);
    let found = find(&discovery, server).await;
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    assert_eq!(found, (authority.to_owned(), Ok(addresses)), "{server}");
}

/// `a.example` answers at 192.0.2.1, `b.example` at 192.0.2.2, `m.example` at 192.0.2.3.
fn hosts() -> Script {
    let addresses = [
        ("a.example.", vec!["192.0.2.1"]),
        ("b.example.", vec!["192.0.2.2"]),
        ("m.example.", vec!["192.0.2.3"]),
    ];
    Script { addresses: addresses.into(), ..Script::default() }
}

#[tokio::test]
async fn address_is_used_as_it_is() {
    for (server, address) in [
        ("192.0.2.9", "192.0.2.9:8448"),
        ("192.0.2.9:443", "192.0.2.9:443"),
        ("[2001:db8::1]", "[2001:db8::1]:8448"),
        ("[2001:db8::1]:1", "[2001:db8::1]:1"),
    ] {
        let (discovery, script) = discovery(hosts());
        let found = find(&discovery, server).await;
        assert_eq!(found, (server.to_owned(), Ok(vec![address.to_owned()])));
        assert_eq!(script.asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn port_in_the_name_leaves_out_everything_else() {
    let services = [("_matrix-fed._tcp.a.example.", vec![record((0, 0), "m.example", 1)])];
    let script = Script {
        services: services.into(),
        well_known: [("a.example", delegated("b.example"))].into(),
        ..hosts()
    };
    check(script, "a.example:443", "a.example:443", &["192.0.2.1:443"]).await;
}

#[tokio::test]
async fn well_known_delegates_to_an_address() {
    let to = |to| Script { well_known: [("a.example", delegated(to))].into(), ..hosts() };
    check(to("192.0.2.7"), "a.example", "192.0.2.7", &["192.0.2.7:8448"]).await;
    check(to("192.0.2.7:1"), "a.example", "192.0.2.7:1", &["192.0.2.7:1"]).await;
}

#[tokio::test]
async fn well_known_delegates_to_a_name_with_a_port() {
    let services = [("_matrix-fed._tcp.b.example.", vec![record((0, 0), "m.example", 1)])];
    let script = Script {
        services: services.into(),
        well_known: [("a.example", delegated("b.example:443"))].into(),
        ..hosts()
    };
    check(script, "a.example", "b.example:443", &["192.0.2.2:443"]).await;
}

#[tokio::test]
async fn well_known_delegates_to_a_name_with_a_service() {
    for service in ["_matrix-fed._tcp.b.example.", "_matrix._tcp.b.example."] {
        let script = Script {
            services: [(service, vec![record((0, 0), "m.example.", 1)])].into(),
            well_known: [("a.example", delegated("b.example"))].into(),
            ..hosts()
        };
        check(script, "a.example", "b.example", &["192.0.2.3:1"]).await;
    }
}

#[tokio::test]
async fn well_known_delegates_to_a_bare_name_only_once() {
    let script = Script {
        well_known: [("a.example", delegated("b.example")), ("b.example", delegated("m.example"))].into(),
        ..hosts()
    };
    check(script, "a.example", "b.example", &["192.0.2.2:8448"]).await;
}

#[tokio::test]
async fn registered_service_comes_before_the_deprecated_one() {
    let services = [
        ("_matrix-fed._tcp.a.example.", vec![record((0, 0), "b.example", 1)]),
        ("_matrix._tcp.a.example.", vec![record((0, 0), "m.example", 2)]),
    ];
    check(Script { services: services.into(), ..hosts() }, "a.example", "a.example", &["192.0.2.2:1"]).await;
    let services = [("_matrix._tcp.a.example.", vec![record((0, 0), "m.example", 2)])];
    check(Script { services: services.into(), ..hosts() }, "a.example", "a.example", &["192.0.2.3:2"]).await;
}

#[tokio::test]
async fn without_anything_the_name_itself_is_asked() {
    for answer in [Fetched::Absent, Fetched::Failed] {
        let script = Script { well_known: [("a.example", answer)].into(), ..hosts() };
        check(script, "a.example", "a.example", &["192.0.2.1:8448"]).await;
    }
}

#[tokio::test]
async fn all_targets_are_tried_in_their_order() {
    let records = vec![
        record((20, 0), "a.example", 3),
        record((10, 0), "b.example", 1),
        record((15, 0), "nobody.example", 9),
        record((15, 0), "m.example", 2),
    ];
    let script = Script { services: [("_matrix-fed._tcp.a.example.", records)].into(), ..hosts() };
    let addresses = ["192.0.2.2:1", "192.0.2.3:2", "192.0.2.1:3"];
    check(script, "a.example", "a.example", &addresses).await;
}

#[tokio::test]
async fn root_as_target_means_that_there_is_no_service() {
    let records = vec![record((0, 0), ".", 0)];
    let script = Script { services: [("_matrix-fed._tcp.a.example.", records)].into(), ..hosts() };
    let (discovery, _) = discovery(script);
    assert!(find(&discovery, "a.example").await.1.is_err());
}

#[tokio::test]
async fn name_without_addresses_is_an_error() {
    let (discovery, _) = discovery(hosts());
    let (_, addresses) = find(&discovery, "nobody.example").await;
    assert_eq!(addresses, Err("nobody.example has no address".to_owned()));
}

#[tokio::test]
async fn answers_are_kept_and_questions_shared() {
    let script = Script {
        well_known: [("a.example", delegated("b.example")), ("b.example", Fetched::Failed)].into(),
        ..hosts()
    };
    let (discovery, script) = discovery(script);
    for server in ["a.example", "b.example"] {
        let server = name(server);
        futures_util::future::join3(
            discovery.authority(&server),
            discovery.authority(&server),
            discovery.authority(&server),
        )
        .await;
        discovery.authority(&server).await;
    }
    assert_eq!(script.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn weight_is_luck_within_a_priority() {
    let records = || vec![record((1, 0), "zero", 1), record((1, 10), "ten", 1), record((1, 30), "thirty", 1)];
    let first = |drawn: u32| in_order(records(), &mut |_| drawn)[0].target.clone();
    assert_eq!(first(0), "zero");
    assert_eq!((first(1), first(10)), ("ten".to_owned(), "ten".to_owned()));
    assert_eq!((first(11), first(40)), ("thirty".to_owned(), "thirty".to_owned()));
    let mut bounds = Vec::new();
    in_order(records(), &mut |bound| {
        bounds.push(bound);
        bound - 1
    });
    assert_eq!(bounds, [41, 11, 1]);
}

#[test]
fn literals_are_recognised() {
    assert_eq!(literal("[::1]"), Some("::1".parse().unwrap()));
    assert_eq!(literal("1.2.3"), None);
}
