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
}

/// Rows of a split of a table with so many rows: an eighth of the table, but at least 2^17 and at most 2^22.
pub(crate) fn split_rows(total: u64) -> u64 {
    (total / 8).clamp(1 << 17, 1 << 22)
}

/// The splits of a table, each with what it reads. They are as equal as files and row groups allow. It depends on the
/// files alone, not on the machine, nor on which of them are open.
pub(crate) fn splits_of(files: Vec<(Part, Known)>, divided: Divided) -> Vec<(Split, Vec<Piece>)> {
    let most = split_rows(files.iter().map(|(part, known)| rows_of(part, known)).sum());
    let units: Vec<Vec<Unit>> = files.into_iter().map(|(part, known)| units(part, known, divided, most)).collect();
    let rows: Vec<Vec<u64>> = units.iter().map(|units| units.iter().map(|unit| unit.rows).collect()).collect();
    let grouped = group(&rows, most);
    grouped.into_iter().map(|group| split(group.into_iter().map(|(file, range)| &units[file][range]))).collect()
}

/// Rows of a file that are in the table.
pub(crate) fn rows_of(part: &Part, known: &Known) -> u64 {
    part.rows().saturating_sub(known.deleted_rows())
}

/// The smallest part of a file that is read on its own.
struct Unit {
    rows: u64,
    bytes: u64,
    piece: Piece,
    /// Whether it is a row group of a file that is divided.
    is_row_group: bool,
}

fn units(part: Part, known: Known, divided: Divided, most: u64) -> Vec<Unit> {
    let (rows, bytes, known) = (rows_of(&part, &known), part.object().meta.size, Arc::new(known));
    match part {
        Part::Open(file) if is_divided(&known, divided, rows, most) => {
            all_of(&file).map(|at| row_group(&file, at, &known)).collect()
        }
        Part::Open(file) => {
            let piece = Piece::Parquet { row_groups: all_of(&file), file, known, deleted: None };
            vec![Unit { rows, bytes, piece, is_row_group: false }]
        }
        Part::Closed(file) => {
            vec![Unit { rows, bytes, piece: Piece::Closed { file, known }, is_row_group: false }]
        }
    }
}

/// Whether a file with so many rows is divided. In which row groups deleted rows are is not known yet.
pub(crate) fn is_divided(known: &Known, divided: Divided, rows: u64, most: u64) -> bool {
    known.deleted.is_none() && (divided == Divided::All || rows > most)
}

fn row_group(file: &ParquetFile, at: usize, known: &Arc<Known>) -> Unit {
    let group = file.metadata.row_group(at);
    Unit {
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
        bytes: u64::try_from(group.compressed_size()).unwrap_or_default(),
        piece: Piece::Parquet { file: file.clone(), row_groups: at..at + 1, known: Arc::clone(known), deleted: None },
        is_row_group: true,
    }
}

/// A split that reads these units, those of one file together.
fn split<'a>(files: impl Iterator<Item = &'a [Unit]>) -> (Split, Vec<Piece>) {
    let (mut rows, mut bytes) = (0u64, 0u64);
    let (mut detail, mut pieces, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for units in files {
        for unit in units {
            rows = rows.saturating_add(unit.rows);
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
                detail.push(serde_json::json!({ "path": path }));
                labels.push(path);
            }
        }
        pieces.push(piece);
    }
    let label = match labels.as_slice() {
        [one] => one.clone(),
        several => format!("{} files", several.len()),
    };
    (Split { label, rows: Some(rows), bytes: Some(bytes), detail: serde_json::json!(detail) }, pieces)
}

/// Units of one file as one piece, and whether they are row groups of it.
fn together(units: &[Unit]) -> Option<(Piece, bool)> {
    let (first, last) = (units.first()?, units.last()?);
    let piece = match (&first.piece, &last.piece) {
        (Piece::Parquet { file, row_groups, known, .. }, Piece::Parquet { row_groups: end, .. }) => Piece::Parquet {
            file: file.clone(),
            row_groups: row_groups.start..end.end,
            known: Arc::clone(known),
            deleted: None,
        },
        (piece, _) => piece.clone(),
    };
    Some((piece, first.is_row_group))
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
    use super::*;

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
    fn a_split_is_neither_tiny_nor_huge() {
        assert_eq!([0, 1 << 22, 1 << 40].map(split_rows), [1 << 17, 1 << 19, 1 << 22]);
    }
}
