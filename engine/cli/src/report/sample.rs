//! A few rows of quarantine, masked: how their values are built, and the values themselves only where that is allowed.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;
use transload_core::connector::ReadSpec;
use transload_core::{Receipt, Result, TableName};
use transload_ledger::{Ledger, RunSummary};
use transload_plan::{ColumnPlan, OnMisfit, Origin, Plan, TablePlan};
use transload_quality::shape;
use transload_run::Limits;

use crate::commands::show::quarantine_name;
use crate::connectors::quarantine;
use crate::pipeline::resolver;

/// Rows that are shown of a table.
const ROWS: usize = 10;
/// Columns that are shown.
const COLUMNS: usize = 40;
/// Columns that fit on paper; `page.html` hides the others there.
const PAPER: usize = 6;
/// Longest value, in characters.
const LONGEST: usize = 80;
/// Memory for looking at a table.
const MEMORY: usize = 256 << 20;
/// The rules that a row breaks, each with `code` and `reason`.
const RULES: &str = "_rules";
/// The reasons as one text, in quarantines of older versions.
const REASON: &str = "_transload_reason";
/// Where a row stood, the outer part first.
const PLACE: [&str; 3] = ["_split", "_position", "_transload_position"];
/// The run, which the page names already.
const RUN: &str = "_run_id";

/// Some rows that a table's load put aside.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    #[serde(skip)]
    table: TableName,
    columns: Vec<String>,
    /// How many columns more there are.
    more: usize,
    /// Whether there are more than fit on paper.
    wide: bool,
    rows: Vec<Row>,
    /// Whether values are shown.
    clear: bool,
    /// Why there is nothing to show.
    error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    place: String,
    reasons: Vec<String>,
    cells: Vec<String>,
}

/// How the values of a column are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Values,
    Shapes,
    Stars,
}

impl Sample {
    /// The target table.
    pub(crate) fn table(&self) -> &TableName {
        &self.table
    }
}

/// A sample of each table that put rows aside. One that cannot be read says so.
pub(crate) async fn samples(summary: &RunSummary, plan: &Plan, ledger: &Ledger) -> Vec<Sample> {
    let clear = summary.start.show_values || summary.findings.iter().any(|f| !f.values.is_empty());
    let mut found = Vec::new();
    for receipt in summary.receipts.iter().filter(|r| r.quarantine.is_some()) {
        let Some(table) = plan.tables.iter().find(|t| t.to == receipt.to) else { continue };
        let sample = match rows(receipt, plan, ledger).await {
            Ok(batches) => sample(table, &batches, clear),
            Err(error) => Err(error),
        };
        found.push(sample.unwrap_or_else(|error| Sample {
            table: table.to.clone(),
            columns: Vec::new(),
            more: 0,
            wide: false,
            rows: Vec::new(),
            clear,
            error: Some(error.to_string()),
        }));
    }
    found
}

/// The first rows of a quarantine, in the order of the source.
async fn rows(receipt: &Receipt, plan: &Plan, ledger: &Ledger) -> Result<Vec<RecordBatch>> {
    let endpoint = quarantine(plan.quarantine.as_ref(), ledger, &resolver())?;
    let pin = receipt.quarantine.as_ref().map(|q| q.pin.clone());
    let source = endpoint.source(&TableName::new(quarantine_name(receipt)), &ReadSpec::at(pin)).await?;
    let schema = source.schema();
    let session = Limits { memory_bytes: MEMORY, parallel: 1, temp_dir: None }.session()?;
    session.register_table("quarantined", source.provider()?)?;
    let by: Vec<String> =
        PLACE.iter().filter(|name| schema.index_of(name).is_ok()).map(|name| format!("\"{name}\"")).collect();
    let order = if by.is_empty() { String::new() } else { format!(" ORDER BY {}", by.join(", ")) };
    let found = session.sql(&format!("SELECT * FROM quarantined{order} LIMIT {ROWS}")).await?;
    Ok(found.collect().await?)
}

