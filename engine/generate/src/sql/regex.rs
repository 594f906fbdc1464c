//! Regular expressions that Rust, RE2 and Java read alike.
//!
//! They differ in what `$`, `.` and the named classes mean: those are written out. What cannot be written so that all mean the
//! same is refused.

use std::iter::Peekable;
use std::str::Chars;

/// White space, as Unicode has it, for within brackets.
const SPACE: &str = r"\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}";

/// A text with more than white space: what is found in it.
pub(crate) fn more_than_blanks() -> String {
    format!("[^{SPACE}]")
}

/// The expression, written so that it means the same everywhere.
///
/// # Errors
/// A sentence that names what does not.
pub(crate) fn portable(regex: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = regex.chars().peekable();
    let mut repeats = false;
    while let Some(c) = rest.next() {
        if c == '+' && repeats {
            return Err("a `+` behind another repetition means something else there".to_string());
        }
        repeats = matches!(c, '*' | '+' | '?' | '}');
        match c {
            '\\' => out.push_str(&escaped(&mut rest, false)?),
            '[' => class(&mut rest, &mut out)?,
            '$' => out.push_str(r"\z"),
            '.' => out.push_str(r"[^\n]"),
            '(' if rest.peek() == Some(&'?') => {
                rest.next();
                if rest.next() != Some(':') {
                    return Err("flags and names of groups are written in another way there".to_string());
                }
                out.push_str("(?:");
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// What stands behind a backslash.
fn escaped(rest: &mut Peekable<Chars<'_>>, in_class: bool) -> Result<String, String> {
    let c = rest.next().ok_or("the expression ends with a backslash")?;
    Ok(match c {
        'd' => r"\p{Nd}".to_string(),
        'D' if !in_class => r"\P{Nd}".to_string(),
        's' if in_class => SPACE.to_string(),
        's' => format!("[{SPACE}]"),
        'S' if !in_class => more_than_blanks(),
        'A' | 'z' if !in_class => format!("\\{c}"),
        't' | 'n' | 'r' | 'f' => format!("\\{c}"),
        c if c.is_ascii_punctuation() => format!("\\{c}"),
        c => return Err(format!("`\\{c}` means other characters there")),
    })
}

/// A class in brackets, of which the first one has been read.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.peek() == Some(&'^') {
        rest.next();
        out.push('^');
    }
    let mut before = None;
    while let Some(c) = rest.next() {
        match c {
            ']' if before.is_some() => {
                out.push(']');
                return Ok(());
            }
            '[' | ']' => return Err("a bracket within brackets means something else there".to_string()),
            '&' | '-' | '~' if before == Some(c) => {
                return Err(format!("`{c}{c}` within brackets means something else there"));
            }
            '\\' => out.push_str(&escaped(rest, true)?),
            c => out.push(c),
        }
        before = Some(c);
    }
    Err("a bracket is not closed".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_written_out() {
        let (class, lazy) = (format!(r"[\p{{Nd}}{SPACE}-]"), format!("^(?:a|b)*?{}", more_than_blanks()));
        for (regex, written) in [
            ("^[A-Z]{2}$", r"^[A-Z]{2}\z"),
            (r"^\d+\.\d{2}$", r"^\p{Nd}+\.\p{Nd}{2}\z"),
            ("a.b", r"a[^\n]b"),
            (r"[\d\s-]", class.as_str()),
            (r"^(?:a|b)*?\S", lazy.as_str()),
            ("[$.]", "[$.]"),
            (r"\$\z", r"\$\z"),
        ] {
            assert_eq!(portable(regex).as_deref(), Ok(written), "{regex}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for regex in [r"\w", r"\bx", "(?i)a", "(?P<n>a)", "[a-z&&[^b]]", "[[:alpha:]]", "a++", "[]a]", r"\pL", "[a--b]"]
        {
            assert!(portable(regex).is_err(), "{regex}");
        }
    }
}
