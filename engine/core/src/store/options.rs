//! How a store is reached, as a connection says it. Pure.
//!
//! A connector takes the four structs into its options, each under the name of its field here, puts them together as
//! [`StoreOptions`] and lets it check them; `written.rs` knows what `object_store` calls them. What a connection does not say
//! comes from the environment: `vendor.rs` knows the names there.

mod written;

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::location::{Kind, Vendor, check_location};
use crate::secret::Template;
use crate::tree::{Problem, Span, Spanned};

pub(super) use self::written::{PATH_STYLE, Value, Written};

/// How the store behind a url is reached, as far as a connection says so.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// For `s3://` urls.
    pub s3: Option<Spanned<S3Options>>,
    /// For `az://` urls.
    pub azure: Option<Spanned<AzureOptions>>,
    /// For `gs://` urls.
    pub gcs: Option<Spanned<GcsOptions>>,
    /// For `http://` and `https://` urls.
    pub http: Option<Spanned<HttpOptions>>,
}

/// How buckets of Amazon S3, and of servers that speak as it does, are reached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Options {
    /// Address of the server, such as https://host:9000. Default: Amazon's for the region.
    #[serde(default)]
    endpoint: Option<Spanned<Template>>,
    /// Region of the bucket. Default: us-east-1.
    #[serde(default)]
    region: Option<Spanned<Template>>,
    /// Whether the bucket is named in the path of a request and not in the host's name. Default: true.
    #[serde(default)]
    path_style: Option<Spanned<bool>>,
    /// The access key; with `secret_access_key`.
    #[serde(default)]
    access_key_id: Option<Spanned<Template>>,
    /// The secret of the access key: a reference, such as ${env:LAKE_SECRET}.
    #[serde(default)]
    secret_access_key: Option<Spanned<Secret>>,
    /// The token of a session: a reference.
    #[serde(default)]
    session_token: Option<Spanned<Secret>>,
    /// The role that is taken on with a web identity.
    #[serde(default)]
    role_arn: Option<Spanned<Template>>,
    /// The file with the token of the web identity.
    #[serde(default)]
    web_identity_token_file: Option<Spanned<Template>>,
    /// How the server encrypts what is written: AES256, aws:kms or aws:kms:dsse. Default: as the bucket says.
    #[serde(default)]
    server_side_encryption: Option<Spanned<Template>>,
    /// The key with which it does.
    #[serde(default)]
    kms_key_id: Option<Spanned<Template>>,
    /// Whether requests carry no credentials, for buckets that everybody may read. Default: false.
    #[serde(default)]
    anonymous: Option<Spanned<bool>>,
    /// Whether the server may be one without TLS. Default: false.
    #[serde(default)]
    allow_http: Option<Spanned<bool>>,
    /// The longest that one request may take, in seconds. Default: 120.
    #[serde(default)]
    timeout_secs: Option<Spanned<u64>>,
    /// How long passing errors of the server are waited out, in seconds. Default: 90.
    #[serde(default)]
    retry_secs: Option<Spanned<u64>>,
}

/// How containers of Azure Blob Storage are reached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureOptions {
    /// The storage account.
    #[serde(default)]
    account: Option<Spanned<Template>>,
    /// Address of the account, such as https://host/account. Default: Azure's for the account.
    #[serde(default)]
    endpoint: Option<Spanned<Template>>,
    /// An access key of the account: a reference, such as ${env:LAKE_KEY}.
    #[serde(default)]
    access_key: Option<Spanned<Secret>>,
    /// A shared access signature: a reference.
    #[serde(default)]
    sas_token: Option<Spanned<Secret>>,
    /// The tenant of an application or a workload.
    #[serde(default)]
    tenant_id: Option<Spanned<Template>>,
    /// The application, workload or managed identity.
    #[serde(default)]
    client_id: Option<Spanned<Template>>,
    /// The secret of the application: a reference.
    #[serde(default)]
    client_secret: Option<Spanned<Secret>>,
    /// The file with the token of the workload.
    #[serde(default)]
    federated_token_file: Option<Spanned<Template>>,
    /// Whether requests carry no credentials. Default: false.
    #[serde(default)]
    anonymous: Option<Spanned<bool>>,
    /// Whether the server may be one without TLS. Default: false.
    #[serde(default)]
    allow_http: Option<Spanned<bool>>,
    /// The longest that one request may take, in seconds. Default: 120.
    #[serde(default)]
    timeout_secs: Option<Spanned<u64>>,
    /// How long passing errors of the server are waited out, in seconds. Default: 90.
    #[serde(default)]
    retry_secs: Option<Spanned<u64>>,
}

