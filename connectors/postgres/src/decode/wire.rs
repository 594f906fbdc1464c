//! What a server would send, for tests.

/// A value of one field; `None` is NULL.
pub(crate) type Field = Option<Vec<u8>>;

/// A whole stream.
pub(crate) fn stream(rows: &[Vec<Field>]) -> Vec<u8> {
    let mut bytes = header();
    for fields in rows {
        bytes.extend(row(fields));
    }
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

pub(crate) fn header() -> Vec<u8> {
    [b"PGCOPY\n\xff\r\n\0".as_slice(), &[0; 8]].concat()
}

pub(crate) fn row(fields: &[Field]) -> Vec<u8> {
    let mut bytes = i16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for value in fields {
        bytes.extend(field(value.as_deref()));
    }
    bytes
}

/// A length and so many bytes.
pub(crate) fn field(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        Some(value) => [i32::try_from(value.len()).unwrap().to_be_bytes().as_slice(), value].concat(),
        None => (-1_i32).to_be_bytes().to_vec(),
    }
}

/// A decimal number, as `numeric_send` writes it.
pub(crate) fn numeric(text: &str) -> Vec<u8> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (0x4000_u16, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = u16::try_from(fraction.len()).unwrap();
    let whole = format!("{}{whole}", "0".repeat(whole.len().next_multiple_of(4) - whole.len()));
    let fraction = format!("{fraction}{}", "0".repeat(fraction.len().next_multiple_of(4) - fraction.len()));
    let all = format!("{whole}{fraction}");
    let mut groups: Vec<u16> = (0..all.len() / 4).map(|at| all[at * 4..at * 4 + 4].parse().unwrap()).collect();
    let mut weight = i16::try_from(whole.len() / 4).unwrap() - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let (sign, weight) = if groups.is_empty() { (0, 0) } else { (sign, weight) };
    let mut bytes = u16::try_from(groups.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(weight.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(scale.to_be_bytes());
    bytes.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    bytes
}

/// An array of one dimension that is counted from 1.
pub(crate) fn array(element: u32, items: &[Field]) -> Vec<u8> {
    let has_nulls = i32::from(items.iter().any(Option::is_none));
    let mut bytes =
        [i32::from(!items.is_empty()).to_be_bytes(), has_nulls.to_be_bytes(), element.to_be_bytes()].concat();
    if !items.is_empty() {
        bytes.extend(i32::try_from(items.len()).unwrap().to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    bytes.extend(items.iter().flat_map(|item| field(item.as_deref())));
    bytes
}

/// A composite value.
pub(crate) fn record(parts: &[(u32, Field)]) -> Vec<u8> {
    let mut bytes = i32::try_from(parts.len()).unwrap().to_be_bytes().to_vec();
    for (oid, value) in parts {
        bytes.extend(oid.to_be_bytes());
        bytes.extend(field(value.as_deref()));
    }
    bytes
}

pub(crate) fn hstore(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut bytes = i32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
    for (key, value) in entries {
        bytes.extend(field(Some(key.as_bytes())));
        bytes.extend(field(value.map(str::as_bytes)));
    }
    bytes
}

/// The bytes of a hexadecimal text.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
