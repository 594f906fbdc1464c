//! A bucket in which something goes wrong, for tests.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use transload_core::Clock;
use transload_core::store::Store;
use transload_testkit::bucket::Bucket;

/// What goes wrong in a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trouble {
    Nothing,
    /// A manifest is created, and nobody is told.
    AnswerLost,
    /// A manifest is not created, and nobody is told.
    RequestLost,
    /// A manifest is refused.
    Refused,
    /// No file of data can be looked at.
    Blind,
}

/// A bucket with trouble.
#[derive(Debug)]
pub(super) struct Troubled {
    inner: Bucket,
    trouble: Mutex<Trouble>,
}

impl Troubled {
    pub(super) fn bucket() -> (Arc<Self>, Store) {
        let troubled = Arc::new(Self { inner: Bucket::default(), trouble: Mutex::new(Trouble::Nothing) });
        (Arc::clone(&troubled), Store::over(troubled, "memory", Clock::system()))
    }

    fn has(&self, trouble: Trouble) -> bool {
        *self.trouble.lock().unwrap() == trouble
    }

    pub(super) fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }
}

fn no_answer() -> object_store::Error {
    object_store::Error::Generic { store: "memory", source: "no answer".into() }
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Troubled")
    }
}

#[async_trait]
impl ObjectStore for Troubled {
    async fn put_opts(&self, at: &Path, content: PutPayload, o: PutOptions) -> object_store::Result<PutResult> {
        if !at.as_ref().contains("/manifest/") {
            return self.inner.put_opts(at, content, o).await;
        }
        if self.has(Trouble::Refused) {
            return Err(object_store::Error::PermissionDenied { path: at.to_string(), source: "no".into() });
        }
        if self.has(Trouble::RequestLost) {
            return Err(no_answer());
        }
        let done = self.inner.put_opts(at, content, o).await?;
        if self.has(Trouble::AnswerLost) { Err(no_answer()) } else { Ok(done) }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        o: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, o).await
    }

    async fn get_opts(&self, at: &Path, o: GetOptions) -> object_store::Result<GetResult> {
        match self.has(Trouble::Blind) && at.as_ref().ends_with(".parquet") {
            true => Err(no_answer()),
            false => self.inner.get_opts(at, o).await,
        }
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

#[async_trait]
impl MultipartStore for Troubled {
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
