//! A folder of this machine as a store.
//!
//! `object_store`'s local store never calls fsync, so everything that must survive a power cut is written here: file
//! first, then its folder, and only then is success reported.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::faulty::{self, io};
use crate::error::{Error, Result};
use crate::fault;

/// Attempts to make a lock's file while others remove the folders that they leave empty.
const ATTEMPTS: usize = 20;

/// A folder of this machine.
#[derive(Clone)]
pub struct Local {
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
        Ok(Self { objects: faulty::objects(Arc::new(objects)), root })
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

    pub(super) fn walk(&self, prefix: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        // A part of the path may be a file.
        if !prefix.as_ref().is_empty() && !self.has(prefix) {
            return futures::stream::empty().boxed();
        }
        self.objects.list(Some(prefix)).map_err(Error::from).boxed()
    }

    pub(super) async fn create(&self, path: &Path, content: Bytes) -> Result<bool> {
        let target = self.at(path);
        blocking(move || {
            let folder = parent(&target)?;
            make_folder(&folder)?;
            let temporary = folder.join(temporary_name());
            let written = write_synced(&temporary, &content).and_then(|()| {
                fault::point("create.written")?;
                let is_new = link(&temporary, &target)?;
                fault::point("create.linked")?;
                Ok(is_new)
            });
            let _ = std::fs::remove_file(&temporary);
            let created = written?;
            sync_folder(&folder)?;
            Ok(created)
        })
        .await
    }

    /// A place beside an object for one that is to take its name. Readers leave such names alone.
    pub fn beside(path: &Path) -> Path {
        path.parent().unwrap_or_default().join(temporary_name())
    }

    /// Gives a file another name, in the place of one that may have it: `false` if `from` is gone and `to` is there,
    /// because an earlier attempt got this far. The new name survives a power cut.
    ///
    /// # Errors
    /// As the file system fails, and if neither is there.
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        let (from, to) = (self.at(from), self.at(to));
        blocking(move || {
            let folder = parent(&to)?;
            make_folder(&folder)?;
            let renamed = match io(|| std::fs::rename(&from, &to)) {
                Ok(()) => true,
                Err(e) if e.kind() == ErrorKind::NotFound && to.exists() => false,
                Err(e) => return Err(Error::from(e).with("path", from.display().to_string())),
            };
            // The earlier attempt may have ended before it could do this.
            sync_folder(&folder).map(|()| renamed)
        })
        .await
    }

    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        let target = self.at(path);
        blocking(move || gone(io(|| std::fs::remove_file(&target)))).await
    }

    pub(super) async fn remove_and_prune(&self, path: &Path) -> Result<()> {
        let (target, root) = (self.at(path), self.root.clone());
        blocking(move || {
            gone(io(|| std::fs::remove_file(&target)))?;
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
            gone(io(|| std::fs::remove_dir_all(&folder)))?;
            let _ = folder.parent().map(std::fs::remove_dir);
            Ok(())
        })
        .await
    }

    /// Begins a file at its place, which must not be one that readers look at.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn begin(&self, path: &Path) -> Result<File> {
        let at = self.at(path);
        let folder = parent(&at)?;
        let mut tries = 1;
        loop {
            let begun = make_folder(&folder).and_then(|()| Ok(io(|| File::create(&at))?));
            match begun {
                // Somebody else removes the folders that he leaves empty, which this one was in.
                Err(_) if tries < ATTEMPTS && !folder.is_dir() && is_free(&folder) => tries += 1,
                begun => return begun.map_err(|e| e.with("path", at.display().to_string())),
            }
        }
    }

    /// Makes the content of a file survive a power cut, once everything is written. Files of one folder need one
    /// [`sync`](Self::sync) after the last.
    ///
    /// # Errors
    /// As the file system fails.
    pub async fn finish(file: File) -> Result<()> {
        blocking(move || Ok(io(|| file.sync_all())?)).await
    }

    pub(super) fn sync_object(&self, path: &Path) -> Result<()> {
        let at = self.at(path);
        io(|| File::open(&at)?.sync_all())?;
        sync_folder(&parent(&at)?)
    }

    /// Makes the names of the files in a folder survive a power cut.
    ///
    /// # Errors
    /// As the file system fails.
    pub fn sync(&self, folder: &Path) -> Result<()> {
        sync_folder(&self.at(folder))
    }

    pub(super) fn try_lock(&self, path: &Path) -> Result<Option<File>> {
        let target = self.at(path);
        loop {
            let file = open_lock(&target)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &target)? => return Ok(Some(file)),
                // Who held it before has removed it, so others find another file, or none.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(e.into()),
            }
        }
    }

    pub(super) async fn lock(&self, path: &Path) -> Result<File> {
        let target = self.at(path);
        blocking(move || {
            loop {
                let file = open_lock(&target)?;
                file.lock()?;
                if is_at(&file, &target)? {
                    return Ok(file);
                }
            }
        })
        .await
    }

    /// The symbolic links at or below a path that lead nowhere, sorted. A listing says nothing of them.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if a folder holds itself through a link: no listing would end.
    pub(super) async fn broken_links(&self, prefix: &Path) -> Result<Vec<Path>> {
        let (folder, root, prefix) = (self.at(prefix), self.root.clone(), prefix.clone());
        blocking(move || {
            let mut found = Vec::new();
            match folder.canonicalize() {
                Ok(real) if real.is_dir() => follow(&root, &folder, &mut vec![real], &mut found)?,
                Err(_) if folder.is_symlink() => found.push(prefix),
                _ => {}
            }
            found.sort();
            Ok(found)
        })
        .await
    }
}

