//! Settings that refer to something outside the file: `${env:NAME}`, `${file:path}`.
//!
//! A [`Template`] keeps the reference, never the value, so plans and receipts can hold it. Only
//! [`Template::resolve`] turns it into a value, inside a [`SecretString`] that does not print.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Looks references up. The command line implements it; tests bring their own.
pub trait Resolve: Send + Sync {
    /// The value of the environment variable `name`, if it is set.
    fn env(&self, name: &str) -> Option<SecretString>;
    /// The text of the file at `path`, without a final line break.
    fn file(&self, path: &str) -> std::io::Result<SecretString>;
}

/// Resolves nothing: for places where a reference is not allowed, and for offline checks.
#[derive(Debug, Clone, Copy)]
pub struct NoReferences;

impl Resolve for NoReferences {
    fn env(&self, _: &str) -> Option<SecretString> {
        None
    }

    fn file(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// Text with references in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A part of such a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stands there as it is.
    Literal(String),
    /// The value of an environment variable of this name.
    Env(String),
    /// The text of the file at this path.
    File(String),
}

impl Template {
    /// Reads the references in `text`; `$${` stands for a literal `${`.
    ///
    /// # Errors
    /// A sentence, if a reference is not closed or its scheme is unknown.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if at > 0 && rest.as_bytes()[at - 1] == b'$' {
                literal.push_str(&rest[..at - 1]);
                literal.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let body = &rest[at + 2..];
            let end = body.find('}').ok_or("a reference is not closed: `${` without `}`")?;
            let reference = &body[..end];
            let part = match reference.split_once(':') {
                Some(("env", name)) if is_variable(name) => Part::Env(name.to_string()),
                Some(("env", _)) => return Err("`${env:NAME}` needs the name of a variable".to_string()),
                Some(("file", path)) if !path.trim().is_empty() => Part::File(path.to_string()),
                Some(("file", _)) => return Err("`${file:path}` needs a path".to_string()),
                Some((scheme, _)) => {
                    return Err(format!("`{scheme}` is not a kind of reference; there are env and file"));
                }
                None => return Err("a reference is written `${env:NAME}` or `${file:path}`".to_string()),
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
            rest = &body[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { text: text.to_string(), parts })
    }

    /// The text as written, references unresolved: safe to show.
    pub fn as_written(&self) -> &str {
        &self.text
    }

    /// The text, if it holds no reference.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What it is made of, in order; at least one part.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text before the first reference: all of it, if there is none.
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether it is made of references alone, so that nothing of its value stands in the file.
    pub fn is_reference(&self) -> bool {
        self.parts.iter().all(|part| !matches!(part, Part::Literal(_)))
    }

    /// The text with every reference replaced by its value.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) that names the reference which has no value.
    pub fn resolve(&self, resolver: &dyn Resolve) -> Result<SecretString> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Env(name) => {
                    let value = resolver.env(name).ok_or_else(|| {
                        Error::config(format!("the environment variable {name} is not set"))
                            .hint(format!("set it before you start: export {name}=…"))
                    })?;
                    out.push_str(value.expose_secret());
                }
                Part::File(path) => {
                    let value = resolver
                        .file(path)
                        .map_err(|e| Error::config("a referenced file cannot be read").with("file", path).because(e))?;
                    out.push_str(value.expose_secret());
                }
            }
        }
        Ok(SecretString::from(out))
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Resolve for Fixed {
        fn env(&self, name: &str) -> Option<SecretString> {
            (name == "PW").then(|| SecretString::from("s3cr3t"))
        }

        fn file(&self, _: &str) -> std::io::Result<SecretString> {
            Ok(SecretString::from("from-file"))
        }
    }

    #[test]
    fn references_resolve_and_never_print() {
        let template = Template::parse("a-${env:PW}-${file:/run/x}-$${b}").unwrap();
        assert_eq!(template.resolve(&Fixed).unwrap().expose_secret(), "a-s3cr3t-from-file-${b}");
        assert!(!format!("{template:?}").contains("s3cr3t"));
        assert!(!serde_json::to_string(&template).unwrap().contains("s3cr3t"));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Template::parse("${env:GONE}").unwrap().resolve(&NoReferences).unwrap_err();
        assert!(error.to_string().contains("GONE"));
    }

    #[test]
    fn what_stands_in_the_file_is_told_from_what_does_not() {
        for (text, beginning, is_reference) in [
            ("", "", false),
            ("s3://lake", "s3://lake", false),
            ("s3://${env:BUCKET}/x", "s3://", false),
            ("${env:PW}", "", true),
            ("${env:A}${file:/run/b}", "", true),
            ("${env:PW}x", "", false),
            ("$${env:PW}", "${env:PW}", false),
        ] {
            let template = Template::parse(text).unwrap();
            assert_eq!((template.beginning(), template.is_reference()), (beginning, is_reference), "{text}");
        }
    }

    #[test]
    fn a_malformed_reference_is_refused() {
        for bad in ["${env:A", "${env:}", "${vault:x}", "${A}", "${file: }", "${env:1A}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
