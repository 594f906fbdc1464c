//! The one place that turns a URL into a store, and the durable operations on it.
//!
//! A store is a folder of this machine, a prefix in a bucket, or a folder of a web server, which can only be read. All
//! can do the same, so that whoever keeps things in a store does not have to ask which it is: create an object once,
//! hold a lock. `local.rs` does it with files and fsync, `remote.rs` and `lease.rs` with conditional requests. Only who
//! writes large files that nobody shall see yet has to ask, by [`Staging`]: a folder has names that are changed later,
//! a bucket has uploads that are completed later (`uploads.rs`), and may list those that are not (`unfinished.rs`).
//!
//! `options.rs` is what a connection can say about how a store is reached, `vendor.rs` makes a store of that,
//! `answer.rs` says what its errors mean, and `again.rs` which requests are made again. Where a test wants it, `faulty.rs`
//! lets requests fail.

mod again;
mod answer;
mod faulty;
mod lease;
mod local;
mod location;
mod options;
mod quiet;
mod remote;
mod unfinished;
mod uploads;
mod vendor;
mod web;

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use secrecy::ExposeSecret;

use self::again::Again;
use self::lease::Lease;
use self::location::{Kind, Location};
use self::remote::Remote;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::{Resolve, Template};

pub(crate) use self::answer::explain;
pub use self::local::{Local, is_temporary};
pub use self::location::relative;
pub use self::options::{AzureOptions, GcsOptions, HttpOptions, S3Options, StoreOptions};
pub use self::unfinished::{Begun, Unfinished};
pub use self::uploads::{MOST_PARTS, PART_BYTES, Upload, Uploads};

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

/// Where a store is and how it is reached: everything that it takes to open it.
#[derive(Clone)]
pub struct Address {
    /// Where it is; may refer to secrets.
    pub url: Template,
    /// What the connection says about how it is reached.
    pub options: StoreOptions,
    /// Where references, and everything else, are looked up.
    pub resolver: Arc<dyn Resolve>,
}

/// How a store keeps a file where nobody sees it until it is published.
pub enum Staging<'a> {
    /// Under another name, which is changed then.
    Names(&'a Local),
    /// As an upload, which is completed then.
    Uploads(&'a Uploads),
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

impl Address {
    /// Opens the store, making a folder that is missing if `create` is set.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self, create: bool) -> Result<Store> {
        let url = self.url.resolve(self.resolver.as_ref())?;
        let shown = self.url.as_written();
        Store::make(url.expose_secret(), shown, &self.options, create, self.resolver.as_ref())
    }

    /// Opens the store, or `None` if it is a folder that is not there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn find(&self) -> Result<Option<Store>> {
        let url = self.url.resolve(self.resolver.as_ref())?;
        match is_missing(url.expose_secret()) {
            true => Ok(None),
            false => self.open(false).map(Some),
        }
    }

    /// Whether nothing can be written there. What is not known before references are resolved counts as writable. Pure.
    pub fn is_read_only(&self) -> bool {
        Kind::begun(self.url.beginning(), self.url.literal().is_some()) == Some(Kind::Web)
    }

    /// Makes sure that something can be written there, once references are resolved.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if it can only be read.
    pub fn check_writable(&self) -> Result<()> {
        let url = self.url.resolve(self.resolver.as_ref())?;
        match Location::parse(url.expose_secret()) {
            Ok(Location::Web(_)) => Err(read_only()),
            _ => Ok(()),
        }
    }
}

/// Whether a location is a folder that is not there.
fn is_missing(location: &str) -> bool {
    matches!(Location::parse(location), Ok(Location::Folder(path)) if !path.exists())
}

