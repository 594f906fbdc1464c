//! Which values are frequent, in bounded memory.

use std::collections::HashMap;

/// Counters that are left when there are too many.
const KEPT: usize = 1000;
/// Longest text that is kept, in characters.
const LONGEST: usize = 64;

/// Counters of the most frequent values, by their hashes, as in Misra and Gries (1982) and merged as in Agarwal et al.
/// (2012). They are exact for up to 2000 different values; beyond that no count is too low by more than a thousandth of
/// all values, and none is too high.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frequent {
    counts: HashMap<u64, Counted>,
    /// So much a count may be too low, and the count of a value that is not kept may be.
    short: u64,
}

/// A value with its count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    /// The value, or its beginning.
    pub(crate) text: String,
    /// Whether that is all of it.
    pub(crate) whole: bool,
}

impl Frequent {
    /// Counts a value.
    pub(crate) fn add(&mut self, hash: u64, text: impl FnOnce() -> String) {
        if let Some(counted) = self.counts.get_mut(&hash) {
            counted.count += 1;
            return;
        }
        let mut text = text();
        let end = text.char_indices().nth(LONGEST).map(|(at, _)| at);
        if let Some(end) = end {
            text.truncate(end);
        }
        self.counts.insert(hash, Counted { count: 1, text, whole: end.is_none() });
        self.prune();
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.short += other.short;
        for (hash, more) in other.counts {
            match self.counts.get_mut(&hash) {
                Some(counted) => counted.count += more.count,
                None => {
                    self.counts.insert(hash, more);
                }
            }
        }
        self.prune();
    }

    /// Takes the count of the first value that is too many from all: more than [`KEPT`] of them lose as much, so that
    /// all that is lost of one value is at most a share of all values.
    fn prune(&mut self) {
        if self.counts.len() <= 2 * KEPT {
            return;
        }
        let mut counts: Vec<u64> = self.counts.values().map(|c| c.count).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let cut = counts.get(KEPT).copied().unwrap_or_default();
        self.counts.retain(|_, counted| {
            counted.count = counted.count.saturating_sub(cut);
            counted.count > 0
        });
        self.short += cut;
    }

    /// The most frequent values, and how much their counts may be too low.
    pub(crate) fn top(&self, most: usize) -> (Vec<&Counted>, u64) {
        let mut all: Vec<(&u64, &Counted)> = self.counts.iter().collect();
        all.sort_unstable_by(|(h, a), (i, b)| b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text)).then(h.cmp(i)));
        (all.into_iter().take(most).map(|(_, counted)| counted).collect(), self.short)
    }

    /// Every value there is, the most frequent first, if all of them are counted exactly.
    pub(crate) fn all(&self) -> Option<Vec<&Counted>> {
        (self.short == 0).then(|| self.top(self.counts.len()).0)
    }

    /// Bytes that it may hold.
    pub(crate) fn size(&self) -> usize {
        self.counts.capacity() * (size_of::<u64>() + size_of::<Counted>() + LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Frequent {
        let mut frequent = Frequent::default();
        values.for_each(|v| frequent.add(v, || format!("v{v}")));
        frequent
    }

    #[test]
    fn few_values_are_counted_exactly() {
        let frequent = of((0..6000).map(|i| i % 2000));
        assert_eq!(frequent.all().unwrap().len(), 2000);
        assert!(frequent.all().unwrap().iter().all(|c| c.count == 3 && c.whole));
        assert_eq!(frequent.top(2).0.iter().map(|c| c.text.as_str()).collect::<Vec<_>>(), ["v0", "v1"]);
    }

    #[test]
    fn of_many_values_the_frequent_ones_are_found_within_the_error() {
        // Every fifth value is 7, every other one occurs once.
        let values = |range: std::ops::Range<u64>| range.map(|i| if i % 5 == 0 { 7 } else { 1_000_000 + i });
        let mut merged = of(values(0..40_000));
        merged.merge(of(values(40_000..100_000)));
        for frequent in [of(values(0..100_000)), merged] {
            assert!(frequent.all().is_none() && frequent.counts.len() <= 2 * KEPT);
            let (top, short) = frequent.top(1);
            assert_eq!(top[0].text, "v7");
            assert!(top[0].count <= 20_000 && top[0].count + short >= 20_000, "{top:?} {short}");
            assert!(short <= 100, "{short}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        let mut frequent = Frequent::default();
        frequent.add(1, || "ż".repeat(LONGEST + 1));
        frequent.add(2, || "ż".repeat(LONGEST));
        let cut: Vec<(usize, bool)> =
            frequent.all().unwrap().iter().map(|c| (c.text.chars().count(), c.whole)).collect();
        assert_eq!(cut.len(), 2);
        assert!(cut.contains(&(LONGEST, false)) && cut.contains(&(LONGEST, true)));
    }
}
