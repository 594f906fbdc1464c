//! What only makes sense together, within one table: checked when all layers are on top of each other.

use std::collections::BTreeSet;

use transload_core::connector::{Partition, WriteMode};
use transload_core::tree::Spanned;
use transload_core::{Problem, Span};

use crate::alerts::check_labels;
use crate::file::{ColumnSettings, Mask, Mode, PartitionBy, ReconcileLevel, ReconcileSettings, Settings, TableEntry};
use crate::resolve::{fits, is_wildcard};

/// Checks an entry and the settings that it led to.
pub(crate) fn check(entry: &TableEntry, settings: &Settings, problems: &mut Vec<Problem>) {
    check_labels(settings, problems);
    let mut table = Table { entry, settings, problems };
    table.names();
    table.key();
    table.columns();
    table.expressions();
    table.mode();
    table.partitions();
    table.reconcile();
    table.new_names();
}

struct Table<'a> {
    entry: &'a TableEntry,
    settings: &'a Settings,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Table<'a> {
    fn say(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(span, message).hint(hint));
    }

    fn names(&mut self) {
        let entry = self.entry;
        // What the other names mean depends on it.
        if entry.from.is_placeholder() {
            return;
        }
        if entry.from.trim().is_empty() {
            self.say(entry.from.span, "the table has no name", "write the name it has in the source");
        }
        let wild = is_wildcard(&entry.from);
        match (&entry.to, wild) {
            (Some(to), true) if !to.contains('*') => {
                self.say(to.span, "several tables cannot go to one", "put a `*` where the matched part shall stand");
            }
            (Some(to), false) if to.contains('*') => {
                self.say(to.span, "`*` has nothing to stand for here", "use it together with a `*` in `from`");
            }
            _ => {}
        }
        match &entry.except {
            Some(except) if !wild => {
                self.say(except.span, "`except` does nothing without a `*` in `from`", "remove it");
            }
            Some(except) => self.except(&except.value),
            None => {}
        }
        if entry.from.matches('*').count() > 4 {
            self.say(entry.from.span, "a name holds at most four `*`", "use several tables");
        }
    }

    /// A pattern that fits the text of `from` itself, stars and all, fits every name that `from` can stand for.
    fn except(&mut self, except: &[Spanned<String>]) {
        let entry = self.entry;
        let from = entry.from.as_str();
        for pattern in except.iter().filter(|e| fits(&e.value, from)) {
            let message = format!("`{}` leaves nothing of `{from}`", pattern.value);
            self.say(pattern.span, message, "make it narrower, or remove the table");
        }
    }

    fn key(&mut self) {
        let settings = self.settings;
        let Some(key) = &settings.key else { return };
        if key.is_empty() {
            self.say(key.span, "the key has no columns", "remove `key`, or name the columns");
        }
        self.no_repeats(key.iter().map(|c| (c.value.as_str(), c.span)), "key names the column");
        for column in key.value.iter().filter(|c| c.trim().is_empty()) {
            self.say(column.span, "a key column has no name", "remove it, or name the column");
        }
        let mut seen: Vec<(&str, &str)> = Vec::with_capacity(key.len());
        for column in &key.value {
            let name = column.value.as_str();
            let target = settings.target_name(name);
            let repeated = seen.iter().any(|(n, _)| *n == name);
            if let Some((other, _)) = seen.iter().find(|(_, t)| *t == target && !repeated) {
                let message = format!("`{other}` and `{name}` are one column, which the key would have twice");
                self.say(column.span, message, "keep one of them");
            }
            if settings.metadata_columns.iter().flat_map(|m| &m.value).any(|m| m.value.name() == target) {
                let message = format!("`{name}` is made by the load and cannot be a key");
                self.say(column.span, message, "use the source's key");
            }
            seen.push((name, target));
        }
    }

    fn columns(&mut self) {
        let settings = self.settings;
        for (name, column) in settings.columns.iter().flat_map(|c| &c.0) {
            if column.drop.as_ref().is_some_and(|d| d.value) {
                self.dropped(name, column);
            } else {
                self.masked(name, column);
            }
            if *column == ColumnSettings::default() {
                self.say(
                    name.span,
                    format!("nothing is said about `{}`", name.value),
                    "remove it, or give it a setting",
                );
            }
            if let Some(rename) = &column.rename
                && let Err(reason) = column_name(rename)
            {
                self.problems.push(Problem::new(rename.span, reason));
            }
        }
    }

    fn dropped(&mut self, name: &Spanned<String>, column: &ColumnSettings) {
        let settings = self.settings;
        let span = column.drop.as_ref().map_or(name.span, |d| d.span);
        let others =
            column.rename.is_some() || column.cast.is_some() || column.mask.is_some() || column.on_misfit.is_some();
        if others {
            self.say(span, "a dropped column has no other settings", "remove `drop`, or the others");
        }
        // A new column may take the name, and is then the one that is meant.
        if settings.new_columns().any(|(new, _)| new == name.value) {
            return;
        }
        if settings.key.iter().flat_map(|k| &k.value).any(|k| k.value == name.value) {
            self.say(span, format!("the key column `{}` cannot be dropped", name.value), "take it out of `key`");
        }
        if settings.partition_by.iter().flat_map(|p| &p.value).any(|level| level.column() == name.value) {
            let message = format!("the partition column `{}` cannot be dropped", name.value);
            self.say(span, message, "take it out of `partition_by`");
        }
    }

    fn masked(&mut self, name: &Spanned<String>, column: &ColumnSettings) {
        let (entry, settings) = (self.entry, self.settings);
        let Some(mask) = column.mask.as_ref().filter(|m| m.value != Mask::Hash) else { return };
        let in_key = |name: &str| settings.key.iter().flat_map(|k| &k.value).any(|k| k.value == name);
        let by_source = in_key(name) && !settings.new_columns().any(|(new, _)| new == name.value);
        // A column that only `defaults` name may be missing, and then the key means another one.
        let own = entry.columns.as_ref().is_some_and(|c| c.get(name).is_some());
        let by_target = own && column.rename.as_ref().is_some_and(|r| in_key(r));
        if by_source || by_target {
            let message = format!("this mask makes the keys in `{}` alike", name.value);
            self.say(mask.span, message, "use `hash`, which keeps them apart");
        }
    }

    fn expressions(&mut self) {
        let settings = self.settings;
        for (name, sql) in settings.derive.iter().flat_map(|d| &d.0) {
            if let Err(reason) = column_name(name) {
                self.problems.push(Problem::new(name.span, reason));
            }
            if sql.trim().is_empty() {
                self.say(sql.span, "the expression is empty", "write an SQL expression, such as `a + b`");
            }
        }
        if let Some(filter) = settings.filter.as_ref().filter(|f| f.trim().is_empty()) {
            self.say(filter.span, "the filter is empty", "remove it, or write an SQL condition");
        }
    }

    fn mode(&mut self) {
        let settings = self.settings;
        let Some(mode) = &settings.mode else { return };
        let mut wants_key = "`merge`";
        if let Mode::Incremental { cursor, lookback_secs, deleted } = &mode.value {
            wants_key = "`lookback_secs`";
            if cursor.trim().is_empty() {
                self.say(mode.span, "the cursor has no column", "name a column whose values only grow");
            }
            if let (None, Some(deleted)) = (lookback_secs, deleted) {
                let hint = "add `lookback_secs`, which may be 0: then the rows are merged";
                self.say(deleted.span, "`deleted` is about rows that are merged, and these are added", hint);
            }
        }
        if let Some(deleted) = mode.deleted().filter(|sql| sql.trim().is_empty()) {
            self.say(deleted.span, "the condition is empty", "remove `deleted`, or write an SQL condition");
        }
        match mode.write() {
            WriteMode::Merge if settings.key.is_none() => {
                let hint = "name the columns that tell rows apart, such as `key: [id]`";
                self.say(mode.span, format!("{wants_key} merges rows by their key, and there is no `key`"), hint);
            }
            WriteMode::ReplacePartitions if settings.partition_by.as_ref().is_none_or(|p| p.is_empty()) => {
                let hint = "say what makes a partition, such as `partition_by: [ { identity: day } ]`";
                self.say(mode.span, "`replace_partitions` needs partitions, and there is no `partition_by`", hint);
            }
            _ => {}
        }
    }

    fn partitions(&mut self) {
        let settings = self.settings;
        let Some(levels) = &settings.partition_by else { return };
        let mut names: Vec<String> = Vec::with_capacity(levels.len());
        for level in &levels.value {
            match &level.value {
                PartitionBy::Bucket { buckets: 0, .. } => {
                    self.say(level.span, "0 buckets hold nothing", "use 1 or more")
                }
                PartitionBy::Truncate { width: 0, .. } => {
                    self.say(level.span, "a width of 0 keeps nothing", "use 1 or more")
                }
                _ => {}
            }
            if level.column().trim().is_empty() {
                self.say(level.span, "a partition has no column", "name one");
                continue;
            }
            let column = settings.target_name(level.column()).to_string();
            let name = Partition { column, transform: level.transform() }.name();
            if names.contains(&name) {
                self.say(level.span, format!("two levels are named `{name}`"), "remove one of them");
            }
            names.push(name);
        }
        if levels.len() > 8 {
            self.say(levels.span, "a layout has at most 8 levels", "use fewer");
        }
    }

    /// A hash that the table asks for beside a level that hashes nothing. In `defaults` it may wait for a table that
    /// has another level.
    fn reconcile(&mut self) {
        let hashes = |level: &Option<ReconcileLevel>| level.is_none_or(|l| l >= ReconcileLevel::Row);
        let own = self.entry.reconcile.as_ref().map(|r| &r.value);
        let merged = self.settings.reconcile.as_ref().map(|r| &r.value);
        if let Some(ReconcileSettings { level, hash: Some(hash) }) = own
            && !hashes(level)
            && merged.is_some_and(|m| !hashes(&m.level))
        {
            self.say(hash.span, "`hash` does nothing: only the level `row` hashes rows", "remove it, or use `row`");
        }
    }

    fn new_names(&mut self) {
        let settings = self.settings;
        if let Some(columns) = &settings.metadata_columns {
            self.no_repeats(columns.iter().map(|c| (c.value.name(), c.span)), "metadata_columns names");
        }
        let made = |name: &str| {
            settings.metadata_columns.iter().flat_map(|m| &m.value).filter(|c| c.value.name() == name).count()
        };
        let mut seen = BTreeSet::new();
        for (name, span) in settings.new_columns() {
            if !seen.insert(name) && made(name) < 2 {
                self.say(span, format!("two new columns are named `{name}`"), "give one of them another name");
            }
        }
    }

    fn no_repeats(&mut self, names: impl Iterator<Item = (&'a str, Span)>, what: &str) {
        let mut seen = BTreeSet::new();
        for (name, span) in names {
            if !seen.insert(name) {
                self.say(span, format!("{what} `{name}` twice"), "keep one of them");
            }
        }
    }
}

