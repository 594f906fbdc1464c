//! Rules that a table keeps, as its profile shows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use serde_json::{Value as Json, json};
use transload_core::{Error, LogicalType, Result};

use crate::check::{Check, Rule};
use crate::checks::Form;
use crate::pass::Pass;
use crate::profile::column::Column;
use crate::profile::texts::Texts;

/// From fewer rows nothing is concluded.
pub const ENOUGH: u64 = 20;

/// Values that a list of accepted ones has at most.
const LISTED: u64 = 20;
/// How often each of them occurs at least, on average.
const REPEATED: u64 = 10;

/// A rule that the table keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The rule.
    pub rule: Rule,
    /// Why it is suggested: what was counted, without values.
    pub why: String,
}

impl Suggestion {
    /// The rule as an entry of a list of checks: its kind, and its settings as JSON.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
    pub fn entry(&self) -> Result<(String, Json)> {
        let json =
            serde_json::to_value(&self.rule).map_err(|e| Error::internal("a rule cannot be written").because(e))?;
        let entry = match json {
            Json::Object(entries) => entries.into_iter().next(),
            _ => None,
        };
        entry.ok_or_else(|| Error::internal("a rule has no kind"))
    }
}

/// Whether every value was counted to be different from all others.
pub(crate) fn is_unique(column: &Column) -> bool {
    use LogicalType as T;
    let distinct = column.distinct.count();
    // Two values can share a hash and make this false; nothing can make it true.
    distinct.exact
        && distinct.count == column.values
        && column.values >= ENOUGH
        && column.misfits == 0
        && !matches!(column.ty, T::Bool | T::Float(_) | T::Interval | T::Json | T::List(_) | T::Struct(_) | T::Map(..))
}

/// The rules that a column keeps. `started_micros` is now, in µs since 1970 UTC.
pub(crate) fn suggest(column: &Column, rows: u64, started_micros: i64) -> Result<Vec<Suggestion>> {
    let mut found = Found { column, started_micros, list: Vec::new() };
    // A load stops at values that are not of their type, or makes NULL of them: nobody knows which.
    if rows >= ENOUGH && column.misfits == 0 {
        found.presence(rows);
        let unique = is_unique(column);
        if unique {
            let why = format!("{} values, all different", column.values);
            found.add("unique", json!({ "columns": [found.name()] }), why);
        }
        if !found.accepted_values(unique) {
            found.of_type(unique)?;
        }
    }
    Ok(found.list)
}

struct Found<'a> {
    column: &'a Column,
    started_micros: i64,
    list: Vec<Suggestion>,
}

