//! The one place that turns a URL into a store, and the durable operations on it.
//!
//! A store is a folder of this machine or a prefix in a bucket. Both can do the same, so that whoever keeps things in
//! a store does not have to ask which it is: create an object once, move one, hold a lock. `local.rs` does it with
//! files and fsync, `remote.rs` and `lease.rs` with conditional requests, and `vendor.rs` says how buckets are reached.

mod lease;
mod local;
mod location;
mod remote;
mod vendor;

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use self::lease::Lease;
use self::local::Local;
use self::location::Location;
use self::remote::Remote;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Resolve;

pub use self::location::{check_location, relative};

/// A folder of objects, on whatever system.
#[derive(Clone)]
pub struct Store {
    place: Place,
    url: String,
}

#[derive(Clone)]
enum Place {
    Local(Local),
    Remote(Remote),
}

/// A lock that is held until it is given back or the process ends.
///
/// In a folder the system frees it with the process, at once. In a bucket it is a lease: it is renewed for as long as
/// this value lives, and runs out half a minute after the process was killed.
pub struct Lock(Held);

enum Held {
    Local(File),
    Remote(Lease),
}

impl Store {
    /// Opens the folder that `location` names: a path (relative to the working folder), a `file:` URL, or a prefix in
    /// a bucket, as in `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`. A missing folder is made
    /// when `create` is set, and is an error otherwise; a bucket has to be there and is not looked at yet.
    ///
    /// How to reach a bucket, and with which credentials, is asked of `resolver`, by the names of the variables that
    /// its vendor uses.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for another scheme, a folder that is missing or one that cannot be made,
    /// and settings of a bucket that contradict each other.
    pub fn open(location: &str, create: bool, resolver: &dyn Resolve) -> Result<Self> {
        Self::open_as(location, location, create, resolver)
    }

