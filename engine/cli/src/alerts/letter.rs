//! What an alert says: of each table that it is about what went wrong, as counts. Never a value of a row.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use transload_core::Finding;
use transload_core::finding::Severity;
use transload_core::value::Outcome;
use transload_spec::Alert;
use transload_spec::alerts::Reason;

use crate::alerts::{News, TableNews};

/// Version of the form of the JSON.
const VERSION: u32 = 1;
/// Tables that a message to Slack tells of. It takes fifty blocks.
const SLACK_TABLES: usize = 20;
/// Failed checks of a table that a message to Slack tells of.
const SLACK_CHECKS: usize = 8;
/// Characters of a block. Slack takes 3000, in which `&amp;` counts as five.
const SLACK_CHARACTERS: usize = 2900;

/// What an alert is about.
pub(crate) struct Letter<'a> {
    tables: Vec<Concern<'a>>,
}

/// A table of which there is something to tell.
struct Concern<'a> {
    news: &'a TableNews,
    reasons: Vec<Reason>,
    findings: Vec<&'a Finding>,
}

/// What an alert is about; none if there is no reason to send it.
pub(crate) fn letter<'a>(alert: &Alert, news: &'a News) -> Option<Letter<'a>> {
    let wanted = alert.reasons();
    let about = news.tables.iter().filter(|t| alert.is_about(&t.table, |name| t.labels.get(name).map(String::as_str)));
    let tables: Vec<Concern<'a>> = about.filter_map(|table| concern(&wanted, table)).collect();
    (!tables.is_empty()).then_some(Letter { tables })
}

fn concern<'a>(wanted: &[Reason], news: &'a TableNews) -> Option<Concern<'a>> {
    let reasons: BTreeSet<Reason> = reasons(news).into_iter().filter(|reason| wanted.contains(reason)).collect();
    if reasons.is_empty() {
        return None;
    }
    // Whoever asks for failures wants to know the checks that made one.
    let is_wanted = |f: &&Finding| wanted.contains(&of(f.severity)) || (f.stops && wanted.contains(&Reason::Failed));
    let findings = news.failed.iter().filter(is_wanted).collect();
    Some(Concern { news, reasons: reasons.into_iter().collect(), findings })
}

/// Every reason that a table gives.
fn reasons(news: &TableNews) -> Vec<Reason> {
    let mut found: Vec<Reason> = news.failed.iter().map(|f| of(f.severity)).collect();
    match news.verdict {
        Some(Outcome::Mismatch) => found.push(Reason::Mismatch),
        Some(Outcome::NotCompared) => found.push(Reason::NotCompared),
        Some(Outcome::Match) | None => {}
    }
    if news.error.is_some() {
        found.push(Reason::Failed);
    }
    found
}

fn of(severity: Severity) -> Reason {
    match severity {
        Severity::Error => Reason::Error,
        Severity::Warn => Reason::Warn,
        Severity::Info => Reason::Info,
    }
}

impl Letter<'_> {
    /// Why it is sent.
    pub(crate) fn reasons(&self) -> BTreeSet<Reason> {
        self.tables.iter().flat_map(|t| t.reasons.iter().copied()).collect()
    }

    /// The tables it is about.
    pub(crate) fn tables(&self) -> Vec<String> {
        self.tables.iter().map(|t| t.news.table.clone()).collect()
    }

    /// The form for programs.
    pub(crate) fn json(&self, news: &News) -> Json {
        json!({
            "version": VERSION,
            "pipeline": news.pipeline,
            "run_id": news.run,
            "command": news.command,
            "status": news.status,
            "exit_code": news.exit_code,
            "started": news.started,
            "ended": news.ended,
            "reasons": self.reasons(),
            "tables": self.tables.iter().map(table_json).collect::<Vec<Json>>(),
        })
    }

    /// The form for Slack: <https://api.slack.com/reference/block-kit/blocks>. Programs that do not know blocks show
    /// the text.
    pub(crate) fn slack(&self, news: &News) -> Json {
        let status = news.status.replace('_', " ");
        let names = self.tables().join(", ");
        let text = format!("{}: {status} (exit code {}): {names}", news.pipeline, news.exit_code);
        let head = format!(
            "*{}*: {status} (exit code {})\n{} `{}`",
            escape(&news.pipeline),
            news.exit_code,
            news.command,
            news.run
        );
        let mut blocks = vec![block(&head)];
        blocks.extend(self.tables.iter().take(SLACK_TABLES).map(|table| block(&lines(table).join("\n"))));
        if self.tables.len() > SLACK_TABLES {
            blocks.push(block(&format!("and {} more tables", self.tables.len() - SLACK_TABLES)));
        }
        json!({ "text": clipped(&escape(&text)), "blocks": blocks })
    }
}

