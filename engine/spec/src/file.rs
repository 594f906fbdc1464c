//! What may stand in a pipeline and in an archetype. The JSON Schema for editors is derived from these types,
//! so the comments here are what an editor shows.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use transload_core::connector::{Transform, WriteMode};
use transload_core::decode::{Entries, Kinded, TreeNode};
use transload_core::tree::{Spanned, Value};
use transload_core::{LogicalType, Span};

use crate::alerts::Alert;

/// A pipeline: which tables move from where to where, and how it is proven that they arrived.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipelineFile {
    /// Version of the file format: 1.
    #[schemars(extend("const" = 1))]
    pub(crate) version: Spanned<u32>,
    /// Name of the pipeline: letters, digits, `_` and `-`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,100}$"))]
    pub(crate) pipeline: Spanned<String>,
    /// The archetype to build on: a built-in one, or a path to your own. Default: table_copy.
    #[serde(default)]
    pub(crate) archetype: Option<Spanned<String>>,
    /// Where the tables come from.
    pub(crate) source: Kinded,
    /// Where the tables go to.
    pub(crate) target: Kinded,
    /// Where rows go that are put aside: `target`, or the options of a lake. Default: beside the ledger.
    #[serde(default)]
    pub(crate) quarantine: Option<Quarantine>,
    /// Settings for all tables.
    #[serde(default)]
    pub(crate) defaults: Option<Settings>,
    /// Who is told how a run ended.
    #[serde(default)]
    pub(crate) alerts: Option<Vec<Alert>>,
    /// The tables.
    #[schemars(length(min = 1))]
    pub(crate) tables: Spanned<Vec<TableEntry>>,
    /// What differs in other environments, chosen with `--env NAME`.
    #[serde(default)]
    pub(crate) environments: Option<Entries<Environment>>,
}

/// What differs in one environment.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// Replaces `source`.
    #[serde(default)]
    pub(crate) source: Option<Kinded>,
    /// Replaces `target`.
    #[serde(default)]
    pub(crate) target: Option<Kinded>,
    /// Replaces `quarantine`.
    #[serde(default)]
    pub(crate) quarantine: Option<Quarantine>,
    /// Goes over `defaults`, setting by setting.
    #[serde(default)]
    pub(crate) defaults: Option<Settings>,
    /// Replaces `alerts`.
    #[serde(default)]
    pub(crate) alerts: Option<Vec<Alert>>,
}

/// An archetype: a template of a migration.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchetypeFile {
    /// Version of the file format: 1.
    #[schemars(extend("const" = 1))]
    pub(crate) version: Spanned<u32>,
    /// Name of the archetype.
    pub(crate) archetype: Spanned<String>,
    /// What it is for.
    #[expect(dead_code, reason = "for people who read the file")]
    pub(crate) description: String,
    /// The rulebook for casts: a built-in one, such as `standard`, or a path to your own.
    pub(crate) rulebook: Spanned<String>,
    /// Settings for all tables.
    #[serde(default)]
    pub(crate) defaults: Option<Settings>,
}

