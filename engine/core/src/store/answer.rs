//! What the errors of stores mean: the one place where they are read.
//!
//! The library says what went wrong as text, with what the server has answered at its end. An answer repeats parts of
//! the request, session tokens and signatures among them, so nothing of it is shown but its code, such as
//! `NoSuchBucket`; nor is the query of a url.

use object_store::Error as StoreError;

use super::web::NO_LISTING;
use crate::error::Error;

/// An error of a store, taken apart.
pub(super) struct Answer {
    /// What can be shown of it.
    pub(super) text: String,
    /// The server's status, if it has answered.
    pub(super) status: Option<u16>,
    /// The server's own word for what is wrong.
    code: Option<String>,
    /// What the server has answered, which must not be shown.
    body: String,
}

/// Behind this stands the status.
const STATUS: &str = "status code: ";
/// What the library says where a server of Amazon's sends it on and does not say where to.
const REDIRECT: &str = "Received redirect";
/// Where machines ask for the credentials of their own role.
const ROLES: [&str; 4] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata/identity"];

const CREDENTIALS: &str =
    "check the credentials, what they allow, and the region; docs/stores.md says where they are read";

impl Answer {
    pub(super) fn of(error: &StoreError) -> Self {
        let text = error.to_string();
        let (said, body) = match text.split_once(STATUS) {
            Some((before, answer)) => {
                let (status, body) = answer.split_once(": ").unwrap_or((answer.trim_end_matches(':'), ""));
                (format!("{before}{STATUS}{status}"), body.to_string())
            }
            None => match text.split_once("Server returned error response") {
                Some((before, body)) => (format!("{before}Server returned error response"), body.to_string()),
                None => (text, String::new()),
            },
        };
        let status = said.split_once(STATUS).and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        let code = within(&body, "Code").filter(|code| code.bytes().all(|b| b.is_ascii_alphanumeric()));
        let shown = without_queries(said.trim_end_matches([' ', ':', '\n', '\u{feff}']));
        let text = match &code {
            Some(code) => format!("{shown}: {code}"),
            None => shown,
        };
        Self { text, status, code, body }
    }

    fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Whether something was asked for that lies behind the end of an object.
    fn is_about_a_range(&self) -> bool {
        self.status == Some(416) || self.text.contains("Requested range was invalid")
    }

    fn is_about_a_missing_bucket(&self) -> bool {
        self.is(&["NoSuchBucket", "ContainerNotFound"])
    }

    /// What it means, whatever was asked; `None` if nobody knows more than that it failed.
    fn meaning(&self) -> Option<Error> {
        let refused = |message: &str, hint: &str| Some(Error::config(message).hint(hint));
        if self.is_about_a_missing_bucket() {
            return Some(no_bucket());
        }
        if ROLES.iter().any(|role| self.text.contains(role)) {
            return refused(
                "there are no credentials: none are given, and this machine has no role that has some",
                "write them into the connection, or set the variables of the vendor; docs/stores.md has them all",
            );
        }
        if self.is(&["RequestTimeTooSkewed"]) || self.body.contains("date header too old") {
            return refused(
                "the clock of this machine differs too much from the server's",
                "set the clock, by NTP for instance, and try again",
            );
        }
        if self.is(&["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"])
            || self.body.contains("not valid in the specified time frame")
        {
            return refused(
                "the credentials have run out",
                "get new ones, then `transload resume` or `transload run` again",
            );
        }
        // Azure's word for it.
        if self.is(&["InvalidBlockList"]) {
            return Some(upload_gone());
        }
        if self.is(&["InvalidToken"]) {
            return refused(
                "the session token is not valid",
                "get a new one; it belongs to one access key and one vendor",
            );
        }
        if self.is(&["InvalidAccessKeyId"]) {
            return refused("access was refused: the server does not know the access key", CREDENTIALS);
        }
        if self.is(&["SignatureDoesNotMatch"]) {
            return refused("access was refused: the secret does not belong to the access key", CREDENTIALS);
        }
        if self.is(&["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"])
            || self.text.contains(REDIRECT)
            || self.status == Some(301)
        {
            return Some(self.elsewhere());
        }
        match self.status {
            Some(401 | 403) => refused("access was refused", CREDENTIALS),
            // Too slow, too busy: it passes.
            Some(408 | 429) => None,
            Some(300..=499) => refused("the object store refused the request", CREDENTIALS),
            _ => None,
        }
    }

    /// The bucket is in another region than it was asked for in.
    fn elsewhere(&self) -> Error {
        let is_region = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let hint = match within(&self.body, "Region").filter(is_region) {
            Some(region) => format!("set `region: {region}` in `s3`, or AWS_REGION={region}"),
            None => "set `region` in `s3`, or the variable AWS_REGION, to the region of the bucket".to_string(),
        };
        Error::config("the bucket is in another region").hint(hint)
    }
}

/// What stands in the first element of this name.
fn within(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty() && text.len() < 100)
}

