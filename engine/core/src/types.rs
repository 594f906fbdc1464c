//! Logical types: what a value *is*, whatever layout a system or a library stores it in.
//!
//! A column of `Dictionary(Int32, Utf8)`, one of `Utf8View` and one of `LargeUtf8` are all [`LogicalType::Text`].
//! Casts, digests and comparisons are defined on these types only. The text form (`decimal(15,2)`,
//! `timestamp(us, UTC)`, `list<int32>`) is the one used in pipelines, rulebooks and plans.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

/// Key of the field metadata that names an Arrow extension type.
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
const UUID_EXTENSION: &str = "arrow.uuid";
const JSON_EXTENSION: &str = "arrow.json";

/// The kinds of values that transload moves, compares and hashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogicalType {
    /// True or false.
    Bool,
    /// Signed integer of 8, 16, 32 or 64 bits.
    Int(u8),
    /// Unsigned integer of 8, 16, 32 or 64 bits.
    UInt(u8),
    /// IEEE 754 binary float of 32 or 64 bits.
    Float(u8),
    /// Exact decimal: `precision` digits in all (1–76), `scale` of them after the point (0 ≤ scale ≤ precision).
    Decimal(u8, i8),
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// Calendar day, proleptic Gregorian.
    Date,
    /// Time of day without a zone.
    Time(Unit),
    /// Point on a wall clock (no zone) or in time (with zone; the zone names how it is shown, the value is UTC).
    Timestamp(Unit, Option<String>),
    /// Months, days and nanoseconds, each kept apart.
    Interval,
    /// 128-bit identifier (RFC 9562).
    Uuid,
    /// JSON text, kept as it was written.
    Json,
    /// Ordered values of one type.
    List(Box<LogicalType>),
    /// Named values, in order.
    Struct(Vec<(String, LogicalType)>),
    /// Keys with values; the order of the entries carries no meaning.
    Map(Box<LogicalType>, Box<LogicalType>),
}

/// Resolution of times and timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl Unit {
    /// Nanoseconds in one tick of this unit.
    pub fn nanos(self) -> i64 {
        match self {
            Self::S => 1_000_000_000,
            Self::Ms => 1_000_000,
            Self::Us => 1_000,
            Self::Ns => 1,
        }
    }

    /// The Arrow name of this unit.
    pub fn to_arrow(self) -> TimeUnit {
        match self {
            Self::S => TimeUnit::Second,
            Self::Ms => TimeUnit::Millisecond,
            Self::Us => TimeUnit::Microsecond,
            Self::Ns => TimeUnit::Nanosecond,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
        }
    }
}

impl From<TimeUnit> for Unit {
    fn from(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::Second => Self::S,
            TimeUnit::Millisecond => Self::Ms,
            TimeUnit::Microsecond => Self::Us,
            TimeUnit::Nanosecond => Self::Ns,
        }
    }
}

