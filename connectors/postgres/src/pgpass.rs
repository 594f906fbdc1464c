//! Passwords that other programs for Postgres know too, from PGPASSWORD and the password file.
//!
//! The rules are those of libpq (PostgreSQL documentation, "The Password File"): each line is
//! `host:port:database:user:password`, a star stands for anything, a backslash takes the meaning of the colon or
//! backslash behind it, and the first line that fits counts.

use secrecy::{ExposeSecret, SecretString};
use transload_core::Resolve;

use crate::options::is_socket;

/// What a password is for.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password that the environment has for a login, if it has one: that of PGPASSWORD, or else of the file that
/// PGPASSFILE names, or else of `~/.pgpass`. A file that cannot be used counts as none, and a warning says so.
pub(crate) fn password(login: Login<'_>, resolver: &dyn Resolve) -> Option<SecretString> {
    let set = |name: &str| resolver.env(name).filter(|value| !value.expose_secret().is_empty());
    if let Some(password) = set("PGPASSWORD") {
        return Some(password);
    }
    let (path, is_named) = match set("PGPASSFILE") {
        Some(path) => (path.expose_secret().to_string(), true),
        None => (format!("{}/.pgpass", set("HOME")?.expose_secret()), false),
    };
    if is_open_to_others(&path) {
        tracing::warn!(
            "the password file is not used: others may read it; take that from them with `chmod 600` ({})",
            if is_named { "PGPASSFILE" } else { "~/.pgpass" }
        );
        return None;
    }
    match resolver.file(&path) {
        Ok(text) => find(text.expose_secret(), login),
        Err(error) => {
            if is_named {
                tracing::warn!("the password file that PGPASSFILE names cannot be read: {error}");
            }
            None
        }
    }
}

/// Whether a file may be read or written by others than its owner. One that cannot be looked at is not.
#[cfg(unix)]
fn is_open_to_others(path: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0)
}

/// Other systems say in another way who may read a file.
#[cfg(not(unix))]
fn is_open_to_others(_: &str) -> bool {
    false
}

/// The password of the first line that fits.
fn find(text: &str, login: Login<'_>) -> Option<SecretString> {
    let port = login.port.to_string();
    let lines = text.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.starts_with('#'));
    let line = lines.map(parts).find(|parts| {
        let [host, its_port, database, user, _, ..] = parts.as_slice() else { return false };
        let is_host = fits(host, login.host) || (is_socket(login.host) && fits(host, "localhost"));
        is_host && fits(its_port, &port) && fits(database, login.database) && fits(user, login.user)
    })?;
    let password = plain(line.get(4)?);
    (!password.is_empty()).then(|| SecretString::from(password))
}

/// What stands between the colons of a line.
fn parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ':' => {
                parts.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts
}

fn fits(part: &str, wanted: &str) -> bool {
    part == "*" || plain(part) == wanted
}

/// A part without the backslashes that take a meaning away.
fn plain(part: &str) -> String {
    let mut plain = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        plain.push(if c == '\\' { rest.next().unwrap_or(c) } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment of a few variables, in which every file holds the same text.
    struct Set(&'static [(&'static str, &'static str)], &'static str);

    impl Resolve for Set {
        fn env(&self, name: &str) -> Option<SecretString> {
            self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| SecretString::from(*value))
        }

        fn file(&self, path: &str) -> std::io::Result<SecretString> {
            match path.starts_with("/nowhere/") {
                true => Ok(SecretString::from(self.1)),
                false => Err(std::io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn found(text: &str, host: &str, user: &str) -> Option<String> {
        let login = Login { host, port: 5432, database: "shop", user };
        find(text, login).map(|password| password.expose_secret().to_string())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# localhost:*:*:u:comment\n\
                    too:few:parts\n\
                    h:5433:*:u:other port\n\
                    h:5432:shop:u:first\n\
                    h:*:*:*:second\n\
                    *:*:*:v:anywhere\r\n\
                    h:*:*:empty:\n";
        assert_eq!(found(text, "h", "u").as_deref(), Some("first"));
        assert_eq!(found(text, "h", "w").as_deref(), Some("second"));
        assert_eq!(found(text, "g", "v").as_deref(), Some("anywhere"));
        assert_eq!(found(text, "g", "u"), None);
        assert_eq!(found("h:*:*:u:", "h", "u"), None);
    }

    #[test]
    fn a_backslash_takes_the_meaning_of_what_is_behind_it() {
        assert_eq!(found(r"\:\:1:*:*:a\\b:p\:w\\\*d", "::1", r"a\b").as_deref(), Some(r"p:w\*d"));
        assert_eq!(found(r"h:*:*:u:ends\", "h", "u").as_deref(), Some(r"ends\"));
        assert_eq!(found(r"h:*:*:\*:p", "h", "u"), None, "an escaped star is a star");
        assert_eq!(found(r"h:*:*:\*:p", "h", "*").as_deref(), Some("p"));
    }

    #[test]
    fn a_unix_socket_is_localhost_too() {
        assert_eq!(found("localhost:*:*:u:p", "/run/postgresql", "u").as_deref(), Some("p"));
        assert_eq!(found("/run/postgresql:*:*:u:p", "/run/postgresql", "u").as_deref(), Some("p"));
        assert_eq!(found("localhost:*:*:u:p", "127.0.0.1", "u"), None);
    }

    #[test]
    fn variables_come_before_files() {
        let login = Login { host: "h", port: 5432, database: "shop", user: "u" };
        let text = "h:*:*:u:from file";
        type Case = (&'static [(&'static str, &'static str)], Option<&'static str>);
        let cases: [Case; 6] = [
            (&[("PGPASSWORD", "direct"), ("PGPASSFILE", "/nowhere/f")], Some("direct")),
            (&[("PGPASSWORD", ""), ("PGPASSFILE", "/nowhere/f")], Some("from file")),
            (&[("HOME", "/nowhere/me")], Some("from file")),
            (&[("HOME", "/somewhere")], None),
            (&[("PGPASSFILE", "/somewhere/f"), ("HOME", "/nowhere/me")], None),
            (&[], None),
        ];
        for (variables, wanted) in cases {
            let password = password(login, &Set(variables, text));
            assert_eq!(password.as_ref().map(|p| p.expose_secret()), wanted, "{variables:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("transload-pgpass-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        for (mode, is_open) in [(0o600, false), (0o640, true), (0o604, true), (0o660, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(path.to_str().unwrap()), is_open, "{mode:o}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!is_open_to_others(path.to_str().unwrap()));
    }
}