/// The text without the queries of its urls: signatures stand there.
fn without_queries(text: &str) -> String {
    let word = |word: &str| match word.split_once('?') {
        Some((url, _)) if url.contains("://") => format!("{url}?…"),
        _ => word.to_string(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn no_bucket() -> Error {
    Error::config("there is no such bucket")
        .hint("check its name and the endpoint, or make it: transload makes what is in a bucket, and not the bucket")
}

/// What was staged cannot be published any more.
pub(super) fn upload_gone() -> Error {
    Error::config("what was staged is gone")
        .hint("somebody has given the upload up, or removed the file: start a new run")
}

/// Whether a server does not do what it is asked for, or does not do it for this key: to ask again is of no use.
pub(super) fn is_refused(error: &StoreError) -> bool {
    match Answer::of(error).status {
        Some(408 | 429) => false,
        Some(status) => matches!(status, 400..=499 | 501),
        None => matches!(error, StoreError::NotSupported { .. } | StoreError::NotImplemented { .. }),
    }
}

/// An error of a request that makes something: what is not found then is the bucket.
pub(super) fn writing(error: StoreError) -> Error {
    match error {
        missing @ StoreError::NotFound { .. } => no_bucket().because(Answer::of(&missing).text),
        other => explain(&other),
    }
}

/// An error of a store as one of ours.
pub(crate) fn explain(error: &StoreError) -> Error {
    use StoreError as S;
    let answer = Answer::of(error);
    let meant = match error {
        _ if answer.is_about_a_range() => Error::config("the file is shorter than it should be")
            .hint("it was cut or replaced by hand: put it back, or write the table anew"),
        S::Generic { store: "LocalFileSystem", .. } => match io_kind(error) {
            Some(kind) => Error::from_io_kind(kind),
            None => Error::transient("the file system failed"),
        },
        S::NotFound { .. } if answer.is_about_a_missing_bucket() => no_bucket(),
        S::NotFound { .. } if answer.is(&["NoSuchUpload"]) => upload_gone(),
        S::NotFound { path, .. } => Error::config("there is no such object").with("path", path.clone()),
        S::PermissionDenied { path, .. } | S::Unauthenticated { path, .. } => {
            let meant = answer.meaning().unwrap_or_else(|| Error::config("access was refused").hint(CREDENTIALS));
            meant.with("path", path.clone())
        }
        S::Precondition { path, .. } | S::NotModified { path, .. } => {
            Error::config("the object changed after it was pinned")
                .with("path", path.clone())
                .hint("make a new plan: what was read so far belongs to another version of the source")
        }
        S::InvalidPath { .. } => Error::config("an object has a name that cannot be a path").hint(
            "rename it, or read another prefix: a name has no empty part, no `.`, no `..` and no control characters",
        ),
        S::NotSupported { source } if source.to_string() == NO_LISTING => {
            Error::config("the web server does not list its files")
                .hint("name each file, as in `from: data/orders.csv`; only servers that speak WebDAV list theirs")
        }
        S::NotSupported { .. } if answer.text.contains("Range request") => {
            Error::config("the server does not send parts of files")
                .hint("it must answer range requests: use another server, or copy the file")
        }
        S::NotImplemented { implementer, .. } if implementer == "a web server" => {
            Error::config("http and https urls can only be read").hint("write to a folder or a bucket")
        }
        S::Generic { .. } => answer.meaning().unwrap_or_else(|| unanswered(error)),
        _ => Error::config("the object store refused the request"),
    };
    meant.because(answer.text)
}

/// Nobody has answered, or only that it does not work right now.
fn unanswered(error: &StoreError) -> Error {
    match causes(error).find(|cause| cause.contains("certificate")) {
        Some(_) => Error::config("the certificate of the server cannot be trusted")
            .hint("it must be signed, for this host, by an authority that this system trusts, and not have run out"),
        None => Error::transient("the object store failed or cannot be reached")
            .hint("check the network and the endpoint; the same command can be tried again"),
    }
}

/// The texts of an error's causes.
fn causes(error: &StoreError) -> impl Iterator<Item = String> {
    std::iter::successors(std::error::Error::source(error), |cause| (**cause).source()).map(ToString::to_string)
}

fn io_kind(error: &StoreError) -> Option<std::io::ErrorKind> {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| (**cause).source());
    causes.find_map(|cause| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const LIST: &str = "Error performing list request: Error performing GET http://h:9000/b?list-type=2&X-Amz-Security-Token=s3cr3t in 1ms";

    /// A server's answer to a list, with an answer's status and body.
    fn listed(status: &str, body: &str) -> Error {
        let text = format!("{LIST} - Server returned non-2xx status code: {status}: {body}");
        explain(&StoreError::Generic { store: "S3", source: text.into() })
    }

    /// An XML answer as vendors send it, with things that must not be shown.
    fn xml(code: &str, more: &str) -> String {
        format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Error><Code>{code}</Code><Message>s3cr3t</Message>{more}\
             <StringToSign>s3cr3t</StringToSign></Error>"
        )
    }

    #[test]
    fn each_refusal_has_a_sentence_and_a_hint_and_shows_no_secret() {
        let old = "<AuthenticationErrorDetail>Request date header too old: s3cr3t</AuthenticationErrorDetail>";
        let over =
            "<AuthenticationErrorDetail>Signature not valid in the specified time frame</AuthenticationErrorDetail>";
        for (status, body, sentence, hint) in [
            ("404 Not Found", xml("NoSuchBucket", ""), "there is no such bucket", "check its name"),
            (
                "404 The specified container does not exist.",
                xml("ContainerNotFound", ""),
                "there is no such bucket",
                "check its name",
            ),
            (
                "403 Forbidden",
                xml("SignatureDoesNotMatch", ""),
                "access was refused: the secret",
                "check the credentials",
            ),
            (
                "403 Forbidden",
                xml("InvalidAccessKeyId", ""),
                "access was refused: the server does not know",
                "check the credentials",
            ),
            ("403 Forbidden", xml("AccessDenied", ""), "access was refused", "check the credentials"),
            ("403 Forbidden", String::new(), "access was refused", "check the credentials"),
            ("403 Forbidden", xml("RequestTimeTooSkewed", ""), "the clock of this machine", "set the clock"),
            ("403 Forbidden", xml("AuthenticationFailed", old), "the clock of this machine", "set the clock"),
            (
                "400 Bad Request",
                xml("ExpiredToken", "<Token-0>s3cr3t</Token-0>"),
                "the credentials have run out",
                "get new ones",
            ),
            ("403 Forbidden", xml("AuthenticationFailed", over), "the credentials have run out", "get new ones"),
            ("400 Bad Request", xml("InvalidToken", ""), "the session token is not valid", "get a new one"),
            (
                "400 Bad Request",
                xml("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
                "the bucket is in another region",
                "set `region: eu-west-1`",
            ),
            (
                "400 Bad Request",
                xml("IllegalLocationConstraintException", "<Region>x y</Region>"),
                "the bucket is in another region",
                "set `region` in",
            ),
            (
                "400 Bad Request",
                xml("InvalidRequest", ""),
                "the object store refused the request",
                "check the credentials",
            ),
            (
                "400 Bad Request",
                "{\"error\":\"invalid_grant\",\"token\":\"s3cr3t\"}".to_string(),
                "the object store refused the request",
                "check the credentials",
            ),
        ] {
            let error = listed(status, &body);
            assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
            assert!(error.message().starts_with(sentence), "{error:?}");
            assert!(error.hint_text().unwrap().starts_with(hint), "{error:?}");
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
        let chain = listed("400 Bad Request", &xml("ExpiredToken", "")).chain().join("\n");
        assert!(chain.ends_with("400 Bad Request: ExpiredToken"), "{chain}");
        assert!(chain.contains("GET http://h:9000/b?… in 1ms"), "{chain}");
    }

    #[test]
    fn what_passes_can_be_tried_again() {
        for status in
            ["503 Service Unavailable", "500 Internal Server Error", "429 Too Many Requests", "408 Request Timeout"]
        {
            assert!(listed(status, &xml("SlowDown", "")).is_transient(), "{status}");
        }
        let unheard =
            StoreError::Generic { store: "S3", source: format!("{LIST} - HTTP error: error sending request").into() };
        let error = explain(&unheard);
        assert!(error.is_transient() && !format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }

    #[test]
    fn a_redirect_is_about_the_region_and_a_missing_role_about_credentials() {
        let generic = |text: &str| explain(&StoreError::Generic { store: "S3", source: text.to_string().into() });
        let redirect =
            generic("Received redirect without LOCATION, this normally indicates an incorrectly configured region");
        assert_eq!((redirect.kind(), redirect.message()), (ErrorKind::Config, "the bucket is in another region"));
        let role = generic(
            "Error performing PUT http://169.254.169.254/latest/api/token in 3s - HTTP error: error sending request",
        );
        assert!(role.kind() == ErrorKind::Config && role.message().starts_with("there are no credentials"), "{role:?}");
    }

    #[test]
    fn a_certificate_that_cannot_be_trusted_is_said_to_be() {
        let tls = std::io::Error::other("invalid peer certificate: UnknownIssuer");
        let error = explain(&StoreError::Generic { store: "S3", source: Box::new(tls) });
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Config, "the certificate of the server cannot be trusted")
        );
    }

    #[test]
    fn names_and_servers_that_do_not_fit_get_a_sentence() {
        let path = object_store::path::Path::parse("a//b").unwrap_err();
        let error = explain(&StoreError::InvalidPath { source: path });
        assert!(error.message().contains("name that cannot be a path") && error.hint_text().is_some(), "{error:?}");
        let ranges = StoreError::NotSupported { source: "Range request not supported by x".into() };
        assert!(explain(&ranges).message().contains("does not send parts"));
        let lists = StoreError::NotSupported { source: NO_LISTING.into() };
        assert!(explain(&lists).hint_text().unwrap().contains("name each file"));
        let missing = StoreError::NotFound { path: "t".to_string(), source: "404".into() };
        assert_eq!(writing(missing).message(), "there is no such bucket");
    }
}
