//! The one place that turns a URL into a store, and the durable operations on it.
//!
//! Only `file:` URLs and plain paths are known today; the seam is [`Store::open`].
//! `object_store`'s local store never calls fsync, so everything that must survive a power cut is
//! written here: file first, then its folder, and only then is success reported.

use std::fs::File;
use std::io::Write;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::{Error, Result};

/// A folder of objects, on whatever system.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: PathBuf,
    url: String,
}

impl Store {
    /// Opens the folder that `location` names: a path (relative to the working folder) or a `file:` URL.
    /// A missing folder is made when `create` is set, and is an error otherwise.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for another scheme, a folder that is missing or one that cannot be made.
    pub fn open(location: &str, create: bool) -> Result<Self> {
        Self::open_as(location, location, create)
    }

    /// The same for a location that may hold the value of a secret: messages say `shown` instead.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as(location: &str, shown: &str, create: bool) -> Result<Self> {
        let as_shown = |e: Error| {
            let error = Error::new(e.kind(), e.message()).with("folder", shown);
            error.hint("check the path; relative paths start where transload was started")
        };
        let path = local_path(location).map_err(as_shown)?;
        if create {
            make_folder(&path).map_err(as_shown)?;
        }
        let root = path.canonicalize().map_err(|e| as_shown(e.into()))?;
        if !root.is_dir() {
            return Err(Error::config("this is a file, and a folder is needed").with("folder", shown));
        }
        let objects = LocalFileSystem::new_with_prefix(&root)?;
        Ok(Self { objects: Arc::new(objects), root, url: shown.to_string() })
    }

    /// The location as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store itself, for readers.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Where an object lies on this machine.
    pub fn local_path(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }

    /// Every object under `prefix`, sorted by path, hidden ones included.
    pub async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        // A part of the path may be a file.
        if !prefix.as_ref().is_empty() && !self.local_path(prefix).is_dir() {
            return Ok(Vec::new());
        }
        let mut found: Vec<ObjectMeta> = self.objects.list(Some(prefix)).try_collect().await?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// The whole object, or `None` if there is none.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.objects.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Writes an object that must not exist yet. `false` if it exists; then nothing was changed.
    /// The object appears whole or not at all, and stays after a power cut.
    pub async fn create(&self, path: &Path, content: Bytes) -> Result<bool> {
        let target = self.local_path(path);
        blocking(move || {
            let folder = parent(&target)?;
            make_folder(&folder)?;
            let temporary = folder.join(format!(".{}.tmp", uuid::Uuid::new_v4().simple()));
            let written =
                write_synced(&temporary, &content).and_then(|()| match std::fs::hard_link(&temporary, &target) {
                    Ok(()) => Ok(true),
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
                    Err(e) => Err(e.into()),
                });
            let _ = std::fs::remove_file(&temporary);
            let created = written?;
            sync_folder(&folder)?;
            Ok(created)
        })
        .await
    }

    /// Moves an object, replacing nothing: `false` if `from` is gone and `to` is there, because an
    /// earlier attempt got this far.
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        let (from, to) = (self.local_path(from), self.local_path(to));
        blocking(move || {
            let folder = parent(&to)?;
            make_folder(&folder)?;
            match std::fs::rename(&from, &to) {
                Ok(()) => sync_folder(&folder).map(|()| true),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && to.exists() => Ok(false),
                Err(e) => Err(Error::from(e).with("path", from.display().to_string())),
            }
        })
        .await
    }

    /// Removes an object; one that is gone already is fine.
    pub async fn remove(&self, path: &Path) -> Result<()> {
        let target = self.local_path(path);
        blocking(move || match std::fs::remove_file(&target) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        })
        .await
    }

    /// Waits until nobody else holds the lock of that name, and holds it until it is dropped or the process ends.
    pub async fn lock(&self, path: &Path) -> Result<File> {
        let target = self.local_path(path);
        blocking(move || {
            make_folder(&parent(&target)?)?;
            let file = File::options().create(true).truncate(false).write(true).open(&target)?;
            file.lock()?;
            Ok(file)
        })
        .await
    }

    /// Removes an object and the folders this leaves empty. Nobody may be writing into them.
    pub async fn remove_and_prune(&self, path: &Path) -> Result<()> {
        let (target, root) = (self.local_path(path), self.root.clone());
        blocking(move || {
            match std::fs::remove_file(&target) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
            let mut folder = target.parent();
            while let Some(empty) = folder.filter(|f| *f != root && f.starts_with(&root)) {
                if std::fs::remove_dir(empty).is_err() {
                    break;
                }
                folder = empty.parent();
            }
            Ok(())
        })
        .await
    }
}

