//! Uploads: a file that a bucket has, and that nobody sees until it is complete.
//!
//! A file is sent in parts. Until the last step the server keeps them apart: no listing shows them and no request reads
//! them. Amazon and Google call it a multipart upload, and give it a name; Azure calls the parts uncommitted blocks, and
//! drops them by itself after a week.

use std::sync::{Arc, Once};

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::again::Again;
use super::unfinished::{Begun, Unfinished};
use super::{answer, head};
use crate::error::{Error, Result};

/// Size of the parts of an upload, in bytes; the last one may be smaller.
pub const PART_BYTES: usize = 8 << 20;

/// The most parts that an upload can have.
pub const MOST_PARTS: usize = 10_000;

/// Parts of all files of a store that are on their way at the same time.
const PARTS_AT_ONCE: usize = 8;

/// Says once that a server does not tell of its uploads, however many tables are written.
static UNTOLD: Once = Once::new();

/// The uploads of a bucket.
#[derive(Clone)]
pub struct Uploads {
    objects: Arc<dyn ObjectStore>,
    uploads: Arc<dyn MultipartStore>,
    /// None where uploads have no list.
    unfinished: Option<Arc<dyn Unfinished>>,
    turns: Arc<Semaphore>,
    again: Again,
}

/// An upload whose parts have all arrived: plain data, so that any process can complete it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The name that the server has given it; empty where uploads have no names.
    pub id: String,
    /// The marks of its parts, in their order.
    pub parts: Vec<String>,
}

