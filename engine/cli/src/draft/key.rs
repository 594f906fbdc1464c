//! What tells the rows of a table apart.

use schemars::JsonSchema;
use serde::Serialize;

use crate::draft::Known;

/// Columns that tell rows apart.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct KeyDraft {
    /// The columns.
    pub(crate) columns: Vec<String>,
    /// Why these.
    pub(crate) reason: String,
    /// Whether the pipeline says so.
    pub(crate) applied: bool,
}

/// What the database keeps different; otherwise a column whose values all differ.
pub(super) fn decide(table: &Known<'_>) -> Option<KeyDraft> {
    let key = |columns: &[String], reason: &str| {
        let (columns, reason) = (columns.to_vec(), reason.to_string());
        Some(KeyDraft { columns, reason, applied: true })
    };
    if let Some(catalog) = &table.info.catalog {
        if !catalog.primary_key.is_empty() {
            return key(&catalog.primary_key, "the primary key");
        }
        if let Some(columns) = catalog.unique.iter().min_by_key(|columns| columns.len()) {
            return key(columns, "a unique index, whose columns are never NULL");
        }
    }
    let seen = table.seen.as_ref()?;
    let column = [seen.profiler.key()?.to_string()];
    let rows = seen.profile.rows;
    match seen.sampled {
        None => key(&column, &format!("a value in each of {rows} rows, all of them different")),
        Some(percent) => {
            let reason = format!(
                "a candidate and no more: different in each of {rows} rows, a sample of about {percent} % of the table"
            );
            key(&column, &reason).map(|key| KeyDraft { applied: false, ..key })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::testing::{found, known, table};

    #[test]
    fn a_key_is_what_the_database_keeps_different_before_what_only_looks_so() {
        let decided = |change: &dyn Fn(&mut transload_core::connector::CatalogInfo), sampled: Option<Option<u8>>| {
            let mut info = table("public.t");
            change(info.catalog.as_mut().unwrap());
            decide(&known(&found(info, sampled)))
        };
        let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let key = decided(&|c| c.primary_key = texts(&["b", "a"]), Some(None)).unwrap();
        assert_eq!((key.columns, key.applied), (texts(&["b", "a"]), true));
        let key = decided(&|c| c.unique = vec![texts(&["a", "b"]), texts(&["code"])], None).unwrap();
        assert_eq!((key.columns, key.applied), (texts(&["code"]), true));
        // `id` counts up in the rows of these tests.
        let key = decided(&|_| {}, Some(None)).unwrap();
        assert_eq!((key.columns, key.applied), (texts(&["id"]), true));
        let key = decided(&|_| {}, Some(Some(10))).unwrap();
        assert!(!key.applied && key.reason.contains("40 rows, a sample of about 10 %"), "{key:?}");
        assert!(decided(&|_| {}, None).is_none());
    }
}
