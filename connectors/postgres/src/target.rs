//! A table as the server has it, held against the columns of rows that go into it.

use transload_core::connector::WriteMode;
use transload_core::{Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::columns::{Column, Columns};
use crate::names::{Name, quote};

/// The first server that has generated columns, and collations that call different texts equal.
pub(crate) const GENERATES: u32 = 120_000;

/// A table that is there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) oid: u32,
    columns: Vec<TargetColumn>,
}

#[derive(Debug)]
struct TargetColumn {
    name: String,
    /// As the server writes it.
    ty: String,
    not_null: bool,
    is_generated: bool,
    /// The collation of texts, as SQL names it, if it is not that of the database.
    collation: Option<String>,
    /// Whether only texts are equal that are the same.
    is_exact: bool,
}

/// Whether a column takes every value as it is.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    All,
    /// Texts of at most so many characters.
    UpTo(u32),
    No,
}

impl Target {
    /// The table of this name, if there is one.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if something else has the name, such as a view.
    pub(crate) async fn find(client: &Client, name: &Name) -> Result<Option<Self>> {
        let sql = "SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relname = $2";
        let rows = client.query(sql, &[&name.schema, &name.table]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (oid, kind): (u32, String) = (get(row, 0)?, get(row, 1)?);
        let what = match kind.as_str() {
            "r" | "p" => return Ok(Some(Self { oid, columns: columns(client, oid).await? })),
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            "S" => "a sequence",
            "i" | "I" => "an index",
            "c" => "a type",
            _ => "something else than a table",
        };
        Err(Error::config(format!("the target is {what}, and only tables are written")).hint("use another `to`"))
    }

    /// Refuses rows that the table does not hold as they are.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config), by the name of the column.
    pub(crate) fn check(&self, columns: &Columns, mode: WriteMode) -> Result<()> {
        for column in columns.rows() {
            let there = self.column(&column.name).ok_or_else(|| {
                Error::config("the table has no such column")
                    .with("column", &column.name)
                    .hint("add it to the table, or leave it out with `drop: true`")
            })?;
            if there.is_generated {
                return Err(Error::config("the server computes the values of the column, so none can be written")
                    .with("column", &column.name)
                    .hint("leave it out with `drop: true`, and make it an ordinary column of the table"));
            }
            if there.holds(column) == Holds::No {
                let said = format!("the column is {} in the table, and the rows would need {}", there.ty, column.sql);
                return Err(Error::config(said)
                    .with("column", &column.name)
                    .hint("cast the column to what the table has, or change the table"));
            }
            if mode == WriteMode::Merge && !there.is_exact && columns.key().contains(&column.name) {
                return Err(Error::config(
                    "the collation of the column calls different texts equal, so it can be no key",
                )
                .with("column", &column.name)
                .hint("give the column another collation, or use another key"));
            }
        }
        match self.columns.iter().find(|there| columns.rows().all(|column| column.name != there.name)) {
            Some(there) => Err(Error::config("the table has a column that the rows lack")
                .with("column", &there.name)
                .hint("derive it, or take it out of the table")),
            None => Ok(()),
        }
    }

    /// Whether it is just as it would be made for these columns.
    pub(crate) fn is_as_made(&self, columns: &Columns) -> bool {
        let as_made = |(there, column): (&TargetColumn, &Column)| {
            there.name == column.name
                && canonical(&there.ty) == canonical(&column.sql)
                && there.not_null != column.nullable
                && !there.is_generated
                && there.collation.is_none()
        };
        self.columns.len() == columns.rows().count() && self.columns.iter().zip(columns.rows()).all(as_made)
    }

    /// The columns whose texts have a most number of characters, each with it.
    pub(crate) fn bounded<'a>(&self, columns: &'a Columns) -> Vec<(&'a str, u32)> {
        let bounded = |column: &'a Column| match self.column(&column.name)?.holds(column) {
            Holds::UpTo(most) => Some((column.name.as_str(), most)),
            Holds::All | Holds::No => None,
        };
        columns.rows().filter_map(bounded).collect()
    }

    /// Whether a row of the table, `t`, has the key of one that is staged, `s`: as SQL.
    pub(crate) fn same_key(&self, columns: &Columns) -> String {
        let same = |name: &String| {
            let quoted = quote(name);
            match self.column(name).and_then(|there| there.collation.as_deref()) {
                Some(collation) => format!("t.{quoted} = s.{quoted} COLLATE {collation}"),
                None => format!("t.{quoted} = s.{quoted}"),
            }
        };
        columns.key().iter().map(same).collect::<Vec<_>>().join(" AND ")
    }

    fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl TargetColumn {
    fn holds(&self, column: &Column) -> Holds {
        holds(&canonical(&self.ty), &canonical(&column.sql))
    }
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<TargetColumn>> {
    let (generated, exact) = match client.server().version >= GENERATES {
        true => ("a.attgenerated <> ''", "coalesce(l.collisdeterministic, true)"),
        false => ("false", "true"),
    };
    let sql = format!(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, {generated}, \
         CASE WHEN a.attcollation <> t.typcollation THEN quote_ident(n.nspname) || '.' || quote_ident(l.collname) END, \
         {exact} FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = l.collnamespace \
         WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let rows = client.query(&sql, &[&oid]).await?;
    let column = |row: &tokio_postgres::Row| {
        Ok(TargetColumn {
            name: get(row, 0)?,
            ty: get(row, 1)?,
            not_null: get(row, 2)?,
            is_generated: get(row, 3)?,
            collation: get(row, 4)?,
            is_exact: get(row, 5)?,
        })
    };
    rows.iter().map(column).collect()
}

/// The one name of a type that has several.
fn canonical(ty: &str) -> String {
    if let Some(item) = ty.strip_suffix("[]") {
        return format!("{}[]", canonical(item));
    }
    let (name, rest) = ty.split_at(ty.find('(').unwrap_or(ty.len()));
    match (name, rest) {
        ("timestamptz", "") | ("timestamp", "(6) with time zone") => "timestamp with time zone".to_string(),
        ("timestamp", "" | "(6) without time zone") => "timestamp without time zone".to_string(),
        ("time", "" | "(6) without time zone") => "time without time zone".to_string(),
        ("int2", "") => "smallint".to_string(),
        ("int" | "int4", "") => "integer".to_string(),
        ("int8", "") => "bigint".to_string(),
        ("float4", "") => "real".to_string(),
        ("float8", "") => "double precision".to_string(),
        ("bool", "") => "boolean".to_string(),
        ("interval", "(6)") => "interval".to_string(),
        ("varchar", rest) => format!("character varying{rest}"),
        ("decimal", rest) => format!("numeric{}", rest.replace(' ', "")),
        ("numeric", rest) => format!("numeric{}", rest.replace(' ', "")),
        _ => ty.to_string(),
    }
}

/// Whether a column takes every value of a type as it is. Both types have their one name.
fn holds(column: &str, values: &str) -> Holds {
    if column == values {
        return Holds::All;
    }
    // Digits before the point and behind it.
    let digits = |ty: &str| match ty {
        "smallint" => Some((5, 0)),
        "integer" => Some((10, 0)),
        "bigint" => Some((19, 0)),
        _ => {
            let (precision, scale) = ty.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
            let (precision, scale): (i32, i32) = (precision.parse().ok()?, scale.parse().ok()?);
            Some((precision - scale, scale))
        }
    };
    let takes = match (column, values) {
        ("integer", "smallint") | ("bigint", "smallint" | "integer") | ("double precision", "real") => true,
        ("character varying", "text") => true,
        ("numeric", values) => digits(values).is_some(),
        (column, "text") => {
            let most = column.strip_prefix("character varying(").and_then(|rest| rest.strip_suffix(')'));
            return most.and_then(|most| most.parse().ok()).map_or(Holds::No, Holds::UpTo);
        }
        (column, values) if column.starts_with("numeric(") => match (digits(column), digits(values)) {
            (Some((before, behind)), Some((need_before, need_behind))) => {
                before >= need_before && behind >= need_behind
            }
            _ => false,
        },
        _ => false,
    };
    if takes { Holds::All } else { Holds::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_any_of_its_names() {
        for (one, other) in [
            ("timestamptz", "timestamp with time zone"),
            ("timestamptz", "timestamp(6) with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("time", "time(6) without time zone"),
            ("numeric(10, 2)", "numeric(10,2)"),
            ("varchar(3)", "character varying(3)"),
            ("timestamptz[]", "timestamp with time zone[]"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        for (one, other) in [
            ("timestamptz", "timestamp"),
            ("timestamp(3) without time zone", "timestamp without time zone"),
            ("time", "time with time zone"),
            ("bigint[]", "bigint"),
            ("integer", "bigint"),
        ] {
            assert_ne!(canonical(one), canonical(other));
        }
    }

    #[test]
    fn a_column_takes_what_it_holds_as_it_is() {
        let holds = |column: &str, values: &str| holds(&canonical(column), &canonical(values));
        for (column, values) in [
            ("bigint", "integer"),
            ("double precision", "real"),
            ("numeric", "numeric(38,10)"),
            ("numeric", "bigint"),
            ("numeric(12,2)", "numeric(10,2)"),
            ("numeric(12,4)", "numeric(10,2)"),
            ("numeric(19,0)", "bigint"),
            ("varchar", "text"),
        ] {
            assert_eq!(holds(column, values), Holds::All, "{column} of {values}");
        }
        assert_eq!(holds("varchar(20)", "text"), Holds::UpTo(20));
        for (column, values) in [
            ("integer", "bigint"),
            ("real", "double precision"),
            ("double precision", "bigint"),
            ("numeric(10,1)", "numeric(10,2)"),
            ("numeric(12,4)", "numeric(12,2)"),
            ("numeric(5,-2)", "smallint"),
            ("character(20)", "text"),
            ("citext", "text"),
            ("text", "json"),
            ("jsonb", "json"),
            ("timestamp", "timestamptz"),
            ("timestamp(3) without time zone", "timestamp"),
            ("date", "timestamp"),
            ("text[]", "text"),
        ] {
            assert_eq!(holds(column, values), Holds::No, "{column} of {values}");
        }
    }
}
