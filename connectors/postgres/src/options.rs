//! What can be said about a Postgres connection.

use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use transload_core::decode::decode;
use transload_core::tree::Spanned;
use transload_core::{Node, Problem, Template};

/// The longest name that a server keeps as it is, in bytes.
const LONGEST_NAME: usize = 63;
/// A server counts timeouts in milliseconds, in 32 bits.
const LONGEST_TIMEOUT_SECS: u64 = 2_000_000;

/// Options of a Postgres connection.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// The server's name or address, or the folder of its unix socket, which starts with `/`.
    host: Spanned<Template>,
    /// The server's port. Default: 5432.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    port: Option<Spanned<u64>>,
    /// The database. One connection reads and writes one.
    database: Spanned<Template>,
    /// The user, who needs no more rights than to read the tables that are read and to make those that are written.
    user: Spanned<Template>,
    /// The user's password: a reference, such as ${env:SHOP_PASSWORD}. Default: the variable PGPASSWORD, then the file
    /// that PGPASSFILE names, then ~/.pgpass.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(\$\{(env|file):[^}]+\})+$"))]
    password: Option<Spanned<Template>>,
    /// The schema of tables whose names say none. Default: public.
    #[serde(default)]
    schema: Option<Spanned<String>>,
    /// The schemas whose tables are found. Default: all but the server's own.
    #[serde(default)]
    #[schemars(length(min = 1))]
    schemas: Option<Spanned<Vec<Spanned<String>>>>,
    /// How the way to the server is secured. Default: encrypted, and only to a server that proves its name.
    #[serde(default)]
    tls: Option<Spanned<TlsOptions>>,
    /// At most so many connections to the server read at the same time, and at most so many write. Default: 8.
    #[serde(default)]
    #[schemars(range(min = 2, max = 1000))]
    connections: Option<Spanned<u64>>,
    /// The longest that the server may take to let a connection in, in seconds. Default: 10.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3600))]
    connect_timeout_secs: Option<Spanned<u64>>,
    /// The longest that one statement may take, in seconds: a split of a table is read by one. Default: 0, as long as
    /// it takes.
    #[serde(default)]
    #[schemars(range(max = 2_000_000))]
    statement_timeout_secs: Option<Spanned<u64>>,
    /// The longest that a statement waits for others who have locked a table, in seconds. Default: 30.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_000_000))]
    lock_timeout_secs: Option<Spanned<u64>>,
    /// The name by which the server's views and logs know these connections. Default: transload.
    #[serde(default)]
    application_name: Option<Spanned<String>>,
    /// What happens to values that have no place in the type they are read as, such as a date of infinity. Default:
    /// error.
    #[serde(default)]
    special_values: Option<Spanned<SpecialValues>>,
    /// About how many megabytes of a table's pages one split reads. Default: 64.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    split_mb: Option<Spanned<u64>>,
}

/// How the way to a server is secured.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TlsOptions {
    /// What is asked of the server. Default: verify-full.
    #[serde(default)]
    mode: Option<Spanned<TlsMode>>,
    /// A file with the certificates, as PEM, of those who may vouch for the server. Default: those the system trusts.
    #[serde(default)]
    root_cert: Option<Spanned<Template>>,
    /// A file with the certificate, as PEM, by which the server knows the user; with `client_key`.
    #[serde(default)]
    client_cert: Option<Spanned<Template>>,
    /// The file with its private key, as PEM and without a passphrase.
    #[serde(default)]
    client_key: Option<Spanned<Template>>,
}

/// What is asked of a server before anything is said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsMode {
    /// It must prove that it is the one that `host` names, and everything is encrypted.
    VerifyFull,
    /// Everything is encrypted, whoever the server is: who can answer in its place reads the password and the rows.
    Require,
    /// Nothing: everybody on the way can read along.
    Disable,
}

/// What happens to values that have no place in the type they are read as: NaN and infinite numerics, infinite dates
/// and timestamps, arrays of several dimensions or with odd bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SpecialValues {
    /// The read stops, and says in which column.
    Error,
    /// Columns that may hold some are read as the server's text, and their values are cast one by one: `on_misfit` says
    /// what becomes of those that do not fit.
    Cast,
}

/// The options, checked, with defaults filled in. References are kept as they are written.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) host: Template,
    pub(crate) port: u16,
    pub(crate) database: Template,
    pub(crate) user: Template,
    /// Made of references alone.
    pub(crate) password: Option<Template>,
    pub(crate) schema: String,
    pub(crate) schemas: Option<Vec<String>>,
    pub(crate) tls: Tls,
    pub(crate) connections: usize,
    pub(crate) connect_timeout: Duration,
    /// `None`: as long as it takes.
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) lock_timeout: Duration,
    pub(crate) application_name: String,
    pub(crate) special_values: SpecialValues,
    pub(crate) split_bytes: u64,
}

