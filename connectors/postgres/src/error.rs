//! What goes wrong with a server and on the way to it, in transload's words.

mod states;

use std::io;

use tokio_postgres::error::DbError;
use transload_core::Error;

use self::states::Said;
use crate::tls;

pub(crate) use self::states::{is_pooled, pooled};

/// What helps against most things that pass.
const AGAIN: &str = "the same command can be tried again";
/// The sentences that [`is_lost`] knows.
const LOST_SNAPSHOT: &str = "the snapshot that the table is read under is gone: the connection that held it has ended";
const OLD_SNAPSHOT: &str = "the server no longer keeps the rows as they were when the table was pinned";

/// What tokio-postgres calls the kinds of its errors, which it shows in no other way.
const HANDSHAKE: &str = "error performing TLS handshake";
const AUTHENTICATION: &str = "authentication error";
const CONFIGURATION: &str = "invalid configuration";
const TALKING: &str = "error communicating with the server";
const PARSING: &str = "error parsing response from server";

/// What an error of the server or of the way to it means.
///
/// The server's code for it is in the context, where [`sqlstate`] finds it. Values of rows and secrets are not in it.
pub(crate) fn explain(error: tokio_postgres::Error) -> Error {
    meaning(&error)
}

/// The same, for an error that is kept.
pub(crate) fn meaning(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(said) => states::explain(&Said::of(said)),
        None => on_the_way(error),
    }
}

/// The code that the server has given an error, such as `42P01`, if it was the server's.
pub(crate) fn sqlstate(error: &Error) -> Option<&str> {
    error.context().iter().find(|(what, _)| *what == "sqlstate").map(|(_, code)| code.as_str())
}

/// Whether an error says that nobody holds a snapshot any more, or that the server does not keep what it sees.
pub(crate) fn is_lost(error: &Error) -> bool {
    [LOST_SNAPSHOT, OLD_SNAPSHOT].contains(&error.message())
}

/// What is said of a snapshot that nobody holds any more.
pub(crate) fn lost_snapshot() -> Error {
    Error::transient(LOST_SNAPSHOT).hint("`transload resume` pins the table anew and reads it from its beginning")
}

/// What is said of a snapshot that is older than the server keeps what it sees.
pub(crate) fn old_snapshot() -> Error {
    Error::transient(OLD_SNAPSHOT).hint(
        "raise the server's `old_snapshot_threshold`, or set it to -1: it must be longer than reading takes; \
         then `transload resume` pins the table anew and reads it from its beginning",
    )
}

fn on_the_way(error: &tokio_postgres::Error) -> Error {
    if error.is_closed() {
        return Error::transient("the connection to the server is gone").hint(AGAIN);
    }
    let cause = std::error::Error::source(error);
    let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    let text = cause.map(ToString::to_string).unwrap_or_default();
    match (error.to_string().as_str(), io) {
        (AUTHENTICATION, _) => not_let_in(&text),
        (CONFIGURATION, _) if text == "password missing" => no_password(),
        (HANDSHAKE | TALKING, Some(io)) => broken(io),
        (HANDSHAKE, None) if text == "server does not support TLS" => no_tls(),
        (PARSING, _) => Error::config("what answers does not speak as PostgreSQL does")
            .hint("check that `host` and `port` are those of a PostgreSQL server")
            .because(text),
        // The text names columns and types.
        (what, _) => Error::internal("the server and transload misunderstand each other").because(what.to_string()),
    }
}

fn no_tls() -> Error {
    Error::config("the server does not speak TLS")
        .hint("turn `ssl` on there; where everybody on the way may read along, write `tls: { mode: disable }`")
}

fn no_password() -> Error {
    Error::config("the server asks for a password, and there is none")
        .hint("write `password: ${env:NAME}` or `${file:path}`, or set PGPASSWORD, or add a line to ~/.pgpass")
}

fn not_let_in(text: &str) -> Error {
    match text.contains("unsupported") {
        true => Error::config("the server asks for a way to log in that transload does not know").hint(
            "it knows passwords, by SCRAM or MD5, and certificates: let the server's pg_hba.conf ask for one of them",
        ),
        false => Error::config("the server does not prove that it knows the user's password")
            .hint("another program may answer in its place: check `host` and `port`")
            .because(text.to_string()),
    }
}

/// Why a server cannot be reached.
pub(crate) fn unreachable_server(error: &io::Error) -> Error {
    use io::ErrorKind as K;
    let (message, hint) = match error.kind() {
        K::PermissionDenied => {
            return Error::config("access to the server's unix socket was refused")
                .hint("check the owner and the mode of its folder")
                .because(error.to_string());
        }
        K::ConnectionRefused => ("no server answers there", "check `host` and `port`, and that the server runs"),
        K::NotFound => {
            ("there is no unix socket of a server there", "check `host` and `port`, and that the server runs")
        }
        K::TimedOut => ("the server does not answer", "check `host` and `port`, and what stands in the way there"),
        _ if error.to_string().contains("lookup address") => {
            ("the name of the server cannot be looked up", "check `host` and the network")
        }
        _ => ("the server cannot be reached", "check `host`, `port` and the network"),
    };
    Error::transient(message).hint(hint).because(error.to_string())
}

/// A connection that stood, or was about to.
fn broken(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => tls::explain(error),
        None => Error::transient("the connection to the server broke").hint(AGAIN).because(error.to_string()),
    }
}

impl<'a> Said<'a> {
    fn of(error: &'a DbError) -> Self {
        Self {
            code: error.code().code(),
            message: error.message(),
            // What rows are sent with is told there, too, and what another server was asked.
            is_inside: error.where_().is_some_and(|place| !place.starts_with("COPY"))
                && error.routine() != Some("pgfdw_report_error"),
            file: error.file(),
            routine: error.routine(),
            schema: error.schema(),
            table: error.table(),
            column: error.column(),
            constraint: error.constraint(),
            datatype: error.datatype(),
        }
    }
}
