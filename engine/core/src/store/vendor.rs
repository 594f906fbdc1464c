//! How each kind of place is reached: settings, credentials, patience. The one place that makes a store of a url.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::again::Again;
use super::location::{Bucket, Vendor, Web};
use super::options::{PATH_STYLE, Patience, StoreOptions, Value, Written};
use super::quiet::Quiet;
use super::unfinished::{S3Uploads, Unfinished};
use super::web::WebFiles;
use crate::error::{Error, Result};
use crate::secret::Resolve;

/// The longest a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a web server is waited for that may not be able to list its files.
const LISTING: Duration = Duration::from_secs(2);

/// What the environment can say about a vendor's buckets, by the names of variables. The names are the vendor's own
/// where it has one, and `object_store`'s otherwise.
struct Settings {
    variables: &'static [&'static str],
    /// Those that say where the server is.
    endpoints: &'static [&'static str],
    /// The one that allows a server without TLS.
    allow_http: &'static str,
    /// The option under which a connection says the same.
    option: &'static str,
}

const S3: Settings = Settings {
    variables: &[
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ALLOW_HTTP",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_SKIP_SIGNATURE",
        "AWS_REQUEST_PAYER",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ],
    endpoints: &["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"],
    allow_http: "AWS_ALLOW_HTTP",
    option: "s3",
};

const AZURE: Settings = Settings {
    variables: &[
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_STORAGE_USE_EMULATOR",
        "AZURE_ALLOW_HTTP",
        "AZURE_SKIP_SIGNATURE",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_TENANT_ID",
        "AZURE_AUTHORITY_HOST",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_USE_AZURE_CLI",
        "IDENTITY_ENDPOINT",
    ],
    endpoints: &["AZURE_STORAGE_ENDPOINT"],
    allow_http: "AZURE_ALLOW_HTTP",
    option: "azure",
};

const GOOGLE: Settings = Settings {
    variables: &[
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_BASE_URL",
        "GOOGLE_ALLOW_HTTP",
        "GOOGLE_SKIP_SIGNATURE",
    ],
    endpoints: &["GOOGLE_BASE_URL"],
    allow_http: "GOOGLE_ALLOW_HTTP",
    option: "gcs",
};

/// A store that is open.
pub(super) struct Objects {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same for uploads.
    pub(super) uploads: Arc<dyn MultipartStore>,
    /// The list of uploads, where there is one.
    pub(super) unfinished: Option<Arc<dyn Unfinished>>,
    /// How requests are made again that the library makes only once.
    pub(super) again: Again,
}

/// Opens the objects below a bucket's prefix. No request is made.
pub(super) fn connect(bucket: &Bucket, options: &StoreOptions, resolver: &dyn Resolve) -> Result<Objects> {
    match bucket.vendor {
        Vendor::S3 => s3(bucket, options, resolver),
        Vendor::Azure => azure(bucket, options, resolver),
        Vendor::Google => google(bucket, options, resolver),
    }
}

fn s3(bucket: &Bucket, options: &StoreOptions, resolver: &dyn Resolve) -> Result<Objects> {
    let options = options.s3.as_ref();
    let patience = options.map(|s3| s3.patience()).unwrap_or_default();
    let mut builder = AmazonS3Builder::new().with_client_options(client(patience)).with_retry(retries(patience));
    for (key, value) in S3.all(options.map(|s3| s3.written()).unwrap_or_default(), resolver)? {
        let value = value.expose_secret();
        builder = match (key.as_str(), key.parse::<AmazonS3ConfigKey>()) {
            (PATH_STYLE, _) => builder.with_virtual_hosted_style_request(value == "false"),
            (_, Ok(key)) => builder.with_config(key, value),
            (_, Err(_)) => builder,
        };
    }
    // Then a server's address must name the bucket, too.
    let is_hosted = options.is_some_and(|s3| s3.is_virtual_hosted());
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::S3Endpoint);
    let endpoint = endpoint.or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    if let Some(endpoint) = endpoint.filter(|_| is_hosted) {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, hosted(&endpoint, &bucket.name)?);
    }
    let builder = builder.with_bucket_name(&bucket.name);
    match builder.clone().build() {
        Ok(objects) => {
            let credentials = Arc::clone(objects.credentials());
            let again = Again::like(retries(patience));
            let uploads = S3Uploads::new(builder, credentials, bucket.prefix.clone(), again.clone());
            Ok(Objects { unfinished: Some(Arc::new(uploads)), ..below(objects, &bucket.prefix, again) })
        }
        Err(e) => Err(S3.unusable(Some(&e))),
    }
}

