//! How texts are written where Jinja, Python or Markdown read them.

/// A text where Jinja may read templates, as it stands there in SQL and in YAML.
pub(crate) fn jinja(text: &str) -> String {
    match ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
        true => format!("{{{{ {} }}}}", jinja_text(text)),
        false => text.to_string(),
    }
}

/// A text as a literal of Jinja.
pub(crate) fn jinja_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text as a literal of Python.
pub(crate) fn python(text: &str) -> String {
    // What JSON makes of a text Python reads as that text.
    serde_json::Value::from(text).to_string()
}

/// A text in a cell of a table of Markdown.
pub(crate) fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_left_alone_unless_they_are_read_as_something_else() {
        assert_eq!(jinja("a { b } \"c\""), "a { b } \"c\"");
        assert_eq!(jinja("a {{ \"b\" }}"), "{{ \"a {{ \\\"b\\\" }}\" }}");
        assert_eq!(python("it's \"a\" \\ \n"), r#""it's \"a\" \\ \n""#);
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }
}