/// Whether a new column may have this name.
fn column_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("a column needs a name".to_string());
    }
    if name.len() > 255 || name.chars().any(char::is_control) {
        return Err("a column's name has at most 255 bytes and no control characters".to_string());
    }
    if name.starts_with(transload_core::connector::HIDDEN_PREFIX) {
        return Err(format!("`{name}` is a name of transload's own"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    fn problems(table: &str) -> Vec<String> {
        let text = format!(
            "version: 1\npipeline: p\nsource: {{ tpch: {{}} }}\ntarget: {{ lake: {{ url: out }} }}\n\
             defaults: {{ columns: {{ gone: {{ rename: email, mask: redact }} }}, reconcile: {{ level: count }} }}\n\
             tables:\n  - {{ from: t, {table} }}\n"
        );
        let outside = crate::Outside { read: &|_| Err(std::io::ErrorKind::NotFound.into()), check: &|_| Vec::new() };
        match crate::load("p.yaml", &text, &crate::Overrides::default(), outside).and_then(crate::Loaded::complete) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.list.into_iter().map(|p| p.message).collect(),
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (table, message) in [
            ("key: [a, b], columns: { a: { rename: b } }", "`a` and `b` are one column"),
            ("key: [b], columns: { a: { rename: b, mask: partial } }", "this mask makes the keys in `a` alike"),
            ("key: [a], columns: { a: { rename: b, mask: redact } }", "this mask makes the keys in `a` alike"),
            ("key: [_run_id], metadata_columns: [_run_id]", "`_run_id` is made by the load"),
            ("columns: { a: { drop: true } }, partition_by: [{ year: a }]", "the partition column `a`"),
            ("columns: { a: { rename: b } }, partition_by: [{ day: a }, { day: b }]", "two levels are named `b_day`"),
            (
                "partition_by: [{ bucket: { column: a, buckets: 2 } }, { bucket: { column: a, buckets: 4 } }]",
                "two levels are named `a_bucket`",
            ),
            ("reconcile: { level: schema, hash: xxh64 }", "`hash` does nothing"),
            ("mode: merge", "`merge` merges rows by their key"),
            ("mode: { incremental: { cursor: a, lookback_secs: 0 } }", "`lookback_secs` merges rows by their key"),
            ("mode: { incremental: { cursor: a, deleted: b } }", "`deleted` is about rows that are merged"),
            ("key: [a], mode: { merge: { deleted: ' ' } }", "the condition is empty"),
            ("mode: replace_partitions", "`replace_partitions` needs partitions"),
            ("mode: replace_partitions, partition_by: []", "`replace_partitions` needs partitions"),
        ] {
            let found = problems(table);
            assert!(found.len() == 1 && found[0].starts_with(message), "{table}: {found:?}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for table in [
            "key: [a, b], columns: { a: { rename: b }, b: { rename: a } }",
            // The old column goes, a new one takes its name.
            "key: [a], columns: { a: { drop: true } }, derive: { a: upper(b) }, partition_by: [{ identity: a }]",
            "key: [a], columns: { a: { mask: hash }, b: { mask: redact } }",
            // `gone` is a column that other tables have.
            "key: [email]",
            "partition_by: [{ year: a }, { month: a }, { year: b }]",
            "reconcile: { hash: sha256 }",
            "reconcile: { level: row, hash: sha256 }",
            "key: [a], mode: merge",
            "key: [a], mode: { merge: { deleted: \"op = 'D'\" } }",
            "key: [a], mode: { incremental: { cursor: b, lookback_secs: 60, deleted: gone } }",
            "mode: { incremental: { cursor: b } }",
            "mode: replace_partitions, partition_by: [{ identity: a }]",
        ] {
            assert_eq!(problems(table), Vec::<String>::new(), "{table}");
        }
    }
}