/// The address of a server with the name of a bucket in front of its host.
fn hosted(endpoint: &str, bucket: &str) -> Result<String> {
    let refused = || {
        Error::config("the name of the bucket cannot be put in front of the endpoint's host")
            .hint("remove `path_style: false`, or give the server a name")
    };
    let mut url = Url::parse(endpoint).map_err(|_| refused())?;
    let host = url.host_str().ok_or_else(refused)?.to_string();
    if !host.starts_with(&format!("{bucket}.")) {
        url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|_| refused())?;
    }
    Ok(url.as_str().trim_end_matches('/').to_string())
}

fn azure(container: &Bucket, options: &StoreOptions, resolver: &dyn Resolve) -> Result<Objects> {
    let options = options.azure.as_ref();
    let patience = options.map(|azure| azure.patience()).unwrap_or_default();
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(client(patience)).with_retry(retries(patience));
    for (key, value) in AZURE.all(options.map(|azure| azure.written()).unwrap_or_default(), resolver)? {
        let value = value.expose_secret();
        builder = match key.parse::<AzureConfigKey>() {
            // A slash behind it would be doubled.
            Ok(AzureConfigKey::Endpoint) => builder.with_endpoint(value.trim_end_matches('/').to_string()),
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        };
    }
    match builder.with_container_name(&container.name).build() {
        Ok(objects) => Ok(below(objects, &container.prefix, Again::like(retries(patience)))),
        Err(e) => Err(AZURE.unusable(Some(&e))),
    }
}

fn google(bucket: &Bucket, options: &StoreOptions, resolver: &dyn Resolve) -> Result<Objects> {
    let options = options.gcs.as_ref();
    let patience = options.map(|gcs| gcs.patience()).unwrap_or_default();
    let mut builder =
        GoogleCloudStorageBuilder::new().with_client_options(client(patience)).with_retry(retries(patience));
    for (key, value) in GOOGLE.all(options.map(|gcs| gcs.written()).unwrap_or_default(), resolver)? {
        if let Ok(key) = key.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value.expose_secret());
        }
    }
    match builder.with_bucket_name(&bucket.name).build() {
        Ok(objects) => Ok(below(objects, &bucket.prefix, Again::like(retries(patience)))),
        // Not with the reason: it may quote a key that is not the JSON it should be.
        Err(_) => Err(GOOGLE.unusable(None)),
    }
}

