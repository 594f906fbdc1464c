//! What a table of rows that were put aside looks like: the source's columns as they were, then why and from where.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use sha2::{Digest, Sha256};
use transload_coerce::Cast;
use transload_core::connector::{FAULT_COLUMN, ORIGIN_COLUMN, RAW_COLUMN};
use transload_core::types::EXTENSION_NAME;
use transload_core::{Error, LogicalType, Result};
use transload_quality::Reason;

/// Code of the reason that a value does not fit the type it is cast to.
pub const MISFIT_CODE: &str = "C001";

/// Code of the reason that a line could not be read.
pub const LINE_CODE: &str = "L001";

/// Code of the reason that the filter of a replay leaves a row out.
pub const FILTER_CODE: &str = "F001";

/// The names of the columns that quarantine adds to those of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideNames {
    /// Every rule that the row breaks: list<struct<code: text, fingerprint: text, reason: text>>.
    pub rules: String,
    /// The run that put the row aside first: text.
    pub run_id: String,
    /// The number of the row's split in the plan of that run, from 0: uint64.
    pub split: String,
    /// The place of the row among those read from its split, from 0: uint64.
    pub position: String,
}

impl AsideNames {
    /// The names beside these columns of a source: `_rules`, `_run_id`, `_split` and `_position`, each with as many
    /// more underscores in front as it takes to be free.
    pub fn beside(columns: &[&str]) -> Self {
        let free = |name: &str| {
            let mut name = name.to_string();
            while columns.contains(&name.as_str()) {
                name.insert(0, '_');
            }
            name
        };
        Self { rules: free("_rules"), run_id: free("_run_id"), split: free("_split"), position: free("_position") }
    }

    /// All of them, in the order of the columns.
    pub fn all(&self) -> [&str; 4] {
        [&self.rules, &self.run_id, &self.split, &self.position]
    }
}

/// Whether quarantine keeps a source's column as it is: all but those that say what it tells in columns of its own.
pub(crate) fn is_kept(column: &str) -> bool {
    column != FAULT_COLUMN && column != ORIGIN_COLUMN
}

/// Whether a column is a value of the row, and nothing that a source or a quarantine says about it.
pub(crate) fn is_value(column: &str) -> bool {
    is_kept(column) && column != RAW_COLUMN
}

/// The columns of rows of `source` that are put aside.
pub(crate) fn schema(source: &Schema) -> Schema {
    let kept: Vec<&Arc<Field>> = source.fields().iter().filter(|f| is_kept(f.name())).collect();
    let names = AsideNames::beside(&kept.iter().map(|f| f.name().as_str()).collect::<Vec<_>>());
    let mut fields: Vec<Field> = Vec::with_capacity(kept.len() + 4);
    for field in kept {
        if let Some(apart) = intervals_apart(field) {
            fields.push(apart.to().to_field(field.name(), true));
            continue;
        }
        let mut metadata = field.metadata().clone();
        metadata.retain(|key, _| key == EXTENSION_NAME);
        fields.push(Field::new(field.name(), field.data_type().clone(), true).with_metadata(metadata));
    }
    fields.push(rules_type().to_field(&names.rules, false));
    fields.push(LogicalType::Text.to_field(&names.run_id, false));
    fields.push(LogicalType::UInt(64).to_field(&names.split, false));
    fields.push(LogicalType::UInt(64).to_field(&names.position, false));
    Schema::new(fields)
}

/// How a column is kept that has intervals in it: Parquet has none that keep months, days and nanoseconds apart. `None` for
/// the others, which are kept as they are.
pub(crate) fn intervals_apart(field: &Field) -> Option<Cast> {
    Cast::intervals_apart(&LogicalType::of(field)?)
}

/// The values of a column as quarantine keeps them.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if a date beside an interval holds a time of day, which would get lost.
pub(crate) fn kept(values: ArrayRef, field: &Field) -> Result<ArrayRef> {
    let Some(apart) = intervals_apart(field) else { return Ok(values) };
    let done = apart.apply(&values)?;
    match done.misfits {
        None => Ok(done.array),
        Some(_) => Err(Error::config("a date holds a time of day").with("column", field.name())),
    }
}

