//! Which parts of which Parquet files are read together.

use std::ops::Range;
use std::sync::Arc;

use transload_core::Split;

use crate::closed::{Known, Part, all_of};
use crate::parquet::ParquetFile;
use crate::scan::Piece;

/// Which files are divided by their row groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Divided {
    All,
    /// Those with more rows than a split and no deleted rows: of the others no footer is needed. All of these must be open.
    Large,
    /// The same, as far as they are open: they are a sample of a great many.
    Sample,
}

/// Rows of a split of a table with so many rows: an eighth of the table, but at least 2^17 and at most 2^22.
pub(crate) fn split_rows(total: u64) -> u64 {
    (total / 8).clamp(1 << 17, 1 << 22)
}

/// The splits of a table, each with what it reads. They are as equal as files and row groups allow. It depends on the
/// files alone, not on the machine, nor, but for a sample, on which of them are open.
pub(crate) fn splits_of(files: Vec<(Part, Known)>, divided: Divided) -> Vec<(Split, Vec<Piece>)> {
    let most = split_rows(files.iter().map(|(part, known)| rows_of(part, known)).sum());
    let units: Vec<Vec<Unit>> = files.into_iter().map(|(part, known)| units(part, known, divided, most)).collect();
    let rows: Vec<Vec<u64>> = units.iter().map(|units| units.iter().map(|unit| unit.rows).collect()).collect();
    let mut left: Vec<std::vec::IntoIter<Unit>> = units.into_iter().map(Vec::into_iter).collect();
    let mut own = |(file, range): (usize, Range<usize>)| -> (usize, Vec<Unit>) {
        (file, left[file].by_ref().take(range.len()).collect())
    };
    group(&rows, most).into_iter().map(|group| split(group.into_iter().map(&mut own).collect(), divided)).collect()
}

/// Rows of a file that are in the table, or for how many it counts if nobody knows.
pub(crate) fn rows_of(part: &Part, known: &Known) -> u64 {
    part.weight().saturating_sub(known.deleted_rows())
}

/// The smallest part of a file that is read on its own.
struct Unit {
    rows: u64,
    /// Whether it has just so many rows, and does not only count for them.
    is_counted: bool,
    bytes: u64,
    piece: Piece,
    /// Whether it is a row group of a file that is divided.
    is_row_group: bool,
}

fn units(part: Part, known: Known, divided: Divided, most: u64) -> Vec<Unit> {
    let (rows, is_counted) = (rows_of(&part, &known), part.rows().is_some());
    let (bytes, known) = (part.object().meta.size, Arc::new(known));
    let piece = match part {
        Part::Open(file) if is_divided(&known, divided, rows, most) => {
            return all_of(&file).map(|at| row_group(&file, at, &known)).collect();
        }
        Part::Open(file) => Piece::Parquet { row_groups: all_of(&file), file, known, deleted: None },
        Part::Closed(file) => Piece::Closed { file, known },
    };
    vec![Unit { rows, is_counted, bytes, piece, is_row_group: false }]
}

/// Whether a file with so many rows is divided. In which row groups deleted rows are is not known yet.
pub(crate) fn is_divided(known: &Known, divided: Divided, rows: u64, most: u64) -> bool {
    known.deleted.is_none() && (divided == Divided::All || rows > most)
}

fn row_group(file: &ParquetFile, at: usize, known: &Arc<Known>) -> Unit {
    let group = file.metadata.row_group(at);
    Unit {
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
        is_counted: true,
        bytes: u64::try_from(group.compressed_size()).unwrap_or_default(),
        piece: Piece::Parquet { file: file.clone(), row_groups: at..at + 1, known: Arc::clone(known), deleted: None },
        is_row_group: true,
    }
}

