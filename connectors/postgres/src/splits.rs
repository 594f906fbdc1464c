//! How a pinned table is divided: by the pages of the tables that hold its rows.

use serde::{Deserialize, Serialize};
use serde_json::json;
use transload_core::{PinnedPart, PinnedSnapshot, Split, TableName};

use crate::names::Name;

/// Size of a page. A server can be built with another one: then a split is that much larger or smaller.
const PAGE_BYTES: u64 = 8192;

/// More splits than these are made of no part, whatever its size is said to be.
const MOST_SPLITS: u64 = 1 << 16;

/// What one split reads: rows of a part by their place in its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pages {
    /// The number of the part in the pin.
    pub(crate) part: usize,
    /// The first page.
    pub(crate) from: u64,
    /// The page after the last one. The last split of a part has none: rows in pages that are added later are not in the
    /// snapshot.
    pub(crate) to: Option<u64>,
}

impl Pages {
    /// What a split reads; `None` if it is not one of [`splits`].
    pub(crate) fn of(split: &Split) -> Option<Self> {
        Self::deserialize(&split.detail).ok()
    }

    /// The condition of its rows; `None` if it reads the whole part.
    pub(crate) fn condition(&self) -> Option<String> {
        let place = |page: u64| format!("'({page},0)'::pg_catalog.tid");
        let from = (self.from > 0).then(|| format!("ctid >= {}", place(self.from)));
        let to = self.to.map(|to| format!("ctid < {}", place(to)));
        match (from, to) {
            (Some(from), Some(to)) => Some(format!("{from} AND {to}")),
            (from, to) => from.or(to),
        }
    }
}

/// A part as it stands behind `FROM`. One with pages is read without the tables that inherit from it: they are parts of
/// their own. One without is read as it is, with whatever inherits from it.
pub(crate) fn from_item(part: &PinnedPart) -> String {
    match part.pages {
        Some(_) => format!("ONLY {}", part.name),
        None => part.name.clone(),
    }
}

/// The splits of a table: of each part about equal ranges of pages, none larger than `split_bytes`; one split of a part
/// that cannot be read by pages.
///
/// # Behavior
/// It depends on the pin and on `split_bytes` alone. How many rows a split has is not known, unless its part has no page:
/// what the catalogue says is an estimate, and is no part of the pin.
pub(crate) fn splits(name: &Name, pin: &PinnedSnapshot, split_bytes: u64) -> Vec<Split> {
    let most = (split_bytes / PAGE_BYTES).max(1);
    let parts = pin.parts.iter().enumerate();
    parts.flat_map(|(at, part)| ranges(at, part.pages, most).map(move |pages| split(name, part, pages))).collect()
}

fn ranges(part: usize, pages: Option<u64>, most: u64) -> impl Iterator<Item = Pages> {
    // The server has no page beyond this one.
    let pages = pages.unwrap_or(0).min(u64::from(u32::MAX));
    let count = pages.div_ceil(most).clamp(1, MOST_SPLITS);
    let bound = move |at: u64| pages * at / count;
    (0..count).map(move |at| Pages { part, from: bound(at), to: (at + 1 < count).then(|| bound(at + 1)) })
}

