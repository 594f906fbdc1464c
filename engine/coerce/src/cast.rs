//! Casts of whole columns.
//!
//! Outside of text, no cast is trusted to be exact: the values are cast forward and back again, and whatever
//! does not come back as it was is a misfit (checked casts) or a counted change (lossy ones). That is
//! one mechanism for every pair of types, and it holds whatever the kernel library does in between.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::boolean::{and, is_not_null, is_null, not, or};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, nullif};
use arrow::datatypes::{DataType, Field, Float32Type};
use transload_core::{Error, LogicalType, Result};

use crate::rulebook::{Loss, Rulebook};
use crate::text;

/// A cast of one column from one type to another.
#[derive(Debug, Clone)]
pub struct Cast {
    from: LogicalType,
    to: LogicalType,
    loss: Loss,
    /// Casts of the parts of a nested type, in the order of the target's parts, with the source's position of each.
    parts: Vec<(usize, Cast)>,
}

/// A cast column.
#[derive(Debug, Clone)]
pub struct Coerced {
    /// The new values; NULL where the old value does not fit.
    pub array: ArrayRef,
    /// Which values do not fit, if any.
    pub misfits: Option<BooleanBuffer>,
    /// Values that were changed as the rule allows.
    pub changed: u64,
}

impl Coerced {
    fn exact(array: ArrayRef) -> Self {
        Self { array, misfits: None, changed: 0 }
    }
}

impl Cast {
    /// The cast from one type to another under a rulebook; `None` if the book refuses it.
    pub fn new(rulebook: &Rulebook, from: &LogicalType, to: &LogicalType) -> Option<Self> {
        use LogicalType as T;
        let loss = rulebook.rule(from, to)?;
        let parts = match (from, to) {
            (T::List(f), T::List(t)) => vec![(0, Self::new(rulebook, f, t)?)],
            (T::Map(fk, fv), T::Map(tk, tv)) => {
                vec![(0, Self::new(rulebook, fk, tk)?), (1, Self::new(rulebook, fv, tv)?)]
            }
            (T::Struct(f), T::Struct(t)) => t
                .iter()
                .map(|(name, ty)| {
                    let at = f.iter().position(|(n, _)| n == name)?;
                    Some((at, Self::new(rulebook, &f[at].1, ty)?))
                })
                .collect::<Option<_>>()?,
            _ => Vec::new(),
        };
        Some(Self { from: from.clone(), to: to.clone(), loss, parts })
    }

    /// A change of layout only: the logical type stays.
    pub fn layout(ty: &LogicalType) -> Self {
        Self { from: ty.clone(), to: ty.clone(), loss: Loss::Exact, parts: Vec::new() }
    }

    /// The source type.
    pub fn from(&self) -> &LogicalType {
        &self.from
    }

    /// The target type.
    pub fn to(&self) -> &LogicalType {
        &self.to
    }

    /// What it may do to a value.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Casts a column.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the column is not of the source type.
    pub fn apply(&self, array: &ArrayRef) -> Result<Coerced> {
        if *array.data_type() == DataType::Null {
            return Ok(Coerced::exact(new_null_array(&self.to.to_arrow(), array.len())));
        }
        if self.from == self.to {
            return Ok(Coerced::exact(convert(array, &self.to.to_arrow())?));
        }
        // From here on arrays have the one layout that `to_arrow` names.
        let array = &convert(array, &self.from.to_arrow())?;
        use LogicalType as T;
        match (&self.from, &self.to) {
            (T::List(_), T::List(_)) => self.list(array.as_list()),
            (T::Struct(_), T::Struct(_)) => self.fields(array.as_struct()),
            (T::Map(..), T::Map(..)) => self.map(array.as_map()),
            (T::Text, to) => match text::parse(array.as_string(), to)? {
                Some(values) => Ok(misfit_where_lost(array, values)),
                None => self.by_kernel(array),
            },
            (T::Uuid, T::Text) => Ok(Coerced::exact(text::from_uuid(array.as_fixed_size_binary()))),
            _ => self.by_kernel(array),
        }
    }

