//! The files whose footers a plan is made of: all of them, or a sample where there are very many.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use object_store::ObjectMeta;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

/// How many footers are read for a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Footers {
    /// Those of all files.
    All,
    /// At most so many, 2 or more.
    Most(usize),
}

impl Default for Footers {
    fn default() -> Self {
        Self::Most(10_000)
    }
}

impl Footers {
    /// The places of the files whose footers are read, or `None` if those of all are. `files` are sorted by path.
    ///
    /// # Behavior
    /// The first file and the last; some that are far larger than the others; the first one of each folder, as far as that
    /// goes; and files at equal distances. The same files give the same places, whoever asks.
    pub(crate) fn chosen(self, files: &[ObjectMeta]) -> Option<BTreeSet<usize>> {
        let Self::Most(most) = self else { return None };
        if files.len() <= most {
            return None;
        }
        let mut chosen = BTreeSet::from([0, files.len() - 1]);
        let left = most.saturating_sub(chosen.len());
        chosen.extend(large(files).into_iter().take(left / 8));
        let firsts = firsts_of_folders(files);
        chosen.extend(spread(firsts.len(), left / 2).filter_map(|at| firsts.get(at)));
        // The first one and the last are chosen already.
        chosen.extend(spread(files.len(), most.saturating_sub(chosen.len()) + 2));
        Some(chosen)
    }
}

/// Places of files that are more than twice as large as files are on average, the largest first.
fn large(files: &[ObjectMeta]) -> Vec<usize> {
    let total: u128 = files.iter().map(|file| u128::from(file.size)).sum();
    let is_large = |at: &usize| u128::from(files[*at].size) * files.len() as u128 > 2 * total;
    let mut large: Vec<usize> = (0..files.len()).filter(is_large).collect();
    large.sort_by_key(|at| (Reverse(files[*at].size), *at));
    large
}

/// Places of files before which no file of the same folder stands.
fn firsts_of_folders(files: &[ObjectMeta]) -> Vec<usize> {
    let folder = |at: usize| files[at].location.as_ref().rsplit_once('/').map(|(folder, _)| folder);
    (0..files.len()).filter(|at| *at == 0 || folder(*at) != folder(*at - 1)).collect()
}

/// So many of `count` places at equal distances, the first and the last among them; all of them, if there are no more.
fn spread(count: usize, many: usize) -> impl Iterator<Item = usize> {
    let many = many.min(count);
    let (last, steps) = (count.saturating_sub(1), many.saturating_sub(1).max(1));
    (0..many).map(move |step| step * last / steps)
}

impl<'de> Deserialize<'de> for Footers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;

        impl Visitor<'_> for V {
            type Value = Footers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of files or `all`")
            }

            fn visit_u64<E>(self, most: u64) -> Result<Footers, E> {
                Ok(Footers::Most(usize::try_from(most).unwrap_or(usize::MAX)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Footers, E> {
                match text {
                    "all" => Ok(Footers::All),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(V)
    }
}

impl JsonSchema for Footers {
    fn schema_name() -> Cow<'static, str> {
        "Footers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A number of files, or `all`.",
            "anyOf": [{ "type": "integer", "minimum": 2 }, { "type": "string", "const": "all" }] })
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use object_store::path::Path;

    use super::*;

    fn file(path: &str, size: u64) -> ObjectMeta {
        let (location, last_modified) = (Path::from(path), DateTime::default());
        ObjectMeta { location, last_modified, size, e_tag: None, version: None }
    }

    /// Files of a hundred bytes in folders with so many each.
    fn files(folders: &[usize]) -> Vec<ObjectMeta> {
        let of = |(folder, many): (usize, &usize)| {
            (0..*many).map(move |at| file(&format!("t/p={folder:03}/{at:05}.parquet"), 100)).collect::<Vec<_>>()
        };
        folders.iter().enumerate().flat_map(of).collect()
    }

    fn chosen(footers: Footers, files: &[ObjectMeta]) -> Vec<usize> {
        footers.chosen(files).unwrap().into_iter().collect()
    }

    #[test]
    fn no_more_files_than_wanted_are_all_chosen() {
        let files = files(&[10]);
        for footers in [Footers::All, Footers::Most(10), Footers::Most(11), Footers::default()] {
            assert_eq!(footers.chosen(&files), None, "{footers:?}");
        }
        assert_eq!(Footers::Most(2).chosen(&[]), None);
    }

    #[test]
    fn a_sample_is_spread_over_all_files() {
        assert_eq!(chosen(Footers::Most(2), &files(&[10])), [0, 9]);
        assert_eq!(chosen(Footers::Most(4), &files(&[10])), [0, 3, 6, 9]);
        assert_eq!(chosen(Footers::Most(5), &files(&[101])), [0, 25, 50, 75, 100]);
        let many = files(&[10_000]);
        for most in 2..200 {
            let chosen = chosen(Footers::Most(most), &many);
            let gaps = chosen.windows(2).map(|pair| pair[1] - pair[0]);
            assert_eq!((chosen.len(), chosen[0], chosen[most - 1]), (most, 0, 9_999));
            assert!(gaps.max().unwrap() <= 9_999_usize.div_ceil(most - 1), "{most}");
        }
    }

    #[test]
    fn every_folder_is_seen_as_far_as_that_goes() {
        let sizes = [1, 50, 1, 1, 30, 2];
        let files = files(&sizes);
        let chosen = chosen(Footers::Most(14), &files);
        for first in [0, 1, 51, 52, 53, 83] {
            assert!(chosen.contains(&first), "{first} in {chosen:?}");
        }
        let single = self::files(&[1; 1000]);
        assert!(self::chosen(Footers::Most(20), &single).len() <= 20);
    }

    #[test]
    fn files_that_are_far_larger_are_seen() {
        let mut files = files(&[1000]);
        for (at, size) in [(333, 90_000), (777, 80_000), (10, 150)] {
            files[at].size = size;
        }
        let chosen = chosen(Footers::Most(20), &files);
        assert!(chosen.contains(&333) && chosen.contains(&777) && !chosen.contains(&10), "{chosen:?}");
    }
}