impl<'a> Found<'a> {
    fn name(&self) -> &'a str {
        self.column.field.name()
    }

    fn add(&mut self, kind: &str, settings: Json, why: String) {
        self.list.extend(rule(kind, settings).map(|rule| Suggestion { rule, why }));
    }

    fn presence(&mut self, rows: u64) {
        let column = self.column;
        let percent = u128::from(column.values) * 100 / u128::from(rows.max(1));
        if column.nulls == 0 {
            self.add("not_null", json!({ "columns": [self.name()] }), format!("no NULL in {rows} rows"));
        } else if percent >= 50 {
            let settings = json!({ "column": self.name(), "min": format!("{percent}%") });
            self.add("completeness", settings, format!("{} of {rows} rows have a value", column.values));
        }
    }

    /// True if the values are few enough to list them.
    fn accepted_values(&mut self, unique: bool) -> bool {
        let column = self.column;
        let numbers = matches!(column.ty, LogicalType::Int(_) | LogicalType::UInt(_));
        let Some(all) = column.top.all().filter(|_| !unique && (numbers || column.ty == LogicalType::Text)) else {
            return false;
        };
        let listed = all.len() as u64;
        let plain = |text: &str| text.chars().all(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}'));
        let few = (1..=LISTED).contains(&listed) && column.values >= ENOUGH.max(listed * REPEATED);
        if !few || !all.iter().all(|c| c.whole && plain(&c.text)) {
            return false;
        }
        let mut values: Vec<(Option<i128>, &str)> =
            all.iter().map(|c| (c.text.parse().ok().filter(|_| numbers), c.text.as_str())).collect();
        values.sort_unstable();
        let value = |(number, text): &(Option<i128>, &str)| match number.and_then(|n| i64::try_from(n).ok()) {
            Some(number) => Json::from(number),
            None => Json::from(*text),
        };
        let values: Vec<Json> = values.iter().map(value).collect();
        let settings = json!({ "column": self.name(), "values": values, "severity": "warn" });
        self.add("accepted_values", settings, format!("{listed} different values in {}", column.values));
        true
    }

    fn of_type(&mut self, unique: bool) -> Result<()> {
        use LogicalType as T;
        let column = self.column;
        match column.ty {
            T::Int(_) | T::UInt(_) | T::Float(_) if !unique => self.range(),
            T::Decimal(..) if !unique && !matches!(column.field.data_type(), DataType::Decimal256(..)) => self.range(),
            T::Date | T::Timestamp(..) => {
                let settings = json!({ "columns": [self.name()] });
                self.add_if_it_holds("not_in_future", settings, "nothing lies after now".to_string())
            }
            T::Text => {
                if let Some(texts) = column.texts.as_ref().filter(|_| column.values >= ENOUGH) {
                    self.text(texts);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn range(&mut self) -> Result<()> {
        let Some((low, high)) = self.column.extreme_texts()?.filter(|_| self.column.nan == 0) else { return Ok(()) };
        let limit = |text: &str| match (&self.column.ty, text.parse::<i64>()) {
            (LogicalType::Int(_) | LogicalType::UInt(_), Ok(number)) => Some(Json::from(number)),
            (LogicalType::Float(32), _) => finite(f64::from(text.parse::<f32>().ok()?)),
            (LogicalType::Float(_), _) => finite(text.parse().ok()?),
            _ => Some(Json::from(text)),
        };
        let (Some(min), Some(max)) = (limit(&low), limit(&high)) else { return Ok(()) };
        let settings = json!({ "column": self.name(), "min": min, "max": max, "severity": "warn" });
        self.add_if_it_holds(
            "range",
            settings,
            format!("the smallest and the greatest of {} values", self.column.values),
        )
    }

    /// Adds a rule about single rows if it lets the smallest and the greatest value through.
    fn add_if_it_holds(&mut self, kind: &str, settings: Json, why: String) -> Result<()> {
        let Some(extremes) = self.column.extremes()? else { return Ok(()) };
        let Some(rule) = rule(kind, settings) else { return Ok(()) };
        let check = Check::new(rule.clone())?;
        let schema = Arc::new(Schema::new(vec![self.column.field.clone()]));
        let no_sql = |_: &str| Err("there is no SQL here".to_string());
        let pass = Pass::new(std::slice::from_ref(&check), &schema, self.started_micros, &no_sql);
        let holds = match pass {
            Err(_) => false,
            Ok(pass) => {
                let mut tally = pass.tally(false);
                pass.rows(&RecordBatch::try_new(schema, vec![extremes])?, &|_| None, None, &mut tally)?;
                tally.finish().iter().all(|t| t.failed == 0)
            }
        };
        if holds {
            self.list.push(Suggestion { rule, why });
        }
        Ok(())
    }

    fn text(&mut self, texts: &Texts) {
        let values = self.column.values;
        let shapes: Option<Vec<&str>> =
            texts.shapes.all().map(|all| all.into_iter().map(|c| c.text.as_str()).collect());
        // Numbers are JSON too, but nobody means them so.
        let is_json = || shapes.iter().flatten().all(|shape| shape.starts_with(['{', '['])) && shapes.is_some();
        let form = texts.forms.iter().find(|form| **form != Form::Json || is_json());
        let pattern = match shapes.as_deref() {
            Some([shape]) if texts.ascii => regex_of(shape),
            _ => None,
        };
        if let Some(form) = form {
            let settings = json!({ "column": self.name(), "is": form });
            self.add("format", settings, format!("all {values} texts have this form"));
        } else if let Some(regex) = pattern {
            let settings = json!({ "column": self.name(), "regex": regex, "severity": "warn" });
            self.add("pattern", settings, format!("all {values} texts have this shape"));
        } else if let Some(lengths) = texts.lengths() {
            let settings = json!({ "column": self.name(), "min": lengths.min, "max": lengths.max, "severity": "warn" });
            self.add("length", settings, format!("the shortest and the longest of {values} texts"));
        }
    }
}

fn rule(kind: &str, settings: Json) -> Option<Rule> {
    serde_json::from_value(json!({ kind: settings })).ok()
}

fn finite(value: f64) -> Option<Json> {
    value.is_finite().then(|| Json::from(value.to_string()))
}

/// An expression for texts of ASCII characters with a shape, if the shape says exactly how long they are.
fn regex_of(shape: &str) -> Option<String> {
    if shape == "(empty)" || shape.contains(['+', '?', '…']) || !shape.contains(['A', 'a', '9']) {
        return None;
    }
    let mut out = String::from("^");
    let mut rest = shape.chars().peekable();
    while let Some(class) = rest.next() {
        let mut run = 1;
        while rest.next_if_eq(&class).is_some() {
            run += 1;
        }
        match class {
            'A' => out.push_str("[A-Z]"),
            'a' => out.push_str("[a-z]"),
            '9' => out.push_str("[0-9]"),
            ' ' => out.push_str(r"\s"),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
        if run > 1 {
            out.push_str(&format!("{{{run}}}"));
        }
    }
    out.push('$');
    Some(out)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Int64Array, ListArray, StringArray,
        UInt64Array,
    };
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    const TODAY: i32 = 20_000;
    const NOW: i64 = TODAY as i64 * 86_400_000_000;

    /// What is suggested for a column `c`, which keeps every one of these rules.
    #[track_caller]
    fn suggested(array: impl Array + 'static) -> Vec<String> {
        let array: ArrayRef = Arc::new(array);
        let field = Field::new("c", array.data_type().clone(), true);
        let mut column = Column::new(&field, &[]).unwrap();
        column.update(&array, 0, &[]).unwrap();
        let found = suggest(&column, array.len() as u64, NOW).unwrap();
        let checks: Vec<Check> = found.iter().map(|s| Check::new(s.rule.clone()).unwrap()).collect();
        let schema = Arc::new(Schema::new(vec![field]));
        let pass = Pass::new(&checks, &schema, NOW, &|_| Err("no SQL here".to_string())).unwrap();
        let mut tally = pass.tally(false);
        let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
        pass.rows(&batch, &|_| None, None, &mut tally).unwrap();
        for (tally, suggestion) in tally.finish().iter().zip(&found) {
            assert_eq!(tally.failed, 0, "{suggestion:?}");
        }
        found
            .iter()
            .map(|s| {
                let (kind, settings) = s.entry().unwrap();
                format!("{kind}: {settings}")
            })
            .collect()
    }

    fn texts(value: impl Fn(usize) -> String) -> StringArray {
        (0..40).map(|i| Some(value(i))).collect()
    }

    const NOT_NULL: &str = r#"not_null: {"columns":["c"]}"#;
    const UNIQUE: &str = r#"unique: {"columns":["c"]}"#;

    #[test]
    fn keys_are_not_null_and_unique() {
        assert_eq!(suggested(Int64Array::from_iter_values(0..40)), [NOT_NULL, UNIQUE]);
    }

    #[test]
    fn few_values_are_listed_and_numbers_have_limits() {
        assert_eq!(
            suggested(texts(|i| ["no", "yes", "10"][i % 3].to_string())),
            [NOT_NULL, r#"accepted_values: {"column":"c","values":["10","no","yes"],"severity":"warn"}"#]
        );
        assert_eq!(
            suggested(Int64Array::from_iter_values((0..40).map(|i| i % 2 * 10 - 1))),
            [NOT_NULL, r#"accepted_values: {"column":"c","values":[-1,9],"severity":"warn"}"#]
        );
        assert_eq!(
            suggested(Int64Array::from_iter_values((0..40).map(|i| i / 2))),
            [NOT_NULL, r#"range: {"column":"c","min":0,"max":19,"severity":"warn"}"#]
        );
        let money: Vec<i128> = (0..40).map(|i| i / 2 * 105 - 5).collect();
        let money = Decimal128Array::from(money).with_precision_and_scale(9, 2).unwrap();
        assert_eq!(
            suggested(money),
            [NOT_NULL, r#"range: {"column":"c","min":"-0.05","max":"19.90","severity":"warn"}"#]
        );
        let huge = UInt64Array::from_iter_values((0..40).map(|i| u64::MAX - i / 2));
        assert!(suggested(huge)[1].contains(r#""max":"18446744073709551615""#));
    }

    #[test]
    fn floats_keep_their_limits_to_the_last_bit() {
        let found = suggested(Float32Array::from_iter_values((0..40u8).map(|i| f32::from(i / 2) * 0.1)));
        assert!(found[1].starts_with(r#"range: {"column":"c","min":"0","max":"1.899999976"#), "{found:?}");
        let nan = Float32Array::from_iter_values((0..40u8).map(|i| if i == 3 { f32::NAN } else { f32::from(i / 2) }));
        assert_eq!(suggested(nan), [NOT_NULL]);
        let endless = Float32Array::from_iter_values((0..40).map(|i| if i < 2 { f32::INFINITY } else { 1.5 }));
        assert_eq!(suggested(endless), [NOT_NULL]);
    }

    #[test]
    fn texts_have_a_form_or_a_pattern_or_a_length() {
        assert_eq!(
            suggested(texts(|i| format!("2024-01-{:02}", i / 2 + 1))),
            [NOT_NULL, r#"format: {"column":"c","is":"date"}"#]
        );
        assert_eq!(
            suggested(texts(|i| format!("DE-{} .", 1000 + i / 2))),
            [NOT_NULL, r#"pattern: {"column":"c","regex":"^[A-Z]{2}\\-[0-9]{4}\\s\\.$","severity":"warn"}"#]
        );
        assert_eq!(
            suggested(texts(|i| "żółw".repeat(1 + i / 2))),
            [NOT_NULL, r#"length: {"column":"c","min":4,"max":80,"severity":"warn"}"#]
        );
        assert_eq!(suggested(texts(|i| format!("[{}]", i / 2))), [NOT_NULL, r#"format: {"column":"c","is":"json"}"#]);
        assert!(suggested(texts(|i| (100 + i / 2).to_string()))[1].starts_with("pattern: "));
    }

    #[test]
    fn what_may_be_missing_is_as_complete_as_it_is() {
        let gaps = Int64Array::from_iter((0..40).map(|i| (i > 12).then_some(i)));
        let found = suggested(gaps);
        assert_eq!(found, [r#"completeness: {"column":"c","min":"67%"}"#, UNIQUE]);
        assert!(suggested(Int64Array::from(vec![None; 40])).is_empty());
    }

    #[test]
    fn days_are_not_in_the_future_unless_one_is() {
        let days = |last: i32| Date32Array::from_iter_values((0..40).map(move |i| last - i));
        assert_eq!(suggested(days(TODAY)), [NOT_NULL, UNIQUE, r#"not_in_future: {"columns":["c"]}"#]);
        assert_eq!(suggested(days(TODAY + 1)), [NOT_NULL, UNIQUE]);
    }

    #[test]
    fn from_few_rows_nothing_is_concluded() {
        assert!(suggested(Int64Array::from_iter_values(0..19)).is_empty());
        assert!(suggested(Int64Array::from(Vec::<i64>::new())).is_empty());
    }

    #[test]
    fn truths_and_lists_are_only_there_or_not() {
        assert_eq!(suggested(BooleanArray::from(vec![true; 40])), [NOT_NULL]);
        let lists = (0..40).map(|i| Some(vec![Some(i)]));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        assert_eq!(suggested(lists), [NOT_NULL]);
    }

    #[test]
    fn an_estimate_suggests_nothing() {
        let keys = Int64Array::from_iter_values(0..150_000);
        assert_eq!(suggested(keys), [NOT_NULL, r#"range: {"column":"c","min":0,"max":149999,"severity":"warn"}"#]);
    }

    #[test]
    fn values_that_are_not_of_their_type_keep_a_column_from_rules() {
        let array: ArrayRef = Arc::new(Int64Array::from_iter((0..40).map(|i| (i > 0).then_some(i))));
        let field = Field::new("c", DataType::Int64, true);
        let mut column = Column::new(&field, &[]).unwrap();
        column.update(&array, 1, &[]).unwrap();
        assert_eq!((column.nulls, column.misfits, column.values), (0, 1, 39));
        assert!(suggest(&column, 40, NOW).unwrap().is_empty());
        assert!(!is_unique(&column));
    }

    #[test]
    fn a_shape_that_leaves_something_open_makes_no_pattern() {
        for open in ["(empty)", "9+", "a?", "---", "aaaa…"] {
            assert_eq!(regex_of(open), None, "{open}");
        }
        assert_eq!(regex_of("(9) AAa").as_deref(), Some(r"^\([0-9]\)\s[A-Z]{2}[a-z]$"));
    }
}
