//! What quality checks count while rows pass by, and what they found in the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::name::TableName;

/// How bad it is if a rule is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody has to act.
    #[default]
    Error,
    /// Somebody should look.
    Warn,
    /// Good to know.
    Info,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
        })
    }
}

/// What happens if a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing of the table is published.
    Stop,
    /// Rows that break it are put aside with the reason.
    Quarantine,
    /// It is said and counted.
    Log,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Quarantine => "quarantine",
            Self::Log => "log",
        })
    }
}

/// What one check counted in one unit of work; those of all units, merged in their order, are judged before the commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckTally {
    /// The rule's fingerprint.
    pub fingerprint: String,
    /// Rows that were looked at.
    pub evaluated: u64,
    /// Rows that break the rule, for rules about single rows.
    pub failed: u64,
    /// How some of the values that break it are built, such as `AA-999`, each with how often it was seen.
    pub shapes: Vec<(String, u64)>,
    /// Some of the values themselves; only if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What a rule about the whole table keeps of this unit, in a form that the rule can merge.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub state: Json,
    /// Time that was spent on it, in nanoseconds; none if nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanos: Option<u64>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// The rule holds, or is broken by no more rows than its threshold allows.
    Passed,
    /// The rule is broken.
    Failed,
    /// Nobody can tell: what was read says nothing about the rule.
    NotJudged,
}

/// What one check found in one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code of the kind of check, such as `Q005`.
    pub code: String,
    /// The kind of check, such as `range`.
    pub check: String,
    /// Identifies the rule: what it demands, not what happens if it is broken.
    pub fingerprint: String,
    /// The target table.
    pub table: TableName,
    /// The columns it is about; none for rules about the table.
    pub columns: Vec<String>,
    /// The SQL condition of the rows that it is about; none if it is about all.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What the pipeline wants to happen.
    pub action: Action,
    /// How many rows may break it, as a pipeline says it: a number, or a share such as `"0.5%"`. Null if nothing is said.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub threshold: Json,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// Whether nothing of the table may be published because of it.
    pub stops: bool,
    /// What was expected.
    pub expected: String,
    /// What was found, as counts; why it was not judged, if it was not.
    pub found: String,
    /// Rows that were looked at.
    pub evaluated: u64,
    /// Rows that break the rule, for rules about single rows.
    pub failed: Option<u64>,
    /// How values that break it are built, such as `AA-999`, with how often each was seen among the first.
    pub shapes: Vec<(String, u64)>,
    /// Some of the values themselves; only if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What a later run may compare itself with, for rules that do that.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub figures: Json,
    /// What a person can do about it.
    pub remedy: String,
    /// Time that was spent on it, in µs, added up over units of work that may have run at the same time; none if nobody
    /// measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_micros: Option<u64>,
}

impl Finding {
    /// Whether the rule holds.
    pub fn is_passed(&self) -> bool {
        self.outcome == CheckOutcome::Passed
    }

    /// Whether the rule is broken.
    pub fn is_failed(&self) -> bool {
        self.outcome == CheckOutcome::Failed
    }

    /// Whether it is known if the rule holds.
    pub fn is_judged(&self) -> bool {
        self.outcome != CheckOutcome::NotJudged
    }

    /// The condition of the rows that it is about, on one line.
    pub fn condition(&self) -> Option<String> {
        self.filter.as_ref().map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// How many rows may break it, in words.
    pub fn allowance(&self) -> Option<String> {
        match &self.threshold {
            Json::Null => None,
            Json::String(share) => Some(share.clone()),
            rows if rows.as_u64() == Some(1) => Some("1 row".to_string()),
            rows => Some(format!("{rows} rows")),
        }
    }

    /// The rule in a few words: `Q005 range (distance)`.
    pub fn title(&self) -> String {
        title(&self.code, &self.check, &self.columns)
    }
}

/// A rule in a few words, from its code, its kind and its columns: `Q005 range (distance)`.
pub fn title(code: &str, check: &str, columns: &[String]) -> String {
    match columns.is_empty() {
        true => format!("{code} {check}"),
        false => format!("{code} {check} ({})", columns.join(", ")),
    }
}
