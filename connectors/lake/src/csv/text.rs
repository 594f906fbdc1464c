//! A whole CSV text in memory.

use super::record::{Dialect, Step, step};

/// A record of a CSV text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvRecord {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Its fields: the text without quotes, and whether it was quoted.
    pub fields: Vec<(String, bool)>,
}

/// The records of a CSV text with commas and double quotes, by the rules by which files are read. Empty lines are passed
/// over.
///
/// # Errors
/// The line of the first record that breaks the rules, and what is wrong with it.
pub fn csv_records(text: &str) -> Result<Vec<CsvRecord>, (u64, &'static str)> {
    let dialect = Dialect { delimiter: b',', quote: b'"' };
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes();
    let mut fields = Vec::new();
    let mut records = Vec::new();
    let mut line = 1;
    while !rest.is_empty() {
        let (next, lines) = match step(rest, true, dialect, &mut fields) {
            Step::Record { next, lines } => (next, lines),
            Step::Fault { reason, .. } => return Err((line, reason)),
            Step::More => return Err((line, "the line is too long")),
        };
        let found: Vec<(String, bool)> = fields
            .iter()
            .map(|f| {
                let text = String::from_utf8_lossy(&rest[f.start..f.end]);
                (if f.doubled { text.replace("\"\"", "\"") } else { text.into_owned() }, f.quoted)
            })
            .collect();
        if found != [(String::new(), false)] {
            records.push(CsvRecord { line, fields: found });
        }
        rest = &rest[next..];
        line += lines;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_their_lines_and_quotes() {
        let records = csv_records("\u{feff}a,b\r\n\"x\ny\",\n\n\"q\"\"q\",\"\"").unwrap();
        let said: Vec<(u64, Vec<(&str, bool)>)> =
            records.iter().map(|r| (r.line, r.fields.iter().map(|(t, q)| (t.as_str(), *q)).collect())).collect();
        let expected = [
            (1, vec![("a", false), ("b", false)]),
            (2, vec![("x\ny", true), ("", false)]),
            (5, vec![("q\"q", true), ("", true)]),
        ];
        assert_eq!(said, expected);
        assert_eq!(csv_records("a\n\"x\ny\"\n5\"\n"), Err((4, "a quote stands inside an unquoted field")));
    }
}
