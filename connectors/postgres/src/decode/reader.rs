//! The parts of a nested value, one after the other.

use super::fault::Fault;

/// What is left of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    pub(crate) fn int(&mut self) -> Result<i32, Fault> {
        let (int, rest) = self.0.split_first_chunk::<4>().ok_or(Fault::Broken)?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*int))
    }

    /// A number of things that follow.
    pub(crate) fn count(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.int()?).map_err(|_| Fault::Broken)
    }

    /// A length and so many bytes; `None` for NULL.
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Fault::Broken)?;
        let (value, rest) = self.0.split_at_checked(length).ok_or(Fault::Broken)?;
        self.0 = rest;
        Ok(Some(value))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Broken) }
    }
}

/// A value that always has this many bytes.
#[inline]
pub(crate) fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| Fault::Broken)
}
