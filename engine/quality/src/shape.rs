//! How values are built, without the values: `AA-999`.

/// Longest shape that is kept, in characters.
const LONGEST: usize = 40;

/// The shape of a value's text: `A` and `a` for letters, `9` for digits, blanks and punctuation as they are. A run of
/// more than four of a kind is written once, with a `+`.
#[must_use]
pub fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut last = '\0';
    let mut run = 0;
    for class in text.chars().map(class) {
        run = if class == last { run + 1 } else { 1 };
        last = class;
        match run {
            1..=4 => out.push(class),
            5 => {
                out.truncate(out.len() - 3 * class.len_utf8());
                out.push('+');
            }
            _ => {}
        }
        if out.chars().count() >= LONGEST {
            out.push('…');
            break;
        }
    }
    if out.is_empty() { "(empty)".to_string() } else { out }
}

fn class(c: char) -> char {
    match c {
        c if c.is_numeric() => '9',
        c if c.is_uppercase() => 'A',
        c if c.is_alphabetic() => 'a',
        c if c.is_whitespace() => ' ',
        c if c.is_ascii_punctuation() => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_shows_no_value() {
        assert_eq!(shape("DE-4711"), "AA-9999");
        assert_eq!(shape("-12.5"), "-99.9");
        assert_eq!(shape("someone@example.org"), "a+@a+.aaa");
        assert_eq!(shape("12345678 Żółw"), "9+ Aaaa");
        assert_eq!(shape(""), "(empty)");
        assert_eq!(shape("\u{1b}[31m"), "?[99a");
        assert!(shape(&"a1".repeat(1000)).chars().count() <= LONGEST + 1);
    }
}