impl LogicalType {
    /// The logical type of an Arrow field (its extension name counts), or `None` where transload has no word for it.
    pub fn of(field: &Field) -> Option<Self> {
        match field.metadata().get(EXTENSION_NAME).map(String::as_str) {
            Some(UUID_EXTENSION) => return Some(Self::Uuid),
            Some(JSON_EXTENSION) => return Some(Self::Json),
            _ => {}
        }
        Some(match field.data_type() {
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::Int(8),
            DataType::Int16 => Self::Int(16),
            DataType::Int32 => Self::Int(32),
            DataType::Int64 => Self::Int(64),
            DataType::UInt8 => Self::UInt(8),
            DataType::UInt16 => Self::UInt(16),
            DataType::UInt32 => Self::UInt(32),
            DataType::UInt64 => Self::UInt(64),
            DataType::Float16 | DataType::Float32 => Self::Float(32),
            DataType::Float64 => Self::Float(64),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s)
                if *s >= 0 =>
            {
                Self::Decimal(*p, *s)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Binary
            }
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time((*unit).into()),
            DataType::Timestamp(unit, zone) => Self::Timestamp((*unit).into(), zone.as_ref().map(|z| z.to_string())),
            DataType::Interval(_) => Self::Interval,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::List(Box::new(Self::of(item)?))
            }
            DataType::Struct(fields) => {
                Self::Struct(fields.iter().map(|f| Some((f.name().clone(), Self::of(f)?))).collect::<Option<_>>()?)
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(kv) if kv.len() == 2 => {
                    Self::Map(Box::new(Self::of(&kv[0])?), Box::new(Self::of(&kv[1])?))
                }
                _ => return None,
            },
            DataType::Dictionary(_, value) => Self::of(&Field::new("", value.as_ref().clone(), true))?,
            DataType::RunEndEncoded(_, value) => Self::of(value)?,
            _ => return None,
        })
    }

    /// The Arrow layout transload gives to new arrays of this type.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int(8) => DataType::Int8,
            Self::Int(16) => DataType::Int16,
            Self::Int(32) => DataType::Int32,
            Self::Int(_) => DataType::Int64,
            Self::UInt(8) => DataType::UInt8,
            Self::UInt(16) => DataType::UInt16,
            Self::UInt(32) => DataType::UInt32,
            Self::UInt(_) => DataType::UInt64,
            Self::Float(32) => DataType::Float32,
            Self::Float(_) => DataType::Float64,
            Self::Decimal(p, s) if *p <= 38 => DataType::Decimal128(*p, *s),
            Self::Decimal(p, s) => DataType::Decimal256(*p, *s),
            Self::Text | Self::Json => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time(unit @ (Unit::S | Unit::Ms)) => DataType::Time32(unit.to_arrow()),
            Self::Time(unit) => DataType::Time64(unit.to_arrow()),
            Self::Timestamp(unit, zone) => DataType::Timestamp(unit.to_arrow(), zone.as_deref().map(Arc::from)),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::List(item) => DataType::List(Arc::new(item.to_field("item", true))),
            Self::Struct(fields) => {
                DataType::Struct(fields.iter().map(|(name, ty)| ty.to_field(name, true)).collect::<Fields>())
            }
            Self::Map(key, value) => {
                let entries = Fields::from(vec![key.to_field("key", false), value.to_field("value", true)]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
            }
        }
    }

    /// An Arrow field of this type, with the extension name that lets [`LogicalType::of`] read it back.
    pub fn to_field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.to_arrow(), nullable);
        let extension = match self {
            Self::Uuid => UUID_EXTENSION,
            Self::Json => JSON_EXTENSION,
            _ => return field,
        };
        field.with_metadata([(EXTENSION_NAME.to_string(), extension.to_string())].into())
    }

    /// Gives `field` the layout [`to_arrow`](Self::to_arrow) names where its own would confuse a
    /// writer or a reader (dictionaries, run ends, large offsets, dates in milliseconds); text and binary views stay.
    pub fn plain_layout(field: &FieldRef) -> Option<FieldRef> {
        let keep =
            matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView | DataType::FixedSizeBinary(_));
        let logical = Self::of(field)?;
        if keep || *field.data_type() == logical.to_arrow() {
            return Some(Arc::clone(field));
        }
        Some(Arc::new(logical.to_field(field.name(), field.is_nullable()).with_metadata(field.metadata().clone())))
    }

    /// The smallest type in which every value of both types is exactly itself, if there is one.
    pub fn supertype(&self, other: &Self) -> Option<Self> {
        use LogicalType as T;
        if self == other {
            return Some(self.clone());
        }
        Some(match (self, other) {
            (T::Int(a), T::Int(b)) => T::Int(*a.max(b)),
            (T::UInt(a), T::UInt(b)) => T::UInt(*a.max(b)),
            (T::Int(i), T::UInt(u)) | (T::UInt(u), T::Int(i)) => match (2 * u).max(*i) {
                bits if bits <= 64 => T::Int(bits),
                _ => T::Decimal(20, 0),
            },
            (T::Float(a), T::Float(b)) => T::Float(*a.max(b)),
            (T::Int(i) | T::UInt(i), T::Float(f)) | (T::Float(f), T::Int(i) | T::UInt(i)) => match (i, f) {
                (8 | 16, 32) => T::Float(32),
                (8 | 16 | 32, _) => T::Float(64),
                _ => return None,
            },
            (T::Decimal(p, s), T::Decimal(q, t)) => {
                let scale = *s.max(t);
                let whole = (*p as i8 - s).max(*q as i8 - t);
                let precision = u8::try_from(whole.checked_add(scale)?).ok()?;
                (precision <= 76).then_some(T::Decimal(precision.max(1), scale))?
            }
            (T::Decimal(..), T::Int(_) | T::UInt(_)) => self.supertype(&other.as_decimal()?)?,
            (T::Int(_) | T::UInt(_), T::Decimal(..)) => self.as_decimal()?.supertype(other)?,
            (T::Time(a), T::Time(b)) => T::Time(*a.max(b)),
            (T::Timestamp(a, x), T::Timestamp(b, y)) if x == y => T::Timestamp(*a.max(b), x.clone()),
            (T::List(a), T::List(b)) => T::List(Box::new(a.supertype(b)?)),
            _ => return None,
        })
    }

    /// The decimal without fraction that holds every value of an integer type.
    pub fn as_decimal(&self) -> Option<Self> {
        let digits = match self {
            Self::Int(8) | Self::UInt(8) => 3,
            Self::Int(16) | Self::UInt(16) => 5,
            Self::Int(32) | Self::UInt(32) => 10,
            Self::Int(_) => 19,
            Self::UInt(_) => 20,
            _ => return None,
        };
        Some(Self::Decimal(digits, 0))
    }

    /// The same type, in which UTC has its name where it is written as an offset. Not every format keeps the difference.
    #[must_use]
    pub fn with_utc_named(&self) -> Self {
        match self {
            Self::Timestamp(unit, Some(zone)) if zone == "+00:00" => Self::Timestamp(*unit, Some("UTC".to_string())),
            Self::List(item) => Self::List(Box::new(item.with_utc_named())),
            Self::Struct(fields) => {
                Self::Struct(fields.iter().map(|(name, ty)| (name.clone(), ty.with_utc_named())).collect())
            }
            Self::Map(key, value) => Self::Map(Box::new(key.with_utc_named()), Box::new(value.with_utc_named())),
            other => other.clone(),
        }
    }

    /// This type with others in it: `other` says what takes the place of a type without parts. `None` if nothing does.
    pub fn with_parts(&self, other: &dyn Fn(&Self) -> Option<Self>) -> Option<Self> {
        let in_place = |old: &Self, new: Option<Self>| new.unwrap_or_else(|| old.clone());
        match self {
            Self::List(item) => Some(Self::List(Box::new(item.with_parts(other)?))),
            Self::Struct(fields) => {
                let new: Vec<Option<Self>> = fields.iter().map(|(_, ty)| ty.with_parts(other)).collect();
                let is_other = new.iter().any(Option::is_some);
                let fields = fields.iter().zip(new).map(|((name, ty), new)| (name.clone(), in_place(ty, new)));
                is_other.then(|| Self::Struct(fields.collect()))
            }
            Self::Map(key, value) => {
                let (new_key, new_value) = (key.with_parts(other), value.with_parts(other));
                let is_other = new_key.is_some() || new_value.is_some();
                is_other.then(|| {
                    Self::Map(Box::new(in_place(key.as_ref(), new_key)), Box::new(in_place(value.as_ref(), new_value)))
                })
            }
            plain => other(plain),
        }
    }

    /// The family name a rulebook uses: the text form without its parameters.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int(8) => "int8",
            Self::Int(16) => "int16",
            Self::Int(32) => "int32",
            Self::Int(_) => "int64",
            Self::UInt(8) => "uint8",
            Self::UInt(16) => "uint16",
            Self::UInt(32) => "uint32",
            Self::UInt(_) => "uint64",
            Self::Float(32) => "float32",
            Self::Float(_) => "float64",
            Self::Decimal(..) => "decimal",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Date => "date",
            Self::Time(_) => "time",
            Self::Timestamp(..) => "timestamp",
            Self::Interval => "interval",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::List(_) => "list",
            Self::Struct(_) => "struct",
            Self::Map(..) => "map",
        }
    }
}