/// How buckets of Google Cloud Storage are reached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GcsOptions {
    /// The file with the key of a service account.
    #[serde(default)]
    service_account_file: Option<Spanned<Template>>,
    /// The key of a service account, as JSON: a reference.
    #[serde(default)]
    service_account_key: Option<Spanned<Secret>>,
    /// Address of the server. Default: Google's.
    #[serde(default)]
    endpoint: Option<Spanned<Template>>,
    /// Whether requests carry no credentials, for buckets that everybody may read. Default: false.
    #[serde(default)]
    anonymous: Option<Spanned<bool>>,
    /// Whether the server may be one without TLS. Default: false.
    #[serde(default)]
    allow_http: Option<Spanned<bool>>,
    /// The longest that one request may take, in seconds. Default: 120.
    #[serde(default)]
    timeout_secs: Option<Spanned<u64>>,
    /// How long passing errors of the server are waited out, in seconds. Default: 90.
    #[serde(default)]
    retry_secs: Option<Spanned<u64>>,
}

/// How web servers are reached, which are only read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpOptions {
    /// Whether the server may be one without TLS: an http:// url needs it. Default: false.
    #[serde(default)]
    allow_http: Option<Spanned<bool>>,
    /// The longest that one request may take, in seconds. Default: 120.
    #[serde(default)]
    timeout_secs: Option<Spanned<u64>>,
    /// How long passing errors of the server are waited out, in seconds. Default: 90.
    #[serde(default)]
    retry_secs: Option<Spanned<u64>>,
}

/// A setting that is a secret: it may refer to one, and must not hold it.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct Secret(Template);

/// How much patience a store needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// The longest one request may take, with its body. What is sent or read at a time is a few megabytes.
    pub(super) request_secs: u64,
    /// How long passing errors of a server are waited out. What fails then is a passing error of ours, which a run tries
    /// again and a scheduler may.
    pub(super) retry_secs: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request_secs: 120, retry_secs: 90 }
    }
}

impl S3Options {
    fn check(&self, problems: &mut Vec<Problem>) {
        let written = self.written();
        together(&written, &["access_key_id", "secret_access_key"], problems);
        needs(&written, "session_token", "access_key_id", problems);
        needs(&written, "kms_key_id", "server_side_encryption", problems);
        check_bucket(&written, &["access_key_id", "role_arn", "anonymous"], &self.timeout_secs, problems);
    }

    pub(super) fn patience(&self) -> Patience {
        patience(&self.timeout_secs, &self.retry_secs)
    }

    /// Whether the bucket is named by the host.
    pub(super) fn is_virtual_hosted(&self) -> bool {
        self.path_style.as_ref().is_some_and(|in_path| !in_path.value)
    }
}

impl AzureOptions {
    fn check(&self, problems: &mut Vec<Problem>) {
        let ways_in = ["access_key", "sas_token", "client_secret", "federated_token_file", "anonymous"];
        check_bucket(&self.written(), &ways_in, &self.timeout_secs, problems);
    }

    pub(super) fn patience(&self) -> Patience {
        patience(&self.timeout_secs, &self.retry_secs)
    }
}

impl GcsOptions {
    fn check(&self, problems: &mut Vec<Problem>) {
        let ways_in = ["service_account_file", "service_account_key", "anonymous"];
        check_bucket(&self.written(), &ways_in, &self.timeout_secs, problems);
    }

    pub(super) fn patience(&self) -> Patience {
        patience(&self.timeout_secs, &self.retry_secs)
    }
}

impl HttpOptions {
    pub(super) fn patience(&self) -> Patience {
        patience(&self.timeout_secs, &self.retry_secs)
    }

    pub(super) fn allows_http(&self) -> bool {
        self.allow_http.as_ref().is_some_and(|allowed| allowed.value)
    }
}