impl Uploads {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, uploads: Arc<dyn MultipartStore>, again: Again) -> Self {
        Self { objects, uploads, unfinished: None, turns: Arc::new(Semaphore::new(PARTS_AT_ONCE)), again }
    }

    /// The same, with a list of them.
    pub(super) fn listed_by(self, unfinished: Arc<dyn Unfinished>) -> Self {
        Self { unfinished: Some(unfinished), ..self }
    }

    /// The uploads of what will be below a folder that are neither complete nor given up, in no order.
    ///
    /// # Behavior
    /// None where they cannot be known: where a store has no list of them, as Azure's and Google's, and where the server
    /// does not know the request or does not let this key make it. It is logged then.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn unfinished(&self, folder: &Path) -> Result<Vec<Begun>> {
        let Some(unfinished) = &self.unfinished else { return Ok(Vec::new()) };
        match unfinished.unfinished(folder).await {
            Ok(found) => Ok(found),
            Err(error) if answer::is_refused(&error) => {
                let error = answer::explain(&error).chain().join(": ");
                UNTOLD.call_once(|| {
                    tracing::warn!(
                        error,
                        "the server does not list its uploads: none is found that a killed process has begun and not noted"
                    );
                });
                Ok(Vec::new())
            }
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Begins an upload of what will be the object at `path`, and returns its name.
    ///
    /// # Errors
    /// As the store fails.
    ///
    /// # Cancellation
    /// Dropping the future may leave an upload without parts.
    pub async fn begin(&self, path: &Path) -> Result<String> {
        self.uploads.create_multipart(path).await.map_err(answer::writing)
    }

    /// Sends a part, numbered from 0, and returns its mark. All but the last must have [`PART_BYTES`]. Waits while many
    /// other parts are on their way.
    ///
    /// # Errors
    /// As the store fails; the same part may be sent again.
    pub async fn send(&self, path: &Path, id: &str, number: usize, content: Bytes) -> Result<String> {
        let _turn = self.turns.acquire().await.map_err(|e| Error::internal("no upload has a turn").because(e))?;
        let payload = PutPayload::from(content);
        let part = self.uploads.put_part(path, &id.to_string(), number, payload).await?;
        Ok(part.content_id)
    }

    /// Makes the object at `path` of an upload, of so many bytes.
    ///
    /// # Behavior
    /// The object appears whole. Calling again changes nothing as long as it is there. After an error it is looked for:
    /// the request may have been done, by this call or an earlier one, and the answer lost.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if the upload is gone, and the object is not there.
    pub async fn complete(&self, path: &Path, upload: &Upload, bytes: u64) -> Result<()> {
        let parts = upload.parts.iter().map(|mark| PartId { content_id: mark.clone() }).collect();
        let Err(said) = self.uploads.complete_multipart(path, &upload.id, parts).await else { return Ok(()) };
        let error = match head(&self.objects, path).await? {
            Some(there) if there.size == bytes => return Ok(()),
            Some(_) => Error::config("where a staged file belongs there is another one")
                .hint("remove it if nobody needs it, and start a new run"),
            None => match said {
                StoreError::NotFound { .. } => answer::upload_gone(),
                other => Error::from(other),
            },
        };
        Err(error.with("path", path.to_string()))
    }

    /// Gives an upload up, so that the server drops its parts. One that is complete or given up already is fine.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn abort(&self, path: &Path, id: &str) -> Result<()> {
        let id = id.to_string();
        match self.again.until_answered(|| self.uploads.abort_multipart(path, &id)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(other) => Err(Error::from(other).with("path", path.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use object_store::memory::InMemory;
    use object_store::{MultipartId, PutResult};

    use super::*;
    use crate::error::ErrorKind;

    /// How the next request to complete an upload ends.
    #[derive(Debug, Clone, Copy)]
    enum Ends {
        Well,
        /// It is done, and the answer is lost.
        Unheard,
        /// It is not done.
        Broken,
    }

    /// A bucket that knows no upload twice, and breaks when it is told to.
    struct Faulty {
        inner: InMemory,
        next: Mutex<Ends>,
    }

    fn broken() -> StoreError {
        StoreError::Generic { store: "S3", source: "connection reset".into() }
    }

    /// The library's memory has no words for an upload that is gone; servers do.
    fn gone(error: StoreError) -> StoreError {
        StoreError::NotFound { path: String::new(), source: Box::new(error) }
    }

    #[async_trait]
    impl MultipartStore for Faulty {
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
            let ends = std::mem::replace(&mut *self.next.lock().unwrap(), Ends::Well);
            if let Ends::Broken = ends {
                return Err(broken());
            }
            let done = self.inner.complete_multipart(at, id, parts).await.map_err(gone)?;
            if let Ends::Unheard = ends { Err(broken()) } else { Ok(done) }
        }

        async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> object_store::Result<()> {
            self.inner.abort_multipart(at, id).await.map_err(gone)
        }
    }

    fn uploads(ends: Ends) -> (InMemory, Uploads) {
        let inner = InMemory::new();
        let faulty = Faulty { inner: inner.clone(), next: Mutex::new(ends) };
        (inner.clone(), Uploads::new(Arc::new(inner), Arc::new(faulty), Again::never()))
    }

    async fn staged(uploads: &Uploads, at: &Path) -> Upload {
        let id = uploads.begin(at).await.unwrap();
        let mut parts = Vec::new();
        for (number, content) in ["he", "llo"].iter().enumerate() {
            parts.push(uploads.send(at, &id, number, Bytes::from_static(content.as_bytes())).await.unwrap());
        }
        Upload { id, parts }
    }

    async fn is_there(objects: &InMemory, at: &Path) -> bool {
        let objects: Arc<dyn ObjectStore> = Arc::new(objects.clone());
        head(&objects, at).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn nothing_is_seen_of_an_upload_until_it_is_complete() {
        let (objects, uploads) = uploads(Ends::Well);
        let at = Path::from("t/a.parquet");
        let upload = staged(&uploads, &at).await;
        assert!(!is_there(&objects, &at).await);
        uploads.complete(&at, &upload, 5).await.unwrap();
        assert!(is_there(&objects, &at).await);
        uploads.complete(&at, &upload, 5).await.unwrap();
        uploads.abort(&at, &upload.id).await.unwrap();
        assert!(is_there(&objects, &at).await);
    }

    #[tokio::test]
    async fn a_lost_answer_is_no_loss_and_a_broken_request_can_be_repeated() {
        let at = Path::from("t/a.parquet");
        let (_, unheard) = uploads(Ends::Unheard);
        let upload = staged(&unheard, &at).await;
        unheard.complete(&at, &upload, 5).await.unwrap();

        let (_, refused) = uploads(Ends::Broken);
        let upload = staged(&refused, &at).await;
        assert!(refused.complete(&at, &upload, 5).await.unwrap_err().is_transient());
        refused.complete(&at, &upload, 5).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_gone_is_not_taken_for_complete() {
        let at = Path::from("t/a.parquet");
        let (objects, uploads) = uploads(Ends::Well);
        let upload = staged(&uploads, &at).await;
        uploads.abort(&at, &upload.id).await.unwrap();
        uploads.abort(&at, &upload.id).await.unwrap();
        let error = uploads.complete(&at, &upload, 5).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "what was staged is gone"));

        let upload = staged(&uploads, &at).await;
        uploads.complete(&at, &upload, 5).await.unwrap();
        let error = uploads.complete(&at, &upload, 6).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(is_there(&objects, &at).await);
    }
}