/// Whether a layout holds dates as milliseconds (Date64), which may have a time of day that is no part of a date.
pub fn has_wide_dates(layout: &DataType) -> bool {
    match layout {
        DataType::Date64 => true,
        DataType::Dictionary(_, values) => has_wide_dates(values),
        DataType::RunEndEncoded(_, part)
        | DataType::List(part)
        | DataType::LargeList(part)
        | DataType::FixedSizeList(part, _)
        | DataType::Map(part, _) => has_wide_dates(part.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_wide_dates(f.data_type())),
        _ => false,
    }
}

/// Every family name, for messages and completions.
pub const FAMILIES: [&str; 23] = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "decimal",
    "text",
    "binary",
    "date",
    "time",
    "timestamp",
    "interval",
    "uuid",
    "json",
    "list",
    "struct",
    "map",
];

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(p, s) => write!(f, "decimal({p},{s})"),
            Self::Time(unit) => write!(f, "time({})", unit.name()),
            Self::Timestamp(unit, None) => write!(f, "timestamp({})", unit.name()),
            Self::Timestamp(unit, Some(zone)) => write!(f, "timestamp({}, {zone})", unit.name()),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, (name, ty)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    match is_plain_name(name) {
                        true => write!(f, "{comma}{name}: {ty}")?,
                        false => write!(f, "{comma}\"{}\": {ty}", name.replace('"', "\"\""))?,
                    }
                }
                f.write_str(">")
            }
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            simple => f.write_str(simple.family()),
        }
    }
}

