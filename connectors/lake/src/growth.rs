//! How much has been written, while it is being written.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that one unit of work has written, as far as a watcher is told. What is not kept is taken back.
pub(crate) struct Growth<'a> {
    written: &'a AtomicU64,
    bytes: u64,
}

impl<'a> Growth<'a> {
    pub(crate) fn new(written: &'a AtomicU64) -> Self {
        Self { written, bytes: 0 }
    }

    /// A file had this size and now has that one. It may be smaller, as pages are compressed late.
    pub(crate) fn grown(&mut self, from: u64, to: u64) {
        let more = to.wrapping_sub(from);
        self.bytes = self.bytes.wrapping_add(more);
        self.written.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn keep(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        self.written.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let written = AtomicU64::new(7);
        let growth = || Growth::new(&written);
        let (mut kept, mut lost) = (growth(), growth());
        kept.grown(0, 100);
        lost.grown(0, 1000);
        assert_eq!(written.load(Ordering::Relaxed), 1107);
        kept.grown(100, 60);
        lost.grown(1000, 20);
        assert_eq!(written.load(Ordering::Relaxed), 87);
        kept.keep();
        drop((kept, lost));
        assert_eq!(written.load(Ordering::Relaxed), 67);
    }
}
