//! `m.relates_to`, as far as the server looks at it.

use std::borrow::Cow;

use hs_room_rules::{event_id::parse_event_id, pdu::is_storable_name};
use hs_storage::append::Relation;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(rename = "m.relates_to", borrow)]
    relates_to: Option<RelatesTo<'a>>,
}

#[derive(Deserialize)]
struct RelatesTo<'a> {
    #[serde(borrow)]
    rel_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
}

/// The relation that an event's content declares; nothing when it is malformed, since that is the client's own affair.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events>
pub(crate) fn relation_of(content: &str) -> Option<Relation> {
    // Most messages relate to nothing; a search for the word is far cheaper than reading the content.
    if !content.contains("m.relates_to") {
        return None;
    }
    let relation = serde_json::from_str::<Content<'_>>(content).ok()?.relates_to?;
    let parent = parse_event_id(&relation.event_id?)?;
    let rel_type = relation.rel_type?;
    let is_storable = is_storable_name(&rel_type)
        && relation.key.as_ref().is_none_or(|key| key.len() <= 2048 && !key.contains('\0'));
    is_storable.then(|| Relation {
        parent,
        rel_type: rel_type.into_owned(),
        key: relation.key.map(Cow::into_owned),
    })
}

/// The relation that a stored event declares.
pub(crate) fn relation_in(json: &str) -> Option<Relation> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    if !json.contains("m.relates_to") {
        return None;
    }
    relation_of(serde_json::from_str::<Event<'_>>(json).ok()?.content.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_read_with_its_key() {
        let relation =
            relation_of(r#"{"m.relates_to":{"rel_type":"m.annotation","event_id":"$a","key":"👍"}}"#)
                .expect("a relation");
        assert_eq!((relation.rel_type.as_str(), relation.key.as_deref()), ("m.annotation", Some("👍")));
    }

    #[test]
    fn malformed_relations_are_no_relations() {
        for content in [
            r"{}",
            r#"{"m.relates_to":7}"#,
            r#"{"m.relates_to":{"rel_type":"m.thread"}}"#,
            r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"not an id"}}"#,
            r#"{"m.relates_to":{"rel_type":"a\u0000","event_id":"$a"}}"#,
            r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"$\u0000"}}"#,
            &format!(r#"{{"m.relates_to":{{"rel_type":"m.thread","event_id":"${}"}}}}"#, "x".repeat(255)),
            r#"{"m.relates_to":{"m.in_reply_to":{"event_id":"$a"}}}"#,
        ] {
            assert_eq!(relation_of(content), None, "{content}");
        }
    }
}
