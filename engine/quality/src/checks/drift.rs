//! # `drift` (Q019)
//!
//! **What it checks.** The rows that go to the target are much like those that the last run published: no figure has
//! moved by more than `max`. The last run is that of the same pipeline and table with the same rule.
//!
//! | `of` | how far it has moved |
//! | --- | --- |
//! | `rows` | the difference, as a share of the rows before |
//! | `nulls` | the share of NULL in a column: the difference of the two shares, in percentage points |
//! | `mean`, `min`, `max` | of a column of numbers, dates, times or timestamps: the difference, as a share of the distance between the least and the greatest value before |
//!
//! Without `of` it is `rows`, and for each of the `columns` `nulls` and, where there is one, the `mean`. NULL, NaN and
//! infinite values have no part in `mean`, `min` and `max`. Without an earlier run there is nothing to compare with:
//! the rule holds and says so. In a backfill it is not judged, and no run is compared with one.
//!
//! **Why it matters.** Nobody writes a rule for the day on which half of the customers are missing and every row that
//! is there is right.
//!
//! **Example.** `drift: { columns: [amount, phone], max: 10% }`
//!
//! **Cost.** Some additions and comparisons per value.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::{Error, LogicalType, Problem, Result, Span};

use crate::check::Before;
use crate::checks::aggregate::decimal;
use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::policy::{Percent, Policy};
use crate::spread::Spread;
use crate::tally::Counter;
use crate::values::{each_exact, each_float, wrong_type};

settings! {
    /// The table is much as the last run published it.
    pub struct Drift {
        /// The columns that are compared. Default: none, so that only the number of rows is.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub columns: Vec<Spanned<String>>,
        /// The figures that are compared. Default: `rows`, and of the columns `nulls` and `mean`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub of: Option<Vec<Measure>>,
        /// How far a figure may move.
        pub max: Percent,
    }
}

/// A figure that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The number of rows.
    Rows,
    /// The share of NULL in a column.
    Nulls,
    /// The mean of a column.
    Mean,
    /// The smallest value of a column.
    Min,
    /// The greatest value of a column.
    Max,
}

impl Measure {
    fn word(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Nulls => "nulls",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// Whether it is of values that have a distance from each other.
    fn needs_distance(self) -> bool {
        matches!(self, Self::Mean | Self::Min | Self::Max)
    }
}

impl Drift {
    fn measures(&self) -> &[Measure] {
        match &self.of {
            Some(of) => of,
            None if self.columns.is_empty() => &[Measure::Rows],
            None => &[Measure::Rows, Measure::Nulls, Measure::Mean],
        }
    }

    /// What all units counted, as the figures of the run.
    fn total(&self, states: &[Json]) -> Result<Figures> {
        let mut all = State::default();
        for state in states {
            let State { rows, columns } = read_state(state)?;
            all.rows += rows;
            if all.columns.is_empty() {
                all.columns = columns;
            } else {
                all.columns.iter_mut().zip(columns).for_each(|(sum, more)| sum.merge(more));
            }
        }
        let columns = self.columns.iter().zip(&all.columns).map(|(name, seen)| (name.value.clone(), seen.figures()));
        Ok(Figures { rows: all.rows, columns: columns.collect() })
    }

    /// How far every figure has moved, and why some cannot be compared.
    fn shifts(&self, now: &Figures, before: &Figures) -> (Vec<Shift>, Vec<String>) {
        let (mut shifts, mut not_compared) = (Vec::new(), Vec::new());
        for measure in self.measures() {
            if *measure == Measure::Rows {
                shifts.push(rows_shift(now.rows, before.rows));
                continue;
            }
            for name in &self.columns {
                let (Some(n), Some(b)) = (now.columns.get(&name.value), before.columns.get(&name.value)) else {
                    not_compared.push(format!("{} of {}: there are no rows", measure.word(), name.value));
                    continue;
                };
                let shift = match measure {
                    Measure::Nulls => nulls_shift(name, (n.nulls, now.rows), (b.nulls, before.rows)).map(Some),
                    _ => value_shift(*measure, name, n, b),
                };
                match shift {
                    Ok(shift) => shifts.extend(shift),
                    Err(reason) => not_compared.push(format!("{} of {}: {reason}", measure.word(), name.value)),
                }
            }
        }
        (shifts, not_compared)
    }
}

impl Definition for Drift {
    fn code(&self) -> &'static str {
        "Q019"
    }

