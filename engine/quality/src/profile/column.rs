//! What is known of one column.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;
use transload_core::{Error, LogicalType, Result};
use xxhash_rust::xxh64::xxh64;

use crate::profile::distinct::{Distinct, DistinctCount};
use crate::profile::frequent::{Counted, Frequent};
use crate::profile::texts::{Lengths, Reading, ReadsAs, Texts};
use crate::shape::shape;
use crate::spread::Spread;
use crate::values::{each_exact, each_float, is_text};

/// Frequent values and patterns that are shown.
const SHOWN: usize = 10;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: LogicalType,
    /// Rows in which it is NULL.
    pub nulls: u64,
    /// Texts that are not of the type that the source says they are. They are neither values nor NULL.
    pub misfits: u64,
    /// Floats that are not a number. They are values, without a part in the figures that follow.
    pub nan: u64,
    /// Different values.
    pub distinct: DistinctCount,
    /// The smallest value, as text. Of numbers, dates, times and timestamps it is a figure; of others it is only there
    /// if values were asked for.
    pub min: Option<String>,
    /// The greatest value, in the same way.
    pub max: Option<String>,
    /// The mean of numbers.
    pub mean: Option<f64>,
    /// The standard deviation of numbers, of a sample.
    pub stddev: Option<f64>,
    /// Lengths of texts.
    pub length: Option<Lengths>,
    /// Texts that are empty, or nothing but blanks.
    pub blank: Option<u64>,
    /// The most frequent shapes of texts.
    pub patterns: Vec<Frequency>,
    /// How much the counts of patterns may be too low.
    pub patterns_error: u64,
    /// The most frequent values, of those that occur more than once.
    pub top: Vec<Frequency>,
    /// How much the counts of values may be too low.
    pub top_error: u64,
    /// The types that at least half of the texts can be read as.
    pub reads_as: Vec<ReadsAs>,
}

/// How often something occurs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frequency {
    /// Its shape: `A` and `a` for letters, `9` for digits.
    pub shape: String,
    /// The value, or its beginning and `…`; only if values were asked for, and not for patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How often.
    pub count: u64,
    /// As a share of all values, from 0 to 1.
    pub share: f64,
}

/// What is counted of one column.
pub(crate) struct Column {
    pub(crate) field: Field,
    pub(crate) ty: LogicalType,
    pub(crate) nulls: u64,
    pub(crate) misfits: u64,
    /// What is neither.
    pub(crate) values: u64,
    pub(crate) nan: u64,
    pub(crate) distinct: Distinct,
    pub(crate) top: Frequent,
    pub(crate) texts: Option<Texts>,
    spread: Spread,
    /// Makes bytes of values that are equal if the values are, and in their order.
    converter: RowConverter,
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

impl Column {
    pub(crate) fn new(field: &Field, readings: &[Reading]) -> Result<Self> {
        let ty = LogicalType::of(field)
            .ok_or_else(|| Error::internal("a column has no type").with("column", field.name().as_str()))?;
        let readings = if ty == LogicalType::Text { readings } else { &[] };
        Ok(Self {
            texts: is_text(&ty).then(|| Texts::new(readings)),
            converter: RowConverter::new(vec![SortField::new(field.data_type().clone())])?,
            field: field.clone(),
            ty,
            nulls: 0,
            misfits: 0,
            values: 0,
            nan: 0,
            distinct: Distinct::default(),
            top: Frequent::default(),
            spread: Spread::default(),
            low: None,
            high: None,
        })
    }

    /// Takes in more values. `misfits` of those that are NULL are texts that could not be read.
    pub(crate) fn update(&mut self, array: &ArrayRef, misfits: u64, readings: &[Reading]) -> Result<()> {
        let nulls = array.logical_nulls();
        self.misfits += misfits;
        self.nulls += (nulls.as_ref().map_or(0, |n| n.null_count()) as u64).saturating_sub(misfits);
        let rows = self.converter.convert_columns(std::slice::from_ref(array))?;
        let options = FormatOptions::default();
        let shown = ArrayFormatter::try_new(array.as_ref(), &options)?;
        let ordered = is_ordered(&self.ty);
        for (at, row) in rows.iter().enumerate() {
            if nulls.as_ref().is_some_and(|n| n.is_null(at)) {
                continue;
            }
            self.values += 1;
            let hash = xxh64(row.data(), 0);
            self.distinct.add(hash);
            self.top.add(hash, || shown.value(at).to_string());
            if is_nan(array, at) {
                self.nan += 1;
            } else if ordered {
                self.extend(row.data());
            }
        }
        if let LogicalType::Int(_) | LogicalType::UInt(_) | LogicalType::Decimal(..) = self.ty {
            let unit = unit(&self.ty);
            each_exact(array, |value| self.spread.add(value as f64 / unit));
        }
        let spread = &mut self.spread;
        each_float(array, |value| {
            if !value.is_nan() {
                spread.add(value);
            }
        });
        match &mut self.texts {
            Some(texts) => texts.update(array, readings),
            None => Ok(()),
        }
    }