    /// Casts with the kernel library and checks what it did.
    fn by_kernel(&self, array: &ArrayRef) -> Result<Coerced> {
        use LogicalType as T;
        let values = convert(array, &self.to.to_arrow())?;
        if self.loss == Loss::Exact {
            return Ok(Coerced::exact(values));
        }
        let zone_changes = match (&self.from, &self.to) {
            (T::Timestamp(_, a), T::Timestamp(_, b)) => a.is_none() != b.is_none(),
            _ => false,
        };
        if zone_changes {
            // Reading a wall clock in a zone keeps the wall clock; dropping a zone changes every value there is.
            let changed =
                if matches!(self.from, T::Timestamp(_, Some(_))) { values.len() - values.null_count() } else { 0 };
            return Ok(Coerced { changed: changed as u64, ..misfit_where_lost(array, values) });
        }
        let back = convert(&values, array.data_type())?;
        let same = not_distinct(&back, array)?;
        let unlike = and(&not(&same)?, &is_not_null(array.as_ref())?)?;
        match self.loss {
            Loss::Checked => Ok(with_misfits(values, unlike)?),
            _ => {
                let mut lost = and(&is_null(values.as_ref())?, &is_not_null(array.as_ref())?)?;
                if self.to == T::Float(32) {
                    lost = or(&lost, &overflowed(array, &values)?)?;
                }
                let changed = and(&unlike, &not(&lost)?)?.true_count() as u64;
                Ok(Coerced { changed, ..with_misfits(values, lost)? })
            }
        }
    }

    fn list(&self, array: &ListArray) -> Result<Coerced> {
        let DataType::List(item) = self.to.to_arrow() else { return Err(wrong_layout()) };
        let inner = self.parts[0].1.apply(array.values())?;
        let misfits = inner.misfits.as_ref().map(|bad| {
            BooleanBuffer::collect_bool(array.len(), |row| {
                let (start, end) = (array.value_offsets()[row] as usize, array.value_offsets()[row + 1] as usize);
                array.is_valid(row) && (start..end).any(|i| bad.value(i))
            })
        });
        let values = ListArray::try_new(item, array.offsets().clone(), inner.array, array.nulls().cloned())?;
        finish(Arc::new(values), misfits, inner.changed)
    }

    fn fields(&self, array: &StructArray) -> Result<Coerced> {
        let DataType::Struct(fields) = self.to.to_arrow() else { return Err(wrong_layout()) };
        let mut columns = Vec::with_capacity(fields.len());
        let mut misfits: Option<BooleanBuffer> = None;
        let mut changed = 0;
        for (at, cast) in &self.parts {
            let inner = cast.apply(array.column(*at))?;
            misfits = either(misfits, inner.misfits);
            changed += inner.changed;
            columns.push(inner.array);
        }
        let values = StructArray::try_new_with_length(fields, columns, array.nulls().cloned(), array.len())?;
        finish(Arc::new(values), misfits, changed)
    }

    fn map(&self, array: &MapArray) -> Result<Coerced> {
        let DataType::Map(entries, ordered) = self.to.to_arrow() else { return Err(wrong_layout()) };
        let DataType::Struct(fields) = entries.data_type() else { return Err(wrong_layout()) };
        let keys = self.parts[0].1.apply(array.keys())?;
        let values = self.parts[1].1.apply(array.values())?;
        if keys.misfits.is_some() {
            return Err(Error::config("a key of a map does not fit its new type").hint("keep the type of the keys"));
        }
        let misfits = values.misfits.as_ref().map(|bad| {
            BooleanBuffer::collect_bool(array.len(), |row| {
                let (start, end) = (array.value_offsets()[row] as usize, array.value_offsets()[row + 1] as usize);
                array.is_valid(row) && (start..end).any(|i| bad.value(i))
            })
        });
        let both = StructArray::try_new(fields.clone(), vec![keys.array, values.array], None)?;
        let map = MapArray::try_new(entries, array.offsets().clone(), both, array.nulls().cloned(), ordered)?;
        finish(Arc::new(map), misfits, keys.changed + values.changed)
    }
}

fn wrong_layout() -> Error {
    Error::internal("a nested cast met another layout")
}

/// The kernel library's cast, values that it cannot represent as NULL. The one call in the product.
#[allow(clippy::disallowed_methods)]
pub(crate) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    arrow::compute::cast_with_options(array, to, &options)
        .map_err(|e| Error::config(format!("values cannot be cast to {to}")).because(e))
}

/// Gives a column the layout of a field of the same logical type.
///
/// # Errors
/// [`Internal`](transload_core::ErrorKind::Internal) if the logical types differ.
pub fn relayout(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let from = LogicalType::of(&Field::new("", array.data_type().clone(), true));
    let to = LogicalType::of(&Field::new("", field.data_type().clone(), true));
    if from != to {
        return Err(Error::internal(format!("{} is not another layout of {}", field.data_type(), array.data_type())));
    }
    convert(array, field.data_type())
}

fn misfit_where_lost(before: &ArrayRef, after: ArrayRef) -> Coerced {
    if after.null_count() == before.null_count() {
        return Coerced::exact(after);
    }
    let lost = BooleanBuffer::collect_bool(after.len(), |i| before.is_valid(i) && after.is_null(i));
    Coerced { array: after, misfits: Some(lost), changed: 0 }
}

