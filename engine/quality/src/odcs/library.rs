//! The metrics of the standard's library as checks.

use transload_core::finding::Severity;
use transload_core::tree::{Spanned, Value};
use transload_core::{Node, Problem, Span};

use crate::check::{Check, read};
use crate::odcs::rule::{Columns, Item, Metric, Refused, severity};

const OPERATORS: [&str; 8] = [
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
];

/// The checks that a metric comes to, with nothing but what the standard knows.
pub(super) fn checks(node: &Node, item: &Item, columns: &Columns) -> Result<Vec<Check>, Refused> {
    if let Some(rule) = &item.rule {
        let hint = "write `metric`, with a name of v3.1";
        return Err(Refused::unsupported(rule.span, "`rule` is how versions before v3.1 named a metric", hint));
    }
    let Some(metric) = &item.metric else {
        let hint = "name what is counted, such as `metric: nullValues`";
        return Err(Refused::wrong(node.span, "`metric` is missing", hint));
    };
    let counted = Counted { node, item, span: metric.span, severity: severity(item)? };
    match metric.value {
        Metric::NullValues => {
            counted.no_arguments()?;
            counted.not_null(counted.column(columns)?)
        }
        Metric::MissingValues => counted.missing(counted.column(columns)?),
        Metric::InvalidValues => counted.invalid(counted.column(columns)?),
        Metric::DuplicateValues => counted.duplicates(columns),
        Metric::RowCount => counted.row_count(columns),
    }
}

/// A rule of the library that is being read.
struct Counted<'a> {
    node: &'a Node,
    item: &'a Item,
    /// Where the metric stands.
    span: Span,
    severity: Option<Severity>,
}

