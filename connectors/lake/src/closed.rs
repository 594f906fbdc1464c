//! Parquet files of which enough is known for a plan, by their table's log or by other files: they are opened when their
//! rows are read.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Fields, Schema};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use transload_core::{Error, Result};

use crate::fit;
use crate::legacy::as_it_is_meant;
use crate::parquet::{ParquetFile, PinnedObject};
use crate::sample::Sample;
use crate::settings::ParquetReading;

/// What a log says of the values in a file.
pub trait FileStatistics: fmt::Debug + Send + Sync {
    /// What is known of columns of the table, in their order.
    fn bounds(&self, columns: &[FieldRef]) -> Vec<Bounds>;
}

/// What is known of the values that a column has in a file. Nothing is known by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bounds {
    /// Of the column's type; no value is less. NULL is no value.
    pub low: Option<ScalarValue>,
    /// Of the column's type; no value is more.
    pub high: Option<ScalarValue>,
    /// How many rows have NULL.
    pub nulls: Option<u64>,
}

/// Rows of a file that are not rows of the table any more.
#[async_trait]
pub trait DeletedRows: fmt::Debug + Send + Sync {
    /// How many they are.
    fn count(&self) -> u64;

    /// Their places in the file, in order and from 0.
    ///
    /// # Errors
    /// As reading what is noted of them fails.
    async fn places(&self) -> Result<Vec<u64>>;
}

/// A file whose footer has not been read.
#[derive(Debug, Clone)]
pub(crate) struct ClosedFile {
    pub(crate) object: PinnedObject,
    /// Its rows, as the log says.
    pub(crate) rows: Option<u64>,
    /// For how many rows it counts where splits are made, if nobody says how many it has.
    pub(crate) weight: u64,
    pub(crate) reading: ParquetReading,
    pub(crate) held_to: HeldTo,
}

/// What a file is held to when it is opened.
#[derive(Debug, Clone)]
pub(crate) enum HeldTo {
    /// What the table's log says.
    Log,
    /// What was planned by the footers of other files.
    Sample(Arc<Sample>),
}

impl ClosedFile {
    /// Opens it as a file of a table that has these columns in its files.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if it is damaged, nobody can tell what its values mean, or it is not
    /// what it is held to.
    pub(crate) async fn open(&self, columns: &Schema) -> Result<ParquetFile> {
        let file = as_it_is_meant(ParquetFile::open(self.object.clone()).await?, self.reading).await?;
        match &self.held_to {
            HeldTo::Log => {
                self.agrees(&file)?;
                fit::check(&file, columns)?;
            }
            HeldTo::Sample(sample) => sample.check(&file, columns).await?,
        }
        Ok(file)
    }

    /// Refuses a file that has another number of rows than the log says.
    pub(crate) fn agrees(&self, file: &ParquetFile) -> Result<()> {
        let rows = u64::try_from(file.metadata.file_metadata().num_rows()).ok();
        match self.rows.is_none() || self.rows == rows {
            true => Ok(()),
            false => Err(Error::config("the file has another number of rows than the table's log says")
                .with("path", self.object.meta.location.to_string())
                .hint("the file or the log was changed by hand: put it back, or write the table anew")),
        }
    }
}

/// A Parquet file of a table.
#[derive(Debug)]
pub(crate) enum Part {
    Open(ParquetFile),
    Closed(ClosedFile),
}

impl Part {
    pub(crate) fn object(&self) -> &PinnedObject {
        match self {
            Self::Open(file) => &file.object,
            Self::Closed(file) => &file.object,
        }
    }

    /// The file, if it is open.
    pub(crate) fn opened(&self) -> Option<&ParquetFile> {
        match self {
            Self::Open(file) => Some(file),
            Self::Closed(_) => None,
        }
    }

    /// Its rows, if they are known.
    pub(crate) fn rows(&self) -> Option<u64> {
        match self {
            Self::Open(file) => Some(u64::try_from(file.metadata.file_metadata().num_rows()).unwrap_or_default()),
            Self::Closed(file) => file.rows,
        }
    }

    /// For how many rows it counts where splits are made.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Open(_) => self.rows().unwrap_or_default(),
            Self::Closed(file) => file.rows.unwrap_or(file.weight),
        }
    }
}

/// What is known of a file before it is opened.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Its values for the columns that are not in it.
    pub(crate) values: Vec<ScalarValue>,
    pub(crate) rows: Option<u64>,
    pub(crate) statistics: Option<Arc<dyn FileStatistics>>,
    /// Rows that are in it and not in the table.
    pub(crate) deleted: Option<Arc<dyn DeletedRows>>,
    /// Whether dates and timestamps are read as whoever wrote the log understood them.
    pub(crate) has_plain_times: bool,
}

impl Known {
    /// What is known of columns of the table, `beside` being those that are not in files.
    pub(crate) fn bounds(&self, columns: &[FieldRef], beside: &Fields) -> Vec<Bounds> {
        let logged = match &self.statistics {
            Some(statistics) => statistics.bounds(columns),
            None => vec![Bounds::default(); columns.len()],
        };
        let bound = |(column, logged): (&FieldRef, Bounds)| match beside.find(column.name()) {
            Some((at, _)) => self.values.get(at).map(|value| self.constant(value)).unwrap_or_default(),
            // The engine takes NaN for more than every number, and writers leave it out of what they note.
            None if column.data_type().is_floating() => Bounds { nulls: logged.nulls, ..Bounds::default() },
            None if column.data_type().is_temporal() && !self.has_plain_times => Bounds::default(),
            None => logged,
        };
        columns.iter().zip(logged).map(bound).collect()
    }

    /// How many of its rows are not in the table.
    pub(crate) fn deleted_rows(&self) -> u64 {
        self.deleted.as_ref().map_or(0, |deleted| deleted.count())
    }

    /// The places of the rows of a file that are not in the table, or `None` if all are.
    pub(crate) async fn deleted_places(&self, file: &ParquetFile) -> Result<Option<Arc<Vec<u64>>>> {
        let Some(deleted) = &self.deleted else { return Ok(None) };
        let named = |e: Error| e.with("path", file.object.meta.location.to_string());
        let places = deleted.places().await.map_err(named)?;
        let rows = u64::try_from(file.metadata.file_metadata().num_rows()).unwrap_or_default();
        let is_in_order = places.is_sorted_by(|a, b| a < b) && places.last().is_none_or(|last| *last < rows);
        match is_in_order && places.len() as u64 == deleted.count() {
            true => Ok(Some(Arc::new(places))),
            false => {
                Err(named(Error::config("what is noted of a file's deleted rows is not what the table's log says")))
            }
        }
    }

    /// Bounds of a column that has one value in all rows.
    fn constant(&self, value: &ScalarValue) -> Bounds {
        match value.is_null() {
            true => Bounds { nulls: self.rows, ..Bounds::default() },
            false => Bounds { low: Some(value.clone()), high: Some(value.clone()), nulls: Some(0) },
        }
    }
}

/// The row groups of a file.
pub(crate) fn all_of(file: &ParquetFile) -> Range<usize> {
    0..file.metadata.num_row_groups()
}
