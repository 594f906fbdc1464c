//! What the types of Avro are here, in both directions.
//!
//! | Avro | type |
//! | --- | --- |
//! | null | text, always NULL |
//! | boolean, int, long, float, double, string | bool, int32, int64, float32, float64, text |
//! | bytes, fixed | binary |
//! | enum | text |
//! | array, map, record | list, map of text, struct |
//! | date; time-millis, -micros | date; time(ms), time(us) |
//! | timestamp-millis, -micros, -nanos | timestamp(u, UTC) |
//! | local-timestamp-millis, -micros, -nanos | timestamp(u) |
//! | decimal of bytes or fixed | decimal |
//! | uuid of string or fixed(16) | uuid |
//! | duration of fixed(12) | interval |
//! | union of null and one type | that type, which may be NULL |
//!
//! A logical type that is not known, or stands on a type that it cannot stand on, is passed over, as the specification asks.

use std::collections::HashMap;

use arrow::datatypes::{Field, Schema};
use serde_json::{Map, Value as Json, json};
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result};

/// As deep as types nest, like all types here.
const MAX_DEPTH: usize = 16;
/// Most parts of a schema, each counted as often as it is referred to.
const MAX_PARTS: usize = 100_000;

/// How a value is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) tag: Tag,
    pub(crate) kind: Kind,
}

/// Which branch of a union stands before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// None: it is no union.
    None,
    /// The only one.
    Only,
    /// One of two, of which this one is null.
    Null(i64),
}

/// What a value is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Date,
    Time(Unit),
    /// The unit, and whether it is a point in time rather than a wall clock.
    Timestamp(Unit, bool),
    /// Precision, scale, and the number of bytes if it is always the same.
    Decimal(u8, i8, Option<usize>),
    TextUuid,
    FixedUuid,
    Duration,
    List(Box<Node>),
    Map(Box<Node>),
    Record(Vec<(String, Node)>),
}

impl Node {
    fn plain(kind: Kind) -> Self {
        Self { tag: Tag::None, kind }
    }

    /// The type of the values.
    pub(crate) fn ty(&self) -> LogicalType {
        use LogicalType as T;
        match &self.kind {
            Kind::Null | Kind::Text | Kind::Enum(_) => T::Text,
            Kind::Bool => T::Bool,
            Kind::Int => T::Int(32),
            Kind::Long => T::Int(64),
            Kind::Float => T::Float(32),
            Kind::Double => T::Float(64),
            Kind::Bytes | Kind::Fixed(_) => T::Binary,
            Kind::Date => T::Date,
            Kind::Time(unit) => T::Time(*unit),
            Kind::Timestamp(unit, is_instant) => T::Timestamp(*unit, is_instant.then(|| "UTC".to_string())),
            Kind::Decimal(precision, scale, _) => T::Decimal(*precision, *scale),
            Kind::TextUuid | Kind::FixedUuid => T::Uuid,
            Kind::Duration => T::Interval,
            Kind::List(item) => T::List(Box::new(item.ty())),
            Kind::Map(value) => T::Map(Box::new(T::Text), Box::new(value.ty())),
            Kind::Record(fields) => T::Struct(fields.iter().map(|(name, node)| (name.clone(), node.ty())).collect()),
        }
    }

    fn is_nullable(&self) -> bool {
        matches!(self.tag, Tag::Null(_)) || self.kind == Kind::Null
    }

    /// The column that holds the values.
    pub(crate) fn field(&self, name: &str) -> Field {
        self.ty().to_field(name, self.is_nullable())
    }
}

/// Reads the schema of a file, whose values must be records.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for a schema that is broken, or whose values no column can hold.
pub(crate) fn read(schema: &[u8]) -> Result<Vec<(String, Node)>> {
    let broken = || Error::config("the Avro file cannot be read: its schema is broken");
    let schema: Json = serde_json::from_slice(schema).map_err(|e| broken().because(e))?;
    let refused = |reason: String| Error::config(format!("the Avro file cannot be read: {reason}"));
    let Kind::Record(fields) = Reader::default().node(&schema, "", 0).map_err(refused)?.kind else {
        return Err(refused("its values are no records".to_string()));
    };
    match fields.iter().find(|(_, node)| node.ty().to_string().parse::<LogicalType>().is_err()) {
        Some((name, _)) => Err(refused(format!("the type of its column `{name}` is too large"))),
        None => Ok(fields),
    }
}

