//! The types of PostgreSQL and ours: one table, both directions.

use std::collections::HashMap;

use arrow::datatypes::Field;
use transload_core::connector::DECLARED_TYPE;
use transload_core::types::Unit;
use transload_core::{Error, LogicalType, Result};

use crate::options::SpecialValues;

/// The zone of the server's timestamps with zone.
pub(crate) const UTC: &str = "UTC";

/// How values of a column come, and what they become.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// With 0 ≤ scale ≤ precision ≤ 76, whatever the server says: all its values are exactly themselves in it.
    Numeric {
        precision: u8,
        scale: i8,
    },
    /// Whole units of the smallest coin, `scale` digits of them behind the point.
    Money {
        scale: u8,
    },
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Hstore,
    /// One dimension, counted from 1.
    Array(Box<Kind>),
    /// Name, oid of the type, and kind of each part.
    Record(Vec<(String, u32, Kind)>),
    /// The text that the server makes of it.
    Rendered,
    /// The text that the server makes of it, meant as this type.
    Declared(LogicalType),
}

/// What the catalogue says of a type.
#[derive(Debug, Clone)]
pub(crate) struct ServerType {
    pub(crate) oid: u32,
    pub(crate) name: String,
    /// `b` base, `c` composite, `d` domain, `e` enum, `r` range, `m` multirange, `p` pseudo.
    pub(crate) typtype: char,
    /// `A` for arrays.
    pub(crate) category: char,
    /// The oid of an array's elements.
    pub(crate) element: Option<u32>,
    /// The oid and the typmod of what a domain is made of.
    pub(crate) base: Option<(u32, i32)>,
    /// Name, oid and typmod of each part of a composite type, in order, without dropped ones.
    pub(crate) attributes: Vec<(String, u32, i32)>,
}

/// The types that a database made for itself, and what else decides about types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Types {
    pub(crate) by_oid: HashMap<u32, ServerType>,
    /// Digits behind the point of an amount of money, if they are known.
    pub(crate) money_scale: Option<u8>,
}

/// A column as it is read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) oid: u32,
    pub(crate) typmod: i32,
    pub(crate) nullable: bool,
    pub(crate) kind: Kind,
    /// The type as the server writes it.
    pub(crate) shown: String,
    /// Why it is read as what it is, where that is not plain.
    pub(crate) reason: Option<&'static str>,
    pub(crate) comment: Option<String>,
}

const NUMERIC: u32 = 1700;
/// The number of `money`.
pub(crate) const MONEY: u32 = 790;

/// Types that every database has, by oid (`pg_type.dat`). Those that are neither here nor made by the database are rendered.
static BUILT_IN: [(u32, Kind, Option<&str>); 28] = [
    (16, Kind::Bool, None),
    (17, Kind::Bytea, None),
    // "char": a single byte, which need not be a character.
    (18, Kind::Rendered, Some("it is a byte, read as the text the server makes of it")),
    // name
    (19, Kind::Text, None),
    (20, Kind::Int8, None),
    (21, Kind::Int2, None),
    // int2vector and oidvector: arrays that are counted from 0.
    (22, Kind::Rendered, Some(RENDERED)),
    (23, Kind::Int4, None),
    (25, Kind::Text, None),
    (26, Kind::Oid, None),
    (30, Kind::Rendered, Some(RENDERED)),
    (114, Kind::Json, None),
    (700, Kind::Float4, None),
    (701, Kind::Float8, None),
    // char(n)
    (1042, Kind::Text, Some("char(n) keeps the blanks it is padded with")),
    // varchar
    (1043, Kind::Text, None),
    (1082, Kind::Date, None),
    (1083, Kind::Time, None),
    (1114, Kind::Timestamp, None),
    (1184, Kind::TimestampTz, None),
    (1186, Kind::Interval, None),
    // timetz
    (1266, Kind::Rendered, Some("no type holds a time of day with a zone, so the text of it is read")),
    // bit and varbit
    (1560, Kind::Rendered, Some(BITS)),
    (1562, Kind::Rendered, Some(BITS)),
    (2950, Kind::Uuid, None),
    (3802, Kind::Jsonb, Some("jsonb is not kept as it was written, so it is the JSON that the server writes")),
    // cidr and inet: a cast to text writes the netmask of every address.
    (650, Kind::Rendered, Some(ADDRESS)),
    (869, Kind::Rendered, Some(ADDRESS)),
];

