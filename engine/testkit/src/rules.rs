//! Rules of quality checks as they could stand in a pipeline, for property tests: every kind with all of its settings,
//! with names, texts, SQL and numbers that a careless writer or reader would change.

use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_oneof};
use serde_json::{Map, Value as Json, json};

/// Rules of all kinds, each an entry of a list of checks: `{kind: {settings}}`.
pub fn rules() -> BoxedStrategy<Json> {
    prop::strategy::Union::new(kinds().into_iter().map(|(_, rules)| rules)).boxed()
}

/// Rules of each kind, under its word in a pipeline.
pub fn kinds() -> Vec<(&'static str, BoxedStrategy<Json>)> {
    let kind = |kind: &'static str, own: BoxedStrategy<Json>, about: About| (kind, rule(kind, own, about));
    let figure = prop::sample::select(vec!["sum", "avg", "min", "max", "stddev"]);
    vec![
        kind("not_null", columns(), About::Rows),
        kind("not_empty", columns(), About::Rows),
        kind("unique", columns(), About::Others),
        kind("accepted_values", accepted_values(), About::Rows),
        kind("range", with_column(limits(limit().boxed())), About::Rows),
        kind("length", with_column(bounds(any::<u32>().prop_map(u64::from).boxed())), About::Rows),
        kind("pattern", with_column(setting("regex", regexes())), About::Rows),
        kind(
            "format",
            with_column(setting("is", words(&["uuid", "email", "ip", "date", "timestamp", "json"]))),
            About::Rows,
        ),
        kind(
            "not_in_future",
            merged(columns(), optional("slack_secs", any::<u32>().prop_map(Json::from).boxed())),
            About::Rows,
        ),
        kind("monotonic", with_column(monotonic()), About::Others),
        kind("expression", setting("sql", conditions().prop_map(Json::from).boxed()), About::Rows),
        kind("completeness", with_column(setting("min", shares().prop_map(Json::from).boxed())), About::Table),
        kind("row_count", row_count(), About::Table),
        kind(
            "aggregate",
            merged(with_column(setting("of", figure.prop_map(Json::from).boxed())), limits(digits().boxed())),
            About::Table,
        ),
        kind("freshness", with_column(setting("max_age_secs", whole().prop_map(Json::from).boxed())), About::Table),
        kind("no_gaps", with_column(setting("every", words(&["hour", "day", "month", "year"]))), About::Table),
        kind("schema", schema(), About::Columns),
    ]
}

/// Names of columns and tables.
pub fn names() -> BoxedStrategy<String> {
    const ODD: [&str; 22] = [
        "größe",
        "数量",
        "имя",
        "a b",
        " a",
        "a ",
        "a: b",
        "a#b",
        "#a",
        "- a",
        "'a'",
        "\"a\"",
        "a\\b",
        "{a}",
        "null",
        "yes",
        "1",
        "1.0",
        "2024-01-31",
        "<<",
        "a\tb\nc",
        "🙂\u{feff}\u{85}\u{7f}",
    ];
    prop_oneof![
        4 => "[a-z][a-z0-9_]{0,11}",
        2 => prop::sample::select(ODD.to_vec()).prop_map(str::to_string),
        1 => "\\PC{1,12}".prop_filter("a name is not blank", |name| !name.trim().is_empty()),
    ]
    .boxed()
}

/// What a rule is about decides which policies it can have.
#[derive(Clone, Copy, PartialEq)]
enum About {
    /// Every row by itself.
    Rows,
    /// Rows among others.
    Others,
    /// The table.
    Table,
    /// The table's columns.
    Columns,
}

/// A rule with its own settings and any policy it can have.
fn rule(kind: &'static str, own: BoxedStrategy<Json>, about: About) -> BoxedStrategy<Json> {
    merged(own, policy(about)).prop_map(move |settings| json!({ kind: settings })).boxed()
}

fn policy(about: About) -> BoxedStrategy<Json> {
    let severity = prop::option::of(prop::sample::select(vec!["error", "warn", "info"]));
    let action = prop::option::of(prop::sample::select(vec!["stop", "quarantine", "log"]));
    let threshold = prop::option::of(prop_oneof![whole().prop_map(Json::from), shares().prop_map(Json::from)]);
    (severity, action, threshold, prop::option::of(conditions()))
        .prop_map(move |(severity, action, threshold, filter)| {
            let stops_for_less = action == Some("stop") && matches!(severity, Some("warn" | "info"));
            let has_no_rows = action == Some("quarantine") && about != About::Rows;
            let mut policy = Map::new();
            let mut say = |key: &str, value: Option<Json>| {
                if let Some(value) = value {
                    policy.insert(key.to_string(), value);
                }
            };
            say("severity", severity.map(Json::from));
            say("action", action.filter(|_| !stops_for_less && !has_no_rows).map(Json::from));
            say("threshold", threshold.filter(|_| matches!(about, About::Rows | About::Others)));
            say("where", filter.filter(|_| about != About::Columns).map(Json::from));
            Json::Object(policy)
        })
        .boxed()
}

/// The settings of both.
fn merged(some: BoxedStrategy<Json>, more: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    (some, more)
        .prop_map(|(some, more)| {
            let settings = [some, more].into_iter().filter_map(|s| match s {
                Json::Object(settings) => Some(settings),
                _ => None,
            });
            Json::Object(settings.flatten().collect())
        })
        .boxed()
}

fn with_column(more: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    merged(setting("column", names().prop_map(Json::from).boxed()), more)
}

