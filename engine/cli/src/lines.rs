//! Lines of text: those that somebody else has written fit on one, without what would break out of it.

use serde_json::Value as Json;

/// Characters that are shown of a long text.
const LONGEST: usize = 500;

/// A text on one line: blanks and line breaks become single blanks, what is not seen is left out, a long text ends early.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| is_seen(*c)).collect();
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// Puts every line of a text further in.
pub(crate) fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}")).collect::<Vec<_>>().join("\n")
}

/// A value as YAML takes it, on one line. JSON is YAML; what YAML does not take as it is in a text is escaped.
pub(crate) fn flow(value: &Json) -> String {
    let json = value.to_string();
    let escaped = |c: char| if is_seen(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    json.chars().map(escaped).collect()
}

/// A text without quotes, if it means the same without them.
pub(crate) fn word(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_word { text.to_string() } else { flow(&Json::from(text)) }
}

/// Whether a character is seen, and does not change how others are.
fn is_seen(c: char) -> bool {
    let is_hidden = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    );
    !c.is_control() && !is_hidden
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_does_not_leave_its_line() {
        assert_eq!(one_line(" a\n  b: c\r\n# d\u{85}e\u{2028}f\u{202e}g\u{7} "), "a b: c # d e fg");
        assert_eq!(one_line(&"ż".repeat(600)).chars().count(), LONGEST + 1);
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn a_value_reads_back_as_it_was() {
        let value = json!({ "a\u{85}\u{7f}\u{feff}": ["\u{2028}\n\"\\", 1, 0.5, null, true], "ż 😀": {} });
        let line = flow(&value);
        assert!(!line.contains(['\n', '\u{85}', '\u{2028}', '\u{7f}', '\u{feff}']), "{line}");
        assert_eq!(serde_json::from_str::<Json>(&line).unwrap(), value);
        let (node, _) = transload_spec::parse_document("p.yaml", &line).map_err(|p| p.render(false)).unwrap();
        assert_eq!(serde_json::to_value(&node).unwrap(), value);
    }

    #[test]
    fn a_name_that_would_not_stay_a_text_has_quotes() {
        for (text, expected) in
            [("shop-1", "shop-1"), ("1e5", "\"1e5\""), ("No", "\"No\""), ("./own.yaml", "\"./own.yaml\"")]
        {
            assert_eq!(word(text), expected);
        }
    }
}
