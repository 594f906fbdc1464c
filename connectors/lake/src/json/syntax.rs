//! The outermost layer of a JSON value, with everything in it as it was written.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// As many names as are compared with each other faster than they are hashed.
const FEW: usize = 16;

/// What kind of value a text is, as its first character tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl Kind {
    /// That of a value without blanks around it.
    pub(crate) fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::Text,
            Some(b'[') => Self::List,
            Some(b'{') => Self::Object,
            _ => Self::Number,
        }
    }

    /// What a person calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// The characters of a text value.
///
/// # Errors
/// Why there are none: it holds half of a surrogate pair.
pub(crate) fn text(value: &str) -> Result<Cow<'_, str>, String> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    match inner.contains('\\') {
        false => Ok(Cow::Borrowed(inner)),
        true => serde_json::from_str::<String>(value)
            .map(Cow::Owned)
            .map_err(|_| "a text in it holds an escape that stands for no character".to_string()),
    }
}

/// The items of a list.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn list(value: &str) -> Result<Vec<&str>, String> {
    let items: Vec<&RawValue> = serde_json::from_str(value).map_err(|e| broken(&e))?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// The names of an object and their values, in order. No name comes twice: one of its values would get lost.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn object(value: &str) -> Result<Vec<(Cow<'_, str>, &str)>, String> {
    let Entries(entries) = serde_json::from_str(value).map_err(|e| broken(&e))?;
    match has_twice(&entries) {
        true => Err("an object in it has a name twice".to_string()),
        false => Ok(entries),
    }
}

fn has_twice(entries: &[(Cow<'_, str>, &str)]) -> bool {
    if entries.len() > FEW {
        let mut seen = HashSet::with_capacity(entries.len());
        return !entries.iter().all(|(name, _)| seen.insert(name));
    }
    entries.iter().enumerate().any(|(at, (name, _))| entries[..at].iter().any(|(before, _)| before == name))
}

/// What is wrong, without anything of the value.
fn broken(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("it is no JSON: {what} (character {})", error.column())
}

/// The entries of an object.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a str)>);

/// A name, which is copied only if it holds escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    entries.push((name, value.get()));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_taken_off_and_the_rest_stays_as_it_was_written() {
        let entries = object(r#" {"a" : 1.50e+3, "b\u0041" : [ 1,  2 ], "c":{"x":null} } "#).unwrap();
        let expected: [(Cow<'_, str>, &str); 3] =
            [("a".into(), "1.50e+3"), ("bA".into(), "[ 1,  2 ]"), ("c".into(), r#"{"x":null}"#)];
        assert_eq!(entries, expected);
        assert_eq!(list("[ 1,  \"x\" , [] ]").unwrap(), ["1", "\"x\"", "[]"]);
        assert_eq!(text(r#""a\n\u00e4\ud83e\udd80""#).unwrap(), "a\nä🦀");
        assert_eq!(text("\"plain ä\"").unwrap(), "plain ä");
    }

    #[test]
    fn what_is_wrong_is_said_without_a_value() {
        for bad in [
            "{\"secret\":1",
            "{\"secret\":01}",
            "{\"secret\":1} x",
            "{\"secret\":nul}",
            "{'secret':1}",
            "{\"a\":\"secret\n\"}",
            "{\"a\":NaN}",
            "{\"a\":1,}",
            "{\"a\":1,\"a\":1}",
        ] {
            let said = object(bad).unwrap_err();
            assert!(!said.contains("secret"), "{said}");
        }
        assert!(text(r#""\ud800""#).unwrap_err().contains("stands for no character"));
        assert!(object("{\"a\":1").unwrap_err().contains("it is no JSON"));
    }

    #[test]
    fn kinds_are_told_by_the_first_character() {
        let kinds = ["null", "true", "-1", "\"\"", "[]", "{}"].map(Kind::of);
        assert_eq!(kinds, [Kind::Null, Kind::Bool, Kind::Number, Kind::Text, Kind::List, Kind::Object]);
    }
}
