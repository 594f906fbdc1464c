//! How the buckets of each vendor are reached: settings, credentials, patience.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use secrecy::{ExposeSecret, SecretString};

use super::location::{Bucket, Vendor};
use crate::error::{Error, Result};
use crate::secret::Resolve;

/// The longest one request may take, with its body. What is sent or read at a time is a few megabytes.
const REQUEST: Duration = Duration::from_secs(120);
/// The longest a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// What can be set for a vendor's buckets, by the names of variables. The names are the vendor's own where it has
/// one, and `object_store`'s otherwise.
struct Settings {
    variables: &'static [&'static str],
    /// Those that say where the server is.
    endpoints: &'static [&'static str],
    /// The one that allows a server without TLS.
    allow_http: &'static str,
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
};

/// Opens the objects below a bucket's prefix. No request is made.
pub(super) fn connect(bucket: &Bucket, resolver: &dyn Resolve) -> Result<Arc<dyn ObjectStore>> {
    let objects = match bucket.vendor {
        Vendor::S3 => s3(&bucket.name, resolver)?,
        Vendor::Azure => azure(&bucket.name, resolver)?,
        Vendor::Google => google(&bucket.name, resolver)?,
    };
    match bucket.prefix.as_ref() {
        "" => Ok(objects),
        _ => Ok(Arc::new(PrefixStore::new(objects, bucket.prefix.clone()))),
    }
}

fn s3(bucket: &str, resolver: &dyn Resolve) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new().with_client_options(client()).with_retry(retries());
    for (key, value) in S3.read(resolver)? {
        if let Ok(key) = key.parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value.expose_secret());
        }
    }
    match builder.with_bucket_name(bucket).build() {
        Ok(objects) => Ok(Arc::new(objects)),
        Err(e) => Err(unusable(&S3, Some(&e))),
    }
}

fn azure(container: &str, resolver: &dyn Resolve) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(client()).with_retry(retries());
    for (key, value) in AZURE.read(resolver)? {
        if let Ok(key) = key.parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value.expose_secret());
        }
    }
    match builder.with_container_name(container).build() {
        Ok(objects) => Ok(Arc::new(objects)),
        Err(e) => Err(unusable(&AZURE, Some(&e))),
    }
}

fn google(bucket: &str, resolver: &dyn Resolve) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(client()).with_retry(retries());
    for (key, value) in GOOGLE.read(resolver)? {
        if let Ok(key) = key.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value.expose_secret());
        }
    }
    match builder.with_bucket_name(bucket).build() {
        Ok(objects) => Ok(Arc::new(objects)),
        // Not with the reason: it may quote a key that is not the JSON it should be.
        Err(_) => Err(unusable(&GOOGLE, None)),
    }
}

/// The builders' reasons name what is missing or malformed, and not its value.
fn unusable(settings: &Settings, reason: Option<&object_store::Error>) -> Error {
    let reason = match reason {
        Some(object_store::Error::Generic { source, .. }) => format!(": {source}"),
        _ => String::new(),
    };
    let names = &settings.variables[..settings.variables.len().min(3)];
    Error::config(format!("the settings for this bucket cannot be used{reason}"))
        .hint(format!("they come from {} and others; docs/ledger.md lists them", names.join(", ")))
}

impl Settings {
    /// Those that are set, by the names that `object_store` has for them.
    fn read(&self, resolver: &dyn Resolve) -> Result<Vec<(String, SecretString)>> {
        let value = |name: &str| resolver.env(name).filter(|v| !v.expose_secret().is_empty());
        let plain = |name: &&str| value(name).is_some_and(|v| v.expose_secret().starts_with("http://"));
        if let (Some(name), None) = (self.endpoints.iter().copied().find(|n| plain(n)), value(self.allow_http)) {
            return Err(Error::config(format!("{name} names a server without TLS: it begins with http://"))
                .hint(format!("if that is meant, set {}=true", self.allow_http)));
        }
        Ok(self.variables.iter().filter_map(|name| Some((key(name), value(name)?))).collect())
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

fn client() -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT)
}

/// Passing errors of a server are waited out for a minute and a half. What fails then is a passing error of ours, which
/// a run tries again and a scheduler may.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(90),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use object_store::path::Path;

    use super::*;

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

    fn connected(vendor: Vendor, variables: &[(&'static str, &'static str)]) -> Result<Arc<dyn ObjectStore>> {
        let bucket = Bucket { vendor, name: "lake".to_string(), prefix: Path::from("a/b") };
        connect(&bucket, &Set(variables.iter().copied().collect()))
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
        assert_eq!(error.hint_text(), Some("if that is meant, set AWS_ALLOW_HTTP=true"));
        connected(Vendor::S3, &[plain[0], plain[1], plain[2], ("AWS_ALLOW_HTTP", "true")]).unwrap();
    }
}