/// What is shown of these rows.
fn sample(plan: &TablePlan, batches: &[RecordBatch], clear: bool) -> Result<Sample> {
    let mut sample = Sample {
        table: plan.to.clone(),
        columns: Vec::new(),
        more: 0,
        wide: false,
        rows: Vec::new(),
        clear,
        error: None,
    };
    for batch in batches {
        let schema = batch.schema();
        let is_data = |name: &str| !PLACE.contains(&name) && ![RULES, REASON, RUN].contains(&name);
        let mut data: Vec<(usize, Shown)> = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| is_data(f.name()))
            .map(|(at, f)| (at, shown(plan, f.name(), clear)))
            .collect();
        data.sort_by_key(|(at, _)| rank(plan, schema.field(*at).name()));
        sample.more = data.len().saturating_sub(COLUMNS);
        sample.wide = data.len() > PAPER;
        let data = data.get(..COLUMNS).unwrap_or(&data);
        sample.columns = data.iter().map(|(at, _)| schema.field(*at).name().clone()).collect();
        let columns: Vec<(Texts<'_>, Shown)> =
            data.iter().map(|(at, how)| Ok((Texts::of(batch.column(*at))?, *how))).collect::<Result<_>>()?;
        let places: Vec<Texts<'_>> =
            PLACE.iter().filter_map(|name| batch.column_by_name(name)).map(Texts::of).collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            sample.rows.push(Row {
                place: places.iter().filter_map(|p| p.value(row)).collect::<Vec<_>>().join(" · "),
                reasons: reasons(batch, row)?,
                cells: columns.iter().map(|(texts, how)| cell(texts.value(row), *how)).collect(),
            });
        }
    }
    Ok(sample)
}

/// What tells a row from others comes first, then what can be the reason why it was put aside.
fn rank(plan: &TablePlan, name: &str) -> u8 {
    let of = |column: &&ColumnPlan| matches!(&column.origin, Origin::Source(of) if of == name);
    let arrives = || plan.columns.iter().filter(of);
    let ruled = |name: &str| {
        plan.checks.iter().filter(|c| c.quarantines()).flat_map(|c| c.columns()).any(|column| column.value == name)
    };
    let misfits = |column: &ColumnPlan| column.cast.as_ref().is_some_and(|c| c.on_misfit == OnMisfit::Quarantine);
    if arrives().any(|column| plan.key.contains(&column.name)) {
        0
    } else if ruled(name) || arrives().any(|column| ruled(&column.name) || misfits(column)) {
        1
    } else {
        2
    }
}

/// What is masked in the target is so here; what does not come there, such as a dropped column or a whole line, shows
/// no value either.
fn shown(plan: &TablePlan, name: &str, clear: bool) -> Shown {
    let mut arrives = plan.columns.iter().filter(|c| matches!(&c.origin, Origin::Source(of) if of == name)).peekable();
    match (arrives.peek().is_some(), arrives.any(|c| c.mask.is_some())) {
        (_, true) => Shown::Stars,
        (true, false) if clear => Shown::Values,
        _ => Shown::Shapes,
    }
}

fn cell(value: Option<String>, how: Shown) -> String {
    let Some(value) = value else { return "NULL".to_string() };
    match how {
        Shown::Stars => "***".to_string(),
        Shown::Shapes => shape(&value),
        Shown::Values => {
            let value = value.escape_debug().to_string();
            match value.char_indices().nth(LONGEST) {
                Some((at, _)) => format!("{}…", &value[..at]),
                None => value,
            }
        }
    }
}

/// Why a row was put aside. A table of another version may have no reasons in a form that is known.
fn reasons(batch: &RecordBatch, row: usize) -> Result<Vec<String>> {
    let rules = batch.column_by_name(RULES).and_then(|c| c.as_list_opt::<i32>()).filter(|rules| rules.is_valid(row));
    if let Some(rules) = rules {
        let broken = rules.value(row);
        let part = |name: &str| broken.as_struct_opt().and_then(|s| s.column_by_name(name)).map(Texts::of).transpose();
        let (codes, reasons) = (part("code")?, part("reason")?);
        let text = |of: &Option<Texts<'_>>, at| of.as_ref().and_then(|texts| texts.value(at)).unwrap_or_default();
        let one = |at| match (text(&codes, at), text(&reasons, at)) {
            (code, reason) if reason.starts_with(&code) => reason,
            (code, reason) => format!("{code} {reason}"),
        };
        return Ok((0..broken.len()).map(one).collect());
    }
    let reason = batch.column_by_name(REASON).map(Texts::of).transpose()?.and_then(|texts| texts.value(row));
    Ok(reason.iter().flat_map(|all| all.split("; ")).map(str::to_string).collect())
}

