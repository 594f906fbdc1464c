//! The spanned tree that a configuration file becomes.
//!
//! Every node knows where it stands, so that whoever finds a problem later (the decoder, a
//! connector, the planner) can point at it. A tree can also be read from and written as plain
//! JSON, without spans: that is how a plan carries the settings of a connection.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where something stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span {
    /// Which file: an index into the list the reader keeps.
    pub file: u32,
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Byte offset of the first byte.
    pub start: u32,
    /// Length in bytes; 0 if unknown.
    pub len: u32,
}

impl Span {
    /// The place of what only stands for a value that is missing or cannot be read. That has been said where the value
    /// should be, so nothing that is said of this place is worth showing.
    pub const PLACEHOLDER: Self = Self { file: u32::MAX, line: 0, column: 0, start: 0, len: 0 };

    /// Whether this is the place of something that only stands for a value.
    pub fn is_placeholder(self) -> bool {
        self == Self::PLACEHOLDER
    }
}

/// One thing that is wrong with a file, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What, in one sentence.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// Whether a secret stands at its place, which is not shown then.
    pub is_secret: bool,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None, is_secret: false }
    }

    /// `what` is a secret, and its value stands in the file. It is not shown.
    pub fn written_secret(span: Span, what: &str) -> Self {
        Self::new(span, format!("{what} is a secret, and it stands here as it is"))
            .hint("put it into a variable or a file, and refer to it: ${env:NAME} or ${file:path}")
            .secret()
    }

    /// Says what a person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that a secret stands at its place.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub span: Span,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    Seq(Vec<Node>),
    /// Keys with values, in the order of the file.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Value {
    /// What a person would call it.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.value == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

/// A decoded value that remembers its place.
#[derive(Debug, Clone, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    /// Places do not count: two files that say the same are equal.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Spanned<T> {
    /// A value that stands nowhere in a file.
    pub fn nowhere(value: T) -> Self {
        Self { value, span: Span::default() }
    }

    /// A value that only stands for one that is missing or cannot be read.
    pub fn placeholder(value: T) -> Self {
        Self { value, span: Span::PLACEHOLDER }
    }

    /// Whether it only stands for a value that is missing or cannot be read.
    pub fn is_placeholder(&self) -> bool {
        self.span.is_placeholder()
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The name by which [`decode`](crate::decode) recognises a [`Spanned`] request.
pub(crate) const SPANNED: &str = "$transload::Spanned";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                Ok(Spanned::nowhere(T::deserialize(d)?))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                use serde::de::Error;
                let place: [u32; 5] = seq.next_element()?.ok_or_else(|| A::Error::custom("no place"))?;
                let value = seq.next_element()?.ok_or_else(|| A::Error::custom("no value"))?;
                let [file, line, column, start, len] = place;
                Ok(Spanned { value, span: Span { file, line, column, start, len } })
            }
        }

        deserializer.deserialize_newtype_struct(SPANNED, V(std::marker::PhantomData))
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(v) => serializer.serialize_bool(*v),
            Value::Int(v) => serializer.serialize_i64(*v),
            Value::Float(v) => serializer.serialize_f64(*v),
            Value::Text(v) => serializer.serialize_str(v),
            Value::Seq(items) => serializer.collect_seq(items),
            Value::Map(entries) => serializer.collect_map(entries.iter().map(|(k, v)| (&k.value, v))),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(|value| Node { value, span: Span::default() })
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<String, Node>()? {
            entries.push((Spanned::nowhere(key), node));
        }
        Ok(Value::Map(entries))
    }
}