    /// The same for a location that may hold the value of a secret: messages say `shown` instead.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as(location: &str, shown: &str, create: bool, resolver: &dyn Resolve) -> Result<Self> {
        let shown = location::without_credentials(shown);
        let place = match Location::parse(location) {
            Ok(Location::Folder(path)) => Local::open(&path, create).map(Place::Local),
            Ok(Location::Bucket(bucket)) => {
                vendor::connect(&bucket, resolver).map(|objects| Place::Remote(Remote::new(objects, Clock::system())))
            }
            Err(error) => Err(error),
        };
        match place {
            Ok(place) => Ok(Self { place, url: shown }),
            // The causes may hold the location itself.
            Err(e) => {
                let error = Error::new(e.kind(), e.message()).with("folder", shown);
                let hint = e.hint_text().unwrap_or("check the path; relative paths start where transload was started");
                Err(error.hint(hint))
            }
        }
    }

    /// A store over objects that are open already, such as ones in memory. Its locks go by `clock`.
    pub fn over(objects: Arc<dyn ObjectStore>, url: &str, clock: Clock) -> Self {
        Self { place: Place::Remote(Remote::new(objects, clock)), url: url.to_string() }
    }

    /// The location as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether this is a folder of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    /// The store itself, for readers. What it says about an object may name it by its whole path in the bucket: ask
    /// [`head`](Self::head) and [`list`](Self::list) instead.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        match &self.place {
            Place::Local(local) => local.objects(),
            Place::Remote(remote) => remote.objects(),
        }
    }

    /// Every object under `prefix`, sorted by path, hidden ones included.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        match &self.place {
            Place::Local(local) => local.list(prefix).await,
            Place::Remote(remote) => remote.list(prefix).await,
        }
    }

    /// The symbolic links under `prefix` that lead nowhere, sorted: a listing leaves them out. A bucket has none.
    ///
    /// # Errors
    /// As the store fails, and [`Config`](crate::ErrorKind::Config) for a folder that holds itself through a link.
    pub async fn broken_links(&self, prefix: &Path) -> Result<Vec<Path>> {
        match &self.place {
            Place::Local(local) => local.broken_links(prefix).await,
            Place::Remote(_) => Ok(Vec::new()),
        }
    }

    /// Whether there is anything under `prefix`; in a local store also an empty folder.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn has(&self, prefix: &Path) -> Result<bool> {
        match &self.place {
            Place::Local(local) => Ok(local.has(prefix)),
            Place::Remote(remote) => remote.has(prefix).await,
        }
    }

    /// What is known about an object, or `None` if there is none.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        match &self.place {
            Place::Local(local) if !local.is_file(path) => Ok(None),
            _ => head(self.objects(), path).await,
        }
    }

    /// The whole object, or `None` if there is none.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.objects().get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Writes an object that must not exist yet. `false` if it exists; then nothing was changed.
    /// The object appears whole or not at all, and stays after a power cut.
    ///
    /// In a bucket an object that holds exactly `content` counts as written by this call: the answer to a request can
    /// be lost, and the request repeated, without anybody here seeing it.
    ///
    /// # Errors
    /// As the store fails; whether the object is there is not known then.
    pub async fn create(&self, path: &Path, content: Bytes) -> Result<bool> {
        match &self.place {
            Place::Local(local) => local.create(path, content).await,
            Place::Remote(remote) => remote.create(path, content).await,
        }
    }

    /// Moves an object, in the place of one that may be there: `false` if `from` is gone and `to` is there, because an
    /// earlier attempt got this far. In a bucket it is copied and then removed, so there can be two of it for a while,
    /// and after a crash.
    ///
    /// # Errors
    /// As the store fails, and if neither is there.
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        match &self.place {
            Place::Local(local) => local.rename(from, to).await,
            Place::Remote(remote) => remote.rename(from, to).await,
        }
    }

    /// Removes an object; one that is gone already is fine.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn remove(&self, path: &Path) -> Result<()> {
        match &self.place {
            Place::Local(local) => local.remove(path).await,
            Place::Remote(remote) => remote.remove(path).await,
        }
    }

    /// Removes an object and the folders this leaves empty. Nobody may be writing into them.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn remove_and_prune(&self, path: &Path) -> Result<()> {
        match &self.place {
            Place::Local(local) => local.remove_and_prune(path).await,
            Place::Remote(remote) => remote.remove(path).await,
        }
    }

    /// Removes everything under `prefix`, the folder itself, and the one around it if that is empty then.
    /// Nobody may be writing into it.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn remove_all(&self, prefix: &Path) -> Result<()> {
        match &self.place {
            Place::Local(local) => local.remove_all(prefix).await,
            Place::Remote(remote) => remote.remove_all(prefix).await,
        }
    }

    /// Begins a file that will be the object at `path`, for writers that need a file of this machine. In a local store
    /// it is that object, which must not be one that readers look at; for a bucket it is a temporary file without a
    /// name.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn begin_file(&self, path: &Path) -> Result<File> {
        match &self.place {
            Place::Local(local) => local.begin_file(path),
            Place::Remote(_) => Ok(tempfile::tempfile()?),
        }
    }

    /// Ends a file that was begun for `path`, once everything is written: makes it durable, or sends it to the bucket,
    /// some megabytes at a time. Returns its size. Files of one folder need one [`sync`](Self::sync) after the last.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn finish_file(&self, path: &Path, file: File) -> Result<u64> {
        match &self.place {
            Place::Local(_) => local::finish_file(&file),
            Place::Remote(remote) => remote.upload(path, file).await,
        }
    }

    /// Makes the names of the files in a folder survive a power cut.
    ///
    /// # Errors
    /// As the store fails.
    pub fn sync(&self, folder: &Path) -> Result<()> {
        match &self.place {
            Place::Local(local) => local.sync(folder),
            Place::Remote(_) => Ok(()),
        }
    }

    /// Makes an object that something else has written into a local store survive a power cut, its name included.
    ///
    /// # Errors
    /// As the store fails.
    pub fn sync_object(&self, path: &Path) -> Result<()> {
        match &self.place {
            Place::Local(local) => local.sync_object(path),
            Place::Remote(_) => Ok(()),
        }
    }

    /// Takes the lock of that name, or `None` if somebody else holds it.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn try_lock(&self, path: &Path) -> Result<Option<Lock>> {
        let held = match &self.place {
            Place::Local(local) => local.try_lock(path)?.map(Held::Local),
            Place::Remote(remote) => Lease::take(remote, path).await?.map(Held::Remote),
        };
        Ok(held.map(Lock))
    }

    /// Waits until nobody else holds the lock of that name, and takes it.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn lock(&self, path: &Path) -> Result<Lock> {
        Ok(Lock(match &self.place {
            Place::Local(local) => Held::Local(local.lock(path).await?),
            Place::Remote(remote) => Held::Remote(Lease::wait(remote, path).await?),
        }))
    }

    /// Removes the file of a lock that is `held` under this name, and the folders this leaves empty. Whoever waits for
    /// the lock notices, and takes it anew. In a bucket the object stays: its removal cannot be made conditional, and
    /// would hit whoever has taken the lock over by then.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn remove_lock(&self, path: &Path, held: &Lock) -> Result<()> {
        match (&self.place, &held.0) {
            (Place::Local(local), Held::Local(_)) => local.remove_and_prune(path).await,
            _ => Ok(()),
        }
    }
}

