//! A table as the server has it, held against the columns of rows that go into it.

use transload_core::connector::WriteMode;
use transload_core::{Error, Result};

use crate::catalog::get;
use crate::client::Client;
use crate::columns::{Column, Columns};
use crate::names::{Name, quote};
use crate::options::SpecialValues;
use crate::types::{Types, ddl};

/// The first server that has generated columns, and collations that call different texts equal.
pub(crate) const GENERATES: u32 = 120_000;

/// A table that is there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) oid: u32,
    columns: Vec<TargetColumn>,
    /// Whether its rows are still there after a crash of the server.
    is_logged: bool,
}

#[derive(Debug)]
struct TargetColumn {
    name: String,
    /// As the server writes it.
    ty: String,
    /// As the plan would have to have it, if it can.
    cast: Option<String>,
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
        // A table is a type, too.
        let sql = "SELECT c.oid, c.relkind::text, c.relpersistence <> 'u' \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relname = $2 \
                   UNION ALL SELECT t.oid, 'c', true FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
                   WHERE n.nspname = $1 AND t.typname = $2 AND t.typrelid = 0 AND t.typcategory <> 'A'";
        let rows = client.query(sql, &[&name.schema, &name.table]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (oid, kind, is_logged): (u32, String, bool) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let what = match kind.as_str() {
            "r" | "p" => return Ok(Some(Self { oid, columns: columns(client, oid).await?, is_logged })),
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
        if mode.keeps_others() && !self.is_logged {
            let said =
                "the table is unlogged: after a crash of the server its rows are gone, and still noted as loaded";
            return Err(Error::config(said).hint("ALTER TABLE … SET LOGGED, or use `mode: full`"));
        }
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
                let hint = match &there.cast {
                    Some(cast) => format!("cast the column to {cast}, or change the table"),
                    None => "change the table".to_string(),
                };
                return Err(Error::config(said).with("column", &column.name).hint(hint));
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
                Some(collation) => format!("t.{quoted} OPERATOR(pg_catalog.=) s.{quoted} COLLATE {collation}"),
                None => format!("t.{quoted} OPERATOR(pg_catalog.=) s.{quoted}"),
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
         {exact}, a.atttypid, a.atttypmod FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = l.collnamespace \
         WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let rows = client.query(&sql, &[&oid]).await?;
    let column = |row: &tokio_postgres::Row| {
        let ty: String = get(row, 1)?;
        Ok(TargetColumn {
            name: get(row, 0)?,
            cast: cast(&ty, get(row, 6)?, get(row, 7)?),
            ty,
            not_null: get(row, 2)?,
            is_generated: get(row, 3)?,
            collation: get(row, 4)?,
            is_exact: get(row, 5)?,
        })
    };
    rows.iter().map(column).collect()
}

/// The type of ours that a column of the server's type is made for, if there is one.
fn cast(ty: &str, oid: u32, typmod: i32) -> Option<String> {
    let (kind, _) = Types::default().kind(oid, typmod, SpecialValues::Error);
    let logical = kind.logical();
    ddl(&logical).is_ok_and(|made| canonical(&made) == canonical(ty)).then(|| logical.to_string())
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
        ("varchar", rest) => format!("character varying{rest}"),
        ("decimal", rest) => format!("numeric{}", rest.replace(' ', "")),
        ("numeric", rest) => format!("numeric{}", rest.replace(' ', "")),
        _ => ty.to_string(),
    }
}

/// Whether a column takes every value of a type as it is, and reads back as of that type. Both types have their one name.
fn holds(column: &str, values: &str) -> Holds {
    match (column, values) {
        _ if column == values => Holds::All,
        ("character varying", "text") => Holds::All,
        (column, "text") => {
            let most = column.strip_prefix("character varying(").and_then(|rest| rest.strip_suffix(')'));
            most.and_then(|most| most.parse().ok()).map_or(Holds::No, Holds::UpTo)
        }
        _ => Holds::No,
    }
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
        for (column, values) in [("int8", "bigint"), ("numeric(10, 2)", "numeric(10,2)"), ("varchar", "text")] {
            assert_eq!(holds(column, values), Holds::All, "{column} of {values}");
        }
        assert_eq!(holds("varchar(20)", "text"), Holds::UpTo(20));
        for (column, values) in [
            // Their values would come back as of another type.
            ("bigint", "integer"),
            ("double precision", "real"),
            ("numeric(12,2)", "numeric(10,2)"),
            ("numeric(19,0)", "bigint"),
            ("numeric", "numeric(10,2)"),
            ("integer", "bigint"),
            ("numeric(10,1)", "numeric(10,2)"),
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

    #[test]
    fn a_column_says_what_the_rows_would_have_to_be() {
        const VARCHAR: u32 = 1043;
        for (ty, oid, typmod, wanted) in [
            ("bigint", 20, -1, Some("int64")),
            ("double precision", 701, -1, Some("float64")),
            ("timestamp with time zone", 1184, -1, Some("timestamp(us, UTC)")),
            ("numeric(12,2)", 1700, ((12 << 16) | 2) + 4, Some("decimal(12,2)")),
            ("numeric", 1700, -1, None),
            ("jsonb", 3802, -1, None),
            ("interval", 1186, -1, None),
            ("timestamp(3) without time zone", 1114, 3, None),
            ("character varying(5)", VARCHAR, 9, None),
        ] {
            assert_eq!(cast(ty, oid, typmod).as_deref(), wanted, "{ty}");
        }
    }
}