impl StoreOptions {
    /// Checks the url of a store and what is said about how it is reached. Pure.
    pub fn check(&self, url: &Spanned<Template>, problems: &mut Vec<Problem>) {
        if let Some(text) = url.literal() {
            if let Err(error) = check_location(text) {
                let hint = error.hint_text().map(str::to_string);
                // Keys and signatures stand behind these characters.
                let is_secret = text.contains(['@', '?']);
                problems.push(Problem { hint, is_secret, ..Problem::new(url.span, error.message()) });
            } else if text.starts_with(['~', '$']) {
                let message = "a shell would replace this, and nothing does here";
                problems.push(Problem::new(url.span, message).hint("write the path out, or use ${env:HOME}"));
            }
        }
        let kind = match url.is_placeholder() {
            true => None,
            false => Kind::begun(url.beginning(), url.literal().is_some()),
        };
        for (name, span, theirs) in self.given() {
            if let Some(reason) = kind.and_then(|kind| misplaced(name, theirs, kind)) {
                problems.push(Problem::new(span, reason).hint("remove it, or change the url"));
            }
        }
        if let Some(s3) = &self.s3 {
            s3.check(problems);
        }
        if let Some(azure) = &self.azure {
            azure.check(problems);
        }
        if let Some(gcs) = &self.gcs {
            gcs.check(problems);
        }
        let allows_http = self.http.as_ref().is_some_and(|http| http.allows_http());
        if url.beginning().to_ascii_lowercase().starts_with("http://") && !allows_http {
            let message = "the url names a server without TLS: it begins with http://";
            problems.push(Problem::new(url.span, message).hint("if that is meant, add `http: { allow_http: true }`"));
        }
        if let Some(http) = &self.http {
            check_seconds(&http.timeout_secs, problems);
        }
    }

    /// What is given that does nothing for a url of this kind.
    pub(super) fn misplaced(&self, kind: Kind) -> Option<String> {
        self.given().into_iter().find_map(|(name, _, theirs)| misplaced(name, theirs, kind))
    }

    /// The options that are there, each with its name, its place and the urls it is for.
    fn given(&self) -> Vec<(&'static str, Span, Kind)> {
        let s3 = self.s3.as_ref().map(|s3| ("s3", s3.span, Kind::Bucket(Vendor::S3)));
        let azure = self.azure.as_ref().map(|azure| ("azure", azure.span, Kind::Bucket(Vendor::Azure)));
        let gcs = self.gcs.as_ref().map(|gcs| ("gcs", gcs.span, Kind::Bucket(Vendor::Google)));
        let http = self.http.as_ref().map(|http| ("http", http.span, Kind::Web));
        [s3, azure, gcs, http].into_iter().flatten().collect()
    }
}

/// What is wrong with options for one kind of url beside a url of another kind.
fn misplaced(name: &str, theirs: Kind, kind: Kind) -> Option<String> {
    let scheme = match theirs {
        Kind::Bucket(Vendor::S3) => "s3://",
        Kind::Bucket(Vendor::Azure) => "az://",
        Kind::Bucket(Vendor::Google) => "gs://",
        Kind::Web => "http:// or https://",
        Kind::Folder => "file://",
    };
    (theirs != kind).then(|| format!("`{name}` does nothing: the url does not begin with {scheme}"))
}

fn find<'w, 'a>(written: &'w [Written<'a>], name: &str) -> Option<&'w Written<'a>> {
    let says_something = |w: &&Written<'_>| !matches!(w.value, Value::Flag(false));
    written.iter().filter(says_something).find(|w| w.name == name)
}