    fn kind(&self) -> &'static str {
        "drift"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        self.columns.iter().collect()
    }

    fn scope(&self) -> Scope {
        Scope::Table
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        for (at, column) in self.columns.iter().enumerate() {
            if self.columns[..at].contains(column) {
                let problem = Problem::new(column.span, format!("`drift` names `{}` twice", column.value));
                problems.push(problem.hint("keep one of them"));
            }
        }
        let Some(of) = &self.of else { return };
        let mut say = |message: String, hint: &str| problems.push(Problem::new(place, message).hint(hint));
        if of.is_empty() {
            say("`drift` compares nothing: `of` is empty".to_string(), "name figures, or remove `of`");
        }
        for (at, measure) in of.iter().enumerate() {
            if of[..at].contains(measure) {
                say(format!("`drift` names `{}` twice", measure.word()), "keep one of them");
            }
        }
        let of_columns = of.iter().find(|m| **m != Measure::Rows);
        match of_columns {
            Some(measure) if self.columns.is_empty() => {
                say(format!("`{}` is of columns, and `drift` names none", measure.word()), "name them in `columns`");
            }
            None if !self.columns.is_empty() && !of.is_empty() => {
                say("the number of rows has no columns".to_string(), "remove `columns`, or name more figures in `of`");
            }
            _ => {}
        }
    }

    fn expected(&self) -> String {
        let of_columns: Vec<&str> = self.measures().iter().filter(|m| **m != Measure::Rows).map(|m| m.word()).collect();
        let mut parts = Vec::new();
        if self.measures().contains(&Measure::Rows) {
            parts.push("rows".to_string());
        }
        if !of_columns.is_empty() {
            let columns: Vec<&str> = self.columns.iter().map(|c| c.value.as_str()).collect();
            parts.push(format!("{} of {}", of_columns.join(", "), columns.join(", ")));
        }
        format!("at most {} from the last published run: {}", self.max, parts.join("; "))
    }

    fn remedy(&self) -> &'static str {
        "look for what changed in the source; if it is right, run once with `severity: warn`: what is published is what the next run is compared with"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let (_, field, ty) = setting.typed(column)?;
            let distance = has_distance(&ty) && !matches!(field.data_type(), DataType::Decimal256(..));
            if !distance && self.of.iter().flatten().any(|m| m.needs_distance()) {
                let needs = "numbers of at most 38 digits, dates, times or timestamps";
                return Err(wrong_type(self.kind(), column, &ty, needs));
            }
            columns.push(Seen::new(ty));
        }
        Ok(Work::count(move || Watch { rows: 0, columns: columns.clone() }))
    }

    fn judge_against(&self, states: &[Json], _: &Facts<'_>, before: Option<&Before>) -> Result<Ruling> {
        let now = self.total(states)?;
        let Some(Before { run, figures }) = before else {
            let found = format!(
                "nothing to compare with: no run before this one has published by this rule; {}",
                rows(now.rows)
            );
            return Ok(Ruling { holds: true, found, broken: None });
        };
        let earlier = Figures::deserialize(figures).map_err(|e| {
            Error::config("the figures of an earlier run cannot be read").with("run", run.as_str()).because(e)
        })?;
        let (shifts, not_compared) = self.shifts(&now, &earlier);
        let beyond: Vec<&Shift> = shifts.iter().filter(|s| s.by > self.max.0).collect();
        let farthest = shifts.iter().max_by(|a, b| a.by.total_cmp(&b.by));
        let mut found = match (beyond.is_empty(), farthest) {
            (false, _) => {
                format!("since run {run}: {}", beyond.iter().map(|s| s.text()).collect::<Vec<_>>().join("; "))
            }
            (true, Some(farthest)) => {
                let figures = if shifts.len() == 1 { "figure" } else { "figures" };
                format!("{} {figures}; farthest since run {run}: {}", shifts.len(), farthest.text())
            }
            (true, None) => format!("nothing can be compared with run {run}"),
        };
        if !not_compared.is_empty() {
            found.push_str(&format!("; not compared: {}", not_compared.join(", ")));
        }
        Ok(Ruling { holds: beyond.is_empty(), found, broken: None })
    }

    fn figures(&self, states: &[Json]) -> Result<Json> {
        Ok(json!(self.total(states)?))
    }
}

