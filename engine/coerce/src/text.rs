//! Reading values from text, strictly: nothing that was written may get lost.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    StringArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Float64Type};
use transload_core::number::{FloatFit, float_fit};
use transload_core::types::Unit;
use transload_core::{LogicalType, Result};

use crate::cast::convert;
use crate::years;

/// Reads every text as a value of `to`; NULL where that cannot be done. `None` for types that text is not parsed as.
pub(crate) fn parse(texts: &StringArray, to: &LogicalType) -> Result<Option<ArrayRef>> {
    let loses: fn(&str, &LogicalType) -> bool = match to {
        LogicalType::Binary => return Ok(None),
        LogicalType::Uuid => return Ok(Some(uuids(texts))),
        LogicalType::Json => return Ok(Some(json(texts)?)),
        LogicalType::Decimal(..) => too_many_digits,
        LogicalType::Date => not_a_plain_date,
        LogicalType::Time(_) => not_a_plain_time,
        LogicalType::Timestamp(..) => cuts_a_timestamp,
        _ => |_, _| false,
    };
    let array: ArrayRef = Arc::new(texts.clone());
    let values = convert(&array, &to.to_arrow())?;
    let lost: BooleanArray = (0..texts.len()).map(|i| Some(texts.is_valid(i) && loses(texts.value(i), to))).collect();
    let values = if lost.true_count() == 0 { values } else { nullif(&values, &lost)? };
    years::timestamps(texts, values, to).map(Some)
}

/// Reads every text as a float of 32 or 64 `bits`; NULL where that cannot be done. Beside it, which of the floats are not
/// the number that was written.
pub(crate) fn floats(texts: &StringArray, bits: u8) -> Result<(ArrayRef, BooleanBuffer)> {
    let array: ArrayRef = Arc::new(texts.clone());
    let values = convert(&array, &LogicalType::Float(bits).to_arrow())?;
    let wide = convert(&values, &DataType::Float64)?;
    let wide = wide.as_primitive::<Float64Type>();
    let mut rounded = BooleanBufferBuilder::new(texts.len());
    let mut lost = BooleanBufferBuilder::new(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let fit = match text {
            Some(text) if wide.is_valid(row) => float_fit(text, wide.value(row), bits),
            _ => FloatFit::Kept,
        };
        rounded.append(fit == FloatFit::Rounded);
        lost.append(fit == FloatFit::Lost);
    }
    let lost = BooleanArray::new(lost.finish(), None);
    let values = if lost.true_count() == 0 { values } else { nullif(&values, &lost)? };
    Ok((values, rounded.finish()))
}

fn too_many_digits(text: &str, to: &LogicalType) -> bool {
    let LogicalType::Decimal(_, scale) = to else { return false };
    let fraction = text.trim().split_once('.').map_or("", |(_, f)| f);
    fraction.trim_end_matches('0').len() > *scale as usize
}

/// Anything but `YYYY-MM-DD` (or a longer year with a sign) may hold a time of day that would be dropped.
fn not_a_plain_date(text: &str, _: &LogicalType) -> bool {
    let signed = text.starts_with(['+', '-']);
    text.contains([':', 'T', 't', ' ']) || text.matches('-').count() < 2 || (!signed && text.len() > 10)
}

fn not_a_plain_time(text: &str, to: &LogicalType) -> bool {
    let LogicalType::Time(unit) = to else { return false };
    !text.contains(':') || finer_than(text, *unit) || has_leap_second(text)
}

fn cuts_a_timestamp(text: &str, to: &LogicalType) -> bool {
    let LogicalType::Timestamp(unit, zone) = to else { return false };
    let time = text.get(10..).unwrap_or("");
    let has_zone = time
        .char_indices()
        .any(|(i, c)| matches!(c, 'Z' | 'z' | '+' | '-') || (c.is_alphabetic() && !(i == 0 && matches!(c, 'T' | 't'))));
    finer_than(text, *unit) || (zone.is_none() && has_zone) || has_leap_second(text.get(11..).unwrap_or(""))
}

/// A second 60 (`10:30:60`, `103060`) would become the first one of the next minute, or of no minute at all.
fn has_leap_second(time: &str) -> bool {
    let compact = |t: &[u8; 6]| t.iter().all(u8::is_ascii_digit) && t.ends_with(b"60");
    time.contains(":60") || time.as_bytes().first_chunk().is_some_and(compact)
}

/// Whether the text gives more digits of a second than `unit` holds.
fn finer_than(text: &str, unit: Unit) -> bool {
    let digits = match unit {
        Unit::S => 0,
        Unit::Ms => 3,
        Unit::Us => 6,
        Unit::Ns => 9,
    };
    let Some((_, fraction)) = text.split_once('.') else { return false };
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    fraction[..end].trim_end_matches('0').len() > digits
}

fn uuids(texts: &StringArray) -> ArrayRef {
    let mut out = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
    for text in texts {
        match text.and_then(|t| uuid::Uuid::try_parse(t).ok()) {
            // Sixteen bytes into a builder of width sixteen: this cannot fail.
            Some(id) if out.append_value(id.as_bytes()).is_ok() => {}
            _ => out.append_null(),
        }
    }
    Arc::new(out.finish())
}

pub(crate) fn from_uuid(ids: &FixedSizeBinaryArray) -> ArrayRef {
    let text = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).map(|id| id.hyphenated().to_string()).ok();
    Arc::new(ids.iter().map(|id| id.and_then(text)).collect::<StringArray>())
}

fn json(texts: &StringArray) -> Result<ArrayRef> {
    let broken: BooleanArray = texts
        .iter()
        .map(|t| Some(t.is_some_and(|t| serde_json::from_str::<serde::de::IgnoredAny>(t).is_err())))
        .collect();
    Ok(nullif(texts, &broken)?)
}
