//! Finding and removing what writers have left that died and do not come back.
//!
//! No file is judged by its name. One below a table's folder is ours if a note of a commit or a manifest of the table
//! names it, and whatever lies in the folder of a commit's staging is. A table is looked at under the lock of its
//! commits, so that nothing that is in between is taken for left.
//!
//! Uploads are: a process can be killed before it has noted one, and then there is nothing but the name of the file that
//! it was to become. It begins with the key of a commit, which nobody else makes up, or lies in the folder of one, and an
//! upload that is not complete holds nothing that anybody sees. What lies at its place is not touched.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use transload_core::connector::{CleanSpec, Orphan, OrphanKind};
use transload_core::store::{Begun, Lock, Store, is_temporary};
use transload_core::{CommitKey, Result, RunId, TableName, fault};

use crate::listing::{LOOKS_AT_ONCE, below, inside, is_hidden, lock_of, table_of};
use crate::manifest::{self, FOLDER, Manifest};
use crate::moves::{self, Moves};
use crate::staging::{self, UploadNote, is_upload_note};

/// Versions back from the newest whose files are looked for.
const VERSIONS: u64 = 1000;

/// Finds what is left under a url, and removes it unless it is only to be found.
pub(crate) async fn clean(store: &Store, spec: &CleanSpec) -> Result<Vec<Orphan>> {
    let mut tables: BTreeMap<String, Path> = BTreeMap::new();
    let mut all = store.walk(&Path::default());
    while let Some(file) = all.try_next().await? {
        // Hidden folders, such as one for rows that are put aside, are places of their own.
        if let Some(table) = table_of(&file.location).filter(|table| !is_hidden(table, &Path::default())) {
            tables.entry(table.to_string()).or_insert(table);
        }
    }
    let mut begun: BTreeMap<String, Vec<Begun>> = BTreeMap::new();
    for upload in staging::begun(store, &Path::default()).await? {
        let table = table_of_upload(&upload.path, &tables);
        begun.entry(table.to_string()).or_default().push(upload);
        tables.entry(table.to_string()).or_insert(table);
    }
    let mut found = Vec::new();
    for (name, table) in &tables {
        let table = Table { store, table, spec };
        let left = table.clean(begun.remove(name).unwrap_or_default()).await;
        found.extend(left.map_err(|e| e.with("table", table.table.to_string()))?);
    }
    Ok(found)
}

/// The table that an upload was begun for: the one beside whose rows it lies, else the folder around those of partitions,
/// or what is known to be a table before.
fn table_of_upload(path: &Path, known: &BTreeMap<String, Path>) -> Path {
    if let Some(table) = table_of(path) {
        return table;
    }
    let mut folder = path.parent().unwrap_or_default();
    while folder.filename().is_some_and(|name| name.contains('=')) && !known.contains_key(&folder.to_string()) {
        folder = folder.parent().unwrap_or_default();
    }
    folder
}

/// Something that is left.
struct Found {
    orphan: Orphan,
    /// The name of the upload, if it is one that nobody has noted: what lies at its place is something else.
    upload: Option<String>,
}

impl From<Orphan> for Found {
    fn from(orphan: Orphan) -> Self {
        Self { orphan, upload: None }
    }
}

/// What one commit has beside what is published.
#[derive(Default)]
struct Traces<'a> {
    staged: Vec<&'a ObjectMeta>,
    /// Its uploads that are open, noted or not.
    begun: Vec<&'a Begun>,
}

/// A table that is cleaned.
struct Table<'a> {
    store: &'a Store,
    table: &'a Path,
    spec: &'a CleanSpec,
}

