//! A prefix in a bucket as a store.
//!
//! What a folder does with links and renames is done here with conditional requests. An answer can be lost after the
//! request was done, and the library below repeats requests, so every operation can be repeated.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion, UploadPart,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::head;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Size of the parts that a file is sent in. Servers take at most 10,000 of them.
pub(super) const PART: usize = 8 << 20;
/// Parts on their way at the same time.
const PARTS_AT_ONCE: usize = 3;
/// Attempts to create an object that is refused and not there.
const ATTEMPTS: usize = 6;

/// A prefix in a bucket.
#[derive(Clone)]
pub(super) struct Remote {
    objects: Arc<dyn ObjectStore>,
    clock: Clock,
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
    pub(super) fn new(objects: Arc<dyn ObjectStore>, clock: Clock) -> Self {
        Self { objects, clock }
    }

    pub(super) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut found: Vec<ObjectMeta> = self.objects.list(Some(prefix)).try_collect().await?;
        // Consoles mark a folder with an empty object of its name and a slash, which is no part of a path here.
        found.retain(|meta| meta.location != *prefix);
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    pub(super) async fn has(&self, prefix: &Path) -> Result<bool> {
        let mut found = self.objects.list(Some(prefix));
        while let Some(meta) = found.try_next().await? {
            if meta.location != *prefix {
                return Ok(true);
            }
        }
        Ok(false)
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
        for _ in 0..ATTEMPTS {
            let payload = PutPayload::from(content.clone());
            match self.objects.put_opts(path, payload, mode.clone().into()).await {
                Ok(put) => return Ok(Written::Done(put.into())),
                Err(S::AlreadyExists { .. } | S::Precondition { .. } | S::NotModified { .. }) => {}
                Err(e @ S::NotFound { .. }) => {
                    let error = Error::config("there is no such bucket").because(Error::from(e));
                    return Err(error.hint("make it first: transload makes what is in a bucket, and not the bucket"));
                }
                Err(other) => return Err(other.into()),
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

    pub(super) async fn create(&self, path: &Path, content: Bytes) -> Result<bool> {
        Ok(matches!(self.write(path, &content, PutMode::Create).await?, Written::Done(_)))
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        if let Err(error) = self.objects.copy(from, to).await {
            // Servers differ in how they say that there is nothing to copy.
            let moved = !self.exists(from).await? && self.exists(to).await?;
            return if moved { Ok(false) } else { Err(Error::from(error).with("path", from.to_string())) };
        }
        self.remove(from).await?;
        Ok(true)
    }

    pub(super) async fn remove(&self, path: &Path) -> Result<()> {
        let error = match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(other) => Error::from(other),
        };
        // Not every server is quiet about an object that is gone.
        if self.exists(path).await? { Err(error) } else { Ok(()) }
    }

    pub(super) async fn remove_all(&self, prefix: &Path) -> Result<()> {
        let found = self.list(prefix).await?;
        let paths = found.into_iter().map(|meta| Ok::<_, object_store::Error>(meta.location));
        let mut removed = self.objects.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(done) = removed.next().await {
            match done {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Sends a file, in parts if it is large. Returns its size.
    pub(super) async fn upload(&self, path: &Path, file: File) -> Result<u64> {
        let size = file.metadata()?.len();
        let mut file = tokio::fs::File::from_std(file);
        file.rewind().await?;
        if size <= PART as u64 {
            let content = next_part(&mut file).await?;
            self.objects.put(path, PutPayload::from(content)).await?;
            return Ok(size);
        }
        let mut upload = self.objects.put_multipart(path).await?;
        let sent = send_parts(upload.as_mut(), &mut file).await;
        if sent.is_err() {
            let _ = upload.abort().await;
        }
        sent.map(|()| size)
    }
}

async fn send_parts(upload: &mut dyn MultipartUpload, file: &mut tokio::fs::File) -> Result<()> {
    let mut sending: FuturesUnordered<UploadPart> = FuturesUnordered::new();
    loop {
        let part = next_part(file).await?;
        if part.is_empty() {
            break;
        }
        if sending.len() >= PARTS_AT_ONCE {
            sending.try_next().await?;
        }
        sending.push(upload.put_part(PutPayload::from(part)));
    }
    while sending.try_next().await?.is_some() {}
    upload.complete().await?;
    Ok(())
}

/// The next part of a file; empty at its end.
async fn next_part(file: &mut tokio::fs::File) -> Result<Bytes> {
    let mut part = Vec::with_capacity(PART);
    file.take(PART as u64).read_to_end(&mut part).await?;
    Ok(Bytes::from(part))
}
