//! # `not_in_future` (Q009)
//!
//! **What it checks.** No date or timestamp lies after the start of the run, in UTC; `slack_secs` allows for clocks
//! that run fast and for time zones. Several columns are several checks.
//!
//! **Why it matters.** What has not happened yet cannot have been recorded: such values come from wrong zones, swapped
//! days and months, and placeholders such as 9999-12-31.
//!
//! **Example.** `not_in_future: [created_at, updated_at]`
//!
//! **Cost.** One comparison per value, several at a time.

use transload_core::tree::Spanned;
use transload_core::types::Unit;
use transload_core::{LogicalType, Problem, Span};

use crate::bounds::at_most;
use crate::checks::{Definition, Setting, Work, no_columns};
use crate::policy::Policy;
use crate::values::wrong_type;

settings! {
    /// No date or timestamp lies after the start of the run.
    pub struct NotInFuture {
        /// The columns.
        pub columns: Vec<Spanned<String>>,
        /// So many seconds after the start of the run are allowed. Default: 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub slack_secs: Option<u32>,
    }
}

each_column!(NotInFuture);

impl Definition for NotInFuture {
    fn code(&self) -> &'static str {
        "Q009"
    }

    fn kind(&self) -> &'static str {
        "not_in_future"
    }

    fn policy(&self) -> Policy {
        self.said()
    }

    fn columns(&self) -> Vec<&Spanned<String>> {
        self.columns.iter().collect()
    }

    fn has_shapes(&self) -> bool {
        false
    }

    fn validate(&self, place: Span, problems: &mut Vec<Problem>) {
        no_columns(&self.columns, self.kind(), place, problems);
    }

    fn expected(&self) -> String {
        match self.slack_secs {
            None | Some(0) => "nothing after the start of the run".to_string(),
            Some(secs) => format!("nothing later than {secs} seconds after the start of the run"),
        }
    }

    fn remedy(&self) -> &'static str {
        "look for a wrong time zone or a placeholder in the source; `slack_secs` allows for clocks that run fast"
    }

    fn work(&self, setting: &Setting<'_>) -> Result<Work, String> {
        let name = self.columns.first().map(|c| c.value.as_str()).unwrap_or_default();
        let (at, field, ty) = setting.typed(name)?;
        let latest = i128::from(setting.started_micros) + i128::from(self.slack_secs.unwrap_or(0)) * 1_000_000;
        match ticks_of(&ty, latest) {
            Some(latest) => Ok(Work::column(at, at_most(field, latest)?)),
            None => Err(wrong_type(self.kind(), name, &ty, "dates or timestamps")),
        }
    }
}

/// A time in µs since 1970 as days, or as ticks of a timestamp; rounded down.
pub(crate) fn ticks_of(ty: &LogicalType, micros: i128) -> Option<i128> {
    match ty {
        LogicalType::Date => Some(micros.div_euclid(86_400_000_000)),
        LogicalType::Timestamp(Unit::Ns, _) => Some(micros * 1_000),
        LogicalType::Timestamp(unit, _) => Some(micros.div_euclid(i128::from(unit.nanos() / 1_000))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{STARTED_DAY, broken, days, refused, texts};

    #[test]
    fn the_day_of_the_run_is_not_the_future() {
        let values = || days([Some(STARTED_DAY), Some(STARTED_DAY + 1), None, Some(0)]);
        assert_eq!(broken(r#"{"not_in_future":["c"]}"#, values()), [1]);
        assert_eq!(broken(r#"{"not_in_future":{"columns":["c"],"slack_secs":86400}}"#, values()), []);
        assert_eq!(broken(r#"{"not_in_future":["c"]}"#, days([])), []);
        assert!(refused(r#"{"not_in_future":["c"]}"#, texts([Some("x")])).contains("needs dates"));
    }
}