/// Defines a struct that has every table setting, after some fields of its own. (`#[serde(flatten)]` would
/// lose places and the names of unknown keys.)
macro_rules! with_settings {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            $($own)*
            /// Columns that identify a row.
            #[serde(default)]
            #[schemars(length(min = 1))]
            pub key: Option<Spanned<Vec<Spanned<String>>>>,
            /// Which rows move, and what happens to those in the target: all, replacing the target's (full), those with the same key (merge) or those of the same partitions (replace_partitions); all, added to the target's (append); or those with a new cursor value.
            #[serde(default)]
            pub mode: Option<Spanned<Mode>>,
            /// What happens when the columns of the rows are not those that the target's table has. Default: what the target does then.
            #[serde(default)]
            pub on_schema_change: Option<Spanned<OnSchemaChange>>,
            /// What happens to single columns, by their name in the source.
            #[serde(default)]
            pub columns: Option<Entries<ColumnSettings>>,
            /// New columns, each an SQL expression over the source's columns as they are after casts.
            #[serde(default)]
            pub derive: Option<Entries<Spanned<String>>>,
            /// An SQL condition over the source's columns as they are after casts; only rows for which it is true move.
            #[serde(default)]
            #[schemars(regex(pattern = r"\S"))]
            pub filter: Option<Spanned<String>>,
            /// Layout of the target by partition, outermost first.
            #[serde(default)]
            pub partition_by: Option<Spanned<Vec<Spanned<PartitionBy>>>>,
            /// Quality checks of the rows and of the table.
            #[serde(default)]
            pub checks: Option<Spanned<Vec<Spanned<CheckEntry>>>>,
            /// How arrival is proven.
            #[serde(default)]
            pub reconcile: Option<Spanned<ReconcileSettings>>,
            /// Columns that say where a row came from.
            #[serde(default)]
            pub metadata_columns: Option<Spanned<Vec<Spanned<MetadataColumn>>>>,
            /// What the table belongs to, such as `domain: sales`; alerts choose by it.
            #[serde(default)]
            pub labels: Option<Entries<Spanned<String>>>,
        }
    };
}

with_settings! {
    /// Settings for tables.
    #[derive(Default)]
    pub struct Settings {}
}

with_settings! {
    /// A table, or several by a name with `*`.
    pub(crate) struct TableEntry {
        /// Name in the source. A `*` makes it stand for every table that fits: `public.*`. In a lake, a name with `**` is one table of many files: `2024/**/*.csv`.
        #[schemars(regex(pattern = r"\S"))]
        pub(crate) from: Spanned<String>,
        /// Name in the target. Default: as in the source. With a `*` in `from`, a `*` here stands for what it matched.
        #[serde(default)]
        pub(crate) to: Option<Spanned<String>>,
        /// Names that a `*` in `from` shall not match; `*` is allowed.
        #[serde(default)]
        pub(crate) except: Option<Spanned<Vec<Spanned<String>>>>,
    }
}

/// Which rows move, and what happens to those in the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(transform = merge_is_a_word)]
pub enum Mode {
    /// All rows; they replace what the target holds, in one step.
    Full,
    /// All rows; they are added to what the target holds.
    Append,
    /// Rows whose cursor value is above the highest one that arrived before; they are added, or merged if some are read again.
    Incremental {
        /// A column whose values only grow: a serial number or a time of change.
        #[schemars(length(min = 1))]
        cursor: String,
        /// Reads this much again behind the highest value, for rows that came late, and merges all rows by `key`. Needs a target that can merge.
        #[serde(default)]
        lookback_secs: Option<u64>,
        /// Which rows are delete markers, as for `merge`. Needs `lookback_secs`.
        #[serde(default)]
        #[schemars(regex(pattern = r"\S"))]
        deleted: Option<Spanned<String>>,
    },
    /// All rows; each takes the place of those in the target that have its `key`.
    Merge(Option<Merge>),
    /// All rows; they replace what the target holds in their partitions, in one step. Needs `partition_by`.
    ReplacePartitions,
}

/// How rows are merged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// An SQL condition over the source's columns as they are after casts. A row for which it is true is a delete marker: the target's rows with its key go, and it is not written.
    #[serde(default)]
    #[schemars(regex(pattern = r"\S"))]
    pub deleted: Option<Spanned<String>>,
}

/// A merge about which nothing more is said is a word.
fn merge_is_a_word(schema: &mut schemars::Schema) {
    if let Some(modes) = schema.get_mut("oneOf").and_then(|modes| modes.as_array_mut()) {
        let description = "All rows; each takes the place of those in the target that have its `key`.";
        modes.push(serde_json::json!({ "type": "string", "const": "merge", "description": description }));
    }
}