impl Lock {
    /// Makes sure that the lock is still held, just before something that must not be done without.
    ///
    /// # Errors
    /// [`Transient`](crate::ErrorKind::Transient) if it may have passed to somebody else: this process or its
    /// connection stood still for too long.
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Held::Local(_) => Ok(()),
            Held::Remote(lease) => lease.check(),
        }
    }

    /// Gives the lock back, so that the next one can take it at once. A lock that is merely dropped may have to run
    /// out first.
    pub async fn release(self) {
        match self.0 {
            Held::Local(file) => drop(file),
            Held::Remote(lease) => lease.release().await,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The objects know credentials.
        write!(f, "Store({})", self.url)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// What is known about an object, named as it was asked for.
async fn head(objects: &Arc<dyn ObjectStore>, path: &Path) -> Result<Option<ObjectMeta>> {
    match objects.head(path).await {
        Ok(meta) => Ok(Some(ObjectMeta { location: path.clone(), ..meta })),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use object_store::memory::InMemory;
    use object_store::prefix::PrefixStore;

    use super::*;
    use crate::secret::NoReferences;

    /// A store of each sort, and what has to live as long as they do.
    fn stores() -> (tempfile::TempDir, [Store; 3]) {
        let dir = tempfile::tempdir().unwrap();
        let local = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let below = Arc::new(PrefixStore::new(Arc::clone(&memory), "a/prefix"));
        let stores = [
            local,
            Store::over(memory, "memory", Clock::system()),
            Store::over(below, "memory/a/prefix", Clock::system()),
        ];
        (dir, stores)
    }

    #[tokio::test]
    async fn an_object_is_created_once() {
        let (dir, stores) = stores();
        for store in &stores {
            let path = Path::from("a/b/c.json");
            assert!(store.create(&path, Bytes::from_static(b"1")).await.unwrap());
            assert!(!store.create(&path, Bytes::from_static(b"2")).await.unwrap());
            assert_eq!(store.read(&path).await.unwrap().unwrap().as_ref(), b"1");
            let listed = store.list(&Path::from("a")).await.unwrap();
            assert_eq!(listed.len(), 1, "{store:?}");
            assert_eq!(listed[0].location, path);
            assert_eq!(store.head(&path).await.unwrap().unwrap().location, path);
            assert!(store.has(&Path::from("a/b")).await.unwrap());
            store.remove(&path).await.unwrap();
            store.remove_and_prune(&path).await.unwrap();
            assert!(store.read(&path).await.unwrap().is_none());
            assert!(store.head(&path).await.unwrap().is_none());
            assert!(!store.has(&Path::from("a/b")).await.unwrap(), "{store:?}");
        }
        assert!(!dir.path().join("a").exists());
    }

    #[tokio::test]
    async fn a_rename_can_be_repeated() {
        let (_dir, stores) = stores();
        for store in &stores {
            let (from, to) = (Path::from("x"), Path::from("d/y"));
            store.create(&from, Bytes::from_static(b"1")).await.unwrap();
            assert!(store.rename(&from, &to).await.unwrap());
            assert!(!store.rename(&from, &to).await.unwrap());
            assert!(store.rename(&from, &Path::from("z")).await.is_err());
            // What a killed rename leaves in a bucket: both.
            store.create(&from, Bytes::from_static(b"1")).await.unwrap();
            assert!(store.rename(&from, &to).await.unwrap());
            assert!(store.head(&from).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn everything_below_a_folder_is_removed_and_nothing_beside_it() {
        let (_dir, stores) = stores();
        for store in &stores {
            for name in ["s/k/a", "s/k/b/c", "s/kept"] {
                store.create(&Path::from(name), Bytes::from_static(b"1")).await.unwrap();
            }
            store.remove_all(&Path::from("s/k")).await.unwrap();
            store.remove_all(&Path::from("s/k")).await.unwrap();
            let left: Vec<String> =
                store.list(&Path::default()).await.unwrap().iter().map(|m| m.location.to_string()).collect();
            assert_eq!(left, ["s/kept"], "{store:?}");
        }
    }

    #[tokio::test]
    async fn a_file_becomes_an_object_whatever_its_size() {
        let (_dir, stores) = stores();
        for store in &stores {
            for size in [0, 1, remote::PART, remote::PART + 1, 3 * remote::PART + 17] {
                let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
                let path = Path::from(format!("files/{size}"));
                let mut file = store.begin_file(&path).unwrap();
                file.write_all(&content).unwrap();
                assert_eq!(store.finish_file(&path, file).await.unwrap(), size as u64);
                assert!(store.read(&path).await.unwrap().unwrap() == content, "{store:?}, {size} bytes");
            }
            store.sync(&Path::from("files")).unwrap();
        }
    }

    #[tokio::test]
    async fn a_lock_is_held_once_and_can_be_given_back() {
        let (_dir, stores) = stores();
        for store in &stores {
            let path = Path::from("locks/p.lock");
            let first = store.try_lock(&path).await.unwrap().unwrap();
            first.check().unwrap();
            assert!(store.try_lock(&path).await.unwrap().is_none(), "{store:?}");
            assert!(store.try_lock(&Path::from("locks/q.lock")).await.unwrap().is_some());
            first.release().await;
            let second = store.lock(&path).await.unwrap();
            let waiting = tokio::spawn({
                let (store, path) = (store.clone(), path.clone());
                async move { store.lock(&path).await }
            });
            second.release().await;
            waiting.await.unwrap().unwrap().release().await;
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_removed_stays_held_by_one() {
        let (dir, stores) = stores();
        for store in &stores {
            let path = Path::from("t/_transload/lock");
            let first = store.lock(&path).await.unwrap();
            store.remove_lock(&path, &first).await.unwrap();
            if !store.is_local() {
                assert!(store.try_lock(&path).await.unwrap().is_none(), "{store:?}");
            }
            first.release().await;
            let second = store.try_lock(&path).await.unwrap().unwrap();
            assert!(store.try_lock(&path).await.unwrap().is_none(), "{store:?}");
            store.remove_lock(&path, &second).await.unwrap();
        }
        assert!(!dir.path().join("t").exists());
    }

    #[test]
    fn a_location_that_cannot_be_opened_is_refused_without_showing_credentials() {
        for bad in ["s3://id:s3cr3t@bucket/x", "s3://", "gs:///x", "az://c?sig=s3cr3t", "ftp://u:s3cr3t@host/x", " "] {
            let error = Store::open(bad, true, &NoReferences).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config, "{bad}");
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
    }
}
