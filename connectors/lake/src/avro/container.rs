//! The container of records: a header with the schema, then blocks.

use std::sync::Arc;

use transload_core::{Error, Result};

use super::codec::{Codec, MAX_BLOCK};
use super::decode::{Cursor, Flaw};
use super::types::{self, Node};
use crate::contents::Pieces;
use crate::parquet::PinnedObject;

const MAGIC: &[u8] = b"Obj\x01";
const SYNC: usize = 16;
/// Most bytes of a header.
const MAX_HEADER: usize = 64 << 20;

/// What a file says about itself.
#[derive(Debug)]
pub(crate) struct Header {
    /// The fields of its records.
    pub(crate) fields: Vec<(String, Node)>,
    codec: Codec,
    sync: [u8; SYNC],
    /// Where the first block begins.
    length: usize,
}

/// A block of records.
pub(crate) struct Block {
    pub(crate) records: u64,
    pub(crate) content: Vec<u8>,
}

fn damaged(reason: &str) -> Error {
    Error::config(format!("the Avro file cannot be read; it is damaged: {reason}"))
}

/// What a header holds: the schema, the name of the codec, the mark between blocks, and its length.
type Parts<'a> = (&'a [u8], &'a [u8], [u8; SYNC], usize);

impl Header {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it is damaged or no Avro, or its values are none of columns.
    pub(crate) async fn open(object: PinnedObject) -> Result<Self> {
        let mut pieces = Pieces::new(object);
        let mut buffer = Vec::new();
        loop {
            buffer.extend_from_slice(&pieces.next().await?);
            if !buffer.starts_with(&MAGIC[..MAGIC.len().min(buffer.len())]) || buffer.is_empty() {
                return Err(Error::config("the Avro file cannot be read; it is damaged or not Avro"));
            }
            match Self::read(&buffer) {
                Err(Flaw::Short) if !pieces.is_at_end() && buffer.len() <= MAX_HEADER => {}
                Err(Flaw::Short) => return Err(damaged("its header has no end")),
                Err(Flaw::Wrong(reason)) => return Err(damaged(reason)),
                Ok((schema, codec, sync, length)) => {
                    return Ok(Self { fields: types::read(schema)?, codec: Codec::named(codec)?, sync, length });
                }
            }
        }
    }

    fn read(bytes: &[u8]) -> Result<Parts<'_>, Flaw> {
        let mut cursor = Cursor::new(bytes);
        cursor.take(MAGIC.len())?;
        let (mut schema, mut codec) = (None, None);
        loop {
            let count = match cursor.long()? {
                0 => break,
                count if count < 0 => {
                    cursor.long()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                let (key, value) = (cursor.bytes()?, cursor.bytes()?);
                match key {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = Some(value),
                    _ => {}
                }
            }
        }
        let sync: [u8; SYNC] = cursor.take(SYNC)?.try_into().map_err(|_| Flaw::Short)?;
        let schema = schema.ok_or(Flaw::Wrong("its header has no schema"))?;
        Ok((schema, codec.unwrap_or(b"null"), sync, cursor.position()))
    }
}

/// The blocks of a file, one after the other.
pub(crate) struct Blocks {
    header: Arc<Header>,
    pieces: Pieces,
    buffer: Vec<u8>,
    /// Where the next block begins in the buffer.
    next: usize,
}

impl Blocks {
    pub(crate) fn new(object: PinnedObject, header: Arc<Header>) -> Self {
        let next = header.length;
        Self { header, pieces: Pieces::new(object), buffer: Vec::new(), next }
    }

    /// The next block; `None` behind the last one.
    ///
    /// # Errors
    /// As the store fails, and [`Config`](transload_core::ErrorKind::Config) if the file is damaged.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        loop {
            let is_at_end = self.pieces.is_at_end();
            let rest = self.buffer.get(self.next..).unwrap_or_default();
            if rest.is_empty() && is_at_end {
                return Ok(None);
            }
            match framed(rest, self.header.sync) {
                Ok((records, content, length)) => {
                    let content = content.to_vec();
                    self.next += length;
                    let content = self.header.codec.decompress(content).map_err(damaged)?;
                    return Ok(Some(Block { records, content }));
                }
                Err(Flaw::Wrong(reason)) => return Err(damaged(reason)),
                Err(Flaw::Short) if is_at_end => return Err(damaged("its last block is cut off")),
                Err(Flaw::Short) => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        let passed = self.next.min(self.buffer.len());
        self.buffer.drain(..passed);
        self.next -= passed;
        self.buffer.extend_from_slice(&self.pieces.next().await?);
        Ok(())
    }
}

/// The block at the beginning of some bytes: its records, its content as it is stored, and its length as a whole.
fn framed(bytes: &[u8], sync: [u8; SYNC]) -> Result<(u64, &[u8], usize), Flaw> {
    let mut cursor = Cursor::new(bytes);
    let records = u64::try_from(cursor.long()?).map_err(|_| Flaw::Wrong("a block has less than no records"))?;
    let size = usize::try_from(cursor.long()?).ok().filter(|size| *size <= MAX_BLOCK);
    let content = cursor.take(size.ok_or(Flaw::Wrong("a block has a size that cannot be"))?)?;
    match cursor.take(SYNC)? == sync {
        true => Ok((records, content, cursor.position())),
        false => Err(Flaw::Wrong("a block does not end with the file's marker")),
    }
}

/// The header of a file that is written.
pub(crate) fn header(schema: &str, codec: Codec, sync: [u8; SYNC], out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    super::encode::long(2, out);
    for (key, value) in [("avro.schema", schema), ("avro.codec", codec.name())] {
        super::encode::bytes(key.as_bytes(), out);
        super::encode::bytes(value.as_bytes(), out);
    }
    super::encode::long(0, out);
    out.extend_from_slice(&sync);
}

/// A block of a file that is written.
pub(crate) fn block(records: i64, content: &[u8], codec: Codec, sync: [u8; SYNC], out: &mut Vec<u8>) -> Result<()> {
    super::encode::long(records, out);
    super::encode::bytes(&codec.compress(content)?, out);
    out.extend_from_slice(&sync);
    Ok(())
}
