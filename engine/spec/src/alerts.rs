//! Who is told how a run ended: what may stand under `alerts`, and what makes no sense there.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transload_core::decode::{Entries, closest};
use transload_core::tree::Spanned;
use transload_core::{Problem, Span, Template};

use crate::file::Settings;
use crate::resolve::{TableSpec, fits};

/// Longest time for one try, in seconds.
const LONGEST_SECS: u32 = 300;
/// Most tries.
const MOST_TRIES: u32 = 10;
/// Longest name or value of a label, in bytes.
const LABEL_BYTES: usize = 100;
/// What is found in the names of headers and parameters that hold secrets.
const SECRET_WORDS: [&str; 10] =
    ["auth", "cookie", "credential", "key", "passwd", "password", "secret", "session", "signature", "token"];
/// Hosts of which an address is a secret by itself.
const SECRET_HOSTS: [&str; 5] =
    ["hooks.slack.com", "discord.com", "discordapp.com", "webhook.office.com", "chat.googleapis.com"];
/// Headers that follow from the message itself.
const OWN_HEADERS: [&str; 5] = ["connection", "content-length", "content-type", "host", "transfer-encoding"];

/// Somebody who is told how a run ended, if there is a reason to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The way it goes.
    pub to: Spanned<Channel>,
    /// The reasons to send it. Default: error, mismatch and failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Spanned<Vec<Spanned<Reason>>>>,
    /// Only about tables with these names in the target; `*` stands for any characters. Default: all tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Spanned<Vec<Spanned<String>>>>,
    /// Only about tables with all of these labels. Default: all tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Entries<Spanned<String>>>,
    /// Time for one try, in seconds. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<Spanned<u32>>,
    /// How often it is tried, if it fails for a reason that may pass. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<Spanned<u32>>,
}

/// The way of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Channel {
    /// JSON is sent to an address.
    Webhook(Webhook),
    /// A message is posted by an incoming webhook of Slack, or of a program that understands the same.
    Slack(Slack),
    /// A program is started, which reads the JSON from its standard input.
    Command(Command),
}

/// An address that takes JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address, with `https://` or `http://`. What is secret of it is a reference: `${env:NAME}`.
    pub url: Spanned<Template>,
    /// Headers to send along. Those that hold secrets are references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Entries<Spanned<Template>>>,
}

/// An incoming webhook of Slack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// The address, which is a secret: a reference, such as `${env:SLACK_URL}`.
    pub url: Spanned<Template>,
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments, as they are: no shell reads them.
    pub argv: Spanned<Vec<Spanned<String>>>,
    /// Names of environment variables that it gets, beside PATH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Spanned<Vec<Spanned<String>>>>,
}

/// A reason to send an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A check of this severity failed.
    Error,
    /// A check of this severity failed.
    Warn,
    /// A check of this severity failed.
    Info,
    /// Source and target differ.
    Mismatch,
    /// Nothing, or not enough, was compared.
    NotCompared,
    /// A table could not be loaded or compared, whatever the reason.
    Failed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Mismatch => "mismatch",
            Self::NotCompared => "not_compared",
            Self::Failed => "failed",
        })
    }
}

impl Channel {
    /// The word for it: `webhook`, `slack` or `command`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Command(_) => "command",
        }
    }
}

impl Alert {
    /// The reasons to send it.
    pub fn reasons(&self) -> Vec<Reason> {
        match &self.on {
            Some(on) => on.value.iter().map(|reason| reason.value).collect(),
            None => vec![Reason::Error, Reason::Mismatch, Reason::Failed],
        }
    }

