//! How the values of a column are read: what is made of which kind of JSON value.
//!
//! Whatever a value is made of, its innermost parts are texts: numbers and words as they are written, texts without quotes
//! and escapes. The planner casts them part by part, so that no digit is lost before the rulebook has seen it.

use std::borrow::Cow;
use std::collections::HashMap;

use transload_core::LogicalType;

use super::syntax::{Kind, list, object, text};

/// How a value is read.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// As one text. `only` is the kind of value that the type was guessed from; others do not fit then.
    Scalar { ty: LogicalType, only: Option<Kind> },
    /// As it is written, whatever it is: a JSON text.
    Raw,
    /// Its items one by one.
    List(Box<Shape>),
    /// Its fields by their names.
    Struct(Fields),
    /// Its entries, whatever their names: by the type of the keys, and the shape of the values.
    Map(LogicalType, Box<Shape>),
}

/// Named parts in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    pub(crate) all: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

/// A value whose innermost parts are texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    /// The fields in the order of the shape.
    Struct(Vec<Value<'a>>),
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// Why a value cannot be read, and where in its row it stands, innermost name first.
#[derive(Debug, Default)]
pub(crate) struct Misshapen {
    path: Vec<String>,
    reason: String,
}

impl Misshapen {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    /// In one sentence.
    pub(crate) fn sentence(&self) -> String {
        match self.path.is_empty() {
            true => self.reason.clone(),
            false => {
                let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
                format!("`{}` {}", path.join("."), self.reason)
            }
        }
    }
}

impl Fields {
    pub(crate) fn new(all: Vec<(String, Shape)>) -> Self {
        let places = all.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { all, places }
    }

    /// Reads an object.
    pub(crate) fn read<'a>(&self, value: &'a str) -> Result<Vec<Value<'a>>, Misshapen> {
        let mut values = vec![Value::Null; self.all.len()];
        for (at, (name, value)) in object(value).map_err(Misshapen::new)?.into_iter().enumerate() {
            // Most objects have their fields in one order.
            let place = match self.all.get(at) {
                Some((expected, _)) if *expected == name => Some(at),
                _ => self.places.get(name.as_ref()).copied(),
            };
            let Some(place) = place else {
                let reason = "is not among the names that are known: it is in no sampled line, and not in `json.types`";
                return Err(Misshapen { path: vec![name.into_owned()], reason: reason.to_string() });
            };
            values[place] = self.all[place].1.read(value).map_err(|mut misshapen| {
                misshapen.path.push(name.into_owned());
                misshapen
            })?;
        }
        Ok(values)
    }
}

impl Shape {
    /// How values are read that are meant to be of a type. `ours`: transload has written them, JSON texts as texts.
    pub(crate) fn of(ty: &LogicalType, ours: bool) -> Self {
        match ty {
            LogicalType::Json if !ours => Self::Raw,
            LogicalType::List(item) => Self::List(Box::new(Self::of(item, ours))),
            LogicalType::Struct(fields) => {
                Self::Struct(Fields::new(fields.iter().map(|(n, ty)| (n.clone(), Self::of(ty, ours))).collect()))
            }
            LogicalType::Map(key, value) => Self::Map(key.as_ref().clone(), Box::new(Self::of(value, ours))),
            plain => Self::Scalar { ty: plain.clone(), only: None },
        }
    }

    /// The type that the values are meant to be of.
    pub(crate) fn ty(&self) -> LogicalType {
        self.typed(&|ty| ty.clone())
    }

    /// The type that they are read as: the same with texts in it.
    pub(crate) fn stored(&self) -> LogicalType {
        self.typed(&|_| LogicalType::Text)
    }

    fn typed(&self, leaf: &dyn Fn(&LogicalType) -> LogicalType) -> LogicalType {
        match self {
            Self::Scalar { ty, .. } => leaf(ty),
            Self::Raw => leaf(&LogicalType::Json),
            Self::List(item) => LogicalType::List(Box::new(item.typed(leaf))),
            Self::Struct(fields) => {
                LogicalType::Struct(fields.all.iter().map(|(name, shape)| (name.clone(), shape.typed(leaf))).collect())
            }
            Self::Map(key, value) => LogicalType::Map(Box::new(leaf(key)), Box::new(value.typed(leaf))),
        }
    }