fn rows(rows: u64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
}

/// Whether the values of a type have a distance from each other that can be measured.
fn has_distance(ty: &LogicalType) -> bool {
    is_number(ty) || matches!(ty, LogicalType::Date | LogicalType::Time(_) | LogicalType::Timestamp(..))
}

fn is_number(ty: &LogicalType) -> bool {
    use LogicalType as T;
    matches!(ty, T::Int(_) | T::UInt(_) | T::Decimal(..) | T::Float(_))
}

/// What a run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Figures {
    rows: u64,
    columns: BTreeMap<String, ColumnFigures>,
}

/// What it measured of a column. Dates, times and timestamps are numbers of days or of ticks of their unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ColumnFigures {
    #[serde(rename = "type")]
    ty: LogicalType,
    nulls: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<String>,
}

impl ColumnFigures {
    /// A figure as text.
    fn text(&self, measure: Measure) -> Option<String> {
        match measure {
            Measure::Mean => self.mean.map(|mean| format!("{mean:.6}")),
            Measure::Min => self.min.clone(),
            Measure::Max => self.max.clone(),
            Measure::Rows | Measure::Nulls => None,
        }
    }

    /// A figure as a number.
    fn number(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Mean => self.mean,
            _ => self.text(measure)?.parse().ok(),
        }
    }
}

/// How far a figure has moved, in percent of what it is measured by.
struct Shift {
    what: String,
    by: f64,
}

impl Shift {
    fn text(&self) -> String {
        match self.by.is_finite() {
            true => format!("{} ({:.2} %)", self.what, self.by),
            false => format!("{} (more than any share)", self.what),
        }
    }
}

/// A difference as a share of a whole, in percent. Of nothing, every difference is more than any share.
fn share(difference: f64, whole: f64) -> f64 {
    if difference == 0.0 {
        return 0.0;
    }
    if whole > 0.0 { difference * 100.0 / whole } else { f64::INFINITY }
}

fn rows_shift(now: u64, before: u64) -> Shift {
    Shift { what: format!("rows {before} → {now}"), by: share(now.abs_diff(before) as f64, before as f64) }
}

fn nulls_shift(name: &str, now: (u64, u64), before: (u64, u64)) -> Result<Shift, String> {
    if now.1 == 0 || before.1 == 0 {
        return Err("there are no rows".to_string());
    }
    let percent = |(nulls, rows): (u64, u64)| nulls as f64 * 100.0 / rows as f64;
    let (now, before) = (percent(now), percent(before));
    Ok(Shift { what: format!("NULL in {name} {before:.2} % → {now:.2} %"), by: (now - before).abs() })
}

/// `None` for a column that has no such figure by its type.
fn value_shift(
    measure: Measure,
    name: &str,
    now: &ColumnFigures,
    before: &ColumnFigures,
) -> Result<Option<Shift>, String> {
    if now.ty != before.ty && !(is_number(&now.ty) && is_number(&before.ty)) {
        return Err(format!("it was {} and is {}", before.ty, now.ty));
    }
    if !has_distance(&now.ty) || matches!(now.ty, LogicalType::Decimal(39.., _)) {
        return Ok(None);
    }
    let (Some(new), Some(old)) = (now.number(measure), before.number(measure)) else {
        return Err("there is no value".to_string());
    };
    let range = before.number(Measure::Max).zip(before.number(Measure::Min)).map_or(0.0, |(max, min)| max - min);
    let from_to = match (is_number(&now.ty), before.text(measure), now.text(measure)) {
        (true, Some(old), Some(new)) => format!(" {old} → {new}"),
        _ => String::new(),
    };
    let what = format!("{} of {name}{from_to}", measure.word());
    Ok(Some(Shift { what, by: share((new - old).abs(), range) }))
}