    /// Whether it is about a table with this name in the target and these labels.
    pub fn is_about<'l>(&self, table: &str, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        let named = self.tables.as_ref().is_none_or(|t| t.value.iter().any(|pattern| fits(&pattern.value, table)));
        let wanted = self.labels.iter().flat_map(|labels| &labels.0);
        named && wanted.into_iter().all(|(name, value)| label(&name.value) == Some(value.value.as_str()))
    }

    /// Time for one try, in seconds.
    pub fn timeout_secs(&self) -> u32 {
        self.timeout_secs.as_ref().map_or(10, |secs| secs.value)
    }

    /// How often it is tried.
    pub fn tries(&self) -> u32 {
        self.tries.as_ref().map_or(3, |tries| tries.value)
    }
}

/// What is wrong with the labels of a table.
pub(crate) fn check_labels(settings: &Settings, problems: &mut Vec<Problem>) {
    for (name, value) in settings.labels.iter().flat_map(|labels| &labels.0) {
        for text in [name, value] {
            if text.trim().is_empty() || text.len() > LABEL_BYTES || text.chars().any(char::is_control) {
                let message = format!("the names and values of labels have 1 to {LABEL_BYTES} bytes on one line");
                problems.push(Problem::new(text.span, message).hint("such as `labels: { domain: sales }`"));
            }
        }
    }
}

/// What is wrong with alerts, and where they hold secrets as they are. `tables` are all tables, if they are known;
/// `layers` are settings that only other environments put below them.
pub(crate) fn check<'a>(
    alerts: impl Iterator<Item = &'a Alert>,
    tables: Option<&[TableSpec]>,
    layers: &[&Settings],
    problems: &mut Vec<Problem>,
) -> Vec<Span> {
    let mut secrets = Vec::new();
    let settings = tables.into_iter().flatten().map(|t| &t.settings).chain(layers.iter().copied());
    let labels: BTreeSet<(&str, &str)> = settings
        .flat_map(|settings| settings.labels.iter().flat_map(|labels| &labels.0))
        .map(|(name, value)| (name.value.as_str(), value.value.as_str()))
        .collect();
    for alert in alerts {
        let mut checked = Checked { alert, problems: &mut *problems, secrets: &mut secrets };
        checked.reasons();
        checked.tables(tables);
        if tables.is_some() {
            checked.labels(&labels);
        }
        checked.numbers();
        match &alert.to.value {
            Channel::Webhook(webhook) => checked.webhook(webhook),
            Channel::Slack(slack) => checked.slack(slack),
            Channel::Command(command) => checked.command(command),
        }
    }
    secrets
}

struct Checked<'a> {
    alert: &'a Alert,
    problems: &'a mut Vec<Problem>,
    secrets: &'a mut Vec<Span>,
}