fn with_misfits(values: ArrayRef, misfits: BooleanArray) -> Result<Coerced> {
    if misfits.true_count() == 0 {
        return Ok(Coerced::exact(values));
    }
    let array = nullif(&values, &misfits)?;
    Ok(Coerced { array, misfits: Some(misfits.values().clone()), changed: 0 })
}

fn finish(array: ArrayRef, misfits: Option<BooleanBuffer>, changed: u64) -> Result<Coerced> {
    match misfits {
        None => Ok(Coerced { array, misfits: None, changed }),
        Some(misfits) => Ok(Coerced { changed, ..with_misfits(array, BooleanArray::new(misfits, None))? }),
    }
}

fn either(a: Option<BooleanBuffer>, b: Option<BooleanBuffer>) -> Option<BooleanBuffer> {
    match (a, b) {
        (Some(a), Some(b)) => Some(&a | &b),
        (a, b) => a.or(b),
    }
}

/// Finite values that became infinite.
fn overflowed(before: &ArrayRef, after: &ArrayRef) -> Result<BooleanArray> {
    let wide = convert(before, &DataType::Float64)?;
    let wide = wide.as_primitive::<arrow::datatypes::Float64Type>();
    let narrow = after.as_primitive::<Float32Type>();
    let over = BooleanBuffer::collect_bool(after.len(), |i| {
        narrow.is_valid(i) && narrow.value(i).is_infinite() && wide.value(i).is_finite()
    });
    Ok(BooleanArray::new(over, None::<NullBuffer>))
}

#[cfg(test)]
mod tests {
    use arrow::array::*;
    use arrow::datatypes::*;
    use proptest::prelude::*;

    use super::*;

    fn book() -> Rulebook {
        let (node, _) = transload_spec::parse_document("standard.yaml", crate::rulebook::STANDARD).unwrap();
        Rulebook::read(&node).unwrap()
    }