/// Whether the name of a field can stand in a type as it is; any other is put in double quotes, its own ones doubled.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

impl FromStr for LogicalType {
    type Err = String;

    /// Reads the text form. The error is a sentence that names what was not understood.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 4096 {
            return Err("a type is at most 4096 characters long".to_string());
        }
        let mut parser = TypeParser { rest: text.trim(), depth: 0 };
        let ty = parser.parse()?;
        match parser.rest.trim() {
            "" => Ok(ty),
            extra => Err(format!("`{extra}` is left over after the type `{ty}`")),
        }
    }
}

struct TypeParser<'a> {
    rest: &'a str,
    depth: u8,
}

impl<'a> TypeParser<'a> {
    fn parse(&mut self) -> Result<LogicalType, String> {
        self.depth += 1;
        if self.depth > 16 {
            return Err("types nest at most 16 deep".to_string());
        }
        let word = self.word();
        let ty = match word {
            "bool" => LogicalType::Bool,
            "int8" => LogicalType::Int(8),
            "int16" => LogicalType::Int(16),
            "int32" => LogicalType::Int(32),
            "int64" => LogicalType::Int(64),
            "uint8" => LogicalType::UInt(8),
            "uint16" => LogicalType::UInt(16),
            "uint32" => LogicalType::UInt(32),
            "uint64" => LogicalType::UInt(64),
            "float32" => LogicalType::Float(32),
            "float64" => LogicalType::Float(64),
            "text" => LogicalType::Text,
            "binary" => LogicalType::Binary,
            "date" => LogicalType::Date,
            "interval" => LogicalType::Interval,
            "uuid" => LogicalType::Uuid,
            "json" => LogicalType::Json,
            "decimal" => self.decimal()?,
            "time" => LogicalType::Time(self.unit_and_zone()?.0),
            "timestamp" => {
                let (unit, zone) = self.unit_and_zone()?;
                LogicalType::Timestamp(unit, zone)
            }
            "list" => {
                self.expect('<')?;
                let item = self.parse()?;
                self.expect('>')?;
                LogicalType::List(Box::new(item))
            }
            "map" => {
                self.expect('<')?;
                let key = self.parse()?;
                self.expect(',')?;
                let value = self.parse()?;
                self.expect('>')?;
                LogicalType::Map(Box::new(key), Box::new(value))
            }
            "struct" => self.fields()?,
            "" => return Err("a type is missing".to_string()),
            other => return Err(format!("`{other}` is not a type; the types are {}", FAMILIES.join(", "))),
        };
        self.depth -= 1;
        Ok(ty)
    }

