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
    /// A folder of a web server.
    Web(Web),
}

/// Which of a connection's options say how a place is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// None: a folder.
    Folder,
    /// Those of a vendor.
    Bucket(Vendor),
    /// Those of web servers.
    Web,
}

/// A folder of a web server, which is only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Web {
    /// Scheme, host and port, as in `https://host:8443`.
    pub(super) origin: String,
    /// Empty for everything that the server has.
    pub(super) prefix: Path,
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
        let Some((scheme, rest)) = scheme(location) else { return Ok(Self::Folder(PathBuf::from(location))) };
        match Kind::of(scheme) {
            Some(Kind::Folder) => folder(location),
            Some(Kind::Bucket(vendor)) => bucket(vendor, rest).map(Self::Bucket),
            Some(Kind::Web) => web(location, rest).map(Self::Web),
            None => Err(Error::config(format!("`{}:` urls are not supported", scheme.to_ascii_lowercase()))
                .hint("use a path, or a url that begins with file://, s3://, az://, gs:// or https://")),
        }
    }
}

impl Kind {
    /// What a url is of, as far as its beginning tells: `None` if it has another scheme, or one that is not known yet.
    pub(super) fn begun(beginning: &str, is_whole: bool) -> Option<Self> {
        match scheme(beginning) {
            Some((scheme, _)) => Self::of(scheme),
            None if is_whole || beginning.starts_with(['/', '.']) => Some(Self::Folder),
            None => None,
        }
    }

    fn of(scheme: &str) -> Option<Self> {
        Some(match scheme.to_ascii_lowercase().as_str() {
            "file" => Self::Folder,
            "s3" => Self::Bucket(Vendor::S3),
            "az" => Self::Bucket(Vendor::Azure),
            "gs" => Self::Bucket(Vendor::Google),
            "http" | "https" => Self::Web,
            _ => return None,
        })
    }
}

/// The scheme of a url, and what follows its slashes; `None` for a path.
fn scheme(location: &str) -> Option<(&str, &str)> {
    match location.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => Some((scheme, rest)),
        _ if location.starts_with("file:") => Some(("file", "")),
        _ => None,
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

/// Refuses what a url must not hold behind its scheme.
fn without_settings(rest: &str) -> Result<()> {
    if rest.contains('@') {
        return Err(Error::config("a url must not hold credentials").hint(SETTINGS));
    }
    if rest.contains(['?', '#']) {
        return Err(Error::config("the url of a store has no `?` and no `#`").hint(SETTINGS));
    }
    Ok(())
}

/// Where settings and credentials come from.
const SETTINGS: &str = "they come from the connection's options or from the environment; docs/stores.md has them all";

fn web(location: &str, rest: &str) -> Result<Web> {
    without_settings(rest)?;
    let url = Url::parse(location).ok().filter(|url| !rest.starts_with('/') && url.has_host());
    let url =
        url.ok_or_else(|| Error::config("the url does not name a server").hint("write it as https://host/path"))?;
    let prefix = Path::from_url_path(url.path()).map_err(|_| unusable_prefix())?;
    Ok(Web { origin: url.origin().ascii_serialization(), prefix })
}

fn unusable_prefix() -> Error {
    Error::config("the part of the url behind its bucket or host cannot be used")
        .hint("it has no empty part, no `.`, no `..` and no control characters")
}

fn bucket(vendor: Vendor, rest: &str) -> Result<Bucket> {
    without_settings(rest)?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || !name.chars().all(named) {
        return Err(Error::config("the url does not name a bucket").hint("write it as s3://bucket/prefix"));
    }
    let prefix = Path::parse(prefix).ok().filter(|_| !prefix.starts_with('/')).ok_or_else(unusable_prefix)?;
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
/// path, the URL of a bucket without a bucket, that of a server without a host, or one with credentials.
pub(super) fn check_location(location: &str) -> Result<()> {
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
        let web = |origin: &str, prefix: &str| {
            Location::Web(Web { origin: origin.to_string(), prefix: Path::parse(prefix).unwrap() })
        };
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
            ("https://host", web("https://host", "")),
            ("HTTP://Host:8080/", web("http://host:8080", "")),
            ("https://host:443/a%20b/%C3%A4/", web("https://host", "a b/ä")),
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
            "http://",
            "https:///x",
            "https://me:a@host/x",
            "https://host/x?token=abc",
            "https://host/x#y",
            "https://host/a//b",
            "https://host/%00",
        ] {
            assert!(check_location(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_beginning_of_a_url_tells_what_it_is_of() {
        let s3 = Some(Kind::Bucket(Vendor::S3));
        for (beginning, is_whole, kind) in [
            ("s3://", false, s3),
            ("s3://lake/x", true, s3),
            ("https://", false, Some(Kind::Web)),
            ("file:/data", true, Some(Kind::Folder)),
            ("./lake/", false, Some(Kind::Folder)),
            ("/data/", false, Some(Kind::Folder)),
            ("lake", true, Some(Kind::Folder)),
            ("lake", false, None),
            ("", false, None),
            ("ftp://", false, None),
        ] {
            assert_eq!(Kind::begun(beginning, is_whole), kind, "{beginning}");
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