    fn extend(&mut self, value: &[u8]) {
        if self.low.as_deref().is_none_or(|low| value < low) {
            self.low = Some(value.to_vec());
        }
        if self.high.as_deref().is_none_or(|high| value > high) {
            self.high = Some(value.to_vec());
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.nulls += other.nulls;
        self.misfits += other.misfits;
        self.values += other.values;
        self.nan += other.nan;
        self.distinct.merge(other.distinct);
        self.top.merge(other.top);
        self.spread.merge(&other.spread);
        for value in [other.low, other.high].into_iter().flatten() {
            self.extend(&value);
        }
        if let (Some(texts), Some(more)) = (&mut self.texts, other.texts) {
            texts.merge(more);
        }
    }

    /// The smallest and the greatest value, as an array of two.
    pub(crate) fn extremes(&self) -> Result<Option<ArrayRef>> {
        let (Some(low), Some(high)) = (&self.low, &self.high) else { return Ok(None) };
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows([parser.parse(low), parser.parse(high)])?.pop())
    }

    /// The smallest and the greatest value, as text.
    pub(crate) fn extreme_texts(&self) -> Result<Option<(String, String)>> {
        let Some(extremes) = self.extremes()? else { return Ok(None) };
        let options = FormatOptions::default();
        let shown = ArrayFormatter::try_new(extremes.as_ref(), &options)?;
        Ok(Some((shown.value(0).to_string(), shown.value(1).to_string())))
    }

    pub(crate) fn profile(&self, show_values: bool) -> Result<ColumnProfile> {
        let extremes = if is_figure(&self.ty) || show_values { self.extreme_texts()? } else { None };
        let (min, max) = extremes.unzip();
        let share = |count: u64| count as f64 / self.values.max(1) as f64;
        let (top, top_error) = self.top.top(SHOWN);
        let value = |counted: &Counted| match counted.whole {
            true => counted.text.clone(),
            false => format!("{}…", counted.text),
        };
        let of_value = |counted: &Counted| Frequency {
            shape: shape(&counted.text),
            value: show_values.then(|| value(counted)),
            count: counted.count,
            share: share(counted.count),
        };
        let of_shape = |counted: &Counted| Frequency {
            shape: counted.text.clone(),
            value: None,
            count: counted.count,
            share: share(counted.count),
        };
        let (patterns, patterns_error) = self.texts.as_ref().map(|t| t.shapes.top(SHOWN)).unwrap_or_default();
        Ok(ColumnProfile {
            name: self.field.name().clone(),
            ty: self.ty.clone(),
            nulls: self.nulls,
            misfits: self.misfits,
            nan: self.nan,
            distinct: self.distinct.count(),
            min,
            max,
            mean: self.spread.mean(),
            stddev: self.spread.deviation(),
            length: self.texts.as_ref().and_then(Texts::lengths),
            blank: self.texts.as_ref().map(|t| t.blank),
            patterns: patterns.into_iter().map(of_shape).collect(),
            patterns_error,
            top: top.into_iter().filter(|c| c.count > 1).map(of_value).collect(),
            top_error,
            reads_as: self.texts.as_ref().map(Texts::reads_as).unwrap_or_default(),
        })
    }

    /// Bytes that it may hold.
    pub(crate) fn size(&self) -> usize {
        self.distinct.size() + self.top.size() + self.texts.as_ref().map_or(0, Texts::size)
    }
}

/// Whether the smallest and the greatest value of a type are worth keeping.
fn is_ordered(ty: &LogicalType) -> bool {
    use LogicalType as T;
    !matches!(ty, T::Bool | T::Json | T::Interval | T::List(_) | T::Struct(_) | T::Map(..))
}

/// Whether the smallest and the greatest value are figures, as findings show them, and not values of rows.
fn is_figure(ty: &LogicalType) -> bool {
    use LogicalType as T;
    matches!(ty, T::Int(_) | T::UInt(_) | T::Decimal(..) | T::Float(_) | T::Date | T::Time(_) | T::Timestamp(..))
}

/// What the digits of a number are divided by.
fn unit(ty: &LogicalType) -> f64 {
    match ty {
        LogicalType::Decimal(_, scale) => 10f64.powi(i32::from(*scale)),
        _ => 1.0,
    }
}

fn is_nan(array: &ArrayRef, at: usize) -> bool {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().value(at).is_nan(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at).is_nan(),
        _ => false,
    }
}
