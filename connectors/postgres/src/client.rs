//! Connections to a server.

mod bypass;
mod cancel;
mod session;
mod socket;

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Connection, CopyInSink, NoTls, Row, SimpleQueryMessage};
use transload_core::{Error, Resolve, Result};

use self::bypass::{Bypass, Bypassing, Lane};
use self::session::Session;
use self::socket::Address;
use crate::error::{explain, meaning};
use crate::options::{Settings, unfit_host};
use crate::pgpass::{self, Login};
use crate::tls::{Encryption, connector, encryption};

pub(crate) use self::bypass::Copied;
pub(crate) use self::cancel::CancelGuard;
pub(crate) use self::socket::Socket;

/// The oldest server that is spoken with.
const OLDEST: u32 = 10;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The server refuses all changes on it.
    Reader,
    /// It may change tables.
    Writer,
}

impl Role {
    /// How long what was sent may stay without an answer. A server that is busy with rows takes no more for a while,
    /// which looks the same: whoever writes waits longer.
    fn longest_silence(self) -> Duration {
        match self {
            Self::Reader => Duration::from_secs(60),
            Self::Writer => Duration::from_secs(900),
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// Such as 150004 for 15.4.
    pub(crate) version: u32,
    /// Whether it is a replica.
    pub(crate) in_recovery: bool,
    /// Its own identifier, or when it was started if it does not tell that, then a slash and the number of the
    /// database.
    pub(crate) id: String,
    /// The name of the database.
    pub(crate) database: String,
    /// For how many minutes it keeps what a snapshot sees; `None` if for as long as anybody has the snapshot.
    pub(crate) keeps_minutes: Option<u32>,
    /// Whether the database's texts are UTF-8. Others are converted, but for those of `SQL_ASCII`, which are any bytes.
    pub(crate) is_utf8: bool,
}

/// How a connection ended, once it has: by an error, or since nobody needed it any more.
type End = OnceLock<Option<tokio_postgres::Error>>;

/// One connection, whose session is set up: names are looked up in `pg_catalog` alone, and texts look the same whatever
/// the server, the database and the user are set to.
///
/// # Cancellation
/// Dropping a future leaves its statement running, and the connection busy until it ends:
/// [`cancel_guard`](Self::cancel_guard) ends it. Dropping the client closes the connection when the server has answered
/// all it was asked.
pub(crate) struct Client {
    inner: tokio_postgres::Client,
    way: Way,
    lane: Lane,
    end: Arc<End>,
    session: Session,
}

/// Where the server is, and how the way to it is secured.
#[derive(Clone)]
struct Way {
    address: Address,
    encryption: Encryption,
}

impl Client {
    /// Connects, within the time that the settings allow for all of it.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if the server cannot be reached or takes no connection now.
    /// [`Config`](transload_core::ErrorKind::Config) if it is not the one that it should be, does not let the user in,
    /// is too old, or stands behind a pooler that gives each transaction another session.
    pub(crate) async fn connect(settings: &Settings, resolver: &dyn Resolve, role: Role) -> Result<Self> {
        let connected = match prepared(settings, resolver, role) {
            Ok((config, way)) => {
                let opening = Self::open(&config, way, settings, role);
                tokio::time::timeout(settings.connect_timeout, opening).await.unwrap_or_else(|_| {
                    Err(Error::transient("the server did not let the connection in in time")
                        .hint("check `host`, `port` and the network; if it is only slow, raise `connect_timeout_secs`"))
                })
            }
            Err(error) => Err(error),
        };
        connected.map_err(|error| {
            error
                .with("server", format!("{}:{}", settings.host.as_written(), settings.port))
                .with("database", settings.database.as_written())
                .with("user", settings.user.as_written())
        })
    }

    async fn open(config: &Config, mut way: Way, settings: &Settings, role: Role) -> Result<Self> {
        let (end, lane) = (Arc::new(End::new()), Lane::default());
        let socket = way.address.connect().await?;
        let opened = match &way.encryption {
            Encryption::Plain => {
                let socket = Bypass::new(socket, lane.clone());
                config.connect_raw(socket, NoTls).await.map(|opened| driven(opened, &end))
            }
            Encryption::Tls(tls) => {
                let tls = Bypassing { tls: connector(tls, &way.address.host)?, lane: lane.clone() };
                config.connect_raw(socket, tls).await.map(|opened| driven(opened, &end))
            }
        };
        let (inner, version) = opened.map_err(explain)?;
        refuse_old(version.as_deref())?;
        let session = Session::set_up(&inner, settings, role).await;
        let session = session.map_err(|e| e.explained(|error| explained(&end, error)))?;
        Ok(Self { inner, way, lane, end, session })
    }

    /// What the server says of itself.
    pub(crate) fn server(&self) -> &ServerInfo {
        &self.session.server
    }

    /// Whether the session was that of another connection when this one was made.
    pub(crate) fn has_session_of(&self, other: &Self) -> bool {
        self.session.was_of(&other.session)
    }

    /// Runs statements that give no rows, one after the other.
    ///
    /// # Errors
    /// As [`explain`] says.
    pub(crate) async fn run(&self, sql: &str) -> Result<()> {
        self.inner.batch_execute(sql).await.map_err(|e| self.explain(e))
    }

    /// The first value that statements give, which are run one after the other, as the server's text.
    ///
    /// # Errors
    /// As [`explain`] says.
    pub(crate) async fn value(&self, sql: &str) -> Result<Option<String>> {
        let messages = self.inner.simple_query(sql).await.map_err(|e| self.explain(e))?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_string),
            _ => None,
        }))
    }

    /// Begins a transaction, after which come its characteristics, such as `READ ONLY` or nothing. Nothing is looked at
    /// yet: a snapshot can still be set.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if the session is not the one that was set up when this was
    /// connected: a pooler has given this transaction another. Whatever else fails, as [`explain`] says.
    pub(crate) async fn begin(&self, characteristics: &str) -> Result<()> {
        let begun = self.session.begin(&self.inner, characteristics).await;
        begun.map_err(|e| e.explained(|error| self.explain(error)))
    }

    /// The rows of one statement.
    ///
    /// # Errors
    /// As [`explain`] says.
    pub(crate) async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.inner.query(sql, params).await.map_err(|e| self.explain(e))
    }

    /// Runs one statement that changes rows, and says how many.
    ///
    /// # Errors
    /// As [`explain`] says.
    pub(crate) async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.inner.execute(sql, params).await.map_err(|e| self.explain(e))
    }

    /// Begins `COPY … TO STDOUT`. Errors of the stream are for [`explain`](Self::explain).
    ///
    /// # Cancellation
    /// A stream that is dropped is still sent to its end, and thrown away. Where this future itself is dropped, the client is
    /// good for nothing more: rows that come late could go to the next stream.
    pub(crate) async fn copy_out(&self, sql: &str) -> Result<Copied> {
        let rows = self.lane.open();
        let end = self.inner.copy_out(sql).await.map_err(|e| self.explain(e))?;
        Ok(Copied::new(rows, end))
    }

    /// Begins `COPY … FROM STDIN`. Errors of the sink are for [`explain`](Self::explain); the server's are told by its
    /// end.
    ///
    /// # Cancellation
    /// A sink that is dropped before its end makes the server undo the statement: none of its rows are there.
    pub(crate) async fn copy_in(&self, sql: &str) -> Result<CopyInSink<Bytes>> {
        self.inner.copy_in::<str, Bytes>(sql).await.map_err(|e| self.explain(e))
    }

    /// What an error of this connection means: if it is gone, why.
    pub(crate) fn explain(&self, error: tokio_postgres::Error) -> Error {
        explained(&self.end, error)
    }

    /// Stops the statement that runs, if it is dropped.
    pub(crate) fn cancel_guard(&self) -> CancelGuard {
        CancelGuard::new(self.inner.cancel_token(), self.way.clone(), Arc::clone(&self.end))
    }

    /// Whether the connection is gone: nothing can be asked any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

