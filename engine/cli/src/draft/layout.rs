//! How the target of a large table could be laid out.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use transload_core::connector::{Partition, Transform, WriteSpec};
use transload_core::{LogicalType, TableName};

use crate::draft::columns::{ColumnDraft, arrives_as};
use crate::draft::cursor::{is_change, is_creation};
use crate::draft::{Ends, Known};
use crate::listing::figures;
use crate::pipeline::adding;

/// From so many bytes in the source a table is large.
const LARGE_BYTES: u64 = 1 << 30;

/// About as many bytes has a row, where nobody knows.
const ROW_BYTES: u64 = 100;

/// So many bytes a partition has at least, on average: smaller ones make reading slow.
const LEAST_BYTES: u64 = 64 << 20;

/// So many partitions there are at most.
const MOST: u64 = 4000;

/// A layout by partition. Never applied: it depends on what is asked of the target.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LayoutDraft {
    /// What `partition_by` would be.
    pub(crate) partition_by: Json,
    /// Columns that have to be derived for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) derive: Option<Json>,
    /// Why.
    pub(crate) reason: String,
    /// Whether the pipeline says so.
    pub(crate) applied: bool,
}

/// A length of time.
struct Grain {
    word: &'static str,
    transform: Transform,
    days: u64,
    /// How it is written.
    format: &'static str,
}

/// The lengths of time that partitions have, the shortest first.
const GRAINS: [Grain; 3] = [
    Grain { word: "day", transform: Transform::Day, days: 1, format: "%Y-%m-%d" },
    Grain { word: "month", transform: Transform::Month, days: 30, format: "%Y-%m" },
    Grain { word: "year", transform: Transform::Year, days: 365, format: "%Y" },
];

/// Partitions by time for a large table that has one.
pub(super) fn decide(table: &Known<'_>, decided: &[ColumnDraft], ends: &Ends<'_>) -> Option<LayoutDraft> {
    let of_rows = table.info.about_rows().map(|rows| rows.saturating_mul(ROW_BYTES));
    let bytes = table.info.bytes.into_iter().chain(of_rows).max()?;
    if bytes < LARGE_BYTES {
        return None;
    }
    let column = column(table, decided)?;
    let days = days(table, column);
    let grain = GRAINS.iter().find(|grain| match days {
        None => grain.word == "month",
        Some(days) => {
            let parts = days.div_ceil(grain.days).max(1);
            parts <= MOST && bytes / parts >= LEAST_BYTES
        }
    })?;
    let size = format!("a large table ({})", figures(table.info));
    let by = match &table.info.catalog {
        Some(catalog) if is_in(catalog.partition_key.as_deref(), column) => {
            format!("{size}, which the database divides by {column}, too")
        }
        _ => size,
    };
    let reason = format!("{by}: who asks for a time reads only its {}s", grain.word);
    if can_have(ends, column, grain.transform) {
        let partition_by = json!([{ grain.word: column }]);
        return Some(LayoutDraft { partition_by, derive: None, reason, applied: false });
    }
    let derived = format!("{column}_{}", grain.word);
    let is_taken = table.info.columns.iter().any(|(name, ..)| *name == derived);
    if is_taken || !can_have(ends, &derived, Transform::Identity) {
        return None;
    }
    let name = format!("\"{}\"", column.replace('"', "\"\""));
    let sql = format!("to_char({name}, '{}')", grain.format);
    let derive: Map<String, Json> = [(derived.clone(), json!(sql))].into_iter().collect();
    let partition_by = json!([{ "identity": derived }]);
    Some(LayoutDraft { partition_by, derive: Some(Json::Object(derive)), reason, applied: false })
}

/// The column that says best when what a row tells happened. The time of a change is none: a row would move by it.
fn column<'a>(table: &Known<'a>, decided: &[ColumnDraft]) -> Option<&'a str> {
    let key = table.info.catalog.as_ref().and_then(|catalog| catalog.partition_key.as_deref());
    let times = table.info.columns.iter().filter(|(name, ty, _)| {
        let ty = arrives_as(decided, name, ty);
        matches!(ty, LogicalType::Date | LogicalType::Timestamp(..)) && !is_change(name)
    });
    let best = times.min_by_key(|(name, _, nullable)| (!is_in(key, name), !is_creation(name), *nullable));
    best.map(|(name, ..)| name.as_str())
}

