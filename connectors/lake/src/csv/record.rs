//! Where one CSV record ends and the next begins, by RFC 4180 to the letter.
//!
//! Written here because the known CSV readers are lenient: a quote that is never closed swallows the rest of the
//! file, text behind a closing quote is joined to the field, and neither is reported with its line.

use memchr::{memchr, memchr2, memchr3};

/// Longest record, in bytes. A quote that is never closed stops here instead of at the end of the file.
pub(crate) const MAX_RECORD: usize = 16 << 20;

/// How fields are told apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
}

/// A field: its place in the buffer, and whether it was quoted or holds doubled quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldAt {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) quoted: bool,
    pub(crate) doubled: bool,
}

/// What stands at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record; `next` is where the one behind it begins.
    Record { next: usize, lines: u64 },
    /// A record that breaks the rules; reading goes on at `next`, the line after the one it began on.
    Fault { next: usize, lines: u64, reason: &'static str },
    /// The buffer ends before the record does.
    More,
}

/// Reads the record at the beginning of `bytes` into `fields`. `last` says that nothing follows the buffer.
pub(crate) fn step(bytes: &[u8], last: bool, dialect: Dialect, fields: &mut Vec<FieldAt>) -> Step {
    fields.clear();
    let mut at = 0;
    let mut lines = 0;
    loop {
        if bytes.get(at) == Some(&dialect.quote) {
            // A quoted field: look for the quote that closes it.
            let start = at + 1;
            let mut from = start;
            let mut doubled = false;
            let end = loop {
                match memchr(dialect.quote, &bytes[from..]) {
                    Some(i) if bytes.get(from + i + 1) == Some(&dialect.quote) => {
                        doubled = true;
                        from += i + 2;
                    }
                    Some(i) if from + i + 1 == bytes.len() && !last => {
                        return more(bytes, last, "a quote is not closed");
                    }
                    Some(i) => break from + i,
                    None => return more(bytes, last, "a quote is not closed"),
                }
            };
            lines += memchr::memchr_iter(b'\n', &bytes[start..end]).count() as u64;
            fields.push(FieldAt { start, end, quoted: true, doubled });
            at = end + 1;
            match bytes.get(at) {
                None if last => return Step::Record { next: at, lines: lines + 1 },
                None => return more(bytes, last, ""),
                Some(c) if *c == dialect.delimiter => at += 1,
                Some(b'\n') => return Step::Record { next: at + 1, lines: lines + 1 },
                Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => {
                    return Step::Record { next: at + 2, lines: lines + 1 };
                }
                Some(b'\r') if at + 1 == bytes.len() && !last => return more(bytes, last, ""),
                Some(_) => return fault(bytes, last, "text follows a closing quote"),
            }
            continue;
        }
        let start = at;
        match memchr3(dialect.delimiter, b'\n', dialect.quote, &bytes[start..]) {
            Some(i) if bytes[start + i] == dialect.quote => {
                return fault(bytes, last, "a quote stands inside an unquoted field");
            }
            Some(i) if bytes[start + i] == dialect.delimiter => {
                fields.push(FieldAt { start, end: start + i, quoted: false, doubled: false });
                at = start + i + 1;
            }
            Some(i) => {
                let end = start + i;
                let trimmed = if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end };
                fields.push(FieldAt { start, end: trimmed, quoted: false, doubled: false });
                return Step::Record { next: end + 1, lines: lines + 1 };
            }
            None if last => {
                fields.push(FieldAt { start, end: bytes.len(), quoted: false, doubled: false });
                return Step::Record { next: bytes.len(), lines: lines + 1 };
            }
            None => return more(bytes, last, "the line is too long"),
        }
    }
}

fn more(bytes: &[u8], last: bool, reason: &'static str) -> Step {
    if last || bytes.len() > MAX_RECORD { fault(bytes, last, reason) } else { Step::More }
}

fn fault(bytes: &[u8], last: bool, reason: &'static str) -> Step {
    match memchr2(b'\n', b'\n', bytes) {
        Some(i) => Step::Fault { next: i + 1, lines: 1, reason },
        None if last || bytes.len() > MAX_RECORD => Step::Fault { next: bytes.len(), lines: 1, reason },
        None => Step::More,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMA: Dialect = Dialect { delimiter: b',', quote: b'"' };

    fn all(text: &str) -> Vec<Result<Vec<String>, &'static str>> {
        let mut bytes = text.as_bytes();
        let mut fields = Vec::new();
        let mut out = Vec::new();
        while !bytes.is_empty() {
            match step(bytes, true, COMMA, &mut fields) {
                Step::Record { next, .. } => {
                    out.push(Ok(fields
                        .iter()
                        .map(|f| String::from_utf8_lossy(&bytes[f.start..f.end]).into_owned())
                        .collect()));
                    bytes = &bytes[next..];
                }
                Step::Fault { next, reason, .. } => {
                    out.push(Err(reason));
                    bytes = &bytes[next..];
                }
                Step::More => panic!("more of a whole text"),
            }
        }
        out
    }

    fn row(fields: &[&str]) -> Result<Vec<String>, &'static str> {
        Ok(fields.iter().map(|f| f.to_string()).collect())
    }

    #[test]
    fn good_records_are_read() {
        assert_eq!(
            all("a,b\r\n\"x\ny\",\"q\"\"q\"\n,\nlast"),
            [row(&["a", "b"]), row(&["x\ny", "q\"\"q"]), row(&["", ""]), row(&["last"])]
        );
        assert_eq!(all("a,\"\""), [row(&["a", ""])]);
    }

    #[test]
    fn a_broken_record_costs_one_line() {
        assert_eq!(
            all("a,b\n\"open,1\nc,d\n\"x\"y,2\n5\" pipe,3\ne,f\n\"end"),
            [
                row(&["a", "b"]),
                Err("text follows a closing quote"),
                row(&["c", "d"]),
                Err("text follows a closing quote"),
                Err("a quote stands inside an unquoted field"),
                row(&["e", "f"]),
                Err("a quote is not closed"),
            ]
        );
    }

    #[test]
    fn any_cut_of_a_buffer_asks_for_more_or_agrees() {
        let text = "ab,\"c\"\"d\ne\",f\r\nnext,1\n";
        let mut fields = Vec::new();
        let Step::Record { next, lines } = step(text.as_bytes(), true, COMMA, &mut fields) else { panic!() };
        assert_eq!((next, lines), (15, 2));
        let whole = fields.clone();
        for cut in 0..text.len() {
            match step(&text.as_bytes()[..cut], false, COMMA, &mut fields) {
                Step::More => assert!(cut < 15, "{cut}"),
                Step::Record { next, .. } => assert_eq!((next, &fields), (15, &whole)),
                fault => panic!("{cut}: {fault:?}"),
            }
        }
    }
}
