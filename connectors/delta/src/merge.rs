//! Merging by key: which rows of the table have a key of the load, and its files without them.
//!
//! The keys of the load are kept in memory, as many at a time as there is room for; then the keys of the table's files
//! pass by, of those files that may have one by what the log says of them. A load is smaller than its table, as a rule,
//! so this reads the table's keys once and sorts nothing, which a join that spills would do with all of them. What is
//! remembered of a file is one bit for each of its rows, of a limited number of files at a time. A file that has a key
//! is read once more, whole and as a source is read, and written without the rows that have one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::{BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake_core::kernel::Action;
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinSet;
use transload_core::connector::{Partition, Transform};
use transload_core::{Error, Result, fault};
use transload_lake::files::TableFile;

use crate::bounds::LoggedStatistics;
use crate::extent::{Extent, extents, meet};
use crate::log::{Column, Log, Taken, Version, path_of};
use crate::reader::{KeyColumns, Reader, key_bytes, staged_file};
use crate::source::{Layout, table_file};
use crate::staged::{Files, Part, StagedFile};
use crate::types::alike;

/// Bytes that keys may take at a time.
const KEYS_BYTES: usize = 256 << 20;

/// Bytes that a key takes beside its own, more or less.
const BESIDE_KEY: usize = 64;

/// Rows of the table of which it is remembered at a time whether they go: 32 MiB.
const MARKED_ROWS: u64 = 1 << 28;

/// Rows of a file that does not say how many it has.
const ROWS_OF_FILE: u64 = 1 << 20;

/// Files that are looked through, or written anew, at the same time.
const AT_ONCE: usize = 4;

/// How the names of units begin that write files of the table anew.
pub(crate) const UNIT: &str = "merge";

/// A load that is merged.
pub(crate) struct Merge<'a> {
    pub(crate) files: &'a Files,
    pub(crate) memory: &'a Arc<dyn MemoryPool>,
    /// The columns of the key.
    pub(crate) key: Vec<Column>,
    /// All columns of the rows, and those of them that make partitions.
    pub(crate) columns: Vec<Column>,
    pub(crate) partitions: Vec<String>,
    /// What is staged: rows, and the keys of delete markers.
    pub(crate) staged: &'a [StagedFile],
}

/// What takes the place of files of a version.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// The version.
    version: u64,
    /// Those that go.
    pub(crate) taken: Taken,
    /// Those that come, without the rows that go.
    pub(crate) files: Vec<StagedFile>,
}

/// A file of the table that may have a key of the load.
#[derive(Clone)]
struct Candidate {
    /// Its path in the table.
    path: String,
    file: TableFile,
}

/// Keys of the load, in a form in which equal ones are the same bytes.
struct Keys {
    found: HashSet<Box<[u8]>>,
    /// Gives the memory back.
    _held: MemoryReservation,
}