fn table_json(table: &Concern<'_>) -> Json {
    let news = table.news;
    json!({
        "table": news.table,
        "labels": news.labels,
        "reasons": table.reasons,
        "verdict": news.verdict,
        "differences": news.differences,
        "error": news.error,
        "rows": news.counts,
        "findings": table.findings.iter().map(|f| finding_json(f)).collect::<Vec<Json>>(),
    })
}

/// A finding without the shapes and values that it may hold.
fn finding_json(finding: &Finding) -> Json {
    json!({
        "code": finding.code,
        "check": finding.check,
        "title": finding.title(),
        "columns": finding.columns,
        "where": finding.filter,
        "fingerprint": finding.fingerprint,
        "severity": finding.severity,
        "action": finding.action,
        "threshold": finding.threshold,
        "stops": finding.stops,
        "expected": finding.expected,
        "found": finding.found,
        "evaluated": finding.evaluated,
        "failed": finding.failed,
        "remedy": finding.remedy,
    })
}

/// A table in a few lines of Slack's markup.
fn lines(table: &Concern<'_>) -> Vec<String> {
    let news = table.news;
    let mut lines = vec![match news.verdict {
        Some(Outcome::Mismatch) if news.differences > 0 => {
            format!("*{}*: mismatch, {} keys differ", escape(&news.table), news.differences)
        }
        Some(outcome) => format!("*{}*: {}", escape(&news.table), outcome.to_string().replace('_', " ")),
        None => format!("*{}*", escape(&news.table)),
    }];
    lines.extend(news.error.iter().map(|error| format!("error: {}", escape(error))));
    for finding in table.findings.iter().take(SLACK_CHECKS) {
        let (title, found, remedy) = (escape(&finding.title()), escape(&finding.found), escape(&finding.remedy));
        lines.push(format!("• {title} failed ({}): {found}\n   {remedy}", finding.severity));
    }
    if table.findings.len() > SLACK_CHECKS {
        lines.push(format!("• and {} more checks", table.findings.len() - SLACK_CHECKS));
    }
    lines
}

fn block(text: &str) -> Json {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": clipped(text) } })
}

