//! The plan as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transload_coerce::{Loss, MaskKind};
use transload_core::connector::{Expected, Partition, WriteMode, WriteSpec};
use transload_core::decode::Kinded;
use transload_core::{CommitKey, Error, LogicalType, Node, Pin, Result, RunId, Split, TableName};
use transload_digest::Algorithm;
use transload_quality::{Before, Check, Look, Place};
use transload_spec::file::MetadataColumn;
use transload_spec::{Alert, ReconcileLevel};

use crate::backfill::Backfill;
use crate::quarantine::{AsideNames, is_kept};
use crate::schema_change::SchemaChange;

/// Version of the plan's own format.
const VERSION: u32 = 1;

/// What a run will do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of this format.
    pub version: u32,
    /// SHA-256 over everything else.
    pub fingerprint: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The archetype's name.
    pub archetype: String,
    /// The rulebook, whole.
    pub rulebook: Node,
    /// Where tables come from. References to secrets are not resolved.
    pub source: Connection,
    /// Where tables go to.
    pub target: Connection,
    /// Where rows go that are put aside; beside the ledger, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Connection>,
    /// Who is told how a run ended. References to secrets are not resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// The tables.
    pub tables: Vec<TablePlan>,
    /// Tables that checks look at and that are not loaded themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
}

/// A table that checks of others look at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Where it is.
    pub place: Place,
    /// How it is read. Nothing is written, so what else stands in it is of no account.
    pub read: TablePlan,
}

/// A connection as data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The kind of system.
    pub kind: String,
    /// Its options as written.
    pub options: Node,
}

impl From<&Kinded> for Connection {
    fn from(kinded: &Kinded) -> Self {
        Self { kind: kinded.kind.value.clone(), options: kinded.options.clone() }
    }
}

/// What a run will do with one table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePlan {
    /// Name in the source.
    pub from: TableName,
    /// Name in the target.
    pub to: TableName,
    /// The point in time that is read.
    pub pin: Pin,
    /// The units of work.
    pub splits: Vec<Split>,
    /// The source's columns.
    pub source_columns: Vec<SourceColumn>,
    /// The target's columns, in order.
    pub columns: Vec<ColumnPlan>,
    /// What is done about columns that the target's table does not have as they are, if the pipeline says something of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_change: Option<SchemaChange>,
    /// SQL condition over the source's columns after casts.
    pub filter: Option<String>,
    /// SQL condition over the same columns; rows for which it is true are delete markers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
    /// Set for incremental tables.
    pub incremental: Option<Incremental>,
    /// What happens to the target's rows.
    pub write: WriteMode,
    /// What the target must still be when the rows are committed.
    pub expected: Expected,
    /// Layout of the target.
    pub partition_by: Vec<Partition>,
    /// Key columns, by their names in the target.
    pub key: Vec<String>,
    /// Quality checks, in the order of the layers they come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// How arrival is proven.
    pub reconcile: ReconcilePlan,
    /// Rows expected, if the source knows.
    pub estimated_rows: Option<u64>,
    /// What is taken for granted of rows that nobody has looked at, if something is: reading fails where it is not so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// What it belongs to; alerts choose by it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Set if the rows do not come from the source but from what an earlier run put aside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// The rows of a quarantine that are read instead of the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The run that put them aside, last.
    pub run: RunId,
    /// The table's name in the source that they came from, first.
    pub from: TableName,
    /// How often somebody has begun to read them, this time included: of each number there is only one.
    pub attempt: u32,
    /// Where that run's quarantine is; beside the ledger, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Connection>,
    /// The artifact with the values that are put in before anything else happens, if there is a patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// The rules that are not judged as a load judges them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

/// A rule that a replay or a backfill cannot judge as any other load does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The rule.
    pub check: Check,
    /// Whether it is judged among the rows that are read again, only not against those in the target.
    pub in_part: bool,
    /// Why, in words.
    pub why: String,
}

/// A column of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its logical type.
    #[serde(rename = "type")]
    pub ty: LogicalType,
    /// Whether NULL is possible.
    pub nullable: bool,
}