impl Store {
    /// Opens the folder that `location` names: a path (relative to the working folder), a `file:` URL, a prefix in a
    /// bucket, as in `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`, or a folder of a web server,
    /// as in `https://host/path`. A missing folder is made when `create` is set, and is an error otherwise; a bucket has
    /// to be there and is not looked at yet.
    ///
    /// How to reach a bucket, and with which credentials, is asked of `resolver`, by the names of the variables that
    /// its vendor uses.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for another scheme, a folder that is missing or one that cannot be made,
    /// a web server where `create` is set, and settings that contradict each other.
    pub fn open(location: &str, create: bool, resolver: &dyn Resolve) -> Result<Self> {
        Self::make(location, location, &StoreOptions::default(), create, resolver)
    }

    /// The same, or `None` if `location` is a folder that is not there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn find(location: &str, resolver: &dyn Resolve) -> Result<Option<Self>> {
        match is_missing(location) {
            true => Ok(None),
            false => Self::open(location, false, resolver).map(Some),
        }
    }

    /// Opens a location that may hold the value of a secret: messages say `shown` instead.
    fn make(location: &str, shown: &str, options: &StoreOptions, create: bool, resolver: &dyn Resolve) -> Result<Self> {
        let shown = location::without_credentials(shown);
        let reached = |kind: Kind| match options.misplaced(kind) {
            Some(reason) => Err(Error::config(reason).hint("remove it, or change the url")),
            None => Ok(()),
        };
        let clock = Clock::system();
        let place = match Location::parse(location) {
            Ok(Location::Folder(path)) => {
                reached(Kind::Folder).and_then(|()| Local::open(&path, create)).map(Place::Local)
            }
            Ok(Location::Bucket(bucket)) => reached(Kind::Bucket(bucket.vendor))
                .and_then(|()| vendor::connect(&bucket, options, resolver))
                .map(|open| {
                    let (objects, uploads) = (faulty::objects(open.objects), faulty::uploads(open.uploads));
                    let remote = Remote::new(objects, uploads, clock, open.again);
                    Place::Remote(match open.unfinished {
                        Some(unfinished) => remote.listed_by(unfinished),
                        None => remote,
                    })
                }),
            Ok(Location::Web(_)) if create => Err(read_only()),
            Ok(Location::Web(web)) => reached(Kind::Web)
                .and_then(|()| vendor::browse(&web, options))
                .map(|objects| Place::Remote(Remote::read_only(faulty::objects(objects), clock))),
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

    /// A store over objects that are open already, such as ones in memory. Its locks go by `clock`; what fails is not
    /// tried again.
    pub fn over<T: ObjectStore + MultipartStore>(objects: Arc<T>, url: &str, clock: Clock) -> Self {
        let uploads: Arc<dyn MultipartStore> = Arc::<T>::clone(&objects);
        Self { place: Place::Remote(Remote::new(objects, uploads, clock, Again::never())), url: url.to_string() }
    }

    /// The same store, if it is in a bucket with a list of the uploads that nobody has completed.
    pub fn with_unfinished(self, unfinished: Arc<dyn Unfinished>) -> Self {
        match self.place {
            Place::Remote(remote) => Self { place: Place::Remote(remote.listed_by(unfinished)), url: self.url },
            Place::Local(_) => self,
        }
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

    /// Whether a store can be asked what it holds. Few web servers can.
    pub fn is_listed(&self) -> bool {
        match &self.place {
            Place::Local(_) => true,
            Place::Remote(remote) => remote.uploads().is_some(),
        }
    }

    /// How files are kept here that nobody shall see yet.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for a store that can only be read.
    pub fn staging(&self) -> Result<Staging<'_>> {
        match &self.place {
            Place::Local(local) => Ok(Staging::Names(local)),
            Place::Remote(remote) => remote.uploads().map(Staging::Uploads).ok_or_else(read_only),
        }
    }

    /// Every object under `prefix`, hidden ones included, in no order and one after the other: as many as there are, no
    /// more than a page of a listing is held.
    ///
    /// # Errors
    /// As the store fails.
    pub fn walk(&self, prefix: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match &self.place {
            Place::Local(local) => local.walk(prefix),
            Place::Remote(remote) => remote.walk(prefix),
        }
    }

    /// The same, all together and sorted by path, for places that hold few.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut found: Vec<ObjectMeta> = match &self.place {
            Place::Local(local) => local.walk(prefix).try_collect().await?,
            Place::Remote(remote) => remote.list(prefix).await?,
        };
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
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

    /// Does something that must not be done without the lock, for as long as it is held.
    ///
    /// # Errors
    /// Those of the work, and [`Transient`](crate::ErrorKind::Transient) if the lock may have passed to somebody else before
    /// it was done. Then it is broken off, and a request that was sent may still be done.
    pub async fn while_held<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.0 {
            Held::Local(_) => work.await,
            Held::Remote(lease) => lease.while_held(work).await,
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

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", self.url)
    }
}

