//! Tables as people read them.

use std::fmt::Write;

use transload_core::connector::{CatalogInfo, TableInfo};

use crate::lines::one_line;

/// Partitions that are named.
const NAMED: usize = 6;

/// A line for each table; unless it is to be brief, its columns and what a database knows of it below.
pub(crate) fn listing(tables: &[&TableInfo], brief: bool) -> String {
    let name = |table: &TableInfo| one_line(table.name.as_str());
    let width = tables.iter().filter(|_| brief).map(|t| name(t).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (at, table) in tables.iter().enumerate() {
        if at > 0 && !brief && table.catalog.is_some() {
            text.push('\n');
        }
        let _ = writeln!(text, "{:width$}  ({})", name(table), figures(table));
        if !brief {
            details(&mut text, table);
        }
    }
    text
}

/// What a table is, and how large.
pub(crate) fn figures(table: &TableInfo) -> String {
    let what = table.catalog.as_ref().map_or(table.format.as_str(), |catalog| catalog.kind.as_str());
    let about = if table.rows.is_none() { "about " } else { "" };
    let rows = table.about_rows().map_or_else(|| "rows unknown".to_string(), |rows| format!("{about}{rows} rows"));
    let size = table.bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
    let files = table.files.map_or_else(String::new, |f| format!(", {f} file{}", if f == 1 { "" } else { "s" }));
    format!("{what}, {rows}{size}{files}")
}

fn details(text: &mut String, table: &TableInfo) {
    let none = CatalogInfo::default();
    let catalog = table.catalog.as_ref().unwrap_or(&none);
    if let Some(comment) = &catalog.comment {
        let _ = writeln!(text, "  {}", one_line(comment));
    }
    let columns: Vec<(String, String, String)> = table
        .columns
        .iter()
        .map(|(name, ty, nullable)| {
            let null = if *nullable { "" } else { " not null" };
            (one_line(name), format!("{ty}{null}"), note(catalog, name))
        })
        .collect();
    let width = |of: fn(&(String, String, String)) -> &String| {
        columns.iter().map(|column| of(column).chars().count()).max().unwrap_or(0)
    };
    let (names, types) = (width(|c| &c.0), width(|c| &c.1));
    for (name, ty, note) in &columns {
        let line = format!("  {name:names$}  {ty:types$}  {note}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    known(text, catalog);
}

/// What a database says of a column beside its name.
fn note(catalog: &CatalogInfo, name: &str) -> String {
    let Some(column) = catalog.columns.iter().find(|column| column.name == name) else { return String::new() };
    let mut note = one_line(&column.ty);
    for (before, more) in [(": ", &column.reason), (" — ", &column.comment)] {
        if let Some(more) = more {
            note.push_str(if note.is_empty() { "" } else { before });
            note.push_str(&one_line(more));
        }
    }
    note
}

/// Keys, indexes and partitions.
fn known(text: &mut String, catalog: &CatalogInfo) {
    let mut line = |word: &str, said: String| {
        let _ = writeln!(text, "  {word:11}  {said}");
    };
    if !catalog.primary_key.is_empty() {
        line("key", names(&catalog.primary_key));
    }
    for columns in &catalog.unique {
        line("unique", names(columns));
    }
    for key in &catalog.foreign_keys {
        let to = one_line(key.to.as_str());
        line("foreign key", format!("{} → {to} ({})", names(&key.columns), names(&key.to_columns)));
    }
    for index in &catalog.indexes {
        line("index", one_line(&index.definition));
    }
    if let Some(key) = &catalog.partition_key {
        line("partitioned", format!("by {}", one_line(key)));
    }
    if !catalog.partitions.is_empty() {
        let named = names(&catalog.partitions[..catalog.partitions.len().min(NAMED)]);
        let more = match catalog.partitions.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        line("partitions", format!("{}: {named}{more}", catalog.partitions.len()));
    }
}

/// Names, one behind the other.
pub(crate) fn names(names: &[String]) -> String {
    names.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use transload_core::TableName;
    use transload_core::connector::{ColumnInfo, ForeignKeyInfo, IndexInfo};

    use super::*;

    fn column(name: &str, ty: &str, nullable: bool) -> (String, transload_core::LogicalType, bool) {
        (name.to_string(), ty.parse().unwrap(), nullable)
    }

    fn orders() -> TableInfo {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        TableInfo {
            name: TableName::new("public.orders"),
            format: "table".to_string(),
            columns: vec![column("id", "int64", false), column("amount", "text", true)],
            rows: None,
            estimated_rows: None,
            bytes: Some(8192),
            files: None,
            catalog: Some(CatalogInfo {
                kind: "partitioned table".to_string(),
                comment: Some("Orders of\nthe shop".to_string()),
                estimated_rows: Some(1500),
                columns: vec![ColumnInfo {
                    name: "amount".to_string(),
                    ty: "numeric".to_string(),
                    reason: Some("it has no precision".to_string()),
                    comment: Some("in EUR".to_string()),
                }],
                primary_key: texts(&["id"]),
                unique: vec![texts(&["region", "number"])],
                indexes: vec![IndexInfo { name: "i".to_string(), definition: "CREATE INDEX i ON t (a)".to_string() }],
                foreign_keys: vec![ForeignKeyInfo {
                    name: "f".to_string(),
                    columns: texts(&["customer_id"]),
                    to: TableName::new("public.customers"),
                    to_columns: texts(&["id"]),
                }],
                partition_key: Some("RANGE (placed)".to_string()),
                partitions: (1..9).map(|n| format!("public.orders_{n}")).collect(),
            }),
        }
    }

    #[test]
    fn a_table_of_a_database_is_listed_with_what_is_known_of_it() {
        let expected = "public.orders  (partitioned table, about 1500 rows, 8192 bytes)\n  \
            Orders of the shop\n  \
            id      int64 not null\n  \
            amount  text            numeric: it has no precision — in EUR\n  \
            key          id\n  \
            unique       region, number\n  \
            foreign key  customer_id → public.customers (id)\n  \
            index        CREATE INDEX i ON t (a)\n  \
            partitioned  by RANGE (placed)\n  \
            partitions   8: public.orders_1, public.orders_2, public.orders_3, public.orders_4, public.orders_5, \
            public.orders_6 and 2 more\n";
        assert_eq!(listing(&[&orders()], false), expected);
    }

    #[test]
    fn many_tables_fit_on_a_line_each() {
        let orders = orders();
        let mut short = TableInfo { name: TableName::new("a.b"), bytes: None, ..orders.clone() };
        short.catalog.as_mut().unwrap().estimated_rows = None;
        assert_eq!(
            listing(&[&orders, &short], true),
            "public.orders  (partitioned table, about 1500 rows, 8192 bytes)\n\
             a.b            (partitioned table, rows unknown)\n"
        );
        let plain = TableInfo { catalog: None, format: "csv".to_string(), files: Some(1), ..short };
        assert_eq!(
            listing(&[&plain], false),
            "a.b  (csv, rows unknown, 1 file)\n  id      int64 not null\n  amount  text\n"
        );
        let sampled = TableInfo { format: "parquet".to_string(), estimated_rows: Some(70), files: Some(9), ..plain };
        assert_eq!(listing(&[&sampled], true), "a.b  (parquet, about 70 rows, 9 files)\n");
    }
}