impl Merge<'_> {
    /// Writes those files of a version anew that have rows with a key of the load. `attempt` names the unit that does so:
    /// files of an earlier one may have been published by a commit whose answer got lost, and stay as they are. `after` are
    /// the columns that the table is about to have, if the commit changes them: what becomes wider is written as that.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the table has not the key's columns, or a file that may have a key
    /// cannot be read.
    pub(crate) async fn rewrite(&self, base: &Version, after: &[Column], attempt: &str) -> Result<Rewritten> {
        let work = Arc::new(self.work(base, after, attempt)?);
        let mut rewritten = Rewritten { version: base.number(), ..Rewritten::default() };
        let (mut taken, mut rows, mut number) = (HashSet::new(), 0, 0);
        let mut all: Option<Arc<Keys>> = None;
        for group in groups(self.candidates(base).await?) {
            let found = self.find(&work, group, &mut all).await?;
            fault::point("merge.found")?;
            let mut marked = Vec::with_capacity(found.len());
            for (candidate, marks) in found {
                rows += marks.count_set_bits();
                taken.insert(candidate.path);
                // Of a file without other rows nothing is left.
                if marks.has_false() {
                    marked.push((number, candidate.file, marks));
                    number += 1;
                }
            }
            let written = each(marked, |(number, file, marks)| {
                let work = Arc::clone(&work);
                async move { work.write_without(number, file, marks).await }
            });
            rewritten.files.extend(written.await?.into_iter().flatten());
        }
        tracing::info!(files = taken.len(), rows, "rows that the load takes the place of");
        fault::point("merge.rewritten")?;
        rewritten.taken = Taken::These(taken);
        Ok(rewritten)
    }

    /// Whether what was written anew of an earlier version is right for this one, too: nobody has changed those files, or
    /// added one that may have a key of the load.
    pub(crate) async fn holds(&self, rewritten: &Rewritten, log: &Log, base: &Version) -> Result<bool> {
        let extents_of_load = self.extents();
        let is_in_the_way = |action: &Action| match action {
            Action::Add(add) => {
                let of_file = self.extents_in(&add.partition_values, add.stats.clone());
                extents_of_load.iter().any(|of_load| meet(of_load, &of_file))
            }
            Action::Remove(remove) => match &rewritten.taken {
                Taken::These(paths) => paths.contains(&path_of(&remove.path)),
                Taken::None => false,
                Taken::All => true,
            },
            Action::Metadata(_) | Action::Protocol(_) => true,
            _ => false,
        };
        Ok(!log.changed_between(rewritten.version, base.number(), is_in_the_way).await?)
    }

    fn work(&self, base: &Version, after: &[Column], attempt: &str) -> Result<Work> {
        let columns = as_after(base.columns()?, after);
        // As the table has them: where a key of the load cannot be NULL, one of the table may be.
        let mut key = Vec::with_capacity(self.key.len());
        for column in &self.key {
            let Some(own) = columns.iter().find(|c| c.name == column.name && alike(&c.ty, &column.ty)) else {
                return Err(Error::config(format!("the table has no column `{}`, which is of the key", column.name))
                    .hint("rows are merged by columns that the table has: take it out of `key`, or use another `to`"));
            };
            key.push(own.clone());
        }
        let partitions = base.partition_columns();
        let by = |column: &String| Partition { column: column.clone(), transform: Transform::Identity };
        Ok(Work {
            files: self.files.clone(),
            reader: Reader::new(&self.files.store, &self.files.settings, self.memory)?,
            memory: Arc::clone(self.memory),
            of_keys: Layout::new(&key, partitions, &columns)?,
            whole: Layout::new(&columns, partitions, &columns)?,
            partition_by: partitions.iter().map(by).collect(),
            key: self.key.clone(),
            attempt: attempt.to_string(),
        })
    }

    /// Where the keys of each staged file lie.
    fn extents(&self) -> Vec<Vec<Extent>> {
        self.staged.iter().map(|f| self.extents_in(&f.partition(), Some(f.statistics.clone()))).collect()
    }

    /// Where the keys of a file lie.
    fn extents_in(&self, values: &HashMap<String, Option<String>>, statistics: Option<String>) -> Vec<Extent> {
        let statistics = statistics.map(LoggedStatistics::new);
        extents(&self.key, values, statistics.as_ref(), self.files.settings.parquet.has_plain_times())
    }

    /// The files of a version that may have a key of the load, in the order of their paths.
    async fn candidates(&self, base: &Version) -> Result<Vec<Candidate>> {
        let of_load = self.extents();
        let mut found = Vec::new();
        for file in base.files().await? {
            let of_file = self.extents_in(&file.partition_values_map(), file.stats());
            if of_load.iter().any(|of_load| meet(of_load, &of_file)) {
                found.push(Candidate {
                    path: file.object_store_path().to_string(),
                    file: table_file(&self.files.root, &file, base)?,
                });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Which rows of some files have a key of the load: those files that have such rows, each with a mark for every row.
    /// `all` is where the keys of the load are kept, once they are known to fit into memory together.
    async fn find(
        &self,
        work: &Arc<Work>,
        group: Vec<Candidate>,
        all: &mut Option<Arc<Keys>>,
    ) -> Result<Vec<(Candidate, BooleanBuffer)>> {
        let mut marks: HashMap<usize, BooleanBuffer> = HashMap::new();
        match all.clone() {
            Some(keys) => look(work, &group, &keys, &mut marks).await?,
            None => {
                let mut load = self.keys_of_load(work)?;
                for round in 0.. {
                    let (keys, is_last) = self.some_keys(&mut load).await?;
                    let keys = Arc::new(keys);
                    look(work, &group, &keys, &mut marks).await?;
                    if is_last {
                        *all = Some(keys).filter(|_| round == 0);
                        break;
                    }
                }
            }
        }
        let found = group.into_iter().enumerate();
        Ok(found.filter_map(|(at, candidate)| Some((candidate, marks.remove(&at)?))).collect())
    }

    /// The keys of everything that is staged.
    fn keys_of_load(&self, work: &Arc<Work>) -> Result<KeyColumns> {
        let of_rows = Layout::new(&self.key, &self.partitions, &self.columns)?;
        let of_markers = Layout::new(&self.key, &[], &self.key)?;
        let mut files = Vec::with_capacity(self.staged.len());
        for staged in self.staged {
            let layout = if staged.is_keys { &of_markers } else { &of_rows };
            files.push(Ok::<_, Error>((staged_file(&self.files.root, staged)?, layout.clone())));
        }
        let work = Arc::clone(work);
        let batches = futures::stream::iter(files).and_then(move |(file, layout): (TableFile, Layout)| {
            let work = Arc::clone(&work);
            async move { work.reader.keys(file, &layout, &work.key).await }
        });
        Ok(batches.try_flatten().boxed())
    }

    /// As many of the keys that are left as there is memory for, and whether these are all.
    async fn some_keys(&self, left: &mut KeyColumns) -> Result<(Keys, bool)> {
        let converter = key_bytes(&self.key)?;
        let held = MemoryConsumer::new("keys of a merge").register(self.memory);
        let mut found = HashSet::new();
        while let Some(columns) = left.next().await.transpose()? {
            let keys = converter.convert_columns(&columns)?;
            let bytes: usize = keys.iter().map(|key| key.data().len() + BESIDE_KEY).sum();
            found.extend(keys.iter().map(|key| Box::from(key.data())));
            // One batch is the least there can be, and it is there already.
            let is_full = held.try_grow(bytes).is_err();
            if is_full {
                held.grow(bytes);
            }
            if is_full || held.size() >= KEYS_BYTES {
                return Ok((Keys { found, _held: held }, false));
            }
        }
        Ok((Keys { found, _held: held }, true))
    }
}

/// The columns of a version, with the types that those of the same names have `after` a commit.
fn as_after(columns: Vec<Column>, after: &[Column]) -> Vec<Column> {
    let column = |column: Column| match after.iter().find(|c| c.name == column.name) {
        Some(after) => Column { ty: after.ty.clone(), ..column },
        None => column,
    };
    columns.into_iter().map(column).collect()
}

/// A file that was not read the same twice.
fn changed() -> Error {
    Error::transient("a file changed while its rows were merged")
}

/// Marks the rows of some files that have one of some keys. `marks` are those of each file, by its number.
async fn look(
    work: &Arc<Work>,
    files: &[Candidate],
    keys: &Arc<Keys>,
    marks: &mut HashMap<usize, BooleanBuffer>,
) -> Result<()> {
    let files: Vec<(usize, TableFile)> = files.iter().map(|c| c.file.clone()).enumerate().collect();
    let looked = each(files, |(at, file)| {
        let (work, keys) = (Arc::clone(work), Arc::clone(keys));
        async move { Ok((at, work.marks(file, &keys).await?)) }
    });
    for (at, found) in looked.await? {
        if let Some(found) = found {
            let all = match marks.remove(&at) {
                Some(before) if before.len() == found.len() => &before | &found,
                Some(_) => return Err(changed()),
                None => found,
            };
            marks.insert(at, all);
        }
    }
    Ok(())
}

/// Files in their order, so many at a time that their rows can be marked.
fn groups(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    let mut room = 0;
    for candidate in candidates {
        let rows = candidate.file.rows.unwrap_or(ROWS_OF_FILE);
        match groups.last_mut().filter(|_| rows <= room) {
            Some(group) => {
                room -= rows;
                group.push(candidate);
            }
            None => {
                room = MARKED_ROWS.saturating_sub(rows);
                groups.push(vec![candidate]);
            }
        }
    }
    groups
}

/// Does the same work for several things, a few at the same time, and returns what comes of each, in their order.
async fn each<T, U, F>(things: Vec<T>, work: impl Fn(T) -> F) -> Result<Vec<U>>
where
    F: Future<Output = Result<U>> + Send + 'static,
    U: Send + 'static,
{
    let mut waiting = things.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut done: Vec<(usize, U)> = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((at, thing)) = waiting.next()
        {
            let work = work(thing);
            running.spawn(async move { (at, work.await) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (at, result) = ended.map_err(|e| Error::internal("the work for a file died").because(e))?;
        done.push((at, result?));
    }
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// What it takes to work on files of a version, wherever that is done.
struct Work {
    files: Files,
    reader: Reader,
    memory: Arc<dyn MemoryPool>,
    /// The table's files in the columns of the key, and in all.
    of_keys: Layout,
    whole: Layout,
    partition_by: Vec<Partition>,
    key: Vec<Column>,
    attempt: String,
}

impl Work {
    /// Which rows of a file have one of some keys; `None` if none has.
    async fn marks(&self, file: TableFile, keys: &Keys) -> Result<Option<BooleanBuffer>> {
        let converter = key_bytes(&self.key)?;
        let mut all = self.reader.keys(file, &self.of_keys, &self.key).await?;
        let mut marks = BooleanBufferBuilder::new(0);
        let mut has_any = false;
        while let Some(columns) = all.next().await.transpose()? {
            tokio::task::yield_now().await;
            for key in converter.convert_columns(&columns)?.iter() {
                let is_found = keys.found.contains(key.data());
                has_any |= is_found;
                marks.append(is_found);
            }
        }
        Ok(has_any.then(|| marks.finish()))
    }

    /// Writes the rows of a file that are not marked.
    async fn write_without(&self, number: usize, file: TableFile, marks: BooleanBuffer) -> Result<Vec<StagedFile>> {
        let source = self.reader.open(file, &self.whole).await?;
        let schema = source.schema();
        let columns = (0..schema.fields().len()).collect();
        let rows = self.reader.rows(&source, columns).await?;
        let others = (marks.len() - marks.count_set_bits()) as u64;
        let kept = futures::stream::try_unfold((rows, marks, 0usize), |(mut rows, marks, at)| async move {
            let Some(batch) = rows.next().await.transpose()? else { return Ok(None) };
            let end = at + batch.num_rows();
            if end > marks.len() {
                return Err(changed().into());
            }
            let kept = BooleanArray::new(!&marks.slice(at, batch.num_rows()), None);
            Ok::<_, DataFusionError>(Some((filter_record_batch(&batch, &kept)?, (rows, marks, end))))
        });
        let kept: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), kept));
        let unit = format!("{}-{number:06}", self.attempt);
        let part = Part {
            unit: &unit,
            schema,
            partition_by: &self.partition_by,
            is_keys: false,
            written: &AtomicU64::default(),
        };
        let written = self.files.write(part, kept, &self.memory).await?;
        // Nobody compares these rows later.
        match written.iter().map(|staged| staged.file.rows).sum::<u64>() == others {
            true => Ok(written),
            false => Err(changed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    fn candidate(name: &str, rows: Option<u64>) -> Candidate {
        let file = TableFile {
            path: Path::from(name),
            size: 0,
            modified: chrono::DateTime::default(),
            values: Vec::new(),
            rows,
            statistics: None,
            deleted: None,
        };
        Candidate { path: name.to_string(), file }
    }

    #[test]
    fn files_are_looked_through_so_many_at_a_time_that_their_rows_can_be_marked() {
        let sizes = [Some(MARKED_ROWS - 1), Some(1), Some(1), None, Some(MARKED_ROWS * 3), Some(2)];
        let candidates = sizes.into_iter().enumerate().map(|(i, rows)| candidate(&i.to_string(), rows)).collect();
        let found: Vec<Vec<String>> =
            groups(candidates).into_iter().map(|g| g.into_iter().map(|c| c.path).collect()).collect();
        assert_eq!(found, [vec!["0", "1"], vec!["2", "3"], vec!["4"], vec!["5"]]);
        assert!(groups(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn what_is_done_at_the_same_time_comes_back_in_order() {
        let done = each((0..20u64).collect(), |n| async move {
            tokio::time::sleep(std::time::Duration::from_millis(n % 3)).await;
            Ok(n * n)
        });
        assert_eq!(done.await.unwrap(), (0..20).map(|n| n * n).collect::<Vec<_>>());
        let failed = each(vec![1, 2], |n| async move { if n == 2 { Err(Error::config("no")) } else { Ok(n) } });
        assert!(failed.await.is_err());
    }
}