impl Mode {
    /// What happens to the rows that the target holds.
    pub fn write(&self) -> WriteMode {
        match self {
            Self::Full => WriteMode::Replace,
            Self::Append | Self::Incremental { lookback_secs: None, .. } => WriteMode::Append,
            Self::Incremental { lookback_secs: Some(_), .. } | Self::Merge(_) => WriteMode::Merge,
            Self::ReplacePartitions => WriteMode::ReplacePartitions,
        }
    }

    /// The condition that tells delete markers.
    pub fn deleted(&self) -> Option<&Spanned<String>> {
        match self {
            Self::Incremental { deleted, .. } | Self::Merge(Some(Merge { deleted })) => deleted.as_ref(),
            Self::Full | Self::Append | Self::Merge(None) | Self::ReplacePartitions => None,
        }
    }
}

/// What happens to one column.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnSettings {
    /// Name in the target.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub rename: Option<Spanned<String>>,
    /// Type in the target.
    #[serde(default)]
    pub cast: Option<Spanned<LogicalType>>,
    /// What happens to values that do not fit. Default: the rulebook's, which is `error` unless it says otherwise.
    #[serde(default)]
    pub on_misfit: Option<Spanned<Misfit>>,
    /// Hides values from the target.
    #[serde(default)]
    pub mask: Option<Spanned<Mask>>,
    /// Leaves the column out.
    #[serde(default)]
    pub drop: Option<Spanned<bool>>,
}

/// What happens to a value that does not fit the type it is cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Misfit {
    /// The load stops; nothing is published.
    Error,
    /// It becomes NULL and is counted.
    NullCounted,
    /// Its row is put aside with the reason.
    Quarantine,
    /// The column becomes text in the target, so that every value fits.
    Text,
    /// The column keeps the smallest type that fits both sides.
    Widen,
}

/// What happens when the columns of the rows are not those that the target's table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaChange {
    /// New columns are written, as far as the target takes them; columns that are gone become NULL.
    Evolve,
    /// Any difference is refused before anything is read.
    Freeze,
    /// New columns are left out; columns that are gone become NULL.
    DiscardColumn,
    /// Rows that have a value in a new column are left out, and new columns of the others; columns that are gone become NULL.
    DiscardRow,
}

impl OnSchemaChange {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evolve => "evolve",
            Self::Freeze => "freeze",
            Self::DiscardColumn => "discard_column",
            Self::DiscardRow => "discard_row",
        }
    }
}

/// How values are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// Every value becomes `***`.
    Redact,
    /// Every value becomes the SHA-256 of its text, so that equal values stay equal. Short values can be guessed from it.
    Hash,
    /// Text keeps its last four characters; shorter text becomes `***`.
    Partial,
}

/// One level of a partitioned layout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PartitionBy {
    /// By the value of a column.
    Identity(String),
    /// By the year of a date or timestamp.
    Year(String),
    /// By its month.
    Month(String),
    /// By its day.
    Day(String),
    /// By its hour.
    Hour(String),
    /// By a hash of the value, modulo a number of buckets.
    Bucket {
        /// The column.
        column: String,
        /// Number of buckets.
        #[schemars(range(min = 1))]
        buckets: u32,
    },
    /// By the value cut to a width: whole numbers are rounded down to a multiple of it, text keeps that many characters.
    Truncate {
        /// The column.
        column: String,
        /// The width.
        #[schemars(range(min = 1))]
        width: u32,
    },
}

/// Where rows go that are put aside: the options of a lake, which whoever knows lakes reads, or one word.
#[derive(Debug, Clone)]
pub(crate) struct Quarantine(pub(crate) Kinded);

/// The kind of connection that holds a quarantine.
pub(crate) const QUARANTINE_KIND: &str = "lake";

/// The word for a place beside the tables of the target.
pub(crate) const BESIDE_TARGET: &str = "target";

impl Quarantine {
    /// Whether it is beside the tables of the target.
    pub(crate) fn is_beside_target(&self) -> bool {
        matches!(&self.0.options.value, Value::Text(word) if word == BESIDE_TARGET)
    }
}

