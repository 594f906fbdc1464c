//! Casts of whole columns.
//!
//! Outside of text, no cast is trusted to be exact: the values are cast forward and back again, and whatever
//! does not come back as it was is a misfit (checked casts) or a counted change (lossy ones). That is
//! one mechanism for every pair of types, and it holds whatever the kernel library does in between.

mod interval;
mod nested;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::boolean::{and, is_not_null, not};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, nullif};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use transload_core::types::has_wide_dates;
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
    /// Which values were changed as the rule allows, if any. None of them is a misfit.
    pub changed: Option<BooleanBuffer>,
}

impl Coerced {
    fn exact(array: ArrayRef) -> Self {
        Self { array, misfits: None, changed: None }
    }

    /// Values of which some do not fit, which need not be NULL yet, and some are changed, which may be misfits too.
    fn new(array: ArrayRef, misfits: Option<BooleanBuffer>, changed: Option<BooleanBuffer>) -> Result<Self> {
        let changed = changed.filter(BooleanBuffer::has_true);
        let Some(misfits) = misfits.filter(BooleanBuffer::has_true) else {
            return Ok(Self { array, misfits: None, changed });
        };
        let changed = changed.map(|changed| &changed & &!&misfits).filter(BooleanBuffer::has_true);
        let array = nullif(&array, &BooleanArray::new(misfits.clone(), None))?;
        Ok(Self { array, misfits: Some(misfits), changed })
    }