    fn fields(&mut self) -> Result<LogicalType, String> {
        let mut fields: Vec<(String, LogicalType)> = Vec::new();
        self.expect('<')?;
        loop {
            let name = self.name()?;
            if fields.iter().any(|(seen, _)| *seen == name) {
                return Err(format!("the struct names the field `{name}` twice"));
            }
            self.expect(':')?;
            fields.push((name, self.parse()?));
            if self.accept('>') {
                return Ok(LogicalType::Struct(fields));
            }
            self.expect(',')?;
        }
    }

    /// The name of a field, which may be quoted.
    fn name(&mut self) -> Result<String, String> {
        if !self.accept('"') {
            return match self.word() {
                "" => Err("a struct needs `name: type` pairs".to_string()),
                name => Ok(name.to_string()),
            };
        }
        let mut name = String::new();
        loop {
            let end = self.rest.find('"').ok_or("a `\"` is missing")?;
            name.push_str(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            match self.rest.strip_prefix('"') {
                Some(rest) => {
                    name.push('"');
                    self.rest = rest;
                }
                None => return Ok(name),
            }
        }
    }

    fn decimal(&mut self) -> Result<LogicalType, String> {
        self.expect('(').map_err(|_| "decimal needs precision and scale, as in decimal(15,2)".to_string())?;
        let precision: u8 = self.number()?;
        let scale: i8 = if self.accept(',') { self.number()? } else { 0 };
        self.expect(')')?;
        if precision == 0 || precision > 76 {
            return Err(format!("decimal precision is 1 to 76, not {precision}"));
        }
        if scale < 0 || scale as u8 > precision {
            return Err(format!("decimal scale is 0 to the precision ({precision}), not {scale}"));
        }
        Ok(LogicalType::Decimal(precision, scale))
    }

    fn unit_and_zone(&mut self) -> Result<(Unit, Option<String>), String> {
        if !self.accept('(') {
            return Ok((Unit::Us, None));
        }
        let unit = match self.word() {
            "s" => Unit::S,
            "ms" => Unit::Ms,
            "us" => Unit::Us,
            "ns" => Unit::Ns,
            other => return Err(format!("`{other}` is not a unit; the units are s, ms, us, ns")),
        };
        let zone = if self.accept(',') {
            let end = self.rest.find(')').ok_or("a `)` is missing")?;
            let zone = self.rest[..end].trim().to_string();
            self.rest = &self.rest[end..];
            if zone.parse::<arrow::array::timezone::Tz>().is_err() {
                return Err(format!("`{zone}` is not a time zone; use UTC or an offset such as +02:00"));
            }
            Some(zone)
        } else {
            None
        };
        self.expect(')')?;
        Ok((unit, zone))
    }

    fn word(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        self.rest = &text[end..];
        &text[..end]
    }

    fn number<N: FromStr>(&mut self) -> Result<N, String> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(text.len());
        self.rest = &text[end..];
        text[..end].parse().map_err(|_| format!("a small number is needed, not `{}`", &text[..end]))
    }

    fn accept(&mut self, c: char) -> bool {
        let text = self.rest.trim_start();
        match text.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.accept(c) { Ok(()) } else { Err(format!("a `{c}` is missing")) }
    }
}

