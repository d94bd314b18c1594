//! The body of a request that needs user-interactive authentication.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::AuthError;

/// Parameters whose values are not kept while a user proves who they are.
const SECRET_PARAMS: [&str; 2] = ["password", "new_password"];
/// Parameters are not kept when they take more: clients of requests that large repeat them.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// A body, taken apart: what proves who the user is, and the parameters of the request itself.
#[derive(Clone, Default)]
pub struct UiaBody {
    pub(crate) auth: Option<Auth>,
    pub(crate) params: Map<String, Value>,
}

/// The `auth` object.
#[derive(Clone, Default)]
pub(crate) struct Auth {
    pub(crate) session: Option<String>,
    pub(crate) stage: Option<String>,
    fields: Map<String, Value>,
}

impl UiaBody {
    /// Takes a body apart.
    ///
    /// # Errors
    /// A sentence for the client, when `auth` is not what it should be.
    pub fn new(mut params: Map<String, Value>) -> Result<Self, &'static str> {
        let auth = match params.remove("auth") {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) if fields.is_empty() => None,
            Some(Value::Object(fields)) => Some(Auth::new(fields)?),
            Some(_) => return Err("`auth` must be an object"),
        };
        Ok(Self { auth, params })
    }

    /// The parameters of the request itself.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }
}

impl<'de> Deserialize<'de> for UiaBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Auth {
    fn new(mut fields: Map<String, Value>) -> Result<Self, &'static str> {
        let mut take = |key: &str, message| match fields.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(message),
        };
        let session = take("session", "`auth.session` must be a string")?;
        let stage = take("type", "`auth.type` must be a string")?;
        Ok(Self { session, stage, fields })
    }

    /// A field that the stage requires.
    pub(super) fn string(&self, key: &str) -> Result<&str, AuthError> {
        self.fields
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| AuthError::Malformed(format!("`auth.{key}` must be a string")))
    }

    /// Whom an attempt by password names: `identifier.user`, or `user` as old clients send it.
    pub(super) fn named_user(&self) -> Option<&str> {
        let identifier = self.fields.get("identifier").and_then(|identifier| identifier.get("user"));
        identifier.or_else(|| self.fields.get("user")).and_then(Value::as_str)
    }
}

/// The parameters as JSON text, without secrets.
pub(super) fn without_secrets(params: &Map<String, Value>) -> String {
    let kept: Map<String, Value> = params
        .iter()
        .filter(|(key, _)| !SECRET_PARAMS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let text = Value::Object(kept).to_string();
    if text.len() <= MAX_KEPT_BYTES { text } else { "{}".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: Value) -> Result<UiaBody, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn auth_is_taken_out_of_the_parameters() {
        let body = body(json!({ "username": "alice", "auth": { "type": "m.login.dummy", "session": "x" } }))
            .unwrap();

        let auth = body.auth.unwrap();
        assert_eq!(auth.stage.as_deref(), Some("m.login.dummy"));
        assert_eq!(auth.session.as_deref(), Some("x"));
        assert_eq!(Value::Object(body.params), json!({ "username": "alice" }));
    }

    #[test]
    fn empty_auth_counts_as_none() {
        for auth in [json!({}), json!(null)] {
            assert!(body(json!({ "auth": auth })).unwrap().auth.is_none());
        }
    }

    #[test]
    fn auth_of_the_wrong_shape_is_refused() {
        for auth in [json!("x"), json!([]), json!({ "type": 1 }), json!({ "session": {} })] {
            assert!(body(json!({ "auth": auth })).is_err(), "{auth}");
        }
    }

    #[test]
    fn secrets_and_oversized_parameters_are_not_kept() {
        let Value::Object(params) = json!({ "password": "hunter2", "username": "alice" }) else {
            unreachable!()
        };
        assert_eq!(without_secrets(&params), r#"{"username":"alice"}"#);

        let Value::Object(params) = json!({ "keys": "k".repeat(MAX_KEPT_BYTES) }) else { unreachable!() };
        assert_eq!(without_secrets(&params), "{}");
    }
}
