//! Casts of values that are made of values: each part by its own cast.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, ListArray, MapArray, StructArray, make_comparator,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, filter};
use arrow::datatypes::DataType;
use transload_core::{Error, Result};

use super::{Cast, Coerced, convert, either};

impl Cast {
    pub(super) fn list(&self, array: &ArrayRef) -> Result<Coerced> {
        let array = plain(array)?;
        let Some(array) = array.as_list_opt::<i32>() else { return Err(wrong_layout()) };
        let DataType::List(item) = self.to.to_arrow() else { return Err(wrong_layout()) };
        let inner = self.parts[0].1.apply(array.values())?;
        let values = ListArray::try_new(item, array.offsets().clone(), inner.array, array.nulls().cloned())?;
        let rows = |items| rows_with(items, array.offsets(), array.nulls());
        Coerced::new(Arc::new(values), rows(inner.misfits), rows(inner.changed))
    }

    pub(super) fn fields(&self, array: &ArrayRef) -> Result<Coerced> {
        let array = plain(array)?;
        let Some(array) = array.as_struct_opt() else { return Err(wrong_layout()) };
        let DataType::Struct(fields) = self.to.to_arrow() else { return Err(wrong_layout()) };
        let mut columns = Vec::with_capacity(fields.len());
        let (mut misfits, mut changed) = (None, None);
        for (at, cast) in &self.parts {
            let inner = cast.apply(array.columns().get(*at).ok_or_else(wrong_layout)?)?;
            misfits = either(misfits, inner.misfits);
            changed = either(changed, inner.changed);
            columns.push(inner.array);
        }
        let values = StructArray::try_new_with_length(fields, columns, array.nulls().cloned(), array.len())?;
        // What stands behind a NULL is no value.
        let present = |rows: BooleanBuffer| match array.nulls() {
            Some(nulls) => &rows & nulls.inner(),
            None => rows,
        };
        Coerced::new(Arc::new(values), misfits.map(present), changed.map(present))
    }

    pub(super) fn map(&self, array: &ArrayRef) -> Result<Coerced> {
        let array = plain(array)?;
        let Some(array) = array.as_map_opt() else { return Err(wrong_layout()) };
        let DataType::Map(entries, ordered) = self.to.to_arrow() else { return Err(wrong_layout()) };
        let DataType::Struct(fields) = entries.data_type() else { return Err(wrong_layout()) };
        let (key, value) = (&self.parts[0].1, &self.parts[1].1);
        let (keys, values) = (key.apply(array.keys())?, value.apply(array.values())?);
        let rows = |items| rows_with(items, array.offsets(), array.nulls());
        let mut misfits = either(rows(keys.misfits), rows(values.misfits));
        if key.from != key.to {
            misfits = either(misfits, Some(rows_with_equal_keys(&keys.array, array.offsets(), array.nulls())?));
        }
        let changed = either(rows(keys.changed), rows(values.changed));

        let (mut keys, mut values, mut offsets) = (keys.array, values.array, array.offsets().clone());
        if keys.null_count() > 0 {
            // A key is never NULL, also not behind a NULL: the entries of rows that have no value go.
            let stays = |row| array.is_valid(row) && !misfits.as_ref().is_some_and(|m| m.value(row));
            let mut kept = BooleanBufferBuilder::new(keys.len());
            kept.append_n(keys.len(), false);
            let mut lengths = Vec::with_capacity(array.len());
            for (row, ends) in array.offsets().windows(2).enumerate() {
                let own = if stays(row) { ends[0] as usize..ends[1] as usize } else { 0..0 };
                lengths.push(own.len());
                own.for_each(|i| kept.set_bit(i, true));
            }
            let kept = BooleanArray::new(kept.finish(), None);
            (keys, values) = (filter(&keys, &kept)?, filter(&values, &kept)?);
            offsets = OffsetBuffer::from_lengths(lengths);
        }
        let both = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
        let map = MapArray::try_new(entries, offsets, both, array.nulls().cloned(), ordered)?;
        Coerced::new(Arc::new(map), misfits, changed)
    }
}

fn wrong_layout() -> Error {
    Error::internal("a nested cast met another layout")
}

/// A list, struct or map in its plain layout, with its parts as they are.
fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => plain(&convert(array, values)?),
        DataType::RunEndEncoded(_, values) => plain(&convert(array, values.data_type())?),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            convert(array, &DataType::List(Arc::clone(item)))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// The rows that hold any of these items.
fn rows_with(
    items: Option<BooleanBuffer>,
    offsets: &OffsetBuffer<i32>,
    nulls: Option<&NullBuffer>,
) -> Option<BooleanBuffer> {
    let items = items?;
    Some(rows_where(offsets, nulls, |start, end| (start..end).any(|i| items.value(i))))
}

/// The rows that hold a key twice.
fn rows_with_equal_keys(
    keys: &ArrayRef,
    offsets: &OffsetBuffer<i32>,
    nulls: Option<&NullBuffer>,
) -> Result<BooleanBuffer> {
    let compare = make_comparator(keys, keys, SortOptions::default())?;
    Ok(rows_where(offsets, nulls, |start, end| {
        let mut order: Vec<usize> = (start..end).collect();
        order.sort_unstable_by(|a, b| compare(*a, *b));
        order.windows(2).any(|pair| compare(pair[0], pair[1]).is_eq())
    }))
}

/// The rows that are not NULL and whose items, from one place to another, are such.
fn rows_where(
    offsets: &OffsetBuffer<i32>,
    nulls: Option<&NullBuffer>,
    such: impl Fn(usize, usize) -> bool,
) -> BooleanBuffer {
    BooleanBuffer::collect_bool(offsets.len() - 1, |row| {
        nulls.is_none_or(|n| n.is_valid(row)) && such(offsets[row] as usize, offsets[row + 1] as usize)
    })
}
