//! JSON objects as sorted vectors: events are small, are built once, and are read in order.

use std::borrow::Cow;

use super::{ParseError, ParseOptions, Value, write_string};

/// A JSON object whose members are sorted by key, without repetitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a> {
    entries: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a whole text that must be an object.
    pub fn parse(json: &'a str, options: ParseOptions) -> Result<Self, ParseError> {
        match Value::parse(json, options)? {
            Value::Object(object) => Ok(object),
            _ => Err(ParseError::NotAnObject),
        }
    }

    /// Takes members in any order. Gives back `None` if a key is repeated and that is to be refused;
    /// otherwise the last of equals wins.
    pub(super) fn from_unsorted(
        mut entries: Vec<(Cow<'a, str>, Value<'a>)>,
        refuse_duplicates: bool,
    ) -> Option<Self> {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let count = entries.len();
            // `dedup_by` keeps the first of a run; moving the later value into it keeps the last.
            entries.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(&mut later.1, &mut kept.1);
                }
                same
            });
            if refuse_duplicates && entries.len() != count {
                return None;
            }
        }
        Some(Self { entries })
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(entry_key, _)| entry_key.as_ref().cmp(key))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.position(key).ok().map(|index| &self.entries[index].1)
    }

    /// The value of a key, for changing.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        self.position(key).ok().map(|index| &mut self.entries[index].1)
    }

    /// The value of a key, if it is a string.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The value of a key, if it is an integer.
    pub fn get_int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// The value of a key, if it is an object.
    pub fn get_object(&self, key: &str) -> Option<&Object<'a>> {
        self.get(key)?.as_object()
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_ok()
    }

    /// Sets a key, and gives back the value it had.
    pub fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>) -> Option<Value<'a>> {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Ok(index) => Some(std::mem::replace(&mut self.entries[index].1, value)),
            Err(index) => {
                self.entries.insert(index, (key, value));
                None
            }
        }
    }

    /// The object under a key; if there is none (or something else), an empty one is put there.
    pub fn object_or_insert(&mut self, key: &'static str) -> &mut Object<'a> {
        if self.get_object(key).is_none() {
            self.insert(key, Object::new());
        }
        self.get_mut(key).and_then(Value::as_object_mut).expect("an object was just put there")
    }

    /// Removes a key, and gives back the value it had.
    pub fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        self.position(key).ok().map(|index| self.entries.remove(index).1)
    }

    /// Keeps the members for which the function says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value<'a>) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }

    /// The members in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value<'a>)> {
        self.entries.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends the canonical form.
    pub fn write(&self, out: &mut String) {
        self.write_without(&[], out);
    }

    /// Appends the canonical form, leaving out some keys of the top level.
    pub fn write_without(&self, omitted: &[&str], out: &mut String) {
        out.push('{');
        let mut is_first = true;
        for (key, value) in &self.entries {
            if omitted.contains(&key.as_ref()) {
                continue;
            }
            if !is_first {
                out.push(',');
            }
            is_first = false;
            write_string(key, out);
            out.push(':');
            value.write(out);
        }
        out.push('}');
    }

    /// The canonical form.
    pub fn to_canonical_string(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out);
        out
    }
}
