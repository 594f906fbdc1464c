//! Records as they are stored, value by value.

use arrow::datatypes::{Decimal128Type, Decimal256Type, DecimalType, IntervalMonthDayNano, i256};

use super::types::{Kind, Node, Tag};
use crate::columns::Column;

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// They end too early.
    Short,
    Wrong(&'static str),
}

/// As many items of a list as may take no bytes at all.
const MAX_EMPTY: u64 = 1 << 20;

/// A place in bytes.
pub(crate) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'b [u8], Flaw> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(Flaw::Short)?;
        self.at += length;
        Ok(taken)
    }

    fn pass(&mut self, length: usize) -> Result<(), Flaw> {
        self.take(length).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        self.take(N)?.try_into().map_err(|_| Flaw::Short)
    }

    /// A whole number: seven bits in each byte, the lowest first, the sign in the lowest bit.
    pub(crate) fn long(&mut self) -> Result<i64, Flaw> {
        let mut bits: u64 = 0;
        for place in 0..10 {
            let [byte] = self.array::<1>()?;
            let part = u64::from(byte & 0x7f);
            // Of the tenth byte one bit is left.
            if place == 9 && part > 1 {
                break;
            }
            bits |= part << (7 * place);
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(Flaw::Wrong("a number has more than 64 bits"))
    }

    fn int(&mut self) -> Result<i32, Flaw> {
        i32::try_from(self.long()?).map_err(|_| Flaw::Wrong("a number has more than 32 bits"))
    }

    /// Bytes with their length in front.
    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Flaw> {
        let length = usize::try_from(self.long()?).map_err(|_| Flaw::Wrong("a length is less than nothing"))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'b str, Flaw> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Flaw::Wrong("a text is not UTF-8"))
    }

    /// The items of a list or a map, one after the other. Their number.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Flaw>) -> Result<usize, Flaw> {
        let mut total = 0;
        loop {
            let count = match self.long()? {
                0 => return Ok(total),
                count if count < 0 => {
                    // The number of their bytes, for those who pass over them.
                    self.long()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            if count > MAX_EMPTY.max(self.left() as u64) {
                return Err(Flaw::Wrong("a list has more items than there are bytes"));
            }
            for _ in 0..count {
                item(self)?;
                total += 1;
            }
        }
    }

    /// Whether the value that follows is NULL.
    fn is_null(&mut self, tag: Tag) -> Result<bool, Flaw> {
        match tag {
            Tag::None => Ok(false),
            Tag::Only => match self.long()? {
                0 => Ok(false),
                _ => Err(Flaw::Wrong("a union has no such branch")),
            },
            Tag::Null(null) => match self.long()? {
                branch @ (0 | 1) => Ok(branch == null),
                _ => Err(Flaw::Wrong("a union has no such branch")),
            },
        }
    }
}

const SHAPE: Flaw = Flaw::Wrong("a value is of another type than its column");

/// Reads a value to the end of a column.
pub(crate) fn value(node: &Node, cursor: &mut Cursor<'_>, column: &mut Column) -> Result<(), Flaw> {
    if cursor.is_null(node.tag)? {
        column.append_null();
        return Ok(());
    }
    match (&node.kind, column) {
        (Kind::Null, column) => column.append_null(),
        (Kind::Bool, Column::Bool(values)) => match cursor.array::<1>()? {
            [0] => values.append_value(false),
            [1] => values.append_value(true),
            _ => return Err(Flaw::Wrong("a value is neither true nor false")),
        },
        (Kind::Int | Kind::Date | Kind::Time(_), Column::Int32(values, _)) => values.append_value(cursor.int()?),
        (Kind::Long | Kind::Time(_) | Kind::Timestamp(..), Column::Int64(values, _)) => {
            values.append_value(cursor.long()?);
        }
        (Kind::Float, Column::Float32(values)) => values.append_value(f32::from_le_bytes(cursor.array()?)),
        (Kind::Double, Column::Float64(values)) => values.append_value(f64::from_le_bytes(cursor.array()?)),
        (Kind::Bytes, Column::Bytes(values)) => values.append_value(cursor.bytes()?),
        (Kind::Fixed(size), Column::Bytes(values)) => values.append_value(cursor.take(*size)?),
        (Kind::Text, Column::Text(values)) => values.append_value(cursor.text()?),
        (Kind::Enum(symbols), Column::Text(values)) => {
            let symbol = usize::try_from(cursor.int()?).ok().and_then(|at| symbols.get(at));
            values.append_value(symbol.ok_or(Flaw::Wrong("an enum has no such symbol"))?);
        }
        (Kind::Decimal(precision, scale, size), column) => {
            let bytes = match size {
                Some(size) => cursor.take(*size)?,
                None => cursor.bytes()?,
            };
            decimal(bytes, *precision, *scale, column)?;
        }
        (Kind::TextUuid, Column::Fixed(values)) => {
            let id = uuid(cursor.text()?).ok_or(Flaw::Wrong("an identifier is no UUID"))?;
            values.append_value(id).map_err(|_| SHAPE)?;
        }
        (Kind::FixedUuid, Column::Fixed(values)) => values.append_value(cursor.take(16)?).map_err(|_| SHAPE)?,
        (Kind::Duration, Column::Interval(values)) => {
            let mut part = || Ok::<_, Flaw>(u32::from_le_bytes(cursor.array()?));
            let (months, days, millis) = (part()?, part()?, part()?);
            let small = |part: u32| i32::try_from(part).map_err(|_| Flaw::Wrong("a duration is out of range"));
            values.append_value(IntervalMonthDayNano::new(small(months)?, small(days)?, i64::from(millis) * 1_000_000));
        }
        (Kind::List(item), Column::List(list)) => {
            let length = cursor.items(|cursor| value(item, cursor, &mut list.items))?;
            list.end(length);
        }
        (Kind::Map(item), Column::Map(map)) => {
            let length = cursor.items(|cursor| {
                let Column::Text(keys) = map.keys.as_mut() else { return Err(SHAPE) };
                keys.append_value(cursor.text()?);
                value(item, cursor, &mut map.values)
            })?;
            map.end(length);
        }
        (Kind::Record(fields), Column::Struct(parts)) => {
            for ((_, node), column) in fields.iter().zip(&mut parts.columns) {
                value(node, cursor, column)?;
            }
            parts.end();
        }
        _ => return Err(SHAPE),
    }
    Ok(())
}

/// Passes over a value, which must be one nevertheless.
pub(crate) fn skip(node: &Node, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
    if cursor.is_null(node.tag)? {
        return Ok(());
    }
    match &node.kind {
        Kind::Null => {}
        Kind::Int | Kind::Date | Kind::Time(_) | Kind::Long | Kind::Timestamp(..) | Kind::Enum(_) => {
            cursor.long()?;
        }
        Kind::Bytes | Kind::Text | Kind::TextUuid | Kind::Decimal(_, _, None) => {
            cursor.bytes()?;
        }
        Kind::Bool => cursor.pass(1)?,
        Kind::Float => cursor.pass(4)?,
        Kind::Double => cursor.pass(8)?,
        Kind::Duration => cursor.pass(12)?,
        Kind::FixedUuid => cursor.pass(16)?,
        Kind::Fixed(size) | Kind::Decimal(_, _, Some(size)) => cursor.pass(*size)?,
        Kind::List(item) => {
            cursor.items(|cursor| skip(item, cursor))?;
        }
        Kind::Map(item) => {
            cursor.items(|cursor| {
                cursor.bytes()?;
                skip(item, cursor)
            })?;
        }
        Kind::Record(fields) => fields.iter().try_for_each(|(_, node)| skip(node, cursor))?,
    }
    Ok(())
}

/// A decimal without its point, in two's complement, the highest byte first.
fn decimal(bytes: &[u8], precision: u8, scale: i8, column: &mut Column) -> Result<(), Flaw> {
    const TOO_LONG: Flaw = Flaw::Wrong("a decimal has more digits than its type");
    match column {
        Column::Decimal128(values, _) => {
            let number = i128::from_be_bytes(extended(bytes).ok_or(TOO_LONG)?);
            Decimal128Type::validate_decimal_precision(number, precision, scale).map_err(|_| TOO_LONG)?;
            values.append_value(number);
        }
        Column::Decimal256(values, _) => {
            let number = i256::from_be_bytes(extended(bytes).ok_or(TOO_LONG)?);
            Decimal256Type::validate_decimal_precision(number, precision, scale).map_err(|_| TOO_LONG)?;
            values.append_value(number);
        }
        _ => return Err(SHAPE),
    }
    Ok(())
}

/// The same number in `N` bytes, if they hold it.
fn extended<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
    let mut out = [fill; N];
    match bytes.len().checked_sub(N) {
        None | Some(0) => out[N - bytes.len()..].copy_from_slice(bytes),
        Some(more) => {
            let (head, tail) = bytes.split_at(more);
            out.copy_from_slice(tail);
            let same_sign = (out.first()? & 0x80 != 0) == (fill != 0);
            if head.iter().any(|byte| *byte != fill) || !same_sign {
                return None;
            }
        }
    }
    Some(out)
}

