//! A url of a PostgreSQL database, as its own tools take it, as options of a connection.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde_json::{Map, Value as Json, json};
use transload_core::{Error, ErrorKind, Result};

/// The kind of connection that such a url stands for.
pub(crate) const KIND: &str = "postgres";

/// What is said in a pipeline of a connection without a password.
pub(crate) const PASSWORD_NOTE: &str =
    "the password comes from PGPASSWORD or ~/.pgpass, or from where this says: password: \"${env:NAME}\"";

/// Where a password is, since it is not in a url.
const PASSWORD: &str = "a url is seen by others and kept in files: set PGPASSWORD, write the password into ~/.pgpass, or use \
                        a file with `postgres: { …, password: \"${env:NAME}\" }` instead of the url";

/// How a url is written.
const FORM: &str = "it is written postgres://USER@HOST:PORT/DATABASE, with `?sslmode=` and other settings behind it; special \
                    characters as %40, and no password";

/// Whether a text is such a url.
pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// The options that a url stands for. References in it are kept as they are.
///
/// # Errors
/// [`Usage`](ErrorKind::Usage) if it cannot be read, lacks something, or holds a password. The text is not repeated, since a
/// password may be in it.
pub(crate) fn options(text: &str) -> Result<Json> {
    let (url, host) = parsed(text)?;
    if url.password().is_some() {
        return Err(wrong("the url holds a password").hint(PASSWORD));
    }
    if url.fragment().is_some() {
        return Err(wrong("the url has a `#` in it").hint("write it as %23"));
    }
    let mut options = Map::new();
    put(&mut options, "host", decoded(host.trim_start_matches('[').trim_end_matches(']'))?);
    if let Some(port) = url.port() {
        options.insert("port".to_string(), json!(port));
    }
    put(&mut options, "database", decoded(url.path().strip_prefix('/').unwrap_or_default())?);
    put(&mut options, "user", decoded(url.username())?);
    let mut tls = Map::new();
    for setting in url.query().unwrap_or_default().split('&').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let value = decoded(value)?;
        match name {
            "host" => put(&mut options, "host", value),
            "user" => put(&mut options, "user", value),
            "dbname" => put(&mut options, "database", value),
            "application_name" => put(&mut options, "application_name", value),
            "port" => drop(options.insert("port".to_string(), whole(name, &value)?)),
            "connect_timeout" => drop(options.insert("connect_timeout_secs".to_string(), whole(name, &value)?)),
            "sslmode" => put(&mut tls, "mode", mode(&value)?),
            // The certificates of the system are taken if nothing is said.
            "sslrootcert" if value == "system" => {}
            "sslrootcert" => put(&mut tls, "root_cert", value),
            "sslcert" => put(&mut tls, "client_cert", value),
            "sslkey" => put(&mut tls, "client_key", value),
            "password" => return Err(wrong("the url holds a password").hint(PASSWORD)),
            _ => return Err(unknown(name)),
        }
    }
    if !tls.is_empty() {
        options.insert("tls".to_string(), Json::Object(tls));
    }
    match ["host", "database", "user"].into_iter().find(|needed| !options.contains_key(*needed)) {
        Some(missing) => Err(wrong(format!("the url says no {missing}")).hint(FORM)),
        None => Ok(Json::Object(options)),
    }
}

/// The url in its parts, and its host. A user at no host, whose host comes behind the `?`, is no url to the library.
fn parsed(text: &str) -> Result<(Url, String)> {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = text.len() - authority.len() + authority.find(['/', '?', '#']).unwrap_or(authority.len());
    let is_nowhere = text[..end].ends_with('@');
    let somewhere = if is_nowhere { format!("{}nowhere{}", &text[..end], &text[end..]) } else { text.to_string() };
    let url = Url::parse(&somewhere).map_err(|_| wrong("the url of the database cannot be read").hint(FORM))?;
    let host = url.host_str().filter(|_| !is_nowhere).unwrap_or_default().to_string();
    Ok((url, host))
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}

fn put(options: &mut Map<String, Json>, name: &str, value: String) {
    if !value.is_empty() {
        options.insert(name.to_string(), Json::String(value));
    }
}

