//! What users show of themselves.

use std::{collections::BTreeMap, sync::Arc};

use hs_model::ids::UserNid;
use hs_storage::{StorageError, Txn, errands::ErrandKind};
use ruma::{MxcUri, UserId};
use serde_json::value::RawValue;

use crate::{Accounts, Failure, error::fails_with_storage};

/// The name that others see.
pub(crate) const DISPLAYNAME: &str = "displayname";
/// The picture that others see.
const AVATAR_URL: &str = "avatar_url";
/// The time zone.
const TIME_ZONE: &str = "m.tz";

/// The most bytes of a whole profile, as JSON.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname>
const MAX_PROFILE_BYTES: usize = 64 * 1024;
/// The most bytes of a field's name.
const MAX_KEY_BYTES: usize = 255;
/// The most characters of a display name: it stands in a member event of every room.
const MAX_DISPLAYNAME_CHARS: usize = 256;
/// The most bytes of an avatar's address, for the same reason.
const MAX_AVATAR_URL_BYTES: usize = 1000;
/// What a field takes in JSON beside its name and value: quotes, colon, comma.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// A profile.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The name that others see.
    pub displayname: Option<String>,
    /// The picture that others see, as an `mxc:` address.
    pub avatar_url: Option<String>,
    /// All fields, those two included, as JSON text.
    pub fields: BTreeMap<String, String>,
}

impl Profile {
    fn new(fields: BTreeMap<String, String>) -> Self {
        let string = |field| fields.get(field).and_then(|json: &String| serde_json::from_str(json).ok());
        Self { displayname: string(DISPLAYNAME), avatar_url: string(AVATAR_URL), fields }
    }

    /// The profile as a JSON object.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.size_bytes());
        json.push('{');
        for (index, (field, value)) in self.fields.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(&field_json(field, value));
        }
        json.push('}');
        json
    }

    /// One field as a JSON object.
    pub fn field_to_json(&self, field: &str) -> Option<String> {
        self.fields.get(field).map(|value| format!("{{{}}}", field_json(field, value)))
    }

    pub(crate) fn size_bytes(&self) -> usize {
        let fields = self.fields.iter();
        2 + fields.map(|(field, value)| field.len() + value.len() + FIELD_OVERHEAD_BYTES).sum::<usize>()
    }
}

/// `"field":value`. Names of fields hold nothing that JSON would escape.
fn field_json(field: &str, value: &str) -> String {
    format!("\"{field}\":{value}")
}

/// Why a field was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetProfileFieldError {
    /// The field's name is not one that a profile may have.
    #[error("This is not the name of a profile field")]
    InvalidKey,
    /// The field's name is too long.
    #[error("The name of the profile field is too long")]
    KeyTooLarge,
    /// The value is not what this field holds.
    #[error("{0}")]
    InvalidValue(&'static str),
    /// The whole profile would be too large.
    #[error("The profile would be larger than 64 KiB")]
    ProfileTooLarge,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(SetProfileFieldError);

impl Accounts {
    /// The profile of a local user; `None` when there is no such account.
    pub async fn find_profile(&self, user_id: &UserId) -> Result<Option<Arc<Profile>>, Failure> {
        let Some(user) = self.store.find_user(user_id).await? else { return Ok(None) };
        if let Some(profile) = self.profiles.get(user) {
            return Ok(Some(profile));
        }
        if self.store.reader().await?.find_account(user).await?.is_none() {
            return Ok(None);
        }
        self.profile_of(user).await.map(Some)
    }

    /// The profile of somebody who is known to have an account, in memory as a rule: for member events.
    pub async fn profile_of(&self, user: UserNid) -> Result<Arc<Profile>, Failure> {
        if let Some(profile) = self.profiles.get(user) {
            return Ok(profile);
        }
        let changes = self.profiles.changes();
        let rows = self.store.reader().await?.list_profile_fields(user).await?;
        let fields = rows.into_iter().map(|row| (row.field, row.value)).collect();
        let profile = Arc::new(Profile::new(fields));
        self.profiles.insert(user, changes, profile.clone());
        Ok(profile)
    }

    /// Sets a field of a user's profile. An empty name or picture is none. What rooms show of the user changes only
    /// with the user's member events, which are sent soon after: that is asked for here.
    pub async fn set_profile_field(
        &self,
        user: UserNid,
        key: &str,
        value: &RawValue,
    ) -> Result<(), SetProfileFieldError> {
        check_key(key)?;
        check_value(key, value)?;
        if matches!(key, DISPLAYNAME | AVATAR_URL) && value.get() == "\"\"" {
            return self.delete_profile_field(user, key).await;
        }
        let mut txn = self.store.begin().await?;
        txn.lock_account(user).await?;
        let rows = txn.list_profile_fields(user).await?;
        let mut fields: BTreeMap<String, String> =
            rows.into_iter().map(|row| (row.field, row.value)).collect();
        if fields.get(key).is_some_and(|stored| stored == value.get()) {
            return Ok(());
        }
        fields.insert(key.to_owned(), value.get().to_owned());
        if Profile::new(fields).size_bytes() > MAX_PROFILE_BYTES {
            return Err(SetProfileFieldError::ProfileTooLarge);
        }
        ask_to_show(&mut txn, user, key).await?;
        txn.upsert_profile_field(user, key, value.get()).await?;
        Ok(txn.commit().await?)
    }

    /// Deletes a field of a user's profile; one that is not there is deleted already.
    pub async fn delete_profile_field(&self, user: UserNid, key: &str) -> Result<(), SetProfileFieldError> {
        check_key(key)?;
        let mut txn = self.store.begin().await?;
        ask_to_show(&mut txn, user, key).await?;
        txn.delete_profile_field(user, key).await?;
        Ok(txn.commit().await?)
    }
}

/// Has the member events of the user's rooms brought up to date, when the field is one that stands in them.
async fn ask_to_show(txn: &mut Txn, user: UserNid, key: &str) -> Result<(), StorageError> {
    if matches!(key, DISPLAYNAME | AVATAR_URL) {
        txn.request_room_errand(user, ErrandKind::ShowProfile).await?;
    }
    Ok(())
}

/// Whether a profile may have a field of this name: one of the specification's or a namespaced identifier.
///
/// <https://spec.matrix.org/v1.19/appendices/#common-namespaced-identifier-grammar>
fn check_key(key: &str) -> Result<(), SetProfileFieldError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(SetProfileFieldError::KeyTooLarge);
    }
    let is_namespaced = key.contains('.')
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if is_namespaced || matches!(key, DISPLAYNAME | AVATAR_URL) {
        Ok(())
    } else {
        Err(SetProfileFieldError::InvalidKey)
    }
}