/// Reads types, of which later ones can refer to earlier ones by name.
#[derive(Default)]
struct Reader {
    /// By full name; `None` while it is being read.
    known: HashMap<String, Option<Kind>>,
    /// Parts that were made by referring to them.
    parts: usize,
}

impl Reader {
    fn node(&mut self, schema: &Json, space: &str, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("its types nest more than {MAX_DEPTH} deep"));
        }
        match schema {
            Json::String(name) => self.named(name, space).map(Node::plain),
            Json::Array(branches) => self.union(branches, space, depth),
            Json::Object(schema) => self.complex(schema, space, depth),
            _ => Err("a type in its schema is none".to_string()),
        }
    }

    fn named(&mut self, name: &str, space: &str) -> Result<Kind, String> {
        Ok(match name {
            "null" => Kind::Null,
            "boolean" => Kind::Bool,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::Text,
            name => match self.known.get(&full_name(name, space)).or_else(|| self.known.get(name)) {
                Some(Some(kind)) => {
                    self.parts += parts(kind);
                    match self.parts > MAX_PARTS {
                        true => return Err(format!("its schema has more than {MAX_PARTS} parts")),
                        false => kind.clone(),
                    }
                }
                Some(None) => return Err(format!("its type `{name}` holds itself, and no column has such a type")),
                None => return Err(format!("its schema has no type `{name}`")),
            },
        })
    }

    fn union(&mut self, branches: &[Json], space: &str, depth: usize) -> Result<Node, String> {
        let nodes: Vec<Node> =
            branches.iter().map(|branch| self.node(branch, space, depth + 1)).collect::<Result<_, _>>()?;
        if nodes.iter().any(|node| node.tag != Tag::None) {
            return Err("its schema has a union in a union".to_string());
        }
        match nodes.as_slice() {
            [only] => Ok(Node { tag: Tag::Only, kind: only.kind.clone() }),
            [Node { kind: Kind::Null, .. }, other] => Ok(Node { tag: Tag::Null(0), kind: other.kind.clone() }),
            [other, Node { kind: Kind::Null, .. }] => Ok(Node { tag: Tag::Null(1), kind: other.kind.clone() }),
            _ => Err("a union of several types is no type of a column".to_string()),
        }
    }

    fn complex(&mut self, schema: &Map<String, Json>, space: &str, depth: usize) -> Result<Node, String> {
        let part = |name: &str| schema.get(name).ok_or_else(|| format!("a type in its schema has no `{name}`"));
        let word = match part("type")? {
            Json::String(word) => word.as_str(),
            // Attributes around a type that is spelled out.
            other => return self.node(other, space, depth + 1),
        };
        let kind = match word {
            "array" => Kind::List(Box::new(self.node(part("items")?, space, depth + 1)?)),
            "map" => Kind::Map(Box::new(self.node(part("values")?, space, depth + 1)?)),
            "record" | "error" | "enum" | "fixed" => {
                return self.definition(word, schema, space, depth).map(Node::plain);
            }
            name => logical(self.named(name, space)?, schema)?,
        };
        Ok(Node::plain(kind))
    }

    /// A type with a name, by which what comes later can refer to it.
    fn definition(
        &mut self,
        word: &str,
        schema: &Map<String, Json>,
        space: &str,
        depth: usize,
    ) -> Result<Kind, String> {
        let text = |name: &str| schema.get(name).and_then(Json::as_str);
        let name = text("name").ok_or("a type in its schema has no name")?;
        let name = full_name(name, text("namespace").unwrap_or(space));
        let space = name.rsplit_once('.').map_or("", |(space, _)| space).to_string();
        if self.known.insert(name.clone(), None).is_some() {
            return Err(format!("its schema has the type `{name}` twice"));
        }
        let list = |name: &str| schema.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let kind = match word {
            "enum" => {
                let symbols = list("symbols").iter().map(|s| s.as_str().map(str::to_string));
                let symbols: Option<Vec<String>> = symbols.collect();
                Kind::Enum(symbols.ok_or_else(|| format!("the symbols of its type `{name}` are no texts"))?)
            }
            "fixed" => {
                let size = schema.get("size").and_then(Json::as_u64).and_then(|size| usize::try_from(size).ok());
                let size = size.filter(|size| *size <= i32::MAX.unsigned_abs() as usize);
                let size = size.ok_or_else(|| format!("the size of its type `{name}` is none"))?;
                logical(Kind::Fixed(size), schema)?
            }
            _ => Kind::Record(self.fields(list("fields"), &name, &space, depth)?),
        };
        self.known.insert(name, Some(kind.clone()));
        Ok(kind)
    }

    fn fields(
        &mut self,
        fields: &[Json],
        record: &str,
        space: &str,
        depth: usize,
    ) -> Result<Vec<(String, Node)>, String> {
        let mut found: Vec<(String, Node)> = Vec::with_capacity(fields.len());
        for field in fields {
            let (name, ty) = match (field.get("name").and_then(Json::as_str), field.get("type")) {
                (Some(name), Some(ty)) => (name, ty),
                _ => return Err(format!("a field of its type `{record}` has no name or no type")),
            };
            if found.iter().any(|(seen, _)| seen == name) {
                return Err(format!("its type `{record}` has the field `{name}` twice"));
            }
            found.push((name.to_string(), self.node(ty, space, depth + 1)?));
        }
        Ok(found)
    }
}