/// How the way to a server is secured. The files are paths.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) mode: TlsMode,
    pub(crate) root_cert: Option<Template>,
    pub(crate) client_cert: Option<Template>,
    pub(crate) client_key: Option<Template>,
}

pub(crate) fn parse(node: &Node) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let Some(options) = decode::<Options>(node, &mut problems) else { return Err(problems) };
    check_names(&options, &mut problems);
    let is_socket = is_socket(options.host.beginning());
    let tls = match options.tls {
        Some(tls) => checked_tls(tls, is_socket, &mut problems),
        None => Tls { mode: TlsMode::VerifyFull, root_cert: None, client_cert: None, client_key: None },
    };
    let mut number = |name: &str, written: Option<Spanned<u64>>, default: u64, range: RangeInclusive<u64>| {
        let Some(written) = written else { return default };
        if range.contains(&written.value) {
            return written.value;
        }
        let message = format!("`{name}` must be from {} to {}", range.start(), range.end());
        problems.push(Problem::new(written.span, message));
        default
    };
    let port = number("port", options.port, 5432, 1..=65535);
    let connections = number("connections", options.connections, 8, 2..=1000);
    let connect = number("connect_timeout_secs", options.connect_timeout_secs, 10, 1..=3600);
    let statement = number("statement_timeout_secs", options.statement_timeout_secs, 0, 0..=LONGEST_TIMEOUT_SECS);
    let lock = number("lock_timeout_secs", options.lock_timeout_secs, 30, 1..=LONGEST_TIMEOUT_SECS);
    let split_mb = number("split_mb", options.split_mb, 64, 1..=10_000);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Settings {
        host: options.host.value,
        port: port as u16,
        database: options.database.value,
        user: options.user.value,
        password: options.password.map(|p| p.value),
        schema: options.schema.map_or_else(|| "public".to_string(), |s| s.value),
        schemas: options.schemas.map(|list| list.value.into_iter().map(|s| s.value).collect()),
        tls,
        connections: connections as usize,
        connect_timeout: Duration::from_secs(connect),
        statement_timeout: (statement > 0).then(|| Duration::from_secs(statement)),
        lock_timeout: Duration::from_secs(lock),
        application_name: options.application_name.map_or_else(|| "transload".to_string(), |n| n.value),
        special_values: options.special_values.map_or(SpecialValues::Error, |s| s.value),
        split_bytes: split_mb * 1024 * 1024,
    })
}

/// Whether a host is the folder of a unix socket.
pub(crate) fn is_socket(host: &str) -> bool {
    host.starts_with('/')
}

/// Why a server cannot be named so, and what to do about it.
pub(crate) fn unfit_host(host: &str) -> Option<(&'static str, &'static str)> {
    if host.trim().is_empty() {
        return Some(("`host` is empty", "write the server's name or address"));
    }
    if host.contains('\0') {
        return Some(("`host` holds a zero byte", "remove it"));
    }
    if is_socket(host) {
        return None;
    }
    let parts = "write each part on its own: `host`, `port`, `database`, `user` and `password`";
    if host.contains("://") || host.contains(['=', '@', '/', '?']) {
        return Some(("`host` is the name of a server, not a url or a connection string", parts));
    }
    if host.contains([',', ' ', '\t', '\n']) {
        return Some(("`host` is the name of one server", "make a connection for each server"));
    }
    if host.contains(['[', ']']) {
        return Some(("an address of IPv6 stands here without brackets", "write it as `host: \"::1\"`"));
    }
    match host.split_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(("`host` holds a port", "write it as `port`, on a line of its own"))
        }
        _ => None,
    }
}

