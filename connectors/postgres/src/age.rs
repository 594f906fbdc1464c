//! Snapshots that are older than the server keeps what they see.
//!
//! With `old_snapshot_threshold` a server before version 17 removes rows that only old snapshots see, and refuses whoever reads
//! where they were. But it goes by the moment at which a transaction took a snapshot itself: one that has taken over that of
//! another is not refused, and does not see what is gone. So the age of a snapshot is looked at once rows were read: if it is
//! young enough then, nothing of them was removed before.

use transload_core::Result;

use crate::client::Client;
use crate::error::old_snapshot;
use crate::names::literal;

/// Whether the server has all that a snapshot sees which was taken then, by its own clock.
///
/// # Errors
/// As the server fails.
pub(crate) async fn is_young(client: &Client, taken: &str) -> Result<bool> {
    match client.server().keeps_minutes {
        None => Ok(true),
        Some(minutes) => {
            let asked = format!("SELECT {} <= {}::pg_catalog.timestamptz", oldest(minutes), literal(taken));
            Ok(client.value(&asked).await?.as_deref() == Some("t"))
        }
    }
}

/// Refuses a snapshot that is not.
///
/// # Errors
/// [`Transient`](transload_core::ErrorKind::Transient) then.
pub(crate) async fn refuse_old(client: &Client, taken: &str) -> Result<()> {
    match is_young(client, taken).await? {
        true => Ok(()),
        false => Err(old_snapshot()),
    }
}

/// When the oldest snapshot was taken that the server keeps the rows of, as it reckons: in whole minutes, and with 0, which
/// is for tests, in five seconds (`TransactionIdLimitedForOldSnapshots`).
fn oldest(minutes: u32) -> String {
    let now = "pg_catalog.clock_timestamp()";
    match minutes {
        0 => format!("{now} - interval '5 seconds'"),
        _ => format!(
            "pg_catalog.date_trunc('minute', {now} + interval '59.999999 seconds') - interval '{minutes} minutes'"
        ),
    }
}