    /// What becomes of the values in another cast.
    fn then(self, cast: impl FnOnce(&ArrayRef) -> Result<Self>) -> Result<Self> {
        let next = cast(&self.array)?;
        Self::new(next.array, either(self.misfits, next.misfits), either(self.changed, next.changed))
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

    /// A change of layout only: the logical type stays. What does not fit are dates that hold a time of day.
    pub fn layout(ty: &LogicalType) -> Self {
        use LogicalType as T;
        let parts = match ty {
            T::List(item) => vec![(0, Self::layout(item))],
            T::Map(key, value) => vec![(0, Self::layout(key)), (1, Self::layout(value))],
            T::Struct(fields) => fields.iter().enumerate().map(|(at, (_, ty))| (at, Self::layout(ty))).collect(),
            _ => Vec::new(),
        };
        Self { from: ty.clone(), to: ty.clone(), loss: Loss::Exact, parts }
    }

    /// The source type.
    pub fn from(&self) -> &LogicalType {
        &self.from
    }

    /// The target type.
    pub fn to(&self) -> &LogicalType {
        &self.to
    }

    /// What it may do to a value. Whatever that is, a date in milliseconds with a time of day does not fit.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Casts a column.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the column is not of the source type.
    pub fn apply(&self, array: &ArrayRef) -> Result<Coerced> {
        use LogicalType as T;
        if *array.data_type() == DataType::Null {
            return Ok(Coerced::exact(new_null_array(&self.to.to_arrow(), array.len())));
        }
        if self.from == self.to && !has_wide_dates(array.data_type()) {
            return Ok(Coerced::exact(convert(array, &self.to.to_arrow())?));
        }
        match (&self.from, &self.to) {
            (T::List(_), T::List(_)) => self.list(array),
            (T::Struct(_), T::Struct(_)) => self.fields(array),
            (T::Map(..), T::Map(..)) => self.map(array),
            _ => plain(array, &self.from)?.then(|array| self.values(array)),
        }
    }

    /// Casts values that have no parts, in the layout that `to_arrow` names.
    fn values(&self, array: &ArrayRef) -> Result<Coerced> {
        use LogicalType as T;
        match (&self.from, &self.to) {
            (from, to) if from == to => Ok(Coerced::exact(Arc::clone(array))),
            (T::Text, T::Float(bits)) => {
                let (values, rounded) = text::floats(array.as_string(), *bits)?;
                Coerced::new(Arc::clone(&values), lost(array, &values), Some(rounded))
            }
            (T::Text, to) => match text::parse(array.as_string(), to)? {
                Some(values) => Coerced::new(Arc::clone(&values), lost(array, &values), None),
                None => self.by_kernel(array),
            },
            (T::Interval, T::Struct(_)) => interval::apart(array.as_primitive(), &self.to).map(Coerced::exact),
            (T::Struct(_), T::Interval) => interval::together(array.as_struct()).map(Coerced::exact),
            (T::Uuid, T::Text) => Ok(Coerced::exact(text::from_uuid(array.as_fixed_size_binary()))),
            (T::Timestamp(unit, zone), T::Timestamp(new_unit, new_zone)) if zone.is_none() != new_zone.is_none() => {
                // A change of zone cannot tell what was cut, so the unit is changed first. A finer one cuts nothing and
                // reaches less far.
                let to = T::Timestamp(*new_unit, zone.clone());
                let loss = if new_unit > unit { Loss::Checked } else { self.loss };
                let unit = Self { from: self.from.clone(), to, loss, parts: Vec::new() };
                unit.values(array)?.then(|array| self.zone(array))
            }
            _ => self.by_kernel(array),
        }
    }

    /// Reading a wall clock in a zone keeps the wall clock; dropping a zone changes every value there is.
    fn zone(&self, array: &ArrayRef) -> Result<Coerced> {
        let values = convert(array, &self.to.to_arrow())?;
        let changed = match (&self.from, values.nulls()) {
            (LogicalType::Timestamp(_, None), _) => None,
            (_, Some(nulls)) => Some(nulls.inner().clone()),
            (_, None) => Some(BooleanBuffer::new_set(values.len())),
        };
        let lost = lost(array, &values);
        Coerced::new(values, lost, changed)
    }

    /// Casts with the kernel library and checks what it did.
    fn by_kernel(&self, array: &ArrayRef) -> Result<Coerced> {
        let values = convert(array, &self.to.to_arrow())?;
        if self.loss == Loss::Exact {
            return Ok(Coerced::exact(values));
        }
        let unlike = unlike(array, &convert(&values, array.data_type())?)?;
        if self.loss == Loss::Checked {
            return Coerced::new(values, Some(unlike), None);
        }
        let mut lost = lost(array, &values);
        if self.to == LogicalType::Float(32) {
            lost = either(lost, Some(overflowed(array, &values)?));
        }
        Coerced::new(values, lost, Some(unlike))
    }
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
/// [`Internal`](transload_core::ErrorKind::Internal) if the logical types differ,
/// [`Config`](transload_core::ErrorKind::Config) if a date holds a time of day that the new layout cannot hold.
pub fn relayout(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let from = LogicalType::of(&Field::new("", array.data_type().clone(), true));
    let to = LogicalType::of(&Field::new("", field.data_type().clone(), true));
    let (true, Some(ty)) = (from == to, from) else {
        return Err(Error::internal(format!("{} is not another layout of {}", field.data_type(), array.data_type())));
    };
    if has_wide_dates(array.data_type()) && array.data_type() != field.data_type() {
        let done = Cast::layout(&ty).apply(array)?;
        if done.misfits.is_some() {
            return Err(Error::config("a date holds a time of day").with("column", field.name()));
        }
        return convert(&done.array, field.data_type());
    }
    convert(array, field.data_type())
}

/// The values in the layout that `to_arrow` names for their type. A date that holds a time of day is a misfit.
fn plain(array: &ArrayRef, ty: &LogicalType) -> Result<Coerced> {
    if !has_wide_dates(array.data_type()) {
        return Ok(Coerced::exact(convert(array, &ty.to_arrow())?));
    }
    let millis = convert(array, &DataType::Date64)?;
    let days = convert(&millis, &DataType::Date32)?;
    let unlike = unlike(&millis, &convert(&days, &DataType::Date64)?)?;
    Coerced::new(days, Some(unlike), None)
}

/// Values that are not the same any more after a cast forth and `back`.
fn unlike(array: &ArrayRef, back: &ArrayRef) -> Result<BooleanBuffer> {
    let same = not_distinct(back, array)?;
    Ok(and(&not(&same)?, &is_not_null(array.as_ref())?)?.values().clone())
}

/// Values that became NULL.
fn lost(before: &ArrayRef, after: &ArrayRef) -> Option<BooleanBuffer> {
    let any = after.null_count() != before.null_count();
    any.then(|| BooleanBuffer::collect_bool(after.len(), |i| before.is_valid(i) && after.is_null(i)))
}

fn either(a: Option<BooleanBuffer>, b: Option<BooleanBuffer>) -> Option<BooleanBuffer> {
    match (a, b) {
        (Some(a), Some(b)) => Some(&a | &b),
        (a, b) => a.or(b),
    }
}

/// Finite values that became infinite.
fn overflowed(before: &ArrayRef, after: &ArrayRef) -> Result<BooleanBuffer> {
    let wide = convert(before, &DataType::Float64)?;
    let wide = wide.as_primitive::<Float64Type>();
    let narrow = after.as_primitive::<Float32Type>();
    Ok(BooleanBuffer::collect_bool(after.len(), |i| {
        narrow.is_valid(i) && narrow.value(i).is_infinite() && wide.value(i).is_finite()
    }))
}

#[cfg(test)]
mod tests {
    use arrow::array::*;
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::*;
    use proptest::prelude::*;

    use super::*;

    fn book() -> Rulebook {
        let (node, _) =
            transload_spec::parse_document("standard.yaml", Rulebook::built_in("standard").unwrap()).unwrap();
        Rulebook::read(&node).unwrap()
    }

    fn applied(array: impl Array + 'static, from: &str, to: &str) -> Coerced {
        let cast = Cast::new(&book(), &from.parse().unwrap(), &to.parse().unwrap()).unwrap();
        cast.apply(&(Arc::new(array) as ArrayRef)).unwrap()
    }

    fn set(bits: Option<BooleanBuffer>) -> Vec<usize> {
        let found: Option<Vec<usize>> = bits.map(|b| b.set_indices().collect());
        assert_ne!(found, Some(Vec::new()), "an empty set is none");
        found.unwrap_or_default()
    }

    fn cast(array: impl Array + 'static, from: &str, to: &str) -> (Vec<Option<String>>, Vec<usize>, usize) {
        let done = applied(array, from, to);
        let shown = (0..done.array.len())
            .map(|i| {
                done.array.is_valid(i).then(|| arrow::util::display::array_value_to_string(&done.array, i).unwrap())
            })
            .collect();
        (shown, set(done.misfits), set(done.changed).len())
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
    fn times_that_are_cut_and_get_a_zone_are_counted() {
        let t =
            TimestampNanosecondArray::from(vec![Some(1_700_000_000_123_456_789), None, Some(123_456_000), Some(-1)]);
        let done = applied(t.clone(), "timestamp(ns)", "timestamp(us, UTC)");
        assert_eq!((set(done.misfits), set(done.changed)), (vec![], vec![0, 3]));
        assert_eq!(done.array.as_primitive::<TimestampMicrosecondType>().value(0), 1_700_000_000_123_456);
        let zoned = t.with_timezone("UTC");
        let done = applied(zoned, "timestamp(ns, UTC)", "timestamp(us)");
        assert_eq!((set(done.misfits), set(done.changed)), (vec![], vec![0, 2, 3]));

        let mut lists = ListBuilder::new(TimestampNanosecondBuilder::new());
        for list in [vec![1_000, 2_001], vec![2_000], vec![2_001, 2_002]] {
            list.into_iter().for_each(|v| lists.values().append_value(v));
            lists.append(true);
        }
        let done = applied(lists.finish(), "list<timestamp(ns)>", "list<timestamp(us, UTC)>");
        assert_eq!((set(done.misfits), set(done.changed)), (vec![], vec![0, 2]));

        // Beyond the finer unit; and a wall clock that is not there (02:30 on the day of summer time), which is no change.
        let far = TimestampSecondArray::from(vec![0, i64::MAX / 2]);
        assert_eq!(cast(far, "timestamp(s)", "timestamp(ns, UTC)").1, [1]);
        let gap = TimestampNanosecondArray::from(vec![1_711_852_200_000_000_001]);
        let done = applied(gap, "timestamp(ns)", "timestamp(us, Europe/Berlin)");
        assert_eq!((set(done.misfits), set(done.changed)), (vec![0], vec![]));
    }

    #[test]
    fn dates_in_milliseconds_hold_no_time_of_day() {
        const DAY: i64 = 86_400_000;
        let dates = Date64Array::from(vec![Some(0), Some(-DAY), Some(DAY + 1), None, Some(-1), Some(i64::MAX)]);
        let days = some(&["1970-01-01", "1969-12-31", "~", "~", "~", "~"]);
        for to in ["date", "text"] {
            assert_eq!(cast(dates.clone(), "date", to), (days.clone(), vec![2, 4, 5], 0), "{to}");
        }
        let (times, misfits, _) = cast(dates.clone(), "date", "timestamp(us)");
        assert_eq!((times[1].as_deref(), misfits), (Some("1969-12-31T00:00:00"), vec![2, 4, 5]));

        let keys = Int8Array::from(vec![Some(2), Some(0), None]);
        let packed = DictionaryArray::<Int8Type>::new(keys, Arc::new(dates.clone()));
        assert_eq!(cast(packed, "date", "date"), (some(&["~", "1970-01-01", "~"]), vec![0], 0));
        let offsets = OffsetBuffer::from_lengths([2, 2, 0]);
        let item = Arc::new(Field::new("item", DataType::Date64, true));
        let lists = ListArray::new(item, offsets, Arc::new(dates.slice(0, 4)), None);
        let done = applied(lists, "list<date>", "list<date>");
        assert_eq!((set(done.misfits), set(done.changed)), (vec![1], vec![]));
        assert_eq!(done.array.data_type(), &"list<date>".parse::<LogicalType>().unwrap().to_arrow());

        let fields = Fields::from(vec![Field::new("a", DataType::Date64, true)]);
        let present = NullBuffer::from(vec![true, true, false]);
        let structs = StructArray::new(fields, vec![Arc::new(dates.slice(0, 3)) as ArrayRef], Some(present));
        let done = applied(structs, "struct<a: date>", "struct<a: date>");
        assert_eq!((set(done.misfits), done.array.null_count()), (vec![], 1));

        let field = Field::new("day", DataType::Date32, true);
        let wide: ArrayRef = Arc::new(dates);
        assert!(relayout(&wide, &field).unwrap_err().to_string().contains("holds a time of day"));
        let days = relayout(&wide.slice(0, 2), &field).unwrap();
        assert_eq!(days.as_primitive::<Date32Type>().values().to_vec(), [0, -1]);
    }

    #[test]
    fn a_float_that_is_not_the_number_in_the_text_is_counted() {
        let floats = |values: &[&str], to: &str| {
            let done = applied(StringArray::from(values.to_vec()), "text", to);
            (set(done.misfits), set(done.changed))
        };
        assert_eq!(floats(&["16777216", "16777217", "0.1", "1e39", "1e-46"], "float32"), (vec![3, 4], vec![1]));
        let texts = ["0.1", "1e5", "1.50", "9007199254740993", "1e-400", "-1e400", "x", "", "-0", "inf", "nan"];
        assert_eq!(floats(&texts, "float64"), (vec![4, 5, 6, 7], vec![3]));
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
        let times = ["23:59:60", "23:59:60.5", "11:59:60 PM", "23:59:59"];
        assert_eq!(t(&times, "time(us)"), some(&["~", "~", "~", "23:59:59"]));
        let times = ["2016-12-31T23:59:60", "2016-12-31 23:59:60.5", "2016-12-31 235960", "2016-12-31 235959"];
        assert_eq!(t(&times, "timestamp(us)"), some(&["~", "~", "~", "2016-12-31T23:59:59"]));
        let times = ["2016-12-31T23:59:60Z", "2016-12-31 235960+00:00"];
        assert_eq!(t(&times, "timestamp(us, UTC)"), some(&["~", "~"]));
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
        let done = applied(lists, "list<int64>", "list<int32>");
        let wanted = vec![Some(vec![Some(1), Some(2)]), None, None, Some(vec![None])];
        assert_eq!(done.array.as_list::<i32>(), &ListArray::from_iter_primitive::<Int32Type, _, _>(wanted));
        assert_eq!((set(done.misfits), set(done.changed)), (vec![1], vec![]));
    }

    #[test]
    fn a_map_whose_keys_do_not_fit_or_become_equal_is_a_misfit() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        let rows: [&[(&str, &str)]; 5] =
            [&[("1", "1.5"), ("2", "2")], &[("1", "1"), ("01", "1")], &[("x", "1")], &[("3", "x")], &[]];
        for row in rows {
            for (key, value) in row {
                maps.keys().append_value(key);
                maps.values().append_value(value);
            }
            maps.append(true).unwrap();
        }
        maps.append(false).unwrap();
        let maps = maps.finish();
        let done = applied(maps.clone(), "map<text, text>", "map<int64, float64>");
        assert_eq!((set(done.misfits), set(done.changed)), (vec![1, 2, 3], vec![]));
        let kept = done.array.as_map();
        assert_eq!(kept.value(0).column(0).as_primitive::<Int64Type>().values().to_vec(), [1, 2]);
        assert_eq!(kept.value(0).column(1).as_primitive::<Float64Type>().values().to_vec(), [1.5, 2.0]);
        assert_eq!((kept.value_length(4), kept.null_count()), (0, 4));

        // Keys of other rows do not matter, and neither do equal ones that stay what they are.
        let done = applied(maps.slice(0, 1), "map<text, text>", "map<int64, text>");
        assert!(done.misfits.is_none());
        let done = applied(maps, "map<text, text>", "map<text, float64>");
        assert_eq!(set(done.misfits), [3]);
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

        let text = "version: 1\nrulebook: mine\non_misfit: error\nrules: { text: { checked: [float64, int8] } }\n";
        let (node, _) = transload_spec::parse_document("b.yaml", text).unwrap();
        let problems = Rulebook::read(&node).unwrap_err();
        let said: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(said, ["the cast text → float64 is not checked"]);
    }

    #[test]
    fn what_a_book_lacks_hides_nothing_else() {
        let text = "rulebook: 7\nrules: { int64: { exact: [int8], extact: [text] } }\nbook: mine\n";
        let (node, _) = transload_spec::parse_document("b.yaml", text).unwrap();
        let problems = Rulebook::read(&node).unwrap_err();
        let said: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "expected text, found a whole number",
                "unknown key `extact`",
                "unknown key `book`",
                "`version` is missing",
                "`on_misfit` is missing",
                "the cast int64 → int8 is not exact",
            ]
        );
    }

