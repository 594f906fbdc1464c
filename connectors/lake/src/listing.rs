//! From a table's name to the files that are the table.

use std::collections::{BTreeSet, HashSet};

use globset::GlobBuilder;
use object_store::ObjectMeta;
use object_store::path::Path;
use transload_core::store::{Store, relative};
use transload_core::{Error, Pin, PinnedFile, Result, TableName};

use crate::manifest::{FOLDER, Manifest};
use crate::options::Format;

/// A table that was found.
pub(crate) struct Found {
    /// The folder below which partition folders begin.
    pub(crate) root: Path,
    /// Its files, sorted by path.
    pub(crate) files: Vec<ObjectMeta>,
    /// Its manifest, if transload wrote it.
    pub(crate) manifest: Option<Manifest>,
}

/// Whether `name` chooses files by a pattern.
fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '[', '{'])
}

/// Whether `name` can be the name of a table here.
pub(crate) fn check_name(name: &TableName) -> Result<Path, String> {
    if !is_glob(name.as_str()) {
        return relative(name.as_str());
    }
    let fixed: Vec<&str> = name.as_str().split('/').take_while(|part| !is_glob(part)).collect();
    GlobBuilder::new(name.as_str())
        .literal_separator(true)
        .build()
        .map_err(|e| format!("`{name}` is not a pattern: {}", e.kind()))?;
    if name.as_str().split('/').any(|part| part == "..") {
        return Err(format!("`{name}` leaves its connection's url"));
    }
    if fixed.is_empty() { Ok(Path::default()) } else { relative(&fixed.join("/")) }
}

/// Finds a table: a folder, a file (with or without its extension), or the files that fit a pattern.
pub(crate) async fn find(store: &Store, name: &TableName, format: Format) -> Result<Found> {
    let root = check_name(name).map_err(Error::config)?;
    let missing = || {
        Error::config(format!("there is no table `{name}` under {}", store.url()))
            .hint("`transload discover` lists what is there")
    };
    if is_glob(name.as_str()) {
        let matcher = GlobBuilder::new(name.as_str())
            .literal_separator(true)
            .build()
            .map_err(|e| Error::config(e.to_string()))?
            .compile_matcher();
        let mut files = store.list(&root).await?;
        files.retain(|f| !is_hidden(&f.location, &root) && matcher.is_match(f.location.as_ref()));
        return if files.is_empty() { Err(missing()) } else { Ok(Found { root, files, manifest: None }) };
    }
    if let Some(manifest) = Manifest::newest(store, &root).await? {
        let files = listed(store, &root, &manifest).await?;
        return Ok(Found { root, files, manifest: Some(manifest) });
    }
    // What is being written for the first time is not a table yet.
    if store.has(&root.clone().join(FOLDER)).await? {
        return Err(missing());
    }
    let extension = format!(".{}", format.extension());
    let mut files = store.list(&root).await?;
    files.retain(|f| !is_hidden(&f.location, &root) && f.location.as_ref().ends_with(&extension));
    if files.is_empty() {
        for candidate in [root.to_string(), format!("{root}{extension}")] {
            let path = Path::parse(&candidate).map_err(|e| Error::config(e.to_string()))?;
            if let Some(meta) = store.head(&path).await? {
                let parent: Vec<&str> = candidate.rsplit_once('/').map(|(p, _)| p).into_iter().collect();
                return Ok(Found { root: Path::from(parent.join("/")), files: vec![meta], manifest: None });
            }
        }
        return Err(missing());
    }
    Ok(Found { root, files, manifest: None })
}

/// The files of a manifest, as they are now.
async fn listed(store: &Store, root: &Path, manifest: &Manifest) -> Result<Vec<ObjectMeta>> {
    let mut files = Vec::with_capacity(manifest.files.len());
    for file in &manifest.files {
        let path = below(root, &file.path)?;
        let meta = store.head(&path).await?.ok_or_else(|| {
            Error::config("there is no such object")
                .with("path", path.to_string())
                .with("table", root.to_string())
                .hint("a file of the table is gone: someone changed the folder by hand")
        })?;
        if meta.size != file.size {
            return Err(Error::config("a file is not the one that was committed").with("path", path.to_string()));
        }
        files.push(meta);
    }
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

/// The table's files restricted to a pin, each checked to be what it was.
pub(crate) fn restrict(found: &mut Found, pin: &Pin) -> Result<()> {
    let Pin::Files(wanted) = pin else { return Err(Error::config("the plan's pin is not a list of files")) };
    let mut kept = Vec::with_capacity(wanted.len());
    for file in wanted {
        let now = found.files.iter().find(|f| f.location.as_ref() == file.path);
        match now {
            Some(meta) if pinned(meta) == *file => kept.push(meta.clone()),
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
    let extension = format!(".{}", format.extension());
    let mut names = BTreeSet::new();
    let mut published = HashSet::new();
    let mut begun = HashSet::new();
    for file in store.list(&root).await? {
        let path = file.location.as_ref();
        if let Some((table, rest)) = path.split_once(&format!("/{FOLDER}/")) {
            begun.insert(table.to_string());
            if rest.starts_with("manifest/") && rest.ends_with(".json") {
                published.insert(table.to_string());
                names.insert(table.to_string());
            }
        } else if !is_hidden(&file.location, &root) && path.ends_with(&extension) {
            // A folder of partitions is one table, and so is the folder of a file.
            let parts: Vec<&str> = path.split('/').collect();
            let data = parts[..parts.len() - 1].iter().position(|p| p.contains('=')).unwrap_or(parts.len() - 1);
            names.insert(if data == 0 { path.to_string() } else { parts[..data].join("/") });
        }
    }
    // Nor is it listed.
    names.retain(|name| published.contains(name) || !begun.contains(name));
    Ok(names.into_iter().map(TableName::new).collect())
}
