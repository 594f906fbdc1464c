//! Names of tables, and how SQL wants names and texts.

use std::fmt;

use transload_core::TableName;

/// How the names begin of what transload makes for itself in a schema.
pub(crate) const OWN: &str = "_transload";

/// A table in its schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) schema: String,
    pub(crate) table: String,
}

impl Name {
    /// Reads `table`, `schema.table` or the same with parts in double quotes; a name without a schema is in `schema`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn parse(name: &TableName, schema: &str) -> Result<Self, String> {
        let (first, rest) = part(name.as_str())?;
        let name = match rest {
            None => Self { schema: schema.to_string(), table: first },
            Some(rest) => match part(rest)? {
                (table, None) => Self { schema: first, table },
                (_, Some(_)) => {
                    return Err(format!(
                        "`{name}` has more than two parts; a name with a dot in it needs double quotes"
                    ));
                }
            },
        };
        match name.table.starts_with(OWN) {
            true => Err(format!("names that begin with `{OWN}` are transload's own")),
            false => Ok(name),
        }
    }

    /// The name as people write it: with quotes where it needs some.
    pub(crate) fn shown(&self) -> TableName {
        TableName::new(format!("{}.{}", plain(&self.schema), plain(&self.table)))
    }

    /// The name as SQL takes it, whatever it is.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.shown(), f)
    }
}

/// The first part of a name, and what follows after its dot.
fn part(text: &str) -> Result<(String, Option<&str>), String> {
    let (part, rest) = match text.strip_prefix('"') {
        None => match text.split_once('.') {
            Some((part, rest)) => (part.to_string(), Some(rest)),
            None => (text.to_string(), None),
        },
        Some(mut quoted) => {
            let mut part = String::new();
            loop {
                let end = quoted.find('"').ok_or_else(|| format!("`{text}` lacks a double quote at its end"))?;
                part.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(rest) => {
                        part.push('"');
                        quoted = rest;
                    }
                    None => break,
                }
            }
            match quoted.strip_prefix('.') {
                Some(rest) => (part, Some(rest)),
                None if quoted.is_empty() => (part, None),
                None => return Err(format!("a dot is missing after the double quotes in `{text}`")),
            }
        }
    };
    if part.is_empty() {
        return Err("a part of the name is empty".to_string());
    }
    if part.contains('\0') {
        return Err("a name cannot hold a zero byte".to_string());
    }
    if part.len() > 63 {
        return Err(format!("`{part}` is longer than the 63 bytes that names have"));
    }
    Ok((part, rest))
}

/// A part of a name as people write it.
fn plain(part: &str) -> String {
    let is_plain = !part.contains(['.', '"', '*']) && !part.is_empty();
    if is_plain { part.to_string() } else { quote(part) }
}

/// An identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, whatever the server's settings are.
pub(crate) fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_from_what_is_shown() {
        for (text, schema, table) in [
            ("orders", "public", "orders"),
            ("sales.orders", "sales", "orders"),
            ("sales.\"a.b\"", "sales", "a.b"),
            ("\"a\"\"b\".\"Größe 1\"", "a\"b", "Größe 1"),
            ("Sales.Orders", "Sales", "Orders"),
        ] {
            let name = Name::parse(&TableName::new(text), "public").unwrap();
            assert_eq!((name.schema.as_str(), name.table.as_str()), (schema, table), "{text}");
            assert_eq!(Name::parse(&name.shown(), "other").unwrap(), name, "{text}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_gets_a_sentence() {
        for bad in ["", ".a", "a.", "a.b.c", "\"a", "\"a\"b", "a\0b", "_transload_x", "public._transload_staged"] {
            assert!(Name::parse(&TableName::new(bad), "public").is_err(), "{bad:?}");
        }
        assert!(Name::parse(&TableName::new("x".repeat(64)), "public").is_err());
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
