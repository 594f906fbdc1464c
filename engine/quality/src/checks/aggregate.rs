//! # `aggregate` (Q015)
//!
//! **What it checks.** A figure of a column, over the rows that go to the target, lies within limits: `sum`, `min` and
//! `max` (exactly for whole numbers and decimals), `avg` and `stddev` (of a sample; in floating point), and
//! `count_distinct`, the number of different values of any type but floats and nested ones, which is exact. NULL is
//! passed over. Without any value there is no figure, and the rule is broken; only `count_distinct` is 0 then.
//!
//! **Why it matters.** Rows can be right one by one and wrong together: amounts in cents, a day that was booked twice.
//!
//! **Example.** `aggregate: { column: amount, of: avg, min: 10, max: 500 }`
//!
//! **Cost.** An addition or a comparison per value; some more for `stddev`. `count_distinct` takes a second look: once all
//! rows are staged, the column is read again at the pin and sorted, on disk where memory does not suffice.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::{Error, ErrorKind, LogicalType, Problem, Result, Span};

use crate::bounds::{Exact, Limits, float};
use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::look::{Look, Looked};
use crate::policy::Policy;
use crate::scalar::Scalar;
use crate::tally::Counter;
use crate::values::{each_exact, each_float, wrong_type};

settings! {
    /// A sum, average or other figure of a column lies within limits.
    pub struct Aggregate {
        /// The column.
        pub column: Spanned<String>,
        /// The figure.
        pub of: Figure,
        /// The smallest value allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub min: Option<Scalar>,
        /// The figure must be greater than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub above: Option<Scalar>,
        /// The greatest value allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub max: Option<Scalar>,
        /// The figure must be less than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub below: Option<Scalar>,
    }
}

/// A figure of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// All values added up.
    Sum,
    /// The mean.
    Avg,
    /// The smallest value.
    Min,
    /// The greatest value.
    Max,
    /// The standard deviation of a sample.
    Stddev,
    /// How many different values there are.
    CountDistinct,
}

impl Figure {
    fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Stddev => "stddev",
            Self::CountDistinct => "count_distinct",
        }
    }
}

impl Aggregate {
    fn limits(&self) -> Limits<'_> {
        let Self { min, above, max, below, .. } = self;
        Limits { min: min.as_ref(), above: above.as_ref(), max: max.as_ref(), below: below.as_ref() }
    }

    /// Whether an exact figure, in digits of a scale, lies within the limits.
    fn allows(&self, value: i128, scale: u32) -> bool {
        let limit = |scalar: &Option<Scalar>| scalar.as_ref().and_then(|s| Exact::number(&s.to_string(), scale));
        let least = limit(&self.min).is_none_or(|l| value > l.floor || (value == l.floor && l.whole));
        let above = limit(&self.above).is_none_or(|l| value > l.floor);
        let most = limit(&self.max).is_none_or(|l| value <= l.floor);
        let below = limit(&self.below).is_none_or(|l| value < l.floor || (value == l.floor && !l.whole));
        least && above && most && below
    }

    /// The same for a figure in floating point.
    fn allows_float(&self, value: f64) -> bool {
        let field = Field::new(&self.column.value, DataType::Float64, true);
        let limit = |scalar: &Option<Scalar>| scalar.as_ref().and_then(|s| float(s, &field).ok());
        limit(&self.min).is_none_or(|l| value >= l)
            && limit(&self.above).is_none_or(|l| value > l)
            && limit(&self.max).is_none_or(|l| value <= l)
            && limit(&self.below).is_none_or(|l| value < l)
            && !value.is_nan()
    }

    fn judge_distinct(&self, states: &[Json]) -> Result<Ruling> {
        let (mut values, mut distinct) = (0, 0);
        for state in states {
            let looked: Looked = read_state(state)?;
            values += looked.rows;
            distinct += looked.rows.saturating_sub(looked.broken);
        }
        let found = format!("{} {distinct} of {values} values", self.of.word());
        Ok(Ruling { holds: self.allows(i128::from(distinct), 0), found, broken: None })
    }
}