/// A column of the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnPlan {
    /// Its name.
    pub name: String,
    /// Its logical type.
    #[serde(rename = "type")]
    pub ty: LogicalType,
    /// Whether NULL is possible.
    pub nullable: bool,
    /// Where its values come from.
    pub origin: Origin,
    /// The cast, if there is one.
    pub cast: Option<CastPlan>,
    /// The mask, if there is one.
    pub mask: Option<MaskKind>,
}

/// Where a target column's values come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A source column.
    Source(String),
    /// An SQL expression over source columns after casts.
    Derived(String),
    /// The load itself.
    Metadata(MetadataColumn),
    /// Nowhere: the target has it, the source does not have it any more, and it is NULL.
    Gone,
}

/// A cast of a source column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CastPlan {
    /// Source type.
    pub from: LogicalType,
    /// Target type.
    pub to: LogicalType,
    /// What it may do to a value.
    pub loss: Loss,
    /// What happens to values that do not fit.
    pub on_misfit: OnMisfit,
}

/// What happens to a value that does not fit, as far as it happens while rows move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMisfit {
    /// The load stops.
    Error,
    /// It becomes NULL and is counted.
    NullCounted,
    /// Its row is put aside.
    Quarantine,
}

impl OnMisfit {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::NullCounted => "null_counted",
            Self::Quarantine => "quarantine",
        }
    }
}

/// How an incremental table goes on from where it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The cursor, by its name in the source.
    pub cursor: String,
    /// Only rows above this value move; all, if there is none.
    pub above: Option<String>,
    /// Rows move too that are at most so far behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback_secs: Option<u64>,
    /// Only rows in this range move instead, and `above` stays what the target remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
}

/// How arrival is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcilePlan {
    /// How deep.
    pub level: ReconcileLevel,
    /// How rows are hashed.
    pub hash: Algorithm,
}

impl Plan {
    /// Completes a plan with its version and fingerprint.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
    pub(crate) fn seal(mut self) -> Result<Self> {
        self.version = VERSION;
        self.fingerprint = self.computed_fingerprint()?;
        Ok(self)
    }

    fn computed_fingerprint(&self) -> Result<String> {
        let open = Self { fingerprint: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&open).map_err(|e| Error::internal("a plan cannot be written").because(e))?;
        Ok(transload_digest::hex(&Sha256::digest(text)))
    }

    /// Identifies what is done with the rows of which tables, whatever they are: as the fingerprint does, but pins, versions
    /// and what is remembered of earlier loads have no part in it. So it stays the same from load to load.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
    pub fn design(&self) -> Result<String> {
        let mut lasting = self.clone();
        for table in lasting.tables.iter_mut().chain(lasting.references.iter_mut().map(|r| &mut r.read)) {
            table.pin = Pin::Formula(String::new());
            table.splits.clear();
            table.expected = Expected::Anything;
            table.estimated_rows = None;
            table.assumed = None;
            if let Some(incremental) = &mut table.incremental {
                incremental.above = None;
                incremental.backfill = None;
            }
            table.checks.iter_mut().for_each(|check| check.before = None);
        }
        lasting.computed_fingerprint()
    }

    /// Gives every check that compares itself with an earlier run what `find` knows of that run, by the target table.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
    pub fn against(mut self, find: impl Fn(&TableName, &Check) -> Option<Before>) -> Result<Self> {
        for table in &mut self.tables {
            for check in table.checks.iter_mut().filter(|c| c.compares()) {
                check.before = find(&table.to, check);
            }
        }
        self.seal()
    }

    /// The plan as JSON for a file.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::internal("a plan cannot be written").because(e))
    }

    /// Reads a plan back and checks that nobody changed it.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it is not a plan, is of another version or was edited.
    pub fn from_json(text: &str) -> Result<Self> {
        let plan: Self =
            serde_json::from_str(text).map_err(|e| Error::config("this is not a plan of this version").because(e))?;
        if plan.version != VERSION {
            return Err(Error::config(format!(
                "the plan has version {}; this program knows version {VERSION}",
                plan.version
            ))
            .hint("make it again with `transload plan`"));
        }
        if plan.fingerprint != plan.computed_fingerprint()? {
            return Err(Error::config("the plan was changed after it was made: its fingerprint does not fit")
                .hint("make it again with `transload plan`"));
        }
        Ok(plan)
    }
}