impl Counted<'_> {
    fn column<'c>(&self, columns: &'c Columns) -> Result<&'c Spanned<String>, Refused> {
        columns.column.as_ref().ok_or_else(|| {
            let hint = "put the rule below the property that it is about";
            Refused::wrong(self.span, "this metric is about a property, and here is the table", hint)
        })
    }

    /// A check of rows: so many of them may break it.
    fn rows(&self, kind: &str, settings: Vec<(&str, Node)>) -> Result<Vec<Check>, Refused> {
        let threshold = self.allowed()?;
        self.check(kind, settings.into_iter().chain(threshold.map(|t| ("threshold", t))).collect())
    }

    fn check(&self, kind: &str, settings: Vec<(&str, Node)>) -> Result<Vec<Check>, Refused> {
        let severity = self.severity.map(|s| ("severity", self.here(Value::Text(s.to_string()))));
        let entries = settings.into_iter().chain(severity);
        let entries = entries.map(|(key, node)| (Spanned { value: key.to_string(), span: self.span }, node)).collect();
        let mut problems = Vec::new();
        let kind = Spanned { value: kind.to_string(), span: self.span };
        let checks = read(&kind, &self.here(Value::Map(entries)), &mut problems);
        if problems.is_empty() { Ok(checks) } else { Err(Refused::Unsupported(problems)) }
    }

    fn here(&self, value: Value) -> Node {
        Node { value, span: self.span }
    }

    fn not_null(&self, column: &Spanned<String>) -> Result<Vec<Check>, Refused> {
        self.rows("not_null", vec![("columns", list(vec![text(column)]))])
    }

    fn missing(&self, column: &Spanned<String>) -> Result<Vec<Check>, Refused> {
        let values = match self.argument(&["missingValues"])?.pop() {
            Some((_, values)) => items(values)?,
            None => {
                let hint = "name the values, as in `arguments: { missingValues: [null, ''] }`";
                return Err(Refused::wrong(self.span, "nothing says which values are missing ones", hint));
            }
        };
        let null = values.iter().any(|v| v.value == Value::Null);
        let words: Vec<String> = values.iter().filter_map(|v| literal(v).transpose()).collect::<Result<_, _>>()?;
        if words.is_empty() {
            return match null {
                true => self.not_null(column),
                false => Err(Refused::wrong(self.span, "there are no missing values", "name them")),
            };
        }
        let name = format!("\"{}\"", column.replace('"', "\"\""));
        let others = format!("{name} NOT IN ({})", words.join(", "));
        let sql = if null { format!("{name} IS NOT NULL AND {others}") } else { others };
        self.rows("expression", vec![("sql", self.here(Value::Text(sql)))])
    }

    fn invalid(&self, column: &Spanned<String>) -> Result<Vec<Check>, Refused> {
        let arguments = self.argument(&["validValues", "pattern"])?;
        if arguments.is_empty() {
            let hint = "give `arguments` the list `validValues`, or a `pattern`";
            return Err(Refused::wrong(self.span, "nothing says which values are valid", hint));
        }
        if arguments.len() > 1 && self.allowed()?.is_some() {
            let message = "how many values break the list or the pattern is two numbers here";
            return Err(Refused::unsupported(self.span, message, "make a rule of each, or allow none"));
        }
        let mut checks = Vec::new();
        for (name, argument) in arguments {
            checks.extend(match name {
                "pattern" => self.rows("pattern", vec![("column", text(column)), ("regex", argument.clone())])?,
                _ => {
                    // Whether NULL is allowed is another rule.
                    let values = items(argument)?.iter().filter(|v| v.value != Value::Null).cloned().collect();
                    let values = Node { value: Value::Seq(values), span: argument.span };
                    self.rows("accepted_values", vec![("column", text(column)), ("values", values)])?
                }
            });
        }
        Ok(checks)
    }

    fn duplicates(&self, columns: &Columns) -> Result<Vec<Check>, Refused> {
        let names = match &columns.column {
            Some(column) => {
                self.no_arguments()?;
                vec![text(column)]
            }
            None => match self.argument(&["properties"])?.pop() {
                Some((_, names)) => items(names)?.iter().map(|name| physical(name, columns)).collect(),
                None => {
                    let hint = "name them, as in `arguments: { properties: [id] }`";
                    return Err(Refused::wrong(self.span, "nothing says which properties are compared", hint));
                }
            },
        };
        if let Some(threshold) = self.allowed()? {
            let message = "the standard does not say how many duplicates a value is that stands there three times";
            let hint =
                "write `mustBe: 0`, or the check `unique` with a `threshold`, which counts rows beyond the first";
            return Err(Refused::unsupported(threshold.span, message, hint));
        }
        self.check("unique", vec![("columns", list(names))])
    }

    fn row_count(&self, columns: &Columns) -> Result<Vec<Check>, Refused> {
        self.no_arguments()?;
        if columns.column.is_some() {
            let hint = "put the rule below the table";
            return Err(Refused::wrong(self.span, "this metric is about a table, and here is a property", hint));
        }
        if let Some(unit) = self.item.unit.as_ref().filter(|unit| unit.value != "rows") {
            let message = format!("a number of rows is counted in rows, not in `{}`", unit.value);
            return Err(Refused::unsupported(unit.span, message, "remove `unit`"));
        }
        let (operator, value) = self.operator()?;
        let limit = |node: &Node, more: i64| -> Result<Node, Refused> {
            let rows = whole(node)?.checked_add(more).filter(|rows| *rows >= 0);
            let rows = rows.ok_or_else(|| {
                Refused::unsupported(node.span, "a table has 0 rows or more, and fewer than 2^63", "change the number")
            })?;
            Ok(Node { value: Value::Int(rows), span: node.span })
        };
        let settings = match (operator, items(value)) {
            ("mustBe", _) => vec![("exactly", limit(value, 0)?)],
            ("mustBeGreaterThan", _) => vec![("min", limit(value, 1)?)],
            ("mustBeGreaterOrEqualTo", _) => vec![("min", limit(value, 0)?)],
            ("mustBeLessThan", _) => vec![("max", limit(value, -1)?)],
            ("mustBeLessOrEqualTo", _) => vec![("max", limit(value, 0)?)],
            // The standard says of it: the equivalent to `mustBeGreaterThan` and `mustBeLessThan`.
            ("mustBeBetween", Ok([low, high])) => vec![("min", limit(low, 1)?), ("max", limit(high, -1)?)],
            ("mustBeBetween", _) => {
                return Err(Refused::wrong(value.span, "expected two numbers", "write them as `[100, 200]`"));
            }
            _ => {
                let message = format!("`{operator}` is nothing that `row_count` can be asked for");
                return Err(Refused::unsupported(value.span, message, "say how many rows there are, not how many not"));
            }
        };
        self.check("row_count", settings)
    }

    /// How many rows may break the rule, as the value of `threshold`; none, if no row may.
    fn allowed(&self) -> Result<Option<Node>, Refused> {
        let (operator, value) = self.operator()?;
        let most = number(value)?;
        let unsupported = |message: String, hint: &str| Err(Refused::unsupported(value.span, message, hint));
        match operator {
            "mustBe" if most == 0.0 => return Ok(None),
            "mustBeLessThan" | "mustBeLessOrEqualTo" => {}
            _ => {
                let message = format!("a check allows at most so many rows, and that is not what `{operator}` says");
                return unsupported(message, "use `mustBe: 0`, `mustBeLessOrEqualTo` or `mustBeLessThan`");
            }
        }
        let less = operator == "mustBeLessThan";
        if most < 0.0 || (less && most == 0.0) {
            return unsupported("no number of rows is that small".to_string(), "raise it");
        }
        let rows = match value.value {
            Value::Int(rows) => rows - i64::from(less),
            _ if less => most.ceil() as i64 - 1,
            _ => most.floor() as i64,
        };
        let threshold = match self.item.unit.as_ref().map_or("rows", |unit| unit.value.as_str()) {
            "rows" if rows == 0 => return Ok(None),
            "rows" => Value::Int(rows),
            "percent" if most == 0.0 => return Ok(None),
            "percent" if most > 100.0 => return unsupported("a share is from 0% to 100%".to_string(), "lower it"),
            "percent" if less => Value::Text(format!("{}%", just_below(most))),
            "percent" => Value::Text(format!("{most}%")),
            other => {
                let message = format!("`{other}` is no unit in which rows are counted");
                return unsupported(message, "use `rows` or `percent`");
            }
        };
        Ok(Some(Node { value: threshold, span: value.span }))
    }

    /// What the figure is compared with, and how.
    fn operator(&self) -> Result<(&'static str, &Node), Refused> {
        let mut said = OPERATORS.into_iter().filter_map(|operator| Some((operator, self.node.get(operator)?)));
        match (said.next(), said.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some((operator, node))) => {
                let message = format!("`{operator}` is the second operator of this rule");
                Err(Refused::wrong(node.span, message, "make a rule of each"))
            }
            _ => {
                let hint = "say how many are allowed, such as `mustBe: 0`";
                Err(Refused::wrong(self.span, "nothing says which figures are good", hint))
            }
        }
    }

    /// Those of the arguments that are there; another one is refused.
    fn argument<'k>(&self, known: &[&'k str]) -> Result<Vec<(&'k str, &Node)>, Refused> {
        let entries = match self.node.get("arguments").map(|node| (node, &node.value)) {
            None => return Ok(Vec::new()),
            Some((_, Value::Map(entries))) => entries,
            Some((node, other)) => {
                let message = format!("expected a mapping, found {}", other.describe());
                return Err(Refused::Wrong(vec![Problem::new(node.span, message)]));
            }
        };
        let mut found = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            match known.iter().find(|name| **name == key.value) {
                Some(name) => found.push((*name, node)),
                None => {
                    let message = format!("`{}` is no argument of this metric", key.value);
                    return Err(Refused::unsupported(key.span, message, "remove it"));
                }
            }
        }
        Ok(found)
    }

    fn no_arguments(&self) -> Result<(), Refused> {
        self.argument(&[]).map(drop)
    }
}