    /// Reads a value. `null` is NULL in any shape.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub(crate) fn read<'a>(&self, value: &'a str) -> Result<Value<'a>, Misshapen> {
        let kind = Kind::of(value);
        let wrong = |wanted: &str| Err(Misshapen::new(format!("is {} where {wanted} is expected", kind.title())));
        match (self, kind) {
            (_, Kind::Null) => Ok(Value::Null),
            (Self::Raw, _) => Ok(Value::Text(Cow::Borrowed(value))),
            (Self::Scalar { only: Some(only), .. }, _) if *only != kind => wrong(only.title()),
            (Self::Scalar { .. }, Kind::Text) => text(value).map(Value::Text).map_err(Misshapen::new),
            (Self::Scalar { .. }, Kind::Number | Kind::Bool) => Ok(Value::Text(Cow::Borrowed(value))),
            (Self::Scalar { ty, .. }, _) => wrong(&ty.to_string()),
            (Self::List(item), Kind::List) => {
                let items = list(value).map_err(Misshapen::new)?;
                Ok(Value::List(items.into_iter().map(|value| item.read(value)).collect::<Result<_, _>>()?))
            }
            (Self::Struct(fields), Kind::Object) => Ok(Value::Struct(fields.read(value)?)),
            (Self::Map(_, shape), Kind::Object) => {
                let mut entries = Vec::new();
                for (key, value) in object(value).map_err(Misshapen::new)? {
                    entries.push((key, shape.read(value)?));
                }
                Ok(Value::Map(entries))
            }
            (Self::List(_), _) => wrong("a list"),
            (Self::Struct(_) | Self::Map(..), _) => wrong("an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(ty: &str) -> Shape {
        Shape::of(&ty.parse().unwrap(), false)
    }

    fn text_value(text: &str) -> Value<'_> {
        Value::Text(text.into())
    }

    #[test]
    fn the_innermost_parts_are_texts() {
        let deep = shape("list<struct<id: int64, more: map<text, decimal(5,2)>, doc: json>>");
        assert_eq!(deep.ty().to_string(), "list<struct<id: int64, more: map<text, decimal(5,2)>, doc: json>>");
        assert_eq!(deep.stored().to_string(), "list<struct<id: text, more: map<text, text>, doc: text>>");
        let read = deep.read(r#"[{"more":{"a":1.50,"b":null},"id":12345678901234567890},null,{"doc":[ 1 ]}]"#).unwrap();
        let first = Value::Struct(vec![
            text_value("12345678901234567890"),
            Value::Map(vec![("a".into(), text_value("1.50")), ("b".into(), Value::Null)]),
            Value::Null,
        ]);
        let last = Value::Struct(vec![Value::Null, Value::Null, text_value("[ 1 ]")]);
        assert_eq!(read, Value::List(vec![first, Value::Null, last]));
    }

    #[test]
    fn a_declared_type_takes_texts_and_numbers() {
        for value in ["17", "\"17\"", "true"] {
            let Value::Text(text) = shape("int64").read(value).unwrap() else { panic!("{value}") };
            assert_eq!(text, value.trim_matches('"'));
        }
        assert_eq!(shape("text").read("null").unwrap(), Value::Null);
        assert_eq!(shape("json").read("\"x\"").unwrap(), text_value("\"x\""));
        assert_eq!(Shape::of(&LogicalType::Json, true).read("\"[1]\"").unwrap(), text_value("[1]"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let guessed = Shape::Scalar { ty: LogicalType::Int(64), only: Some(Kind::Number) };
        let said = |shape: &Shape, value: &str| shape.read(value).unwrap_err().sentence();
        assert_eq!(said(&guessed, "\"5\""), "is a text where a number is expected");
        assert_eq!(said(&shape("date"), "[]"), "is a list where date is expected");
        assert_eq!(said(&shape("list<text>"), "{}"), "is an object where a list is expected");
        let nested = shape("struct<a: struct<b: list<int8>>>");
        assert_eq!(said(&nested, r#"{"a":{"b":{}}}"#), "`a.b` is an object where a list is expected");
        assert!(said(&nested, r#"{"a":{"c":1}}"#).starts_with("`a.c` is not among the names"));
        assert_eq!(said(&nested, r#"{"a":{},"a":{}}"#), "an object in it has a name twice");
    }
}
