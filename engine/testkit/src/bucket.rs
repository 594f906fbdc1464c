//! A bucket in memory that knows uploads as S3 does, and breaks where it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use transload_core::Clock;
use transload_core::store::{Begun, Unfinished};

/// The least size of a part that is not the last one, in bytes.
const LEAST_PART: usize = 5 << 20;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// An object is written.
    Put,
    /// An object is read, or asked about.
    Get,
    /// An object is removed.
    Delete,
    /// An upload is begun.
    Begin,
    /// A part is sent.
    Send,
    /// An upload is completed.
    Complete,
    /// An upload is given up.
    Abort,
    /// The uploads are listed.
    Uploads,
}

/// How a request ends that does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It was never done.
    Undone,
    /// It was done, and the answer is lost.
    Unheard,
}

/// A bucket in memory. Clones are the same bucket.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    objects: InMemory,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Uploads that are neither complete nor given up.
    open: BTreeMap<String, Open>,
    begun: usize,
    /// Requests that are to break, each with how many of its kind pass before.
    faults: Vec<(Request, usize, Broken)>,
}

#[derive(Debug)]
struct Open {
    begun: Begun,
    /// By the marks that were given for them.
    parts: BTreeMap<String, Bytes>,
}

impl Bucket {
    /// Breaks one request of a kind, after so many of them have passed.
    pub fn break_one(&self, request: Request, after: usize, broken: Broken) {
        self.state().faults.push((request, after, broken));
    }

    /// The places of the uploads that are neither complete nor given up, sorted.
    pub fn open_uploads(&self) -> Vec<Path> {
        let mut open: Vec<Path> = self.state().open.values().map(|upload| upload.begun.path.clone()).collect();
        open.sort();
        open
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the next request of a kind breaks, if it does.
    fn next(&self, request: Request) -> Option<Broken> {
        let mut state = self.state();
        let at = state.faults.iter().position(|(kind, after, _)| *kind == request && *after == 0);
        let broken = at.map(|at| state.faults.remove(at).2);
        for (_, after, _) in state.faults.iter_mut().filter(|(kind, after, _)| *kind == request && *after > 0) {
            *after -= 1;
        }
        broken
    }

    /// Does a request, unless it is to break.
    async fn does<T>(&self, request: Request, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next(request) {
            Some(Broken::Undone) => Err(broken()),
            Some(Broken::Unheard) => work.await.and_then(|_| Err(broken())),
            None => work.await,
        }
    }
}

fn broken() -> Error {
    let said = "Server returned non-2xx status code: 503 Service Unavailable: <Error><Code>SlowDown</Code></Error>";
    Error::Generic { store: "Bucket", source: said.into() }
}

fn no_upload(path: &Path) -> Error {
    let said = "Server returned non-2xx status code: 404 Not Found: <Error><Code>NoSuchUpload</Code></Error>";
    Error::NotFound { path: path.to_string(), source: said.into() }
}

fn small_part() -> Error {
    let said = "Server returned non-2xx status code: 400 Bad Request: <Error><Code>EntityTooSmall</Code></Error>";
    Error::Generic { store: "Bucket", source: said.into() }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, at: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.does(Request::Put, self.objects.put_opts(at, content, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.does(Request::Get, self.objects.get_opts(at, options)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        let paths = paths.map(move |path| match bucket.next(Request::Delete) {
            Some(_) => Err(broken()),
            None => path,
        });
        self.objects.delete_stream(paths.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Bucket {
    async fn create_multipart(&self, at: &Path) -> Result<MultipartId> {
        self.does(Request::Begin, async {
            let mut state = self.state();
            state.begun += 1;
            let id = format!("upload-{}", state.begun);
            let begun = Begun { path: at.clone(), id: id.clone(), initiated: Clock::system().now() };
            state.open.insert(id.clone(), Open { begun, parts: BTreeMap::new() });
            Ok(id)
        })
        .await
    }

    async fn put_part(&self, at: &Path, id: &MultipartId, number: usize, content: PutPayload) -> Result<PartId> {
        self.does(Request::Send, async {
            let mut state = self.state();
            let open = state.open.get_mut(id).filter(|open| open.begun.path == *at).ok_or_else(|| no_upload(at))?;
            let content_id = format!("\"{number}\"");
            open.parts.insert(content_id.clone(), content.into());
            Ok(PartId { content_id })
        })
        .await
    }

    async fn complete_multipart(&self, at: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        self.does(Request::Complete, async {
            let open =
                self.state().open.remove(id).filter(|open| open.begun.path == *at).ok_or_else(|| no_upload(at))?;
            let mut content = Vec::new();
            for (number, part) in parts.iter().enumerate() {
                let part = open.parts.get(&part.content_id).ok_or_else(|| no_upload(at))?;
                if part.len() < LEAST_PART && number + 1 < parts.len() {
                    return Err(small_part());
                }
                content.extend_from_slice(part);
            }
            self.objects.put_opts(at, PutPayload::from(content), PutOptions::default()).await
        })
        .await
    }

    async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> Result<()> {
        self.does(Request::Abort, async { self.state().open.remove(id).map(drop).ok_or_else(|| no_upload(at)) }).await
    }
}

#[async_trait]
impl Unfinished for Bucket {
    async fn unfinished(&self, folder: &Path) -> Result<Vec<Begun>> {
        self.does(Request::Uploads, async {
            let all = self.state().open.values().map(|open| open.begun.clone()).collect::<Vec<Begun>>();
            Ok(all.into_iter().filter(|begun| begun.path.prefix_matches(folder)).collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use transload_core::store::Store;

    use super::*;

    #[tokio::test]
    async fn a_write_whose_answer_is_lost_counts_as_written() {
        let bucket = Bucket::default();
        let store = Store::over(Arc::new(bucket.clone()), "memory", Clock::system());
        let (at, lock) = (Path::from("a"), Path::from("lock"));
        bucket.break_one(Request::Put, 0, Broken::Unheard);
        assert!(store.create(&at, Bytes::from_static(b"x")).await.unwrap());
        assert!(!store.create(&at, Bytes::from_static(b"y")).await.unwrap());
        bucket.break_one(Request::Put, 0, Broken::Undone);
        let error = store.create(&Path::from("b"), Bytes::from_static(b"x")).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");

        bucket.break_one(Request::Put, 0, Broken::Unheard);
        let held = store.try_lock(&lock).await.unwrap().unwrap();
        assert!(store.try_lock(&lock).await.unwrap().is_none());
        bucket.break_one(Request::Put, 0, Broken::Unheard);
        held.release().await;
        store.try_lock(&lock).await.unwrap().unwrap();
    }
}
