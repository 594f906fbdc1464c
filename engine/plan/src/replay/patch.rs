//! Patches: values for single rows of a quarantine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::interleave;
use arrow::datatypes::{Schema, UInt64Type};
use serde::{Deserialize, Serialize};
use transload_coerce::{Cast, Rulebook, relayout};
use transload_core::connector::{FAULT_COLUMN, ORIGIN_COLUMN};
use transload_core::decode::closest;
use transload_core::{Error, LogicalType, Result};

use crate::plan::TablePlan;
use crate::quarantine::is_value;

/// The unquoted text that stands for no value.
const NULL: &str = "NULL";

/// A cell of a patch file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its text, without quotes.
    pub text: String,
    /// Whether it was quoted.
    pub quoted: bool,
}

/// A line of a patch file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// Values for single rows of one table's quarantine, each row named by its split and position.
///
/// A cell of a patch file that is empty leaves the value as it is, an unquoted `NULL` takes it away, and `""` is the
/// empty text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The file it was read from, for messages.
    file: String,
    rows: Vec<Row>,
}

/// The new values of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    line: u64,
    split: u64,
    position: u64,
    /// By column of the source, as text.
    set: BTreeMap<String, Option<String>>,
}

/// What each column of a patch file is for.
enum Heading {
    Split,
    Position,
    Value(String),
}

impl Patch {
    /// Reads a patch for the quarantine of a table, which is `table` in the plan of the run that put its rows aside.
    /// `file` is named in messages.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) with the line of the file, if a column is unknown, a row is not
    /// named, or named twice, or nothing of it is changed.
    pub fn read(file: &str, mut lines: impl Iterator<Item = Line>, table: &TablePlan) -> Result<Self> {
        let first = lines.next().ok_or_else(|| at(file, 1, "the patch is empty".to_string()))?;
        let headings = headings(file, &first, table)?;
        let mut seen: HashMap<(u64, u64), u64> = HashMap::new();
        let mut rows = Vec::new();
        for line in lines {
            let row = row(file, &line, &headings)?;
            if let Some(before) = seen.insert((row.split, row.position), row.line) {
                return Err(
                    at(file, row.line, format!("the row is on line {before} too")).hint("make one line of both")
                );
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(at(file, first.number, "the patch has a header and no rows".to_string()));
        }
        Ok(Self { file: file.to_string(), rows })
    }

    /// The values in the types and layouts of `schema`, which is that of the source.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) with the line of the file, if a text cannot be read as its column's
    /// type by the rulebook without a change, or takes a value away where there must be one.
    pub(super) fn values(&self, schema: &Schema, rulebook: &Rulebook) -> Result<Values> {
        let mut columns = Vec::new();
        for (number, field) in schema.fields().iter().enumerate() {
            let given: Vec<(usize, &Row, Option<&str>)> = self
                .rows
                .iter()
                .enumerate()
                .filter_map(|(i, row)| row.set.get(field.name()).map(|text| (i, row, text.as_deref())))
                .collect();
            let Some((_, first, _)) = given.first() else { continue };
            let name = field.name();
            if let Some((_, row, _)) = given.iter().find(|(_, _, text)| text.is_none() && !field.is_nullable()) {
                return Err(at(&self.file, row.line, format!("`{name}` must have a value, and NULL is none")));
            }
            let ty = LogicalType::of(field).ok_or_else(|| Error::internal("a column has an unknown type"))?;
            let texts: ArrayRef = Arc::new(given.iter().map(|(_, _, text)| *text).collect::<StringArray>());
            let typed = match &ty {
                LogicalType::Text => texts,
                ty => {
                    let cast = Cast::new(rulebook, &LogicalType::Text, ty).ok_or_else(|| {
                        let message = format!("`{name}` is {ty}, and the rulebook reads no text as that");
                        at(&self.file, first.line, message).hint("repair the source instead")
                    })?;
                    let done = cast.apply(&texts)?;
                    let bad = done.misfits.or(done.changed);
                    if let Some((_, row, _)) = bad.and_then(|bad| given.get(bad.set_indices().next()?)) {
                        return Err(at(&self.file, row.line, format!("the text for `{name}` cannot be read as {ty}")));
                    }
                    done.array
                }
            };
            let mut of_row = vec![None; self.rows.len()];
            given.iter().enumerate().for_each(|(at, (row, _, _))| of_row[*row] = Some(at));
            columns.push(Column { number, values: relayout(&typed, field)?, of_row });
        }
        let rows = self.rows.iter().enumerate().map(|(i, row)| ((row.split, row.position), i)).collect();
        Ok(Values { rows, columns })
    }
}

fn at(file: &str, line: u64, message: String) -> Error {
    Error::config(message).with("file", format!("{file}:{line}"))
}

fn headings(file: &str, first: &Line, table: &TablePlan) -> Result<Vec<Heading>> {
    let names = table.aside_names();
    let known: Vec<&str> = table.source_columns.iter().map(|c| c.name.as_str()).filter(|name| is_value(name)).collect();
    let line = first.number;
    let mut found = Vec::with_capacity(first.cells.len());
    for (number, cell) in first.cells.iter().enumerate() {
        let name = cell.text.as_str();
        if first.cells.iter().take(number).any(|c| c.text == name) {
            return Err(at(file, line, format!("the header names `{name}` twice")).hint("remove one of the two"));
        }
        found.push(match name {
            _ if name == names.split => Heading::Split,
            _ if name == names.position => Heading::Position,
            _ if known.contains(&name) => Heading::Value(name.to_string()),
            _ => {
                let hint = closest(name, &known).unwrap_or_else(|| format!("the columns are {}", known.join(", ")));
                return Err(at(file, line, format!("the source has no column `{name}`")).hint(hint));
            }
        });
    }
    let has = |wanted: fn(&Heading) -> bool| found.iter().any(wanted);
    if !has(|h| matches!(h, Heading::Split)) || !has(|h| matches!(h, Heading::Position)) {
        let message = format!("the header must name the columns `{}` and `{}`", names.split, names.position);
        return Err(at(file, line, message).hint("they say which row is meant, as they do in the quarantine"));
    }
    if !has(|h| matches!(h, Heading::Value(_))) {
        return Err(at(file, line, "the header names no column to be changed".to_string()));
    }
    Ok(found)
}

fn row(file: &str, line: &Line, headings: &[Heading]) -> Result<Row> {
    let wrong = |message: String| at(file, line.number, message);
    if line.cells.len() != headings.len() {
        return Err(wrong(format!("{} fields where {} are expected", line.cells.len(), headings.len())));
    }
    let mut row = Row { line: line.number, split: 0, position: 0, set: BTreeMap::new() };
    for (heading, cell) in headings.iter().zip(&line.cells) {
        let number = || cell.text.trim().parse::<u64>();
        match heading {
            Heading::Split => row.split = number().map_err(|_| wrong("the split is no whole number".to_string()))?,
            Heading::Position => {
                row.position = number().map_err(|_| wrong("the position is no whole number".to_string()))?;
            }
            Heading::Value(_) if cell.text.is_empty() && !cell.quoted => {}
            Heading::Value(name) => {
                let value = (cell.quoted || cell.text != NULL).then(|| cell.text.clone());
                row.set.insert(name.clone(), value);
            }
        }
    }
    match row.set.is_empty() {
        true => Err(wrong("the line changes nothing".to_string()).hint("remove it, or write new values")),
        false => Ok(row),
    }
}

/// The values of a patch, ready to be put in.
#[derive(Debug)]
pub(super) struct Values {
    /// The number of the row of the patch, by split and position.
    rows: HashMap<(u64, u64), usize>,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    /// Its number in the source.
    number: usize,
    values: ArrayRef,
    /// For each row of the patch, its place among the values.
    of_row: Vec<Option<usize>>,
}

impl Values {
    /// The number of the row of the patch that is about a row of the quarantine.
    pub(super) fn about(&self, split: u64, position: u64) -> Option<usize> {
        self.rows.get(&(split, position)).copied()
    }

