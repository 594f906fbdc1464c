//! Where one CSV record ends and the next begins, by RFC 4180 to the letter.
//!
//! Written here because the known CSV readers are lenient: a quote that is never closed swallows the rest of the
//! file, text behind a closing quote is joined to the field, and neither is reported with its line.

use std::ops::ControlFlow;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

/// Longest record, in bytes.
pub(crate) const MAX_RECORD: usize = 16 << 20;

/// Why a record is bad: what may be the end of a line is none.
pub(crate) const LONE_CR: &str = "a carriage return stands outside quotes without a line feed behind it";

/// Why a record is bad: its end was not found.
pub(crate) const TOO_LONG: &str = "the line is too long";

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
    /// A record that breaks the rules. It reaches to `next`, over all the lines that its quotes may hold; if no line
    /// ends there, the rest of the line belongs to it too. `open`: a quote is still open there.
    Fault { next: usize, reason: &'static str, open: bool },
    /// The buffer ends before the record does.
    More,
}

/// Reads the record at the beginning of `bytes` into `fields`. `last` says that nothing follows the buffer.
pub(crate) fn step(bytes: &[u8], last: bool, dialect: Dialect, fields: &mut Vec<FieldAt>) -> Step {
    fields.clear();
    let text = Text { bytes, last, dialect };
    let Dialect { delimiter, quote } = dialect;
    let mut at = 0;
    let mut lines = 1;
    let mut wrong: Option<&'static str> = None;
    loop {
        let start = at;
        let (reason, quotes) = if bytes.get(start) == Some(&quote) {
            let start = start + 1;
            let (end, doubled) = match text.quoted(start) {
                Quoted::Closed { end, doubled } => (end, doubled),
                Quoted::More => return Step::More,
                Quoted::Open => return text.open(wrong.unwrap_or("a quote is not closed")),
            };
            lines += memchr_iter(b'\n', &bytes[start..end]).count() as u64;
            fields.push(FieldAt { start, end, quoted: true, doubled });
            at = end + 1;
            match &bytes[at..] {
                [] => return text.record(at, lines, wrong, fields),
                [c, ..] if *c == delimiter => {
                    at += 1;
                    continue;
                }
                [b'\n', ..] => return text.record(at + 1, lines, wrong, fields),
                [b'\r', b'\n', ..] => return text.record(at + 2, lines, wrong, fields),
                [b'\r'] if !last => return Step::More,
                [b'\r', ..] => (LONE_CR, true),
                _ => ("text follows a closing quote", true),
            }
        } else {
            let mut field = |end| fields.push(FieldAt { start, end, quoted: false, doubled: false });
            match memchr3(delimiter, b'\n', quote, &bytes[start..]).map(|i| start + i) {
                Some(end) if bytes[end] == delimiter => {
                    field(end);
                    at = end + 1;
                    continue;
                }
                Some(end) if bytes[end] == b'\n' => {
                    field(if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end });
                    return text.record(end + 1, lines, wrong, fields);
                }
                Some(found) => {
                    at = found;
                    // Only blanks before it: it was meant to begin the field.
                    let begins = bytes[start..found].iter().all(|c| matches!(c, b' ' | b'\t'));
                    ("a quote stands inside an unquoted field", begins)
                }
                None if last => {
                    field(bytes.len());
                    return text.record(bytes.len(), lines, wrong, fields);
                }
                None => return text.endless(wrong.unwrap_or(TOO_LONG)),
            }
        };
        // A broken record is read on: it ends where its last field does.
        let reason = *wrong.get_or_insert(reason);
        match text.behind(at, quotes, reason) {
            ControlFlow::Continue(next) => at = next,
            ControlFlow::Break(step) => return step,
        }
    }
}

/// The bytes in which a record is looked for.
#[derive(Clone, Copy)]
struct Text<'b> {
    bytes: &'b [u8],
    last: bool,
    dialect: Dialect,
}

/// How a quoted text ends.
enum Quoted {
    /// With the quote at `end`.
    Closed { end: usize, doubled: bool },
    /// With the last byte, if that is not the first of two quotes.
    More,
    /// Not here.
    Open,
}