fn read_only() -> Error {
    Error::config("http and https urls can only be read").hint("write to a folder or a bucket")
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
    use crate::tree::Spanned;

    /// A store of each sort, and what has to live as long as they do.
    fn stores() -> (tempfile::TempDir, [Store; 3]) {
        let dir = tempfile::tempdir().unwrap();
        let local = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let memory = InMemory::new();
        let below = PrefixStore::new(memory.clone(), "a/prefix");
        let stores = [
            local,
            Store::over(Arc::new(memory), "memory", Clock::system()),
            Store::over(Arc::new(below), "memory/a/prefix", Clock::system()),
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
    async fn what_is_staged_is_seen_when_it_is_published_and_can_be_published_again() {
        let (_dir, stores) = stores();
        for store in &stores {
            let (hidden, place) = (Path::from("_s/x"), Path::from("d/y"));
            match store.staging().unwrap() {
                Staging::Names(local) => {
                    let mut file = local.begin(&hidden).unwrap();
                    file.write_all(b"hello").unwrap();
                    Local::finish(file).await.unwrap();
                    local.sync(&Path::from("_s")).unwrap();
                    assert!(store.head(&place).await.unwrap().is_none());
                    assert!(local.rename(&hidden, &place).await.unwrap());
                    assert!(!local.rename(&hidden, &place).await.unwrap());
                    assert!(local.rename(&hidden, &Path::from("z")).await.is_err());
                }
                Staging::Uploads(uploads) => {
                    let id = uploads.begin(&place).await.unwrap();
                    let part = uploads.send(&place, &id, 0, Bytes::from_static(b"hello")).await.unwrap();
                    assert!(store.list(&Path::default()).await.unwrap().is_empty(), "{store:?}");
                    uploads.complete(&place, &Upload { id, parts: vec![part] }, 5).await.unwrap();
                }
            }
            assert_eq!(store.read(&place).await.unwrap().unwrap().as_ref(), b"hello", "{store:?}");
            store.sync(&Path::from("d")).unwrap();
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
    fn a_web_server_is_only_read() {
        let error = Store::open("https://host/x", true, &NoReferences).unwrap_err();
        assert_eq!(error.message(), "http and https urls can only be read");
        let store = Store::open("https://host/x", false, &NoReferences).unwrap();
        assert!(!store.is_listed() && !store.is_local());
        assert!(store.staging().is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_mistake_for_who_only_looks() {
        let dir = tempfile::tempdir().unwrap();
        let (there, missing) = (dir.path().to_str().unwrap().to_string(), format!("{}/x", dir.path().display()));
        assert!(Store::find(&there, &NoReferences).unwrap().is_some());
        assert!(Store::find(&missing, &NoReferences).unwrap().is_none());
        assert!(Store::find("ftp://host", &NoReferences).is_err());
        let address = |url: &str, options: StoreOptions| Address {
            url: Template::parse(url).unwrap(),
            options,
            resolver: Arc::new(NoReferences),
        };
        assert!(address(&missing, StoreOptions::default()).find().unwrap().is_none());
        let s3 = StoreOptions { s3: Some(Spanned::nowhere(S3Options::default())), ..StoreOptions::default() };
        let error = address(&there, s3).open(false).unwrap_err();
        assert!(error.message().starts_with("`s3` does nothing"), "{error}");
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