/// Who waits for an answer learns only that the connection is gone: why is what it ended with.
fn explained(end: &End, error: tokio_postgres::Error) -> Error {
    match end.get() {
        Some(Some(reason)) if error.is_closed() => meaning(reason),
        _ => explain(error),
    }
}

/// Resolves what the settings refer to. Nobody is asked anything yet.
fn prepared(settings: &Settings, resolver: &dyn Resolve, role: Role) -> Result<(Config, Way)> {
    let host = settings.host.resolve(resolver)?;
    let (database, user) = (settings.database.resolve(resolver)?, settings.user.resolve(resolver)?);
    let login = Login {
        host: host.expose_secret(),
        port: settings.port,
        database: database.expose_secret(),
        user: user.expose_secret(),
    };
    if let Some((message, hint)) = unfit_host(login.host) {
        return Err(Error::config(message).hint(hint));
    }
    for (name, text) in [("database", login.database), ("user", login.user)] {
        if text.is_empty() || text.contains('\0') {
            return Err(Error::config(format!("`{name}` is empty, or holds a zero byte")));
        }
    }
    let password = match &settings.password {
        Some(password) => Some(password.resolve(resolver)?),
        None => pgpass::password(login, resolver),
    };
    let encryption = encryption(&settings.tls, login.host, resolver)?;
    let mut config = Config::new();
    config.dbname(login.database).user(login.user).application_name(settings.application_name.as_str()).ssl_mode(
        match encryption {
            Encryption::Plain => SslMode::Disable,
            Encryption::Tls(_) => SslMode::Require,
        },
    );
    if let Some(password) = password.filter(|password| !password.expose_secret().is_empty()) {
        config.password(password.expose_secret());
    }
    let address = Address {
        host: login.host.to_string(),
        port: login.port,
        longest_silence: role.longest_silence(),
        answered: None,
    };
    Ok((config, Way { address, encryption }))
}

/// Drives a connection in the background until it ends, and keeps how it ended. The text is the server's version.
fn driven<S, T>(
    (client, mut connection): (tokio_postgres::Client, Connection<S, T>),
    end: &Arc<End>,
) -> (tokio_postgres::Client, Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let version = connection.parameter("server_version").map(str::to_string);
    let end = Arc::clone(end);
    tokio::spawn(async move {
        let reason = loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                // Notices may hold values of rows, and nobody listens to notifications.
                Some(Ok(_)) => {}
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        // Whoever waits learns that the connection is gone when it is dropped: the reason must be there before.
        let _ = end.set(reason);
        drop(connection);
    });
    (client, version)
}

fn refuse_old(version: Option<&str>) -> Result<()> {
    let Some(version) = version else { return Ok(()) };
    let numbers: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    match numbers.split('.').next().map(str::parse::<u32>) {
        Some(Ok(major)) if major < OLDEST => Err(Error::config(format!(
            "the server is PostgreSQL {numbers}; the oldest that transload speaks with is {OLDEST}"
        ))
        .hint("upgrade it, or restore a dump of it in a newer server")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