impl TablePlan {
    /// The table's name in the source that its rows came from first, which is no quarantine.
    pub fn first_source(&self) -> &TableName {
        self.replay.as_ref().map_or(&self.from, |r| &r.from)
    }

    /// The names of the columns that quarantine adds to those of this table's source.
    pub fn aside_names(&self) -> AsideNames {
        let kept = self.source_columns.iter().map(|c| c.name.as_str()).filter(|name| is_kept(name));
        AsideNames::beside(&kept.collect::<Vec<_>>())
    }

    /// How a commit of this key writes the table.
    pub fn write_spec(&self, commit: CommitKey) -> WriteSpec {
        WriteSpec {
            commit,
            mode: self.write,
            partition_by: self.partition_by.clone(),
            expected: self.expected.clone(),
            key: if self.write == WriteMode::Merge { self.key.clone() } else { Vec::new() },
        }
    }

    /// The columns whose values come from the source, and are therefore hashed and compared.
    pub fn compared(&self) -> impl Iterator<Item = (usize, &ColumnPlan)> {
        self.columns.iter().enumerate().filter(|(_, c)| !matches!(c.origin, Origin::Metadata(_)))
    }

    /// The plan of a second look for one check, beside those that decide about rows.
    #[must_use]
    pub fn narrowed(&self, check: &Check) -> Self {
        let mut plan = self.clone();
        plan.checks.retain(Check::quarantines);
        plan.checks.push(check.clone());
        plan
    }

    /// The rules that are not judged as any other load judges them.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        let of_replay = self.replay.iter().flat_map(|replay| &replay.limits);
        of_replay.chain(self.backfilled().into_iter().flat_map(|(_, range)| &range.limits))
    }

    /// Whether a rule about keys is held against the rows that are in the target already, too. In a load they are none of
    /// its business; in a replay they are, unless they say nothing about it.
    pub fn looks_into_target(&self, check: &Check) -> bool {
        let is_free = |limit: &Limit| limit.check.fingerprint != check.fingerprint;
        check.look() == Some(Look::Repeats) && self.replay.as_ref().is_some_and(|r| r.limits.iter().all(is_free))
    }

    /// The cursor and its range, if rows are loaded that lie in one.
    pub fn backfilled(&self) -> Option<(&str, &Backfill)> {
        let incremental = self.incremental.as_ref()?;
        Some((incremental.cursor.as_str(), incremental.backfill.as_ref()?))
    }

    /// Whether rows are missed that come after a load with the highest value of its cursor: several may have one, unless the
    /// cursor is the key.
    pub(crate) fn misses_ties(&self) -> bool {
        let Some(Incremental { cursor, lookback_secs: None, .. }) = &self.incremental else { return false };
        let is_cursor = |c: &&ColumnPlan| matches!(&c.origin, Origin::Source(name) if name == cursor);
        let arrives_as = self.columns.iter().find(is_cursor).map(|c| &c.name);
        !matches!(self.key.as_slice(), [only] if Some(only) == arrives_as)
    }

    /// The source's columns that keep a row out if it has a value there: the target does not have them.
    pub fn keep_rows_out(&self) -> Vec<&str> {
        self.schema_change.as_ref().map(SchemaChange::keep_rows_out).unwrap_or_default()
    }

    /// Whether rows that the filter leaves out are put aside again: they come from a quarantine, and would be nowhere.
    pub(crate) fn keeps_filtered(&self) -> bool {
        self.replay.is_some() && (self.filter.is_some() || !self.keep_rows_out().is_empty())
    }

    /// Whether a row can end up in quarantine.
    pub fn can_quarantine(&self) -> bool {
        self.keeps_filtered()
            || self
                .columns
                .iter()
                .any(|c| c.cast.as_ref().is_some_and(|c| c.on_misfit == OnMisfit::Quarantine && c.loss != Loss::Exact))
            || self.source_columns.iter().any(|c| c.name == transload_core::connector::FAULT_COLUMN)
            || self.checks.iter().any(Check::quarantines)
    }
}