/// A name for an object that does not have its own yet.
fn temporary_name() -> String {
    format!(".{}.tmp", uuid::Uuid::new_v4().simple())
}

/// Whether this is the name that an object in a folder has while it is created, and keeps if the process dies there.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.filename().and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp"));
    name.is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn open_lock(path: &FsPath) -> Result<File> {
    let folder = parent(path)?;
    let open = || -> Result<File> {
        make_folder(&folder)?;
        Ok(File::options().create(true).truncate(false).write(true).open(path)?)
    };
    // Whoever removes a lock removes the folders that this leaves empty, maybe in between.
    for _ in 1..ATTEMPTS {
        if let Ok(file) = open() {
            return Ok(file);
        }
    }
    open()
}

/// Whether a file is the one that is found under this name now.
fn is_at(file: &File, path: &FsPath) -> Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Looks for links that lead nowhere, in a folder and those below it, through links too. `above` are the folders on
/// the way here as they really are, this one last.
fn follow(root: &FsPath, folder: &FsPath, above: &mut Vec<PathBuf>, found: &mut Vec<Path>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        // A folder that is empty may have been removed by now.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if !kind.is_dir() && !kind.is_symlink() {
            continue;
        }
        let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        match std::fs::metadata(&path) {
            Ok(there) if there.is_dir() => {
                let real = path.canonicalize()?;
                if above.contains(&real) {
                    return Err(Error::config("a folder holds itself through a symbolic link")
                        .with("path", shown)
                        .hint("remove the link, or let it lead elsewhere"));
                }
                above.push(real);
                follow(root, &path, above, found)?;
                above.pop();
            }
            Ok(_) => {}
            Err(e) if kind.is_symlink() && e.kind() == ErrorKind::NotFound => found.push(Path::from(shown)),
            Err(e) if kind.is_symlink() => {
                return Err(Error::config("a symbolic link cannot be followed").with("path", shown).because(e));
            }
            // Removed in between.
            Err(_) => {}
        }
    }
    Ok(())
}

/// What was to be removed may be gone already.
fn gone(removed: std::io::Result<()>) -> Result<()> {
    match removed {
        Err(e) if ![ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => Err(e.into()),
        _ => Ok(()),
    }
}

fn parent(path: &FsPath) -> Result<PathBuf> {
    path.parent().map(FsPath::to_path_buf).ok_or_else(|| Error::internal("a path has no folder"))
}

/// Whether a folder can be made at a path: nothing else is there or on the way.
fn is_free(folder: &FsPath) -> bool {
    folder.ancestors().find(|above| above.symlink_metadata().is_ok()).is_some_and(FsPath::is_dir)
}

/// Makes a folder and syncs every parent that got a new entry.
fn make_folder(path: &FsPath) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(up) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_folder(up)?;
    }
    match io(|| std::fs::create_dir(path)) {
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
    Ok(io(|| File::open(path)?.sync_all())?)
}