/// An identifier in its form with hyphens, or without.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let plain = match text.len() {
        36 if [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-')) => text.replace('-', ""),
        32 => text.to_string(),
        _ => return None,
    };
    let mut id = [0; 16];
    if plain.len() != 32 || !plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(plain.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_few_bytes_and_no_more_than_they_may() {
        let cases: [(&[u8], i64); 6] = [
            (&[0], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 1], 64),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], i64::MIN),
            (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], i64::MAX),
        ];
        for (bytes, number) in cases {
            assert_eq!(Cursor::new(bytes).long(), Ok(number), "{bytes:?}");
        }
        assert_eq!(Cursor::new(&[0x80]).long(), Err(Flaw::Short));
        assert!(matches!(Cursor::new(&[0xff; 11]).long(), Err(Flaw::Wrong(_))));
        assert!(matches!(Cursor::new(&[0xfe, 0xff, 0xff, 0xff, 0x1f]).int(), Err(Flaw::Wrong(_))));
    }

    #[test]
    fn decimals_have_any_number_of_bytes() {
        let cases: [(&[u8], i128); 7] = [
            (&[], 0),
            (&[0x7f], 127),
            (&[0xff], -1),
            (&[0x00, 0xff], 255),
            (&[0xff, 0x00], -256),
            (&[0; 40], 0),
            (&[0xff; 40], -1),
        ];
        for (bytes, number) in cases {
            assert_eq!(extended(bytes).map(i128::from_be_bytes), Some(number), "{bytes:?}");
        }
        let mut large = [0; 17];
        large[1] = 0x80;
        assert_eq!(extended::<16>(&large), None);
        large[0] = 0xff;
        assert_eq!(extended(&large).map(i128::from_be_bytes), Some(i128::MIN));
        large[0] = 1;
        assert_eq!(extended::<16>(&large), None);
    }

    #[test]
    fn identifiers_are_read_strictly() {
        let id = [0x55, 0x0e, 0x84, 0x00, 0xe2, 0x9b, 0x41, 0xd4, 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0x00, 0x00];
        assert_eq!(uuid("550e8400-e29b-41d4-a716-446655440000"), Some(id));
        assert_eq!(uuid("550E8400E29B41D4A716446655440000"), Some(id));
        for bad in ["", "550e8400-e29b-41d4-a716-44665544000", "550e8400-e29b-41d4-a716-44665544000g", "{550e8400}"] {
            assert_eq!(uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_of_nothing_does_not_go_on_for_ever() {
        let nulls = Node { tag: Tag::None, kind: Kind::List(Box::new(Node { tag: Tag::None, kind: Kind::Null })) };
        // 2^40 items that take no bytes.
        let bytes = [0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0];
        assert!(matches!(skip(&nulls, &mut Cursor::new(&bytes)), Err(Flaw::Wrong(_))));
    }
}
