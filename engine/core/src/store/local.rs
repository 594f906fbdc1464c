//! A folder of this machine as a store.
//!
//! `object_store`'s local store never calls fsync, so everything that must survive a power cut is written here: file
//! first, then its folder, and only then is success reported.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use crate::error::{Error, Result};

/// A folder of this machine.
#[derive(Clone)]
pub(super) struct Local {
    objects: Arc<dyn ObjectStore>,
    root: PathBuf,
}

impl Local {
    /// Opens a folder, making it if `create` is set.
    pub(super) fn open(path: &FsPath, create: bool) -> Result<Self> {
        if create {
            make_folder(path)?;
        }
        let root = path.canonicalize()?;
        if !root.is_dir() {
            return Err(Error::config("this is a file, and a folder is needed"));
        }
        let objects = LocalFileSystem::new_with_prefix(&root)?;
        Ok(Self { objects: Arc::new(objects), root })
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    pub(super) fn is_file(&self, path: &Path) -> bool {
        self.at(path).is_file()
    }

    pub(super) fn has(&self, prefix: &Path) -> bool {
        self.at(prefix).is_dir()
    }

    /// Where an object lies.
    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }

    pub(super) async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        // A part of the path may be a file.
        if !prefix.as_ref().is_empty() && !self.has(prefix) {
            return Ok(Vec::new());
        }
        let mut found: Vec<ObjectMeta> = self.objects.list(Some(prefix)).try_collect().await?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    pub(super) async fn create(&self, path: &Path, content: Bytes) -> Result<bool> {
        let target = self.at(path);
        blocking(move || {
            let folder = parent(&target)?;
            make_folder(&folder)?;
            let temporary = folder.join(format!(".{}.tmp", uuid::Uuid::new_v4().simple()));
            let written =
                write_synced(&temporary, &content).and_then(|()| match std::fs::hard_link(&temporary, &target) {
                    Ok(()) => Ok(true),
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
                    Err(e) => Err(e.into()),
                });
            let _ = std::fs::remove_file(&temporary);
            let created = written?;
            sync_folder(&folder)?;
            Ok(created)
        })
        .await
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        let (from, to) = (self.at(from), self.at(to));
        blocking(move || {
            let folder = parent(&to)?;
            make_folder(&folder)?;
            match std::fs::rename(&from, &to) {
                Ok(()) => sync_folder(&folder).map(|()| true),
                Err(e) if e.kind() == ErrorKind::NotFound && to.exists() => Ok(false),
                Err(e) => Err(Error::from(e).with("path", from.display().to_string())),
            }
        })
        .await
    }

    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        let target = self.at(path);
        blocking(move || gone(std::fs::remove_file(&target))).await
    }

    pub(super) async fn remove_and_prune(&self, path: &Path) -> Result<()> {
        let (target, root) = (self.at(path), self.root.clone());
        blocking(move || {
            gone(std::fs::remove_file(&target))?;
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

    pub(super) async fn remove_all(&self, prefix: &Path) -> Result<()> {
        let folder = self.at(prefix);
        blocking(move || {
            gone(std::fs::remove_dir_all(&folder))?;
            let _ = folder.parent().map(std::fs::remove_dir);
            Ok(())
        })
        .await
    }

    /// Begins a file in its place.
    pub(super) fn begin_file(&self, path: &Path) -> Result<File> {
        let at = self.at(path);
        make_folder(&parent(&at)?)?;
        Ok(File::create(&at)?)
    }

    pub(super) fn sync(&self, folder: &Path) -> Result<()> {
        sync_folder(&self.at(folder))
    }

    pub(super) fn try_lock(&self, path: &Path) -> Result<Option<File>> {
        let file = open_lock(&self.at(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e.into()),
        }
    }

    pub(super) async fn lock(&self, path: &Path) -> Result<File> {
        let target = self.at(path);
        blocking(move || {
            let file = open_lock(&target)?;
            file.lock()?;
            Ok(file)
        })
        .await
    }
}

/// Makes what was written to a file survive a power cut, and returns its size.
pub(super) fn finish_file(file: &File) -> Result<u64> {
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

fn open_lock(path: &FsPath) -> Result<File> {
    make_folder(&parent(path)?)?;
    Ok(File::options().create(true).truncate(false).write(true).open(path)?)
}

/// What was to be removed may be gone already.
fn gone(removed: std::io::Result<()>) -> Result<()> {
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

fn parent(path: &FsPath) -> Result<PathBuf> {
    path.parent().map(FsPath::to_path_buf).ok_or_else(|| Error::internal("a path has no folder"))
}

/// Makes a folder and syncs every parent that got a new entry.
fn make_folder(path: &FsPath) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(up) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_folder(up)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(e) => return Err(Error::from(e).with("folder", path.display().to_string())),
    }
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(up) => sync_folder(up),
        None => Ok(()),
    }
}

/// Makes the entries of a folder survive a power cut.
fn sync_folder(path: &FsPath) -> Result<()> {
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