const RENDERED: &str = "the server's text of it is read";
const BITS: &str = "bits are read as a text of 0 and 1";
const ADDRESS: &str = "the server's text of it is read, with the netmask";
const NO_PRECISION: &str =
    "numeric without a precision has any number of digits, so the exact text is read; cast it to a wide enough decimal";
const TOO_PRECISE: &str = "decimals have at most 76 digits, so the exact text is read";
const COINS: &str = "an amount of money does not say its currency";
const PART_RENDERED: &str = "a part of it has no type here, so the text of the whole is read";
const TOO_LARGE: &str = "the type has too many parts or they nest too deep, so the text of the whole is read";
const SPECIAL: &str =
    "`special_values: cast` reads the text, so that `on_misfit` decides about values outside of the type";
const SPECIAL_INSIDE: &str = "`special_values: cast` reads the text of what may hold values outside of its type";

/// How many types are looked at for one column. Types that nest in each other may be many more than they seem.
const MOST_TYPES: usize = 512;

impl Types {
    /// What a column of this type and typmod is read as, and why, where that is not plain.
    pub(crate) fn kind(&self, oid: u32, typmod: i32, special: SpecialValues) -> (Kind, Option<&'static str>) {
        let mut left = MOST_TYPES;
        let (kind, reason) = self.found(oid, typmod, &mut left);
        if matches!(kind, Kind::Array(_) | Kind::Record(_)) {
            // A plan keeps types as texts.
            let logical = kind.logical();
            if !logical.to_string().parse::<LogicalType>().is_ok_and(|read| read == logical) {
                return (Kind::Rendered, Some(TOO_LARGE));
            }
        }
        match special {
            SpecialValues::Error => (kind, reason),
            SpecialValues::Cast => match kind {
                Kind::Numeric { .. } | Kind::Date | Kind::Time | Kind::Timestamp | Kind::TimestampTz => {
                    (Kind::Declared(kind.logical()), Some(SPECIAL))
                }
                kind if kind.has_special_values() => (Kind::Rendered, Some(SPECIAL_INSIDE)),
                kind => (kind, reason),
            },
        }
    }

    fn found(&self, oid: u32, typmod: i32, left: &mut usize) -> (Kind, Option<&'static str>) {
        let rendered = |reason| (Kind::Rendered, Some(reason));
        let Some(rest) = left.checked_sub(1) else { return rendered(TOO_LARGE) };
        *left = rest;
        match (oid, self.money_scale) {
            (NUMERIC, _) if typmod < 0 => return rendered(NO_PRECISION),
            (NUMERIC, _) => return decimal(typmod).map_or(rendered(TOO_PRECISE), |kind| (kind, None)),
            (MONEY, Some(scale)) if scale <= 19 => return (Kind::Money { scale }, Some(COINS)),
            _ => {}
        }
        if let Some((_, kind, reason)) = BUILT_IN.iter().find(|(known, ..)| *known == oid) {
            return (kind.clone(), *reason);
        }
        let Some(ty) = self.by_oid.get(&oid) else { return rendered(RENDERED) };
        match (ty.typtype, ty.category, ty.name.as_str()) {
            ('e', ..) => (Kind::Text, None),
            ('d', ..) => match ty.base {
                Some((base, typmod)) => self.found(base, typmod, left),
                None => rendered(RENDERED),
            },
            ('c', ..) => self.record(&ty.attributes, left),
            ('b', 'A', _) => match ty.element {
                Some(element) => match self.found(element, typmod, left) {
                    (item, reason) if item.cast().is_none() => (Kind::Array(Box::new(item)), reason),
                    (_, reason) => (Kind::Array(Box::new(Kind::Rendered)), reason),
                },
                None => rendered(RENDERED),
            },
            ('b', 'S', "citext") => (Kind::Text, None),
            ('b', _, "hstore") => (Kind::Hstore, None),
            _ => rendered(RENDERED),
        }
    }