impl Checked<'_> {
    fn say(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(span, message).hint(hint));
    }

    fn reasons(&mut self) {
        let Some(on) = &self.alert.on else { return };
        // What could not be read was said already.
        if on.value.is_empty() && self.problems.is_empty() {
            self.say(on.span, "an alert without a reason is never sent", "remove `on`, or name reasons");
        }
        let mut seen = BTreeSet::new();
        for reason in &on.value {
            if !seen.insert(reason.value) {
                self.say(reason.span, format!("`{}` stands here twice", reason.value), "keep one of them");
            }
        }
    }

    fn tables(&mut self, tables: Option<&[TableSpec]>) {
        let Some(patterns) = &self.alert.tables else { return };
        if patterns.value.is_empty() && self.problems.is_empty() {
            self.say(patterns.span, "an alert about no table is never sent", "remove `tables`, or name tables");
        }
        let Some(tables) = tables else { return };
        // What a `*` stands for is known when the source was asked.
        if tables.iter().any(TableSpec::is_wildcard) {
            return;
        }
        let names: Vec<&str> = tables.iter().map(|t| t.to.value.as_str()).collect();
        for pattern in patterns.value.iter().filter(|p| !names.iter().any(|name| fits(&p.value, name))) {
            let hint = closest(&pattern.value, &names).unwrap_or_else(|| "these are names in the target".to_string());
            self.say(pattern.span, format!("no table fits `{}`", pattern.value), hint);
        }
    }

    fn labels(&mut self, known: &BTreeSet<(&str, &str)>) {
        let Some(labels) = &self.alert.labels else { return };
        for (name, value) in &labels.0 {
            let (name_text, text) = (name.value.as_str(), value.value.as_str());
            if known.contains(&(name_text, text)) {
                continue;
            }
            let written = format!("{name_text}: {text}");
            let all: Vec<String> = known.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            let hint = closest(&written, &all).unwrap_or_else(|| match all.is_empty() {
                true => format!("give one or more tables `labels: {{ {written} }}`"),
                false => format!("there are {}", all.join(", ")),
            });
            self.say(value.span, format!("no table has the label `{written}`"), hint);
        }
    }

    fn numbers(&mut self) {
        let alert = self.alert;
        let limits = [(&alert.timeout_secs, "timeout_secs", LONGEST_SECS), (&alert.tries, "tries", MOST_TRIES)];
        for (given, name, most) in limits {
            if let Some(number) = given.as_ref().filter(|n| n.value == 0 || n.value > most) {
                self.say(number.span, format!("`{name}` is from 1 to {most}"), "choose a number between them");
            }
        }
    }

    fn webhook(&mut self, webhook: &Webhook) {
        self.address(&webhook.url);
        if let Some(literal) = webhook.url.literal() {
            let (address, parameters) = literal.split_once('?').unwrap_or((literal, ""));
            let host = host(address).unwrap_or_default();
            let is_secret = SECRET_HOSTS.iter().any(|h| host == *h || host.ends_with(&format!(".{h}")))
                || parameters.split('&').any(|p| is_secret(p.split('=').next().unwrap_or_default()));
            if is_secret {
                self.secret(webhook.url.span, "the address");
            }
        }
        let mut seen = BTreeSet::new();
        for (name, value) in webhook.headers.iter().flat_map(|h| &h.0) {
            let lower = name.value.to_ascii_lowercase();
            if !is_header(&name.value) {
                self.say(name.span, "a header cannot have this name", "use letters, digits and `-`");
            } else if OWN_HEADERS.contains(&lower.as_str()) {
                let message = format!("`{}` follows from the message and cannot be chosen", name.value);
                self.say(name.span, message, "remove it");
            } else if !seen.insert(lower.clone()) {
                self.say(name.span, format!("the header `{}` stands here twice", name.value), "keep one of them");
            }
            match value.literal() {
                Some(_) if is_secret(&lower) => {
                    self.secret(value.span, &format!("the header `{}`", name.value));
                }
                Some(text) if text.chars().any(|c| c.is_control() || !c.is_ascii()) => {
                    self.say(value.span, "a header is ASCII text on one line", "leave other characters out");
                }
                _ => {}
            }
        }
    }

    fn slack(&mut self, slack: &Slack) {
        self.address(&slack.url);
        if slack.url.literal().is_some() {
            self.secret(slack.url.span, "the address of a Slack webhook");
        }
    }

    fn secret(&mut self, span: Span, what: &str) {
        let hint = "put it into a variable and refer to it, as in `${env:NAME}`; only the reference is kept";
        self.say(span, format!("{what} is a secret, and it stands here as it is"), hint);
        self.secrets.push(span);
    }

    /// An address that is wholly a reference is looked at when it is used.
    fn address(&mut self, url: &Spanned<Template>) {
        let written = url.as_written();
        match host(written) {
            None if written.starts_with("${") => {}
            None => self.say(url.span, "an address begins with `https://` or `http://`", "write it in front"),
            Some("") => self.say(url.span, "the address has no host", "such as `https://hooks.example.com/…`"),
            Some(host) if host.contains('@') => {
                let hint = "send it as a header, such as `Authorization: \"Basic ${env:NAME}\"`";
                self.say(url.span, "an address holds no name and no password", hint);
                self.secrets.push(url.span);
            }
            Some(_) => {}
        }
    }

    fn command(&mut self, command: &Command) {
        match command.argv.value.first() {
            None if !self.problems.is_empty() => {}
            None => self.say(command.argv.span, "the command is empty", "such as `argv: [./page.sh, oncall]`"),
            Some(program) if program.trim().is_empty() => {
                self.say(program.span, "the program has no name", "write the name, or the path, of a program");
            }
            Some(_) => {}
        }
        for argument in &command.argv.value {
            if argument.contains("${") {
                let hint = "name the variable under `env`, and let the program read it";
                self.say(argument.span, "arguments hold no references: every user of the machine can read them", hint);
            } else if argument.contains('\0') {
                self.say(argument.span, "an argument cannot hold the character NUL", "leave it out");
            }
        }
        let mut seen = BTreeSet::new();
        for name in command.env.iter().flat_map(|env| &env.value) {
            if name.is_empty() || name.contains(['=', '\0']) {
                let hint = "write only the name: the value is that of transload's own environment";
                self.say(name.span, format!("`{}` is not the name of a variable", name.value), hint);
            } else if !seen.insert(name.value.as_str()) {
                self.say(name.span, format!("`{}` stands here twice", name.value), "keep one of them");
            }
        }
    }
}

