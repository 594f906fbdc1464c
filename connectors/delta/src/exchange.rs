//! What a commit takes out of the table, and what it puts in beside its rows: by its mode.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::memory_pool::MemoryPool;
use deltalake_core::kernel::Action;
use object_store::path::Path;
use transload_core::connector::WriteMode;
use transload_core::store::Store;
use transload_core::{CommitKey, Error, Result};
use transload_lake::files;

use crate::commit::DeltaSink;
use crate::extent::Value;
use crate::log::{Column, Log, Taken, Version, changes_table};
use crate::merge::{Merge, Rewritten, UNIT};
use crate::staged::{Files, StagedFile};

/// Times that a merge is done anew because others have changed what it was done with.
const REWRITINGS: usize = 5;

/// Notes of a commit for itself: that files are written anew, and that this was done more than once.
const BEGUN: &str = "merge.begun";
const AGAIN: &str = "merge.again";

/// What goes and comes beside the rows of a commit, while versions come between.
pub(crate) struct Exchanging<'a> {
    sink: &'a DeltaSink,
    files: &'a Files,
    /// What is staged: rows, and the keys of delete markers.
    staged: &'a [StagedFile],
    merge: Option<Merge<'a>>,
    last: Rewritten,
    /// How often files were written anew.
    rewritings: usize,
}

/// A partition: its values, NULL among them.
type Partition = Vec<Option<Value>>;

impl<'a> Exchanging<'a> {
    pub(crate) fn new(
        sink: &'a DeltaSink,
        files: &'a Files,
        staged: &'a [StagedFile],
        memory: &'a Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        let merge = match sink.spec.mode {
            WriteMode::Merge => Some(Merge {
                files,
                memory,
                key: named(sink.columns()?, &sink.spec.key)?,
                columns: sink.columns()?,
                partitions: sink.partition_columns(),
                staged,
            }),
            WriteMode::Replace | WriteMode::Append | WriteMode::ReplacePartitions => None,
        };
        Ok(Self { sink, files, staged, merge, last: Rewritten::default(), rewritings: 0 })
    }

    /// The files that the commit has to publish, as far as they are written.
    pub(crate) fn published(&self) -> Vec<&files::StagedFile> {
        self.staged.iter().chain(&self.last.files).map(|staged| &staged.file).collect()
    }

    /// What goes and comes if the commit is made after this version. `None` if others have done what is in its way.
    pub(crate) async fn with(&mut self, log: &Log, base: Option<&Version>) -> Result<Option<&Rewritten>> {
        let Some(base) = base else { return Ok(Some(&self.last)) };
        let (seen, now) = (*self.sink.seen.get_or_init(|| base.number()), base.number());
        match (self.sink.spec.mode, &self.merge) {
            (_, Some(merge)) => {
                let is_right = self.rewritings > 0 && merge.holds(&self.last, log, base).await?;
                if !is_right && self.rewritings == REWRITINGS {
                    return Ok(None);
                }
                if !is_right {
                    let after = self.sink.new_columns(base)?.unwrap_or_default();
                    self.last = rewritten(self.files, merge, base, &after).await?;
                    self.rewritings += 1;
                }
            }
            (WriteMode::Replace, None) => {
                if log.changed_between(seen, now, changes_table).await? {
                    return Ok(None);
                }
                self.last.taken = Taken::All;
            }
            (WriteMode::ReplacePartitions, None) => {
                let own = self.partitions()?;
                if log.changed_between(seen, now, |action| own.are_changed_by(action)).await? {
                    return Ok(None);
                }
                self.last.taken = own.files_of(base).await?;
            }
            (WriteMode::Append | WriteMode::Merge, None) => {}
        }
        Ok(Some(&self.last))
    }

    /// The partitions that rows of the commit are in.
    fn partitions(&self) -> Result<Partitions> {
        let columns = named(self.sink.columns()?, &self.sink.partition_columns())?;
        let own = self.staged.iter().map(|file| partition_of(&columns, &file.partition())).collect::<Result<_>>()?;
        Ok(Partitions { columns, own })
    }
}

/// These columns, in the order of their names.
fn named(columns: Vec<Column>, names: &[String]) -> Result<Vec<Column>> {
    let column = |name: &String| columns.iter().find(|c| c.name == *name).cloned();
    let found: Option<Vec<Column>> = names.iter().map(column).collect();
    found.ok_or_else(|| Error::internal("a column of the key or the layout is not among the rows"))
}

/// Files of a version written anew, without the rows that have a key of the load, and published as those of the load are.
/// `after` are the columns that the commit gives to the table, if it does.
async fn rewritten(files: &Files, merge: &Merge<'_>, base: &Version, after: &[Column]) -> Result<Rewritten> {
    let attempt = format!("{UNIT}-{:08x}", uuid::Uuid::new_v4().as_fields().0);
    let note = |name: &str| files::note_of(&files.root, &files.commit, name);
    // An earlier attempt has written files, which are removed when it is certain that no commit names them.
    if !files.store.create(&note(BEGUN), Bytes::from(attempt.clone())).await? {
        files.store.create(&note(AGAIN), Bytes::from(attempt.clone())).await?;
    }
    let rewritten = merge.rewrite(base, after, &attempt).await?;
    let written: Vec<&files::StagedFile> = rewritten.files.iter().map(|staged| &staged.file).collect();
    files::publish(&files.store, &files.root, &written).await?;
    Ok(rewritten)
}