impl Serialize for LogicalType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogicalType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for LogicalType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LogicalType".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A logical type, such as int32, decimal(15,2), timestamp(us, UTC) or list<text>.",
            "pattern": "^(bool|u?int(8|16|32|64)|float(32|64)|text|binary|date|interval|uuid|json|(decimal|time|timestamp|list|struct|map)[(<].+[)>])$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_has_one_name_wherever_it_stands() {
        let named = |text: &str| text.parse::<LogicalType>().unwrap().with_utc_named().to_string();
        let [offset, utc] = ["+00:00", "UTC"].map(|zone| {
            format!(
                "struct<a: list<timestamp(us, {zone})>, b: map<text, timestamp(ns, {zone})>, c: timestamp(us, +02:00)>"
            )
        });
        assert_eq!((named(&offset), named(&utc)), (utc.clone(), utc));
    }

    #[test]
    fn every_type_reads_back_from_its_own_text() {
        for text in [
            "bool",
            "int8",
            "uint64",
            "float32",
            "decimal(15,2)",
            "decimal(76,0)",
            "text",
            "binary",
            "date",
            "time(us)",
            "timestamp(ns)",
            "timestamp(ms, UTC)",
            "timestamp(us, +02:00)",
            "interval",
            "uuid",
            "json",
            "list<int32>",
            "struct<a: int8, b: list<text>>",
            "struct<größe_1: int8, \"first name\": text, \"\": date, \"a\"\"b: int8, c\": bool>",
            "map<text, decimal(4,1)>",
        ] {
            let ty: LogicalType = text.parse().unwrap();
            assert_eq!(ty.to_string(), text);
            assert_eq!(LogicalType::of(&ty.to_field("c", true)), Some(ty), "{text} through Arrow");
        }
    }

    #[test]
    fn parts_are_replaced_wherever_they_stand() {
        let plain = |ty: &LogicalType| (*ty == LogicalType::Uuid).then_some(LogicalType::Text);
        let replaced = |text: &str| text.parse::<LogicalType>().unwrap().with_parts(&plain).map(|ty| ty.to_string());
        assert_eq!(replaced("uuid").as_deref(), Some("text"));
        assert_eq!(
            replaced("struct<a: int8, b: list<map<uuid, date>>>").as_deref(),
            Some("struct<a: int8, b: list<map<text, date>>>")
        );
        for same in ["int8", "list<int8>", "struct<a: text>", "map<text, list<date>>"] {
            assert_eq!(replaced(same), None, "{same}");
        }
    }

    #[test]
    fn dates_have_one_layout() {
        let plain = |layout: DataType| {
            let field = LogicalType::plain_layout(&Arc::new(Field::new("c", layout, true))).unwrap();
            field.data_type().clone()
        };
        assert_eq!(plain(DataType::Date32), DataType::Date32);
        assert_eq!(plain(DataType::Date64), DataType::Date32);
        let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
        assert_eq!(plain(list(DataType::Date64)), list(DataType::Date32));

        let keyed = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Date64));
        let inside = DataType::Struct(vec![Field::new("a", list(keyed), true)].into());
        for (layout, wide) in [(DataType::Date64, true), (inside, true), (list(DataType::Date32), false)] {
            assert_eq!(has_wide_dates(&layout), wide, "{layout}");
        }
    }

    #[test]
    fn a_wrong_type_gets_a_sentence() {
        for (text, says) in [
            ("int", "`int` is not a type"),
            ("decimal", "decimal needs precision"),
            ("decimal(77,0)", "1 to 76"),
            ("decimal(5,6)", "0 to the precision"),
            ("timestamp(min)", "`min` is not a unit"),
            ("timestamp(us, Mars)", "not a time zone"),
            ("list<", "a type is missing"),
            ("int8 x", "left over"),
            ("struct<a: int8, a: int8>", "twice"),
            ("struct<: int8>", "`name: type` pairs"),
            ("struct<\"a: int8>", "a `\"` is missing"),
        ] {
            let error = text.parse::<LogicalType>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