/// The host, and the port if there is one, of an address with a scheme; with what stands before an `@`.
fn host(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
    Some(rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// Whether a header or a parameter of this name is likely to hold a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether a header can have this name: a token of RFC 9110, 5.6.2.
fn is_header(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loaded, Outside, Overrides, Spec, load};

    fn load_with(alerts: &str) -> Result<Spec, Vec<String>> {
        let text = format!(
            "version: 1\npipeline: p\nsource: {{ tpch: {{}} }}\ntarget: {{ lake: {{ url: out }} }}\n\
             defaults: {{ labels: {{ domain: sales }} }}\nalerts: {alerts}\n\
             tables: [ {{ from: orders }}, {{ from: parts, labels: {{ tier: gold }} }} ]\n"
        );
        let outside = Outside { read: &|_| Err(std::io::ErrorKind::NotFound.into()), check: &|_| Vec::new() };
        load("p.yaml", &text, &Overrides::default(), outside)
            .and_then(Loaded::complete)
            .map_err(|problems| problems.list.into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn an_alert_is_about_the_tables_that_it_names() {
        let spec = load_with(
            "[ { to: { command: { argv: [a] } } }, \
             { to: { slack: { url: \"${env:S}\" } }, on: [warn], tables: [\"ord*\"], labels: { domain: sales } } ]",
        )
        .unwrap();
        let [all, some] = spec.alerts.as_slice() else { panic!("{:?}", spec.alerts) };
        assert_eq!(all.reasons(), [Reason::Error, Reason::Mismatch, Reason::Failed]);
        assert_eq!((all.timeout_secs(), all.tries(), all.to.kind()), (10, 3, "command"));
        assert_eq!(some.reasons(), [Reason::Warn]);
        let sales = |name: &str| (name == "domain").then_some("sales");
        assert!(all.is_about("anything", |_| None));
        assert!(some.is_about("orders", sales));
        assert!(!some.is_about("parts", sales) && !some.is_about("orders", |_| None));
        let text = serde_json::to_string(&spec.alerts).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Alert>>(&text).unwrap(), spec.alerts);
    }

    #[test]
    fn labels_of_a_table_join_those_of_the_defaults() {
        let spec = load_with("[]").unwrap();
        let labels = |at: usize| spec.tables[at].settings.labels.as_ref().unwrap().0.len();
        assert_eq!((labels(0), labels(1)), (1, 2));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (alert, said) in [
            ("to: { pager: {} }", "`pager` is not one of `webhook`, `slack`, `command`"),
            ("to: { webhook: { url: example.com } }", "an address begins with `https://` or `http://`"),
            ("to: { webhook: { url: \"https:///x\" } }", "the address has no host"),
            ("to: { webhook: { url: \"https://a:b@example.com\" } }", "an address holds no name and no password"),
            ("to: { webhook: { url: \"https://hooks.slack.com/services/T/B/x\" } }", "the address is a secret"),
            ("to: { webhook: { url: \"https://example.com/?a=1&api_key=2\" } }", "the address is a secret"),
            ("to: { slack: { url: \"https://hooks.slack.com/services/T/B/x\" } }", "the address of a Slack webhook"),
            (
                "to: { webhook: { url: \"https://example.com\", headers: { Authorization: abc } } }",
                "the header `Authorization` is a secret",
            ),
            ("to: { webhook: { url: \"https://e.com\", headers: { \"a b\": c } } }", "a header cannot have this name"),
            ("to: { webhook: { url: \"https://e.com\", headers: { Host: c } } }", "`Host` follows from the message"),
            (
                "to: { webhook: { url: \"https://e.com\", headers: { a: c, A: c } } }",
                "the header `A` stands here twice",
            ),
            ("to: { command: { argv: [] } }", "the command is empty"),
            ("to: { command: { argv: [a, \"${env:B}\"] } }", "arguments hold no references"),
            ("to: { command: { argv: [a], env: [\"B=c\"] } }", "`B=c` is not the name of a variable"),
            ("to: { command: { argv: [a] } }, on: [critical]", "`critical` is not one of"),
            ("to: { command: { argv: [a] } }, on: []", "an alert without a reason"),
            ("to: { command: { argv: [a] } }, on: [warn, warn]", "`warn` stands here twice"),
            ("to: { command: { argv: [a] } }, tables: [customer]", "no table fits `customer`"),
            ("to: { command: { argv: [a] } }, labels: { domain: sale }", "no table has the label `domain: sale`"),
            ("to: { command: { argv: [a] } }, tries: 0", "`tries` is from 1 to 10"),
            ("to: { command: { argv: [a] } }, timeout_secs: 301", "`timeout_secs` is from 1 to 300"),
            ("on: [warn]", "`to` is missing"),
        ] {
            let found = load_with(&format!("[ {{ {alert} }} ]")).unwrap_err();
            assert!(found.len() == 1 && found[0].starts_with(said), "{alert}: {found:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_with_its_place() {
        let text = "version: 1\npipeline: p\nsource: { tpch: {} }\ntarget: { lake: { url: out } }\n\
                    alerts: [ { to: { slack: { url: \"https://hooks.slack.com/services/c4n4ry\" } }, on: [] } ]\n\
                    tables: [ { from: orders } ]\n";
        let outside = Outside { read: &|_| Err(std::io::ErrorKind::NotFound.into()), check: &|_| Vec::new() };
        let loaded = load("p.yaml", text, &Overrides::default(), outside);
        let problems = loaded.and_then(Loaded::complete).unwrap_err();
        let shown = problems.render(false);
        assert_eq!(problems.list.len(), 2);
        assert!(shown.contains("p.yaml:5:") && shown.contains("****") && !shown.contains("c4n4ry"), "{shown}");
    }

    #[test]
    fn what_holds_its_secrets_as_references_is_fine() {
        for alert in [
            "to: { webhook: { url: \"${env:URL}\" } }",
            "to: { webhook: { url: \"http://127.0.0.1:8080/a?b=c\", headers: { Title: x } } }",
            "to: { webhook: { url: \"https://e.com/${env:T}?key=${env:K}\", headers: { Authorization: \"Bearer ${env:A}\" } } }",
            "to: { slack: { url: \"https://hooks.slack.com/services/${env:S}\" } }",
            "to: { command: { argv: [./page.sh, oncall], env: [PAGER_KEY] } }, labels: { tier: gold }, tables: [\"*\"]",
        ] {
            assert_eq!(load_with(&format!("[ {{ {alert} }} ]")).err(), None, "{alert}");
        }
    }
}