/// Removes the files that attempts of a merge have written anew which came to nothing. The commit is made, as this version:
/// what its entry names, stays.
pub(crate) async fn clear(store: &Store, root: &Path, commit: &CommitKey, log: &Log, made: i64) -> Result<()> {
    if store.head(&files::note_of(root, commit, AGAIN)).await?.is_none() {
        return Ok(());
    }
    let made = u64::try_from(made).map_err(|_| Error::config("the log names a version that cannot be"))?;
    let Some(actions) = log.actions(made).await? else { return Ok(()) };
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
    let added = actions.iter().filter_map(|action| match action {
        Action::Add(add) => Some(name(&add.path)),
        _ => None,
    });
    let added: HashSet<String> = added.collect();
    let begins = format!("{}{UNIT}-", files::prefix(commit));
    for object in store.list(root).await? {
        let name = object.location.filename().unwrap_or_default();
        if name.starts_with(&begins) && !added.contains(name) {
            store.remove_and_prune(&object.location).await?;
        }
    }
    Ok(())
}

/// Some partitions of a table.
struct Partitions {
    columns: Vec<Column>,
    own: HashSet<Partition>,
}

impl Partitions {
    fn hold(&self, values: &HashMap<String, Option<String>>) -> Result<bool> {
        Ok(self.own.contains(&partition_of(&self.columns, values)?))
    }

    /// Whether an action changes rows in one of them, or the table itself. What cannot be told does.
    fn are_changed_by(&self, action: &Action) -> bool {
        let is_told =
            |values: &HashMap<String, Option<String>>| self.columns.iter().all(|c| values.contains_key(&c.name));
        let may_hold = |values: &HashMap<String, Option<String>>| !is_told(values) || self.hold(values).unwrap_or(true);
        changes_table(action)
            && match action {
                Action::Add(add) => may_hold(&add.partition_values),
                Action::Remove(remove) => remove.partition_values.as_ref().is_none_or(may_hold),
                _ => true,
            }
    }

    /// The files of a version that lie in one of them.
    async fn files_of(&self, base: &Version) -> Result<Taken> {
        let mut taken = HashSet::new();
        for file in base.files().await? {
            if self.hold(&file.partition_values_map())? {
                taken.insert(file.object_store_path().to_string());
            }
        }
        Ok(Taken::These(taken))
    }
}

/// The partition that a file lies in.
fn partition_of(columns: &[Column], values: &HashMap<String, Option<String>>) -> Result<Partition> {
    let value = |column: &Column| {
        let text = values.get(&column.name).and_then(|value| value.as_deref()).filter(|text| !text.is_empty());
        let Some(text) = text else { return Ok(None) };
        match Value::of_partition(text, &column.ty) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::config("the log names a partition by what is not a value of its column")
                .with("column", &column.name)),
        }
    };
    columns.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use deltalake_core::kernel::{Add, Remove};

    use super::*;

    fn values(of: &[(&str, Option<&str>)]) -> HashMap<String, Option<String>> {
        of.iter().map(|(k, v)| (k.to_string(), v.map(str::to_string))).collect()
    }

    #[test]
    fn partitions_are_told_apart_by_their_values_and_not_by_how_they_are_written() {
        let column = |name: &str, ty: &str| Column { name: name.into(), ty: ty.parse().unwrap(), nullable: true };
        let columns = vec![column("n", "int32"), column("t", "text")];
        let own = [values(&[("n", Some("7")), ("t", Some("a"))]), values(&[("n", None), ("t", Some("b"))])];
        let own = own.iter().map(|v| partition_of(&columns, v).unwrap()).collect();
        let partitions = Partitions { columns, own };
        for (n, t, held) in [
            (Some("07"), Some("a"), true),
            (Some("7"), Some("A"), false),
            (Some("8"), Some("a"), false),
            (None, Some("b"), true),
            (Some(""), Some("b"), true),
            (None, None, false),
        ] {
            let values = values(&[("n", n), ("t", t)]);
            assert_eq!(partitions.hold(&values).unwrap(), held, "{values:?}");
            let add =
                |data_change| Action::Add(Add { partition_values: values.clone(), data_change, ..Add::default() });
            assert_eq!(partitions.are_changed_by(&add(true)), held);
            assert!(!partitions.are_changed_by(&add(false)));
        }
        assert!(partitions.hold(&values(&[("n", Some("x"))])).is_err());
        // Nobody knows where it was.
        for partition_values in [None, Some(values(&[])), Some(values(&[("n", Some("8"))]))] {
            let remove = Remove { data_change: true, partition_values, ..Remove::default() };
            assert!(partitions.are_changed_by(&Action::Remove(remove)));
        }
    }
}