/// The number of types in a type, itself included.
fn parts(kind: &Kind) -> usize {
    match kind {
        Kind::List(part) | Kind::Map(part) => 1 + parts(&part.kind),
        Kind::Record(fields) => 1 + fields.iter().map(|(_, node)| parts(&node.kind)).sum::<usize>(),
        _ => 1,
    }
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_string() } else { format!("{space}.{name}") }
}

/// What a stored value is by its logical type.
fn logical(stored: Kind, schema: &Map<String, Json>) -> Result<Kind, String> {
    let Some(logical) = schema.get("logicalType").and_then(Json::as_str) else { return Ok(stored) };
    Ok(match (logical, stored) {
        ("date", Kind::Int) => Kind::Date,
        ("time-millis", Kind::Int) => Kind::Time(Unit::Ms),
        ("time-micros", Kind::Long) => Kind::Time(Unit::Us),
        ("timestamp-millis", Kind::Long) => Kind::Timestamp(Unit::Ms, true),
        ("timestamp-micros", Kind::Long) => Kind::Timestamp(Unit::Us, true),
        ("timestamp-nanos", Kind::Long) => Kind::Timestamp(Unit::Ns, true),
        ("local-timestamp-millis", Kind::Long) => Kind::Timestamp(Unit::Ms, false),
        ("local-timestamp-micros", Kind::Long) => Kind::Timestamp(Unit::Us, false),
        ("local-timestamp-nanos", Kind::Long) => Kind::Timestamp(Unit::Ns, false),
        ("uuid", Kind::Text) => Kind::TextUuid,
        ("uuid", Kind::Fixed(16)) => Kind::FixedUuid,
        ("duration", Kind::Fixed(12)) => Kind::Duration,
        // Bytes in the place of a number would be taken for something else.
        ("decimal", Kind::Bytes) => decimal(schema, None)?,
        ("decimal", Kind::Fixed(size)) => decimal(schema, Some(size))?,
        (_, stored) => stored,
    })
}

fn decimal(schema: &Map<String, Json>, size: Option<usize>) -> Result<Kind, String> {
    let number = |name: &str| schema.get(name).and_then(Json::as_u64);
    let precision = number("precision").and_then(|p| u8::try_from(p).ok()).filter(|p| (1..=76).contains(p));
    let precision = precision.ok_or("a decimal in its schema has no precision from 1 to 76")?;
    let scale = match schema.contains_key("scale") {
        true => number("scale").and_then(|s| i8::try_from(s).ok()).filter(|s| s.unsigned_abs() <= precision),
        false => Some(0),
    };
    Ok(Kind::Decimal(precision, scale.ok_or("a decimal in its schema has no scale from 0 to its precision")?, size))
}

/// Whether something can be the name of a record or a field.
pub(crate) fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// The schema in which rows of these columns are written.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) for a type that Avro has not; it has been refused before.
pub(crate) fn written(schema: &Schema) -> Result<Json> {
    let mut records = 0;
    let fields = schema.fields().iter().map(|field| written_field(field, &mut records)).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "type": "record", "name": "row", "fields": fields }))
}

fn written_field(field: &Field, records: &mut usize) -> Result<Json> {
    let ty = written_type(field, records)?;
    match field.is_nullable() {
        true => Ok(json!({ "name": field.name(), "type": ["null", ty], "default": null })),
        false => Ok(json!({ "name": field.name(), "type": ty })),
    }
}

/// The type of a part that may be NULL if its field says so.
fn written_part(field: &Field, records: &mut usize) -> Result<Json> {
    let ty = written_type(field, records)?;
    Ok(if field.is_nullable() { json!(["null", ty]) } else { ty })
}

