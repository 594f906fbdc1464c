//! What is written for the settings of a connection: the names that `object_store` has for them, and the variables that
//! do not count beside them.

use super::{AzureOptions, GcsOptions, S3Options, Secret};
use crate::secret::Template;
use crate::tree::{Span, Spanned};

/// A setting that is written.
pub(in crate::store) struct Written<'a> {
    /// Its name in the file.
    pub(in crate::store) name: &'static str,
    /// The name that `object_store` has for it.
    pub(in crate::store) key: &'static str,
    pub(in crate::store) value: Value<'a>,
    pub(super) span: Span,
    pub(super) is_secret: bool,
    /// The variables that do not count beside it.
    pub(in crate::store) instead_of: &'static [Names],
}

/// What is written for a setting.
pub(in crate::store) enum Value<'a> {
    Text(&'a Template),
    Flag(bool),
}

/// Names of variables.
type Names = &'static [&'static str];

/// Keys of S3, and that there shall be none. Who writes down another way to be let in does not mean these.
const S3_KEYS: Names = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SKIP_SIGNATURE"];
/// The other ways. The token of a web identity may be the machine's, and the role the connection's.
const S3_ROLES: Names = &[
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Keys of Azure, and that there shall be none.
const AZURE_KEYS: Names = &[
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_SKIP_SIGNATURE",
];
/// How an application or a workload proves who it is.
const AZURE_PROOFS: Names = &["AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"];
/// The other ways.
const AZURE_ROLES: Names = &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_USE_AZURE_CLI", "IDENTITY_ENDPOINT"];

/// All ways to be let in by Google.
const GOOGLE_KEYS: Names = &[
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SKIP_SIGNATURE",
];

/// Stands for `aws_virtual_hosted_style_request`, which means the opposite.
pub(in crate::store) const PATH_STYLE: &str = "path_style";

impl S3Options {
    pub(in crate::store) fn written(&self) -> Vec<Written<'_>> {
        collect([
            text("endpoint", "aws_endpoint_url", &self.endpoint, &[&["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]]),
            text("region", "aws_region", &self.region, &[&["AWS_REGION", "AWS_DEFAULT_REGION"]]),
            text("access_key_id", "aws_access_key_id", &self.access_key_id, &[S3_KEYS, S3_ROLES]),
            secret("secret_access_key", "aws_secret_access_key", &self.secret_access_key, &[S3_KEYS, S3_ROLES]),
            secret("session_token", "aws_session_token", &self.session_token, &[S3_KEYS, S3_ROLES]),
            text("role_arn", "aws_role_arn", &self.role_arn, &[S3_KEYS, &["AWS_ROLE_ARN"]]),
            text(
                "web_identity_token_file",
                "aws_web_identity_token_file",
                &self.web_identity_token_file,
                &[S3_KEYS, &["AWS_WEB_IDENTITY_TOKEN_FILE"]],
            ),
            text(
                "server_side_encryption",
                "aws_server_side_encryption",
                &self.server_side_encryption,
                &[&["AWS_SERVER_SIDE_ENCRYPTION"]],
            ),
            text("kms_key_id", "aws_sse_kms_key_id", &self.kms_key_id, &[&["AWS_SSE_KMS_KEY_ID"]]),
            flag("anonymous", "aws_skip_signature", &self.anonymous, &[S3_KEYS, S3_ROLES]),
            flag("allow_http", "aws_allow_http", &self.allow_http, &[&["AWS_ALLOW_HTTP"]]),
            flag("path_style", PATH_STYLE, &self.path_style, &[&["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"]]),
        ])
    }
}

impl AzureOptions {
    pub(in crate::store) fn written(&self) -> Vec<Written<'_>> {
        collect([
            text(
                "account",
                "azure_storage_account_name",
                &self.account,
                &[&["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]],
            ),
            text(
                "endpoint",
                "azure_storage_endpoint",
                &self.endpoint,
                &[&["AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_USE_EMULATOR"]],
            ),
            secret(
                "access_key",
                "azure_storage_account_key",
                &self.access_key,
                &[AZURE_KEYS, AZURE_PROOFS, AZURE_ROLES],
            ),
            secret("sas_token", "azure_storage_sas_token", &self.sas_token, &[AZURE_KEYS, AZURE_PROOFS, AZURE_ROLES]),
            text("tenant_id", "azure_tenant_id", &self.tenant_id, &[AZURE_KEYS, &["AZURE_TENANT_ID"]]),
            text("client_id", "azure_client_id", &self.client_id, &[AZURE_KEYS, &["AZURE_CLIENT_ID"]]),
            secret("client_secret", "azure_client_secret", &self.client_secret, &[AZURE_KEYS, AZURE_PROOFS]),
            text(
                "federated_token_file",
                "azure_federated_token_file",
                &self.federated_token_file,
                &[AZURE_KEYS, AZURE_PROOFS],
            ),
            flag("anonymous", "azure_skip_signature", &self.anonymous, &[AZURE_KEYS, AZURE_PROOFS, AZURE_ROLES]),
            flag("allow_http", "azure_allow_http", &self.allow_http, &[&["AZURE_ALLOW_HTTP"]]),
        ])
    }
}

impl GcsOptions {
    pub(in crate::store) fn written(&self) -> Vec<Written<'_>> {
        collect([
            text("service_account_file", "google_service_account", &self.service_account_file, &[GOOGLE_KEYS]),
            secret("service_account_key", "google_service_account_key", &self.service_account_key, &[GOOGLE_KEYS]),
            text("endpoint", "google_base_url", &self.endpoint, &[&["GOOGLE_BASE_URL"]]),
            flag("anonymous", "google_skip_signature", &self.anonymous, &[GOOGLE_KEYS]),
            flag("allow_http", "google_allow_http", &self.allow_http, &[&["GOOGLE_ALLOW_HTTP"]]),
        ])
    }
}

fn collect<const N: usize>(settings: [Option<Written<'_>>; N]) -> Vec<Written<'_>> {
    settings.into_iter().flatten().collect()
}

fn text<'a>(
    name: &'static str,
    key: &'static str,
    option: &'a Option<Spanned<Template>>,
    instead_of: &'static [Names],
) -> Option<Written<'a>> {
    let option = option.as_ref()?;
    let value = Value::Text(&option.value);
    Some(Written { name, key, value, span: option.span, is_secret: false, instead_of })
}

fn secret<'a>(
    name: &'static str,
    key: &'static str,
    option: &'a Option<Spanned<Secret>>,
    instead_of: &'static [Names],
) -> Option<Written<'a>> {
    let option = option.as_ref()?;
    let value = Value::Text(&option.value.0);
    Some(Written { name, key, value, span: option.span, is_secret: true, instead_of })
}

/// A flag counts if it is written, whatever it says, but for `anonymous: false`, which says what would be so anyway.
fn flag<'a>(
    name: &'static str,
    key: &'static str,
    option: &Option<Spanned<bool>>,
    instead_of: &'static [Names],
) -> Option<Written<'a>> {
    let option = option.as_ref()?;
    let instead_of: &'static [Names] = if name == "anonymous" && !option.value { &[] } else { instead_of };
    Some(Written { name, key, value: Value::Flag(option.value), span: option.span, is_secret: false, instead_of })
}