    fn record(&self, attributes: &[(String, u32, i32)], left: &mut usize) -> (Kind, Option<&'static str>) {
        let mut parts = Vec::with_capacity(attributes.len());
        for (name, oid, typmod) in attributes {
            let (kind, reason) = self.found(*oid, *typmod, left);
            if kind.cast().is_some() {
                let reason = reason.filter(|reason| *reason == TOO_LARGE).unwrap_or(PART_RENDERED);
                return (Kind::Rendered, Some(reason));
            }
            parts.push((name.clone(), *oid, kind));
        }
        match parts.is_empty() {
            true => (Kind::Rendered, Some(RENDERED)),
            false => (Kind::Record(parts), None),
        }
    }
}

/// The decimal that holds every value of a numeric with this typmod, if there is one.
///
/// A scale below 0 rounds in front of the point, and one above the precision leaves zeros behind it (since PostgreSQL 15).
fn decimal(typmod: i32) -> Option<Kind> {
    // `numeric.c`: four for the header, then the precision, then eleven bits of the scale with its sign.
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    let precision = packed >> 16;
    let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    let digits = (precision - scale.min(0)).max(scale);
    let precision = u8::try_from(digits).ok().filter(|digits| (1..=76).contains(digits))?;
    Some(Kind::Numeric { precision, scale: i8::try_from(scale.max(0)).ok()? })
}

impl Kind {
    /// What it is read as.
    pub(crate) fn logical(&self) -> LogicalType {
        match self {
            Self::Bool => LogicalType::Bool,
            Self::Int2 => LogicalType::Int(16),
            Self::Int4 => LogicalType::Int(32),
            Self::Int8 => LogicalType::Int(64),
            Self::Oid => LogicalType::UInt(32),
            Self::Float4 => LogicalType::Float(32),
            Self::Float8 => LogicalType::Float(64),
            Self::Numeric { precision, scale } => LogicalType::Decimal(*precision, *scale),
            // Every amount has at most nineteen digits, as a bigint does.
            Self::Money { scale } => LogicalType::Decimal(19, scale.cast_signed()),
            Self::Text | Self::Rendered | Self::Declared(_) => LogicalType::Text,
            Self::Bytea => LogicalType::Binary,
            Self::Date => LogicalType::Date,
            Self::Time => LogicalType::Time(Unit::Us),
            Self::Timestamp => LogicalType::Timestamp(Unit::Us, None),
            Self::TimestampTz => LogicalType::Timestamp(Unit::Us, Some(UTC.to_string())),
            Self::Interval => LogicalType::Interval,
            Self::Uuid => LogicalType::Uuid,
            Self::Json | Self::Jsonb => LogicalType::Json,
            Self::Hstore => LogicalType::Map(Box::new(LogicalType::Text), Box::new(LogicalType::Text)),
            Self::Array(item) => LogicalType::List(Box::new(item.logical())),
            Self::Record(parts) => {
                LogicalType::Struct(parts.iter().map(|(name, _, kind)| (name.clone(), kind.logical())).collect())
            }
        }
    }

    /// The Arrow field of a column of this kind.
    pub(crate) fn field(&self, name: &str, nullable: bool) -> Field {
        let field = self.logical().to_field(name, nullable);
        match self {
            Self::Declared(ty) => field.with_metadata([(DECLARED_TYPE.to_string(), ty.to_string())].into()),
            _ => field,
        }
    }

    /// What a query selects to get values of this kind from `column`, which is SQL.
    pub(crate) fn select(&self, column: &str) -> String {
        if let Self::Declared(ty) = self
            && let Some((server, end)) = with_years(ty)
        {
            return iso_text(column, server, end);
        }
        match self.cast() {
            Some(cast) => format!("{column}::{cast}"),
            None => column.to_string(),
        }
    }

    /// What the server has to cast it to.
    fn cast(&self) -> Option<&'static str> {
        match self {
            Self::Rendered | Self::Declared(_) => Some("text"),
            Self::Array(item) if **item == Self::Rendered => Some("text[]"),
            _ => None,
        }
    }

    /// Whether the server may have values of it that the type has no place for.
    fn has_special_values(&self) -> bool {
        match self {
            Self::Numeric { .. } | Self::Date | Self::Time | Self::Timestamp | Self::TimestampTz => true,
            Self::Interval | Self::Array(_) => true,
            Self::Record(parts) => parts.iter().any(|(_, _, kind)| kind.has_special_values()),
            _ => false,
        }
    }
}