fn split(name: &Name, part: &PinnedPart, pages: Pages) -> Split {
    let own = Name::parse(&TableName::new(&part.name), &name.schema);
    let mut label = match &own {
        Ok(own) if own == name => name.to_string(),
        Ok(own) => format!("{name}: {own}"),
        Err(_) => format!("{name}: {}", part.name),
    };
    let size = part.pages.map(|all| pages.to.unwrap_or(all).saturating_sub(pages.from));
    if let Some(size) = size.filter(|_| pages.condition().is_some()) {
        label = format!("{label} pages {}–{}", pages.from, pages.from + size);
    }
    Split {
        label,
        rows: (part.pages == Some(0)).then_some(0),
        bytes: size.map(|size| size.saturating_mul(PAGE_BYTES)),
        detail: json!(pages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn name(table: &str) -> Name {
        Name { schema: "public".to_string(), table: table.to_string() }
    }

    fn part(table: &str, pages: Option<u64>) -> PinnedPart {
        PinnedPart { id: 1, name: name(table).quoted(), pages }
    }

    fn of(parts: Vec<PinnedPart>, split_bytes: u64) -> Vec<Split> {
        let pin = PinnedSnapshot {
            server: "1/2".to_string(),
            snapshot: "3".to_string(),
            position: "0/4".to_string(),
            taken: "2026-01-01T00:00:00Z".to_string(),
            parts,
        };
        splits(&name("orders"), &pin, split_bytes)
    }

    fn pages(splits: &[Split]) -> Vec<(usize, u64, Option<u64>)> {
        splits.iter().map(|split| Pages::of(split).unwrap()).map(|p| (p.part, p.from, p.to)).collect()
    }

    #[test]
    fn a_small_table_is_one_split() {
        for size in [Some(1), Some(8192), None] {
            let splits = of(vec![part("orders", size)], 64 * MB);
            assert_eq!(pages(&splits), [(0, 0, None)], "{size:?}");
            assert_eq!((splits[0].label.as_str(), splits[0].rows), ("public.orders", None), "{size:?}");
            assert_eq!(splits[0].bytes, size.map(|pages| pages * 8192));
        }
    }

    #[test]
    fn a_table_without_pages_has_no_rows() {
        let splits = of(vec![part("orders", Some(0))], 64 * MB);
        assert_eq!(pages(&splits), [(0, 0, None)]);
        assert_eq!((splits[0].rows, splits[0].bytes), (Some(0), Some(0)));
    }

    #[test]
    fn the_last_split_is_open_and_the_others_meet() {
        let splits = of(vec![part("orders", Some(8193))], 64 * MB);
        assert_eq!(pages(&splits), [(0, 0, Some(4096)), (0, 4096, None)]);
        assert_eq!(splits[0].detail, json!({ "part": 0, "from": 0, "to": 4096 }));
        assert_eq!(splits[1].detail, json!({ "part": 0, "from": 4096, "to": null }));
        let labels: Vec<&str> = splits.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["public.orders pages 0–4096", "public.orders pages 4096–8193"]);
        assert_eq!(splits.iter().map(|s| s.bytes.unwrap()).sum::<u64>(), 8193 * 8192);
    }

    #[test]
    fn splits_leave_no_page_out_and_read_none_twice() {
        for size in 1..200 {
            for most in 1..20 {
                let splits = of(vec![part("orders", Some(size))], most * PAGE_BYTES);
                let mut next = 0;
                for (at, (_, from, to)) in pages(&splits).into_iter().enumerate() {
                    assert_eq!(from, next, "{size} {most}");
                    assert_eq!(to.is_none(), at + 1 == splits.len(), "{size} {most}");
                    next = to.unwrap_or(size);
                    assert!(from < next && next - from <= most, "{size} {most}: {from}–{next}");
                }
                assert_eq!(splits.len() as u64, size.div_ceil(most));
            }
        }
    }

    #[test]
    fn every_part_has_splits_of_its_own() {
        let parts = vec![part("orders", Some(1)), part("a.b", Some(3)), part("far", None)];
        let splits = of(parts, 2 * PAGE_BYTES);
        assert_eq!(pages(&splits), [(0, 0, None), (1, 0, Some(1)), (1, 1, None), (2, 0, None)]);
        let labels: Vec<&str> = splits.iter().map(|s| s.label.as_str()).collect();
        let others = ["public.orders: public.\"a.b\" pages 0–1", "public.orders: public.\"a.b\" pages 1–3"];
        assert_eq!(labels, ["public.orders", others[0], others[1], "public.orders: public.far"]);
        assert!(of(Vec::new(), MB).is_empty());
    }

    #[test]
    fn a_size_that_cannot_be_makes_no_more_splits_than_can_be() {
        assert_eq!(of(vec![part("orders", Some(u64::MAX))], 0).len() as u64, MOST_SPLITS);
    }

    #[test]
    fn rows_are_read_by_their_pages() {
        let condition = |from, to| Pages { part: 0, from, to }.condition();
        assert_eq!(condition(0, None), None);
        assert_eq!(condition(0, Some(7)).unwrap(), "ctid < '(7,0)'::pg_catalog.tid");
        assert_eq!(condition(7, None).unwrap(), "ctid >= '(7,0)'::pg_catalog.tid");
        let both = "ctid >= '(7,0)'::pg_catalog.tid AND ctid < '(9,0)'::pg_catalog.tid";
        assert_eq!(condition(7, Some(9)).unwrap(), both);
        assert_eq!(from_item(&part("a", Some(0))), "ONLY \"public\".\"a\"");
        assert_eq!(from_item(&part("a", None)), "\"public\".\"a\"");
    }

    #[test]
    fn a_split_of_something_else_is_none_of_these() {
        let foreign = Split { label: String::new(), rows: None, bytes: None, detail: json!({ "path": "a" }) };
        assert_eq!(Pages::of(&foreign), None);
    }
}
