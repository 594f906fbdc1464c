//! Finding and removing what commits have left that died, and that no note tells of: files in their places, records, and
//! objects that had no name of their own yet.
//!
//! In the folder of a Delta table a file that the log does not name is nobody's: every program for such tables sees it so.
//! Taken is only what has the name that a commit of ours to this very table gives, and only if the log does not know that
//! commit, nor names a file of it, as the log of a copy may, or one that another program has made anew. Of one that it knows
//! everything stays, whichever version names it.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;
use transload_core::connector::{CleanSpec, Orphan, OrphanKind};
use transload_core::store::{Lock, Store, is_temporary};
use transload_core::{CommitKey, Error, Result, RunId, TableName, fault};

use crate::commit::{application, lock_of};
use crate::endpoint::folder;
use crate::log::{LOG, Log, Said, Version};
use crate::record::{self, FOLDER};

/// Length of the text of a commit's key, by which the names of its files begin after `part-`.
const KEY: usize = "20260101T000000Z-01234567-01234567".len();

/// Finds what is left under a url, and removes it unless it is only to be found.
pub(crate) async fn clean(store: &Store, spec: &CleanSpec) -> Result<Vec<Orphan>> {
    let mut tables: BTreeSet<Path> = BTreeSet::new();
    let mut all = store.walk(&Path::default());
    while let Some(object) = all.try_next().await? {
        tables.extend(table_of(&object.location).filter(|table| folder(table.as_ref()).is_ok()));
    }
    let mut found = Vec::new();
    for table in &tables {
        let left = Table { store, table, spec }.clean().await;
        found.extend(left.map_err(|e| e.with("table", table.to_string()))?);
    }
    Ok(found)
}

/// Removes what is left of records and entries that somebody was about to create who died. It is for whoever has the turn
/// to commit. In a bucket there is nothing of an object before it is there.
pub(crate) async fn clear_unnamed(store: &Store, table: &Path) -> Result<()> {
    if !store.is_local() {
        return Ok(());
    }
    for folder in [table.clone().join(FOLDER).join(record::COMMITS), table.clone().join(LOG)] {
        for left in store.list(&folder).await?.iter().filter(|object| is_temporary(&object.location)) {
            store.remove(&left.location).await?;
        }
    }
    Ok(())
}

/// The table that an object of ours is of: one in its folder `_transload`, or a file that a commit to it has named.
fn table_of(at: &Path) -> Option<Path> {
    let parts: Vec<_> = at.parts().collect();
    let above = |depth: usize| -> Path { parts.iter().take(depth).cloned().collect() };
    if let Some(depth) = parts.iter().position(|part| part.as_ref() == FOLDER) {
        return Some(above(depth));
    }
    let key = key_of(at.filename()?)?;
    (1..parts.len()).map(above).find(|table| is_for(key, table))
}

/// The key of the commit that has given a file its name.
fn key_of(name: &str) -> Option<&str> {
    let key = name.strip_prefix("part-")?.get(..KEY)?;
    CommitKey::run_of(key).map(|_| key)
}

/// Whether a key is of a commit to this table.
fn is_for(key: &str, table: &Path) -> bool {
    let run = CommitKey::run_of(key);
    run.is_some_and(|run| CommitKey::new(&run, &TableName::new(table.to_string())).as_str() == key)
}

/// A table that is cleaned.
struct Table<'a> {
    store: &'a Store,
    table: &'a Path,
    spec: &'a CleanSpec,
}

/// Something that a commit has made.
struct Made {
    object: ObjectMeta,
    /// The version that it is a record of.
    recorded: Option<u64>,
}

