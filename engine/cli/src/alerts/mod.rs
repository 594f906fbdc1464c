//! Telling somebody how a run ended, once that is known and written down.
//!
//! [`News`] is what there is to tell, [`letter`](letter::letter) is what of it one alert is about. Alerts are sent at
//! the same time; whether they arrive is said and written down, and changes nothing else.

mod command;
mod letter;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::ExposeSecret;
use transload_core::decode::Entries;
use transload_core::tree::Spanned;
use transload_core::value::Outcome;
use transload_core::{Clock, Counts, Error, ErrorKind, Finding, Receipt, Resolve, Result, RunId, Template, Verdict};
use transload_ledger::{Alerted, Audit, Ledger};
use transload_plan::Plan;
use transload_spec::Alert;
use transload_spec::alerts::{Channel, Webhook};

use crate::alerts::letter::{Letter, letter};
use crate::http::{Message, address, place, tried};
use crate::output::Output;
use crate::pipeline::resolver;
use crate::signals::Signals;

/// What there is to tell of a run that has ended.
pub(crate) struct News {
    pub(crate) pipeline: String,
    pub(crate) run: RunId,
    /// What the ledger calls it: `run` or `replay`, which may be resumed ones, `check` or `reconcile`.
    pub(crate) command: String,
    pub(crate) status: &'static str,
    pub(crate) exit_code: u8,
    pub(crate) started: String,
    pub(crate) ended: String,
    pub(crate) tables: Vec<TableNews>,
}

/// What there is to tell of one of its tables.
pub(crate) struct TableNews {
    table: String,
    labels: BTreeMap<String, String>,
    /// Of a table that was loaded and committed.
    counts: Option<Counts>,
    /// The checks that failed.
    failed: Vec<Finding>,
    verdict: Option<Outcome>,
    /// Keys that differ.
    differences: u64,
    error: Option<String>,
}

/// Where alerts are sent from.
pub(crate) struct Desk<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) ledger: &'a Ledger,
    pub(crate) audit: &'a Audit,
    pub(crate) clock: &'a Clock,
    pub(crate) signals: &'a Signals,
    pub(crate) output: &'a Output,
}

impl TableNews {
    /// What became of a table of a plan.
    pub(crate) fn new(
        plan: &Plan,
        table: &str,
        receipt: Option<&Receipt>,
        findings: &[Finding],
        verdict: Option<&Verdict>,
        error: Option<&Error>,
    ) -> Self {
        let planned = plan.tables.iter().find(|t| t.to.as_str() == table);
        Self {
            table: table.to_string(),
            labels: planned.map(|t| t.labels.clone()).unwrap_or_default(),
            counts: receipt.map(|r| r.counts),
            failed: findings.iter().filter(|f| f.is_failed()).cloned().collect(),
            verdict: verdict.map(|v| v.outcome),
            differences: verdict.map_or(0, |v| v.differences.total()),
            error: error.map(ToString::to_string),
        }
    }
}

impl Desk<'_> {
    /// Sends the alerts that have a reason to be sent, and writes down what became of them. A run that was interrupted
    /// is no news: whoever stopped it knows.
    pub(crate) async fn send(&self, news: &News) {
        if self.signals.exit_code().is_some() {
            return;
        }
        let due = self.plan.alerts.iter().enumerate();
        let due = due.filter_map(|(at, alert)| Some((at + 1, alert, letter(alert, news)?)));
        let done = join_all(due.map(|(number, alert, letter)| self.deliver(number, alert, letter, news))).await;
        for (alerted, hint) in done {
            self.write_down(&news.run, &alerted, hint).await;
        }
    }

    /// Sends one alert. Beside what became of it: what can be done if it did not arrive.
    async fn deliver(
        &self,
        number: usize,
        alert: &Alert,
        letter: Letter<'_>,
        news: &News,
    ) -> (Alerted, Option<String>) {
        let tries = Cell::new(0);
        let (to, result) = match self.prepared(alert, &letter, news) {
            Ok((to, parcel)) => {
                let result = tokio::select! {
                    biased;
                    () = self.signals.cancel.cancelled() => Err(Error::new(ErrorKind::Interrupted, "it was interrupted")),
                    result = parcel.deliver(alert, &tries) => result,
                };
                (to, result)
            }
            Err(error) => ("unknown host".to_string(), Err(error)),
        };
        let hint = result.as_ref().err().and_then(|e| e.hint_text()).map(str::to_string);
        let alerted = Alerted {
            alert: number,
            kind: alert.to.value.kind().to_string(),
            to,
            reasons: letter.reasons().iter().map(ToString::to_string).collect(),
            tables: letter.tables(),
            delivered: result.is_ok(),
            tries: tries.get(),
            error: result.err().map(|e| e.chain().join(": ")),
            at: self.clock.stamp(),
        };
        (alerted, hint)
    }

    /// Everything that is needed to send an alert, and the name of the place it goes to.
    fn prepared(&self, alert: &Alert, letter: &Letter<'_>, news: &News) -> Result<(String, Parcel)> {
        let resolver = resolver();
        let body = letter.json(news).to_string();
        let (url, headers, body) = match &alert.to.value {
            Channel::Command(command) => {
                let variables = command.env.iter().flat_map(|env| &env.value);
                let parcel = command::Start {
                    argv: command.argv.value.iter().map(|a| a.value.clone()).collect(),
                    variables: variables.map(|name| (name.value.clone(), resolver.env(&name.value))).collect(),
                    path: resolver.env("PATH"),
                    input: body,
                };
                let program = parcel.argv.first().cloned().unwrap_or_default();
                return Ok((program, Parcel::Start(parcel)));
            }
            Channel::Webhook(Webhook { url, headers }) => (url, headers.as_ref(), body),
            Channel::Slack(slack) => (&slack.url, None, letter.slack(news).to_string()),
        };
        let address = resolved(url, &resolver)?;
        let timeout = Duration::from_secs(u64::from(alert.timeout_secs()));
        let headers = headers_of(headers, &resolver)?;
        let message = Message { method: Method::POST, url: address, headers, body, timeout };
        Ok((place(&message.url), Parcel::Message(message)))
    }

    /// Says what became of an alert, and keeps it in the ledger.
    async fn write_down(&self, run: &RunId, alerted: &Alerted, hint: Option<String>) {
        if alerted.delivered {
            self.output.say(&format!("  alert to {alerted}"));
        } else {
            let error = Error::transient(format!("an alert to {} {} did not arrive", alerted.kind, alerted.to))
                .because(alerted.error.clone().unwrap_or_default());
            let calm = "the run itself is not affected: its outcome and exit code are as they would be without";
            self.output.complain(&error.hint(hint.unwrap_or_else(|| calm.to_string())));
        }
        let event = format!("alert to {alerted}");
        let written = async {
            self.ledger.alerted(run, alerted).await?;
            self.audit.append(&event, None).await
        };
        if let Err(error) = written.await {
            self.output.complain(&error);
        }
    }
}

