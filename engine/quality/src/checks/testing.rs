//! Runs single checks on single columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use transload_core::TableName;
use transload_core::finding::CheckTally;

use crate::check::{Check, Rule};
use crate::checks::Facts;
use crate::judge::judge;
use crate::look::Seen;
use crate::pass::Pass;

/// The day on which the runs of these tests start, at noon.
pub(crate) const STARTED_DAY: i32 = 20_000;
const STARTED_MICROS: i64 = STARTED_DAY as i64 * 86_400_000_000 + 43_200_000_000;

/// Numbers of rows that break a rule.
#[derive(Debug)]
pub(crate) struct Broken(Vec<usize>);

impl<const N: usize> PartialEq<[usize; N]> for Broken {
    fn eq(&self, other: &[usize; N]) -> bool {
        self.0 == other
    }
}

pub(crate) fn ints<const N: usize>(values: [Option<i64>; N]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(crate) fn floats<const N: usize>(values: [Option<f64>; N]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// Decimals with two places, in hundredths.
pub(crate) fn decimals<const N: usize>(values: [Option<i128>; N]) -> ArrayRef {
    Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(15, 2).unwrap())
}

pub(crate) fn days<const N: usize>(values: [Option<i32>; N]) -> ArrayRef {
    Arc::new(Date32Array::from(values.to_vec()))
}

pub(crate) fn bools<const N: usize>(values: [Option<bool>; N]) -> ArrayRef {
    Arc::new(BooleanArray::from(values.to_vec()))
}

pub(crate) fn texts<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub(crate) fn views<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

/// Structs with one number.
pub(crate) fn structs<const N: usize>(values: [Option<i64>; N]) -> ArrayRef {
    Arc::new(StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), ints(values))]))
}

fn check(rule: &str) -> Check {
    let mut rule: serde_json::Value = serde_json::from_str(rule).unwrap();
    for settings in rule.as_object_mut().unwrap().values_mut() {
        if settings.is_array() {
            *settings = serde_json::json!({ "columns": settings });
        }
    }
    Check::new(serde_json::from_value::<Rule>(rule).unwrap()).unwrap()
}

fn batch(column: ArrayRef) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
    RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
}

fn pass(check: &Check, batch: &RecordBatch) -> Result<Pass, String> {
    let no_sql = |_: &str| Err("no SQL here".to_string());
    Pass::new(std::slice::from_ref(check), &batch.schema(), STARTED_MICROS, &no_sql).map_err(|mut e| e.remove(0).1)
}

/// The rows of a column `c` that break a rule.
#[track_caller]
pub(crate) fn broken(rule: &str, column: ArrayRef) -> Broken {
    let mut check = check(rule);
    let mut json = serde_json::to_value(&check.rule).unwrap();
    for settings in json.as_object_mut().unwrap().values_mut() {
        settings["action"] = "quarantine".into();
    }
    check.rule = serde_json::from_value(json).unwrap();
    let batch = batch(column);
    let pass = pass(&check, &batch).unwrap();
    let mut tally = pass.tally(true);
    let aside = pass.rows(&batch, &|_| None, None, &mut tally).unwrap();
    let rows: Vec<usize> = aside.map(|a| a.rows.set_indices().collect()).unwrap_or_default();
    let tally = tally.finish().remove(0);
    assert_eq!((tally.evaluated, tally.failed), (batch.num_rows() as u64, rows.len() as u64));
    Broken(rows)
}

/// Why a rule cannot be checked on a column `c`.
#[track_caller]
pub(crate) fn refused(rule: &str, column: ArrayRef) -> String {
    pass(&check(rule), &batch(column)).err().expect("the rule is refused")
}

fn finding(rule: &str, units: Vec<ArrayRef>, seen: Option<Seen>) -> transload_core::Finding {
    let check = check(rule);
    let tally = |column: ArrayRef| -> Vec<CheckTally> {
        let batch = batch(column);
        let pass = pass(&check, &batch).unwrap();
        let mut tally = pass.tally(false);
        // Two batches are as good as one.
        for part in
            [batch.slice(0, batch.num_rows() / 2), batch.slice(batch.num_rows() / 2, batch.num_rows().div_ceil(2))]
        {
            pass.table(&part, &mut tally).unwrap();
        }
        tally.finish()
    };
    let mut tallies: Vec<Vec<CheckTally>> = units.into_iter().map(tally).collect();
    tallies.extend(seen.map(|seen| vec![seen.tally(&check)]));
    let text = serde_json::to_string(&tallies).unwrap();
    let tallies: Vec<Vec<CheckTally>> = serde_json::from_str(&text).unwrap();
    let tallies: Vec<&[CheckTally]> = tallies.iter().map(Vec::as_slice).collect();
    let facts = Facts { started_micros: STARTED_MICROS, columns: Vec::new() };
    judge(std::slice::from_ref(&check), &TableName::new("t"), &tallies, &facts).unwrap().remove(0)
}

/// What a rule comes to for units with these values of `c`, after a second look.
#[track_caller]
pub(crate) fn looked(rule: &str, units: Vec<ArrayRef>, seen: Seen) -> transload_core::Finding {
    finding(rule, units, Some(seen))
}

/// The values that a second look gets, as text.
#[track_caller]
pub(crate) fn kept_keys(rule: &str, column: ArrayRef) -> Vec<String> {
    let batch = batch(column);
    let pass = pass(&check(rule), &batch).unwrap();
    let mut tally = pass.tally(false);
    tally.take_keys(0);
    pass.table(&batch, &mut tally).unwrap();
    let shown = |column: &ArrayRef| -> Vec<String> {
        (0..column.len()).map(|i| array_value_to_string(column, i).unwrap()).collect()
    };
    tally.take_keys(0).iter().flat_map(|columns| shown(&columns[0])).collect()
}

/// Whether a rule about a table holds for units with these values of `c`, and what was found.
#[track_caller]
pub(crate) fn judged(rule: &str, units: Vec<ArrayRef>) -> (bool, String) {
    let finding = finding(rule, units, None);
    (!finding.is_failed(), finding.found)
}

/// How many rows break a rule about the order of rows.
#[track_caller]
pub(crate) fn broken_in_order(rule: &str, units: Vec<ArrayRef>) -> u64 {
    finding(rule, units, None).failed.unwrap()
}