/// Text without what Slack would take for links, mentions or entities.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SLACK_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use transload_core::RunId;

    use super::*;

    fn alert(json: Json) -> Alert {
        serde_json::from_value(json).unwrap()
    }

    fn finding(severity: &str, stops: bool) -> Finding {
        serde_json::from_value(json!({
            "code": "Q005", "check": "range", "fingerprint": "0123456789abcdef", "table": "orders", "columns": ["<!channel>"],
            "severity": severity, "action": "log", "outcome": "failed", "stops": stops, "expected": "at least 0",
            "found": "2 of 6 rows break it (33.33 %)", "evaluated": 6, "failed": 2, "shapes": [["sh4pe", 2]],
            "values": ["c4n4ry"], "remedy": "widen the limits",
        }))
        .unwrap()
    }

    fn table(name: &str, failed: Vec<Finding>, verdict: Option<Outcome>, error: Option<&str>) -> TableNews {
        TableNews {
            table: name.to_string(),
            labels: BTreeMap::from([("domain".to_string(), "sales".to_string())]),
            counts: None,
            failed,
            verdict,
            differences: if verdict == Some(Outcome::Mismatch) { 4 } else { 0 },
            error: error.map(str::to_string),
        }
    }

    fn news(tables: Vec<TableNews>) -> News {
        News {
            pipeline: "p".to_string(),
            run: RunId::parse("20261121T051500Z-7f3a9c12").unwrap(),
            command: "run".to_string(),
            status: "not_compared",
            exit_code: 9,
            started: "t".to_string(),
            ended: "t".to_string(),
            tables,
        }
    }

    fn named(alert_on: Json, news: &News) -> Vec<String> {
        let mut text = json!({ "to": { "command": { "argv": ["a"] } } });
        for (key, value) in alert_on.as_object().unwrap() {
            text[key] = value.clone();
        }
        letter(&alert(text), news).map(|l| l.tables()).unwrap_or_default()
    }

    #[test]
    fn an_alert_is_sent_for_its_reasons_and_tables_only() {
        let news = news(vec![
            table("orders", vec![finding("warn", false)], Some(Outcome::Match), None),
            table("parts", vec![finding("error", true)], None, Some("stopped")),
            table("lines", Vec::new(), Some(Outcome::Mismatch), None),
            table("empty", Vec::new(), Some(Outcome::NotCompared), None),
            table("good", Vec::new(), Some(Outcome::Match), None),
        ]);
        let of = |alert: Json| named(alert, &news).join(" ");
        assert_eq!(of(json!({})), "parts lines");
        assert_eq!(of(json!({ "on": ["warn"] })), "orders");
        assert_eq!(of(json!({ "on": ["info"] })), "");
        assert_eq!(of(json!({ "on": ["failed"] })), "parts");
        assert_eq!(of(json!({ "on": ["not_compared"], "tables": ["e*", "good"] })), "empty");
        assert_eq!(of(json!({ "tables": ["orders"] })), "");
        assert_eq!(of(json!({ "labels": { "domain": "sales" } })), "parts lines");
        assert_eq!(of(json!({ "labels": { "domain": "finance" } })), "");
    }

    #[test]
    fn who_hears_of_a_failure_hears_of_the_check_that_made_it() {
        let news = news(vec![table("t", vec![finding("error", true), finding("warn", false)], None, Some("stopped"))]);
        let json = letter(&alert(json!({ "to": { "command": { "argv": ["a"] } }, "on": ["failed"] })), &news)
            .unwrap()
            .json(&news);
        assert_eq!(json["reasons"], json!(["failed"]));
        assert_eq!(json["tables"][0]["findings"].as_array().unwrap().len(), 1);
        assert_eq!(json["tables"][0]["findings"][0]["stops"], true);
    }

    #[test]
    fn no_value_and_no_markup_leaves() {
        let news = news(vec![table("a<b", vec![finding("error", false)], None, Some("x & y"))]);
        let letter = letter(&alert(json!({ "to": { "command": { "argv": ["a"] } } })), &news).unwrap();
        let (json, slack) = (letter.json(&news).to_string(), letter.slack(&news).to_string());
        for text in [&json, &slack] {
            assert!(!text.contains("c4n4ry") && !text.contains("sh4pe"), "{text}");
        }
        assert!(slack.contains("a&lt;b") && slack.contains("x &amp; y") && !slack.contains("<!channel>"), "{slack}");
        assert!(slack.contains("not compared (exit code 9)"), "{slack}");
    }

    #[test]
    fn a_message_to_slack_has_an_end() {
        let many = (0..60).map(|i| table(&format!("t{i}"), vec![finding("error", false); 30], None, Some("é")));
        let news = news(many.collect());
        let letter = letter(&alert(json!({ "to": { "command": { "argv": ["a"] } } })), &news).unwrap();
        let slack = letter.slack(&news);
        let blocks = slack["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 1 + SLACK_TABLES + 1);
        assert!(blocks.iter().all(|b| b["text"]["text"].as_str().unwrap().chars().count() <= SLACK_CHARACTERS + 1));
        assert_eq!(blocks[SLACK_TABLES + 1]["text"]["text"], "and 40 more tables");
        assert_eq!(clipped(&"é".repeat(5000)).chars().count(), SLACK_CHARACTERS + 1);
    }
}
