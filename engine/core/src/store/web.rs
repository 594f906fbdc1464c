//! Files of a web server, which are read and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::http::HttpStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::answer::Answer;

/// The files of a web server.
#[derive(Debug)]
pub(super) struct WebFiles {
    files: HttpStore,
    /// The same for lists: a server that has none may answer that it is broken, and need not be asked for long.
    lists: HttpStore,
    /// What is known of the files that were looked at: not every server can say that a file has changed.
    seen: Mutex<HashMap<Path, Version>>,
}

/// By what a file is known: its version mark, last change and size.
type Version = (Option<String>, DateTime<Utc>, u64);

impl WebFiles {
    pub(super) fn new(files: HttpStore, lists: HttpStore) -> Self {
        Self { files, lists, seen: Mutex::default() }
    }

    /// Refuses a file that is not the one it was when it was first looked at.
    fn same(&self, meta: &ObjectMeta) -> Result<()> {
        let now = (meta.e_tag.clone(), meta.last_modified, meta.size);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.entry(meta.location.clone()).or_insert_with(|| now.clone());
        match *before == now {
            true => Ok(()),
            false => Err(Error::Precondition {
                path: meta.location.to_string(),
                source: "its version, its last change or its size is another one".into(),
            }),
        }
    }
}

/// What can only be read is not written.
fn read_only(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_string(), implementer: "a web server".to_string() }
}

/// Few servers list their files; the others refuse the question, do not know it, or send a page.
fn no_listing(error: Error) -> Error {
    let answer = Answer::of(&error);
    let is_asked_in_vain = answer.status.is_some_and(|s| s == 501 || ((400..500).contains(&s) && s != 401));
    match is_asked_in_vain || answer.text.contains("decoding PROPFIND") {
        true => Error::NotSupported { source: NO_LISTING.into() },
        false => error,
    }
}

/// By this text a server is known that has no lists.
pub(super) const NO_LISTING: &str = "the server does not list its files";

impl fmt::Display for WebFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebFiles")
    }
}

#[async_trait]
impl ObjectStore for WebFiles {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only("writing"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only("writing"))
    }

    async fn get_opts(&self, at: &Path, mut options: GetOptions) -> Result<GetResult> {
        // A weak mark never fits, by the standard: it is compared here.
        options.if_match = options.if_match.filter(|mark| !mark.starts_with("W/"));
        let found = self.files.get_opts(at, options).await?;
        self.same(&found.meta)?;
        Ok(found)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        paths.map(|_| Err(read_only("removing"))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.list(prefix).map_err(no_listing).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.lists.list_with_delimiter(prefix).await.map_err(no_listing)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only("copying"))
    }
}