impl Table<'_> {
    async fn clean(&self) -> Result<Vec<Orphan>> {
        let left = self.look().await?;
        if left.is_empty() || self.spec.dry_run {
            return Ok(left);
        }
        let turn = self.store.lock(&lock_of(self.table)).await?;
        let cleaned = self.clean_in_turn(&turn).await;
        turn.release().await;
        cleaned
    }

    /// Looks again while no commit of ours to the table is under way, and removes what is still left.
    async fn clean_in_turn(&self, turn: &Lock) -> Result<Vec<Orphan>> {
        let left = self.look().await?;
        turn.check()?;
        for orphan in &left {
            self.store.remove_and_prune(&self.whole(&orphan.path)?).await?;
            fault::point("clean.removed")?;
        }
        if !Log::of(self.store, self.table)?.is_there().await? {
            self.store.remove_lock(&lock_of(self.table), turn).await?;
        }
        Ok(left)
    }

    fn whole(&self, path: &str) -> Result<Path> {
        Path::parse(format!("{}/{path}", self.table)).map_err(|e| Error::config("a path cannot be used").because(e))
    }

    /// What is left, sorted by path.
    async fn look(&self) -> Result<Vec<Orphan>> {
        // Before the log is read: what is committed meanwhile is in the log.
        let all = self.store.list(self.table).await?;
        let log = Log::of(self.store, self.table)?.newest().await?;
        let (commits, mut left) = self.ours(&all);
        let lasts = commits.values().flatten().filter_map(|made| made.recorded).max();
        if log.is_none() && lasts.is_some_and(|version| version > 0) {
            // There was one.
            tracing::warn!(table = %self.table, "the log is gone, so nothing is removed");
            return Ok(Vec::new());
        }
        let known = match &log {
            Some(now) => now.said(|path| key_of(path.rsplit('/').next()?).map(str::to_string)).await?,
            None => Said::default(),
        };
        for (key, made) in commits {
            let run = CommitKey::run_of(&key);
            let last = made.iter().map(|made| made.object.last_modified).max();
            if !last.is_some_and(|last| self.spec.takes(run.as_ref(), last)) {
                continue;
            }
            let version = version_of(&key, log.as_ref(), &known).await?;
            if version.is_none() && known.named.contains(&key) {
                continue;
            }
            // An attempt that came second has a record of a version that another commit made.
            let is_left = |made: &&Made| match (version, made.recorded) {
                (None, _) => true,
                (Some(made), Some(recorded)) => i64::try_from(recorded).ok() != Some(made),
                (Some(_), None) => false,
            };
            left.extend(made.iter().filter(is_left).map(|made| self.orphan(made, run.clone())));
        }
        left.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(left)
    }

    /// What commits of ours have made here, by their keys, and what had no name of its own yet.
    fn ours(&self, all: &[ObjectMeta]) -> (BTreeMap<String, Vec<Made>>, Vec<Orphan>) {
        let records = self.table.clone().join(FOLDER).join(record::COMMITS);
        let entries = self.table.clone().join(LOG);
        let is_ours = all.iter().any(|object| object.location.prefix_matches(&records));
        let mut commits: BTreeMap<String, Vec<Made>> = BTreeMap::new();
        let mut unnamed = Vec::new();
        for object in all {
            let at = &object.location;
            let name = at.filename().unwrap_or_default();
            let (is_record, is_entry) = (at.prefix_matches(&records), at.prefix_matches(&entries));
            if is_temporary(at) && (is_record || (is_entry && is_ours)) {
                if self.spec.takes(None, object.last_modified) {
                    unnamed.push(self.orphan(&Made { object: object.clone(), recorded: None }, None));
                }
            } else if is_record {
                if let Some((version, key)) = record::parse(name) {
                    let made = Made { object: object.clone(), recorded: Some(version) };
                    commits.entry(key.to_string()).or_default().push(made);
                }
            } else if !is_entry && let Some(key) = key_of(name).filter(|key| is_for(key, self.table)) {
                commits.entry(key.to_string()).or_default().push(Made { object: object.clone(), recorded: None });
            }
        }
        (commits, unnamed)
    }

    fn orphan(&self, made: &Made, run: Option<RunId>) -> Orphan {
        let at = &made.object.location;
        let path: Path = at.prefix_match(self.table).into_iter().flatten().collect();
        let is_note = made.recorded.is_some() || is_temporary(at);
        Orphan {
            table: TableName::new(self.table.to_string()),
            path: path.to_string(),
            what: if is_note { OrphanKind::Note } else { OrphanKind::Unpublished },
            run,
            bytes: Some(made.object.size),
            modified: made.object.last_modified,
        }
    }
}

