//! What a file holds, piece by piece, and decompressed where its name says that it is compressed.

use bytes::{Buf, Bytes};
use transload_core::{Error, Result};

use crate::compress::{Compression, Decoder};
use crate::parquet::PinnedObject;

/// Bytes that are read, and decompressed, at a time.
const PIECE: usize = 1 << 20;

/// The bytes of a file as they are stored, from its beginning to its end.
pub(crate) struct Pieces {
    object: PinnedObject,
    /// Bytes that have been read.
    read: u64,
}

impl Pieces {
    pub(crate) fn new(object: PinnedObject) -> Self {
        Self { object, read: 0 }
    }

    /// Whether all of the file has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.read >= self.object.meta.size
    }

    /// The next bytes; none only behind the end.
    ///
    /// # Errors
    /// As the store fails, and [`Config`](transload_core::ErrorKind::Config) if the file is shorter than it was.
    pub(crate) async fn next(&mut self) -> Result<Bytes> {
        let end = (self.read + PIECE as u64).min(self.object.meta.size);
        if self.read >= end {
            return Ok(Bytes::new());
        }
        let piece = self.object.read(self.read..end).await?;
        if piece.is_empty() {
            return Err(Error::config("the file is shorter than when it was pinned"));
        }
        self.read += piece.len() as u64;
        Ok(piece)
    }
}

/// The text of a file, from its beginning to its end, without a byte order mark.
pub(crate) struct Contents {
    pieces: Pieces,
    decoder: Option<Decoder>,
    /// What has been read and not been decompressed.
    waiting: Bytes,
    is_begun: bool,
    is_at_end: bool,
}

impl Contents {
    /// The text of an object, compressed as its name says.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it cannot be decompressed.
    pub(crate) fn new(object: PinnedObject) -> Result<Self> {
        let decoder = Decoder::new(Compression::of(object.meta.location.as_ref()))?;
        let is_at_end = decoder.is_none() && object.meta.size == 0;
        Ok(Self { pieces: Pieces::new(object), decoder, waiting: Bytes::new(), is_begun: false, is_at_end })
    }

    /// Whether nothing is left to read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Reads some more to the end of `buffer`.
    ///
    /// # Errors
    /// As the store fails, and [`Config`](transload_core::ErrorKind::Config) for compressed data that is damaged or not
    /// whole and for text that is not UTF-8 by its first bytes.
    pub(crate) async fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let start = buffer.len();
        // A byte order mark has at most four bytes, which may come one by one.
        while !self.is_at_end && buffer.len() < start + 4 {
            self.fill_once(buffer).await?;
            if self.is_begun {
                return Ok(());
            }
        }
        if !self.is_begun {
            self.is_begun = true;
            let mark = mark(buffer.get(start..).unwrap_or_default())?;
            buffer.drain(start..start + mark);
        }
        Ok(())
    }

    async fn fill_once(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(decoder) = &mut self.decoder else {
            buffer.extend_from_slice(&self.pieces.next().await?);
            self.is_at_end = self.pieces.is_at_end();
            return Ok(());
        };
        let start = buffer.len();
        buffer.resize(start + PIECE, 0);
        let mut end = start;
        while end < buffer.len() {
            if self.waiting.is_empty() {
                self.waiting = self.pieces.next().await?;
            }
            let (read, written) = decoder.step(&self.waiting, &mut buffer[end..])?;
            self.waiting.advance(read);
            end += written;
            if (read, written) == (0, 0) && self.waiting.is_empty() && self.pieces.is_at_end() {
                if !decoder.is_whole() {
                    return Err(Error::config("the compressed file ends too early: its end is missing")
                        .hint("copy the file again, or have it written again"));
                }
                self.is_at_end = true;
                break;
            }
        }
        buffer.truncate(end);
        Ok(())
    }
}

/// The length of a UTF-8 byte order mark at the beginning of a text; refuses UTF-16 and UTF-32.
fn mark(text: &[u8]) -> Result<usize> {
    match text {
        [0xef, 0xbb, 0xbf, ..] => Ok(3),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Err(Error::config("the file is UTF-16, and UTF-8 is needed").hint("convert it: iconv -f UTF-16 -t UTF-8"))
        }
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::compress::Compressor;

    fn compressed(content: &[u8], compression: Compression) -> Vec<u8> {
        let mut compressor = Compressor::new(Vec::new(), compression).unwrap();
        compressor.write_all(content).unwrap();
        compressor.finish().unwrap()
    }

    /// Everything that a file of this name and content gives.
    fn read(name: &str, content: Vec<u8>) -> Result<Vec<u8>> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        block_on(async {
            let path = Path::from(name);
            store.put(&path, content.into()).await.unwrap();
            let object = PinnedObject { meta: store.head(&path).await.unwrap(), store: Arc::clone(&store) };
            let mut contents = Contents::new(object)?;
            let mut all = Vec::new();
            while !contents.is_at_end() {
                contents.fill(&mut all).await?;
            }
            Ok(all)
        })
    }

    #[test]
    fn a_file_is_read_whole_whatever_its_size_and_compression() {
        for size in [0, 1, 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17] {
            let content: Vec<u8> = (0..size).map(|i| (i % 101) as u8).collect();
            for compression in Compression::ALL {
                let stored = compressed(&content, compression);
                let found = read(&format!("t.csv{}", compression.ending()), stored).unwrap();
                assert!(found == content, "{compression:?} {size}");
            }
        }
    }

    #[test]
    fn a_mark_is_no_text() {
        for compression in Compression::ALL {
            let name = format!("t.json{}", compression.ending());
            let text = |content: &[u8]| read(&name, compressed(content, compression));
            assert_eq!(text(b"\xef\xbb\xbfabc").unwrap(), b"abc");
            assert_eq!(text(b"\xef\xbb\xbf").unwrap(), b"");
            assert_eq!(text(b"\xef\xbb").unwrap(), b"\xef\xbb");
            assert!(text(b"\xff\xfea\0").unwrap_err().to_string().contains("UTF-16"));
        }
    }

    #[test]
    fn a_file_whose_end_is_missing_is_refused() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let name = format!("t.csv{}", compression.ending());
            let stored = compressed(&b"id\n1\n".repeat(100_000), compression);
            for length in [0, 1, stored.len() / 2, stored.len() - 1] {
                let error = read(&name, stored[..length].to_vec()).unwrap_err();
                assert!(error.to_string().contains("ends too early"), "{compression:?} {length}: {error}");
            }
            let error = read(&name, b"id\n1\n".to_vec()).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{compression:?}: {error}");
        }
    }
}