/// A value as it is compared: digits of its scale, ticks of its unit, or a finite float.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
enum Number {
    Exact(i128),
    Float(f64),
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        match number {
            Number::Exact(value) => value.to_string(),
            // A float always has a point or an exponent here, so that it is read back as one.
            Number::Float(value) => format!("{value:?}"),
        }
    }
}

impl TryFrom<String> for Number {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self::Exact).or_else(|_| text.parse().map(Self::Float))
    }
}

/// What one unit knows of the table.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    rows: u64,
    columns: Vec<Seen>,
}

/// What one unit knows of a column.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    #[serde(rename = "type")]
    ty: LogicalType,
    nulls: u64,
    /// Values that have a part in the mean.
    values: u64,
    /// What is not finite is written as null.
    mean: Option<f64>,
    low: Option<Number>,
    high: Option<Number>,
}

impl Seen {
    fn new(ty: LogicalType) -> Self {
        Self { ty, nulls: 0, values: 0, mean: None, low: None, high: None }
    }

    fn spread(&self) -> Spread {
        Spread { count: self.values, mean: self.mean.unwrap_or(f64::NAN), squares: 0.0 }
    }

    fn scale(&self) -> u32 {
        match self.ty {
            LogicalType::Decimal(_, scale) => u32::from(scale.unsigned_abs()),
            _ => 0,
        }
    }

    fn update(&mut self, array: &ArrayRef) {
        self.nulls += array.logical_null_count() as u64;
        if !has_distance(&self.ty) {
            return;
        }
        let unit = 10f64.powi(self.scale().cast_signed());
        let mut spread = if self.values == 0 { Spread::default() } else { self.spread() };
        let (mut low, mut high) = (self.low, self.high);
        let mut see = |value: f64, number: Number| {
            spread.add(value);
            low = Some(low.map_or(number, |l| if number < l { number } else { l }));
            high = Some(high.map_or(number, |h| if number > h { number } else { h }));
        };
        if !each_exact(array, |v| see(v as f64 / unit, Number::Exact(v))) {
            each_float(array, |v| {
                if v.is_finite() {
                    see(v, Number::Float(v));
                }
            });
        }
        (self.values, self.mean, self.low, self.high) = (spread.count, Some(spread.mean), low, high);
    }

    fn merge(&mut self, other: Self) {
        let mut spread = self.spread();
        spread.merge(&other.spread());
        let keep = |a: Option<Number>, b: Option<Number>, better: fn(&Number, &Number) -> bool| match (a, b) {
            (Some(a), Some(b)) => Some(if better(&b, &a) { b } else { a }),
            (a, b) => a.or(b),
        };
        self.low = keep(self.low, other.low, |b, a| b < a);
        self.high = keep(self.high, other.high, |b, a| b > a);
        self.nulls += other.nulls;
        (self.values, self.mean) = (spread.count, Some(spread.mean));
    }

    fn figures(&self) -> ColumnFigures {
        let text = |number: Number| match number {
            Number::Exact(value) => decimal(value, self.scale()),
            Number::Float(value) => value.to_string(),
        };
        ColumnFigures {
            ty: self.ty.clone(),
            nulls: self.nulls,
            mean: self.spread().mean(),
            min: self.low.map(text),
            max: self.high.map(text),
        }
    }
}

struct Watch {
    rows: u64,
    columns: Vec<Seen>,
}

impl Counter for Watch {
    fn update(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        self.rows += rows as u64;
        self.columns.iter_mut().zip(columns).for_each(|(seen, column)| seen.update(column));
        Ok(())
    }

