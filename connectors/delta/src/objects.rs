//! A table's folder as the log library sees it: every object by its path in the table, and log entries written to last.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use transload_core::fault;
use transload_core::store::{Local, Staging, Store};

/// The objects of one table.
///
/// An object that must not exist yet (an entry of the log) is created the way a [`Store`] does it: it survives a power
/// cut, and an answer that got lost on the way is told from a refusal. One that takes the place of another in a folder is
/// written beside it first, under a name by which `clean` finds it should the process die.
pub(crate) struct TableObjects {
    inner: PrefixStore<Arc<dyn ObjectStore>>,
    store: Store,
    table: Path,
}

impl TableObjects {
    pub(crate) fn new(store: &Store, table: &Path) -> Self {
        let inner = PrefixStore::new(Arc::clone(store.objects()), table.clone());
        Self { inner, store: store.clone(), table: table.clone() }
    }

    fn whole(&self, path: &Path) -> Path {
        self.table.parts().chain(path.parts()).collect()
    }

    /// Writes an object, in the place of one that may be there.
    async fn replace(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.store.staging() {
            Ok(Staging::Names(local)) if matches!(options.mode, PutMode::Overwrite) => {
                self.replace_in_folder(local, &self.whole(path), payload).await.map_err(failed)?;
                Ok(PutResult { e_tag: None, version: None })
            }
            _ => self.inner.put_opts(path, payload, options).await,
        }
    }

    async fn replace_in_folder(&self, local: &Local, at: &Path, payload: PutPayload) -> transload_core::Result<()> {
        let beside = Local::beside(at);
        self.store.create(&beside, payload.into()).await?;
        local.rename(&beside, at).await.map(drop)
    }
}

fn failed(error: transload_core::Error) -> Error {
    Error::Generic { store: "table", source: Box::new(error) }
}

/// What can go wrong once an object of the log is written, if it is one after which a test may let it.
fn after(path: &Path) -> Result<()> {
    match path.filename().unwrap_or_default() {
        name if name.ends_with(".checkpoint.parquet") => fault::point("checkpoint.written").map_err(failed),
        "_last_checkpoint" => fault::point("checkpoint.named").map_err(failed),
        _ => Ok(()),
    }
}

impl fmt::Debug for TableObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableObjects({})", self.table)
    }
}

impl fmt::Display for TableObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the objects of {}", self.table)
    }
}

/// An upload that survives a power cut once it is complete, as a large checkpoint must.
#[derive(Debug)]
struct Synced {
    inner: Box<dyn MultipartUpload>,
    store: Store,
    at: Path,
}

#[async_trait]
impl MultipartUpload for Synced {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let put = self.inner.complete().await?;
        self.store.sync_object(&self.at).map_err(failed)?;
        after(&self.at)?;
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for TableObjects {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Create) {
            let put = self.replace(path, payload, options).await?;
            after(path)?;
            return Ok(put);
        }
        match self.store.create(&self.whole(path), payload.into()).await {
            Ok(true) => {
                fault::point("commit.entered").map_err(failed)?;
                Ok(PutResult { e_tag: None, version: None })
            }
            Ok(false) => {
                Err(Error::AlreadyExists { path: path.to_string(), source: "another commit has this number".into() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(Synced { inner, store: self.store.clone(), at: self.whole(path) }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
