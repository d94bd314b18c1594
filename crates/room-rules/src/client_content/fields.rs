//! Reading the fields of content with the type they must have.

use crate::canonical_json::{Number, Object, Value};

use super::ContentError;

/// The fields of an object, with where it stands for messages.
pub(super) struct Fields<'a> {
    object: &'a Object<'a>,
    path: String,
}

impl<'a> Fields<'a> {
    pub(super) fn of(object: &'a Object<'a>) -> Self {
        Self { object, path: String::new() }
    }

    fn wrong(&self, key: &str, expected: &str) -> ContentError {
        ContentError::Malformed(format!("`{}{key}` must be {expected}", self.path))
    }

    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, ContentError> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, expected))
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ContentError> {
        value.ok_or_else(|| ContentError::Malformed(format!("`{}{key}` is missing", self.path)))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.object.iter().map(|(key, _)| key)
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, ContentError> {
        self.get(key, "a string", Value::as_str)
    }

    pub(super) fn nullable_string(&self, key: &str) -> Result<Option<&'a str>, ContentError> {
        match self.object.get(key) {
            Some(Value::Null) => Ok(None),
            _ => self.string(key),
        }
    }

    pub(super) fn required_string(&self, key: &str) -> Result<&'a str, ContentError> {
        self.required(key, self.string(key)?)
    }

    pub(super) fn one_of(&self, key: &str, values: &[&str]) -> Result<(), ContentError> {
        let value = self.required_string(key)?;
        if values.contains(&value) {
            Ok(())
        } else {
            Err(self.wrong(key, &format!("one of `{}`", values.join("`, `"))))
        }
    }

    pub(super) fn int(&self, key: &str) -> Result<Option<i64>, ContentError> {
        self.get(key, "an integer", |value| match value {
            Value::Number(Number::Int(int)) => Some(*int),
            _ => None,
        })
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, ContentError> {
        self.get(key, "true or false", Value::as_bool)
    }

    pub(super) fn array(&self, key: &str) -> Result<&'a [Value<'a>], ContentError> {
        Ok(self.get(key, "a list", Value::as_array)?.unwrap_or_default())
    }

    pub(super) fn strings(&self, key: &str) -> Result<Vec<&'a str>, ContentError> {
        let items = self.array(key)?;
        items.iter().map(|item| item.as_str().ok_or_else(|| self.wrong(key, "a list of strings"))).collect()
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ContentError> {
        let object = self.get(key, "an object", Value::as_object)?;
        Ok(object.map(|object| Fields { object, path: format!("{}{key}.", self.path) }))
    }

    pub(super) fn required_object(&self, key: &str) -> Result<Fields<'a>, ContentError> {
        self.required(key, self.object(key)?)
    }
}