fn written_type(field: &Field, records: &mut usize) -> Result<Json> {
    use LogicalType as T;
    use arrow::datatypes::DataType;
    let missing = || Error::internal(format!("Avro has no type for {}", field.data_type()));
    let logical = |stored: &str, logical: &str| json!({ "type": stored, "logicalType": logical });
    Ok(match LogicalType::of(field).ok_or_else(missing)? {
        T::Bool => json!("boolean"),
        T::Int(8 | 16 | 32) | T::UInt(8 | 16) => json!("int"),
        T::Int(_) | T::UInt(32) => json!("long"),
        T::Float(32) => json!("float"),
        T::Float(_) => json!("double"),
        T::Decimal(precision, scale) => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
        }
        T::Text | T::Json => json!("string"),
        T::Binary => json!("bytes"),
        T::Date => logical("int", "date"),
        T::Time(Unit::S | Unit::Ms) => logical("int", "time-millis"),
        T::Time(Unit::Us) => logical("long", "time-micros"),
        T::Timestamp(unit, zone) => {
            let local = if zone.is_some() { "" } else { "local-" };
            let ticks = match unit {
                Unit::S | Unit::Ms => "millis",
                Unit::Us => "micros",
                Unit::Ns => "nanos",
            };
            logical("long", &format!("{local}timestamp-{ticks}"))
        }
        T::Uuid => logical("string", "uuid"),
        T::List(_) => match field.data_type() {
            DataType::List(item) => json!({ "type": "array", "items": written_part(item, records)? }),
            _ => return Err(missing()),
        },
        T::Struct(_) => match field.data_type() {
            DataType::Struct(fields) => {
                *records += 1;
                let name = format!("record_{records}");
                let fields = fields.iter().map(|f| written_field(f, records)).collect::<Result<Vec<_>>>()?;
                json!({ "type": "record", "name": name, "fields": fields })
            }
            _ => return Err(missing()),
        },
        T::Map(..) => match field.data_type() {
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(parts) if parts.len() == 2 => {
                    json!({ "type": "map", "values": written_part(&parts[1], records)? })
                }
                _ => return Err(missing()),
            },
            _ => return Err(missing()),
        },
        T::UInt(_) | T::Time(Unit::Ns) | T::Interval => return Err(missing()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(fields: &str) -> Result<Vec<String>, String> {
        let schema = format!(r#"{{"type":"record","name":"r","namespace":"n.s","fields":[{fields}]}}"#);
        let fields = read(schema.as_bytes()).map_err(|e| e.to_string())?;
        let shown = |(name, node): (String, Node)| {
            format!("{name} {}{}", node.ty(), if node.is_nullable() { "" } else { " not null" })
        };
        Ok(fields.into_iter().map(shown).collect())
    }

    #[test]
    fn every_type_of_avro_has_one_here() {
        for (avro, ty) in [
            (r#""boolean""#, "bool not null"),
            (r#"["null","int"]"#, "int32"),
            (r#"["long","null"]"#, "int64"),
            (r#"["float"]"#, "float32 not null"),
            (r#"{"type":"double"}"#, "float64 not null"),
            (r#"{"type":{"type":"string","avro.java.string":"String"}}"#, "text not null"),
            (r#""null""#, "text"),
            (r#""bytes""#, "binary not null"),
            (r#"{"type":"fixed","name":"f","size":3}"#, "binary not null"),
            (r#"{"type":"enum","name":"e","symbols":["A","B"]}"#, "text not null"),
            (r#"{"type":"int","logicalType":"date"}"#, "date not null"),
            (r#"{"type":"int","logicalType":"time-millis"}"#, "time(ms) not null"),
            (r#"{"type":"long","logicalType":"time-micros"}"#, "time(us) not null"),
            (r#"{"type":"long","logicalType":"timestamp-millis"}"#, "timestamp(ms, UTC) not null"),
            (r#"["null",{"type":"long","logicalType":"local-timestamp-nanos"}]"#, "timestamp(ns)"),
            (r#"{"type":"long","logicalType":"date"}"#, "int64 not null"),
            (r#"{"type":"string","logicalType":"unheard-of"}"#, "text not null"),
            (r#"{"type":"bytes","logicalType":"decimal","precision":50,"scale":2}"#, "decimal(50,2) not null"),
            (r#"{"type":"fixed","name":"f","size":4,"logicalType":"decimal","precision":9}"#, "decimal(9,0) not null"),
            (r#"{"type":"string","logicalType":"uuid"}"#, "uuid not null"),
            (r#"{"type":"fixed","name":"f","size":16,"logicalType":"uuid"}"#, "uuid not null"),
            (r#"{"type":"fixed","name":"f","size":12,"logicalType":"duration"}"#, "interval not null"),
            (r#"{"type":"array","items":["null","int"]}"#, "list<int32> not null"),
            (r#"{"type":"map","values":"double"}"#, "map<text, float64> not null"),
            (
                r#"{"type":"record","name":"p","fields":[{"name":"x","type":"int"},{"name":"y","type":"string"}]}"#,
                "struct<x: int32, y: text> not null",
            ),
        ] {
            assert_eq!(types(&format!(r#"{{"name":"c","type":{avro}}}"#)), Ok(vec![format!("c {ty}")]), "{avro}");
        }
    }

    #[test]
    fn types_are_found_by_their_names() {
        let first = r#"{"name":"a","type":{"type":"fixed","name":"f","size":2}}"#;
        for name in ["f", "n.s.f"] {
            let fields = format!(r#"{first},{{"name":"b","type":["null","{name}"]}}"#);
            assert_eq!(types(&fields).unwrap()[1], "b binary");
        }
        assert!(types(r#"{"name":"a","type":"nowhere"}"#).unwrap_err().contains("no type `nowhere`"));
        assert!(types(r#"{"name":"a","type":["null","r"]}"#).unwrap_err().contains("holds itself"));
    }

    #[test]
    fn what_no_column_can_hold_is_refused() {
        for (avro, says) in [
            (r#"["int","string"]"#, "a union of several types"),
            (r#"["null","int","string"]"#, "a union of several types"),
            (r#"{"type":"bytes","logicalType":"decimal","precision":77}"#, "no precision from 1 to 76"),
            (r#"{"type":"bytes","logicalType":"decimal","precision":3,"scale":4}"#, "no scale from 0"),
            (r#"{"type":"array"}"#, "no `items`"),
            ("7", "a type in its schema is none"),
        ] {
            let said = types(&format!(r#"{{"name":"c","type":{avro}}}"#)).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(30), "}".repeat(30));
        assert!(types(&format!(r#"{{"name":"c","type":{deep}}}"#)).unwrap_err().contains("more than 16 deep"));
        let doubled = |i: i32| {
            let fields = ["a", "b"].map(|f| format!(r#"{{"name":"{f}","type":"t{}"}}"#, i - 1)).join(",");
            format!(r#"{{"name":"f{i}","type":{{"type":"record","name":"t{i}","fields":[{fields}]}}}}"#)
        };
        let bomb: Vec<String> = (1..60).map(doubled).collect();
        let first = r#"{"name":"f0","type":{"type":"record","name":"t0","fields":[{"name":"a","type":"int"}]}}"#;
        assert!(types(&format!("{first},{}", bomb.join(","))).unwrap_err().contains("more than 100000 parts"));
        assert!(read(b"\"int\"").unwrap_err().to_string().contains("no records"));
        assert!(read(b"{").unwrap_err().to_string().contains("broken"));
    }

    #[test]
    fn what_is_written_is_read_with_the_types_that_avro_has() {
        for (ty, read_as) in [
            ("bool", "bool"),
            ("int8", "int32"),
            ("uint16", "int32"),
            ("uint32", "int64"),
            ("decimal(50,3)", "decimal(50,3)"),
            ("json", "text"),
            ("time(s)", "time(ms)"),
            ("timestamp(s)", "timestamp(ms)"),
            ("timestamp(us, Europe/Berlin)", "timestamp(us, UTC)"),
            ("list<struct<a: uuid, b: map<text, date>>>", "list<struct<a: uuid, b: map<text, date>>>"),
        ] {
            for nullable in [true, false] {
                let field = ty.parse::<LogicalType>().unwrap().to_field("c", nullable);
                let schema = written(&Schema::new(vec![field])).unwrap().to_string();
                let fields = read(schema.as_bytes()).unwrap();
                assert_eq!((fields[0].1.ty().to_string().as_str(), fields[0].1.is_nullable()), (read_as, nullable));
            }
        }
    }

    #[test]
    fn names_are_those_of_the_specification() {
        assert!(["a", "_1", "Ab_2"].into_iter().all(is_name));
        assert!(!["", "1a", "a b", "ä", "a-b", "a.b"].into_iter().any(is_name));
    }
}