    fn state(&self) -> Json {
        json!(State { rows: self.rows, columns: self.columns.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ListArray, new_null_array};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use transload_core::{Clock, RunId};

    use super::*;
    use crate::checks::testing::{days, decimals, floats, ints, judged, refused, texts};

    fn rule(settings: &str) -> Drift {
        serde_json::from_str(settings).unwrap()
    }

    fn facts() -> Facts<'static> {
        Facts { started_micros: 0, columns: Vec::new() }
    }

    /// The states that units with these values of `c` leave.
    fn states(rule: &Drift, units: &[ArrayRef]) -> Vec<Json> {
        let state = |column: &ArrayRef| {
            let schema = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
            let compile = |_: &str| Err("no SQL here".to_string());
            let work = rule.work(&Setting { schema: &schema, started_micros: 0, compile: &compile }).unwrap();
            let Work::Count(counter) = work else { panic!("it counts") };
            let mut counter = counter();
            let columns: &[ArrayRef] = if rule.columns.is_empty() { &[] } else { std::slice::from_ref(column) };
            counter.update(columns, column.len()).unwrap();
            serde_json::from_str(&counter.state().to_string()).unwrap()
        };
        units.iter().map(state).collect()
    }

    /// Whether a rule holds for rows that come after others, and what was found, without the name of the run.
    fn compared(settings: &str, before: &[ArrayRef], now: &[ArrayRef]) -> (bool, String) {
        let rule = rule(settings);
        let run = RunId::new(&Clock::system());
        let figures = rule.figures(&states(&rule, before)).unwrap();
        let before = Before { run: run.clone(), figures: serde_json::from_str(&figures.to_string()).unwrap() };
        let ruling = rule.judge_against(&states(&rule, now), &facts(), Some(&before)).unwrap();
        (ruling.holds, ruling.found.replace(run.as_str(), "R"))
    }

    const ROWS: &str = r#"{"max":"10%"}"#;
    const COLUMN: &str = r#"{"columns":["c"],"max":"10%"}"#;

    #[test]
    fn without_an_earlier_run_it_holds_and_says_why() {
        let (holds, found) = judged(r#"{"drift":{"columns":["c"],"max":"10%"}}"#, vec![ints([Some(1), None])]);
        assert!(holds);
        assert_eq!(found, "nothing to compare with: no run before this one has published by this rule; 2 rows");
    }

    #[test]
    fn rows_are_compared_by_their_number() {
        let of = |rows: usize| new_null_array(&DataType::Int64, rows);
        let found = "1 figure; farthest since run R: rows 10 → 11 (10.00 %)".to_string();
        assert_eq!(compared(ROWS, &[of(4), of(6)], &[of(11)]), (true, found));
        assert_eq!(compared(ROWS, &[of(10)], &[of(8)]), (false, "since run R: rows 10 → 8 (20.00 %)".to_string()));
        let found = "since run R: rows 0 → 1 (more than any share)".to_string();
        assert_eq!(compared(ROWS, &[], &[of(1)]), (false, found));
        assert!(compared(ROWS, &[], &[of(0)]).0);
    }

    #[test]
    fn nulls_are_compared_by_their_share_and_means_by_the_range() {
        let before = [ints([Some(0), Some(100)]), ints([Some(50), None])];
        assert!(compared(COLUMN, &before, &[ints([Some(0), Some(100), None, Some(55)])]).0);
        let (holds, found) = compared(COLUMN, &before, &[ints([Some(100), Some(100), None, None])]);
        assert!(!holds);
        assert_eq!(
            found,
            "since run R: NULL in c 25.00 % → 50.00 % (25.00 %); mean of c 50.000000 → 100.000000 (50.00 %)"
        );
    }

    #[test]
    fn extremes_are_exact_and_only_compared_if_asked_for() {
        let extremes = r#"{"columns":["c"],"of":["min","max"],"max":"50%"}"#;
        let before = [decimals([Some(-500), Some(500)])];
        let now = [decimals([Some(-500), Some(501)]), decimals([None])];
        assert_eq!(
            compared(extremes, &before, &now),
            (true, "2 figures; farthest since run R: max of c 5.00 → 5.01 (0.10 %)".to_string())
        );
        let (holds, found) = compared(extremes, &before, &[decimals([Some(100_000)])]);
        assert!(!holds && found.contains("max of c 5.00 → 1000.00 (9950.00 %)"), "{found}");
        let alike = [decimals([Some(1), Some(1)])];
        assert!(compared(extremes, &alike, &alike).0);
        assert!(compared(extremes, &alike, &[decimals([Some(2)])]).1.contains("more than any share"));
    }

    #[test]
    fn days_are_compared_and_not_shown() {
        let before = [days([Some(0), Some(100)])];
        let (holds, found) = compared(r#"{"columns":["c"],"of":["max"],"max":"5%"}"#, &before, &[days([Some(110)])]);
        assert_eq!((holds, found.as_str()), (false, "since run R: max of c (10.00 %)"));
    }

    #[test]
    fn floats_that_are_no_number_have_no_part() {
        let before = [floats([Some(0.5), Some(f64::NAN), Some(f64::INFINITY)]), floats([Some(1.5)])];
        let now = [floats([Some(0.5), Some(1.5), Some(f64::NAN), None])];
        let (holds, found) = compared(r#"{"columns":["c"],"of":["mean","min","max"],"max":"0%"}"#, &before, &now);
        assert!(holds, "{found}");
        let huge = [floats([Some(f64::MAX), Some(f64::MIN)])];
        let found = compared(r#"{"columns":["c"],"of":["mean"],"max":"1%"}"#, &before, &huge).1;
        assert!(found.contains("not compared: mean of c: there is no value"), "{found}");
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let none = [ints([None, None])];
        let found = compared(COLUMN, &none, &[ints([Some(1), None])]).1;
        assert!(found.contains("not compared: mean of c: there is no value"), "{found}");
        let found = compared(COLUMN, &[ints([])], &[ints([])]).1;
        assert!(found.contains("nulls of c: there are no rows"), "{found}");
        let found = compared(COLUMN, &[texts([Some("1")])], &[ints([Some(1)])]).1;
        assert!(found.contains("mean of c: it was text and is int64"), "{found}");
        // A change of width is none of the values.
        assert!(compared(COLUMN, &[decimals([Some(100)])], &[ints([Some(1)])]).0);
    }

    #[test]
    fn text_and_lists_have_nulls_and_no_mean() {
        let text = || [texts([Some("a"), None])];
        assert_eq!(
            compared(COLUMN, &text(), &text()).1,
            "2 figures; farthest since run R: NULL in c 50.00 % → 50.00 % (0.00 %)"
        );
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)]), None]);
        let list: [ArrayRef; 1] = [Arc::new(list)];
        assert!(compared(COLUMN, &list, &list).0);
        let mean = r#"{"drift":{"columns":["c"],"of":["mean"],"max":"1%"}}"#;
        assert!(refused(mean, texts([Some("a")])).contains("needs numbers"));
    }

    #[test]
    fn figures_hold_no_text_of_the_data() {
        let rule = rule(r#"{"columns":["c"],"of":["nulls"],"max":"1%"}"#);
        let figures = rule.figures(&states(&rule, &[texts([Some("secret"), None])])).unwrap();
        assert_eq!(figures, json!({ "rows": 2, "columns": { "c": { "type": "text", "nulls": 1 } } }));
    }

    #[test]
    fn units_merge_to_the_whole_table() {
        let rule = rule(COLUMN);
        let whole = rule.total(&states(&rule, &[ints([Some(3), None, Some(-1), Some(4)])])).unwrap();
        let parts = [ints([Some(3), None]), ints([]), ints([Some(-1), Some(4)])];
        assert_eq!(rule.total(&states(&rule, &parts)).unwrap(), whole);
        assert_eq!(whole.columns["c"].min.as_deref(), Some("-1"));
    }
}
