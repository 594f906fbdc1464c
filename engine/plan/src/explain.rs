//! A plan as text for a person: the same plan, the same text.

use std::fmt::{self, Write};

use transload_coerce::{Cast, Loss};
use transload_core::connector::{Transform as PartitionTransform, WriteMode};
use transload_core::tree::Value;
use transload_quality::Check;
use transload_spec::{Alert, ReconcileLevel};

use crate::plan::{ColumnPlan, Origin, Plan, SourceColumn, TablePlan};
use crate::quarantine::AsideNames;
use crate::schema_change::{Change, ColumnChange, SchemaChange};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {} (archetype {})", self.pipeline, self.archetype)?;
        writeln!(f, "  {} → {}", self.source.kind, self.target.kind)?;
        if let Some(Value::Text(url)) =
            self.quarantine.as_ref().and_then(|q| q.options.get("url")).map(|url| &url.value)
        {
            writeln!(f, "  put aside in {url}")?;
        }
        for alert in &self.alerts {
            writeln!(f, "  alert to {}", describe_alert(alert))?;
        }
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        for reference in &self.references {
            let (table, pin) = (&reference.read.to, reference.read.pin.describe());
            writeln!(f, "├─ looks at {table} of the {}\n│  └─ pin        {pin}", reference.place)?;
        }
        let short = self.fingerprint.get(..16).unwrap_or_default();
        writeln!(f, "fingerprint {short}")
    }
}

