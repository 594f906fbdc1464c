//! What a person writes to say where a store is, and the names below it. Pure.

use std::path::PathBuf;

use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A prefix in a bucket.
    Bucket(Bucket),
}

/// A prefix in a bucket; Azure says container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) vendor: Vendor,
    pub(super) name: String,
    /// Empty for the whole bucket.
    pub(super) prefix: Path,
}

/// Whose interface a bucket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    /// Amazon S3, and the many servers that speak as it does.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

impl Location {
    /// Reads a location. What it says about a mistake does not repeat the location.
    pub(super) fn parse(location: &str) -> Result<Self> {
        if location.trim().is_empty() {
            return Err(Error::config("a url is empty"));
        }
        let (scheme, rest) = match location.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            _ if location.starts_with("file:") => ("file", ""),
            _ => return Ok(Self::Folder(PathBuf::from(location))),
        };
        let vendor = match scheme.to_ascii_lowercase().as_str() {
            "file" => return folder(location),
            "s3" => Vendor::S3,
            "az" => Vendor::Azure,
            "gs" => Vendor::Google,
            other => {
                return Err(Error::config(format!("`{other}:` urls are not supported"))
                    .hint("use a path, or a url that begins with file://, s3://, az:// or gs://"));
            }
        };
        bucket(vendor, rest).map(Self::Bucket)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn folder(location: &str) -> Result<Location> {
    let path = Url::parse(location).ok().and_then(|url| url.to_file_path().ok());
    path.map(Location::Folder).ok_or_else(|| Error::config("a file: url needs an absolute path"))
}

fn bucket(vendor: Vendor, rest: &str) -> Result<Bucket> {
    if rest.contains('@') {
        return Err(Error::config("a url must not hold credentials")
            .hint("they come from the environment; docs/ledger.md lists the variables"));
    }
    if rest.contains(['?', '#']) {
        return Err(Error::config("the url of a bucket has no `?` and no `#`")
            .hint("settings come from the environment; docs/ledger.md lists the variables"));
    }
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(named) {
        return Err(Error::config("the url does not name a bucket").hint("write it as s3://bucket/prefix"));
    }
    let prefix = Path::parse(prefix).ok().filter(|_| !prefix.starts_with('/')).ok_or_else(|| {
        Error::config("the part of the url after the bucket cannot be used")
            .hint("it has no empty part, no `.`, no `..` and no control characters")
    })?;
    Ok(Bucket { vendor, name: name.to_string(), prefix })
}

/// A location without the user, password and query that somebody may have put into it.
pub(super) fn without_credentials(shown: &str) -> String {
    let Some((scheme, rest)) = shown.split_once("://") else { return shown.to_string() };
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://…@{place}"),
        None => format!("{scheme}://{rest}"),
    }
}

/// Whether a location can be opened at all. Pure.
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if it is empty, has an unknown scheme, is a `file:` URL without an absolute
/// path, or the URL of a bucket without a bucket or with credentials.
pub fn check_location(location: &str) -> Result<()> {
    Location::parse(location).map(drop)
}

/// Joins a name a person wrote to a folder, and refuses one that would leave it.
///
/// # Errors
/// A sentence, if the name is absolute, has a `..`, an empty or a hidden (`.x`, `_x`) part.
pub fn relative(name: &str) -> Result<Path, String> {
    if name.starts_with('/') || name.contains('\\') || name.contains("://") {
        return Err(format!("`{name}` must be relative to its connection's url"));
    }
    for part in name.split('/') {
        match part {
            "" => return Err(format!("`{name}` has an empty part")),
            "." => return Err(format!("`{name}` has a part `.`, which says nothing")),
            ".." => return Err(format!("`{name}` leaves its connection's url")),
            p if p.starts_with('.') || p.starts_with('_') => {
                return Err(format!("`{name}` is hidden: names that start with `.` or `_` are not data"));
            }
            p if p.chars().any(char::is_control) => return Err("a name holds a control character".to_string()),
            _ => {}
        }
    }
    Path::parse(name).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for bad in ["../x", "a/../../x", "/etc/passwd", "a//b", ".ssh/id", "_transload/x", "s3://b/x", "a\\b", ""] {
            assert!(relative(bad).is_err(), "{bad}");
        }
        assert_eq!(relative("a/b.csv").unwrap().as_ref(), "a/b.csv");
    }

    #[test]
    fn folders_and_buckets_are_told_apart() {
        let bucket = |vendor, name: &str, prefix: &str| {
            Location::Bucket(Bucket { vendor, name: name.to_string(), prefix: Path::parse(prefix).unwrap() })
        };
        let folder = |path: &str| Location::Folder(PathBuf::from(path));
        for (text, expected) in [
            (".transload", folder(".transload")),
            ("a:b/c", folder("a:b/c")),
            ("not a scheme://x", folder("not a scheme://x")),
            ("file:///data/lake", folder("/data/lake")),
            ("file:/data/lake", folder("/data/lake")),
            ("s3://lake", bucket(Vendor::S3, "lake", "")),
            ("s3://lake/", bucket(Vendor::S3, "lake", "")),
            ("s3://My.lake_1/bronze/a b/", bucket(Vendor::S3, "My.lake_1", "bronze/a b")),
            ("S3://lake/x", bucket(Vendor::S3, "lake", "x")),
            ("az://box/x", bucket(Vendor::Azure, "box", "x")),
            ("gs://lake/x/y", bucket(Vendor::Google, "lake", "x/y")),
        ] {
            assert_eq!(Location::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_location_that_makes_no_sense_is_refused() {
        for bad in [
            "",
            "  ",
            "file://host/x",
            "ftp://host/x",
            "s3://",
            "s3:///x",
            "s3://bucket:9000/x",
            "s3://id:a/b@bucket/x",
            "s3://bucket//x",
            "s3://bucket/a/../b",
            "az://box/x?sig=abc",
        ] {
            assert!(check_location(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_not_shown() {
        assert_eq!(without_credentials("s3://id:a/b@bucket/x"), "s3://…@bucket/x");
        assert_eq!(without_credentials("az://box/x?sig=abc"), "az://box/x");
        assert_eq!(without_credentials("s3://bucket/x"), "s3://bucket/x");
        assert_eq!(without_credentials("me@home/x"), "me@home/x");
        assert_eq!(without_credentials("${env:LAKE}/x"), "${env:LAKE}/x");
    }
}