/// The values of a column as texts.
struct Texts<'a> {
    array: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        const OPTIONS: &FormatOptions<'static> = &FormatOptions::new();
        Ok(Self { array, formatter: ArrayFormatter::try_new(array.as_ref(), OPTIONS)? })
    }

    /// None for NULL.
    fn value(&self, row: usize) -> Option<String> {
        self.array.is_valid(row).then(|| self.formatter.value(row).to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType, Field, Fields};
    use serde_json::json;

    use super::*;

    /// A table whose column `phone` is masked and whose column `note` is dropped.
    fn plan() -> TablePlan {
        let column = |name: &str, mask: Option<&str>| {
            json!({
                "name": format!("{name}_new"), "type": "text", "nullable": true, "origin": { "source": name },
                "cast": null, "mask": mask,
            })
        };
        serde_json::from_value(json!({
            "from": "t", "to": "t", "pin": { "formula": "f" }, "splits": [], "source_columns": [],
            "columns": [column("name", None), column("phone", Some("partial"))], "filter": null, "incremental": null,
            "write": "replace", "expected": { "version": "1" }, "partition_by": [], "key": [],
            "reconcile": { "level": "row", "hash": "xxh64" }, "estimated_rows": null,
        }))
        .unwrap()
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn rules() -> ArrayRef {
        let fields = Fields::from(vec![
            Field::new("code", DataType::Utf8, true),
            Field::new("fingerprint", DataType::Utf8, true),
            Field::new("reason", DataType::Utf8, true),
        ]);
        let columns = vec![
            texts(&[Some("Q001"), Some("Q005"), None]),
            texts(&[None, None, None]),
            texts(&[Some("expected a value"), Some("Q005 range: name: expected at least 0"), Some("does not fit")]),
        ];
        let items = StructArray::new(fields.clone(), columns, None);
        let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 1]), Arc::new(items), None))
    }

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("name", texts(&[Some("Ann\u{1b}"), None])),
            ("phone", texts(&[Some("555-0199"), Some("")])),
            ("note", texts(&[Some("secret1"), Some("x")])),
            ("_rules", rules()),
            ("_run_id", texts(&[Some("r"), Some("r")])),
            ("_split", Arc::new(Int64Array::from(vec![0, 1])) as ArrayRef),
            ("_position", Arc::new(Int64Array::from(vec![7, 0])) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn values_are_shapes_and_masked_ones_stars() {
        let sample = sample(&plan(), &[batch()], false).unwrap();
        assert_eq!(sample.columns, ["name", "phone", "note"]);
        assert_eq!(sample.rows[0].cells, ["Aaa?", "***", "a+9"]);
        assert_eq!(sample.rows[1].cells, ["NULL", "***", "a"]);
        assert_eq!(sample.rows[0].place, "0 · 7");
        assert_eq!(sample.rows[0].reasons, ["Q001 expected a value", "Q005 range: name: expected at least 0"]);
        assert_eq!(sample.rows[1].reasons, ["does not fit"]);
    }

    #[test]
    fn asked_for_values_are_shown_but_for_what_the_target_does_not_show() {
        let sample = sample(&plan(), &[batch()], true).unwrap();
        assert_eq!(sample.rows[0].cells, ["Ann\\u{1b}", "***", "a+9"]);
        assert_eq!(cell(Some("é".repeat(200)), Shown::Values).chars().count(), LONGEST + 1);
    }

    #[test]
    fn columns_that_say_which_row_it_is_and_what_is_wrong_come_first() {
        let mut plan = plan();
        plan.key = vec!["phone_new".to_string()];
        let rule = serde_json::from_str(r#"{"range":{"column":"note","min":0,"action":"quarantine"}}"#).unwrap();
        plan.checks = vec![transload_quality::Check::new(rule).unwrap()];
        let found = sample(&plan, &[batch()], false).unwrap();
        assert_eq!(found.columns, ["phone", "note", "name"]);
        assert!(!found.wide);
        assert_eq!(found.rows[0].cells, ["***", "a+9", "Aaa?"]);
    }

    #[test]
    fn a_quarantine_of_an_older_version_is_read_too() {
        let batch = RecordBatch::try_from_iter([
            ("name", texts(&[Some("Ann")])),
            ("_transload_raw", texts(&[Some("Ann,1")])),
            ("_transload_position", Arc::new(Int64Array::from(vec![3])) as ArrayRef),
            ("_transload_reason", texts(&[Some("line 5: a quote; a does not fit")])),
        ])
        .unwrap();
        let sample = sample(&plan(), &[batch], true).unwrap();
        assert_eq!((sample.columns.len(), sample.rows[0].place.as_str()), (2, "3"));
        assert_eq!(sample.rows[0].cells, ["Ann", "Aaa,9"]);
        assert_eq!(sample.rows[0].reasons, ["line 5: a quote", "a does not fit"]);
    }
}
