//! The connections by which tables are read, and which of them nobody uses now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use transload_core::{Error, PinnedSnapshot, Result};

use crate::client::Client;

/// A snapshot that transactions can take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Where it was taken: the server and the database.
    pub(crate) server: String,
    /// What the server calls it. It gives the same names again once it was started anew.
    pub(crate) name: String,
    /// The transactions that it sees.
    pub(crate) sees: String,
    /// When it was taken, by the server's clock.
    pub(crate) taken: String,
}

impl Snapshot {
    /// That of a pin.
    pub(crate) fn of(pin: &PinnedSnapshot) -> Self {
        Self {
            server: pin.server.clone(),
            name: pin.snapshot.clone(),
            sees: pin.sees.clone(),
            taken: pin.taken.clone(),
        }
    }
}

/// The connections of one endpoint, whatever the tables: no more at the same time than there may be, those included that
/// nobody uses now.
pub(crate) struct Readers<C = Client> {
    permits: Arc<Semaphore>,
    /// Those that nobody uses, the oldest first.
    idle: Mutex<Vec<Idle<C>>>,
}

/// A connection that nobody uses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Idle<C> {
    pub(crate) client: C,
    /// What its transaction sees.
    pub(crate) snapshot: Snapshot,
    /// The number of the table that it has read, and holds.
    pub(crate) table: u32,
}

impl<C> Readers<C> {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most.max(1))), idle: Mutex::default() }
    }

    /// Waits until there may be one more in use.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|e| Error::internal("the connections that read are closed").because(e))
    }

    /// One that sees a snapshot, for whoever has a permit: if it can be, one that holds the table that is to be read. Whoever
    /// waits to change that table is not in its way.
    pub(crate) fn take(&self, snapshot: &Snapshot, table: u32) -> Option<Idle<C>> {
        let mut all = self.idle();
        let holds = |idle: &Idle<C>| idle.snapshot == *snapshot && idle.table == table;
        let at = all.iter().position(holds).or_else(|| all.iter().position(|idle| idle.snapshot == *snapshot))?;
        Some(all.remove(at))
    }

    /// Closes as many that nobody uses as have to be, for whoever has a permit and is about to make a new one.
    pub(crate) fn make_room(&self) {
        let mut idle = self.idle();
        let too_many = idle.len().saturating_sub(self.permits.available_permits());
        idle.drain(..too_many);
    }

    /// Takes one back whose transaction is as good as before, from whoever has its permit still.
    pub(crate) fn give_back(&self, idle: Idle<C>) {
        self.idle().push(idle);
    }

    /// Closes those that see a snapshot which nobody needs any more.
    pub(crate) fn close(&self, snapshot: &Snapshot) {
        self.idle().retain(|idle| idle.snapshot != *snapshot);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle<C>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn snapshot(name: &str) -> Snapshot {
        let [server, name, sees, taken] = ["7/5", name, "1:1:", "2026-01-01T00:00:00Z"].map(str::to_string);
        Snapshot { server, name, sees, taken }
    }

    fn give_back(readers: &Readers<u8>, client: u8, snapshot: &Snapshot, table: u32) {
        readers.give_back(Idle { client, snapshot: snapshot.clone(), table });
    }

    fn taken(readers: &Readers<u8>, snapshot: &Snapshot, table: u32) -> Option<u8> {
        readers.take(snapshot, table).map(|idle| idle.client)
    }

    fn permit(readers: &Readers<u8>) -> Option<OwnedSemaphorePermit> {
        readers.permit().now_or_never().map(Result::unwrap)
    }

    #[test]
    fn what_nobody_uses_is_used_again_under_its_own_snapshot_alone() {
        let (readers, [a, b]) = (Readers::new(3), ["a", "b"].map(snapshot));
        give_back(&readers, 1, &a, 10);
        give_back(&readers, 2, &b, 10);
        let later = Snapshot { sees: "2:2:".to_string(), ..a.clone() };
        let elsewhere = Snapshot { server: "8/5".to_string(), ..a.clone() };
        assert_eq!((taken(&readers, &later, 10), taken(&readers, &elsewhere, 10)), (None, None));
        assert_eq!((taken(&readers, &b, 10), taken(&readers, &b, 10)), (Some(2), None));
        assert_eq!((taken(&readers, &a, 10), taken(&readers, &a, 10)), (Some(1), None));
    }

    #[test]
    fn one_that_holds_the_table_comes_first() {
        let (readers, a) = (Readers::new(3), snapshot("a"));
        (1..=3).for_each(|client| give_back(&readers, client, &a, u32::from(client)));
        assert_eq!(
            (taken(&readers, &a, 2), taken(&readers, &a, 2), taken(&readers, &a, 3)),
            (Some(2), Some(1), Some(3))
        );
    }

    #[test]
    fn those_that_nobody_uses_count_too() {
        let (readers, a) = (Readers::new(3), snapshot("a"));
        (1..=3).for_each(|client| give_back(&readers, client, &a, 1));
        let first = permit(&readers).unwrap();
        readers.make_room();
        assert_eq!(readers.idle().len(), 2);
        let second = permit(&readers).unwrap();
        readers.make_room();
        assert_eq!((taken(&readers, &a, 1), taken(&readers, &a, 1)), (Some(3), None), "the oldest are closed");
        let third = permit(&readers).unwrap();
        assert!(permit(&readers).is_none(), "there may be no fourth");
        give_back(&readers, 4, &a, 1);
        drop(first);
        let again = permit(&readers).unwrap();
        assert_eq!(taken(&readers, &a, 1), Some(4));
        drop((second, third, again));
    }

    #[test]
    fn with_a_snapshot_the_connections_end_that_see_it() {
        let (readers, [a, b]) = (Readers::new(3), ["a", "b"].map(snapshot));
        give_back(&readers, 1, &a, 1);
        give_back(&readers, 2, &b, 1);
        readers.close(&a);
        assert_eq!((taken(&readers, &a, 1), taken(&readers, &b, 1)), (None, Some(2)));
    }
}
