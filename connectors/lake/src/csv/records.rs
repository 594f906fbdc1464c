//! The records of a CSV file, one after the other, as it comes from the store.

use std::borrow::Cow;

use memchr::memchr;
use transload_core::Result;

use super::record::{Dialect, FieldAt, MAX_RECORD, Step, step};
use crate::contents::Contents;
use crate::parquet::PinnedObject;

/// The records of one file, one after the other.
pub(crate) struct Records {
    contents: Contents,
    dialect: Dialect,
    buffer: Vec<u8>,
    /// Where the current record begins in the buffer, and where the next one does.
    current: usize,
    next: usize,
    /// Line of the current record, from 1, and of the next one.
    line: u64,
    next_line: u64,
    /// The lines that come next and may be a part of a bad record.
    doubtful: Doubtful,
    /// Whether the rest of the line is passed over: it belongs to a record that is too long.
    passes: bool,
    fields: Vec<FieldAt>,
}

/// Lines that may be a part of a bad record, so that none of them is taken for a record of its own.
#[derive(Clone, Copy)]
enum Doubtful {
    None,
    /// Those in the buffer before this place.
    Until(usize),
    /// All that are left.
    All,
}

/// A record, or its line and what is wrong with it.
pub(crate) type Record = Result<Vec<FieldAt>, (u64, &'static str)>;

impl Records {
    pub(crate) fn new(object: PinnedObject, dialect: Dialect) -> Result<Self> {
        Ok(Self {
            contents: Contents::new(object)?,
            dialect,
            buffer: Vec::new(),
            current: 0,
            next: 0,
            line: 0,
            next_line: 1,
            doubtful: Doubtful::None,
            passes: false,
            fields: Vec::new(),
        })
    }

    /// The next record, or what is wrong with it; `None` at the end of the file. Each line of a bad record comes on its
    /// own.
    pub(crate) async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            let last = self.contents.is_at_end();
            let rest = &self.buffer[self.next..];
            if rest.is_empty() && last {
                return Ok(None);
            }
            if matches!(self.doubtful, Doubtful::Until(end) if self.next >= end) {
                self.doubtful = Doubtful::None;
            }
            if self.passes && !rest.is_empty() {
                let end = memchr(b'\n', rest);
                self.next += end.map_or(rest.len(), |i| i + 1);
                self.passes = end.is_none();
                continue;
            }
            let found = match self.doubtful {
                _ if rest.is_empty() => Step::More,
                Doubtful::None => step(rest, last, self.dialect, &mut self.fields),
                Doubtful::Until(_) | Doubtful::All => self.doubtful_line(last),
            };
            let (size, lines, reason) = match found {
                Step::More => {
                    self.fill().await?;
                    continue;
                }
                Step::Record { next, lines } => (next, lines, None),
                Step::Fault { next, reason, open } => {
                    let size = memchr(b'\n', &rest[..next]).map_or(next, |i| i + 1);
                    if open {
                        self.doubtful = Doubtful::All;
                    } else if size < next {
                        self.doubtful = Doubtful::Until(self.next + next);
                    }
                    self.passes = !rest[..size].ends_with(b"\n");
                    (size, 1, Some(reason))
                }
            };
            self.current = self.next;
            self.next += size;
            self.line = self.next_line;
            self.next_line += lines;
            return Ok(Some(match reason {
                None => Ok(std::mem::take(&mut self.fields)),
                Some(reason) => Err((self.line, reason)),
            }));
        }
    }

    /// The next line, which may be a part of a bad record.
    fn doubtful_line(&self, last: bool) -> Step {
        let (rest, whole) = match self.doubtful {
            Doubtful::Until(end) => (&self.buffer[self.next..end], true),
            Doubtful::None | Doubtful::All => (&self.buffer[self.next..], last),
        };
        match memchr(b'\n', rest) {
            None if !whole && rest.len() <= MAX_RECORD => Step::More,
            end => Step::Fault {
                next: end.map_or(rest.len(), |i| i + 1),
                reason: "the line may belong to the bad record before it",
                open: false,
            },
        }
    }

    /// A record as a row of `width` fields, or its line and why it is none; `None` for an empty line, which is no row.
    pub(crate) fn as_row(&self, record: Record, width: usize) -> Option<Result<Vec<FieldAt>, (u64, String)>> {
        let fields = match record {
            Ok(fields) => fields,
            Err((line, reason)) => return Some(Err((line, reason.to_string()))),
        };
        let reason = if fields.len() == width {
            fields.iter().find_map(|f| self.text(f).err())
        } else if matches!(fields.as_slice(), [f] if f.start == f.end && !f.quoted) {
            return None;
        } else {
            Some(format!("{} fields where {width} are expected", fields.len()))
        };
        Some(match reason {
            None => Ok(fields),
            Some(reason) => Err((self.line, reason)),
        })
    }

    /// Number of bytes of the current record.
    pub(crate) fn size(&self) -> usize {
        self.next - self.current
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.next);
        self.next = 0;
        self.current = 0;
        self.contents.fill(&mut self.buffer).await
    }

    /// The current record as it stands in the file, without the line break.
    pub(crate) fn raw(&self) -> &[u8] {
        let raw = &self.buffer[self.current..self.next];
        raw.strip_suffix(b"\r\n").or_else(|| raw.strip_suffix(b"\n")).unwrap_or(raw)
    }

    fn text(&self, field: &FieldAt) -> Result<&str, String> {
        let bytes = &self.buffer[self.current + field.start..self.current + field.end];
        std::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_string())
    }

    /// Whether a text of the current record stands for NULL that says more than nothing.
    pub(crate) fn hides_text(&self, fields: &[FieldAt], nulls: &[String]) -> Result<bool, String> {
        for field in fields.iter().filter(|field| field.end > field.start) {
            if self.value(field, nulls)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A field's text without its quotes; `None` if it stands for NULL. Quoted text never does.
    pub(crate) fn value(&self, field: &FieldAt, nulls: &[String]) -> Result<Option<Cow<'_, str>>, String> {
        let text = self.text(field)?;
        if !field.quoted && nulls.iter().any(|n| n == text) {
            return Ok(None);
        }
        Ok(Some(match field.doubled {
            false => text.into(),
            true => {
                let quote = char::from(self.dialect.quote).to_string();
                text.replace(&quote.repeat(2), &quote).into()
            }
        }))
    }
}
