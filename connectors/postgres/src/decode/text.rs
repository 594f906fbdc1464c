//! Values of any length: texts and bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};

use super::fault::Fault;

/// Room that is made for the next batch at most.
const ROOM_BYTES: usize = 16 << 20;

/// Where each value ends.
pub(crate) struct Offsets(Vec<i32>);

impl Offsets {
    pub(crate) fn new() -> Self {
        Self(vec![0])
    }

    /// The next value ends at `end`, which is never before the end of the last one.
    #[inline]
    pub(crate) fn push(&mut self, end: usize) -> Result<(), Fault> {
        self.0.push(i32::try_from(end).map_err(|_| Fault::TooLarge)?);
        Ok(())
    }

    /// The next value is empty.
    #[inline]
    pub(crate) fn push_empty(&mut self) {
        let last = self.last();
        self.0.push(last);
    }

    /// Keeps the first `rows` values, and says where the last of them ends.
    pub(crate) fn truncate(&mut self, rows: usize) -> usize {
        self.0.truncate(rows + 1);
        usize::try_from(self.last()).unwrap_or_default()
    }

    pub(crate) fn finish(&mut self) -> OffsetBuffer<i32> {
        let next = Vec::with_capacity(self.0.len());
        let offsets = std::mem::replace(&mut self.0, next);
        self.0.push(0);
        OffsetBuffer::new(offsets.into())
    }

    fn last(&self) -> i32 {
        self.0.last().copied().unwrap_or_default()
    }
}

/// Values one behind the other.
pub(crate) struct Bytes {
    offsets: Offsets,
    bytes: Vec<u8>,
}

impl Bytes {
    pub(crate) fn new() -> Self {
        Self { offsets: Offsets::new(), bytes: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len())
    }

    #[inline]
    pub(crate) fn push_empty(&mut self) {
        self.offsets.push_empty();
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        let end = self.offsets.truncate(rows);
        self.bytes.truncate(end);
    }

    /// The values as texts.
    ///
    /// # Errors
    /// [`Fault::NotUtf8`] if one of them is none. They are checked together and then where one ends and the next begins: two
    /// halves of a character are not two texts.
    pub(crate) fn texts(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Fault> {
        let array = StringArray::try_new(self.offsets.finish(), self.buffer(), nulls);
        Ok(Arc::new(array.map_err(|_| Fault::NotUtf8)?))
    }

    /// The values as bytes.
    pub(crate) fn binary(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Fault> {
        let array = BinaryArray::try_new(self.offsets.finish(), self.buffer(), nulls);
        Ok(Arc::new(array.map_err(|_| Fault::Broken)?))
    }

    fn buffer(&mut self) -> Buffer {
        // The next batch is about as large.
        let next = Vec::with_capacity((self.bytes.len() + self.bytes.len() / 16).min(ROOM_BYTES));
        Buffer::from_vec(std::mem::replace(&mut self.bytes, next))
    }
}

/// The text of a jsonb, which has a number of its layout in front of it.
#[inline]
pub(crate) fn jsonb(value: &[u8]) -> Result<&[u8], Fault> {
    match value.split_first() {
        Some((1, text)) => Ok(text),
        _ => Err(Fault::Broken),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn texts_are_what_was_pushed_also_in_the_next_batch() {
        let mut bytes = Bytes::new();
        for round in ["a", "b"] {
            bytes.push("grün".as_bytes()).unwrap();
            bytes.push_empty();
            bytes.push(b"\0").unwrap();
            bytes.push(round.as_bytes()).unwrap();
            bytes.push(b"cut").unwrap();
            bytes.truncate(4);
            let array = bytes.texts(None).unwrap();
            assert_eq!(array.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["grün", "", "\0", round]);
        }
        assert_eq!(bytes.binary(None).unwrap().len(), 0);
    }

    #[test]
    fn half_a_character_is_no_text_even_beside_its_other_half() {
        let halves: [&[&[u8]]; 4] = [&[b"\xc3", b"\xa4"], &[b"\xff"], &[b"a", b"\xed\xa0\x80"], &[b"ok", b"\xc3"]];
        for texts in halves {
            let mut bytes = Bytes::new();
            for text in texts {
                bytes.push(text).unwrap();
            }
            assert_eq!(bytes.texts(None).err(), Some(Fault::NotUtf8), "{texts:?}");
        }
    }

    #[test]
    fn offsets_end_with_an_error_and_not_with_a_panic() {
        let mut offsets = Offsets::new();
        offsets.push(i32::MAX as usize).unwrap();
        assert_eq!(offsets.push(i32::MAX as usize + 1), Err(Fault::TooLarge));
    }

    #[test]
    fn jsonb_of_another_layout_is_refused() {
        assert_eq!(jsonb(b"\x01{\"a\": 1}"), Ok(b"{\"a\": 1}".as_slice()));
        assert_eq!((jsonb(b"\x02{}"), jsonb(b"")), (Err(Fault::Broken), Err(Fault::Broken)));
    }
}