pub(crate) fn check_value(key: &str, value: &RawValue) -> Result<(), SetProfileFieldError> {
    let invalid = |message| Err(SetProfileFieldError::InvalidValue(message));
    if !matches!(key, DISPLAYNAME | AVATAR_URL | TIME_ZONE) {
        return Ok(());
    }
    let Ok(text) = serde_json::from_str::<String>(value.get()) else {
        return invalid("The value of this field must be a string");
    };
    match key {
        DISPLAYNAME if text.chars().count() > MAX_DISPLAYNAME_CHARS => {
            invalid("The display name is longer than 256 characters")
        }
        AVATAR_URL if text.len() > MAX_AVATAR_URL_BYTES => invalid("The address of the avatar is too long"),
        AVATAR_URL if !text.is_empty() && !<&MxcUri>::from(text.as_str()).is_valid() => {
            invalid("The avatar must be an mxc: address")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn keys_are_known_or_namespaced() {
        for key in ["displayname", "avatar_url", "m.tz", "org.example.job_title", "m.example-field"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "name", "Org.example", "1.x", ".x", "org.exämple", "org.\"x"] {
            assert!(matches!(check_key(key), Err(SetProfileFieldError::InvalidKey)), "{key}");
        }
        let long = format!("a.{}", "b".repeat(254));
        assert!(matches!(check_key(&long), Err(SetProfileFieldError::KeyTooLarge)));
    }

    #[test]
    fn known_fields_hold_strings_of_their_kind() {
        assert!(check_value("displayname", &value("\"Alice\"")).is_ok());
        assert!(check_value("displayname", &value("1")).is_err());
        assert!(check_value("displayname", &value(&format!("\"{}\"", "x".repeat(257)))).is_err());
        assert!(check_value("avatar_url", &value("\"mxc://example.org/abc\"")).is_ok());
        assert!(check_value("avatar_url", &value("\"\"")).is_ok());
        assert!(check_value("avatar_url", &value("\"https://example.org/abc\"")).is_err());
        assert!(check_value("m.tz", &value("null")).is_err());
        assert!(check_value("org.example.x", &value("null")).is_ok());
    }

    #[test]
    fn profile_is_written_as_it_was_given() {
        let fields = [("displayname", "\"Alice\""), ("org.example.n", "1.50")];
        let profile = Profile::new(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).into());

        assert_eq!(profile.displayname.as_deref(), Some("Alice"));
        assert_eq!(profile.to_json(), r#"{"displayname":"Alice","org.example.n":1.50}"#);
        assert_eq!(profile.field_to_json("org.example.n").unwrap(), r#"{"org.example.n":1.50}"#);
        assert_eq!(profile.field_to_json("m.tz"), None);
    }
}
