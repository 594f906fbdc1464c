//! # `monotonic` (Q010)
//!
//! **What it checks.** No value is below the one before it (`direction: falling`: above it); with `strict: true` none
//! is equal to it either. NULL is passed over. The order is that of the source: within a split that of its rows, and the
//! first value of a split is compared with the last one of the split before. For a source without an order of its own,
//! such as a folder of files, that is the order of the splits in the plan.
//!
//! **Why it matters.** A journal whose numbers jump back was cut together from two, or written twice.
//!
//! **Example.** `monotonic: { column: entry_no, strict: true }`
//!
//! **Cost.** One comparison per value.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Result};

use crate::checks::{Definition, Facts, Ruling, Scope, Setting, Work, read_state};
use crate::policy::Policy;
use crate::tally::Counter;
use crate::values::{each_exact, wrong_type};

settings! {
    /// Values only rise, or only fall, in the order of the source.
    pub struct Monotonic {
        /// The column.
        pub column: Spanned<String>,
        /// Where the values go. Default: rising.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub direction: Option<Direction>,
        /// Whether equal values one after the other break the rule. Default: false.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub strict: Option<bool>,
    }
}

/// Where values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Up.
    Rising,
    /// Down.
    Falling,
}

impl Monotonic {
    fn order(&self) -> Order {
        Order { falling: self.direction == Some(Direction::Falling), strict: self.strict == Some(true) }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Order {
    falling: bool,
    strict: bool,
}

impl Order {
    fn breaks(self, before: i128, after: i128) -> bool {
        let (before, after) = if self.falling { (after, before) } else { (before, after) };
        after < before || (self.strict && after == before)
    }
}

impl Definition for Monotonic {
    fn code(&self) -> &'static str {
        "Q010"
    }

    fn kind(&self) -> &'static str {
        "monotonic"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        vec![&self.column]
    }

    fn scope(&self) -> Scope {
        Scope::Order
    }

    fn has_shapes(&self) -> bool {
        false
    }

    fn expected(&self) -> String {
        let Order { falling, strict } = self.order();
        let word = if falling { "falling" } else { "rising" };
        if strict { format!("strictly {word} values") } else { format!("{word} values") }
    }

    fn remedy(&self) -> &'static str {
        "look whether the source was written twice or put together from several, and whether its splits are in order"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let (_, field, ty) = setting.typed(&self.column)?;
        let ordered = matches!(
            ty,
            LogicalType::Int(_)
                | LogicalType::UInt(_)
                | LogicalType::Decimal(..)
                | LogicalType::Date
                | LogicalType::Time(_)
                | LogicalType::Timestamp(..)
        );
        if !ordered || matches!(field.data_type(), DataType::Decimal256(..)) {
            return Err(wrong_type(self.kind(), &self.column, &ty, "whole numbers, decimals, dates or timestamps"));
        }
        let order = self.order();
        Ok(Work::count(move || Steps { order, ..Steps::default() }))
    }

    fn judge(&self, states: &[Json], _: &Facts<'_>) -> Result<Ruling> {
        let (mut broken, mut before) = (0u64, None::<i128>);
        for state in states {
            let (more, ends): (u64, Option<(String, String)>) = read_state(state)?;
            broken += more;
            let Some((first, last)) = ends else { continue };
            let (first, last) = (parse(&first)?, parse(&last)?);
            broken += u64::from(before.is_some_and(|before| self.order().breaks(before, first)));
            before = Some(last);
        }
        Ok(Ruling { holds: broken == 0, found: String::new(), broken: Some(broken) })
    }
}

fn parse(text: &str) -> Result<i128> {
    text.parse().map_err(|e| transload_core::Error::internal("what a check counted cannot be read").because(e))
}

#[derive(Default)]
struct Steps {
    order: Order,
    broken: u64,
    first: Option<i128>,
    last: Option<i128>,
}

impl Counter for Steps {
    fn update(&mut self, columns: &[ArrayRef], _: usize) -> Result<()> {
        let Some(column) = columns.first() else { return Ok(()) };
        each_exact(column, |value| {
            self.broken += u64::from(self.last.is_some_and(|before| self.order.breaks(before, value)));
            self.first.get_or_insert(value);
            self.last = Some(value);
        });
        Ok(())
    }

    fn state(&self) -> Json {
        let ends = self.first.zip(self.last).map(|(first, last)| (first.to_string(), last.to_string()));
        json!([self.broken, ends])
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{broken_in_order, days, floats, ints, refused};

    const RISING: &str = r#"{"monotonic":{"column":"c"}}"#;
    const STRICT: &str = r#"{"monotonic":{"column":"c","strict":true}}"#;
    const FALLING: &str = r#"{"monotonic":{"column":"c","direction":"falling"}}"#;

    #[test]
    fn every_step_back_counts_within_and_between_units() {
        let units = || vec![ints([Some(1), Some(3), Some(2), None, Some(2)]), ints([None]), ints([Some(1), Some(5)])];
        assert_eq!(broken_in_order(RISING, units()), 2);
        assert_eq!(broken_in_order(STRICT, units()), 3);
        assert_eq!(broken_in_order(FALLING, units()), 2);
        assert_eq!(broken_in_order(RISING, vec![]), 0);
        assert_eq!(broken_in_order(RISING, vec![days([Some(1), Some(2)])]), 0);
    }

    #[test]
    fn floats_are_refused() {
        assert!(refused(RISING, floats([Some(1.0)])).contains("needs whole numbers"));
    }
}