impl fmt::Display for TablePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "├─ {} → {}", self.from, self.to)?;
        if let Some(replay) = &self.replay {
            writeln!(f, "│  ├─ replays    what run {} put aside of {}", replay.run, replay.from)?;
        }
        let rows = self.estimated_rows.map_or_else(|| "rows unknown".to_string(), |r| format!("about {r} rows"));
        let splits = self.splits.len();
        writeln!(f, "│  ├─ pin        {}", self.pin.describe())?;
        writeln!(f, "│  ├─ scan       {splits} split{}, {rows}", if splits == 1 { "" } else { "s" })?;
        if let Some(assumed) = &self.assumed {
            writeln!(f, "│  ├─ assumed    {assumed}")?;
        }
        if let Some(incremental) = &self.incremental {
            let cursor = &incremental.cursor;
            let ties = match self.misses_ties() {
                true => "; a row that comes later with its highest value is not read",
                false => "",
            };
            if let Some(range) = &incremental.backfill {
                writeln!(f, "│  ├─ backfill   {cursor} {range}")?;
            }
            match (&incremental.above, incremental.lookback_secs) {
                (None, _) if incremental.backfill.is_some() => writeln!(f, "│  ├─ cursor     {cursor} stays unknown")?,
                (Some(above), _) if incremental.backfill.is_some() => {
                    writeln!(f, "│  ├─ cursor     {cursor} stays at {above}")?;
                }
                (None, _) => writeln!(f, "│  ├─ cursor     {cursor} above anything (first load){ties}")?,
                (Some(above), None) => writeln!(f, "│  ├─ cursor     {cursor} above {above}{ties}")?,
                (Some(above), Some(0)) => writeln!(f, "│  ├─ cursor     {cursor} from {above} on")?,
                (Some(above), Some(secs)) => {
                    writeln!(f, "│  ├─ cursor     {cursor} from {secs} seconds before {above} on")?;
                }
            }
        }
        if let Some(filter) = &self.filter {
            writeln!(f, "│  ├─ filter     {}", filter.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        if let Some(deleted) = &self.deleted {
            writeln!(f, "│  ├─ deleted    {}", deleted.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        if let Some(change) = &self.schema_change {
            let first = if change.compared { "" } else { " (first load: nothing to compare with)" };
            writeln!(f, "│  ├─ schema     on change: {}{first}", change.policy.word())?;
        }
        writeln!(f, "│  ├─ columns")?;
        let discarded = self.schema_change.iter().flat_map(SchemaChange::discarded).map(|(from, _)| from);
        let names = self.columns.iter().map(|c| c.name.as_str()).chain(discarded);
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).min(40);
        for column in &self.columns {
            write!(f, "│  │  ├─ {:width$}  {}", column.name, describe(column))?;
            match self.schema_change.as_ref().and_then(|change| change.of(&column.name)) {
                Some(change) => writeln!(f, "  {change}")?,
                None => writeln!(f)?,
            }
        }
        let rows = if self.keep_rows_out().is_empty() { "" } else { ", and neither are rows with a value in it" };
        for ColumnChange { column, change } in self.schema_change.iter().flat_map(|change| &change.changes) {
            if let Change::Discarded { from } = change {
                let named = if from == column { String::new() } else { format!(" as {column}") };
                writeln!(f, "│  │  ├─ {from:width$}  {change}{named}{rows}")?;
            }
        }
        if !self.checks.is_empty() {
            writeln!(f, "│  ├─ checks")?;
        }
        for check in &self.checks {
            writeln!(f, "│  │  ├─ {}", describe_check(check))?;
        }
        for limit in self.limits() {
            let (title, why) = (limit.check.title(), &limit.why);
            match limit.in_part {
                true => writeln!(f, "│  ├─ in part    {title}: among the rows of the replay alone, as {why}")?,
                false => writeln!(f, "│  ├─ not judged {title}: {why}")?,
            }
        }
        let names = self.aside_names();
        let others: Vec<&str> = names
            .all()
            .into_iter()
            .zip(AsideNames::beside(&[]).all())
            .filter(|(a, b)| a != b)
            .map(|(a, _)| a)
            .collect();
        if self.can_quarantine() && !others.is_empty() {
            writeln!(f, "│  ├─ put aside  with own columns named {}", others.join(", "))?;
        }
        let of_intervals = |c: &&SourceColumn| Cast::intervals_apart(&c.ty).is_some();
        let intervals: Vec<&str> = self.source_columns.iter().filter(of_intervals).map(|c| c.name.as_str()).collect();
        if self.can_quarantine() && !intervals.is_empty() {
            writeln!(f, "│  ├─ put aside  with months, days and nanoseconds of {}", intervals.join(", "))?;
        }
        let layout: Vec<String> = self
            .partition_by
            .iter()
            .map(|p| match p.transform {
                PartitionTransform::Bucket(n) => format!("{} of {n}", p.name()),
                PartitionTransform::Truncate(n) => format!("{} to {n}", p.name()),
                _ => p.name(),
            })
            .collect();
        let how = match self.write {
            WriteMode::Replace => "replace all rows".to_string(),
            WriteMode::Append => "append".to_string(),
            WriteMode::Merge => format!("merge by {}", self.key.join(", ")),
            WriteMode::ReplacePartitions => "replace the partitions of the rows".to_string(),
        };
        let by = if layout.is_empty() { String::new() } else { format!(", partitioned by {}", layout.join(", ")) };
        writeln!(f, "│  ├─ commit     {how} in one step{by}")?;
        let by = match (self.reconcile.level, self.key.is_empty()) {
            (ReconcileLevel::None, _) => "not at all".to_string(),
            (ReconcileLevel::Schema, _) => "schema".to_string(),
            (ReconcileLevel::Count, _) => "schema, row count".to_string(),
            (ReconcileLevel::Row, true) => {
                format!("schema, row count, every row ({}; no key: as a multiset)", self.reconcile.hash)
            }
            (ReconcileLevel::Row, false) => {
                format!("schema, row count, every row ({}; key {})", self.reconcile.hash, self.key.join(", "))
            }
        };
        writeln!(f, "│  └─ reconcile  {by}")
    }
}

/// The way of an alert and its reasons, without the address.
fn describe_alert(alert: &Alert) -> String {
    let reasons: Vec<String> = alert.reasons().iter().map(ToString::to_string).collect();
    let mut text = format!("{} on {}", alert.to.value.kind(), reasons.join(", "));
    if let Some(tables) = &alert.tables {
        let tables: Vec<&str> = tables.value.iter().map(|t| t.value.as_str()).collect();
        let _ = write!(text, "  tables {}", tables.join(", "));
    }
    for (name, value) in alert.labels.iter().flat_map(|labels| &labels.0) {
        let _ = write!(text, "  {}: {}", name.value, value.value);
    }
    text
}

fn describe_check(check: &Check) -> String {
    let columns: Vec<&str> = check.columns().iter().map(|c| c.value.as_str()).collect();
    let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let policy = check.policy();
    let mut text = format!("{} {}{columns}  {}", check.code, check.kind(), check.expected());
    if let Some(filter) = &policy.filter {
        let _ = write!(text, "  where {}", filter.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    match &check.before {
        Some(before) => {
            let _ = write!(text, "  against run {}", before.run);
        }
        None if check.compares() => text.push_str("  nothing to compare with yet"),
        None => {}
    }
    let _ = write!(text, "  {}: {}", policy.severity(), policy.action());
    if let Some(threshold) = &policy.threshold {
        let _ = write!(text, " above {}", threshold.value);
    }
    text
}

fn describe(column: &ColumnPlan) -> String {
    let mut text = column.ty.to_string();
    if !column.nullable {
        text.push_str(" not null");
    }
    match &column.origin {
        Origin::Source(name) if *name != column.name => {
            let _ = write!(text, "  from {name}");
        }
        Origin::Source(_) => {}
        Origin::Derived(sql) => {
            let _ = write!(text, "  = {}", sql.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        Origin::Metadata(_) => text.push_str("  set by the load"),
        // What has become of it is said of every column that has changed.
        Origin::Gone => {}
    }
    if let Some(cast) = &column.cast {
        let loss = match cast.loss {
            Loss::Exact => "exact".to_string(),
            Loss::Checked => format!("checked; misfits: {}", cast.on_misfit.word()),
            Loss::Lossy => format!("LOSSY: changes are counted; misfits: {}", cast.on_misfit.word()),
        };
        let _ = write!(text, "  cast {} → {} ({loss})", cast.from, cast.to);
    }
    if let Some(mask) = &column.mask {
        let _ = write!(text, "  masked ({})", format!("{mask:?}").to_lowercase());
    }
    text
}