/// What is wrong with the texts: those that can be seen, and not what references will bring.
fn check_names(options: &Options, problems: &mut Vec<Problem>) {
    if let Some(host) = options.host.literal().filter(|_| !options.host.is_placeholder())
        && let Some((message, hint)) = unfit_host(host)
    {
        // A password stands before this character in a url.
        let is_secret = host.contains(['@', '=']);
        problems.push(Problem { is_secret, ..Problem::new(options.host.span, message).hint(hint) });
    }
    for (name, setting) in [("database", &options.database), ("user", &options.user)] {
        if setting.is_placeholder() {
            continue;
        }
        match setting.literal() {
            Some("") => problems.push(Problem::new(setting.span, format!("`{name}` is empty"))),
            Some(text) if text.contains('\0') => {
                problems.push(Problem::new(setting.span, format!("`{name}` holds a zero byte")));
            }
            _ => {}
        }
    }
    if let Some(password) = options.password.as_ref().filter(|password| !password.is_reference()) {
        problems.push(Problem::written_secret(password.span, "`password`"));
    }
    if let Some(schemas) = &options.schemas {
        if schemas.value.is_empty() {
            let problem = Problem::new(schemas.span, "`schemas` names no schema");
            problems.push(problem.hint("name some, or remove it: then all are looked through"));
        }
        for (at, schema) in schemas.value.iter().enumerate() {
            if schemas.value[..at].contains(schema) {
                problems.push(Problem::new(schema.span, format!("`{}` is named twice", schema.value)));
            }
        }
    }
    for schema in options.schema.iter().chain(options.schemas.iter().flat_map(|list| &list.value)) {
        if schema.value.is_empty() || schema.value.contains('\0') || schema.value.len() > LONGEST_NAME {
            let message = format!("a schema has a name of 1 to {LONGEST_NAME} bytes, none of them zero");
            problems.push(Problem::new(schema.span, message));
        }
    }
    if let Some(name) = &options.application_name {
        let is_plain = name.value.bytes().all(|b| (b' '..=b'~').contains(&b));
        if name.value.is_empty() || name.value.len() > LONGEST_NAME || !is_plain {
            let message = format!("`application_name` is 1 to {LONGEST_NAME} characters of ASCII");
            problems.push(Problem::new(name.span, message).hint("the server would cut or change any other"));
        }
    }
}

