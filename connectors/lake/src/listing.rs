//! From a table's name to the files that are the table.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use globset::GlobBuilder;
use object_store::ObjectMeta;
use object_store::path::Path;
use transload_core::store::{Store, relative};
use transload_core::{Error, Pin, PinnedFile, Result, TableName};

use crate::format::Format;
use crate::manifest::{FOLDER, Manifest};
use crate::moves::Moves;

/// Attempts to read a table that is replaced again and again while it is read.
const ATTEMPTS: usize = 10;

/// Files that are looked at at the same time.
pub(crate) const LOOKS_AT_ONCE: usize = 16;

/// Which paths are asked for.
type Fits<'a> = &'a (dyn Fn(&Path) -> bool + Sync);

/// A table that was found.
pub(crate) struct Found {
    /// The folder below which partition folders begin.
    pub(crate) root: Path,
    /// Its files, sorted by path.
    pub(crate) files: Vec<ObjectMeta>,
    /// Its manifest, if transload wrote it.
    pub(crate) manifest: Option<Manifest>,
    /// The tables that transload wrote and that files are of, each with its version.
    pub(crate) versions: Vec<(Path, u64)>,
}

impl Found {
    /// Whether a commit has published another version of a table since: files of the old one may be gone.
    pub(crate) async fn is_outdated(&self, store: &Store) -> Result<bool> {
        for (table, version) in &self.versions {
            if Manifest::newest(store, table).await?.is_none_or(|now| now.version != *version) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether `name` can be the name of a table here.
pub(crate) fn check_name(name: &TableName) -> Result<Path, String> {
    if !name.is_pattern() {
        return relative(name.as_str());
    }
    let is_fixed = |part: &&str| !TableName::new(*part).is_pattern();
    let fixed: Vec<&str> = name.as_str().split('/').take_while(is_fixed).collect();
    GlobBuilder::new(name.as_str())
        .literal_separator(true)
        .build()
        .map_err(|e| format!("`{name}` is not a pattern: {}", e.kind()))?;
    if name.as_str().split('/').any(|part| part == "..") {
        return Err(format!("`{name}` leaves its connection's url"));
    }
    if fixed.is_empty() { Ok(Path::default()) } else { relative(&fixed.join("/")) }
}

/// The folder of a table that is written. Its name is no pattern, whatever is there: whoever reads lakes would take it for one.
pub(crate) fn written(name: &TableName) -> Result<Path> {
    if name.is_pattern() {
        return Err(Error::config(format!("`{name}` is a pattern, and a table that is written needs a name"))
            .hint("write it under a name without `*`, `?`, `[` and `{`"));
    }
    relative(name.as_str()).map_err(Error::config)
}

/// Finds a table: a folder, a file (with or without its ending), or the files that fit a pattern. What is there under a
/// name is meant by it, whatever characters the name has.
pub(crate) async fn find(store: &Store, name: &TableName, format: Format) -> Result<Found> {
    let root = check_name(name).map_err(Error::config)?;
    let found = match relative(name.as_str()) {
        Ok(path) => as_it_stands(store, name, path, format).await?,
        // A pattern may begin as no name does.
        Err(_) => None,
    };
    let found = match found {
        None if name.is_pattern() => fitting(store, name, root).await?,
        found => found,
    };
    found.ok_or_else(|| {
        let hint = match store.is_listed() {
            true => "`transload discover` lists what is there",
            false => "check the name of the file",
        };
        Error::config(format!("there is no table `{name}` under {}", store.url())).hint(hint)
    })
}

/// The files at or below `root` that fit a pattern, if there are any.
async fn fitting(store: &Store, pattern: &TableName, root: Path) -> Result<Option<Found>> {
    let matcher = GlobBuilder::new(pattern.as_str())
        .literal_separator(true)
        .build()
        .map_err(|e| Error::config(e.to_string()))?
        .compile_matcher();
    let fits = |path: &Path| matcher.is_match(path.as_ref());
    refuse_broken_links(store, &root, &fits).await?;
    let there = There::look(store, &root, &fits).await?;
    let (files, versions) = visible(store, &root, there, &fits).await?;
    Ok((!files.is_empty()).then_some(Found { root, files, manifest: None, versions }))
}

/// The table whose folder, file, or file without its ending is `root`, if there is one.
async fn as_it_stands(store: &Store, name: &TableName, root: Path, format: Format) -> Result<Option<Found>> {
    if !store.is_listed() {
        match named(store, name, &root, format).await? {
            Some(found) => return Ok(Some(found)),
            // It was asked for by its whole name.
            None if format.fits(root.as_ref()) => return Ok(None),
            None => {}
        }
    }
    if let Some((manifest, files)) = published(store, &root, &|_| true).await? {
        let versions = vec![(root.clone(), manifest.version)];
        return Ok(Some(Found { root, files, manifest: Some(manifest), versions }));
    }
    refuse_broken_links(store, &root, &|_| true).await?;
    let fits = |path: &Path| format.fits(path.as_ref());
    let there = There::look(store, &root, &fits).await?;
    let (files, versions) = visible(store, &root, there, &fits).await?;
    if !files.is_empty() {
        return Ok(Some(Found { root, files, manifest: None, versions }));
    }
    let whole = std::iter::once(root.to_string());
    let mut found: Vec<Found> = Vec::new();
    for candidate in whole.chain(format.candidates(root.as_ref())) {
        let path = Path::parse(&candidate).map_err(|e| Error::config(e.to_string()))?;
        let Some(meta) = store.head(&path).await? else { continue };
        let there = There { files: vec![meta], tables: BTreeSet::new() };
        let (files, versions) = visible(store, &path, there, &|_| true).await?;
        if files.is_empty() {
            continue;
        }
        let found_here = Found { root: path.parent().unwrap_or_default(), files, manifest: None, versions };
        if path == root {
            return Ok(Some(found_here));
        }
        found.push(found_here);
    }
    only(name, found)
}

/// The one file that a name without its ending stands for.
fn only(name: &TableName, mut found: Vec<Found>) -> Result<Option<Found>> {
    if let [one, other, ..] = found.as_slice() {
        let paths = [one, other].map(|found| found.files.first().map_or("", |file| file.location.as_ref()));
        return Err(Error::config(format!("`{name}` can be `{}` or `{}`", paths[0], paths[1]))
            .hint("write the name of the file with its ending"));
    }
    Ok(found.pop())
}

/// The file that a name names, by itself or with an ending, where files are not listed. What has no ending is not asked
/// for without one: a server may have a page there.
async fn named(store: &Store, name: &TableName, path: &Path, format: Format) -> Result<Option<Found>> {
    let is_whole = path.extension().is_some();
    let whole = is_whole.then(|| path.to_string());
    let mut found = Vec::new();
    for candidate in whole.into_iter().chain(format.candidates(path.as_ref())) {
        let at = Path::parse(&candidate).map_err(|e| Error::config(e.to_string()))?;
        let Some(meta) = store.head(&at).await? else { continue };
        let root = at.parent().unwrap_or_default();
        let found_here = Found { root, files: vec![meta], manifest: None, versions: Vec::new() };
        if at == *path {
            return Ok(Some(found_here));
        }
        found.push(found_here);
    }
    only(name, found)
}

/// What lies below a folder.
struct There {
    /// The files that are asked for. Hidden ones are left out.
    files: Vec<ObjectMeta>,
    /// The tables that transload writes or has written.
    tables: BTreeSet<Path>,
}

impl There {
    /// Looks at everything below a folder, and keeps what is asked for.
    async fn look(store: &Store, root: &Path, fits: Fits<'_>) -> Result<Self> {
        let mut there = Self { files: Vec::new(), tables: BTreeSet::new() };
        let mut all = store.walk(root);
        while let Some(file) = all.try_next().await? {
            if let Some(table) = table_of(&file.location) {
                there.tables.insert(table);
            } else if !is_hidden(&file.location, root) && fits(&file.location) {
                there.files.push(file);
            }
        }
        Ok(there)
    }
}

/// Refuses a table some of whose files may be behind symbolic links that lead nowhere: its other files are not all of it.
async fn refuse_broken_links(store: &Store, root: &Path, fits: Fits<'_>) -> Result<()> {
    let broken = store.broken_links(root).await?;
    match broken.into_iter().find(|path| !is_hidden(path, root) && fits(path)) {
        Some(path) => Err(Error::config("a symbolic link leads nowhere")
            .with("path", path.to_string())
            .hint("remove the link, or put back what it leads to")),
        None => Ok(()),
    }
}

/// Of the files that are `there`, at or below `root`, those that readers may see, sorted by path: of a table that
/// transload writes exactly the files that its newest manifest names. With them the versions of such tables.
async fn visible(
    store: &Store,
    root: &Path,
    there: There,
    fits: Fits<'_>,
) -> Result<(Vec<ObjectMeta>, Vec<(Path, u64)>)> {
    let There { mut files, mut tables } = there;
    for above in folders_above(root) {
        if store.has(&above.clone().join(FOLDER)).await? {
            tables.insert(above);
        }
    }
    let mut named: Vec<ObjectMeta> = Vec::new();
    let mut versions = Vec::new();
    for table in tables {
        let hidden = is_hidden(&table, root);
        let wanted = |path: &Path| !hidden && path.prefix_matches(root) && fits(path);
        match published(store, &table, &wanted).await? {
            Some((manifest, own)) => {
                files.retain(|file| !file.location.prefix_matches(&table));
                named.extend(own);
                versions.push((table, manifest.version));
            }
            // What is written for the first time is not there yet.
            None => {
                let moved = Moves::unpublished(store, &table).await?;
                files.retain(|file| inside(&table, &file.location).is_none_or(|path| !moved.contains(path)));
            }
        }
    }
    files.extend(named);
    files.sort_by(|a, b| a.location.cmp(&b.location));
    files.dedup_by(|a, b| a.location == b.location);
    Ok((files, versions))
}

/// A path as the notes and manifests of a table name it, if it is in the table's folder.
pub(crate) fn inside<'a>(table: &Path, path: &'a Path) -> Option<&'a str> {
    let path: &str = path.as_ref();
    if table.is_root() { Some(path) } else { path.strip_prefix(table.as_ref())?.strip_prefix('/') }
}

/// The table whose `_transload` folder a path is in.
pub(crate) fn table_of(path: &Path) -> Option<Path> {
    let parts: Vec<_> = path.parts().collect();
    let at = parts.iter().position(|part| part.as_ref() == FOLDER)?;
    (at + 1 < parts.len()).then(|| parts.into_iter().take(at).collect())
}

/// The folders that a path is in, that of the url first.
fn folders_above(path: &Path) -> Vec<Path> {
    let parts: Vec<_> = path.parts().collect();
    (0..parts.len()).map(|depth| parts.iter().take(depth).cloned().collect()).collect()
}

/// Another table whose folder `root` is in, or which is in the folder `root`: a load that has begun is one too.
pub(crate) async fn overlapping(store: &Store, root: &Path) -> Result<Option<Path>> {
    // A lock alone is left of a load into a bucket that was given up.
    let table = |file: &ObjectMeta| table_of(&file.location).filter(|t| file.location != lock_of(t));
    for above in folders_above(root) {
        let kept = store.list(&above.clone().join(FOLDER)).await?;
        if kept.iter().any(|file| table(file).is_some()) {
            return Ok(Some(above));
        }
    }
    let mut below = store.walk(root);
    while let Some(file) = below.try_next().await? {
        if let Some(other) = table(&file).filter(|other| other != root && !is_hidden(other, root)) {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Where the lock of a table's commits lies.
pub(crate) fn lock_of(table: &Path) -> Path {
    table.clone().join(FOLDER).join("lock")
}

/// The newest manifest of a table, if it has one, and the files that it names and that fit, sorted by path.
async fn published(store: &Store, table: &Path, fits: Fits<'_>) -> Result<Option<(Manifest, Vec<ObjectMeta>)>> {
    let mut newest = Manifest::newest(store, table).await?;
    for _ in 0..ATTEMPTS {
        let Some(manifest) = newest else { return Ok(None) };
        let error = match listed(store, table, &manifest, fits).await {
            Ok(files) => return Ok(Some((manifest, files))),
            Err(error) => error,
        };
        newest = Manifest::newest(store, table).await?;
        // A commit that replaces the table removes the files of the version before.
        if newest.as_ref().is_some_and(|now| now.version == manifest.version) {
            return Err(error);
        }
    }
    Err(Error::transient("the table is replaced again and again while it is read").with("table", table.to_string()))
}

/// The files of a manifest that fit, as they are now.
async fn listed(store: &Store, root: &Path, manifest: &Manifest, fits: Fits<'_>) -> Result<Vec<ObjectMeta>> {
    let mut looks = Vec::new();
    for file in &manifest.files {
        let path = below(root, &file.path)?;
        if fits(&path) {
            looks.push(committed(store, root, path, file.size));
        }
    }
    let mut files: Vec<ObjectMeta> = futures::stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

/// A file that a manifest names, if it is still the one that was committed.
async fn committed(store: &Store, root: &Path, path: Path, size: u64) -> Result<ObjectMeta> {
    let meta = store.head(&path).await?.ok_or_else(|| {
        Error::config("there is no such object")
            .with("path", path.to_string())
            .with("table", root.to_string())
            .hint("a file of the table is gone: someone changed the folder by hand")
    })?;
    match meta.size == size {
        true => Ok(meta),
        false => Err(Error::config("a file is not the one that was committed").with("path", path.to_string())),
    }
}

/// The table's files restricted to a pin, each checked to be what it was.
pub(crate) fn restrict(found: &mut Found, pin: &Pin) -> Result<()> {
    let Pin::Files(wanted) = pin else { return Err(Error::config("the plan's pin is not a list of files")) };
    let now: HashMap<&str, &ObjectMeta> = found.files.iter().map(|meta| (meta.location.as_ref(), meta)).collect();
    let mut kept = Vec::with_capacity(wanted.len());
    for file in wanted {
        match now.get(file.path.as_str()) {
            Some(meta) if pinned(meta) == *file => kept.push(ObjectMeta::clone(meta)),
            Some(_) => {
                return Err(Error::config("the file changed after it was pinned")
                    .with("path", &file.path)
                    .hint("make a new plan: the old one is about another version of the source"));
            }
            None => {
                return Err(Error::config("a file of the source is gone")
                    .with("path", &file.path)
                    .hint("make a new plan: the old one is about another version of the source"));
            }
        }
    }
    found.files = kept;
    Ok(())
}

/// A file as it is now, as a pin remembers it.
pub(crate) fn pinned(meta: &ObjectMeta) -> PinnedFile {
    PinnedFile {
        path: meta.location.to_string(),
        size: meta.size,
        modified: meta.last_modified.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        etag: meta.e_tag.clone(),
    }
}

/// Joins a path of several parts to a folder.
pub(crate) fn below(root: &Path, path: &str) -> Result<Path> {
    let full = if root.as_ref().is_empty() { path.to_string() } else { format!("{root}/{path}") };
    Path::parse(full).map_err(|e| Error::config("a path cannot be used").because(e))
}

/// Names that start with `.` or `_` are not data.
pub(crate) fn is_hidden(path: &Path, root: &Path) -> bool {
    let rest = path.as_ref().strip_prefix(root.as_ref()).unwrap_or(path.as_ref());
    rest.split('/').any(|part| part.starts_with('.') || (part.starts_with('_') && !part.contains('=')))
}

/// The names of the tables under a url: files of the format, and folders that hold some.
pub(crate) async fn tables(store: &Store, format: Format) -> Result<Vec<TableName>> {
    let root = Path::default();
    let mut seen = Seen::new(format);
    // What a link leads nowhere from is listed too, so that whoever opens it is told.
    for path in store.broken_links(&root).await? {
        seen.look(&path);
    }
    let mut all = store.walk(&root);
    while let Some(file) = all.try_next().await? {
        seen.look(&file.location);
    }
    if seen.published.contains(&root) {
        // The files of a table in the url's own folder are tables like any other file there.
        let newest = Manifest::newest(store, &root).await?;
        let own = newest.into_iter().flat_map(|manifest| manifest.files);
        seen.names = own.filter_map(|file| seen.name_of(&Path::parse(file.path).ok()?)).collect();
    }
    let mut names: BTreeSet<String> = BTreeSet::new();
    for name in &seen.names {
        if seen.shows(store, name).await? {
            names.insert(name.clone());
        }
    }
    let shown = seen.published.iter().filter(|table| !table.is_root() && !is_hidden(table, &root));
    names.extend(shown.map(Path::to_string));
    Ok(names.into_iter().map(TableName::new).collect())
}

/// What was seen under a url: names, however many files they are of.
struct Seen {
    format: Format,
    /// Of files that readers may see, as far as their paths tell.
    names: BTreeSet<String>,
    /// Tables that transload writes, and those of them that have a manifest.
    begun: BTreeSet<Path>,
    published: BTreeSet<Path>,
}

impl Seen {
    fn new(format: Format) -> Self {
        Self { format, names: BTreeSet::new(), begun: BTreeSet::new(), published: BTreeSet::new() }
    }

    fn look(&mut self, path: &Path) {
        match table_of(path) {
            Some(table) => {
                let text: &str = path.as_ref();
                if text.ends_with(".json") && text.contains(&format!("{FOLDER}/manifest/")) {
                    self.published.insert(table.clone());
                }
                self.begun.insert(table);
            }
            None => {
                let name = self.name_of(path);
                self.names.extend(name);
            }
        }
    }

    /// The table that a file is of. A folder of partitions is one table, and so is the folder of a file.
    fn name_of(&self, path: &Path) -> Option<String> {
        let text: &str = path.as_ref();
        if is_hidden(path, &Path::default()) || !self.format.fits(text) {
            return None;
        }
        let parts: Vec<&str> = text.split('/').collect();
        let data = parts[..parts.len() - 1].iter().position(|p| p.contains('=')).unwrap_or(parts.len() - 1);
        Some(if data == 0 { text.to_string() } else { parts[..data].join("/") })
    }

    /// Whether a table has a file that readers may see: one that is not in a table that transload has written, where the
    /// manifest counts, and not in its place before it is published.
    async fn shows(&self, store: &Store, name: &str) -> Result<bool> {
        let folder = Path::parse(name).map_err(|e| Error::config(e.to_string()))?;
        let is_written =
            |path: &Path| self.published.iter().any(|table| !table.is_root() && path.prefix_matches(table));
        if is_written(&folder) {
            return Ok(false);
        }
        let is_near = |table: &&Path| table.prefix_matches(&folder) || folder.prefix_matches(table);
        let is_own = |table: &&Path| table.is_root() && self.published.contains(*table);
        let near: Vec<&Path> = self.begun.iter().filter(is_near).filter(|table| !is_own(table)).collect();
        if near.is_empty() {
            return Ok(true);
        }
        let mut moved: HashSet<String> = HashSet::new();
        for table in near.iter().filter(|table| !self.published.contains(**table)) {
            for path in Moves::unpublished(store, table).await? {
                moved.insert(below(table, &path)?.to_string());
            }
        }
        let is_seen = |path: &Path| {
            let text: &str = path.as_ref();
            self.name_of(path).as_deref() == Some(name) && !is_written(path) && !moved.contains(text)
        };
        if is_seen(&folder) {
            return Ok(true);
        }
        let mut files = store.walk(&folder);
        while let Some(file) = files.try_next().await? {
            if is_seen(&file.location) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::multipart::{MultipartStore, PartId};
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectStore, PutMultipartOptions,
        PutOptions, PutPayload, PutResult,
    };
    use transload_core::connector::TableState;
    use transload_core::{Clock, CommitKey, ErrorKind, RunId};

    use super::*;
    use crate::manifest::{DataFile, FileFormat};

    fn store<T: ObjectStore + MultipartStore>(objects: Arc<T>) -> Store {
        Store::over(objects, "memory", Clock::system())
    }

    fn memory() -> Store {
        store(Arc::new(InMemory::new()))
    }

    fn key() -> CommitKey {
        CommitKey::new(&RunId::new(&Clock::system()), &TableName::new("t"))
    }

    async fn put(store: &Store, path: &str) {
        assert!(store.create(&Path::parse(path).unwrap(), Bytes::from_static(b"x")).await.unwrap());
    }

    /// Publishes a version of a table with these files of one byte.
    async fn publish(store: &Store, table: &str, version: u64, files: &[&str]) {
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
        assert!(manifest.publish(store, &Path::parse(table).unwrap()).await.unwrap());
    }

    async fn found(store: &Store, name: &str) -> Result<Vec<String>> {
        let found = find(store, &TableName::new(name), Format::Parquet).await?;
        Ok(found.files.iter().map(|f| f.location.to_string()).collect())
    }

    #[tokio::test]
    async fn patterns_and_parents_see_what_manifests_name() {
        let store = memory();
        for path in ["nation/old.parquet", "nation/new.parquet", "nation/x=1/dead.parquet", "nation/y=1/.z/own.parquet"]
        {
            put(&store, &format!("bronze/{path}")).await;
        }
        put(&store, "bronze/plain/a.parquet").await;
        put(&store, "bronze/_hidden/b.parquet").await;
        publish(&store, "bronze/nation", 1, &["old.parquet"]).await;
        publish(&store, "bronze/nation", 2, &["new.parquet", "y=1/.z/own.parquet"]).await;
        let (new, own) = ("bronze/nation/new.parquet", "bronze/nation/y=1/.z/own.parquet");
        assert_eq!(found(&store, "bronze").await.unwrap(), [new, own, "bronze/plain/a.parquet"]);
        assert_eq!(found(&store, "bronze/nation").await.unwrap(), [new, own]);
        assert_eq!(found(&store, "bronze/**/*.parquet").await.unwrap(), [new, own, "bronze/plain/a.parquet"]);
        assert_eq!(found(&store, "bronze/nation/[a-z]*.parquet").await.unwrap(), [new]);
        assert_eq!(found(&store, "bronze/nation/y=1").await.unwrap(), [own]);
        assert_eq!(found(&store, "bronze/nation/new.parquet").await.unwrap(), [new]);
        assert_eq!(found(&store, "bronze/nation/new").await.unwrap(), [new]);
        for unpublished in ["bronze/nation/old.parquet", "bronze/nation/x=1", "bronze/nation/x=*/*.parquet"] {
            assert!(found(&store, unpublished).await.is_err(), "{unpublished}");
        }
        let names = tables(&store, Format::Parquet).await.unwrap();
        assert_eq!(names, [TableName::new("bronze/nation"), TableName::new("bronze/plain")]);
    }

    #[tokio::test]
    async fn what_is_there_under_a_name_is_no_pattern() {
        let store = memory();
        let files =
            ["a[1].parquet", "a1.parquet", "t?/x=1/f.parquet", "tt/g.parquet", "w[1]/own.parquet", "w1/h.parquet"];
        for path in files {
            put(&store, path).await;
        }
        publish(&store, "w[1]", 1, &["own.parquet"]).await;
        for (name, file) in [
            ("a[1].parquet", "a[1].parquet"),
            ("a[1]", "a[1].parquet"),
            ("t?", "t?/x=1/f.parquet"),
            ("w[1]", "w[1]/own.parquet"),
            // Nothing is called so.
            ("a[12].parquet", "a1.parquet"),
            ("?t/*.parquet", "tt/g.parquet"),
            ("w[12]/{h,i}.parquet", "w1/h.parquet"),
        ] {
            assert_eq!(found(&store, name).await.unwrap(), [file], "{name}");
        }
        let names = tables(&store, Format::Parquet).await.unwrap();
        for name in &names {
            assert_eq!(found(&store, name.as_str()).await.unwrap().len(), 1, "{name}");
        }
        assert_eq!(names.len(), files.len());
    }

    #[test]
    fn a_table_is_not_written_under_a_pattern() {
        for name in ["t*", "a/t?", "t[1]", "{t}"] {
            let error = written(&TableName::new(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{name}");
            assert!(error.hint_text().is_some() && error.message().contains(name), "{error}");
        }
        assert_eq!(written(&TableName::new("a/t]1}")).unwrap().as_ref(), "a/t]1}");
    }

    #[tokio::test]
    async fn a_name_without_an_ending_stands_for_one_file() {
        let store = memory();
        for path in ["a.csv.gz", "b.csv", "b.csv.zst", "c/d.csv", "c/e.csv.gz", "c/f.json"] {
            put(&store, path).await;
        }
        let found = async |name: &str| {
            let found = find(&store, &TableName::new(name), Format::Csv).await?;
            Ok::<_, Error>(found.files.iter().map(|f| f.location.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(found("a").await.unwrap(), ["a.csv.gz"]);
        assert_eq!(found("b.csv").await.unwrap(), ["b.csv"]);
        assert_eq!(found("c").await.unwrap(), ["c/d.csv", "c/e.csv.gz"]);
        assert_eq!(found("c/e").await.unwrap(), ["c/e.csv.gz"]);
        assert_eq!(found("b").await.unwrap_err().to_string(), "`b` can be `b.csv` or `b.csv.zst`");
        found("c/f").await.unwrap_err();
        let names: Vec<String> =
            tables(&store, Format::Csv).await.unwrap().iter().map(|t| t.as_str().to_string()).collect();
        assert_eq!(names, ["a.csv.gz", "b.csv", "b.csv.zst", "c"]);
    }

    #[tokio::test]
    async fn a_table_that_is_not_published_yet_hides_its_own_files_only() {
        let store = memory();
        put(&store, "t/foreign.parquet").await;
        put(&store, "t/x=1/moved.parquet").await;
        put(&store, "u/moved.parquet").await;
        for (table, moved) in [("t", "x=1/moved.parquet"), ("u", "moved.parquet")] {
            Moves::of(vec![moved.to_string()]).write(&store, &Path::from(table), &key()).await.unwrap();
        }
        assert_eq!(found(&store, "t").await.unwrap(), ["t/foreign.parquet"]);
        assert_eq!(found(&store, "**/*.parquet").await.unwrap(), ["t/foreign.parquet"]);
        for unpublished in ["u", "u/moved.parquet", "t/x=1/moved"] {
            assert!(found(&store, unpublished).await.is_err(), "{unpublished}");
        }
        assert_eq!(tables(&store, Format::Parquet).await.unwrap(), [TableName::new("t")]);
    }

    #[tokio::test]
    async fn tables_beside_those_that_are_written_are_found() {
        let store = memory();
        for path in ["a/b/old.parquet", "a/c.parquet", "a/d/x=1/e.parquet", "f.parquet", "g/h/i.csv", "_j/k.parquet"] {
            put(&store, path).await;
        }
        publish(&store, "a/b", 1, &["old.parquet"]).await;
        // A first load into `a/d` has put the only file there into its place; one into `l` has only begun.
        Moves::of(vec!["x=1/e.parquet".to_string()]).write(&store, &Path::from("a/d"), &key()).await.unwrap();
        put(&store, "l/_transload/staging/k/u/0.staged").await;
        put(&store, "l/m.parquet").await;
        let names = async |store: &Store| -> Vec<String> {
            let found = tables(store, Format::Parquet).await.unwrap();
            found.iter().map(|name| name.as_str().to_string()).collect()
        };
        assert_eq!(names(&store).await, ["a", "a/b", "f.parquet", "l"]);
        // A table in the url's own folder leaves files beside it alone.
        publish(&store, "", 1, &["f.parquet"]).await;
        assert_eq!(names(&store).await, ["a/b", "f.parquet"]);
    }

    #[tokio::test]
    async fn a_lock_alone_is_no_table() {
        let store = memory();
        put(&store, "a/b/_transload/lock").await;
        put(&store, "a/b/f.parquet").await;
        assert_eq!(found(&store, "a/b").await.unwrap(), ["a/b/f.parquet"]);
        for root in ["a", "a/b", "a/b/c"] {
            assert_eq!(overlapping(&store, &Path::from(root)).await.unwrap(), None);
        }
        put(&store, "a/b/_transload/staging/k/u/0-0.staged").await;
        for (root, other) in [("a", Some("a/b")), ("a/b", None), ("a/b/c/d", Some("a/b"))] {
            assert_eq!(overlapping(&store, &Path::from(root)).await.unwrap(), other.map(Path::from));
        }
    }

    /// A bucket in which a commit replaces the table `t` whenever somebody looks for a file that it once had.
    #[derive(Debug)]
    struct Replacing {
        inner: Arc<InMemory>,
        version: AtomicU64,
        /// The version that stays.
        last: u64,
    }

    impl fmt::Display for Replacing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Replacing")
        }
    }

    #[async_trait]
    impl ObjectStore for Replacing {
        async fn put_opts(&self, at: &Path, content: PutPayload, o: PutOptions) -> object_store::Result<PutResult> {
            self.inner.put_opts(at, content, o).await
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            o: PutMultipartOptions,
        ) -> object_store::Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(at, o).await
        }

        async fn get_opts(&self, at: &Path, o: GetOptions) -> object_store::Result<GetResult> {
            let version = self.version.load(Ordering::SeqCst);
            if at.as_ref() == format!("t/{version}.parquet") && version < self.last {
                self.version.store(version + 1, Ordering::SeqCst);
                let (inner, next) = (store(self.inner.clone()), format!("{}.parquet", version + 1));
                if version + 1 == self.last {
                    put(&inner, &format!("t/{next}")).await;
                }
                publish(&inner, "t", version + 1, &[next.as_str()]).await;
            }
            self.inner.get_opts(at, o).await
        }

        fn delete_stream(
            &self,
            paths: BoxStream<'static, object_store::Result<Path>>,
        ) -> BoxStream<'static, object_store::Result<Path>> {
            self.inner.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, o: CopyOptions) -> object_store::Result<()> {
            self.inner.copy_opts(from, to, o).await
        }
    }

    /// Nothing is uploaded to it.
    #[async_trait]
    impl MultipartStore for Replacing {
        async fn create_multipart(&self, at: &Path) -> object_store::Result<MultipartId> {
            self.inner.create_multipart(at).await
        }

        async fn put_part(
            &self,
            at: &Path,
            id: &MultipartId,
            number: usize,
            content: PutPayload,
        ) -> object_store::Result<PartId> {
            self.inner.put_part(at, id, number, content).await
        }

        async fn complete_multipart(
            &self,
            at: &Path,
            id: &MultipartId,
            parts: Vec<PartId>,
        ) -> object_store::Result<PutResult> {
            self.inner.complete_multipart(at, id, parts).await
        }

        async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> object_store::Result<()> {
            self.inner.abort_multipart(at, id).await
        }
    }

    async fn replaced_until(last: u64) -> Store {
        let inner = Arc::new(InMemory::new());
        publish(&store(inner.clone()), "t", 1, &["1.parquet"]).await;
        store(Arc::new(Replacing { inner, version: AtomicU64::new(1), last }))
    }

    #[tokio::test]
    async fn a_reader_beside_commits_finds_the_version_that_is_there() {
        for name in ["t", "**/*.parquet"] {
            let store = replaced_until(4).await;
            assert_eq!(found(&store, name).await.unwrap(), ["t/4.parquet"], "{name}");
            let error = found(&replaced_until(1000).await, name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_gone_from_the_newest_version_is_missed() {
        let store = memory();
        publish(&store, "t", 1, &["1.parquet"]).await;
        for name in ["t", "**/*.parquet"] {
            let error = found(&store, name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{name}");
            assert!(error.to_string().contains("t/1.parquet"), "{error}");
        }
    }
}