/// Joins a name a person wrote to a folder, and refuses one that would leave it.
///
/// # Errors
/// A sentence, if the name is absolute, has a `..`, an empty or a hidden (`.x`, `_x`) part.
pub fn relative(name: &str) -> Result<Path, String> {
    if name.starts_with('/') || name.contains('\\') || name.contains("://") {
        return Err(format!("`{name}` must be relative to its connection's url"));
    }
    for part in name.split('/') {
        match part {
            "" => return Err(format!("`{name}` has an empty part")),
            "." => return Err(format!("`{name}` has a part `.`, which says nothing")),
            ".." => return Err(format!("`{name}` leaves its connection's url")),
            p if p.starts_with('.') || p.starts_with('_') => {
                return Err(format!("`{name}` is hidden: names that start with `.` or `_` are not data"));
            }
            p if p.chars().any(char::is_control) => return Err("a name holds a control character".to_string()),
            _ => {}
        }
    }
    Path::parse(name).map_err(|e| e.to_string())
}

/// Whether a location can be opened at all. Pure.
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if it is empty, has another scheme, or is a `file:` URL without an absolute path.
pub fn check_location(location: &str) -> Result<()> {
    local_path(location).map(drop)
}

fn local_path(location: &str) -> Result<PathBuf> {
    if location.trim().is_empty() {
        return Err(Error::config("a url is empty"));
    }
    match Url::parse(location) {
        Ok(url) if url.scheme() == "file" => {
            url.to_file_path().map_err(|()| Error::config("a file: url needs an absolute path").with("url", location))
        }
        Ok(url) if location.contains("://") => {
            Err(Error::config(format!("`{}:` urls are not supported", url.scheme()))
                .hint("use a path or a file:// url; object stores come in a later version"))
        }
        _ => Ok(PathBuf::from(location)),
    }
}

fn parent(path: &FsPath) -> Result<PathBuf> {
    path.parent().map(FsPath::to_path_buf).ok_or_else(|| Error::internal("a path has no folder"))
}

/// Makes a folder and syncs every parent that got a new entry.
pub fn make_folder(path: &FsPath) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(up) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_folder(up)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(e) => return Err(Error::from(e).with("folder", path.display().to_string())),
    }
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(up) => sync_folder(up),
        None => Ok(()),
    }
}

/// Makes the entries of a folder survive a power cut.
pub fn sync_folder(path: &FsPath) -> Result<()> {
    Ok(File::open(path)?.sync_all()?)
}

fn write_synced(path: &FsPath, content: &[u8]) -> Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    Ok(file.sync_all()?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("a worker thread died").because(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap(), true).unwrap();
        let path = Path::from("a/b/c.json");
        assert!(store.create(&path, Bytes::from_static(b"1")).await.unwrap());
        assert!(!store.create(&path, Bytes::from_static(b"2")).await.unwrap());
        assert_eq!(store.read(&path).await.unwrap().unwrap().as_ref(), b"1");
        assert_eq!(store.list(&Path::from("a")).await.unwrap().len(), 1);
        store.remove(&path).await.unwrap();
        store.remove_and_prune(&path).await.unwrap();
        assert!(!dir.path().join("a").exists());
    }

    #[tokio::test]
    async fn a_rename_can_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_str().unwrap(), true).unwrap();
        let (from, to) = (Path::from("x"), Path::from("d/y"));
        store.create(&from, Bytes::from_static(b"1")).await.unwrap();
        assert!(store.rename(&from, &to).await.unwrap());
        assert!(!store.rename(&from, &to).await.unwrap());
        assert!(store.rename(&from, &Path::from("z")).await.is_err());
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for bad in ["../x", "a/../../x", "/etc/passwd", "a//b", ".ssh/id", "_transload/x", "s3://b/x", "a\\b", ""] {
            assert!(relative(bad).is_err(), "{bad}");
        }
        assert_eq!(relative("a/b.csv").unwrap().as_ref(), "a/b.csv");
        assert!(Store::open("s3://bucket/x", false).is_err());
    }
}