impl<'de> Deserialize<'de> for Quarantine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TreeNode(options) = TreeNode::deserialize(deserializer)?;
        let kind = Spanned { value: QUARANTINE_KIND.to_string(), span: options.span };
        Ok(Self(Kinded { kind, options }))
    }
}

impl JsonSchema for Quarantine {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quarantine".into()
    }

    /// The options of a lake; whoever knows them replaces this definition.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

/// A quality check: its kind, then its settings. Whoever knows the kinds reads it.
#[derive(Debug, Clone, Serialize)]
pub struct CheckEntry(pub Kinded);

impl PartialEq for CheckEntry {
    /// Places do not count.
    fn eq(&self, other: &Self) -> bool {
        serde_json::json!(self) == serde_json::json!(other)
    }
}

impl<'de> Deserialize<'de> for CheckEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Kinded::one_key(deserializer, "expected exactly one check, such as `not_null: [id]`").map(Self)
    }
}

impl JsonSchema for CheckEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Check".into()
    }

    /// One kind with its settings; whoever knows the kinds replaces this definition.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "minProperties": 1, "maxProperties": 1 })
    }
}

/// How arrival is proven.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconcileSettings {
    /// How deep source and target are compared after the load.
    #[serde(default)]
    pub level: Option<ReconcileLevel>,
    /// How rows are hashed.
    #[serde(default)]
    pub hash: Option<Spanned<RowHash>>,
}

/// How deep source and target are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileLevel {
    /// Not at all.
    None,
    /// Names and types of the columns.
    Schema,
    /// Also the number of rows.
    Count,
    /// Also every value of every row.
    Row,
}

/// How rows are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowHash {
    /// XXH64: against accidents.
    Xxh64,
    /// SHA-256: against intent.
    Sha256,
}

/// A column that says where a row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetadataColumn {
    /// Start of the run, as timestamp(us, UTC).
    #[serde(rename = "_ingested_at")]
    IngestedAt,
    /// Kind of the source connection and name of the table in it, as text.
    #[serde(rename = "_source_system")]
    SourceSystem,
    /// Name of the run, as text.
    #[serde(rename = "_run_id")]
    RunId,
}

impl MetadataColumn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::IngestedAt, Self::SourceSystem, Self::RunId];

    /// The name of the column.
    pub fn name(self) -> &'static str {
        match self {
            Self::IngestedAt => "_ingested_at",
            Self::SourceSystem => "_source_system",
            Self::RunId => "_run_id",
        }
    }
}

impl PartitionBy {
    /// The column whose value decides.
    pub fn column(&self) -> &str {
        match self {
            Self::Identity(column)
            | Self::Year(column)
            | Self::Month(column)
            | Self::Day(column)
            | Self::Hour(column) => column,
            Self::Bucket { column, .. } | Self::Truncate { column, .. } => column,
        }
    }

    /// What is done to it.
    pub fn transform(&self) -> Transform {
        match self {
            Self::Identity(_) => Transform::Identity,
            Self::Year(_) => Transform::Year,
            Self::Month(_) => Transform::Month,
            Self::Day(_) => Transform::Day,
            Self::Hour(_) => Transform::Hour,
            Self::Bucket { buckets, .. } => Transform::Bucket(*buckets),
            Self::Truncate { width, .. } => Transform::Truncate(*width),
        }
    }
}