fn write_synced(path: &FsPath, content: &[u8]) -> Result<()> {
    let written = io(|| {
        let mut file = File::create_new(path)?;
        file.write_all(content)?;
        file.sync_all()
    });
    Ok(written?)
}

/// Gives a file its name; `false` if another one has it.
fn link(file: &FsPath, name: &FsPath) -> Result<bool> {
    match io(|| std::fs::hard_link(file, name)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("a worker thread died").because(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> (tempfile::TempDir, Local) {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(dir.path(), true).unwrap();
        (dir, local)
    }

    #[test]
    fn a_name_that_is_no_name_yet_is_told_from_others() {
        assert!(is_temporary(&Path::from(format!("t/{}", temporary_name()))));
        for name in [".x.tmp", "mine.tmp", ".00000000000000000001.json.6f1c.tmp", "000000000001.json", ""] {
            assert!(!is_temporary(&Path::from(name)), "{name}");
        }
    }

    #[tokio::test]
    async fn a_lock_that_was_removed_is_no_lock_for_whoever_waited_for_it() {
        let (dir, local) = local();
        let (path, at) = (Path::from("t/_transload/lock"), dir.path().join("t/_transload/lock"));
        for _ in 0..20 {
            let first = local.try_lock(&path).unwrap().unwrap();
            assert!(is_at(&first, &at).unwrap());
            let waiting = tokio::spawn({
                let (local, path) = (local.clone(), path.clone());
                async move { local.lock(&path).await.unwrap() }
            });
            tokio::task::yield_now().await;
            local.remove_and_prune(&path).await.unwrap();
            assert!(!is_at(&first, &at).unwrap());
            drop(first);
            let second = waiting.await.unwrap();
            assert!(is_at(&second, &at).unwrap());
            assert!(local.try_lock(&path).unwrap().is_none());
        }
    }

    #[test]
    fn a_file_that_took_the_place_of_another_is_another() {
        let (dir, local) = local();
        let path = Path::from("lock");
        let old = local.try_lock(&path).unwrap().unwrap();
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        let new = local.try_lock(&path).unwrap().unwrap();
        assert!(!is_at(&old, &dir.path().join("lock")).unwrap());
        assert!(is_at(&new, &dir.path().join("lock")).unwrap());
    }

    #[tokio::test]
    async fn links_that_lead_nowhere_or_back_are_found() {
        use std::os::unix::fs::symlink;
        let (dir, local) = local();
        std::fs::create_dir_all(dir.path().join("t/deep")).unwrap();
        std::fs::create_dir_all(dir.path().join("other")).unwrap();
        std::fs::write(dir.path().join("t/a.csv"), "a").unwrap();
        symlink("a.csv", dir.path().join("t/good.csv")).unwrap();
        symlink("../other", dir.path().join("t/folder")).unwrap();
        for whole in ["t", "t/a.csv", "missing"] {
            assert!(local.broken_links(&Path::from(whole)).await.unwrap().is_empty(), "{whole}");
        }

        symlink("nowhere", dir.path().join("t/deep/b.csv")).unwrap();
        symlink("nowhere", dir.path().join("other/c.csv")).unwrap();
        let found = local.broken_links(&Path::from("t")).await.unwrap();
        assert_eq!(found, [Path::from("t/deep/b.csv"), Path::from("t/folder/c.csv")]);
        let one = Path::from("t/deep/b.csv");
        assert_eq!(local.broken_links(&one).await.unwrap(), [one]);

        symlink("..", dir.path().join("t/deep/up")).unwrap();
        let error = local.broken_links(&Path::from("t")).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert!(error.to_string().contains("t/deep/up"), "{error}");
        assert_eq!(local.broken_links(&Path::from("other")).await.unwrap(), [Path::from("other/c.csv")]);
    }
}
