//! A column by which only new rows could be loaded.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value as Json, json};
use transload_core::connector::{CatalogInfo, WriteMode, WriteSpec};
use transload_core::{LogicalType, TableName};

use crate::draft::columns::{ColumnDraft, arrives_as};
use crate::draft::key::KeyDraft;
use crate::draft::{Ends, Known};
use crate::pipeline::adding;

/// How far a load goes back for rows that came late, where it can merge them.
const LOOKBACK_SECS: u64 = 3600;

/// A column that grows, and the mode that goes by it. Never applied: only people know whether it does what it seems to do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CursorDraft {
    /// The column.
    pub(crate) column: String,
    /// What `mode` would be.
    pub(crate) mode: Json,
    /// Why this column, and what it does not see.
    pub(crate) reason: String,
    /// Whether the pipeline says so.
    pub(crate) applied: bool,
}

/// What a column seems to tell of its row, the most useful first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tells {
    /// When it was changed last.
    Change,
    /// Its number.
    Number,
    /// When it was made.
    Creation,
}

/// The best column to go by, if there is any.
pub(super) fn decide(
    table: &Known<'_>,
    decided: &[ColumnDraft],
    key: Option<&KeyDraft>,
    ends: &Ends<'_>,
) -> Option<CursorDraft> {
    let none = CatalogInfo::default();
    let catalog = table.info.catalog.as_ref().unwrap_or(&none);
    let candidates = table.info.columns.iter().filter_map(|(name, ty, nullable)| {
        let ty = arrives_as(decided, name, ty);
        let tells = tells(name, ty, catalog)?;
        Some((tells, exactness(ty), !has_index(catalog, name), *nullable, name))
    });
    // The first of those that are alike.
    let (tells, _, no_index, nullable, column) = candidates.min_by_key(|c| (c.0, c.1, c.2, c.3))?;
    let merges = tells == Tells::Change && key.is_some_and(|key| key.applied) && can_merge(ends);
    let mode = match merges {
        true => json!({ "incremental": { "cursor": column, "lookback_secs": LOOKBACK_SECS } }),
        false => json!({ "incremental": { "cursor": column } }),
    };
    let seems = match tells {
        Tells::Change => "by its name the time of the last change",
        Tells::Number => "a key of whole numbers, which grows if the database counts it up",
        Tells::Creation => "by its name the time at which a row was made",
    };
    let sees = match (tells, merges) {
        (Tells::Change, true) => "changed rows are merged by the key; rows that are deleted stay in the target",
        (Tells::Change, false) => {
            "each change of a row adds another row to the target, unless it is one that merges them by the key, such as Delta"
        }
        (Tells::Number | Tells::Creation, _) => "new rows are added; changed and deleted ones are not seen",
    };
    let index = if no_index { "without an index" } else { "with an index" };
    let null = if nullable { ", rows without a value never move" } else { "" };
    let reason = format!("{column} is {seems}, {index}{null}: {sees}");
    Some(CursorDraft { column: column.clone(), mode, reason, applied: false })
}

/// What a column seems to tell, by its name and type.
fn tells(name: &str, ty: &LogicalType, catalog: &CatalogInfo) -> Option<Tells> {
    use LogicalType as T;
    let is_key = matches!(catalog.primary_key.as_slice(), [only] if only == name);
    let is_reference = catalog.foreign_keys.iter().any(|key| key.columns.iter().any(|column| column == name));
    match ty {
        T::Date | T::Timestamp(..) if is_change(name) => Some(Tells::Change),
        T::Date | T::Timestamp(..) if is_creation(name) => Some(Tells::Creation),
        T::Int(16 | 32 | 64) | T::UInt(_) if is_key && !is_reference => Some(Tells::Number),
        _ => None,
    }
}

/// Whether a name is that of the time of a change.
pub(super) fn is_change(name: &str) -> bool {
    begins(name, &["upd", "modif", "chang", "mtime", "lastmod"])
}

/// Whether a name is that of the time at which something came to be.
pub(super) fn is_creation(name: &str) -> bool {
    begins(name, &["creat", "insert", "added", "record", "event", "logged", "ctime"])
}

/// Whether a word of a name begins like one of these.
fn begins(name: &str, stems: &[&str]) -> bool {
    words(name).iter().any(|word| stems.iter().any(|stem| word.starts_with(*stem)))
}

/// The words of a name, in small letters: `lastUpdate_ts` has three.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word, mut before) = (Vec::new(), String::new(), ' ');
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.push(word);
    words
}

/// How well a type says which row came later, the best first: a point in time before a wall clock, which is set back once a
/// year, and that before a day.
fn exactness(ty: &LogicalType) -> u8 {
    match ty {
        LogicalType::Timestamp(_, None) => 1,
        LogicalType::Date => 2,
        _ => 0,
    }
}

/// Whether rows are found by this column without reading all of them.
fn has_index(catalog: &CatalogInfo, column: &str) -> bool {
    let is_first = |columns: &[String]| columns.first().is_some_and(|first| first == column);
    is_first(&catalog.primary_key)
        || catalog.unique.iter().any(|columns| is_first(columns))
        || catalog.indexes.iter().any(|index| first_of(&index.definition).is_some_and(|first| first == column))
}

