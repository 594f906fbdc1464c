//! How the session of a connection is set up, and how it is found out that a pooler has put another in its place.
//!
//! Settings are made by statements and not when the connection begins, as poolers refuse most of those. A pooler that
//! gives a session's transactions to any connection of its own to the server would let them run without the settings.
//! So the session is given a name, which the server makes up, and each transaction asks for it first. A session that has the
//! name of another connection already, which is there still, belongs to both.

use tokio_postgres::error::SqlState;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};
use transload_core::{Error, Result};

use super::{Role, ServerInfo};
use crate::error::pooled;
use crate::options::Settings;

/// What the server says of itself, after the name that the session gets.
const SERVER: &str = "\
SELECT pg_catalog.set_config('transload.session', pg_catalog.concat_ws(' ', pg_catalog.pg_backend_pid(),
    pg_catalog.clock_timestamp(), pg_catalog.random()), false),
  pg_catalog.current_setting('server_version_num'),
  pg_catalog.pg_is_in_recovery(),
  d.oid,
  d.datname,
  pg_catalog.current_setting('server_encoding'),
  pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
  (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8,
  coalesce((SELECT setting FROM pg_catalog.pg_settings WHERE name = 'old_snapshot_threshold'), '-1')
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// Asks for the name that the session has already.
const BEFORE: &str = "SELECT pg_catalog.current_setting('transload.session', true)";

/// Asks for the name of the session. It is answered without a snapshot, so that a transaction can still be given one.
const NAME: &str = "SHOW transload.session";

/// A session that is set up.
pub(super) struct Session {
    /// What the server has named it.
    name: String,
    /// What it was named before: by a connection that had it, if a pooler keeps sessions and does not clean them.
    before: Option<String>,
    pub(super) server: ServerInfo,
}

/// Why a session cannot be used.
pub(super) enum Trouble {
    /// As the error says.
    Plain(Error),
    /// The server's error, or that of the way to it: the connection may know why.
    Foreign(tokio_postgres::Error),
}

impl Trouble {
    pub(super) fn explained(self, explain: impl FnOnce(tokio_postgres::Error) -> Error) -> Error {
        match self {
            Self::Plain(error) => error,
            Self::Foreign(error) => explain(error),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Plain(error)
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Foreign(error)
    }
}

impl Session {
    pub(super) async fn set_up(
        client: &tokio_postgres::Client,
        settings: &Settings,
        role: Role,
    ) -> Result<Self, Trouble> {
        let told = rows(client, &format!("{BEFORE}; {}; {SERVER}", statements(settings, role))).await?;
        let before = told.first().ok_or_else(untold)?.try_get(0).ok().flatten().map(str::to_string);
        let told = told.last().ok_or_else(untold)?;
        let name = text(told, 0)?.to_string();
        let system = match text(told, 6)? {
            "t" => "; SELECT system_identifier FROM pg_catalog.pg_control_system()",
            _ => "",
        };
        // In a transaction of its own, which sees whether the name is still there.
        let asked = named(client, &format!("{NAME}{system}")).await?;
        check(&name, &asked)?;
        let system = match asked.get(1) {
            Some(row) => text(row, 0)?,
            None => text(told, 7)?,
        };
        let server = ServerInfo {
            version: text(told, 1)?.parse().map_err(|_| untold())?,
            in_recovery: text(told, 2)? == "t",
            id: format!("{system}/{}", text(told, 3)?),
            database: text(told, 4)?.to_string(),
            keeps_minutes: text(told, 8)?.parse().ok(),
            is_utf8: text(told, 5)? == "UTF8",
        };
        Ok(Self { name, before, server })
    }

    /// Whether another connection has named it before.
    pub(super) fn was_of(&self, other: &Self) -> bool {
        self.before.as_ref() == Some(&other.name)
    }

    /// Begins a transaction in this session, or says that it is another.
    pub(super) async fn begin(&self, client: &tokio_postgres::Client, characteristics: &str) -> Result<(), Trouble> {
        let told = named(client, &format!("BEGIN {characteristics}; {NAME}")).await?;
        check(&self.name, &told)?;
        Ok(())
    }
}

/// The settings of a session.
fn statements(settings: &Settings, role: Role) -> String {
    let lock = settings.lock_timeout.as_millis();
    let statement = settings.statement_timeout.map_or(0, |time| time.as_millis());
    let changes = match role {
        Role::Reader => "; SET default_transaction_read_only = on",
        Role::Writer => "",
    };
    // The last one is for settings that not every server has: a transaction that holds a snapshot for others is idle for
    // long, and rows that are only sent gain nothing by code that is compiled for them.
    format!(
        "SET search_path = ''; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; \
         SET extra_float_digits = 3; SET bytea_output = 'hex'; SET row_security = off; \
         SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = 0{changes}; \
         SELECT pg_catalog.set_config(name, CASE name WHEN 'jit' THEN 'off' ELSE '0' END, false) \
         FROM pg_catalog.pg_settings WHERE name IN ('idle_session_timeout', 'jit', 'transaction_timeout')"
    )
}

async fn rows(client: &tokio_postgres::Client, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// The rows of statements of which the first that gives some asks for the name of the session.
async fn named(client: &tokio_postgres::Client, sql: &str) -> Result<Vec<SimpleQueryRow>, Trouble> {
    match rows(client, sql).await {
        // Nobody has named this one.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Err(Trouble::Plain(pooled())),
        told => Ok(told?),
    }
}

/// Whether the first row tells the name of this session.
fn check(name: &str, told: &[SimpleQueryRow]) -> Result<()> {
    match text(told.first().ok_or_else(untold)?, 0)? == name {
        true => Ok(()),
        false => Err(pooled()),
    }
}

fn text(row: &SimpleQueryRow, at: usize) -> Result<&str> {
    row.try_get(at).ok().flatten().ok_or_else(untold)
}

fn untold() -> Error {
    Error::config("what answers does not say of itself what PostgreSQL does")
        .hint("check that `host` and `port` are those of a PostgreSQL server")
}