impl Settings {
    /// Puts `over` on top of these settings: what it says wins. Columns, derived columns and labels are joined by name, and
    /// checks add up: a rule that an archetype makes is not lost because a table has one of its own.
    #[must_use]
    pub fn under(self, over: &Settings) -> Settings {
        Settings {
            key: over.key.clone().or(self.key),
            mode: over.mode.clone().or(self.mode),
            on_schema_change: over.on_schema_change.clone().or(self.on_schema_change),
            columns: join(self.columns, &over.columns, ColumnSettings::under),
            derive: join(self.derive, &over.derive, |_, over| over.clone()),
            filter: over.filter.clone().or(self.filter),
            partition_by: over.partition_by.clone().or(self.partition_by),
            checks: match (self.checks, &over.checks) {
                (Some(below), Some(over)) => {
                    let mut value = below.value;
                    value.retain(|check| !over.value.contains(check));
                    value.extend(over.value.iter().cloned());
                    Some(Spanned { value, span: over.span })
                }
                (below, over) => over.clone().or(below),
            },
            reconcile: match (self.reconcile, &over.reconcile) {
                (Some(below), Some(over)) => Some(Spanned {
                    span: over.span,
                    value: ReconcileSettings {
                        level: over.level.or(below.level),
                        hash: over.hash.clone().or(below.value.hash),
                    },
                }),
                (below, over) => over.clone().or(below),
            },
            metadata_columns: over.metadata_columns.clone().or(self.metadata_columns),
            labels: join(self.labels, &over.labels, |_, over| over.clone()),
        }
    }

    /// What happens to the rows that the target holds.
    pub fn write(&self) -> WriteMode {
        self.mode.as_ref().map_or(WriteMode::Replace, |mode| mode.write())
    }

    /// The condition that tells delete markers.
    pub fn deleted(&self) -> Option<&Spanned<String>> {
        self.mode.as_ref().and_then(|mode| mode.value.deleted())
    }

    /// Names of the columns that the source does not have: renamed, derived, made by the load.
    pub(crate) fn new_columns(&self) -> impl Iterator<Item = (&str, Span)> {
        let renamed = self.columns.iter().flat_map(|c| &c.0).filter_map(|(_, c)| c.rename.as_ref());
        let derived = self.derive.iter().flat_map(|d| &d.0).map(|(name, _)| name);
        let made = self.metadata_columns.iter().flat_map(|m| &m.value).map(|c| (c.value.name(), c.span));
        renamed.chain(derived).map(|name| (name.value.as_str(), name.span)).chain(made)
    }

    /// The name in the target of the column that `name` means: it is a name in the target or, failing that, in the
    /// source.
    pub(crate) fn target_name<'a>(&'a self, name: &'a str) -> &'a str {
        if self.new_columns().any(|(new, _)| new == name) {
            return name;
        }
        let renamed = self.columns.as_ref().and_then(|c| c.get(name)).and_then(|c| c.rename.as_ref());
        renamed.map_or(name, |r| r.value.as_str())
    }
}

impl ColumnSettings {
    fn under(self, over: &Self) -> Self {
        Self {
            rename: over.rename.clone().or(self.rename),
            cast: over.cast.clone().or(self.cast),
            on_misfit: over.on_misfit.clone().or(self.on_misfit),
            mask: over.mask.clone().or(self.mask),
            drop: over.drop.clone().or(self.drop),
        }
    }
}

fn join<V: Clone>(
    below: Option<Entries<V>>,
    over: &Option<Entries<V>>,
    merge: impl Fn(V, &V) -> V,
) -> Option<Entries<V>> {
    let (Some(Entries(mut entries)), Some(Entries(over))) = (below.clone(), over) else {
        return over.clone().or(below);
    };
    for (key, value) in over {
        match entries.iter_mut().find(|(k, _)| k.value == key.value) {
            Some(entry) => *entry = (key.clone(), merge(entry.1.clone(), value)),
            None => entries.push((key.clone(), value.clone())),
        }
    }
    Some(Entries(entries))
}

impl TableEntry {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            key: self.key.clone(),
            mode: self.mode.clone(),
            on_schema_change: self.on_schema_change.clone(),
            columns: self.columns.clone(),
            derive: self.derive.clone(),
            filter: self.filter.clone(),
            partition_by: self.partition_by.clone(),
            checks: self.checks.clone(),
            reconcile: self.reconcile.clone(),
            metadata_columns: self.metadata_columns.clone(),
            labels: self.labels.clone(),
        }
    }
}