    proptest! {
        #[test]
        fn exact_integer_casts_bring_every_value_back(values: Vec<Option<i32>>) {
            for to in ["int64", "float64", "decimal(12,2)", "text"] {
                let cast = Cast::new(&book(), &"int32".parse().unwrap(), &to.parse().unwrap()).unwrap();
                prop_assert_eq!(cast.loss(), Loss::Exact);
                let array: ArrayRef = Arc::new(Int32Array::from(values.clone()));
                let done = cast.apply(&array).unwrap();
                prop_assert!(done.misfits.is_none() && done.changed.is_none());
                prop_assert_eq!(&convert(&done.array, &DataType::Int32).unwrap(), &array);
            }
        }

        #[test]
        fn a_time_is_changed_if_a_digit_is_cut_whatever_becomes_of_its_zone(values: Vec<Option<i64>>) {
            let cut = |v: &Option<i64>| v.is_some_and(|v| v % 1_000 != 0);
            for to in ["timestamp(us)", "timestamp(us, UTC)", "timestamp(us, +02:00)"] {
                let done = applied(TimestampNanosecondArray::from(values.clone()), "timestamp(ns)", to);
                prop_assert!(done.misfits.is_none());
                let wanted: Vec<usize> = (0..values.len()).filter(|i| cut(&values[*i])).collect();
                prop_assert_eq!(set(done.changed), wanted);
            }
        }

        #[test]
        fn nothing_is_a_misfit_and_changed(values: Vec<Option<f64>>, numbers: Vec<i128>) {
            let texts: StringArray = values.iter().map(|v| v.map(|v| format!("{v}1"))).collect();
            let wide = Decimal128Array::from_iter_values(numbers.iter().map(|n| n % 10i128.pow(38)));
            let wide = wide.with_precision_and_scale(38, 10).unwrap();
            let all = [
                applied(Float64Array::from(values.clone()), "float64", "float32"),
                applied(Float64Array::from(values), "float64", "decimal(9,2)"),
                applied(texts, "text", "float32"),
                applied(wide, "decimal(38,10)", "decimal(30,3)"),
            ];
            for done in all {
                let (misfits, changed) = (set(done.misfits), set(done.changed));
                prop_assert!(misfits.iter().all(|i| done.array.is_null(*i) && !changed.contains(i)));
                prop_assert!(changed.iter().all(|i| done.array.is_valid(*i)));
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
