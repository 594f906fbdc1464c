//! Files that are compressed as a whole, with gzip or zstd.

use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Decompress, FlushDecompress, Status};
use schemars::JsonSchema;
use serde::Deserialize;
use transload_core::{Error, Result};
use zstd::stream::raw::{self, Operation};

/// Size of the window that gzip looks back over, as a power of two: the largest there is.
const GZIP_WINDOW: u8 = 15;
/// How hard gzip tries.
const GZIP_LEVEL: u32 = 6;
/// How hard zstd tries.
const ZSTD_LEVEL: i32 = 3;

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// With gzip (RFC 1952).
    Gzip,
    /// With Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// What the name of such a file ends with.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// How the file with this path is compressed.
    pub(crate) fn of(path: &str) -> Self {
        [Self::Gzip, Self::Zstd].into_iter().find(|c| path.ends_with(c.ending())).unwrap_or(Self::None)
    }
}

/// Decompresses a file that comes in pieces. A file may be several compressed ones, one behind the other.
pub(crate) struct Decoder {
    method: Method,
    /// Whether everything that was begun has ended.
    is_whole: bool,
}

enum Method {
    Gzip(Decompress),
    Zstd(raw::Decoder<'static>),
}

impl Decoder {
    /// A decoder for a file that is compressed in this way; `None` for one that is not.
    pub(crate) fn new(compression: Compression) -> Result<Option<Self>> {
        let method = match compression {
            Compression::None => return Ok(None),
            Compression::Gzip => Method::Gzip(Decompress::new_gzip(GZIP_WINDOW)),
            Compression::Zstd => Method::Zstd(raw::Decoder::new().map_err(|e| broken(Box::new(e)))?),
        };
        Ok(Some(Self { method, is_whole: false }))
    }

    /// Whether nothing is missing behind what was read so far.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Decompresses some of `input` into `output`: how many bytes were read, and how many were written. If both are 0,
    /// nothing is left to do without more input.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the data is not what it should be.
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize)> {
        if self.is_whole && input.is_empty() {
            return Ok((0, 0));
        }
        match &mut self.method {
            Method::Gzip(inner) => {
                if self.is_whole {
                    *inner = Decompress::new_gzip(GZIP_WINDOW);
                }
                let (read, written) = (inner.total_in(), inner.total_out());
                let status = inner.decompress(input, output, FlushDecompress::None);
                self.is_whole = status.map_err(|e| broken(Box::new(e)))? == Status::StreamEnd;
                let count = |now: u64, before: u64| usize::try_from(now - before).map_err(|e| broken(Box::new(e)));
                Ok((count(inner.total_in(), read)?, count(inner.total_out(), written)?))
            }
            Method::Zstd(inner) => {
                let done = inner.run_on_buffers(input, output).map_err(|e| broken(Box::new(e)))?;
                self.is_whole = done.remaining == 0;
                Ok((done.bytes_read, done.bytes_written))
            }
        }
    }
}

fn broken(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::config("the compressed data is damaged").because(cause)
}

/// Compresses what is written.
pub(crate) enum Compressor<W: Write> {
    /// Not at all.
    None(W),
    /// With gzip.
    Gzip(GzEncoder<W>),
    /// With zstd, with a checksum.
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Compresses into `writer`.
    pub(crate) fn new(writer: W, compression: Compression) -> std::io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(writer),
            Compression::Gzip => Self::Gzip(GzEncoder::new(writer, flate2::Compression::new(GZIP_LEVEL))),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(writer, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Where the compressed data goes.
    pub(crate) fn get_ref(&self) -> &W {
        match self {
            Self::None(writer) => writer,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        }
    }

    /// The same, for who waits for it. Nothing must be written to it past the compressor.
    pub(crate) fn get_mut(&mut self) -> &mut W {
        match self {
            Self::None(writer) => writer,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// Writes what is still held back.
    pub(crate) fn finish(self) -> std::io::Result<W> {
        match self {
            Self::None(writer) => Ok(writer),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::None(writer) => writer.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::None(writer) => writer.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(content: &[u8], compression: Compression) -> Vec<u8> {
        let mut compressor = Compressor::new(Vec::new(), compression).unwrap();
        compressor.write_all(content).unwrap();
        compressor.finish().unwrap()
    }

    /// The whole content, with pieces and room of these sizes, or `None` if it is not whole.
    fn decompressed(bytes: &[u8], compression: Compression, piece: usize, room: usize) -> Result<Option<Vec<u8>>> {
        let mut decoder = Decoder::new(compression)?.unwrap();
        let (mut content, mut buffer) = (Vec::new(), vec![0; room]);
        for piece in bytes.chunks(piece) {
            let mut rest = piece;
            loop {
                let (read, written) = decoder.step(rest, &mut buffer)?;
                content.extend_from_slice(&buffer[..written]);
                rest = &rest[read..];
                if (read, written) == (0, 0) {
                    assert!(rest.is_empty());
                    break;
                }
            }
        }
        Ok(decoder.is_whole().then_some(content))
    }

    #[test]
    fn what_is_compressed_comes_back_in_any_pieces() {
        let content: Vec<u8> = (0..10_000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = compressed(&content, compression);
            let twice = [packed.as_slice(), &packed].concat();
            for (piece, room) in [(1, 100), (7, 1), (1 << 20, 3), (1 << 20, 1 << 20), (1000, 1000)] {
                let whole = decompressed(&packed, compression, piece, room).unwrap();
                assert!(whole.as_deref() == Some(content.as_slice()), "{compression:?} {piece} {room}");
                let both = decompressed(&twice, compression, piece, room).unwrap().unwrap();
                assert!(both == [content.as_slice(), &content].concat(), "{compression:?} {piece} {room}");
            }
            let nothing = compressed(&[], compression);
            assert_eq!(decompressed(&nothing, compression, 5, 5).unwrap(), Some(Vec::new()));
        }
    }

    #[test]
    fn what_is_cut_off_is_not_whole_and_what_is_changed_is_broken() {
        let content = b"id,name\n1,a\n".repeat(1000);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = compressed(&content, compression);
            for length in [0, 1, 5, packed.len() / 2, packed.len() - 1] {
                let cut = decompressed(&packed[..length], compression, 10, 1000).unwrap();
                assert_eq!(cut, None, "{compression:?} {length}");
            }
            for at in [0, packed.len() / 2, packed.len() - 6, packed.len() - 2] {
                let mut changed = packed.clone();
                changed[at] ^= 0x55;
                let read = decompressed(&changed, compression, 100, 1000);
                assert!(read.is_err() || read.unwrap().is_none(), "{compression:?} {at}");
            }
        }
    }

    #[test]
    fn a_file_is_what_its_name_says() {
        assert_eq!(Compression::of("a/b.csv.gz"), Compression::Gzip);
        assert_eq!(Compression::of("b.json.zst"), Compression::Zstd);
        assert_eq!(Compression::of("gz/b.csv"), Compression::None);
    }
}