/// An alert that is ready to go.
enum Parcel {
    Message(Message),
    Start(command::Start),
}

impl Parcel {
    async fn deliver(&self, alert: &Alert, tries: &Cell<u32>) -> Result<()> {
        match self {
            Self::Message(message) => message.deliver(alert.tries(), tries).await,
            Self::Start(start) => {
                let timeout = Duration::from_secs(u64::from(alert.timeout_secs()));
                tried(alert.tries(), tries, || start.run(timeout)).await
            }
        }
    }
}

/// The address behind a template. Without encryption it goes only where the pipeline says so.
fn resolved(url: &Spanned<Template>, resolver: &Arc<dyn Resolve>) -> Result<Url> {
    let found = address(url.resolve(resolver.as_ref())?.expose_secret())?;
    if found.scheme() == "http" && !url.as_written().starts_with("http://") {
        return Err(Error::config("the address is one without encryption, which the pipeline does not say")
            .hint("use an address with https, or write `http://` into the pipeline, in front of the reference"));
    }
    Ok(found)
}

fn headers_of(given: Option<&Entries<Spanned<Template>>>, resolver: &Arc<dyn Resolve>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in given.iter().flat_map(|headers| &headers.0) {
        let refused = || Error::config(format!("the header `{}` cannot be sent as it is", name.value));
        let header = HeaderName::from_bytes(name.value.as_bytes()).map_err(|_| refused())?;
        let mut value =
            HeaderValue::from_str(value.resolve(resolver.as_ref())?.expose_secret()).map_err(|_| refused())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    struct Fixed;

    impl Resolve for Fixed {
        fn env(&self, name: &str) -> Option<SecretString> {
            match name {
                "PLAIN" => Some(SecretString::from("http://127.0.0.1/s3cr3t")),
                "SAFE" => Some(SecretString::from("https://example.com/s3cr3t")),
                "TOKEN" => Some(SecretString::from("s3cr3t")),
                "BROKEN" => Some(SecretString::from("s3cr3t\nX: y")),
                _ => None,
            }
        }

        fn file(&self, _: &str) -> std::io::Result<SecretString> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    fn template(text: &str) -> Spanned<Template> {
        Spanned::nowhere(Template::parse(text).unwrap())
    }

    #[test]
    fn without_encryption_it_goes_only_where_the_pipeline_says_so() {
        let resolver: Arc<dyn Resolve> = Arc::new(Fixed);
        let host = |text: &str| resolved(&template(text), &resolver).map(|url| place(&url));
        assert_eq!(host("${env:SAFE}").unwrap(), "example.com");
        assert_eq!(host("http://localhost:1/${env:TOKEN}").unwrap(), "localhost:1");
        for bad in ["${env:PLAIN}", "${env:GONE}", "${env:TOKEN}"] {
            let error = host(bad).unwrap_err();
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_named_without_its_value() {
        let resolver: Arc<dyn Resolve> = Arc::new(Fixed);
        let given = |text: &str| Entries(vec![(Spanned::nowhere("Authorization".to_string()), template(text))]);
        let headers = headers_of(Some(&given("Bearer ${env:TOKEN}")), &resolver).unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer s3cr3t");
        assert!(!format!("{headers:?}").contains("s3cr3t"));
        let error = headers_of(Some(&given("${env:BROKEN}")), &resolver).unwrap_err();
        assert!(error.message().contains("Authorization") && !format!("{error:?}").contains("s3cr3t"));
    }
}