/// The version that a commit has made, if the log knows of it. `known` is what its entries say that are still there.
async fn version_of(key: &str, log: Option<&Version>, known: &Said) -> Result<Option<i64>> {
    let name = application(key);
    match (known.transactions.get(&name), log) {
        (Some(version), _) => Ok(Some(*version)),
        (None, Some(now)) => now.transaction(&name).await,
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use chrono::TimeDelta;
    use object_store::memory::InMemory;
    use transload_core::Clock;

    use super::*;

    fn store() -> Store {
        Store::over(Arc::new(InMemory::new()), "memory", Clock::system())
    }

    fn key(table: &str) -> CommitKey {
        CommitKey::new(&RunId::new(&Clock::system()), &TableName::new(table))
    }

    fn all() -> CleanSpec {
        CleanSpec { before: Clock::system().now() + TimeDelta::hours(1), keep: Vec::new(), dry_run: false }
    }

    async fn put(store: &Store, path: &str, text: &str) {
        assert!(store.create(&Path::from(path), Bytes::from(text.to_string())).await.unwrap());
    }

    /// An entry of a log, and the record of it.
    async fn commit(store: &Store, table: &str, version: u64, key: &CommitKey, files: &[&str]) {
        let schema = r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}"#;
        let mut text = String::new();
        if version == 0 {
            text.push_str("{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n");
            text.push_str(&format!(
                "{{\"metaData\":{{\"id\":\"5fba94ed-9794-4965-ba6e-6ee3c0d22af9\",\"format\":{{\"provider\":\"parquet\",\
                 \"options\":{{}}}},\"schemaString\":\"{schema}\",\"partitionColumns\":[],\"configuration\":{{}},\
                 \"createdTime\":0}}}}\n"
            ));
        }
        text.push_str(&format!("{{\"txn\":{{\"appId\":\"{}\",\"version\":{version}}}}}\n", application(key)));
        for file in files {
            text.push_str(&format!(
                "{{\"add\":{{\"path\":\"{file}\",\"partitionValues\":{{}},\"size\":1,\"modificationTime\":0,\"dataChange\":true}}}}\n"
            ));
        }
        put(store, &format!("{table}/_delta_log/{version:020}.json"), &text).await;
        put(store, &format!("{table}/_transload/commits/{version:020}-{key}.json"), "{}").await;
    }

    async fn there(store: &Store) -> Vec<String> {
        store.list(&Path::default()).await.unwrap().iter().map(|object| object.location.to_string()).collect()
    }

    fn found(orphans: &[Orphan]) -> Vec<(OrphanKind, &str)> {
        orphans.iter().map(|orphan| (orphan.what, orphan.path.as_str())).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_commit_has_left_that_the_log_does_not_know_is_removed_and_nothing_else() {
        let store = store();
        let (first, second, dead, other) = (key("d/t"), key("d/t"), key("d/t"), key("u"));
        let file = |key: &CommitKey| format!("part-{key}-000000-0.parquet");
        for path in
            ["foreign.parquet", "part-00000-6f1c.c000.snappy.parquet", &file(&first), &file(&second), &file(&other)]
        {
            put(&store, &format!("d/t/{path}"), "x").await;
        }
        commit(&store, "d/t", 0, &first, &[&file(&first)]).await;
        // It has replaced the file of the first, which older versions still name.
        commit(&store, "d/t", 1, &second, &[&file(&second)]).await;
        let kept = there(&store).await;

        let temporary = format!(".{}.tmp", "0123456789abcdef".repeat(2));
        let left = [
            format!("_delta_log/{temporary}"),
            format!("_transload/commits/{:020}-{second}.json", 0),
            format!("_transload/commits/{:020}-{dead}.json", 2),
            format!("_transload/commits/{temporary}"),
            format!("p=1/{}", file(&dead)),
        ];
        for path in &left {
            put(&store, &format!("d/t/{path}"), "x").await;
        }
        let mut expected: Vec<(OrphanKind, &str)> = left[..4].iter().map(|l| (OrphanKind::Note, l.as_str())).collect();
        expected.push((OrphanKind::Unpublished, left[4].as_str()));
        expected.sort_by_key(|(_, path)| *path);

        let before = there(&store).await;
        let young = CleanSpec { before: Clock::system().now() - TimeDelta::hours(1), ..all() };
        assert!(clean(&store, &young).await.unwrap().is_empty());
        let keep: Vec<RunId> = [&second, &dead].iter().filter_map(|key| CommitKey::run_of(key.as_str())).collect();
        let kept_runs = clean(&store, &CleanSpec { keep, dry_run: true, ..all() }).await.unwrap();
        assert!(kept_runs.iter().all(|orphan| orphan.run.is_none()), "{kept_runs:?}");
        let would = clean(&store, &CleanSpec { dry_run: true, ..all() }).await.unwrap();
        assert_eq!(found(&would), expected);
        assert_eq!(there(&store).await, before);

        assert_eq!(found(&clean(&store, &all()).await.unwrap()), expected);
        let mut now = there(&store).await;
        now.retain(|path| path != "d/t/_transload/lock");
        assert_eq!(now, kept);
        assert!(clean(&store, &all()).await.unwrap().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_log_names_stays_even_if_it_does_not_know_the_commit() {
        let store = store();
        let (foreign, copied, replaced, dead) = (key("u"), key("t"), key("t"), key("t"));
        let file = |key: &CommitKey| format!("part-{key}-000000-0.parquet");
        for key in [&copied, &replaced, &dead] {
            put(&store, &format!("t/{}", file(key)), "x").await;
        }
        // As another program copies a table, or makes its log anew.
        commit(&store, "t", 0, &foreign, &[&file(&copied), &file(&replaced)]).await;
        let gone = format!("{{\"remove\":{{\"path\":\"{}\",\"dataChange\":true}}}}\n", file(&replaced));
        put(&store, &format!("t/_delta_log/{:020}.json", 1), &gone).await;
        let found = clean(&store, &CleanSpec { dry_run: true, ..all() }).await.unwrap();
        let files: Vec<&str> =
            found.iter().filter(|o| o.what == OrphanKind::Unpublished).map(|o| o.path.as_str()).collect();
        assert_eq!(files, [file(&dead)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_first_load_that_died_leaves_nothing_and_a_log_that_is_gone_everything() {
        let store = store();
        let dead = key("t");
        put(&store, &format!("t/p=1/part-{dead}-000000-0.parquet"), "x").await;
        put(&store, &format!("t/_transload/commits/{:020}-{dead}.json", 0), "{}").await;
        assert_eq!(clean(&store, &all()).await.unwrap().len(), 2);
        let mut now = there(&store).await;
        now.retain(|path| path != "t/_transload/lock");
        assert!(now.is_empty(), "{now:?}");

        put(&store, &format!("t/part-{dead}-000000-0.parquet"), "x").await;
        put(&store, &format!("t/_transload/commits/{:020}-{dead}.json", 7), "{}").await;
        assert!(clean(&store, &all()).await.unwrap().is_empty());
    }
}