fn checked_tls(options: Spanned<TlsOptions>, is_socket: bool, problems: &mut Vec<Problem>) -> Tls {
    let Spanned { value: options, span } = options;
    let mode = options.mode.as_ref().map_or(TlsMode::VerifyFull, |mode| mode.value);
    if is_socket && mode != TlsMode::Disable {
        let problem = Problem::new(span, "`tls` does nothing: `host` is a unix socket, which has no TLS");
        problems.push(problem.hint("remove it"));
    }
    let files = [
        ("root_cert", &options.root_cert, "those who may vouch for the server"),
        ("client_cert", &options.client_cert, "the user's certificate"),
        ("client_key", &options.client_key, "the key of the user's certificate"),
    ];
    for (name, file, what) in files {
        let Some(file) = file else { continue };
        if file.literal().is_some_and(|path| path.trim().is_empty()) {
            problems
                .push(Problem::new(file.span, format!("`{name}` is empty")).hint(format!("name the file of {what}")));
        }
        if mode == TlsMode::Disable {
            let problem = Problem::new(file.span, format!("`{name}` does nothing with `mode: disable`"));
            problems.push(problem.hint("remove it, or the mode"));
        } else if mode == TlsMode::Require && name == "root_cert" {
            let problem =
                Problem::new(file.span, "`root_cert` does nothing with `mode: require`, which asks for no proof");
            problems.push(problem.hint("write `mode: verify-full`, or remove it"));
        }
    }
    for (one, name, other, missing) in [
        (&options.client_cert, "client_cert", &options.client_key, "client_key"),
        (&options.client_key, "client_key", &options.client_cert, "client_cert"),
    ] {
        if let (Some(one), None) = (one, other) {
            let message = format!("`{name}` does nothing without `{missing}`");
            problems.push(Problem::new(one.span, message).hint(format!("add `{missing}`")));
        }
    }
    let value = |file: Option<Spanned<Template>>| file.map(|file| file.value);
    Tls {
        mode,
        root_cert: value(options.root_cert),
        client_cert: value(options.client_cert),
        client_key: value(options.client_key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every connection must say.
    const NEEDED: &str = r#""host": "db.example.com", "database": "shop", "user": "loader""#;

    fn parsed(json: &str) -> Result<Settings, Vec<Problem>> {
        parse(&serde_json::from_str(json).unwrap())
    }

    /// What is wrong with options, each problem with its hint.
    fn said(json: &str) -> Vec<String> {
        let problems = parsed(json).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}|{}", p.message, p.hint.unwrap_or_default())).collect()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let settings = parsed(&format!("{{{NEEDED}}}")).unwrap();
        assert_eq!((settings.port, settings.schema.as_str(), settings.schemas), (5432, "public", None));
        assert_eq!((settings.connections, settings.split_bytes), (8, 64 << 20));
        assert_eq!((settings.tls.mode, settings.special_values), (TlsMode::VerifyFull, SpecialValues::Error));
        assert_eq!(
            (settings.connect_timeout, settings.lock_timeout),
            (Duration::from_secs(10), Duration::from_secs(30))
        );
        assert_eq!((settings.statement_timeout, settings.application_name.as_str()), (None, "transload"));
        assert!(settings.password.is_none());
    }

    #[test]
    fn options_that_make_sense_are_taken() {
        for more in [
            r#""port": 65535, "password": "${file:/run/pw}", "schema": "sales", "schemas": ["public", "sales"]"#,
            r#""tls": {"mode": "disable"}"#,
            r#""tls": {"mode": "require", "client_cert": "c.pem", "client_key": "${env:KEY}"}"#,
            r#""tls": {"root_cert": "ca.pem"}, "connections": 2, "statement_timeout_secs": 60, "special_values": "cast""#,
        ] {
            assert_eq!(said(&format!("{{{NEEDED}, {more}}}")), [""; 0], "{more}");
        }
        for host in ["::1", "10.0.0.1", "/run/postgresql", "${env:PGHOST}"] {
            assert_eq!(said(&format!(r#"{{"host": "{host}", "database": "d", "user": "u"}}"#)), [""; 0], "{host}");
        }
    }

    #[test]
    fn a_password_that_stands_in_the_file_is_refused_and_not_shown() {
        for password in ["s3cr3t", "${env:A}s3cr3t"] {
            let problems = parsed(&format!(r#"{{{NEEDED}, "password": "{password}"}}"#)).unwrap_err();
            assert_eq!(problems.len(), 1);
            assert!(problems[0].is_secret, "{problems:?}");
            assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
        }
    }

    #[test]
    fn a_host_that_is_something_else_gets_a_sentence() {
        let said = |host: &str| said(&format!(r#"{{"host": "{host}", "database": "d", "user": "u"}}"#)).join("; ");
        for (host, wanted) in [
            ("postgres://u:s3cr3t@h:5432/d", "not a url"),
            ("host=h password=s3cr3t", "not a url or a connection string"),
            ("h:5433", "holds a port"),
            ("[::1]", "without brackets"),
            ("a,b", "one server"),
            (" ", "`host` is empty"),
        ] {
            let said = said(host);
            assert!(said.contains(wanted) && !said.contains("s3cr3t"), "{host}: {said}");
        }
        let url = r#"{"host": "postgres://u:s3cr3t@h/d", "database": "d", "user": "u"}"#;
        assert!(parsed(url).unwrap_err()[0].is_secret);
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        for (more, wanted) in [
            (r#""port": 0"#, "`port` must be from 1 to 65535|"),
            (r#""port": 65536"#, "`port` must be from 1 to 65535|"),
            (r#""connections": 1"#, "`connections` must be from 2 to 1000|"),
            (r#""connections": 1001"#, "`connections` must be from 2 to 1000|"),
            (r#""connect_timeout_secs": 0"#, "`connect_timeout_secs` must be from 1 to 3600|"),
            (r#""lock_timeout_secs": 0"#, "`lock_timeout_secs` must be from 1 to 2000000|"),
            (r#""statement_timeout_secs": 2000001"#, "`statement_timeout_secs` must be from 0 to 2000000|"),
            (r#""split_mb": 0"#, "`split_mb` must be from 1 to 10000|"),
            (r#""split_mb": 10001"#, "`split_mb` must be from 1 to 10000|"),
            (r#""schemas": []"#, "`schemas` names no schema|name some, or remove it: then all are looked through"),
            (r#""schemas": ["a", "b", "a"]"#, "`a` is named twice|"),
            (r#""schema": """#, "a schema has a name of 1 to 63 bytes, none of them zero|"),
            (
                r#""application_name": "größe""#,
                "`application_name` is 1 to 63 characters of ASCII|the server would cut or change any other",
            ),
            (r#""tls": {"client_cert": "c.pem"}"#, "`client_cert` does nothing without `client_key`|add `client_key`"),
            (r#""tls": {"client_key": "k.pem"}"#, "`client_key` does nothing without `client_cert`|add `client_cert`"),
            (
                r#""tls": {"mode": "disable", "root_cert": "ca.pem"}"#,
                "`root_cert` does nothing with `mode: disable`|remove it, or the mode",
            ),
            (
                r#""tls": {"mode": "require", "root_cert": "ca.pem"}"#,
                "`root_cert` does nothing with `mode: require`, which asks for no proof|write `mode: verify-full`, or remove it",
            ),
            (r#""tls": {"mode": "prefer"}"#, "`prefer` is not one of `verify-full`, `require`, `disable`|"),
        ] {
            assert_eq!(said(&format!("{{{NEEDED}, {more}}}")), [wanted], "{more}");
        }
        let socket = r#"{"host": "/run/postgresql", "database": "d", "user": "u", "tls": {"mode": "require"}}"#;
        assert_eq!(said(socket), ["`tls` does nothing: `host` is a unix socket, which has no TLS|remove it"]);
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let said =
            said(r#"{"host": "h:1", "port": 0, "user": "", "password": "x", "tls": {"client_key": "k"}, "ssl": 1}"#);
        for wanted in [
            "`database` is missing",
            "holds a port",
            "`port`",
            "`user` is empty",
            "`password`",
            "`ssl`",
            "`client_key`",
        ] {
            assert!(said.iter().any(|problem| problem.contains(wanted)), "{wanted}: {said:?}");
        }
    }
}