/// The first column of an index, by its definition: `CREATE INDEX i ON t USING btree (a, b)`. None of one that is only about
/// some rows, or about an expression.
fn first_of(definition: &str) -> Option<String> {
    let (_, rest) = definition.split_once(" USING ")?;
    let (_, columns) = rest.split_once('(')?;
    if columns.contains(" WHERE ") {
        return None;
    }
    let Some(quoted) = columns.strip_prefix('"') else {
        let end = columns.find([',', ' ', ')', '('])?;
        return (!columns[end..].starts_with('(')).then(|| columns[..end].to_string());
    };
    let mut parts = quoted.split('"');
    let mut name = parts.next()?.to_string();
    // Two quotes are one of the name, with nothing between them.
    while let (Some(""), Some(more)) = (parts.next(), parts.next()) {
        name.push('"');
        name.push_str(more);
    }
    Some(name)
}

fn can_merge(ends: &Ends<'_>) -> bool {
    let merge = WriteSpec { mode: WriteMode::Merge, ..adding(&TableName::new("")) };
    ends.endpoint.check_write(&merge).is_ok()
}

#[cfg(test)]
mod tests {
    use transload_core::connector::IndexInfo;

    use super::*;
    use crate::draft::testing::{Drafted, found, known, table};
    use crate::draft::{columns, key};

    /// The column that is taken of some with these types, and the mode.
    fn taken(target: &str, more: &[(&str, &str)], change: impl Fn(&mut CatalogInfo)) -> Option<(String, String)> {
        let mut info = table("public.t");
        for (name, ty) in more {
            info.columns.push(((*name).to_string(), ty.parse().unwrap(), true));
        }
        change(info.catalog.as_mut().unwrap());
        let (drafted, found) = (Drafted::new("tpch", target), found(info, None));
        let (known, ends) = (known(&found), drafted.ends());
        let key = key::decide(&known);
        let cursor = decide(&known, &columns::decide(&known, &ends), key.as_ref(), &ends)?;
        assert!(!cursor.applied && cursor.reason.starts_with(&cursor.column), "{cursor:?}");
        Some((cursor.column, cursor.mode.to_string()))
    }

    fn keyed(catalog: &mut CatalogInfo) {
        catalog.primary_key = vec!["id".to_string()];
    }

    #[test]
    fn the_time_of_a_change_comes_before_a_number_and_that_before_the_time_of_creation() {
        let column = |more: &[(&str, &str)], change: fn(&mut CatalogInfo)| taken("lake", more, change).map(|c| c.0);
        let all = [("created_at", "timestamp(us, UTC)"), ("updated_at", "timestamp(us)"), ("born", "date")];
        assert_eq!(column(&all, keyed).as_deref(), Some("updated_at"));
        assert_eq!(column(&[all[0], all[2]], keyed).as_deref(), Some("id"));
        assert_eq!(column(&[all[0], all[2]], |_| {}).as_deref(), Some("created_at"));
        assert_eq!(column(&[all[2], ("updated_by", "text"), ("exchange_date", "date")], |_| {}), None);
        // A point in time is better than a wall clock, and one with an index better than one without.
        let two =
            [("changed", "timestamp(us)"), ("lastModified", "timestamp(us, UTC)"), ("upd2", "timestamp(us, UTC)")];
        assert_eq!(column(&two, keyed).as_deref(), Some("lastModified"));
        let with_index = |catalog: &mut CatalogInfo| {
            let definition = "CREATE INDEX i ON public.t USING btree (upd2 DESC, id)".to_string();
            catalog.indexes = vec![IndexInfo { name: "i".to_string(), definition }];
        };
        assert_eq!(column(&two, with_index).as_deref(), Some("upd2"));
    }

    #[test]
    fn changes_are_merged_where_that_can_be() {
        let more = [("updated_at", "timestamp(us, UTC)")];
        let mode = |target, change: fn(&mut CatalogInfo)| taken(target, &more, change).unwrap().1;
        let plain = r#"{"incremental":{"cursor":"updated_at"}}"#;
        assert_eq!(mode("delta", keyed), r#"{"incremental":{"cursor":"updated_at","lookback_secs":3600}}"#);
        assert_eq!((mode("delta", |_| {}).as_str(), mode("lake", keyed).as_str()), (plain, plain));
    }

    #[test]
    fn the_first_column_of_an_index_is_found() {
        let of = |columns: &str| first_of(&format!("CREATE UNIQUE INDEX i ON s.t USING btree ({columns}"));
        assert_eq!(of("a)").as_deref(), Some("a"));
        assert_eq!(of("a DESC, b) INCLUDE (c)").as_deref(), Some("a"));
        assert_eq!(of("\"A b\"\"c\", d)").as_deref(), Some("A b\"c"));
        assert_eq!(of("\"A\")").as_deref(), Some("A"));
        assert_eq!(of("lower(a))"), None);
        assert_eq!(of("a) WHERE (b > 0)"), None);
        assert_eq!(first_of("nonsense"), None);
    }
}