/// The server's type for days, alone or with a time, and behind the last value that has a place here; `None` for others.
fn with_years(ty: &LogicalType) -> Option<(&'static str, &'static str)> {
    match ty {
        LogicalType::Date => Some(("date", "infinity")),
        LogicalType::Timestamp(_, None) => Some(("timestamp", BEYOND)),
        LogicalType::Timestamp(_, Some(_)) => Some(("timestamptz", BEYOND)),
        _ => None,
    }
}

/// Where 64 bits of microseconds since 1970 end.
const BEYOND: &str = "294247-01-10 04:00:54.775808";

/// The text of a date or timestamp with its year as ISO 8601 has it: `-0043-03-15` and `+10000-01-01 12:00:00`. The server
/// writes `0044-03-15 BC` and `10000-01-01 12:00:00`, which are not read again. What has no place stays as the server has it.
fn iso_text(column: &str, server: &str, end: &str) -> String {
    let part = |at: u8| format!("split_part({column}::text, '-', {at})");
    // In UTC a zone adds no `-` to it.
    let (year, month, rest) = (part(1), part(2), part(3));
    format!(
        "CASE WHEN {column} < '0001-01-01'::{server} AND {column} > '-infinity'::{server} \
         THEN '-' || lpad(({year}::int4 - 1)::text, 4, '0') || '-' || {month} || '-' || replace({rest}, ' BC', '') \
         WHEN {column} >= '10000-01-01'::{server} AND {column} < '{end}'::{server} THEN '+' || {column}::text \
         ELSE {column}::text END"
    )
}

/// The type of a column that is made for values of one of ours. It reads back as the same type.
///
/// # Errors
/// A cast that makes a type of it which PostgreSQL has, as a hint; nothing is changed without being asked for.
pub(crate) fn ddl(ty: &LogicalType) -> Result<String> {
    use LogicalType as T;
    Ok(match ty {
        T::Bool => "boolean",
        T::Int(16) => "smallint",
        T::Int(32) => "integer",
        T::Int(64) => "bigint",
        T::Float(32) => "real",
        T::Float(_) => "double precision",
        T::Decimal(precision, scale) => return Ok(format!("numeric({precision},{scale})")),
        T::Text => "text",
        T::Binary => "bytea",
        T::Date => "date",
        T::Time(Unit::Us) => "time",
        T::Timestamp(Unit::Us, None) => "timestamp",
        T::Timestamp(Unit::Us, Some(zone)) if is_utc(zone) => "timestamptz",
        T::Uuid => "uuid",
        // As it was written; jsonb would order the keys and forget all but the last of those that are the same.
        T::Json => "json",
        T::List(item) if !is_nested(item) && instead_of(item).is_none() => return Ok(format!("{}[]", ddl(item)?)),
        other => return Err(refused(other)),
    }
    .to_string())
}

fn refused(ty: &LogicalType) -> Error {
    let hint = match instead_of(ty) {
        Some(cast) => format!("cast the column to {cast}"),
        None => "leave the column out with `drop: true`".to_string(),
    };
    Error::config(format!("PostgreSQL has no type for {ty}")).hint(hint)
}

/// The type of ours to which a column is cast, since no column of PostgreSQL reads back as its own; `None` if one does, or
/// nothing helps.
pub(crate) fn instead_of(ty: &LogicalType) -> Option<LogicalType> {
    use LogicalType as T;
    Some(match ty {
        T::Int(8) | T::UInt(8) => T::Int(16),
        T::UInt(16) => T::Int(32),
        T::UInt(32) => T::Int(64),
        T::UInt(_) => T::Decimal(20, 0),
        T::Time(Unit::S | Unit::Ms | Unit::Ns) => T::Time(Unit::Us),
        T::Timestamp(Unit::S | Unit::Ms | Unit::Ns, None) => T::Timestamp(Unit::Us, None),
        T::Timestamp(Unit::Us, Some(zone)) if is_utc(zone) => return None,
        T::Timestamp(_, Some(_)) => T::Timestamp(Unit::Us, Some(UTC.to_string())),
        // The server's own counts microseconds.
        T::Interval => T::Text,
        T::List(item) if !is_nested(item) => T::List(Box::new(instead_of(item)?)),
        _ => return None,
    })
}