/// Opens a folder of a web server for reading. No request is made.
pub(super) fn browse(web: &Web, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>> {
    let options = options.http.as_ref();
    let patience = options.map(|http| http.patience()).unwrap_or_default();
    let allows_http = options.is_some_and(|http| http.allows_http());
    if web.origin.starts_with("http://") && !allows_http {
        return Err(Error::config("the url names a server without TLS: it begins with http://")
            .hint("if that is meant, add `http: { allow_http: true }`"));
    }
    let open = |retries: RetryConfig| {
        HttpBuilder::new()
            .with_url(&web.origin)
            .with_client_options(client(patience).with_allow_http(allows_http))
            .with_retry(retries)
            .build()
    };
    let retries = retries(patience);
    let listing = RetryConfig { retry_timeout: LISTING.min(retries.retry_timeout), ..retries.clone() };
    let files = WebFiles::new(open(retries)?, open(listing)?);
    Ok(Arc::new(Quiet(PrefixStore::new(files, web.prefix.clone()))))
}

/// The objects below a prefix.
fn below<T: ObjectStore + MultipartStore>(objects: T, prefix: &Path, again: Again) -> Objects {
    let all = Arc::new(Quiet(PrefixStore::new(objects, prefix.clone())));
    Objects { objects: Arc::<Quiet<PrefixStore<T>>>::clone(&all), uploads: all, unfinished: None, again }
}

impl Settings {
    /// Everything that is set, by the names that `object_store` has for it: what a connection writes, and what the
    /// environment says about everything else.
    fn all(&self, written: Vec<Written<'_>>, resolver: &dyn Resolve) -> Result<Vec<(String, SecretString)>> {
        let replaced = |name: &str| written.iter().any(|w| w.instead_of.iter().any(|names| names.contains(&name)));
        let from_environment = |name: &str| {
            let value = resolver.env(name).filter(|v| !v.expose_secret().is_empty());
            value.filter(|_| !replaced(name))
        };
        let mut all: Vec<(String, SecretString)> = Vec::new();
        let mut plain = None;
        for name in self.variables {
            let Some(value) = from_environment(name) else { continue };
            if self.endpoints.contains(name) && value.expose_secret().starts_with("http://") {
                plain = plain.or(Some(*name));
            }
            all.push((key(name), value));
        }
        for setting in &written {
            let value = match setting.value {
                Value::Text(template) => template.resolve(resolver)?,
                Value::Flag(flag) => SecretString::from(flag.to_string()),
            };
            if setting.name == "endpoint" && value.expose_secret().starts_with("http://") {
                plain = Some(setting.name);
            }
            all.push((setting.key.to_string(), value));
        }
        let allow_http = all.iter().find(|(name, _)| *name == key(self.allow_http)).map(|(_, value)| value);
        if let Some(name) = plain
            && allow_http.is_none_or(|allowed| allowed.expose_secret() == "false")
        {
            return Err(Error::config(format!("{name} names a server without TLS: it begins with http://")).hint(
                format!("if that is meant, set {}=true, or `allow_http: true` in `{}`", self.allow_http, self.option),
            ));
        }
        Ok(all)
    }

    /// The builders' reasons name what is missing or malformed, and not its value.
    fn unusable(&self, reason: Option<&object_store::Error>) -> Error {
        let reason = match reason {
            Some(object_store::Error::Generic { source, .. }) => format!(": {source}"),
            _ => String::new(),
        };
        let names = self.variables[..self.variables.len().min(3)].join(", ");
        Error::config(format!("the settings for this bucket cannot be used{reason}")).hint(format!(
            "they come from {names} and others, or from `{}` in the connection; docs/stores.md has them all",
            self.option
        ))
    }
}

/// The name that `object_store` has for a variable.
fn key(variable: &str) -> String {
    match variable {
        // As Azure's own command line has them.
        "AZURE_STORAGE_ACCOUNT" => "azure_storage_account_name".to_string(),
        "AZURE_STORAGE_KEY" => "azure_storage_account_key".to_string(),
        other => other.to_ascii_lowercase(),
    }
}

fn client(patience: Patience) -> ClientOptions {
    ClientOptions::new().with_timeout(Duration::from_secs(patience.request_secs)).with_connect_timeout(CONNECT)
}

fn retries(patience: Patience) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(patience.retry_secs),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::decode::decode;
    use crate::tree::{Node, Spanned};

    /// An environment of a test.
    struct Set(HashMap<&'static str, &'static str>);

    impl Resolve for Set {
        fn env(&self, name: &str) -> Option<SecretString> {
            self.0.get(name).map(|v| SecretString::from(*v))
        }

        fn file(&self, _: &str) -> std::io::Result<SecretString> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    fn connected(vendor: Vendor, variables: &[(&'static str, &'static str)]) -> Result<Objects> {
        let bucket = Bucket { vendor, name: "lake".to_string(), prefix: Path::from("a/b") };
        connect(&bucket, &StoreOptions::default(), &Set(variables.iter().copied().collect()))
    }

    /// Options of S3.
    fn s3_options(json: &str) -> StoreOptions {
        let node: Node = serde_json::from_str(json).unwrap();
        let s3 = decode(&node, &mut Vec::new()).unwrap();
        StoreOptions { s3: Some(Spanned::nowhere(s3)), ..StoreOptions::default() }
    }

    /// Everything that is set for S3, by `object_store`'s names and sorted.
    fn set(json: &str, variables: &[(&'static str, &'static str)]) -> Result<Vec<String>> {
        let options = s3_options(json);
        let written = options.s3.as_ref().map(|s3| s3.written()).unwrap_or_default();
        let all = S3.all(written, &Set(variables.iter().copied().collect()))?;
        let mut all: Vec<String> =
            all.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect();
        all.sort();
        Ok(all)
    }

    #[test]
    fn every_variable_is_one_that_the_library_knows() {
        for name in S3.variables {
            assert!(key(name).parse::<AmazonS3ConfigKey>().is_ok(), "{name}");
        }
        for name in AZURE.variables {
            assert!(key(name).parse::<AzureConfigKey>().is_ok(), "{name}");
        }
        for name in GOOGLE.variables {
            assert!(key(name).parse::<GoogleConfigKey>().is_ok(), "{name}");
        }
        for settings in [S3, AZURE, GOOGLE] {
            assert!(settings.endpoints.iter().chain([&settings.allow_http]).all(|n| settings.variables.contains(n)));
        }
    }

    #[test]
    fn a_bucket_is_opened_with_what_the_environment_says() {
        connected(Vendor::S3, &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t")]).unwrap();
        connected(Vendor::Azure, &[("AZURE_STORAGE_ACCOUNT", "me"), ("AZURE_STORAGE_KEY", "czNjcjN0")]).unwrap();
        connected(Vendor::Google, &[("GOOGLE_SKIP_SIGNATURE", "true")]).unwrap();
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_and_not_shown() {
        for (vendor, variables) in [
            (Vendor::S3, [("AWS_SECRET_ACCESS_KEY", "s3cr3t"), ("AWS_REGION", "eu-west-1")]),
            (Vendor::Azure, [("AZURE_STORAGE_ACCOUNT", "me"), ("AZURE_STORAGE_KEY", "s3cr3t!")]),
            (Vendor::Google, [("GOOGLE_SERVICE_ACCOUNT_KEY", "\"s3cr3t\""), ("GOOGLE_BASE_URL", "")]),
        ] {
            let error = connected(vendor, &variables).err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
    }

    #[test]
    fn a_server_without_tls_has_to_be_allowed() {
        let plain = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ENDPOINT_URL", "http://h:1")];
        let error = connected(Vendor::S3, &plain).err().unwrap();
        assert!(error.hint_text().unwrap().starts_with("if that is meant, set AWS_ALLOW_HTTP=true"), "{error:?}");
        connected(Vendor::S3, &[plain[0], plain[1], plain[2], ("AWS_ALLOW_HTTP", "true")]).unwrap();
        let written = r#"{"endpoint":"${env:HERE}"}"#;
        assert!(set(written, &[("HERE", "http://h:1")]).is_err());
        assert!(
            set(
                r#"{"endpoint":"${env:HERE}","allow_http":false}"#,
                &[("HERE", "http://h:1"), ("AWS_ALLOW_HTTP", "true")]
            )
            .is_err()
        );
        for allowed in
            [set(written, &[("HERE", "http://h:1"), ("AWS_ALLOW_HTTP", "true")]), set(r#"{"allow_http":true}"#, &plain)]
        {
            allowed.unwrap();
        }
        let web = Web { origin: "http://h".to_string(), prefix: Path::default() };
        assert!(browse(&web, &StoreOptions::default()).is_err());
    }

    #[test]
    fn what_a_connection_says_wins_over_the_environment() {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "other"),
            ("AWS_SECRET_ACCESS_KEY", "other"),
            ("AWS_SESSION_TOKEN", "other"),
            ("AWS_REGION", "us-west-2"),
            ("AWS_DEFAULT_REGION", "us-west-2"),
            ("AWS_ENDPOINT_URL_S3", "https://other"),
            ("AWS_ROLE_ARN", "other"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/token"),
            ("SECRET", "mine"),
        ];
        let keys =
            r#"{"endpoint":"https://h","region":"eu-west-1","access_key_id":"me","secret_access_key":"${env:SECRET}"}"#;
        assert_eq!(
            set(keys, &environment).unwrap(),
            [
                "aws_access_key_id=me",
                "aws_endpoint_url=https://h",
                "aws_region=eu-west-1",
                "aws_secret_access_key=mine"
            ]
        );
        // The token of a web identity is the machine's; a key of somebody else is not meant then.
        let role = set(r#"{"role_arn":"mine"}"#, &environment).unwrap();
        assert!(role.contains(&"aws_role_arn=mine".to_string()), "{role:?}");
        assert!(role.contains(&"aws_web_identity_token_file=/run/token".to_string()), "{role:?}");
        assert!(!role.iter().any(|s| s.contains("access_key") || s.contains("session_token")), "{role:?}");
        let missing = set(r#"{"access_key_id":"me","secret_access_key":"${env:GONE}"}"#, &[]).unwrap_err();
        assert!(missing.to_string().contains("GONE"), "{missing}");
    }

    #[test]
    fn a_bucket_can_be_named_by_the_host() {
        assert_eq!(hosted("https://s3.example.com:9000/", "lake").unwrap(), "https://lake.s3.example.com:9000");
        assert_eq!(hosted("https://lake.s3.example.com", "lake").unwrap(), "https://lake.s3.example.com");
        assert!(hosted("https://127.0.0.1:9000", "lake").is_err());
        assert!(hosted("nowhere", "lake").is_err());
    }

    #[test]
    fn no_credential_is_printed() {
        let key = [("AZURE_STORAGE_ACCOUNT", "me"), ("AZURE_STORAGE_KEY", "czNjcjN0")];
        let shown = format!("{:?}", connected(Vendor::Azure, &key).unwrap().objects);
        // As bytes, too: `s3cr3t` is 115, 51, 99, …
        assert!(!shown.contains("115, 51") && !shown.contains("s3cr3t") && !shown.contains("czNjcjN0"), "{shown}");
        let sas = [("AZURE_STORAGE_ACCOUNT", "me"), ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=s3cr3t")];
        let shown = format!("{:?}", connected(Vendor::Azure, &sas).unwrap().objects);
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
