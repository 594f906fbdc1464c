//! Staging: the rows of a unit of work go into the table of their commit, in one transaction.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use futures::{Sink, SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use transload_core::{Error, Result, Staged, fault};

use crate::client::Client;
use crate::encode::Encoder;
use crate::records::{Unit, own_transaction};
use crate::sink::PostgresSink;
use crate::staging::{EACH_ANEW, in_turn};

/// Memory of what is on its way to the server: some chunks that are being filled, waiting and sent.
const IN_FLIGHT: usize = 2 << 20;

/// The most bytes of one message.
const MESSAGE: usize = 1 << 20;

/// What a staged unit says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedUnit {
    /// The table that its rows are in.
    table: String,
    /// The transaction that has written them.
    pub(crate) xid: String,
}

impl StagedUnit {
    /// What a unit says of itself.
    pub(crate) fn of(staged: &Staged) -> Result<Self> {
        serde_json::from_value(staged.detail.clone())
            .map_err(|e| Error::internal("a staged unit cannot be read").because(e))
    }

    /// Whether it is the one that is noted: a later attempt at it is another one.
    pub(crate) fn is(&self, noted: &Unit) -> bool {
        self.xid == noted.xid
    }
}

/// Bytes that are sent for a unit. They do not count if it fails.
struct Sent<'a> {
    bytes: u64,
    counted: &'a AtomicU64,
    counts: bool,
}

impl<'a> Sent<'a> {
    fn new(counted: &'a AtomicU64) -> Self {
        Self { bytes: 0, counted, counts: false }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.counted.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.counts {
            self.counted.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl PostgresSink {
    /// Stages a unit, in the place of an earlier attempt at it.
    pub(crate) async fn stage_unit(
        &self,
        unit: &str,
        rows: SendableRecordBatchStream,
        memory: &Arc<dyn MemoryPool>,
    ) -> Result<Staged> {
        if self.columns.is_empty() {
            return Err(Error::config("rows without columns cannot be written"));
        }
        let reservation = MemoryConsumer::new("rows on their way to PostgreSQL").register(memory);
        reservation.try_grow(IN_FLIGHT)?;
        let client = self.connections.take().await?;
        self.staging.prepare(&client, &self.records, (&self.name, &self.spec.commit), &self.columns).await?;
        let guard = client.cancel_guard();
        // The connection of an attempt that was dropped may still be about to end its transaction.
        client.begin(EACH_ANEW).await?;
        client.run(&in_turn(&["transload unit", self.spec.commit.as_str(), unit])).await?;
        if let Some(earlier) = self.records.unit(&client, &self.spec.commit, unit).await? {
            self.remove_rows(&client, &[earlier]).await?;
            self.records.remove_unit(&client, &self.spec.commit, unit).await?;
        }
        fault::point("postgres.stage.begun")?;
        let mut sent = Sent::new(&self.written);
        let (rows, deleted) = self.copy(&client, rows, &mut sent).await?;
        let xid = own_transaction(&client).await?;
        let noted = Unit { name: unit.to_string(), xid: xid.clone(), rows, deleted, bytes: sent.bytes };
        self.records.add_unit(&client, &self.spec.commit, &noted).await?;
        fault::point("postgres.stage.sent")?;
        client.run("COMMIT").await?;
        guard.disarm();
        client.give_back();
        fault::point("postgres.staged")?;
        sent.counts = true;
        let detail = serde_json::to_value(StagedUnit { table: self.staging.table().to_string(), xid })
            .map_err(|e| Error::internal("a staged unit cannot be written down").because(e))?;
        Ok(Staged { unit: unit.to_string(), rows, deleted, bytes: sent.bytes, detail })
    }

    /// Sends rows. How many there were, and how many delete markers.
    async fn copy(
        &self,
        client: &Client,
        mut rows: SendableRecordBatchStream,
        sent: &mut Sent<'_>,
    ) -> Result<(u64, u64)> {
        let (staging, names) = (self.staging.quoted(), self.columns.staged_names());
        let server = client.copy_in(&format!("COPY {staging} ({names}) FROM STDIN (FORMAT binary)")).await?;
        let mut server = pin!(server);
        let mut encoder = Encoder::new(&self.columns);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            fault::point("postgres.stage.batch")?;
            let mut opened = encoder.open(&batch)?;
            while encoder.fill(&mut opened)? {
                send(&mut server, encoder.take(), sent).await.map_err(|e| client.explain(e))?;
            }
        }
        let (last, rows, deleted) = encoder.finish();
        send(&mut server, last, sent).await.map_err(|e| client.explain(e))?;
        let arrived = server.as_mut().finish().await.map_err(|e| client.explain(e))?;
        match arrived == rows + deleted {
            true => Ok((rows, deleted)),
            false => Err(Error::internal(format!("{} rows were sent, and {arrived} have arrived", rows + deleted))),
        }
    }

    /// Removes the rows of units from the table in which they are staged, if they are there.
    pub(crate) async fn remove_rows(&self, client: &Client, units: &[Unit]) -> Result<()> {
        let staging = self.staging.quoted();
        client.run(&format!("DELETE FROM {staging} WHERE {}", written_by(units.iter().map(|unit| &unit.xid)))).await
    }
}

/// Sends a chunk in messages that are not too long.
async fn send<S, E>(server: &mut S, mut chunk: Bytes, sent: &mut Sent<'_>) -> Result<(), E>
where
    S: Sink<Bytes, Error = E> + Unpin,
{
    while !chunk.is_empty() {
        let message = chunk.split_to(chunk.len().min(MESSAGE));
        let bytes = message.len();
        server.feed(message).await?;
        sent.add(bytes);
    }
    Ok(())
}

/// Which rows of a table some transactions have written, as SQL. A row keeps the lower 32 bits of their numbers.
pub(crate) fn written_by<'a>(xids: impl Iterator<Item = &'a String>) -> String {
    let short = |xid: &'a String| (xid.parse::<u64>().unwrap_or_default() as u32).to_string();
    format!("xmin = ANY ('{{{}}}'::xid[])", xids.map(short).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_what_they_keep_of_a_transaction() {
        let xids = ["728".to_string(), "4294967301".to_string()];
        assert_eq!(written_by(xids.iter()), "xmin = ANY ('{728,5}'::xid[])");
        assert_eq!(written_by(Vec::new().iter()), "xmin = ANY ('{}'::xid[])");
    }

    #[test]
    fn bytes_of_a_unit_that_failed_do_not_count() {
        let counted = AtomicU64::new(0);
        let mut sent = Sent::new(&counted);
        sent.add(5);
        assert_eq!(counted.load(Ordering::Relaxed), 5);
        drop(sent);
        assert_eq!(counted.load(Ordering::Relaxed), 0);
        let mut sent = Sent::new(&counted);
        sent.add(7);
        sent.counts = true;
        drop(sent);
        assert_eq!(counted.load(Ordering::Relaxed), 7);
    }
}
