//! Why a value cannot be decoded, as a person would say it.

use std::fmt;

use serde::de;

/// Why decoding stopped here.
#[derive(Debug)]
pub(super) enum Fault {
    /// A sentence that still needs a place.
    Message(String, Option<String>),
    /// A mapping lacks this field.
    Missing(&'static str),
    /// Already in the list.
    Reported,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(text, _) => f.write_str(text),
            Self::Missing(field) => write!(f, "`{field}` is missing"),
            Self::Reported => f.write_str("reported"),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match text.split_once("; hint: ") {
            Some((text, hint)) => Self::Message(text.to_string(), Some(hint.to_string())),
            None => Self::Message(text, None),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        use de::Unexpected as U;
        let wanted = wording(&expected.to_string());
        let (what, hint) = match found {
            U::Bool(_) => ("true or false", wanted == "text"),
            U::Unsigned(_) | U::Signed(_) => ("a whole number", wanted == "text"),
            U::Float(_) => ("a number", wanted == "text"),
            U::Str(_) => ("text", false),
            U::Unit | U::Option => ("nothing", false),
            U::Seq => ("a list", false),
            U::Map => ("a mapping", false),
            _ => ("something else", false),
        };
        let hint = hint.then(|| "put it in quotes".to_string());
        Self::Message(format!("expected {wanted}, found {what}"), hint)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let wanted = wording(&expected.to_string());
        match found {
            de::Unexpected::Signed(n) => Self::Message(format!("expected {wanted}, found {n}"), None),
            de::Unexpected::Unsigned(n) => Self::Message(format!("expected {wanted}, found {n}"), None),
            de::Unexpected::Float(n) => Self::Message(format!("expected {wanted}, found {n}"), None),
            _ => Self::Message(format!("expected {wanted}"), None),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = closest(variant, expected);
        Self::Message(format!("`{variant}` is not one of {}", list(expected)), hint)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// The words of serde's built-in visitors, as a person would say them.
fn wording(expected: &str) -> String {
    match expected {
        "a string" | "string" => "text",
        "a boolean" => "true or false",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" => "a whole number from -128 to 127",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
    .to_string()
}

pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// The name in `known` that `word` was probably meant to be.
pub fn closest<S: AsRef<str>>(word: &str, known: &[S]) -> Option<String> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), &k.as_ref().to_lowercase()), k.as_ref()))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4)
        .min()
        .map(|(_, k)| format!("did you mean `{k}`?"))
}
