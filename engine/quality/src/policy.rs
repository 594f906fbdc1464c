//! What happens if a rule is broken: severity, action, threshold, and the rows it is about.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use transload_core::finding::{Action, Severity};
use transload_core::tree::Spanned;
use transload_core::{Problem, Span};

use crate::checks::Scope;

/// What a check says beside its rule.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// How bad it is.
    pub severity: Option<Spanned<Severity>>,
    /// What happens.
    pub action: Option<Spanned<Action>>,
    /// How many rows may break the rule.
    pub threshold: Option<Spanned<Amount>>,
    /// An SQL condition: the rule is about rows for which it is true.
    pub filter: Option<Spanned<String>>,
}

impl Policy {
    /// How bad it is; an error, if nothing is said.
    pub fn severity(&self) -> Severity {
        self.severity.as_ref().map(|s| s.value).unwrap_or_default()
    }

    /// What happens; an error stops and anything less is logged, if nothing is said.
    pub fn action(&self) -> Action {
        self.action.as_ref().map(|a| a.value).unwrap_or(match self.severity() {
            Severity::Error => Action::Stop,
            Severity::Warn | Severity::Info => Action::Log,
        })
    }

    /// Whether this many broken rows of so many are too many.
    pub fn exceeded(&self, failed: u64, evaluated: u64) -> bool {
        match self.threshold.as_ref().map(|t| t.value) {
            None => failed > 0,
            Some(Amount::Rows(most)) => failed > most,
            Some(Amount::Percent(Percent(most))) => failed as f64 * 100.0 > most * evaluated as f64,
        }
    }

    /// Whether nothing may be published once the rule counts as broken. Rows that are put aside are no reason
    /// to stop, unless there are more of them than a threshold allows.
    pub fn stops(&self) -> bool {
        match self.action() {
            Action::Stop => true,
            Action::Quarantine => self.threshold.is_some(),
            Action::Log => false,
        }
    }

    /// What does not fit together.
    pub(crate) fn validate(&self, scope: Scope, kind: &str, problems: &mut Vec<Problem>) {
        let mut say = |span: Span, message: String, hint: &str| problems.push(Problem::new(span, message).hint(hint));
        if let (Severity::Warn | Severity::Info, Some(action)) = (self.severity(), &self.action)
            && action.value == Action::Stop
        {
            let message = format!("a check of severity `{}` does not stop a load", self.severity());
            say(action.span, message, "use `severity: error`, or `action: log`");
        }
        if let Some(action) = self.action.as_ref().filter(|a| a.value == Action::Quarantine && scope != Scope::Rows) {
            let message = match scope {
                Scope::Order => format!("`{kind}` is about the order of rows, so there are no rows to put aside"),
                Scope::Keys => format!("`{kind}` is known to be broken when all rows are staged: no rows to put aside"),
                _ => format!("`{kind}` is about the table, so there are no rows to put aside"),
            };
            say(action.span, message, "use `stop` or `log`");
        }
        if let Some(threshold) = self.threshold.as_ref().filter(|_| scope == Scope::Table) {
            let message = format!("`{kind}` is about the table, and a threshold counts rows");
            say(threshold.span, message, "remove `threshold`");
        }
        if let Some(filter) = self.filter.as_ref().filter(|f| f.trim().is_empty()) {
            say(filter.span, "the condition is empty".to_string(), "remove `where`, or write an SQL condition");
        }
    }
}

/// A share of all rows, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl Percent {
    fn read(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').map(str::trim_end);
        match number.and_then(|n| n.parse::<f64>().ok()) {
            Some(n) if (0.0..=100.0).contains(&n) => Ok(Self(n)),
            Some(_) => Err("a share is from 0% to 100%".to_string()),
            None => Err("a share is written as a percentage; hint: for example `0.5%`".to_string()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;

        impl Visitor<'_> for V {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage such as `95%`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Percent, E> {
                Percent::read(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A share from 0% to 100%.",
            "pattern": "^ *[0-9]+(\\.[0-9]+)? *% *$"
        })
    }
}

/// A number of rows, absolute or as a share of those that were looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// So many rows.
    Rows(u64),
    /// So many of a hundred.
    Percent(Percent),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(1) => f.write_str("1 row"),
            Self::Rows(rows) => write!(f, "{rows} rows"),
            Self::Percent(share) => share.fmt(f),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Rows(rows) => serializer.serialize_u64(*rows),
            Self::Percent(share) => share.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;

        impl Visitor<'_> for V {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of rows or a percentage such as `0.5%`")
            }

            fn visit_u64<E>(self, rows: u64) -> Result<Amount, E> {
                Ok(Amount::Rows(rows))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                Percent::read(text).map(Amount::Percent).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(V)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let share = generator.subschema_for::<Percent>();
        json_schema!({ "description": "A number of rows, or a share of them.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, share] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(severity: Option<Severity>, action: Option<Action>, threshold: Option<Amount>) -> Policy {
        Policy {
            severity: severity.map(Spanned::nowhere),
            action: action.map(Spanned::nowhere),
            threshold: threshold.map(Spanned::nowhere),
            filter: None,
        }
    }

    #[test]
    fn an_error_stops_and_a_warning_is_logged_unless_said_otherwise() {
        assert_eq!(policy(None, None, None).action(), Action::Stop);
        assert_eq!(policy(Some(Severity::Warn), None, None).action(), Action::Log);
        assert_eq!(policy(Some(Severity::Warn), Some(Action::Quarantine), None).action(), Action::Quarantine);
        assert!(!policy(None, Some(Action::Quarantine), None).stops());
        assert!(policy(None, Some(Action::Quarantine), Some(Amount::Rows(3))).stops());
    }

    #[test]
    fn a_threshold_is_the_most_that_is_allowed() {
        let rows = policy(None, None, Some(Amount::Rows(2)));
        assert!(!rows.exceeded(2, 10) && rows.exceeded(3, 10));
        let share = policy(None, None, Some(Amount::Percent(Percent(10.0))));
        assert!(!share.exceeded(1, 10) && share.exceeded(2, 10) && !share.exceeded(0, 0));
        let none = policy(None, None, None);
        assert!(none.exceeded(1, 1_000_000) && !none.exceeded(0, 0));
    }

    #[test]
    fn amounts_read_back_from_their_own_text() {
        for text in ["3", "\"0.5%\"", "\"100%\""] {
            let amount: Amount = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&amount).unwrap(), text);
        }
        for bad in ["-1", "1.5", "\"101%\"", "\"5\"", "\"-1%\"", "\"NaN%\"", "true"] {
            assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
        }
    }
}