    /// Puts the values into the columns of a batch, of whose rows `about` says which rows of the patch are about them.
    pub(super) fn put_in(&self, columns: &mut [ArrayRef], about: &[Option<usize>]) -> Result<()> {
        for patched in &self.columns {
            let place = |row: &Option<usize>| row.and_then(|row| patched.of_row.get(row).copied().flatten());
            let Some(column) = columns.get_mut(patched.number).filter(|_| about.iter().any(|r| place(r).is_some()))
            else {
                continue;
            };
            let places: Vec<(usize, usize)> =
                about.iter().enumerate().map(|(i, row)| place(row).map_or((0, i), |at| (1, at))).collect();
            *column = interleave(&[column.as_ref(), patched.values.as_ref()], &places)?;
        }
        Ok(())
    }
}

/// The rows that a patch is about and that have not been seen in the quarantine yet.
#[derive(Debug)]
pub struct Missing<'p> {
    file: &'p str,
    rows: HashMap<(u64, u64), &'p Row>,
    columns: Vec<String>,
}

impl<'p> Missing<'p> {
    /// All of them. `table` is the table in the plan of the run that put the rows aside.
    pub fn new(patch: &'p Patch, table: &TablePlan) -> Self {
        let columns = table.source_columns.iter().map(|c| c.name.clone()).filter(|name| is_value(name));
        Self {
            file: &patch.file,
            rows: patch.rows.iter().map(|row| ((row.split, row.position), row)).collect(),
            columns: columns.collect(),
        }
    }

    /// Takes note of rows of the quarantine, as a replay without a patch reads them.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) with the line of the file, if a row could not be read when it was
    /// put aside, and the patch does not give it a value for every column.
    pub fn see(&mut self, batch: &RecordBatch) -> Result<()> {
        let origin = batch.column_by_name(ORIGIN_COLUMN).and_then(|c| c.as_struct_opt());
        let [_, splits, positions] = origin.map(|o| o.columns()).unwrap_or_default() else {
            return Err(Error::internal("a quarantine is read without its places"));
        };
        let (splits, positions) = (splits.as_primitive::<UInt64Type>(), positions.as_primitive::<UInt64Type>());
        let fault = batch.column_by_name(FAULT_COLUMN);
        for at_row in 0..batch.num_rows() {
            let Some(row) = self.rows.remove(&(splits.value(at_row), positions.value(at_row))) else { continue };
            let unread = fault.is_some_and(|f| f.is_valid(at_row));
            if let Some(name) = self.columns.iter().find(|name| unread && !row.set.contains_key(*name)) {
                let message =
                    format!("this row could not be read, so every column is needed, and `{name}` is not given");
                return Err(at(self.file, row.line, message).hint("write NULL, unquoted, where there is no value"));
            }
        }
        Ok(())
    }

    /// Whether all rows were seen.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) with the line of the file, if one was not.
    pub fn finish(self) -> Result<()> {
        match self.rows.into_values().min_by_key(|row| row.line) {
            None => Ok(()),
            Some(row) => {
                let message = format!("no row at position {} of split {} is in quarantine", row.position, row.split);
                Err(at(self.file, row.line, message).hint("the quarantine says which rows there are"))
            }
        }
    }
}