impl Definition for Aggregate {
    fn code(&self) -> &'static str {
        "Q015"
    }

    fn kind(&self) -> &'static str {
        "aggregate"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn scope(&self) -> Scope {
        Scope::Table
    }

    fn look(&self) -> Option<Look> {
        (self.of == Figure::CountDistinct).then_some(Look::Repeats)
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        self.limits().validate(self.kind(), place, problems);
        for limit in [&self.min, &self.above, &self.max, &self.below].into_iter().flatten() {
            if Exact::number(&limit.to_string(), 0).is_none() {
                let problem =
                    Problem::new(place, format!("`{limit}` is not a number that a figure can be compared with"));
                problems.push(problem.hint("write it with digits, such as 1000 or 0.5"));
            }
        }
    }

    fn expected(&self) -> String {
        format!("{} {}", self.of.word(), self.limits().describe())
    }

    fn remedy(&self) -> &'static str {
        "compare with an earlier run: look for rows that are missing or there twice, and for another unit"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        if self.of == Figure::CountDistinct {
            setting.keys(std::slice::from_ref(&self.column), self.kind())?;
            return Ok(Work::Keys);
        }
        let (_, field, ty) = setting.typed(&self.column)?;
        let scale = match &ty {
            LogicalType::Int(_) | LogicalType::UInt(_) => Some(0),
            LogicalType::Decimal(_, scale) if !matches!(field.data_type(), DataType::Decimal256(..)) => {
                Some(u32::from(scale.unsigned_abs()))
            }
            LogicalType::Float(_) => None,
            _ => return Err(wrong_type(self.kind(), &self.column, &ty, "numbers of at most 38 digits")),
        };
        let of = self.of;
        Ok(Work::count(move || Moments::new(of, scale)))
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        if self.of == Figure::CountDistinct {
            return self.judge_distinct(states);
        }
        let mut all: Option<State> = None;
        for state in states {
            let more: State = read_state(state)?;
            all = Some(match all {
                None => more,
                Some(sum) => sum.merge(more, self.of)?,
            });
        }
        let Some(all) = all.filter(|s| s.count > 0) else {
            return Ok(Ruling { holds: false, found: "no value at all".to_string(), broken: None });
        };
        let (mean, squares, float) = (read_float(all.mean), read_float(all.squares), read_float(all.float));
        let (holds, shown) = match (self.of, &all.exact, all.scale) {
            (Figure::Sum | Figure::Min | Figure::Max, Some(exact), Some(scale)) => {
                let value = parse(exact)?;
                (self.allows(value, scale), decimal(value, scale))
            }
            (Figure::Stddev, ..) => {
                let deviation = if all.count < 2 { 0.0 } else { (squares / (all.count - 1) as f64).sqrt() };
                (self.allows_float(deviation), format!("{deviation:.6}"))
            }
            (Figure::Avg, ..) => (self.allows_float(mean), format!("{mean:.6}")),
            _ => (self.allows_float(float), float.to_string()),
        };
        let found = format!("{} {shown} of {} values", self.of.word(), all.count);
        Ok(Ruling { holds, found, broken: None })
    }
}

fn parse(text: &str) -> Result<i128> {
    text.parse().map_err(|e| Error::internal("what a check counted cannot be read").because(e))
}

pub(super) fn decimal(value: i128, scale: u32) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

/// What a unit knows of a column.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    count: u64,
    /// Sum, least or greatest value in digits of the scale.
    exact: Option<String>,
    scale: Option<u32>,
    /// Sum, least or greatest value of a column of floats.
    float: Float,
    mean: Float,
    /// Sum of the squared distances from the mean.
    squares: Float,
}

/// A float that JSON can hold: what is not finite is written as null, and read as NaN.
type Float = Option<f64>;

fn read_float(float: Float) -> f64 {
    float.unwrap_or(f64::NAN)
}

impl State {
    /// Means and squares are merged as in Chan, Golub and LeVeque (1979).
    fn merge(self, other: Self, of: Figure) -> Result<Self> {
        if self.count == 0 || other.count == 0 {
            return Ok(if self.count == 0 { other } else { self });
        }
        let count = self.count + other.count;
        let (mean, other_mean) = (read_float(self.mean), read_float(other.mean));
        let delta = other_mean - mean;
        let spread = delta * delta * self.count as f64;
        let share = other.count as f64 / count as f64;
        let exact = match (&self.exact, &other.exact) {
            (Some(a), Some(b)) => Some(combine(of, parse(a)?, parse(b)?)?.to_string()),
            _ => None,
        };
        Ok(Self {
            count,
            exact,
            scale: self.scale,
            float: Some(combine_floats(of, read_float(self.float), read_float(other.float))),
            mean: Some(mean + delta * share),
            squares: Some(read_float(self.squares) + read_float(other.squares) + spread * share),
        })
    }
}

fn combine(of: Figure, a: i128, b: i128) -> Result<i128> {
    match of {
        Figure::Min => Ok(a.min(b)),
        Figure::Max => Ok(a.max(b)),
        _ => a
            .checked_add(b)
            .ok_or_else(|| Error::new(ErrorKind::Quality, "a sum has more than 38 digits").hint("use `avg` instead")),
    }
}

fn combine_floats(of: Figure, a: f64, b: f64) -> f64 {
    match of {
        // NaN stays, so that the rule is broken.
        Figure::Min | Figure::Max if a.is_nan() || b.is_nan() => f64::NAN,
        Figure::Min => a.min(b),
        Figure::Max => a.max(b),
        _ => a + b,
    }
}

