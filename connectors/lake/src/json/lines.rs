//! The lines of a file, one after the other, as it comes from the store.

use std::ops::Range;

use memchr::memchr;
use transload_core::Result;

use crate::contents::Contents;
use crate::csv::MAX_RECORD;
use crate::parquet::PinnedObject;

/// The lines of one file, one after the other.
pub(crate) struct Lines {
    contents: Contents,
    buffer: Vec<u8>,
    /// Where the current line lies in the buffer, without its break.
    current: Range<usize>,
    /// Where the next line begins in the buffer.
    next: usize,
    /// Number of the current line, from 1.
    number: u64,
    /// Whether the rest of the current line is passed over: it is too long.
    passes: bool,
}

/// Why a line cannot be read.
pub(crate) type Fault = &'static str;

impl Lines {
    pub(crate) fn new(object: PinnedObject) -> Result<Self> {
        Ok(Self {
            contents: Contents::new(object)?,
            buffer: Vec::new(),
            current: 0..0,
            next: 0,
            number: 0,
            passes: false,
        })
    }

    /// Goes to the next line; `None` behind the last one. A line that is too long is a bad one, of which the beginning is
    /// kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Result<(), Fault>>> {
        loop {
            let rest = &self.buffer[self.next..];
            let end = memchr(b'\n', rest);
            let is_at_end = self.contents.is_at_end();
            if self.passes {
                self.next += end.map_or(rest.len(), |end| end + 1);
                self.passes = end.is_none() && !is_at_end;
                if self.passes {
                    self.fill().await?;
                }
                continue;
            }
            let length = match end {
                Some(end) => end,
                None if rest.is_empty() && is_at_end => return Ok(None),
                None if is_at_end || rest.len() > MAX_RECORD => rest.len(),
                None => {
                    self.fill().await?;
                    continue;
                }
            };
            self.current = self.next..self.next + length;
            self.next += end.map_or(length, |end| end + 1);
            self.passes = end.is_none() && !is_at_end;
            self.number += 1;
            return Ok(Some(if length > MAX_RECORD { Err("the line is too long") } else { Ok(()) }));
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.next);
        self.next = 0;
        self.current = 0..0;
        self.contents.fill(&mut self.buffer).await
    }

    /// The current line as it stands in the file, without its break.
    pub(crate) fn raw(&self) -> &[u8] {
        let raw = &self.buffer[self.current.clone()];
        raw.strip_suffix(b"\r").unwrap_or(raw)
    }

    /// Number of the current line, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Number of bytes of the current line.
    pub(crate) fn size(&self) -> usize {
        self.current.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;

    /// The number of each line, its length, and whether it can be read.
    fn lines(content: Vec<u8>) -> Vec<(u64, usize, bool)> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        block_on(async {
            let path = Path::from("t.json");
            store.put(&path, content.into()).await.unwrap();
            let object = PinnedObject { meta: store.head(&path).await.unwrap(), store: Arc::clone(&store) };
            let mut lines = Lines::new(object).unwrap();
            let mut found = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                found.push((lines.number(), lines.raw().len(), line.is_ok()));
            }
            found
        })
    }

    #[test]
    fn lines_end_with_one_break_or_with_the_file() {
        assert_eq!(lines(b"".to_vec()), Vec::new());
        assert_eq!(lines(b"a".to_vec()), [(1, 1, true)]);
        assert_eq!(lines(b"a\n".to_vec()), [(1, 1, true)]);
        assert_eq!(lines(b"ab\r\n\n\xef\n".to_vec()), [(1, 2, true), (2, 0, true), (3, 1, true)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = vec![b'x'; MAX_RECORD + (3 << 20)];
        for end in [&b"\n"[..], b"", b"\nb\n"] {
            let content = [b"a\n".as_slice(), &long, end].concat();
            let found = lines(content);
            assert_eq!(found[0], (1, 1, true));
            assert!(found[1].0 == 2 && found[1].1 > MAX_RECORD && !found[1].2, "{:?}", found[1]);
            let behind = if end.len() > 1 { vec![(3, 1, true)] } else { Vec::new() };
            assert_eq!(found[2..], behind, "{end:?}");
        }
    }
}
