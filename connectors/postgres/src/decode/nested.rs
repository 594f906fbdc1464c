//! Arrays, hstores and composite values.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::column::Builder;
use super::fault::Fault;
use super::reader::Reader;
use super::text::{Bytes, Offsets};
use crate::types::Kind;

/// Arrays of one dimension that are counted from 1.
///
/// `array_send`: the number of dimensions, whether there are NULLs, the type of the elements, length and first index of each
/// dimension, then the elements. An empty array has no dimension.
pub(crate) struct Lists {
    field: FieldRef,
    offsets: Offsets,
    items: Builder,
}

impl Lists {
    pub(crate) fn new(item: &Kind) -> Self {
        let field = Arc::new(item.field("item", true));
        Self { field, offsets: Offsets::new(), items: Builder::new(item) }
    }

    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut value = Reader::new(value);
        let (dimensions, _has_nulls, _element) = (value.int()?, value.int()?, value.int()?);
        match dimensions {
            0 => {}
            1 => {
                let (length, first) = (value.count()?, value.int()?);
                if first != 1 {
                    return Err(Fault::Special("an array that is not counted from 1"));
                }
                for _ in 0..length {
                    self.items.push_value(value.value()?)?;
                }
            }
            2..=6 => return Err(Fault::Special("an array of several dimensions")),
            _ => return Err(Fault::Broken),
        }
        value.end()?;
        self.offsets.push(self.items.len())
    }

    pub(crate) fn push_empty(&mut self) {
        self.offsets.push_empty();
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        let end = self.offsets.truncate(rows);
        self.items.truncate(end);
    }

    pub(crate) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Fault> {
        let items = self.items.finish()?;
        let array = ListArray::try_new(Arc::clone(&self.field), self.offsets.finish(), items, nulls);
        Ok(Arc::new(array.map_err(|_| Fault::Broken)?))
    }
}

/// Hstores.
///
/// `hstore_send`: the number of entries, then key and value of each. Keys are never NULL and never there twice.
pub(crate) struct Maps {
    fields: Fields,
    offsets: Offsets,
    keys: Bytes,
    values: Builder,
}

impl Maps {
    pub(crate) fn new() -> Self {
        let fields = Fields::from(vec![Kind::Text.field("key", false), Kind::Text.field("value", true)]);
        Self { fields, offsets: Offsets::new(), keys: Bytes::new(), values: Builder::new(&Kind::Text) }
    }

    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut value = Reader::new(value);
        for _ in 0..value.count()? {
            self.keys.push(value.value()?.ok_or(Fault::Broken)?)?;
            self.values.push_value(value.value()?)?;
        }
        value.end()?;
        self.offsets.push(self.values.len())
    }

    pub(crate) fn push_empty(&mut self) {
        self.offsets.push_empty();
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        let end = self.offsets.truncate(rows);
        self.keys.truncate(end);
        self.values.truncate(end);
    }

    pub(crate) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Fault> {
        let columns = vec![self.keys.texts(None)?, self.values.finish()?];
        let entries = StructArray::try_new(self.fields.clone(), columns, None).map_err(|_| Fault::Broken)?;
        let field = Arc::new(Field::new("entries", DataType::Struct(self.fields.clone()), false));
        let array = MapArray::try_new(field, self.offsets.finish(), entries, nulls, false);
        Ok(Arc::new(array.map_err(|_| Fault::Broken)?))
    }
}

/// Composite values.
///
/// `record_send`: the number of parts, then the type and the value of each.
pub(crate) struct Records {
    fields: Fields,
    parts: Vec<(i32, Builder)>,
}

impl Records {
    pub(crate) fn new(parts: &[(String, u32, Kind)]) -> Self {
        Self {
            fields: parts.iter().map(|(name, _, kind)| kind.field(name, true)).collect(),
            parts: parts.iter().map(|(_, oid, kind)| (oid.cast_signed(), Builder::new(kind))).collect(),
        }
    }

    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut value = Reader::new(value);
        if value.count()? != self.parts.len() {
            return Err(Fault::OtherParts);
        }
        for (oid, part) in &mut self.parts {
            if value.int()? != *oid {
                return Err(Fault::OtherParts);
            }
            part.push_value(value.value()?)?;
        }
        value.end()
    }

    pub(crate) fn push_null(&mut self) {
        for (_, part) in &mut self.parts {
            part.push_null();
        }
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        for (_, part) in &mut self.parts {
            part.truncate(rows);
        }
    }

    /// About how many bytes a row takes, without values of any length.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.width()).sum()
    }

    pub(crate) fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, Fault> {
        let columns = self.parts.iter_mut().map(|(_, part)| part.finish()).collect::<Result<_, _>>()?;
        let array = StructArray::try_new(self.fields.clone(), columns, nulls);
        Ok(Arc::new(array.map_err(|_| Fault::Broken)?))
    }
}