fn setting(key: &'static str, value: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    value.prop_map(move |value| json!({ key: value })).boxed()
}

fn optional(key: &'static str, value: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    prop_oneof![Just(json!({})), setting(key, value)].boxed()
}

fn words(words: &[&'static str]) -> BoxedStrategy<Json> {
    prop::sample::select(words.to_vec()).prop_map(Json::from).boxed()
}

fn columns() -> BoxedStrategy<Json> {
    prop::collection::btree_set(names(), 1..4).prop_map(|columns| json!({ "columns": columns })).boxed()
}

fn accepted_values() -> BoxedStrategy<Json> {
    let value = prop_oneof![
        any::<bool>().prop_map(Json::from),
        limit(),
        names().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    with_column(prop::collection::vec(value, 1..6).prop_map(|values| json!({ "values": values })).boxed())
}

/// Numbers, decimals with more digits than a float has, dates and timestamps.
fn limit() -> impl Strategy<Value = Json> {
    prop_oneof![
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_filter("JSON has finite numbers", |n| n.is_finite()).prop_map(Json::from),
        (-1000..1000i32).prop_map(|n| Json::from(f64::from(n) / 100.0)),
        "-?[1-9][0-9]{0,40}\\.[0-9]{1,30}".prop_map(Json::from),
        "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])".prop_map(Json::from),
        "2024-02-(1[0-9]|2[0-9])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z?".prop_map(Json::from),
    ]
}

/// Numbers that a figure can be compared with.
fn digits() -> impl Strategy<Value = Json> {
    prop_oneof![
        any::<i64>().prop_map(Json::from),
        any::<i32>().prop_map(|n| Json::from(f64::from(n) / 100.0)),
        "-?[1-9][0-9]{0,24}(\\.[0-9]{1,8})?".prop_map(Json::from),
    ]
}

/// One limit or two, the lower one first where both are numbers.
fn limits(limit: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
    let low = prop::sample::select(vec![None, Some("min"), Some("above")]);
    let high = prop::sample::select(vec![None, Some("max"), Some("below")]);
    (low, high, limit.clone(), limit)
        .prop_map(|(low, high, a, b)| {
            let swapped = matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a > b);
            let (a, b) = if swapped { (b, a) } else { (a, b) };
            match (low, high) {
                (None, None) => json!({ "min": a }),
                (Some(low), None) => json!({ low: a }),
                (None, Some(high)) => json!({ high: b }),
                (Some(low), Some(high)) => json!({ low: a, high: b }),
            }
        })
        .boxed()
}

/// `min`, `max` or both.
fn bounds(number: BoxedStrategy<u64>) -> BoxedStrategy<Json> {
    (prop::sample::select(vec![0, 1, 2]), number.clone(), number)
        .prop_map(|(which, a, b)| match which {
            0 => json!({ "min": a }),
            1 => json!({ "max": b }),
            _ => json!({ "min": a.min(b), "max": a.max(b) }),
        })
        .boxed()
}

/// Whole numbers, small ones more often; a pipeline has none above 2^63 - 1.
fn whole() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..100u64, 1 => 0..=i64::MAX.unsigned_abs()]
}

fn shares() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..=100_000u32).prop_map(|n| format!("{}%", f64::from(n) / 1000.0)),
        (0.0..100.0f64).prop_map(|n| format!("{n}%")),
    ]
}

fn row_count() -> BoxedStrategy<Json> {
    let exactly = setting("exactly", whole().prop_map(Json::from).boxed());
    prop_oneof![exactly, bounds(whole().boxed())].boxed()
}

fn monotonic() -> BoxedStrategy<Json> {
    let direction = optional("direction", words(&["rising", "falling"]));
    merged(direction, optional("strict", any::<bool>().prop_map(Json::from).boxed()))
}

fn regexes() -> BoxedStrategy<Json> {
    words(&[
        r"^[A-Z]{2}\d{2}$",
        r"^\p{L}+(-\p{L}+)*$",
        "größe|weiß",
        " a ",
        r#"^'a'"b"\\$"#,
        r"[#:{},&*!|>%@`\]-]",
        "(?x) a # and nothing else\n b",
    ])
}

/// SQL conditions that any reader of SQL understands.
fn conditions() -> impl Strategy<Value = String> {
    let quoted = (names(), names())
        .prop_map(|(column, text)| format!("\"{}\" <> '{}'", column.replace('"', "\"\""), text.replace('\'', "''")));
    let written =
        ["a > 0 and b is not null", "status = 'naïve — ok: #1'", "lower(name)\n  like 'a%'", "d < date '2024-01-31'"];
    prop_oneof![quoted, prop::sample::select(written.to_vec()).prop_map(str::to_string)]
}

fn schema() -> BoxedStrategy<Json> {
    let types = words(&[
        "bool",
        "int64",
        "uint8",
        "float32",
        "decimal(76,38)",
        "decimal(15,2)",
        "text",
        "date",
        "time(ms)",
        "timestamp(us)",
        "timestamp(us, UTC)",
        "timestamp(ns, +02:00)",
        "uuid",
        "json",
        "list<struct<a: int8, größe: text>>",
        "map<text, list<decimal(9,0)>>",
    ]);
    let columns = prop::collection::btree_map(names(), types, 1..6).prop_map(|columns| json!({ "columns": columns }));
    let flags = merged(
        optional("ordered", any::<bool>().prop_map(Json::from).boxed()),
        optional("others", any::<bool>().prop_map(Json::from).boxed()),
    );
    merged(columns.boxed(), flags)
}
