//! What hostile requests aim at: a user with a room, an event and all else that a path may name.

use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use sytest_like::operations::Operation;
use sytest_like::{Request, Response, Server, User, encode, unique};

/// How many requests are under way at once.
const AT_ONCE: usize = 8;
/// Long polls are not waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// A user and what is theirs.
pub(crate) struct Ground {
    pub(crate) user: User,
    pub(crate) room: String,
    pub(crate) event: String,
    pub(crate) filter: String,
}

impl Ground {
    pub(crate) async fn new(server: &Server) -> Self {
        let user = server.register("target").await;
        let room = user.create_room(sytest_like::json!({"preset": "private_chat"})).await;
        let event = user.send_text(&room, "hello").await;
        let filters = sytest_like::path!("/v3/user/{}/filter", user.id);
        let filter =
            user.post(&filters, sytest_like::json!({})).await.expect_ok().str("filter_id").to_owned();
        Self { user, room, event, filter }
    }

    /// The path of an operation with everything in it that it names.
    pub(crate) fn path(&self, operation: &Operation) -> String {
        self.path_with(operation, None, "")
    }

    /// The same with one parameter, counted from 0, replaced by a raw segment. `None` replaces nothing.
    pub(crate) fn path_with(&self, operation: &Operation, replaced: Option<usize>, raw: &str) -> String {
        let mut seen = 0;
        let segments = operation.path.split('/').map(|segment| {
            let Some(name) = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) else {
                return segment.to_owned();
            };
            seen += 1;
            if replaced == Some(seen - 1) { raw.to_owned() } else { encode(&self.value_of(name)) }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    fn value_of(&self, parameter: &str) -> String {
        match parameter {
            "userId" => self.user.id.clone(),
            "roomId" | "roomIdOrAlias" => self.room.clone(),
            "eventId" => self.event.clone(),
            "deviceId" => self.user.device_id.clone(),
            "filterId" => self.filter.clone(),
            "txnId" => unique("txn"),
            "eventType" => "org.example.event".to_owned(),
            "keyName" => "displayname".to_owned(),
            "receiptType" => "m.read".to_owned(),
            "relType" => "m.annotation".to_owned(),
            "roomAlias" => format!("#{}:{}", unique("alias"), self.user.server.name()),
            "serverName" => self.user.server.name().to_owned(),
            "kind" => "override".to_owned(),
            _ => "org.example.thing".to_owned(),
        }
    }
}

/// How many path parameters an operation has.
pub(crate) fn parameter_count(operation: &Operation) -> usize {
    operation.path.matches('{').count()
}

/// The method of an operation.
pub(crate) fn method(operation: &Operation) -> Method {
    operation.method.parse().expect("the list has valid methods")
}

/// Sends all requests and fails with the list of those whose answer is bad.
pub(crate) async fn send_all(
    requests: impl Iterator<Item = (String, Request)>,
    judge: impl Fn(&Response) -> Result<(), &'static str>,
) {
    const SHOWN: usize = 60;
    let mut answers = futures_util::stream::iter(requests)
        .map(|(what, request)| async move {
            match tokio::time::timeout(PATIENCE, request.try_send()).await {
                // A long poll that waits has taken the request as good.
                Err(_) if what.contains("/sync") || what.contains("/events") => (what, None),
                Err(_) => (what, Some(Err("no answer in time".to_owned()))),
                Ok(answer) => (what, Some(answer)),
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut failures = Vec::new();
    let mut count = 0;
    while let Some((what, answer)) = answers.next().await {
        count += 1;
        let complaint = match answer {
            None => continue,
            Some(Err(error)) => error,
            Some(Ok(answer)) => match judge(&answer) {
                Ok(()) => continue,
                Err(complaint) => format!("{complaint}: {answer}"),
            },
        };
        failures.push(format!("{}: {}", shorten(&what, 120), shorten(&complaint, 300)));
    }
    failures.sort();
    let shown = &failures[..failures.len().min(SHOWN)];
    assert!(failures.is_empty(), "{} of {count} went wrong:\n{}", failures.len(), shown.join("\n"));
}

/// Whatever came in, the server keeps its countenance: no 5xx, and errors are standard errors.
pub(crate) fn keeps_countenance(answer: &Response) -> Result<(), &'static str> {
    let is_uia = answer.status == 401 && answer.json["flows"].is_array();
    match answer.status {
        // Another server was named that does not exist.
        502 if answer.json["errcode"].is_string() => Ok(()),
        500.. => Err("a server error"),
        400..500 if !is_uia && !answer.json["errcode"].is_string() => Err("an error without a code"),
        _ => Ok(()),
    }
}

/// A refusal with a standard error.
pub(crate) fn refuses(answer: &Response) -> Result<(), &'static str> {
    keeps_countenance(answer)?;
    if (400..500).contains(&answer.status) { Ok(()) } else { Err("not refused") }
}

fn shorten(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
