//! A prefix in a bucket as a store.
//!
//! What a folder does with links and renames is done here with conditional requests. An answer can be lost after the
//! request was done, and requests are made again, by the library below and here (`again.rs`), so every operation can be
//! repeated.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::again::{Again, has_reached_nobody};
use super::unfinished::Unfinished;
use super::uploads::Uploads;
use super::{answer, head};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Attempts to create an object that is refused and not there.
const ATTEMPTS: usize = 6;

/// A prefix in a bucket, or a folder of a web server.
#[derive(Clone)]
pub(super) struct Remote {
    objects: Arc<dyn ObjectStore>,
    /// None for a server that is only read.
    uploads: Option<Uploads>,
    clock: Clock,
    again: Again,
}

/// An object with the version it has.
pub(super) type Versioned = (Bytes, UpdateVersion);

/// What a conditional write came to.
pub(super) enum Written {
    /// It was done; the version that the object has now.
    Done(UpdateVersion),
    /// The condition did not hold; what is there instead, if anything.
    Refused(Option<Versioned>),
}

impl Remote {
    pub(super) fn new(
        objects: Arc<dyn ObjectStore>,
        uploads: Arc<dyn MultipartStore>,
        clock: Clock,
        again: Again,
    ) -> Self {
        let uploads = Uploads::new(Arc::clone(&objects), uploads, again.clone());
        Self { objects, uploads: Some(uploads), clock, again }
    }

    /// The same, with a list of the uploads that nobody has completed.
    pub(super) fn listed_by(self, unfinished: Arc<dyn Unfinished>) -> Self {
        Self { uploads: self.uploads.map(|uploads| uploads.listed_by(unfinished)), ..self }
    }

    /// One that can only be read.
    pub(super) fn read_only(objects: Arc<dyn ObjectStore>, clock: Clock) -> Self {
        Self { objects, uploads: None, clock, again: Again::never() }
    }

    pub(super) fn uploads(&self) -> Option<&Uploads> {
        self.uploads.as_ref()
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Everything under a prefix, page by page. A page that breaks off ends it with an error.
    pub(super) fn walk(&self, prefix: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        // Consoles mark a folder with an empty object of its name and a slash, which is no part of a path here.
        let mark = prefix.clone();
        let is_mark = move |meta: &ObjectMeta| std::future::ready(meta.location != mark);
        self.objects.list(Some(prefix)).map_err(Error::from).try_filter(is_mark).boxed()
    }

    /// The same, all together.
    pub(super) async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let all = || self.objects.list(Some(prefix)).try_collect::<Vec<ObjectMeta>>();
        let mut found = self.again.until_answered(all).await?;
        found.retain(|meta| meta.location != *prefix);
        Ok(found)
    }

    pub(super) async fn has(&self, prefix: &Path) -> Result<bool> {
        Ok(self.walk(prefix).try_next().await?.is_some())
    }

    async fn exists(&self, path: &Path) -> Result<bool> {
        Ok(head(&self.objects, path).await?.is_some())
    }

    /// An object and its version, if it is there.
    pub(super) async fn versioned(&self, path: &Path) -> Result<Option<Versioned>> {
        match self.objects.get(path).await {
            Ok(found) => {
                let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                Ok(Some((found.bytes().await?, version)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Writes an object on a condition. One that holds exactly `content` counts as written by this call: it was
    /// written by an attempt whose answer did not arrive.
    pub(super) async fn write(&self, path: &Path, content: &Bytes, mode: PutMode) -> Result<Written> {
        use object_store::Error as S;
        let mut pause = Duration::from_millis(100);
        let put = || self.objects.put_opts(path, PutPayload::from(content.clone()), mode.clone().into());
        for _ in 0..ATTEMPTS {
            match self.again.until_answered(put).await {
                Ok(put) => return Ok(Written::Done(put.into())),
                Err(S::AlreadyExists { .. } | S::Precondition { .. } | S::NotModified { .. }) => {}
                Err(other) => return self.unless_written(path, content, other).await,
            }
            match self.versioned(path).await? {
                Some((there, version)) if there == *content => return Ok(Written::Done(version)),
                // Requests that meet can be refused before the one that wins is through.
                None if mode == PutMode::Create => tokio::time::sleep(pause).await,
                other => return Ok(Written::Refused(other)),
            }
            pause *= 2;
        }
        Err(Error::transient("an object that is not there cannot be created").with("path", path.to_string()))
    }

    /// What a write came to that was not answered: it may have been done all the same.
    async fn unless_written(&self, path: &Path, content: &Bytes, error: object_store::Error) -> Result<Written> {
        let is_over = has_reached_nobody(&error);
        let error = answer::writing(error);
        if is_over || !error.is_transient() {
            return Err(error);
        }
        match self.versioned(path).await {
            Ok(Some((there, version))) if there == *content => Ok(Written::Done(version)),
            _ => Err(error),
        }
    }

    pub(super) async fn create(&self, path: &Path, content: Bytes) -> Result<bool> {
        Ok(matches!(self.write(path, &content, PutMode::Create).await?, Written::Done(_)))
    }

    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        let error = match self.again.until_answered(|| self.objects.delete(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(other) => Error::from(other),
        };
        // Not every server is quiet about an object that is gone.
        if self.exists(path).await? { Err(error) } else { Ok(()) }
    }

    pub(super) async fn remove_all(&self, prefix: &Path) -> Result<()> {
        let paths: Vec<Path> = self.list(prefix).await?.into_iter().map(|meta| meta.location).collect();
        self.again.until_answered(|| self.remove_each(&paths)).await.map_err(Error::from)
    }

    async fn remove_each(&self, paths: &[Path]) -> object_store::Result<()> {
        let paths: Vec<_> = paths.iter().cloned().map(Ok).collect();
        let mut removed = self.objects.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(done) = removed.next().await {
            match done {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}