/// Whether a column stands in the words with which a database says how a table is partitioned.
fn is_in(key: Option<&str>, column: &str) -> bool {
    let is_part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    key.is_some_and(|key| key.split(|c| !is_part_of_name(c)).any(|word| word == column))
}

/// The days from the first value that was seen to the last.
fn days(table: &Known<'_>, column: &str) -> Option<u64> {
    let profile = table.profile(column)?;
    let day = |text: &Option<String>| text.as_deref()?.get(..10)?.parse::<NaiveDate>().ok();
    u64::try_from((day(&profile.max)? - day(&profile.min)?).num_days() + 1).ok()
}

fn can_have(ends: &Ends<'_>, column: &str, transform: Transform) -> bool {
    let partition_by = vec![Partition { column: column.to_string(), transform }];
    ends.endpoint.check_write(&WriteSpec { partition_by, ..adding(&TableName::new("")) }).is_ok()
}

#[cfg(test)]
mod tests {
    use transload_core::connector::TableInfo;

    use super::*;
    use crate::draft::columns;
    use crate::draft::testing::{Drafted, found, known, table};

    fn large(bytes: u64, columns: &[(&str, &str)]) -> TableInfo {
        let mut info = table("public.t");
        info.bytes = Some(bytes);
        info.columns.extend(columns.iter().map(|(name, ty)| ((*name).to_string(), ty.parse().unwrap(), true)));
        info
    }

    fn laid_out(target: &str, info: TableInfo, sampled: Option<Option<u8>>) -> Option<LayoutDraft> {
        let (drafted, found) = (Drafted::new("tpch", target), found(info, sampled));
        let (known, ends) = (known(&found), drafted.ends());
        decide(&known, &columns::decide(&known, &ends), &ends)
    }

    const TIMES: [(&str, &str); 3] =
        [("updated_at", "timestamp(us)"), ("due", "date"), ("created_at", "timestamp(us, UTC)")];

    #[test]
    fn a_large_table_is_divided_by_the_time_of_what_it_tells() {
        let layout = laid_out("lake", large(LARGE_BYTES, &TIMES), None).unwrap();
        assert_eq!(layout.partition_by.to_string(), r#"[{"month":"created_at"}]"#);
        assert!(!layout.applied && layout.derive.is_none());
        let mut divided = large(LARGE_BYTES, &TIMES);
        divided.catalog.as_mut().unwrap().partition_key = Some("RANGE (due)".to_string());
        let layout = laid_out("lake", divided, None).unwrap();
        assert_eq!(layout.partition_by.to_string(), r#"[{"month":"due"}]"#);
        assert!(layout.reason.contains("divides by due"), "{}", layout.reason);
        assert!(laid_out("lake", large(LARGE_BYTES - 1, &TIMES), None).is_none());
        assert!(laid_out("lake", large(LARGE_BYTES, &TIMES[..1]), None).is_none());
        let rows = TableInfo { bytes: None, rows: Some(20_000_000), ..large(0, &TIMES) };
        assert!(laid_out("lake", rows, None).is_some());
    }

    #[test]
    fn partitions_are_neither_small_nor_many() {
        // The days of these tests are forty in a row.
        let by = |bytes| laid_out("lake", large(bytes, &TIMES[1..2]), Some(None)).map(|l| l.partition_by.to_string());
        assert_eq!(by(40 * LEAST_BYTES).as_deref(), Some(r#"[{"day":"due"}]"#));
        assert_eq!(by(39 * LEAST_BYTES).as_deref(), Some(r#"[{"month":"due"}]"#));
    }

    #[test]
    fn where_only_values_divide_a_column_is_derived() {
        let layout = laid_out("delta", large(LARGE_BYTES, &TIMES), None).unwrap();
        assert_eq!(layout.partition_by.to_string(), r#"[{"identity":"created_at_month"}]"#);
        let derive = layout.derive.unwrap().to_string();
        assert_eq!(derive, r#"{"created_at_month":"to_char(\"created_at\", '%Y-%m')"}"#);
        let mut taken = large(LARGE_BYTES, &TIMES);
        taken.columns.push(("created_at_month".to_string(), LogicalType::Text, true));
        assert!(laid_out("delta", taken, None).is_none());
    }
}
