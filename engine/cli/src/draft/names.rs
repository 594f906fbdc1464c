//! What tables are called in the target.

use std::collections::BTreeSet;
use std::path::Path;

use transload_core::TableName;
use transload_core::connector::TableInfo;

use crate::draft::Ends;
use crate::targets::check_name;

/// The names of tables in the target, in their order: readable ones, which it can have, and no two of them in one place.
pub(super) fn targets(tables: &[&TableInfo], ends: &Ends<'_>) -> Vec<TableName> {
    let mut taken: Vec<TableName> = Vec::with_capacity(tables.len());
    for table in tables {
        let name = wanted(table, ends);
        let stays_apart = |name: &String| {
            let name = TableName::new(name.as_str());
            taken.iter().all(|other| *other != name && !other.is_inside(&name) && !name.is_inside(other))
        };
        let flat = name.replace('/', "_");
        let numbered = (2..).map(|n| format!("{flat}_{n}"));
        let first = [name, flat.clone()].into_iter().chain(numbered).find(stays_apart);
        taken.push(TableName::new(first.unwrap_or(flat)));
    }
    taken
}

/// The schemas of tables in their database, in their order, if there are several.
pub(super) fn schemas(tables: &[&TableInfo]) -> Vec<Option<String>> {
    let schema_of = |table: &&TableInfo| {
        let parts = table.catalog.as_ref().map(|_| parts(table.name.as_str()))?;
        let schema = parts.first().filter(|_| parts.len() > 1)?;
        (!schema.chars().any(char::is_control)).then(|| schema.clone())
    };
    let schemas: Vec<Option<String>> = tables.iter().map(schema_of).collect();
    let different: BTreeSet<&String> = schemas.iter().flatten().collect();
    if different.len() > 1 { schemas } else { vec![None; tables.len()] }
}

/// The name that a table should have: that of a database as a path, that of a file without its ending.
fn wanted(table: &TableInfo, ends: &Ends<'_>) -> String {
    let name = table.name.as_str();
    let path = match (&table.catalog, ends.are_alike()) {
        (Some(_), true) => return name.to_string(),
        (Some(_), false) => parts(name).iter().map(|part| harmless(part)).collect::<Vec<_>>().join("/"),
        (None, _) => stem(name),
    };
    match check_name(ends.endpoint.as_ref(), &TableName::new(path.as_str())) {
        Ok(()) => path,
        Err(_) => path.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect(),
    }
}

/// The parts of a name as databases write it: those in double quotes without them.
fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut part, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

/// A part of a path, without what means something in one or makes it hidden.
fn harmless(part: &str) -> String {
    let plain = |c: char| match c {
        '/' | '\\' | '*' | '?' | '[' | ']' | '{' | '}' | '"' | '@' | '%' | ':' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    let part: String = part.chars().map(plain).collect();
    match part.trim_start_matches(['.', '_']) {
        "" => "table".to_string(),
        seen => seen.to_string(),
    }
}

/// The name of a table without what its file ends with: `in/orders` for `in/orders.csv.gz`.
fn stem(name: &str) -> String {
    let unpacked = [".gz", ".zst"].into_iter().find_map(|packed| name.strip_suffix(packed));
    Path::new(unpacked.unwrap_or(name)).with_extension("").to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::testing::{Drafted, table};

    fn names(source: &str, target: &str, tables: &[TableInfo]) -> Vec<String> {
        let drafted = Drafted::new(source, target);
        let tables: Vec<&TableInfo> = tables.iter().collect();
        targets(&tables, &drafted.ends()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_of_a_database_is_a_folder_in_that_of_its_schema() {
        let tables: Vec<TableInfo> = [
            "public.orders",
            "sales.\"Order.Lines\"",
            "public.\"a\"\"b/c\"",
            "public.\"_hidden\"",
            "public.hidden",
            "public.\"*\"",
            "public.\"v@v1\"",
        ]
        .map(table)
        .to_vec();
        assert_eq!(
            names("tpch", "lake", &tables),
            [
                "public/orders",
                "sales/Order.Lines",
                "public/a_b_c",
                "public/hidden",
                "public_hidden",
                "public/table",
                "public/v_v1",
            ]
        );
        assert_eq!(names("tpch", "delta", &tables)[0], "public/orders");
        let several = schemas(&tables.iter().collect::<Vec<_>>());
        assert_eq!((several[0].as_deref(), several[1].as_deref()), (Some("public"), Some("sales")));
        assert_eq!(schemas(&[&tables[0], &tables[4]]), [None, None]);
    }

    #[test]
    fn a_file_is_a_table_without_its_ending_and_none_lies_in_another() {
        let plain = |name| TableInfo { catalog: None, ..table(name) };
        let tables = ["orders.csv.gz", "in/orders.csv", "orders.json", "orders/part.csv", "v1.2"].map(plain);
        let names = names("lake", "lake", &tables);
        assert_eq!(names, ["orders", "in/orders", "orders_2", "orders_part", "v1"]);
    }
}