/// The greatest percentage that is below another one. Some steps of a float lower, so that no rounding of a share of rows
/// comes up to it; no table has rows enough for a share in between.
fn just_below(percent: f64) -> f64 {
    f64::from_bits(percent.to_bits().saturating_sub(4))
}

fn text(column: &Spanned<String>) -> Node {
    Node { value: Value::Text(column.value.clone()), span: column.span }
}

fn list(items: Vec<Node>) -> Node {
    let span = items.first().map(|item| item.span).unwrap_or_default();
    Node { value: Value::Seq(items), span }
}

/// The physical name of a property.
fn physical(name: &Node, columns: &Columns) -> Node {
    let mut name = name.clone();
    if let Value::Text(text) = &mut name.value
        && let Some((_, physical)) = columns.names.iter().find(|(logical, _)| *logical == *text)
    {
        text.clone_from(physical);
    }
    name
}

fn items(node: &Node) -> Result<&[Node], Refused> {
    match &node.value {
        Value::Seq(items) => Ok(items),
        other => {
            let message = format!("expected a list, found {}", other.describe());
            Err(Refused::Wrong(vec![Problem::new(node.span, message)]))
        }
    }
}

fn number(node: &Node) -> Result<f64, Refused> {
    match &node.value {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) if number.is_finite() => Ok(*number),
        other => {
            let message = format!("expected a number, found {}", other.describe());
            Err(Refused::Wrong(vec![Problem::new(node.span, message)]))
        }
    }
}

fn whole(node: &Node) -> Result<i64, Refused> {
    /// Whole numbers up to here are themselves as floats.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number(node)?;
    match node.value {
        Value::Int(number) => Ok(number),
        _ if float.fract() == 0.0 && float.abs() <= EXACT => Ok(float as i64),
        _ => Err(Refused::unsupported(node.span, "a number of rows is a whole number", "round it")),
    }
}

/// A value as SQL; none for NULL.
fn literal(node: &Node) -> Result<Option<String>, Refused> {
    Ok(Some(match &node.value {
        Value::Null => return Ok(None),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_finite() => value.to_string(),
        Value::Text(value) => format!("'{}'", value.replace('\'', "''")),
        other => {
            let message = format!("expected a value, found {}", other.describe());
            return Err(Refused::Wrong(vec![Problem::new(node.span, message)]));
        }
    }))
}