impl Text<'_> {
    /// Looks for the end of the quoted text that begins at `start`.
    fn quoted(self, start: usize) -> Quoted {
        let quote = self.dialect.quote;
        let mut from = start;
        let mut doubled = false;
        while let Some(end) = memchr(quote, &self.bytes[from..]).map(|i| from + i) {
            match self.bytes.get(end + 1) {
                Some(next) if *next == quote => {
                    doubled = true;
                    from = end + 2;
                }
                None if !self.last => return Quoted::More,
                _ => return Quoted::Closed { end, doubled },
            }
        }
        Quoted::Open
    }

    /// Looks from `at` for the beginning of the field behind a broken one, or breaks off where the record ends.
    /// `quotes`: whether line breaks between quotes may be text.
    fn behind(self, mut at: usize, quotes: bool, reason: &'static str) -> ControlFlow<Step, usize> {
        let Dialect { delimiter, quote } = self.dialect;
        loop {
            let rest = &self.bytes[at..];
            let found = if quotes { memchr3(delimiter, b'\n', quote, rest) } else { memchr2(delimiter, b'\n', rest) };
            at = match found.map(|i| at + i) {
                None => return ControlFlow::Break(self.endless(reason)),
                Some(end) if self.bytes[end] == delimiter => return ControlFlow::Continue(end + 1),
                Some(end) if self.bytes[end] == b'\n' => {
                    return ControlFlow::Break(Step::Fault { next: end + 1, reason, open: false });
                }
                Some(found) => match self.bytes.get(found + 1) {
                    None if !self.last => return ControlFlow::Break(Step::More),
                    // At the end of a field it ends the text in which another one was not doubled: `"6" pipe",1`.
                    None | Some(b'\r' | b'\n') => found + 1,
                    Some(next) if *next == delimiter => found + 1,
                    Some(_) => match self.quoted(found + 1) {
                        Quoted::Closed { end, .. } => end + 1,
                        Quoted::More => return ControlFlow::Break(Step::More),
                        Quoted::Open => return ControlFlow::Break(self.open(reason)),
                    },
                },
            };
        }
    }

    /// The record that ends at `next`.
    fn record(self, next: usize, lines: u64, wrong: Option<&'static str>, fields: &[FieldAt]) -> Step {
        let reason = match wrong {
            None if next > MAX_RECORD => Some(TOO_LONG),
            None if self.has_lone_cr(fields) => Some(LONE_CR),
            wrong => wrong,
        };
        match reason {
            Some(reason) => Step::Fault { next, reason, open: false },
            None => Step::Record { next, lines },
        }
    }

    fn has_lone_cr(self, fields: &[FieldAt]) -> bool {
        let has = |start, end| memchr(b'\r', &self.bytes[start..end]).is_some();
        fields.last().is_some_and(|f| has(0, f.end)) && fields.iter().any(|f| !f.quoted && has(f.start, f.end))
    }

    /// A record whose line does not end here.
    fn endless(self, reason: &'static str) -> Step {
        match self.last || self.bytes.len() > MAX_RECORD {
            true => Step::Fault { next: self.bytes.len(), reason, open: false },
            false => Step::More,
        }
    }

    /// A record in which a quote is still open here.
    fn open(self, reason: &'static str) -> Step {
        match self.endless(reason) {
            Step::Fault { next, reason, .. } => Step::Fault { next, reason, open: !self.last },
            step => step,
        }
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
    fn a_broken_record_reaches_as_far_as_its_quotes_may() {
        const TEXT: &str = "text follows a closing quote";
        const INSIDE: &str = "a quote stands inside an unquoted field";
        let cases = [
            ("5\" pipe,3\n", INSIDE),
            ("5\" pipe,\"9,9\n9,9\"\n", INSIDE),
            ("1, \"9\n9,9\n9\"\n", INSIDE),
            ("\"x\"y,2\n", TEXT),
            ("1,\"9\n9,9\n9\" oops\n", TEXT),
            ("1,\"6\" pipe\",2\n", TEXT),
            ("1,\"9 \"9\" 9\n9,9\n9\",2\n", TEXT),
            ("\"a\"b,\"c\n9,9\"\r\n", TEXT),
            ("\"open,1\nc,d\n\"x\",2\n", TEXT),
        ];
        for (bad, reason) in cases {
            assert_eq!(all(&format!("a,b\n{bad}e,f")), [row(&["a", "b"]), Err(reason), row(&["e", "f"])], "{bad}");
        }
        assert_eq!(all("a,b\n\"end\n9,9\n"), [row(&["a", "b"]), Err("a quote is not closed")]);
        assert_eq!(all("\"a\"b\" c\n9,9\n"), [Err(TEXT)]);
    }

    #[test]
    fn a_carriage_return_alone_ends_no_line() {
        assert_eq!(all("a,b\r5,6\r7,8\r"), [Err(LONE_CR)]);
        for bad in ["2\r", "\"2\"\r", "x\ry,2\n", "\"x\"\ry\n", "\r\r\n"] {
            assert_eq!(all(bad), [Err(LONE_CR)], "{bad:?}");
        }
        assert_eq!(all("\"x\ry\",\"\r\n\"\r\nlast\r\n"), [row(&["x\ry", "\r\n"]), row(&["last"])]);
    }

    #[test]
    fn a_record_that_is_too_long_is_given_up() {
        let mut fields = Vec::new();
        let long = "x".repeat(MAX_RECORD + 1);
        let fault = |reason, open| Step::Fault { next: long.len(), reason, open };
        assert_eq!(step(long.as_bytes(), false, COMMA, &mut fields), fault(TOO_LONG, false));
        assert_eq!(step(long.as_bytes(), true, COMMA, &mut fields), fault(TOO_LONG, false));
        assert_eq!(step(&long.as_bytes()[1..], false, COMMA, &mut fields), Step::More);
        let quoted = format!("\"{}", &long[1..]);
        assert_eq!(step(quoted.as_bytes(), false, COMMA, &mut fields), fault("a quote is not closed", true));
        assert_eq!(step(quoted.as_bytes(), true, COMMA, &mut fields), fault("a quote is not closed", false));
        let ended = format!("{}\n9,9\n", &long[1..]);
        assert_eq!(step(ended.as_bytes(), true, COMMA, &mut fields), fault(TOO_LONG, false));
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