struct Moments {
    of: Figure,
    scale: Option<u32>,
    unit: f64,
    count: u64,
    exact: Option<i128>,
    float: Option<f64>,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn new(of: Figure, scale: Option<u32>) -> Self {
        let unit = 10f64.powi(scale.unwrap_or(0).cast_signed());
        Self { of, scale, unit, count: 0, exact: None, float: None, mean: 0.0, squares: 0.0 }
    }

    /// The algorithm of Welford.
    fn spread(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }
}

impl Counter for Moments {
    fn update(&mut self, columns: &[ArrayRef], _: usize) -> Result<()> {
        let Some(column) = columns.first() else { return Ok(()) };
        let (of, unit) = (self.of, self.unit);
        let spreads = matches!(of, Figure::Avg | Figure::Stddev);
        let mut result = Ok(());
        match (self.scale.is_some(), spreads) {
            (true, true) => each_exact(column, |v| self.spread(v as f64 / unit)),
            (false, true) => each_float(column, |v| self.spread(v)),
            (true, false) => each_exact(column, |v| {
                self.count += 1;
                match self.exact.map_or(Ok(v), |sum| combine(of, sum, v)) {
                    Ok(sum) => self.exact = Some(sum),
                    Err(error) => result = Err(error),
                }
            }),
            (false, false) => each_float(column, |v| {
                self.count += 1;
                self.float = Some(self.float.map_or(v, |sum| combine_floats(of, sum, v)));
            }),
        };
        result
    }

    fn state(&self) -> Json {
        json!(State {
            count: self.count,
            exact: self.exact.map(|v| v.to_string()),
            scale: self.scale,
            float: Some(self.float.unwrap_or_default()),
            mean: Some(self.mean),
            squares: Some(self.squares),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{decimals, floats, ints, judged, kept_keys, looked, refused, texts};
    use crate::look::Seen;

    fn rule(of: &str, limits: &str) -> String {
        format!(r#"{{"aggregate":{{"column":"c","of":"{of}",{limits}}}}}"#)
    }

    #[test]
    fn figures_of_all_units_are_merged() {
        let units = || vec![ints([Some(1), None, Some(2)]), ints([]), ints([Some(9)])];
        for (of, found) in [
            ("sum", "sum 12 of 3 values"),
            ("min", "min 1 of 3 values"),
            ("max", "max 9 of 3 values"),
            ("avg", "avg 4.000000 of 3 values"),
            ("stddev", "stddev 4.358899 of 3 values"),
        ] {
            assert_eq!(judged(&rule(of, r#""min":0"#), units()), (true, found.to_string()));
        }
    }

    #[test]
    fn limits_are_exact_for_decimals() {
        let units = || vec![decimals([Some(10), Some(20)])];
        assert_eq!(judged(&rule("sum", r#""max":0.3"#), units()), (true, "sum 0.30 of 2 values".to_string()));
        assert!(judged(&rule("sum", r#""min":"0.295","below":"0.305""#), units()).0);
        assert!(
            !judged(&rule("sum", r#""above":0.3"#), units()).0 && !judged(&rule("sum", r#""below":0.3"#), units()).0
        );
        assert!(!judged(&rule("sum", r#""min":"0.305""#), units()).0);
    }

    #[test]
    fn without_a_value_there_is_no_figure() {
        assert_eq!(judged(&rule("sum", r#""min":0"#), vec![ints([None])]), (false, "no value at all".to_string()));
        assert!(!judged(&rule("avg", r#""min":0"#), vec![]).0);
    }

    #[test]
    fn floats_add_up_and_nan_breaks_the_rule() {
        assert!(judged(&rule("sum", r#""min":3,"max":3"#), vec![floats([Some(1.5)]), floats([Some(1.5)])]).0);
        assert!(!judged(&rule("max", r#""min":0"#), vec![floats([Some(1.0), Some(f64::NAN)])]).0);
        assert!(refused(&rule("sum", r#""min":0"#), texts([Some("1")])).contains("needs numbers"));
    }

    #[test]
    fn different_values_are_counted_in_a_second_look() {
        let least = rule("count_distinct", r#""min":3"#);
        assert_eq!(kept_keys(&least, texts([Some("a"), None, Some("a")])), ["a", "a"]);
        assert!(refused(&least, floats([Some(1.0)])).contains("no floats"));
        let units = || vec![texts([Some("a"), None]), texts([Some("a"), Some("b"), Some("c")])];
        let found = looked(&least, units(), Seen { rows: 4, broken: 1, ..Seen::default() });
        assert_eq!((found.is_failed(), found.found.as_str()), (false, "count_distinct 3 of 4 values"));
        assert_eq!((found.failed, found.evaluated), (None, 4));
        assert!(looked(&least, units(), Seen { rows: 4, broken: 2, ..Seen::default() }).stops);
        let most = rule("count_distinct", r#""below":1"#);
        assert!(!looked(&most, vec![], Seen::default()).is_failed());
        assert!(looked(&least, vec![ints([None])], Seen::default()).is_failed());
    }
}