/// What is wrong with the settings of any kind of bucket, of which some are ways to be let in.
fn check_bucket(
    written: &[Written<'_>],
    ways_in: &[&'static str],
    timeout: &Option<Spanned<u64>>,
    problems: &mut Vec<Problem>,
) {
    not_both(written, ways_in, problems);
    check_written(written, problems);
    check_seconds(timeout, problems);
}

/// What is wrong with single settings.
fn check_written(written: &[Written<'_>], problems: &mut Vec<Problem>) {
    let allows_http = find(written, "allow_http").is_some();
    for Written { name, value, span, is_secret, .. } in written {
        let Value::Text(template) = value else { continue };
        if *is_secret && !template.is_reference() {
            problems.push(Problem::written_secret(*span, &format!("`{name}`")));
        }
        let Some(text) = template.literal().filter(|_| !is_secret) else { continue };
        let problem = match *name {
            _ if text.trim().is_empty() => Problem::new(*span, format!("`{name}` is empty")).hint("remove it"),
            "endpoint" if text.starts_with("http://") && !allows_http => {
                Problem::new(*span, "`endpoint` names a server without TLS: it begins with http://")
                    .hint("if that is meant, add `allow_http: true`")
            }
            "endpoint" if !text.starts_with("http://") && !text.starts_with("https://") => {
                Problem::new(*span, "`endpoint` must begin with https:// or http://")
            }
            _ => continue,
        };
        problems.push(problem);
    }
}

/// Of these settings all or none must be written.
fn together(written: &[Written<'_>], names: &[&'static str], problems: &mut Vec<Problem>) {
    let Some(one) = names.iter().find_map(|name| find(written, name)) else { return };
    for missing in names.iter().filter(|name| find(written, name).is_none()) {
        let message = format!("`{}` does nothing without `{missing}`", one.name);
        problems.push(Problem::new(one.span, message).hint(format!("add `{missing}`")));
    }
}

fn needs(written: &[Written<'_>], name: &str, other: &str, problems: &mut Vec<Problem>) {
    if let (Some(setting), None) = (find(written, name), find(written, other)) {
        let message = format!("`{name}` does nothing without `{other}`");
        problems.push(Problem::new(setting.span, message).hint(format!("add `{other}`")));
    }
}

/// Of these settings, each a way to be let in, one at most must be written.
fn not_both(written: &[Written<'_>], names: &[&'static str], problems: &mut Vec<Problem>) {
    let mut given = names.iter().filter_map(|name| find(written, name));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let message = format!("`{}` and `{}` are two sets of credentials", first.name, second.name);
        problems.push(Problem::new(second.span, message).hint("remove one of them"));
    }
}

fn check_seconds(timeout: &Option<Spanned<u64>>, problems: &mut Vec<Problem>) {
    if let Some(zero) = timeout.as_ref().filter(|timeout| timeout.value == 0) {
        problems.push(Problem::new(zero.span, "`timeout_secs` must be at least 1"));
    }
}

fn patience(timeout: &Option<Spanned<u64>>, retry: &Option<Spanned<u64>>) -> Patience {
    let default = Patience::default();
    Patience {
        request_secs: timeout.as_ref().map_or(default.request_secs, |t| t.value),
        retry_secs: retry.as_ref().map_or(default.retry_secs, |r| r.value),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_reference() {
            true => self.0.fmt(f),
            false => f.write_str("***"),
        }
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    /// References, one behind the other, and nothing else.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^(\$\{(env|file):[^}]+\})+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::tree::Node;

    /// What is wrong with options beside a url, each problem with its hint.
    fn said(url: &str, s3: Option<&str>, azure: Option<&str>, gcs: Option<&str>, http: Option<&str>) -> Vec<String> {
        fn read<T: serde::de::DeserializeOwned>(json: Option<&str>) -> Option<Spanned<T>> {
            let node: Node = serde_json::from_str(json?).unwrap();
            let mut problems = Vec::new();
            let options = decode(&node, &mut problems).unwrap();
            assert_eq!(problems, []);
            Some(Spanned::nowhere(options))
        }
        let options = StoreOptions { s3: read(s3), azure: read(azure), gcs: read(gcs), http: read(http) };
        let mut problems = Vec::new();
        options.check(&Spanned::nowhere(Template::parse(url).unwrap()), &mut problems);
        problems.into_iter().map(|p| format!("{}|{}", p.message, p.hint.unwrap_or_default())).collect()
    }

    #[test]
    fn options_that_make_sense_are_taken() {
        let keys = r#"{"endpoint":"https://h:9000","region":"eu-west-1","path_style":false,"access_key_id":"id",
                       "secret_access_key":"${env:A}","session_token":"${file:/run/t}"}"#;
        for (url, s3) in [
            ("s3://lake", keys),
            ("s3://lake", r#"{"endpoint":"http://h:9000","allow_http":true}"#),
            ("s3://lake", r#"{"endpoint":"${env:E}","anonymous":true,"timeout_secs":1,"retry_secs":0}"#),
            ("${env:LAKE}/x", r#"{"role_arn":"arn:aws:iam::1:role/r","anonymous":false}"#),
        ] {
            assert_eq!(said(url, Some(s3), None, None, None), [""; 0], "{s3}");
        }
        let azure = r#"{"account":"me","access_key":"${env:A}"}"#;
        assert_eq!(said("az://box", None, Some(azure), None, None), [""; 0]);
        let gcs = r#"{"service_account_file":"/run/key.json"}"#;
        assert_eq!(said("gs://lake", None, None, Some(gcs), None), [""; 0]);
        assert_eq!(said("http://h/x", None, None, None, Some(r#"{"allow_http":true}"#)), [""; 0]);
        assert_eq!(said("https://h/x", None, None, None, None), [""; 0]);
    }

    #[test]
    fn a_secret_that_stands_in_the_file_is_refused_and_not_shown() {
        let json = r#"{"access_key_id":"id","secret_access_key":"s3cr3t"}"#;
        let node: Node = serde_json::from_str(json).unwrap();
        let s3: S3Options = decode(&node, &mut Vec::new()).unwrap();
        assert!(!format!("{s3:?}").contains("s3cr3t"));
        let options = StoreOptions { s3: Some(Spanned::nowhere(s3)), ..StoreOptions::default() };
        let mut problems = Vec::new();
        options.check(&Spanned::nowhere(Template::parse("s3://lake").unwrap()), &mut problems);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].is_secret && problems[0].message.contains("`secret_access_key` is a secret"));
        let partly = r#"{"access_key_id":"id","secret_access_key":"x${env:A}"}"#;
        assert_eq!(said("s3://lake", Some(partly), None, None, None).len(), 1);
    }

    #[test]
    fn options_that_do_nothing_or_contradict_each_other_are_refused() {
        for (url, s3, reason) in [
            ("az://box", "{}", "`s3` does nothing: the url does not begin with s3://|remove it, or change the url"),
            ("./lake", "{}", "`s3` does nothing: the url does not begin with s3://|remove it, or change the url"),
            (
                "s3://lake",
                r#"{"access_key_id":"id"}"#,
                "`access_key_id` does nothing without `secret_access_key`|add `secret_access_key`",
            ),
            (
                "s3://lake",
                r#"{"kms_key_id":"k"}"#,
                "`kms_key_id` does nothing without `server_side_encryption`|add `server_side_encryption`",
            ),
            (
                "s3://lake",
                r#"{"role_arn":"r","anonymous":true}"#,
                "`role_arn` and `anonymous` are two sets of credentials|remove one of them",
            ),
            ("s3://lake", r#"{"endpoint":"h:9000"}"#, "`endpoint` must begin with https:// or http://|"),
            (
                "s3://lake",
                r#"{"endpoint":"http://h"}"#,
                "`endpoint` names a server without TLS: it begins with http://|if that is meant, add `allow_http: true`",
            ),
            ("s3://lake", r#"{"region":" "}"#, "`region` is empty|remove it"),
            ("s3://lake", r#"{"timeout_secs":0}"#, "`timeout_secs` must be at least 1|"),
            ("s3://", "{}", "the url does not name a bucket|write it as s3://bucket/prefix"),
        ] {
            assert_eq!(said(url, Some(s3), None, None, None), [reason], "{url} {s3}");
        }
        let two = r#"{"access_key":"${env:A}","sas_token":"${env:B}"}"#;
        let reason = "`access_key` and `sas_token` are two sets of credentials|remove one of them";
        assert_eq!(said("az://box", None, Some(two), None, None), [reason]);
        let reason = "the url names a server without TLS: it begins with http://|if that is meant, add `http: { allow_http: true }`";
        for http in [None, Some("{}"), Some(r#"{"allow_http":false}"#)] {
            assert_eq!(said("http://h/x", None, None, None, http), [reason]);
        }
    }
}
