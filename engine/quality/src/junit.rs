//! Findings as JUnit XML, as build servers read it: a test suite for each table, a test case for each check.

use std::fmt::Write;

use transload_core::Finding;
use transload_core::finding::{CheckOutcome, Severity};

use crate::message::describe;

/// Writes findings as JUnit XML. A check that fails is a failure if it is an error, and a passed test that says so on
/// its output if it is less. One that was not judged is skipped.
pub fn junit(pipeline: &str, findings: &[Finding]) -> String {
    let is_failure = |f: &&Finding| f.is_failed() && f.severity == Severity::Error;
    let failures = findings.iter().filter(is_failure).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = escape(pipeline);
    let _ = writeln!(text, "<testsuites name=\"{name}\" tests=\"{}\" failures=\"{failures}\">", findings.len());
    let mut tables: Vec<&str> = Vec::new();
    for finding in findings {
        if !tables.contains(&finding.table.as_str()) {
            tables.push(finding.table.as_str());
        }
    }
    for table in tables {
        let of: Vec<&Finding> = findings.iter().filter(|f| f.table.as_str() == table).collect();
        let failures = of.iter().copied().filter(|f| is_failure(f)).count();
        let (name, tests) = (escape(table), of.len());
        let _ = writeln!(text, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">");
        of.into_iter().for_each(|finding| case(&mut text, finding));
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(text: &mut String, finding: &Finding) {
    let class = escape(&format!("{}.{}", finding.table, finding.check));
    let name = escape(&format!("{} {}", finding.title(), finding.fingerprint));
    let _ = write!(text, "    <testcase classname=\"{class}\" name=\"{name}\"");
    let (message, whole) = (escape(&finding.found), escape(&describe(finding)));
    let _ = match (finding.outcome, finding.severity) {
        (CheckOutcome::Passed, _) => {
            text.push_str("/>\n");
            return;
        }
        (CheckOutcome::NotJudged, _) => writeln!(text, ">\n      <skipped message=\"{message}\"/>"),
        (CheckOutcome::Failed, Severity::Error) => {
            let code = escape(&finding.code);
            writeln!(text, ">\n      <failure message=\"{message}\" type=\"{code}\">{whole}</failure>")
        }
        (CheckOutcome::Failed, _) => writeln!(text, ">\n      <system-out>{whole}</system-out>"),
    };
    text.push_str("    </testcase>\n");
}

/// Text as XML 1.0 can hold it; other characters become `?`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::finding;

    #[test]
    fn errors_are_failures_and_warnings_are_output() {
        let findings = [
            finding(CheckOutcome::Passed, Severity::Error),
            finding(CheckOutcome::Failed, Severity::Warn),
            Finding { expected: "a < b & \"c\"\u{1b}".to_string(), ..finding(CheckOutcome::Failed, Severity::Error) },
        ];
        let text = junit("p", &findings);
        assert!(text.contains("<testsuites name=\"p\" tests=\"3\" failures=\"1\">"), "{text}");
        assert!(text.contains("<testsuite name=\"orders\" tests=\"3\" failures=\"1\">"), "{text}");
        assert_eq!((text.matches("<failure ").count(), text.matches("<system-out>").count()), (1, 1), "{text}");
        assert!(text.contains("a &lt; b &amp; &quot;c&quot;?"), "{text}");
    }

    #[test]
    fn what_was_not_judged_is_skipped_and_a_failure_says_its_rows_and_threshold() {
        let findings = [
            Finding { found: "a \"part\"".to_string(), ..finding(CheckOutcome::NotJudged, Severity::Error) },
            Finding {
                filter: Some("b < 1".to_string()),
                threshold: 3.into(),
                ..finding(CheckOutcome::Failed, Severity::Error)
            },
        ];
        let text = junit("p", &findings);
        assert!(text.contains("<testsuites name=\"p\" tests=\"2\" failures=\"1\">"), "{text}");
        assert!(text.contains("<skipped message=\"a &quot;part&quot;\"/>"), "{text}");
        assert!(text.contains("where     b &lt; 1") && text.contains("threshold 3 rows"), "{text}");
    }
}