fn decoded(part: &str) -> Result<String> {
    let text = percent_decode_str(part).decode_utf8();
    text.map(|text| text.into_owned()).map_err(|_| wrong("the url is not UTF-8 once its `%` are read").hint(FORM))
}

fn whole(name: &str, value: &str) -> Result<Json> {
    value
        .parse::<u32>()
        .map(|number| json!(number))
        .map_err(|_| wrong(format!("`{name}` in the url is no whole number")))
}

/// How a connection is encrypted. What would go on unencrypted, or not look at whose server it is, without saying so is
/// refused.
fn mode(value: &str) -> Result<String> {
    let hint = match value {
        "verify-full" | "require" | "disable" => return Ok(value.to_string()),
        "allow" | "prefer" => "use `require`, or `disable` if it shall not be encrypted",
        _ => "there are verify-full, require and disable; verify-full is what is done if nothing is said",
    };
    Err(wrong("this `sslmode` is not taken from a url").hint(hint))
}

fn unknown(name: &str) -> Error {
    let is_word = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let message = match is_word {
        true => format!("`{name}` is no setting that a url can have here"),
        false => "the url has a setting that it cannot have here".to_string(),
    };
    wrong(message)
        .hint("write the connection into a file, `postgres: { host: …, … }`, which can say more, and give its path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_options() {
        for (url, expected) in [
            (
                "postgres://loader@db.example.com/shop",
                json!({ "host": "db.example.com", "database": "shop", "user": "loader" }),
            ),
            (
                "postgresql://me%40corp@[::1]:5433/sh%2Fop?sslmode=require&connect_timeout=5&application_name=a+b",
                json!({
                    "host": "::1", "port": 5433, "database": "sh/op", "user": "me@corp", "connect_timeout_secs": 5,
                    "application_name": "a+b", "tls": { "mode": "require" },
                }),
            ),
            (
                "postgres:///shop?host=/var/run/postgresql&user=me",
                json!({ "host": "/var/run/postgresql", "database": "shop", "user": "me" }),
            ),
            (
                "postgres://me@/shop?host=/var/run/postgresql",
                json!({ "host": "/var/run/postgresql", "database": "shop", "user": "me" }),
            ),
            (
                "postgres://me@%2Fvar%2Frun/?dbname=shop&port=6000",
                json!({ "host": "/var/run", "port": 6000, "database": "shop", "user": "me" }),
            ),
            (
                "postgres://me@h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem",
                json!({
                    "host": "h", "database": "d", "user": "me",
                    "tls": { "mode": "verify-full", "root_cert": "/ca.pem", "client_cert": "/c.pem", "client_key": "/k.pem" },
                }),
            ),
            ("postgres://me@h/d?sslrootcert=system", json!({ "host": "h", "database": "d", "user": "me" })),
        ] {
            assert!(is_url(url));
            assert_eq!(options(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for url in [
            "postgres://me:s3cr3t@h/d",
            "postgres://me:s3/cr3t@h/d",
            "postgres://me@h/d?password=s3cr3t",
            "postgres://me:s3cr3t@h:port/d",
            "postgres://me:s3cr3t@h/d#x",
            "postgres://me@h/d?s3cr3t%20!",
        ] {
            let error = options(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{url}");
            assert!(error.hint_text().is_some() && !format!("{:?}", error.chain()).contains("cr3t"), "{url}: {error}");
        }
        assert!(options("postgres://me:s3cr3t@h/d").unwrap_err().hint_text().unwrap().contains("${env:"));
    }

    #[test]
    fn what_a_url_lacks_or_cannot_say_is_told() {
        for (url, says) in [
            ("postgres://h/d", "says no user"),
            ("postgres://me@h", "says no database"),
            ("postgres://me@/d", "says no host"),
            ("postgres://me@a:1,b:2/d", "cannot be read"),
            ("postgres://me@h:x/d", "cannot be read"),
            ("postgres://me@h/%ff", "not UTF-8"),
            ("postgres://me@h/d?sslmode=prefer", "`sslmode`"),
            ("postgres://me@h/d?options=-cx=y", "`options`"),
            ("postgres://me@h/d?connect_timeout=soon", "no whole number"),
        ] {
            let error = options(url).unwrap_err();
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }
}