impl Table<'_> {
    /// `begun` are its uploads that are open.
    async fn clean(&self, begun: Vec<Begun>) -> Result<Vec<Orphan>> {
        let mut left = self.look(&begun).await?;
        if !left.is_empty() && !self.spec.dry_run {
            let turn = self.store.lock(&lock_of(self.table)).await?;
            let cleaned = self.clean_in_turn(&turn, begun).await;
            turn.release().await;
            left = cleaned?;
        }
        Ok(left.into_iter().map(|found| found.orphan).collect())
    }

    /// Looks again while no commit of the table is under way, and removes what is still left.
    async fn clean_in_turn(&self, turn: &Lock, mut begun: Vec<Begun>) -> Result<Vec<Found>> {
        if !begun.is_empty() {
            let open = staging::begun(self.store, self.table).await?;
            begun.retain(|upload| open.contains(upload));
        }
        let left = self.look(&begun).await?;
        turn.check()?;
        self.remove(&left).await?;
        // A first load that was given up leaves nothing but its lock, and now not even that.
        if Manifest::newest(self.store, self.table).await?.is_none() {
            self.store.remove_lock(&lock_of(self.table), turn).await?;
        }
        Ok(left)
    }

    /// What is left, sorted by path.
    async fn look(&self, begun: &[Begun]) -> Result<Vec<Found>> {
        let newest = Manifest::newest(self.store, self.table).await?;
        let published: HashSet<&str> = newest.iter().flat_map(|m| &m.files).map(|f| f.path.as_str()).collect();
        let kept = self.store.list(&self.table.clone().join(FOLDER)).await?;
        let mut left = Vec::new();
        for (key, traces) in self.by_commit(&kept, begun) {
            left.extend(self.of_commit(&key, &traces, &published).await?);
        }
        left.extend(kept.iter().filter_map(|file| self.temporary(file)).map(Found::from));
        if let Some(newest) = &newest {
            left.extend(self.replaced(newest, &published, &kept).await?.into_iter().map(Found::from));
        }
        let order = |a: &Found, b: &Found| {
            (&a.orphan.path, a.orphan.what, &a.upload).cmp(&(&b.orphan.path, b.orphan.what, &b.upload))
        };
        left.sort_by(order);
        left.dedup_by(|a, b| order(a, b).is_eq());
        Ok(left)
    }

    fn orphan(&self, path: &str, what: OrphanKind, run: Option<RunId>, file: &ObjectMeta) -> Orphan {
        Orphan {
            table: TableName::new(self.table.to_string()),
            path: path.to_string(),
            what,
            run,
            // A note does not know how much was sent.
            bytes: (what != OrphanKind::Upload).then_some(file.size),
            modified: file.last_modified,
        }
    }

    /// The path of something of the table, below its folder.
    fn path<'p>(&self, at: &'p Path) -> &'p str {
        inside(self.table, at).unwrap_or(at.as_ref())
    }

    /// Of what is kept beside the rows, and of the open uploads: what commits have staged and begun, by their keys. What
    /// is not in the folder of a commit is nobody's.
    fn by_commit<'k>(&self, kept: &'k [ObjectMeta], begun: &'k [Begun]) -> BTreeMap<String, Traces<'k>> {
        let mut commits: BTreeMap<String, Traces<'k>> = BTreeMap::new();
        for file in kept {
            if let Some(key) = staging::commit_of(&file.location) {
                commits.entry(key).or_default().staged.push(file);
            }
        }
        for upload in begun {
            if let Some(key) = staging::commit_of(&upload.path) {
                commits.entry(key).or_default().begun.push(upload);
            }
        }
        commits
    }

    /// What one commit has left: what it has staged, what it has put into its place and not published, and the uploads
    /// that it has begun and not noted. A commit that was at work later than what may be taken keeps everything.
    async fn of_commit(&self, key: &str, traces: &Traces<'_>, published: &HashSet<&str>) -> Result<Vec<Found>> {
        let run = CommitKey::run_of(key);
        let staged = traces.staged.iter().map(|file| file.last_modified);
        let Some(last) = staged.chain(traces.begun.iter().map(|upload| upload.initiated)).max() else {
            return Ok(Vec::new());
        };
        if !self.spec.takes(run.as_ref(), last) {
            return Ok(Vec::new());
        }
        let mut left = self.unnoted(traces, run.as_ref()).await?;
        let mut in_place: Vec<String> = Vec::new();
        for file in &traces.staged {
            let is_moves = file.location.filename() == Some(moves::NAME);
            let what = match (is_moves, is_upload_note(&file.location)) {
                (true, _) => OrphanKind::Note,
                (_, true) => OrphanKind::Upload,
                _ => OrphanKind::Staged,
            };
            left.push(self.orphan(self.path(&file.location), what, run.clone(), file).into());
            if is_moves && let Some(noted) = Moves::read(self.store, &file.location).await? {
                in_place.extend(noted.files);
            }
        }
        in_place.retain(|path| !published.contains(path.as_str()));
        for path in in_place {
            if let Some(file) = self.store.head(&below(self.table, &path)?).await? {
                left.push(self.orphan(&path, OrphanKind::Unpublished, run.clone(), &file).into());
            }
        }
        Ok(left)
    }

    /// The uploads of a commit that none of its notes names.
    async fn unnoted(&self, traces: &Traces<'_>, run: Option<&RunId>) -> Result<Vec<Found>> {
        if traces.begun.is_empty() {
            return Ok(Vec::new());
        }
        let notes: Vec<Path> = traces.staged.iter().map(|file| file.location.clone()).filter(is_upload_note).collect();
        let store = self.store;
        let notes = futures::stream::iter(notes).map(|at| async move { UploadNote::read(store, &at).await });
        let notes: Vec<Option<UploadNote>> = notes.buffer_unordered(LOOKS_AT_ONCE).try_collect().await?;
        let noted: HashSet<&str> = notes.iter().flatten().map(|note| note.upload.as_str()).collect();
        let unnoted = traces.begun.iter().filter(|upload| !noted.contains(upload.id.as_str()));
        let found = unnoted.map(|upload| Found {
            orphan: Orphan {
                table: TableName::new(self.table.to_string()),
                path: self.path(&upload.path).to_string(),
                what: OrphanKind::Upload,
                run: run.cloned(),
                bytes: None,
                modified: upload.initiated,
            },
            upload: Some(upload.id.clone()),
        });
        Ok(found.collect())
    }

    /// What is left of a manifest that was to appear at once.
    fn temporary(&self, file: &ObjectMeta) -> Option<Orphan> {
        let is_beside = file.location.prefix_matches(&manifest::folder(self.table)) && is_temporary(&file.location);
        let is_left = is_beside && self.spec.takes(None, file.last_modified);
        is_left.then(|| self.orphan(self.path(&file.location), OrphanKind::Note, None, file))
    }

    /// Files that a commit has replaced and not removed: older manifests name them, and the newest does not. They count
    /// as changed when the manifest came that names them no more. `kept` is what is kept beside the rows.
    async fn replaced(&self, newest: &Manifest, published: &HashSet<&str>, kept: &[ObjectMeta]) -> Result<Vec<Orphan>> {
        let mut others: BTreeMap<String, ObjectMeta> = BTreeMap::new();
        let mut all = self.store.walk(self.table);
        while let Some(file) = all.try_next().await? {
            let path = self.path(&file.location);
            if !is_hidden(&file.location, self.table) && !published.contains(path) {
                others.insert(path.to_string(), file);
            }
        }
        let folder = manifest::folder(self.table);
        let manifests = kept.iter().filter(|file| file.location.prefix_matches(&folder));
        let written: HashMap<&str, DateTime<Utc>> =
            manifests.filter_map(|file| Some((file.location.filename()?, file.last_modified))).collect();
        let written = |version: u64| written.get(manifest::name(version).as_str()).copied();
        let mut left = Vec::new();
        let mut replaced_at = written(newest.version);
        for version in (newest.version.saturating_sub(VERSIONS).max(1)..newest.version).rev() {
            let (false, Some(at)) = (others.is_empty(), replaced_at) else { break };
            let Some(older) = Manifest::at(self.store, self.table, version).await? else { continue };
            for file in older.files.iter().filter_map(|file| others.remove_entry(&file.path)) {
                if self.spec.takes(None, at) {
                    left.push(self.orphan(&file.0, OrphanKind::Replaced, None, &file.1));
                }
            }
            replaced_at = written(version).or(replaced_at);
        }
        Ok(left)
    }

    /// Removes what was found: what others could see first, then what tells of it.
    async fn remove(&self, left: &[Found]) -> Result<()> {
        let is_in_place = |found: &&Found| matches!(found.orphan.what, OrphanKind::Unpublished | OrphanKind::Replaced);
        let (in_place, beside): (Vec<&Found>, Vec<&Found>) = left.iter().partition(is_in_place);
        for Found { orphan, upload } in in_place.into_iter().chain(beside) {
            let at = below(self.table, &orphan.path)?;
            if let Some(id) = upload {
                staging::abort(self.store, &at, id).await?;
            } else {
                if orphan.what == OrphanKind::Upload
                    && let Some(note) = UploadNote::read(self.store, &at).await?
                {
                    note.abort(self.store, self.table).await?;
                }
                self.store.remove_and_prune(&at).await?;
            }
            fault::point("clean.removed")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use chrono::TimeDelta;
    use transload_core::Clock;
    use transload_core::connector::TableState;
    use transload_core::secret::NoReferences;
    use transload_core::store::Staging;
    use transload_testkit::bucket::Bucket;

    use super::*;
    use crate::manifest::{DataFile, FileFormat};
    use crate::outgoing::Outgoing;

    const TABLE: &str = "t";

    /// A store in a bucket and one in a folder, and what has to live as long as they do.
    fn stores() -> (tempfile::TempDir, Bucket, [Store; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let local = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let bucket = Bucket::default();
        let remote = Store::over(Arc::new(bucket.clone()), "bucket", Clock::system());
        let remote = remote.with_unfinished(Arc::new(bucket.clone()));
        (dir, bucket, [local, remote])
    }

    fn key() -> CommitKey {
        CommitKey::new(&RunId::new(&Clock::system()), &TableName::new(TABLE))
    }

    fn spec(dry_run: bool) -> CleanSpec {
        CleanSpec { before: Clock::system().now() + TimeDelta::hours(1), keep: Vec::new(), dry_run }
    }

    async fn put(store: &Store, path: &str) {
        assert!(store.create(&Path::from(path), Bytes::from_static(b"x")).await.unwrap());
    }

    async fn publish(store: &Store, version: u64, files: &[&str]) {
        let file = |path: &&str| DataFile { path: path.to_string(), size: 1, rows: 1, commit: key() };
        let mut manifest = Manifest {
            format: 1,
            file_format: FileFormat::Parquet,
            version,
            commits: vec![key()],
            columns: Vec::new(),
            partition_by: Vec::new(),
            files: files.iter().map(file).collect(),
            state: TableState::default(),
        };
        assert!(manifest.publish(store, &Path::from(TABLE)).await.unwrap());
    }

    /// Stages a file of a commit, as a unit of it does.
    async fn stage(store: &Store, key: &CommitKey, path: &str) {
        use std::io::Write;
        let table = Path::from(TABLE);
        let place = staging::place(store, &staging::folder_of(&table, key).join("000000"), 0);
        let mut out = Outgoing::begin(store, &place, &table, path).unwrap();
        out.write_all(b"x").unwrap();
        out.finish().await.unwrap();
    }

    async fn there(store: &Store) -> Vec<String> {
        let all = store.list(&Path::default()).await.unwrap();
        all.iter().map(|f| f.location.to_string()).filter(|f| !f.ends_with("/lock")).collect()
    }

    fn found(orphans: &[Orphan]) -> Vec<(OrphanKind, &str)> {
        orphans.iter().map(|o| (o.what, o.path.as_str())).collect()
    }

    #[tokio::test]
    async fn what_dead_commits_have_left_is_removed_and_nothing_else() {
        let (_dir, bucket, stores) = stores();
        for store in &stores {
            for path in
                ["t/foreign.parquet", "t/old.parquet", "t/new.parquet", "t/x=1/moved.parquet", "other/a.parquet"]
            {
                put(store, path).await;
            }
            put(store, "t/_transload/staging/notes.txt").await;
            publish(store, 1, &["old.parquet", "gone.parquet"]).await;
            publish(store, 2, &["new.parquet"]).await;
            let dead = key();
            stage(store, &dead, "x=1/moved.parquet").await;
            Moves::of(vec!["x=1/moved.parquet".to_string(), "new.parquet".to_string(), "never.parquet".to_string()])
                .write(store, &Path::from(TABLE), &dead)
                .await
                .unwrap();
            let staged = match store.staging().unwrap() {
                Staging::Names(_) => (OrphanKind::Staged, format!("_transload/staging/{dead}/000000/0.staged")),
                Staging::Uploads(_) => (OrphanKind::Upload, format!("_transload/staging/{dead}/000000/0.upload")),
            };
            let note = format!("_transload/staging/{dead}/moves.json");
            let expected = [
                (staged.0, staged.1.as_str()),
                (OrphanKind::Note, note.as_str()),
                (OrphanKind::Replaced, "old.parquet"),
                (OrphanKind::Unpublished, "x=1/moved.parquet"),
            ];
            let before = there(store).await;
            let would = clean(store, &spec(true)).await.unwrap();
            assert_eq!(found(&would), expected, "{store:?}");
            assert_eq!(would[0].run, CommitKey::run_of(dead.as_str()));
            assert_eq!(there(store).await, before, "{store:?}");

            let removed = clean(store, &spec(false)).await.unwrap();
            assert_eq!(found(&removed), expected, "{store:?}");
            assert_eq!(
                there(store).await,
                [
                    "other/a.parquet",
                    "t/_transload/manifest/00000000000000000001.json",
                    "t/_transload/manifest/00000000000000000002.json",
                    "t/_transload/staging/notes.txt",
                    "t/foreign.parquet",
                    "t/new.parquet",
                ],
                "{store:?}"
            );
            assert!(clean(store, &spec(false)).await.unwrap().is_empty());
        }
        assert!(bucket.open_uploads().is_empty());
    }

    #[tokio::test]
    async fn what_is_young_or_may_go_on_stays() {
        let (_dir, bucket, stores) = stores();
        for store in &stores {
            put(store, "t/old.parquet").await;
            put(store, "t/new.parquet").await;
            publish(store, 1, &["old.parquet"]).await;
            publish(store, 2, &["new.parquet"]).await;
            let key = key();
            stage(store, &key, "a.parquet").await;
            let before = there(store).await;
            let young = CleanSpec { before: Clock::system().now() - TimeDelta::hours(1), ..spec(false) };
            assert!(clean(store, &young).await.unwrap().is_empty(), "{store:?}");
            let kept = CleanSpec { keep: CommitKey::run_of(key.as_str()).into_iter().collect(), ..spec(true) };
            assert_eq!(found(&clean(store, &kept).await.unwrap()), [(OrphanKind::Replaced, "old.parquet")]);
            assert_eq!(there(store).await, before);
        }
        assert_eq!(bucket.open_uploads(), [Path::from("t/a.parquet")]);
    }

    #[tokio::test]
    async fn a_first_load_that_died_leaves_nothing() {
        let (dir, bucket, stores) = stores();
        for store in &stores {
            stage(store, &key(), "a.parquet").await;
            assert_eq!(clean(store, &spec(false)).await.unwrap().len(), 1, "{store:?}");
            assert!(there(store).await.is_empty(), "{store:?}");
        }
        assert!(!dir.path().join(TABLE).exists() && bucket.open_uploads().is_empty());
    }

    /// Begins an upload as somebody does who is killed before it is noted.
    async fn begin(store: &Store, path: &str) {
        let Staging::Uploads(uploads) = store.staging().unwrap() else { panic!("it is no bucket") };
        uploads.begin(&Path::from(path)).await.unwrap();
    }

    #[tokio::test]
    async fn uploads_that_nobody_has_noted_are_found_by_their_names() {
        let (_dir, bucket, [_, store]) = stores();
        let (dead, other) = (key(), CommitKey::new(&RunId::new(&Clock::system()), &TableName::new("u")));
        let name = |key: &CommitKey| format!("{}-0.parquet", crate::names::prefix_of_unit(key, "000000"));
        // Another attempt has published a file at the same place.
        let file = name(&dead);
        put(&store, &format!("t/{file}")).await;
        publish(&store, 1, &[file.as_str()]).await;
        stage(&store, &dead, &format!("x=3/{file}")).await;
        begin(&store, &format!("t/{file}")).await;
        begin(&store, &format!("t/{file}")).await;
        // Of this table there is nothing else.
        let inner = format!("deep/u/x=1/y=2/{}", name(&other));
        begin(&store, &inner).await;
        // What a commit keeps for itself has no name of its own.
        let kept = format!("_transload/staging/{dead}/000001/rows-0.parquet");
        begin(&store, &format!("t/{kept}")).await;
        let foreign = [
            "t/foreign.parquet".to_string(),
            format!("_aside/t/{file}"),
            format!("_aside/t/{kept}"),
            format!("t/x-{file}"),
            format!("t/_transload/{file}"),
        ];
        for path in &foreign {
            begin(&store, path).await;
        }
        let note = format!("_transload/staging/{dead}/000000/0.upload");
        let inside = format!("x=1/y=2/{}", name(&other));
        let expected = [
            (OrphanKind::Upload, inside.as_str()),
            (OrphanKind::Upload, note.as_str()),
            (OrphanKind::Upload, kept.as_str()),
            (OrphanKind::Upload, file.as_str()),
            (OrphanKind::Upload, file.as_str()),
        ];
        let would = clean(&store, &spec(true)).await.unwrap();
        assert_eq!(found(&would), expected);
        assert_eq!((would[0].table.as_str(), &would[0].run), ("deep/u", &CommitKey::run_of(other.as_str())));
        assert_eq!(bucket.open_uploads().len(), 5 + foreign.len());

        // A commit that was at work a moment ago may go on, and so may a run that is kept.
        let young = CleanSpec { before: Clock::system().now() - TimeDelta::hours(1), ..spec(false) };
        assert!(clean(&store, &young).await.unwrap().is_empty());
        let keep = [&dead, &other].into_iter().filter_map(|key| CommitKey::run_of(key.as_str())).collect();
        assert!(clean(&store, &CleanSpec { keep, ..spec(false) }).await.unwrap().is_empty());

        assert_eq!(found(&clean(&store, &spec(false)).await.unwrap()), expected);
        let mut left: Vec<Path> = foreign.iter().map(|path| Path::from(path.as_str())).collect();
        left.sort();
        assert_eq!(bucket.open_uploads(), left);
        assert_eq!(
            there(&store).await,
            ["t/_transload/manifest/00000000000000000001.json".to_string(), format!("t/{file}")]
        );
        assert!(clean(&store, &spec(false)).await.unwrap().is_empty());
    }

    #[test]
    fn the_table_of_an_upload_is_around_its_partitions() {
        let known = BTreeMap::from([("a/k=1".to_string(), Path::from("a/k=1"))]);
        for (path, table) in [
            ("f", ""),
            ("x=1/f", ""),
            ("t/f", "t"),
            ("a/b/x=1/y=2/f", "a/b"),
            ("a/k=1/x=2/f", "a/k=1"),
            ("a=1/t/f", "a=1/t"),
            ("a/k=2/_transload/staging/k/f", "a/k=2"),
        ] {
            assert_eq!(table_of_upload(&Path::from(path), &known), Path::from(table), "{path}");
        }
    }

    #[tokio::test]
    async fn what_a_manifest_was_written_with_is_removed() {
        let (dir, _, [local, _]) = stores();
        publish(&local, 1, &[]).await;
        let manifests = dir.path().join("t/_transload/manifest");
        let temporary = format!(".{}.tmp", "0123456789abcdef".repeat(2));
        std::fs::write(manifests.join(&temporary), "{").unwrap();
        std::fs::write(manifests.join("mine.tmp"), "{").unwrap();
        let removed = clean(&local, &spec(false)).await.unwrap();
        let path = format!("_transload/manifest/{temporary}");
        assert_eq!(found(&removed), [(OrphanKind::Note, path.as_str())]);
        assert!(manifests.join("mine.tmp").exists());
    }
}