/// The type of the column of broken rules.
pub(crate) fn rules_type() -> LogicalType {
    let text = |name: &str| (name.to_string(), LogicalType::Text);
    LogicalType::List(Box::new(LogicalType::Struct(vec![text("code"), text("fingerprint"), text("reason")])))
}

/// The type of [`ORIGIN_COLUMN`].
pub(crate) fn origin_type() -> LogicalType {
    let number = |name: &str| (name.to_string(), LogicalType::UInt(64));
    LogicalType::Struct(vec![("run_id".to_string(), LogicalType::Text), number("split"), number("position")])
}

/// The column of broken rules, of which each row has some.
pub(crate) fn rules(rows: &[Vec<Reason<'_>>]) -> Result<ArrayRef> {
    let broken = || Error::internal("a list of rules has another layout");
    let DataType::List(item) = rules_type().to_arrow() else { return Err(broken()) };
    let DataType::Struct(fields) = item.data_type() else { return Err(broken()) };
    let fields: Fields = fields.clone();
    let all = || rows.iter().flatten();
    let codes: ArrayRef = Arc::new(all().map(|r| Some(r.code)).collect::<StringArray>());
    let fingerprints: ArrayRef = Arc::new(all().map(|r| Some(r.fingerprint)).collect::<StringArray>());
    let reasons: ArrayRef = Arc::new(all().map(|r| Some(r.text)).collect::<StringArray>());
    let values = StructArray::try_new(fields, vec![codes, fingerprints, reasons], None)?;
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(values), None)?))
}

/// Identifies a reason that is no check: its code and what it is about.
pub(crate) fn fingerprint(code: &str, about: &[&str]) -> String {
    let digest = Sha256::digest(serde_json::json!([code, about]).to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, IntervalMonthDayNanoArray};
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    #[test]
    fn a_name_that_the_source_has_gets_an_underscore_more() {
        assert_eq!(AsideNames::beside(&["a"]).all(), ["_rules", "_run_id", "_split", "_position"]);
        let taken = AsideNames::beside(&["_run_id", "_split", "__split"]);
        assert_eq!(taken.all(), ["_rules", "__run_id", "___split", "_position"]);
    }

    #[test]
    fn rows_keep_their_rules_apart() {
        let reason = |code| Reason { code, fingerprint: "f", text: "t" };
        let rows = [vec![reason("Q001"), reason("C001")], vec![reason("L001")], Vec::new()];
        let array = rules(&rows).unwrap();
        assert_eq!(*array.data_type(), rules_type().to_arrow());
        let list = array.as_list::<i32>();
        assert_eq!((0..3).map(|i| list.value(i).len()).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(list.value(1).as_struct().column(0).as_string::<i32>().value(0), "L001");
    }

    #[test]
    fn a_fingerprint_is_of_what_it_is_about() {
        assert_eq!(fingerprint("C001", &["a", "b"]).len(), 16);
        assert_ne!(fingerprint("C001", &["a", "b"]), fingerprint("C001", &["a", "c"]));
        assert_ne!(fingerprint("C001", &[]), fingerprint("L001", &[]));
    }

    #[test]
    fn intervals_are_kept_as_what_they_are_made_of() {
        let source = Schema::new(vec![LogicalType::Interval.to_field("took", false)]);
        let found = schema(&source);
        let parts = "struct<months: int32, days: int32, nanoseconds: int64>";
        assert_eq!(LogicalType::of(found.field(0)), Some(parts.parse().unwrap()));
        let value = IntervalMonthDayNano::new(14, -3, 1);
        let values: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![Some(value), None]));
        let kept = kept(values, source.field(0)).unwrap();
        assert_eq!((kept.data_type(), kept.null_count()), (found.field(0).data_type(), 1));
    }

    #[test]
    fn what_a_column_is_stays_known() {
        let uuid = LogicalType::Uuid.to_field("id", false);
        let fault = Field::new(FAULT_COLUMN, DataType::Utf8, true);
        let schema = schema(&Schema::new(vec![uuid, fault]));
        assert_eq!(LogicalType::of(schema.field(0)), Some(LogicalType::Uuid));
        assert!(schema.field(0).is_nullable());
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["id", "_rules", "_run_id", "_split", "_position"]);
    }
}
