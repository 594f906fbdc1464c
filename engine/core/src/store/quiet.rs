//! Objects that do not show how they are reached, and of which nothing is taken for whole that is not.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// A store that prints nothing but its name: the library's own types show keys and tokens to whoever prints a plan
/// that holds them.
///
/// What is read from it is as long as the answer says: the library does not count.
pub(super) struct Quiet<T>(pub(super) T);

/// The same answer, which fails if it ends too early or too late.
fn counted(answer: GetResult) -> GetResult {
    let GetResult { payload, meta, range, attributes } = answer;
    let payload = match payload {
        GetResultPayload::Stream(bytes) => {
            let length = range.end.saturating_sub(range.start);
            GetResultPayload::Stream(of_length(bytes, length))
        }
        file @ GetResultPayload::File(..) => file,
    };
    GetResult { payload, meta, range, attributes }
}

fn of_length(bytes: BoxStream<'static, Result<Bytes>>, length: u64) -> BoxStream<'static, Result<Bytes>> {
    let pieces = futures::stream::try_unfold((bytes, length), |(mut bytes, left)| async move {
        match bytes.try_next().await? {
            Some(piece) => match left.checked_sub(piece.len() as u64) {
                Some(left) => Ok(Some((piece, (bytes, left)))),
                None => Err(other_length()),
            },
            None if left == 0 => Ok(None),
            None => Err(other_length()),
        }
    });
    pieces.boxed()
}

fn other_length() -> Error {
    Error::Generic { store: "HTTP", source: "the answer is not as long as it says".into() }
}

impl<T> fmt::Debug for Quiet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl<T> fmt::Display for Quiet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for Quiet<T> {
    async fn put_opts(&self, at: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(at, content, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let has_content = !options.head;
        let answer = self.0.get_opts(at, options).await?;
        Ok(if has_content { counted(answer) } else { answer })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    /// What comes after an object. Not every server knows where to begin: one that does not lists all.
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let begin = offset.clone();
        let after = move |object: &ObjectMeta| futures::future::ready(object.location > begin);
        self.0.list_with_offset(prefix, offset).try_filter(after).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.rename_opts(from, to, options).await
    }
}

#[async_trait]
impl<T: MultipartStore> MultipartStore for Quiet<T> {
    async fn create_multipart(&self, at: &Path) -> Result<MultipartId> {
        self.0.create_multipart(at).await
    }

    async fn put_part(&self, at: &Path, id: &MultipartId, number: usize, content: PutPayload) -> Result<PartId> {
        self.0.put_part(at, id, number, content).await
    }

    async fn complete_multipart(&self, at: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        self.0.complete_multipart(at, id, parts).await
    }

    async fn abort_multipart(&self, at: &Path, id: &MultipartId) -> Result<()> {
        self.0.abort_multipart(at, id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of an answer that comes in these pieces and says that it is `length` bytes long.
    async fn read(pieces: &[&'static str], length: u64) -> Result<Vec<u8>> {
        let pieces: Vec<Result<Bytes>> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        of_length(futures::stream::iter(pieces).boxed(), length).map_ok(|piece| piece.to_vec()).try_concat().await
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_short_is_not_taken_for_the_whole() {
        assert_eq!(read(&["he", "", "llo"], 5).await.unwrap(), b"hello");
        assert_eq!(read(&[], 0).await.unwrap(), b"");
        for (said, length) in [("hello", 6), ("hello", 4), ("", 1)] {
            let error = crate::Error::from(read(&[said, ""], length).await.unwrap_err());
            assert!(error.is_transient(), "{error:?}");
        }
    }
}