    fn cast(array: impl Array + 'static, from: &str, to: &str) -> (Vec<Option<String>>, Vec<usize>, u64) {
        let cast = Cast::new(&book(), &from.parse().unwrap(), &to.parse().unwrap()).unwrap();
        let done = cast.apply(&(Arc::new(array) as ArrayRef)).unwrap();
        let shown = (0..done.array.len())
            .map(|i| {
                done.array.is_valid(i).then(|| arrow::util::display::array_value_to_string(&done.array, i).unwrap())
            })
            .collect();
        let misfits = done.misfits.map(|m| m.set_indices().collect()).unwrap_or_default();
        (shown, misfits, done.changed)
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|v| (*v != "~").then(|| v.to_string())).collect()
    }

    #[test]
    fn numbers_that_do_not_fit_are_found() {
        let ints = Int64Array::from(vec![Some(1), Some(40_000), None, Some(-1)]);
        assert_eq!(cast(ints, "int64", "int16"), (some(&["1", "~", "~", "-1"]), vec![1], 0));
        let floats = Float64Array::from(vec![1.0, 1.5, f64::NAN, 1e300]);
        assert_eq!(cast(floats, "float64", "int32"), (some(&["1", "~", "~", "~"]), vec![1, 2, 3], 0));
        let floats = Float64Array::from(vec![0.5, 0.1, 1e300, f64::INFINITY]);
        assert_eq!(cast(floats, "float64", "float32"), (some(&["0.5", "0.1", "~", "inf"]), vec![2], 1));
        let big = Int64Array::from(vec![1 << 53, (1 << 53) + 1]);
        assert_eq!(cast(big, "int64", "float64").2, 1);
        let money = Decimal128Array::from(vec![150, 155, 99_999]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(cast(money, "decimal(5,2)", "decimal(3,1)"), (some(&["1.5", "1.6", "~"]), vec![2], 1));
    }

    #[test]
    fn times_that_are_cut_are_counted() {
        let t = TimestampNanosecondArray::from(vec![1_000, 1_001, -1]);
        assert_eq!(cast(t.clone(), "timestamp(ns)", "timestamp(us)").2, 2);
        let far = TimestampSecondArray::from(vec![0, i64::MAX / 2]);
        assert_eq!(cast(far, "timestamp(s)", "timestamp(ns)").1, [1]);
        let zoned = t.with_timezone("UTC");
        assert_eq!(cast(zoned, "timestamp(ns, UTC)", "timestamp(ns)").2, 3);
    }

    #[test]
    fn text_is_read_strictly() {
        let t = |values: &[&str], to: &str| {
            let (shown, misfits, changed) = cast(StringArray::from(values.to_vec()), "text", to);
            assert_eq!(changed, 0);
            assert_eq!(misfits, (0..shown.len()).filter(|i| shown[*i].is_none()).collect::<Vec<_>>());
            shown
        };
        assert_eq!(
            t(&["1", "+2", " 3", "007", "", "x", "1.0", "99999999999"], "int32"),
            some(&["1", "2", "3", "7", "~", "~", "~", "~"])
        );
        assert_eq!(
            t(&["1.50", "1.255", "1.250", "1e3", "-.5", "12345.6"], "decimal(5,2)"),
            some(&["1.50", "~", "1.25", "~", "-0.50", "~"])
        );
        assert_eq!(t(&["0.1", "1e999", "inf", "nan", "x"], "float64"), some(&["0.1", "~", "inf", "NaN", "~"]));
        assert_eq!(
            t(&["2024-02-29", "2023-02-29", "2024-02-29T10:00:00", "20240229"], "date"),
            some(&["2024-02-29", "~", "~", "~"])
        );
        assert_eq!(
            t(
                &["2024-01-01 10:00:00.123", "2024-01-01T10:00:00.1234567", "2024-01-01T10:00:00Z", "2024-01-01"],
                "timestamp(us)"
            ),
            some(&["2024-01-01T10:00:00.123", "~", "~", "2024-01-01T00:00:00"])
        );
        assert_eq!(t(&["2024-01-01T10:00:00+02:00"], "timestamp(us, UTC)"), some(&["2024-01-01T08:00:00Z"]));
        assert_eq!(t(&["10:30:00", "123", "25:00:00"], "time(us)"), some(&["10:30:00", "~", "~"]));
        assert_eq!(t(&["{\"a\":1}", "{a:1}", "1 2"], "json"), some(&["{\"a\":1}", "~", "~"]));
        let uuids = t(&["67e55044-10b1-426f-9247-bb680e5fe0c8", "67e5504410b1426f9247bb680e5fe0c8", "67e5"], "uuid");
        assert!(uuids[0].is_some() && uuids[0] == uuids[1] && uuids[2].is_none());
    }

    #[test]
    fn nested_values_are_cast_part_by_part() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(1), Some(1 << 40)]),
            None,
            Some(vec![None]),
        ]);
        let (shown, misfits, _) = cast(lists, "list<int64>", "list<int32>");
        assert_eq!(misfits, [1]);
        assert_eq!(
            shown,
            some(&["[1, 2]", "~", "~", "[]"])
                .into_iter()
                .enumerate()
                .map(|(i, s)| if i == 3 { shown[3].clone() } else { s })
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_refused_cast_is_refused() {
        for (from, to) in [
            ("date", "int32"),
            ("timestamp(us)", "int64"),
            ("list<int8>", "text"),
            ("json", "int8"),
            ("struct<a: int8>", "struct<b: int8>"),
        ] {
            assert!(Cast::new(&book(), &from.parse().unwrap(), &to.parse().unwrap()).is_none(), "{from} → {to}");
        }
    }

    #[test]
    fn a_book_cannot_promise_too_much() {
        let text = "version: 1\nrulebook: mine\non_misfit: errr\nrules: { int64: { exact: [int8, itn16] } }\n";
        let (node, _) = transload_spec::parse_document("b.yaml", text).unwrap();
        let problems = Rulebook::read(&node).unwrap_err();
        let said: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().any(|m| m.contains("is not exact")));
    }

    proptest! {
        #[test]
        fn exact_integer_casts_bring_every_value_back(values: Vec<Option<i32>>) {
            for to in ["int64", "float64", "decimal(12,2)", "text"] {
                let cast = Cast::new(&book(), &"int32".parse().unwrap(), &to.parse().unwrap()).unwrap();
                prop_assert_eq!(cast.loss(), Loss::Exact);
                let array: ArrayRef = Arc::new(Int32Array::from(values.clone()));
                let done = cast.apply(&array).unwrap();
                prop_assert!(done.misfits.is_none() && done.changed == 0);
                prop_assert_eq!(&convert(&done.array, &DataType::Int32).unwrap(), &array);
            }
        }

        #[test]
        fn what_a_checked_cast_keeps_is_unchanged(values: Vec<Option<f64>>) {
            let cast = Cast::new(&book(), &LogicalType::Float(64), &LogicalType::Int(64)).unwrap();
            let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
            let done = cast.apply(&array).unwrap();
            let ints = done.array.as_primitive::<Int64Type>();
            for (i, v) in values.iter().enumerate() {
                if ints.is_valid(i) {
                    prop_assert_eq!(ints.value(i) as f64, v.unwrap());
                }
            }
        }
    }
}
