//! How the blocks of a file are compressed.

use std::io::{Read, Write};

use transload_core::{Error, Result};

use crate::options::AvroCompression;

/// Most bytes of a block, as they are stored and decompressed: what a file says about itself may be wrong.
pub(crate) const MAX_BLOCK: usize = 1 << 30;

/// Bytes of the checksum behind a block of Snappy.
const CHECKSUM: usize = 4;

/// How hard zstd tries.
const ZSTD_LEVEL: i32 = 3;

/// The codecs of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
    Bzip2,
    Xz,
}

impl Codec {
    /// The codec with this name.
    pub(crate) fn named(name: &[u8]) -> Result<Self> {
        Ok(match name {
            b"null" => Self::Null,
            b"deflate" => Self::Deflate,
            b"snappy" => Self::Snappy,
            b"zstandard" => Self::Zstandard,
            b"bzip2" => Self::Bzip2,
            b"xz" => Self::Xz,
            other => {
                let name = String::from_utf8_lossy(other).into_owned();
                return Err(Error::config(format!(
                    "the Avro file is compressed with `{name}`, which is not known here"
                ))
                .hint("known are null, deflate, snappy, zstandard, bzip2 and xz"));
            }
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard => "zstandard",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// The content of a block.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decompress(self, block: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        let bytes = block.as_slice();
        match self {
            Self::Null => Ok(block),
            Self::Deflate => read(flate2::read::DeflateDecoder::new(bytes)),
            Self::Snappy => snappy(bytes),
            Self::Zstandard => read(zstd::stream::read::Decoder::new(bytes).map_err(|_| DAMAGED)?),
            Self::Bzip2 => read(bzip2::read::BzDecoder::new(bytes)),
            Self::Xz => read(liblzma::read::XzDecoder::new(bytes)),
        }
    }

    /// A block with this content. Only those codecs that files are written with are known here.
    pub(crate) fn compress(self, content: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(content)?;
                Ok(encoder.finish()?)
            }
            Self::Snappy => {
                let packed = snap::raw::Encoder::new().compress_vec(content);
                let mut packed = packed.map_err(|e| Error::internal("a block cannot be compressed").because(e))?;
                packed.extend_from_slice(&checksum(content));
                Ok(packed)
            }
            Self::Zstandard => Ok(zstd::stream::encode_all(content, ZSTD_LEVEL)?),
            Self::Null => Ok(content.to_vec()),
            Self::Bzip2 | Self::Xz => Err(Error::internal("files are not written with this codec")),
        }
    }
}

impl From<AvroCompression> for Codec {
    fn from(compression: AvroCompression) -> Self {
        match compression {
            AvroCompression::Deflate => Self::Deflate,
            AvroCompression::Snappy => Self::Snappy,
            AvroCompression::Zstd => Self::Zstandard,
            AvroCompression::None => Self::Null,
        }
    }
}

const DAMAGED: &str = "a block cannot be decompressed";
const TOO_LARGE: &str = "a block is larger than a gigabyte";

fn read(decoder: impl Read) -> Result<Vec<u8>, &'static str> {
    let mut content = Vec::new();
    decoder.take(MAX_BLOCK as u64 + 1).read_to_end(&mut content).map_err(|_| DAMAGED)?;
    if content.len() > MAX_BLOCK { Err(TOO_LARGE) } else { Ok(content) }
}

fn snappy(block: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (packed, sum) = block.len().checked_sub(CHECKSUM).map(|at| block.split_at(at)).ok_or(DAMAGED)?;
    if snap::raw::decompress_len(packed).map_err(|_| DAMAGED)? > MAX_BLOCK {
        return Err(TOO_LARGE);
    }
    let content = snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| DAMAGED)?;
    if checksum(&content) == sum { Ok(content) } else { Err("the checksum of a block is not that of its content") }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = flate2::Crc::new();
    sum.update(content);
    sum.sum().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_damage_is_seen() {
        let content = b"the same again and again, ".repeat(1000);
        for codec in [Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard] {
            assert_eq!(Codec::named(codec.name().as_bytes()).unwrap(), codec);
            let packed = codec.compress(&content).unwrap();
            assert_eq!(codec.decompress(packed.clone()).unwrap(), content, "{codec:?}");
            if codec == Codec::Snappy {
                let mut changed = packed;
                *changed.last_mut().unwrap() ^= 1;
                assert!(codec.decompress(changed).unwrap_err().contains("checksum"));
                codec.decompress(b"abc".to_vec()).unwrap_err();
            }
        }
        for codec in [Codec::Bzip2, Codec::Xz, Codec::Zstandard] {
            codec.decompress(b"this is nothing".to_vec()).unwrap_err();
        }
        assert!(Codec::named(b"lzma").unwrap_err().to_string().contains("`lzma`"));
    }

    #[test]
    fn blocks_of_other_programs_are_read() {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bzip2.write_all(b"content").unwrap();
        assert_eq!(Codec::Bzip2.decompress(bzip2.finish().unwrap()).unwrap(), b"content");
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(b"content").unwrap();
        assert_eq!(Codec::Xz.decompress(xz.finish().unwrap()).unwrap(), b"content");
    }
}