fn is_utc(zone: &str) -> bool {
    zone == UTC || zone == "+00:00"
}

fn is_nested(ty: &LogicalType) -> bool {
    matches!(ty, LogicalType::List(_) | LogicalType::Struct(_) | LogicalType::Map(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INET: u32 = 869;
    const INT4: u32 = 23;
    const TEXT: u32 = 25;

    fn server_type(oid: u32, name: &str, typtype: char, category: char) -> ServerType {
        ServerType { oid, name: name.to_string(), typtype, category, element: None, base: None, attributes: Vec::new() }
    }

    fn array(oid: u32, element: u32) -> ServerType {
        ServerType { element: Some(element), ..server_type(oid, "_array", 'b', 'A') }
    }

    fn domain(oid: u32, base: u32, typmod: i32) -> ServerType {
        ServerType { base: Some((base, typmod)), ..server_type(oid, "domain", 'd', 'N') }
    }

    fn composite(oid: u32, parts: &[(&str, u32, i32)]) -> ServerType {
        let attributes = parts.iter().map(|(name, oid, typmod)| (name.to_string(), *oid, *typmod)).collect();
        ServerType { attributes, ..server_type(oid, "composite", 'c', 'C') }
    }

    fn types(made: impl IntoIterator<Item = ServerType>) -> Types {
        Types { by_oid: made.into_iter().map(|ty| (ty.oid, ty)).collect(), money_scale: Some(2) }
    }

    /// The typmod of `numeric(precision, scale)`.
    fn digits(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    /// What it is read as, and what is selected.
    fn read(types: &Types, oid: u32, typmod: i32) -> (String, String) {
        let (kind, _) = types.kind(oid, typmod, SpecialValues::Error);
        (kind.logical().to_string(), kind.select("\"a\""))
    }

    #[test]
    fn every_built_in_type_is_read_as_the_type_it_is() {
        let types = types([]);
        for (oid, logical) in [
            (16, "bool"),
            (17, "binary"),
            (19, "text"),
            (20, "int64"),
            (21, "int16"),
            (INT4, "int32"),
            (TEXT, "text"),
            (26, "uint32"),
            (114, "json"),
            (700, "float32"),
            (701, "float64"),
            (MONEY, "decimal(19,2)"),
            (1042, "text"),
            (1043, "text"),
            (1082, "date"),
            (1083, "time(us)"),
            (1114, "timestamp(us)"),
            (1184, "timestamp(us, UTC)"),
            (1186, "interval"),
            (2950, "uuid"),
            (3802, "json"),
        ] {
            assert_eq!(read(&types, oid, -1), (logical.to_string(), "\"a\"".to_string()), "{oid}");
        }
    }

    #[test]
    fn what_has_no_type_here_is_rendered_and_says_so() {
        let made = [server_type(70000, "ltree", 'b', 'U'), server_type(70001, "span", 'r', 'R')];
        let types = types(made.into_iter().chain([server_type(70002, "int4multirange", 'm', 'R')]));
        // "char", int2vector, xml, point, cidr, inet, timetz, bit, varbit, regclass, pg_lsn, tsvector, one that nobody knows.
        for oid in [18, 22, 142, 600, 650, INET, 1266, 1560, 1562, 2205, 3220, 3614, 70000, 70001, 70002, 99999] {
            let (kind, reason) = types.kind(oid, -1, SpecialValues::Error);
            assert_eq!((kind.logical(), kind.select("x")), (LogicalType::Text, "x::text".to_string()), "{oid}");
            assert!(reason.is_some(), "{oid}");
        }
    }

    #[test]
    fn the_money_of_a_server_that_does_not_say_its_coins_is_rendered() {
        let unknown = Types::default();
        assert_eq!(unknown.kind(MONEY, -1, SpecialValues::Error).0, Kind::Rendered);
        let odd = Types { money_scale: Some(20), ..Types::default() };
        assert_eq!(odd.kind(MONEY, -1, SpecialValues::Error).0, Kind::Rendered);
        let yen = Types { money_scale: Some(0), ..Types::default() };
        assert_eq!(read(&yen, MONEY, -1).0, "decimal(19,0)");
    }

    #[test]
    fn a_numeric_is_the_decimal_that_holds_all_its_values() {
        let types = types([]);
        for (precision, scale, logical) in [
            (15, 2, "decimal(15,2)"),
            (1, 0, "decimal(1,0)"),
            (76, 76, "decimal(76,76)"),
            (5, -2, "decimal(7,0)"),
            (70, -6, "decimal(76,0)"),
            (70, -7, "text"),
            (2, 4, "decimal(4,4)"),
            (2, 76, "decimal(76,76)"),
            (2, 77, "text"),
            (77, 2, "text"),
            (1000, 1000, "text"),
            (1000, -1000, "text"),
        ] {
            assert_eq!(read(&types, NUMERIC, digits(precision, scale)).0, logical, "numeric({precision},{scale})");
        }
        // As PostgreSQL 15 has them in pg_attribute for numeric(5,-2) and numeric(2,4).
        assert_eq!((digits(5, -2), digits(2, 4)), (329_730, 131_080));

        let (kind, reason) = types.kind(NUMERIC, -1, SpecialValues::Error);
        assert_eq!((kind, reason), (Kind::Rendered, Some(NO_PRECISION)));
        for broken in [0, 3, 4, i32::MAX, i32::MIN] {
            assert_eq!(types.kind(NUMERIC, broken, SpecialValues::Error).0, Kind::Rendered, "{broken}");
        }
    }

    #[test]
    fn types_that_a_database_made_are_read_as_what_they_are_made_of() {
        let types = types([
            server_type(70000, "mood", 'e', 'E'),
            server_type(70001, "citext", 'b', 'S'),
            server_type(70002, "hstore", 'b', 'U'),
            domain(70003, NUMERIC, digits(9, 2)),
            domain(70004, 70003, -1),
            composite(70005, &[("x", INT4, -1), ("Größe 1", NUMERIC, digits(6, 2)), ("when", 1184, -1)]),
            array(70006, 70005),
            array(70007, 70000),
            array(1231, NUMERIC),
            domain(70008, 1007, -1),
            array(1007, INT4),
            array(70009, 70008),
        ]);
        for (oid, typmod, logical) in [
            (70000, -1, "text"),
            (70001, -1, "text"),
            (70002, -1, "map<text, text>"),
            (70003, -1, "decimal(9,2)"),
            (70004, -1, "decimal(9,2)"),
            (70005, -1, "struct<x: int32, \"Größe 1\": decimal(6,2), when: timestamp(us, UTC)>"),
            (70006, -1, "list<struct<x: int32, \"Größe 1\": decimal(6,2), when: timestamp(us, UTC)>>"),
            (70007, -1, "list<text>"),
            (1231, digits(5, 1), "list<decimal(5,1)>"),
            (70008, -1, "list<int32>"),
            (70009, -1, "list<list<int32>>"),
        ] {
            assert_eq!(read(&types, oid, typmod), (logical.to_string(), "\"a\"".to_string()), "{oid}");
        }
    }

    #[test]
    fn what_holds_something_rendered_is_cast_by_the_server() {
        let types = types([
            array(1041, INET),
            array(1231, NUMERIC),
            domain(70000, INET, -1),
            array(70001, 70000),
            composite(70002, &[("x", INT4, -1), ("ip", INET, -1)]),
            array(70003, 70002),
            composite(70004, &[("ips", 1041, -1)]),
            domain(70005, 1041, -1),
            array(70006, 70005),
            server_type(70007, "nothing", 'c', 'C'),
        ]);
        let whole = ("text".to_string(), "\"a\"::text".to_string());
        let each = ("list<text>".to_string(), "\"a\"::text[]".to_string());
        for (oid, expected) in [
            (1041, &each),
            (1231, &each),
            (70000, &whole),
            (70001, &each),
            (70002, &whole),
            (70003, &each),
            (70004, &whole),
            (70005, &each),
            (70006, &each),
            (70007, &whole),
        ] {
            assert_eq!(read(&types, oid, -1), *expected, "{oid}");
        }
    }

    #[test]
    fn types_that_are_made_of_themselves_or_of_too_much_end() {
        let twice = |oid: u32| composite(oid, &[("a", oid + 1, -1), ("b", oid + 1, -1)]);
        let mut made: Vec<ServerType> = (80000..80060).map(twice).collect();
        made.push(composite(80060, &[("a", INT4, -1)]));
        made.extend([domain(70000, 70000, -1), composite(70001, &[("me", 70001, -1)]), array(70002, 70002)]);
        let nested = |oid: u32| composite(oid, &[("a", oid + 1, -1)]);
        made.extend((90000..90020).map(nested).chain([composite(90020, &[("a", INT4, -1)])]));
        let wide: Vec<(String, u32, i32)> = (0..400).map(|at| (format!("a_long_name_{at}"), INT4, -1)).collect();
        made.push(ServerType { attributes: wide, ..server_type(70003, "wide", 'c', 'C') });
        let types = types(made);
        for oid in [70000, 70001, 80000, 90000, 70003] {
            let (kind, reason) = types.kind(oid, -1, SpecialValues::Error);
            assert_eq!((kind, reason), (Kind::Rendered, Some(TOO_LARGE)), "{oid}");
        }
        assert_eq!(types.kind(70002, -1, SpecialValues::Error).0, Kind::Array(Box::new(Kind::Rendered)));
        assert!(matches!(types.kind(90010, -1, SpecialValues::Error).0, Kind::Record(_)));
    }

    #[test]
    fn special_values_that_are_cast_come_as_text_with_the_type_they_are_meant_as() {
        let types = types([
            domain(70000, 1082, -1),
            array(1007, INT4),
            composite(70001, &[("x", INT4, -1), ("day", 1082, -1)]),
            composite(70002, &[("x", INT4, -1), ("y", TEXT, -1)]),
        ]);
        for (oid, typmod, declared) in [
            (NUMERIC, digits(9, 2), "decimal(9,2)"),
            (1082, -1, "date"),
            (70000, -1, "date"),
            (1083, -1, "time(us)"),
            (1114, -1, "timestamp(us)"),
            (1184, -1, "timestamp(us, UTC)"),
        ] {
            let (kind, reason) = types.kind(oid, typmod, SpecialValues::Cast);
            let field = kind.field("c", true);
            assert_eq!(LogicalType::of(&field), Some(LogicalType::Text), "{oid}");
            assert_eq!(field.metadata().get(DECLARED_TYPE).map(String::as_str), Some(declared), "{oid}");
            let text = match oid {
                1082 | 70000 => iso_text("c", "date", "infinity"),
                1114 => iso_text("c", "timestamp", BEYOND),
                1184 => iso_text("c", "timestamptz", BEYOND),
                _ => "c::text".to_string(),
            };
            assert_eq!((kind.select("c"), reason), (text, Some(SPECIAL)), "{oid}");
        }
        for oid in [1186, 1007, 70001] {
            let (kind, reason) = types.kind(oid, -1, SpecialValues::Cast);
            assert_eq!((kind, reason), (Kind::Rendered, Some(SPECIAL_INSIDE)), "{oid}");
        }
        for oid in [INT4, TEXT, 701, MONEY, 2950, 70002] {
            assert_eq!(types.kind(oid, -1, SpecialValues::Cast), types.kind(oid, -1, SpecialValues::Error), "{oid}");
        }
        assert_eq!(types.kind(NUMERIC, -1, SpecialValues::Cast), (Kind::Rendered, Some(NO_PRECISION)));
    }

    #[test]
    fn fields_keep_what_tells_a_uuid_and_json_from_their_layout() {
        for (kind, logical) in [
            (Kind::Uuid, "uuid"),
            (Kind::Jsonb, "json"),
            (Kind::Array(Box::new(Kind::Uuid)), "list<uuid>"),
            (Kind::Record(vec![("a".to_string(), 3802, Kind::Jsonb)]), "struct<a: json>"),
        ] {
            let field = kind.field("c", false);
            assert!(!field.is_nullable());
            assert_eq!(LogicalType::of(&field).unwrap().to_string(), logical);
        }
    }

    /// What a column made with `ddl` is read as.
    fn read_back(ddl: &str) -> String {
        if let Some(element) = ddl.strip_suffix("[]") {
            return format!("list<{}>", read_back(element));
        }
        let (name, typmod) = match ddl.split_once('(') {
            None => (ddl, -1),
            Some((name, rest)) => {
                let (precision, scale) = rest.trim_end_matches(')').split_once(',').unwrap();
                (name, digits(precision.parse().unwrap(), scale.parse().unwrap()))
            }
        };
        let oid = match name {
            "boolean" => 16,
            "bytea" => 17,
            "bigint" => 20,
            "smallint" => 21,
            "integer" => INT4,
            "text" => TEXT,
            "json" => 114,
            "real" => 700,
            "double precision" => 701,
            "date" => 1082,
            "time" => 1083,
            "timestamp" => 1114,
            "timestamptz" => 1184,
            "numeric" => NUMERIC,
            "uuid" => 2950,
            other => panic!("{other} is not a type of the table"),
        };
        types([]).kind(oid, typmod, SpecialValues::Error).0.logical().to_string()
    }

    #[test]
    fn every_type_that_a_column_is_made_for_comes_back() {
        for text in [
            "bool",
            "int16",
            "int32",
            "int64",
            "float32",
            "float64",
            "decimal(38,10)",
            "decimal(76,76)",
            "decimal(1,0)",
            "text",
            "binary",
            "date",
            "time(us)",
            "timestamp(us)",
            "timestamp(us, UTC)",
            "uuid",
            "json",
            "list<int32>",
            "list<json>",
            "list<decimal(5,2)>",
        ] {
            assert_eq!(read_back(&ddl(&text.parse().unwrap()).unwrap()), text);
        }
        // Two names of one zone.
        assert_eq!(read_back(&ddl(&"timestamp(us, +00:00)".parse().unwrap()).unwrap()), "timestamp(us, UTC)");
    }

    #[test]
    fn a_type_that_postgres_lacks_is_refused_with_a_hint_that_helps() {
        for (text, cast) in [
            ("int8", "int16"),
            ("uint8", "int16"),
            ("uint16", "int32"),
            ("uint32", "int64"),
            ("uint64", "decimal(20,0)"),
            ("time(s)", "time(us)"),
            ("time(ms)", "time(us)"),
            ("time(ns)", "time(us)"),
            ("timestamp(s)", "timestamp(us)"),
            ("timestamp(ms)", "timestamp(us)"),
            ("timestamp(ns)", "timestamp(us)"),
            ("timestamp(ms, UTC)", "timestamp(us, UTC)"),
            ("timestamp(ns, UTC)", "timestamp(us, UTC)"),
            ("timestamp(us, Europe/Berlin)", "timestamp(us, UTC)"),
            ("interval", "text"),
            ("list<uint64>", "list<decimal(20,0)>"),
            ("list<time(ns)>", "list<time(us)>"),
        ] {
            let ty: LogicalType = text.parse().unwrap();
            let error = ddl(&ty).unwrap_err();
            assert_eq!(error.hint_text(), Some(format!("cast the column to {cast}").as_str()), "{text}");
            assert!(error.message().contains(text), "{text}: {error}");
            let instead = instead_of(&ty).unwrap();
            assert_eq!(instead.to_string(), cast);
            assert_eq!((read_back(&ddl(&instead).unwrap()).as_str(), instead_of(&instead)), (cast, None));
        }
        for text in ["list<list<int32>>", "list<struct<a: int8>>", "struct<a: int8>", "map<text, text>"] {
            let ty: LogicalType = text.parse().unwrap();
            let error = ddl(&ty).unwrap_err();
            assert_eq!((error.hint_text(), instead_of(&ty)), (Some("leave the column out with `drop: true`"), None));
            assert!(error.message().contains(text), "{text}: {error}");
        }
    }
}