/// A split that reads these units, those of one file together, which is at this place of the table.
fn split(files: Vec<(usize, Vec<Unit>)>, divided: Divided) -> (Split, Vec<Piece>) {
    let (mut rows, mut bytes) = (Some(0u64), 0u64);
    let (mut detail, mut pieces, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let mut whole: Vec<Range<usize>> = Vec::new();
    for (at, units) in files {
        for unit in &units {
            rows = rows.filter(|_| unit.is_counted).map(|rows| rows.saturating_add(unit.rows));
            // A log may say anything.
            bytes = bytes.saturating_add(unit.bytes);
        }
        let Some((piece, is_row_group)) = together(units) else { continue };
        let path = piece.path().to_string();
        match &piece {
            Piece::Parquet { row_groups, .. } if is_row_group => {
                detail.push(serde_json::json!({ "path": path, "row_groups": [row_groups.start, row_groups.end] }));
                labels.push(format!("{path} {}", describe(row_groups)));
            }
            _ => {
                match whole.last_mut() {
                    // The pin has the paths, and of very many one copy is enough.
                    Some(run) if divided == Divided::Sample && run.end == at => run.end += 1,
                    _ if divided == Divided::Sample => whole.push(at..at + 1),
                    _ => detail.push(serde_json::json!({ "path": path })),
                }
                labels.push(path);
            }
        }
        pieces.push(piece);
    }
    detail.extend(whole.into_iter().map(|run| serde_json::json!({ "files": [run.start, run.end] })));
    let label = match labels.as_slice() {
        [one] => one.clone(),
        several => format!("{} files", several.len()),
    };
    (Split { label, rows, bytes: Some(bytes), detail: serde_json::json!(detail) }, pieces)
}

/// Units of one file as one piece, and whether they are row groups of it.
fn together(units: Vec<Unit>) -> Option<(Piece, bool)> {
    let mut units = units.into_iter();
    let Unit { mut piece, is_row_group, .. } = units.next()?;
    if let (Piece::Parquet { row_groups, .. }, Some(Unit { piece: Piece::Parquet { row_groups: last, .. }, .. })) =
        (&mut piece, units.next_back())
    {
        row_groups.end = last.end;
    }
    Some((piece, is_row_group))
}

/// Row groups for a person.
fn describe(row_groups: &Range<usize>) -> String {
    match row_groups.len() {
        1 => format!("row group {}", row_groups.start),
        _ => format!("row groups {}–{}", row_groups.start, row_groups.end.saturating_sub(1)),
    }
}

/// Which units of which files make a split of about `most` rows. `files` holds the rows of the units of each.
fn group(files: &[Vec<u64>], most: u64) -> Vec<Vec<(usize, Range<usize>)>> {
    let mut splits: Vec<Vec<(usize, Range<usize>)>> = Vec::new();
    let mut seen = 0;
    for (index, units) in files.iter().enumerate() {
        for (at, rows) in units.iter().enumerate() {
            // A unit belongs to the split that its middle falls into.
            if (seen + rows / 2) / most >= splits.len() as u64 {
                splits.push(Vec::new());
            }
            seen += rows;
            let Some(split) = splits.last_mut() else { continue };
            match split.last_mut() {
                Some((last, range)) if *last == index => range.end = at + 1,
                _ => split.push((index, at..at + 1)),
            }
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use object_store::ObjectMeta;
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;
    use crate::closed::{ClosedFile, HeldTo};
    use crate::parquet::PinnedObject;
    use crate::settings::ParquetReading;

    /// A file of a hundred bytes that is not open, with so many rows if that is known.
    fn closed(at: usize, rows: Option<u64>) -> (Part, Known) {
        let (location, last_modified) = (Path::from(format!("t/{at:03}.parquet")), DateTime::default());
        let meta = ObjectMeta { location, last_modified, size: 100, e_tag: None, version: None };
        let object = PinnedObject { store: Arc::new(InMemory::new()), meta };
        let (weight, reading, held_to) = (100_000, ParquetReading::default(), HeldTo::Log);
        (Part::Closed(ClosedFile { object, rows, weight, reading, held_to }), Known::default())
    }

    #[test]
    fn splits_are_about_equal_and_hold_everything() {
        let files = vec![vec![40, 40, 40], vec![100], Vec::new(), vec![10, 10], vec![0]];
        let groups = group(&files, 100);
        let rows: Vec<u64> =
            groups.iter().map(|g| g.iter().map(|(f, r)| files[*f][r.clone()].iter().sum::<u64>()).sum()).collect();
        assert_eq!(rows, [80, 140, 20]);
        assert_eq!(groups[0], [(0, 0..2)]);
        assert_eq!(groups[1], [(0, 2..3), (1, 0..1)]);
        assert_eq!(groups[2], [(3, 0..2), (4, 0..1)]);
        assert!(group(&[], 100).is_empty());
    }

    #[test]
    fn files_whose_rows_nobody_knows_are_read_whole_and_named_by_their_places() {
        let splits = splits_of((0..30).map(|at| closed(at, None)).collect(), Divided::Sample);
        let mut end = 0;
        for (split, pieces) in &splits {
            let from = end;
            end += pieces.len();
            assert_eq!((split.rows, split.bytes), (None, Some(100 * pieces.len() as u64)));
            assert_eq!(split.detail, serde_json::json!([{ "files": [from, end] }]));
            let paths: Vec<&str> = pieces.iter().map(Piece::path).collect();
            assert_eq!(paths, (from..end).map(|at| format!("t/{at:03}.parquet")).collect::<Vec<_>>());
        }
        assert_eq!((splits.len(), end), (8, 30));

        let splits = splits_of((0..30).map(|at| closed(at, Some(100_000))).collect(), Divided::Large);
        assert_eq!((splits.len(), splits[0].0.rows), (8, Some(400_000)));
        assert_eq!(splits[0].0.detail[0], serde_json::json!({ "path": "t/000.parquet" }));
    }

    #[test]
    fn a_split_is_neither_tiny_nor_huge() {
        assert_eq!([0, 1 << 22, 1 << 40].map(split_rows), [1 << 17, 1 << 19, 1 << 22]);
    }
}
