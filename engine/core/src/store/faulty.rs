//! Stores some requests to which fail, if a test has asked for that (`fault/requests.rs`). Without the feature `faults`
//! there is nothing of it.

use std::io::Result as IoResult;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::multipart::MultipartStore;

/// The same objects, some requests to which may fail.
pub(super) fn objects(inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    #[cfg(feature = "faults")]
    if crate::fault::are_requests_broken() {
        return Arc::new(broken::Faulty(inner));
    }
    inner
}

/// The same uploads, some requests to which may fail.
pub(super) fn uploads(inner: Arc<dyn MultipartStore>) -> Arc<dyn MultipartStore> {
    #[cfg(feature = "faults")]
    if crate::fault::are_requests_broken() {
        return Arc::new(broken::Faulty(inner));
    }
    inner
}

/// Does something in a folder, which may fail.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(super) fn io<T>(work: impl FnOnce() -> IoResult<T>) -> IoResult<T> {
    work()
}

/// Does something in a folder, which may fail.
#[cfg(feature = "faults")]
pub(super) fn io<T>(work: impl FnOnce() -> IoResult<T>) -> IoResult<T> {
    use std::io::{Error, ErrorKind};

    use crate::fault::{Fails, request};
    let lost = || Error::other("a fault was injected");
    match request() {
        None => work(),
        Some(Fails::Transient) => Err(lost()),
        Some(Fails::Permanent) => Err(ErrorKind::PermissionDenied.into()),
        Some(Fails::Unheard) => work().and_then(|_| Err(lost())),
    }
}

#[cfg(feature = "faults")]
mod broken {
    use std::fmt;
    use std::ops::Range;
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures::stream::BoxStream;
    use futures::{StreamExt, TryStreamExt};
    use object_store::multipart::{MultipartStore, PartId};
    use object_store::path::Path;
    use object_store::{
        CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
        PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    };

    use crate::fault::{Fails, request};

    /// A store some requests to which fail.
    #[derive(Debug)]
    pub(super) struct Faulty<T: ?Sized>(pub(super) Arc<T>);

    fn failed(fails: Fails, at: &str) -> Error {
        const WHY: &str = "a fault was injected";
        match fails {
            Fails::Permanent => Error::PermissionDenied { path: at.to_string(), source: WHY.into() },
            Fails::Transient | Fails::Unheard => Error::Generic { store: "faulty", source: WHY.into() },
        }
    }

    /// Does a request, unless it is its turn to fail.
    async fn asked<T>(at: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        match request() {
            None => work.await,
            Some(Fails::Unheard) => {
                work.await?;
                Err(failed(Fails::Unheard, at.as_ref()))
            }
            Some(fails) => Err(failed(fails, at.as_ref())),
        }
    }

    /// The same for a listing, of which nothing comes then.
    fn listed<T: Send + 'static>(
        prefix: Option<&Path>,
        work: impl FnOnce() -> BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        match request() {
            None => work(),
            Some(fails) => {
                let error = failed(fails, prefix.map_or("", |prefix| prefix.as_ref()));
                futures::stream::once(std::future::ready(Err(error))).boxed()
            }
        }
    }

    impl fmt::Display for Faulty<dyn ObjectStore> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Objects")
        }
    }

    #[async_trait]
    impl ObjectStore for Faulty<dyn ObjectStore> {
        async fn put_opts(&self, at: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
            asked(at, self.0.put_opts(at, content, options)).await
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            asked(at, self.0.put_multipart_opts(at, options)).await
        }

        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            asked(at, self.0.get_opts(at, options)).await
        }

        async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
            asked(at, self.0.get_ranges(at, ranges)).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            match request() {
                None => self.0.delete_stream(paths),
                Some(Fails::Unheard) => {
                    let removed = self.0.delete_stream(paths).try_collect::<Vec<Path>>();
                    let unheard = async move { removed.await.and_then(|_| Err(failed(Fails::Unheard, ""))) };
                    futures::stream::once(unheard).boxed()
                }
                Some(fails) => futures::stream::once(std::future::ready(Err(failed(fails, "")))).boxed(),
            }
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            listed(prefix, || self.0.list(prefix))
        }

        fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
            listed(prefix, || self.0.list_with_offset(prefix, offset))
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            asked(prefix.unwrap_or(&Path::default()), self.0.list_with_delimiter(prefix)).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            asked(to, self.0.copy_opts(from, to, options)).await
        }

        async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
            asked(to, self.0.rename_opts(from, to, options)).await
        }
    }

    #[async_trait]
    impl MultipartStore for Faulty<dyn MultipartStore> {
        async fn create_multipart(&self, at: &Path) -> Result<MultipartId> {
            asked(at, self.0.create_multipart(at)).await
        }

        async fn put_part(&self, at: &Path, id: &MultipartId, number: usize, content: PutPayload) -> Result<PartId> {
            asked(at, self.0.put_part(at, id, number, content)).await
        }

        async fn complete_multipart(&self, at: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
            asked(at, self.0.complete_multipart(at, id, parts)).await
        }

        async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> Result<()> {
            asked(at, self.0.abort_multipart(at, id)).await
        }
    }
}
