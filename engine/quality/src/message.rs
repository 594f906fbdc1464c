//! Findings as text for a person. A program reads the same fields as JSON: a [`Finding`] is serde data.

use transload_core::Finding;
use transload_core::finding::{CheckOutcome, Severity};

/// One line about all checks of a table: `12 checks: 10 passed, 1 failed, 1 warning`. `None` without checks.
pub fn summary(findings: &[Finding]) -> Option<String> {
    if findings.is_empty() {
        return None;
    }
    let failed = |severity| findings.iter().filter(|f| f.is_failed() && f.severity == severity).count();
    let mut parts = vec![format!("{} passed", findings.iter().filter(|f| f.is_passed()).count())];
    for (severity, one, many) in [
        (Severity::Error, "failed", "failed"),
        (Severity::Warn, "warning", "warnings"),
        (Severity::Info, "note", "notes"),
    ] {
        match failed(severity) {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {many}")),
        }
    }
    match findings.iter().filter(|f| !f.is_judged()).count() {
        0 => {}
        n => parts.push(format!("{n} not judged")),
    }
    let checks = if findings.len() == 1 { "check" } else { "checks" };
    Some(format!("{} {checks}: {}", findings.len(), parts.join(", ")))
}

/// What a check found, on several lines.
pub fn describe(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        CheckOutcome::Passed => "passed",
        CheckOutcome::Failed => "failed",
        CheckOutcome::NotJudged => "not judged",
    };
    let mut text = format!("{} {outcome} ({}, {})", finding.title(), finding.severity, finding.action);
    if let Some(condition) = finding.condition() {
        text.push_str(&format!("\n  where     {condition}"));
    }
    text.push_str(&format!("\n  expected  {}", finding.expected));
    if let Some(allowance) = finding.allowance() {
        text.push_str(&format!("\n  threshold {allowance}"));
    }
    text.push_str(&format!("\n  found     {}", finding.found));
    if !finding.shapes.is_empty() {
        let shapes: Vec<String> = finding.shapes.iter().map(|(shape, count)| format!("{shape} ×{count}")).collect();
        text.push_str(&format!("\n  shapes    {}", shapes.join(", ")));
    }
    if !finding.values.is_empty() {
        let values: Vec<String> = finding.values.iter().map(|v| v.escape_debug().to_string()).collect();
        text.push_str(&format!("\n  values    {}", values.join(", ")));
    }
    if finding.is_failed() {
        text.push_str(&format!("\n  remedy    {}", finding.remedy));
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use transload_core::TableName;
    use transload_core::finding::Action;

    use super::*;

    pub(crate) fn finding(outcome: CheckOutcome, severity: Severity) -> Finding {
        Finding {
            code: "Q005".to_string(),
            check: "range".to_string(),
            fingerprint: "0123456789abcdef".to_string(),
            table: TableName::new("orders"),
            columns: vec!["amount".to_string()],
            filter: None,
            severity,
            action: Action::Stop,
            threshold: serde_json::Value::Null,
            outcome,
            stops: false,
            expected: "at least 0".to_string(),
            found: "3 of 1000 rows break it (0.30 %)".to_string(),
            evaluated: 1000,
            failed: Some(3),
            shapes: vec![("-9".to_string(), 2), ("-99".to_string(), 1)],
            values: Vec::new(),
            figures: serde_json::Value::Null,
            remedy: "correct the value".to_string(),
            duration_micros: None,
        }
    }

    #[test]
    fn a_message_says_what_where_expected_found_and_what_to_do() {
        let text = describe(&finding(CheckOutcome::Failed, Severity::Error));
        let golden = "Q005 range (amount) failed (error, stop)\n  expected  at least 0\n  \
                      found     3 of 1000 rows break it (0.30 %)\n  shapes    -9 ×2, -99 ×1\n  \
                      remedy    correct the value";
        assert_eq!(text, golden);
    }

    #[test]
    fn a_message_says_which_rows_it_is_about_and_how_many_may_break_the_rule() {
        let narrow = Finding {
            filter: Some("status =\n  'open'".to_string()),
            threshold: "0.1%".into(),
            ..finding(CheckOutcome::Failed, Severity::Error)
        };
        let golden = "Q005 range (amount) failed (error, stop)\n  where     status = 'open'\n  expected  at least 0\n  \
                      threshold 0.1%\n  found     3 of 1000 rows";
        assert!(describe(&narrow).starts_with(golden), "{}", describe(&narrow));
    }

    #[test]
    fn a_check_that_was_not_judged_says_why() {
        let finding = Finding {
            found: "these rows are a part of the table".to_string(),
            shapes: Vec::new(),
            ..finding(CheckOutcome::NotJudged, Severity::Warn)
        };
        let golden = "Q005 range (amount) not judged (warn, stop)\n  expected  at least 0\n  \
                      found     these rows are a part of the table";
        assert_eq!(describe(&finding), golden);
        assert_eq!(summary(&[finding]).unwrap(), "1 check: 0 passed, 1 not judged");
    }

    #[test]
    fn values_are_shown_without_control_characters() {
        let shown =
            Finding { values: vec!["a\u{1b}[2J".to_string()], ..finding(CheckOutcome::Failed, Severity::Error) };
        assert!(describe(&shown).contains("values    a\\u{1b}[2J"), "{}", describe(&shown));
    }

    #[test]
    fn a_summary_counts_by_severity() {
        let of = [
            finding(CheckOutcome::Passed, Severity::Error),
            finding(CheckOutcome::Failed, Severity::Error),
            finding(CheckOutcome::Failed, Severity::Warn),
            finding(CheckOutcome::Failed, Severity::Warn),
        ];
        assert_eq!(summary(&of).unwrap(), "4 checks: 1 passed, 1 failed, 2 warnings");
        assert_eq!(summary(&[]), None);
    }
}
