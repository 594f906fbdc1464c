//! Locks for buckets, which have none: an object that says who holds the lock, and until when.
//!
//! Whoever holds it writes a later end into the object again and again. When nobody does so any more, because the
//! process was killed or its machine is gone, the claim runs out and the next one takes it over. Every write is on the
//! condition that the object is still as it was read, so of several only one succeeds. The object is never removed by
//! the lock itself: a removal cannot be made conditional, and would hit whoever has taken the lock over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::remote::{Remote, Written};
use crate::error::{Error, Result};

/// How long a claim is good for.
const TERM: TimeDelta = TimeDelta::seconds(30);
/// How much later others believe that it has run out: the clocks of two machines may differ by so much.
const DOUBT: TimeDelta = TimeDelta::seconds(5);
/// How often it is renewed, and how long that may take.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// How often somebody who waits looks again, at first and at last.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Attempts to write a claim of ours in the place of another of ours.
const ATTEMPTS: usize = 3;

/// A lock that is held.
pub(super) struct Lease {
    held: Arc<Held>,
    renewal: JoinHandle<()>,
    released: bool,
}

/// What the holder and the renewal share.
struct Held {
    store: Remote,
    path: Path,
    owner: String,
    state: Mutex<State>,
}

struct State {
    /// The version of the object that holds our last claim.
    version: UpdateVersion,
    /// The end of that claim.
    until: DateTime<Utc>,
    /// Whether the object is somebody else's.
    lost: bool,
}

/// The content of the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// A name that nobody else has; none once the lock was given back.
    owner: Option<String>,
    /// When the claim runs out.
    until: DateTime<Utc>,
}

impl Lease {
    /// Takes a lock, or `None` if somebody else holds it.
    pub(super) async fn take(store: &Remote, path: &Path) -> Result<Option<Self>> {
        let found = store.versioned(path).await?;
        let now = store.now();
        let mode = match found {
            None => PutMode::Create,
            Some((there, version)) => match Claim::read(&there, path)?.is_over(now) {
                true => PutMode::Update(version),
                false => return Ok(None),
            },
        };
        let owner = uuid::Uuid::new_v4().simple().to_string();
        let until = now + TERM;
        let claim = Claim { owner: Some(owner.clone()), until };
        match store.write(path, &claim.text()?, mode).await? {
            Written::Done(version) => {
                let state = Mutex::new(State { version, until, lost: false });
                let held = Arc::new(Held { store: store.clone(), path: path.clone(), owner, state });
                // A server can take so long to answer that the claim is over before anybody relies on it.
                if store.now() >= until && !held.prolong().await? {
                    return Ok(None);
                }
                let renewal = tokio::spawn(renew(Arc::clone(&held)));
                Ok(Some(Self { held, renewal, released: false }))
            }
            Written::Refused(_) => Ok(None),
        }
    }

    /// Waits for a lock and takes it.
    pub(super) async fn wait(store: &Remote, path: &Path) -> Result<Self> {
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(lease) = Self::take(store, path).await? {
                return Ok(lease);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// Fails if the lock may be somebody else's.
    pub(super) fn check(&self) -> Result<()> {
        let now = self.held.store.now();
        let state = self.held.state();
        if !state.lost && now < state.until {
            return Ok(());
        }
        Err(Error::transient("a lock ran out before its work was done").with("lock", self.held.path.to_string()))
    }

    /// Does something until the lock may be somebody else's.
    pub(super) async fn while_held<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            self.check()?;
            let until = self.held.state().until;
            let left = (until - self.held.store.now()).to_std().unwrap_or_default();
            // It may be renewed meanwhile.
            if let Ok(done) = tokio::time::timeout(left, work.as_mut()).await {
                return done;
            }
        }
    }

    /// Gives the lock back. If that fails, it runs out.
    pub(super) async fn release(mut self) {
        self.renewal.abort();
        // Until it has ended it may still write.
        let _ = (&mut self.renewal).await;
        self.released = true;
        if let Err(error) = self.held.give_back().await {
            tracing::debug!(lock = %self.held.path, %error, "a lock was not given back; it will run out");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if !self.released
            && let Ok(runtime) = Handle::try_current()
        {
            let held = Arc::clone(&self.held);
            runtime.spawn(async move { held.give_back().await.map(drop) });
        }
    }
}

/// Renews a claim for as long as it is ours.
async fn renew(held: Arc<Held>) {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        match tokio::time::timeout(RENEWED_EVERY, held.prolong()).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                tracing::warn!(lock = %held.path, "a lock ran out and is somebody else's now");
                return;
            }
            Ok(Err(error)) => tracing::debug!(lock = %held.path, %error, "a lock was not renewed"),
            Err(_) => tracing::debug!(lock = %held.path, "renewing a lock took too long"),
        }
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the lock for longer; `false` if it is somebody else's.
    async fn prolong(&self) -> Result<bool> {
        let until = self.store.now() + TERM;
        self.claim(&Claim { owner: Some(self.owner.clone()), until }).await
    }

    /// Ends the claim; `false` if the lock was somebody else's already.
    async fn give_back(&self) -> Result<bool> {
        self.claim(&Claim { owner: None, until: self.store.now() }).await
    }

    /// Writes a claim in the place of our last one.
    async fn claim(&self, claim: &Claim) -> Result<bool> {
        let text = claim.text()?;
        for _ in 0..ATTEMPTS {
            let version = self.state().version.clone();
            match self.store.write(&self.path, &text, PutMode::Update(version)).await? {
                Written::Done(version) => {
                    let mut state = self.state();
                    state.version = version;
                    state.until = claim.until;
                    return Ok(true);
                }
                // Ours all the same: the answer to an earlier renewal did not arrive.
                Written::Refused(Some((there, version))) if self.is_ours(&there) => self.state().version = version,
                Written::Refused(_) => {
                    self.state().lost = true;
                    return Ok(false);
                }
            }
        }
        Err(Error::transient("a lock changes all the time").with("lock", self.path.to_string()))
    }

    fn is_ours(&self, there: &[u8]) -> bool {
        Claim::read(there, &self.path).is_ok_and(|claim| claim.owner.as_ref() == Some(&self.owner))
    }
}

impl Claim {
    fn read(text: &[u8], path: &Path) -> Result<Self> {
        serde_json::from_slice(text).map_err(|e| {
            Error::config("a lock cannot be read")
                .with("lock", path.to_string())
                .hint("something else has written an object of this name: remove it if nothing runs")
                .because(e)
        })
    }

    fn text(&self) -> Result<Bytes> {
        let text = serde_json::to_vec(self).map_err(|e| Error::internal("a lock cannot be written").because(e))?;
        Ok(Bytes::from(text))
    }

    /// Whether anybody may take the lock.
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.owner.is_none() || now > self.until + DOUBT
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures::future::join_all;
    use object_store::memory::InMemory;

    use super::*;
    use crate::clock::Clock;
    use crate::store::again::Again;

    /// A store in memory whose clock stands still until it is set.
    fn store() -> (Remote, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(0));
        let shown = Arc::clone(&seconds);
        let clock = Clock::of(move || DateTime::UNIX_EPOCH + TimeDelta::seconds(shown.load(Ordering::SeqCst)));
        let memory = Arc::new(InMemory::new());
        (Remote::new(memory.clone(), memory, clock, Again::never()), seconds)
    }

    fn name() -> Path {
        Path::from("locks/p.lock")
    }

    #[tokio::test]
    async fn a_lock_is_held_by_one_and_free_when_it_is_given_back() {
        let (store, _) = store();
        let first = Lease::take(&store, &name()).await.unwrap().unwrap();
        assert!(Lease::take(&store, &name()).await.unwrap().is_none());
        first.check().unwrap();
        first.release().await;
        Lease::take(&store, &name()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_nobody_renews_can_be_taken_over_and_its_holder_finds_out() {
        let (store, seconds) = store();
        let killed = Lease::take(&store, &name()).await.unwrap().unwrap();
        seconds.store(31, Ordering::SeqCst);
        assert!(killed.check().unwrap_err().is_transient());
        assert!(Lease::take(&store, &name()).await.unwrap().is_none(), "another clock may be late");
        seconds.store(36, Ordering::SeqCst);
        let next = Lease::take(&store, &name()).await.unwrap().unwrap();
        assert!(!killed.held.prolong().await.unwrap());
        seconds.store(0, Ordering::SeqCst);
        assert!(killed.check().is_err(), "what is lost stays lost, whatever the clock says");
        killed.release().await;
        next.check().unwrap();
        assert!(Lease::take(&store, &name()).await.unwrap().is_none(), "giving back what is lost frees nothing");
    }

    #[tokio::test]
    async fn a_lock_that_is_renewed_stays() {
        let (store, seconds) = store();
        let lease = Lease::take(&store, &name()).await.unwrap().unwrap();
        for now in [20, 40, 60] {
            seconds.store(now, Ordering::SeqCst);
            assert!(lease.held.prolong().await.unwrap());
            lease.check().unwrap();
            assert!(Lease::take(&store, &name()).await.unwrap().is_none());
        }
        // Late, but nobody was faster.
        seconds.store(100, Ordering::SeqCst);
        assert!(lease.check().is_err());
        assert!(lease.held.prolong().await.unwrap());
        lease.check().unwrap();
    }

    #[tokio::test]
    async fn a_renewal_whose_answer_was_lost_is_no_loss() {
        let (store, _) = store();
        let lease = Lease::take(&store, &name()).await.unwrap().unwrap();
        let before = lease.held.state().version.clone();
        assert!(lease.held.prolong().await.unwrap());
        lease.held.state().version = before;
        assert!(lease.held.prolong().await.unwrap());
        lease.check().unwrap();
        lease.release().await;
        Lease::take(&store, &name()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn work_is_broken_off_when_its_lock_has_run_out() {
        let (store, seconds) = store();
        let lease = Lease::take(&store, &name()).await.unwrap().unwrap();
        assert_eq!(lease.while_held(async { Ok(7) }).await.unwrap(), 7);
        let refused = lease.while_held(async { Err::<(), _>(Error::config("no")) }).await.unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::Config);
        seconds.store(29, Ordering::SeqCst);
        let never = async {
            seconds.store(31, Ordering::SeqCst);
            std::future::pending::<Result<()>>().await
        };
        assert!(lease.while_held(never).await.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn a_lock_that_took_long_to_take_is_renewed_at_once() {
        let reads = AtomicI64::new(0);
        let late = move || if reads.fetch_add(1, Ordering::SeqCst) == 0 { 0 } else { 40 };
        let clock = Clock::of(move || DateTime::UNIX_EPOCH + TimeDelta::seconds(late()));
        let memory = Arc::new(InMemory::new());
        let store = Remote::new(memory.clone(), memory, clock, Again::never());
        let lease = Lease::take(&store, &name()).await.unwrap().unwrap();
        lease.check().unwrap();
        assert!(Lease::take(&store, &name()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_many_only_one_takes_a_lock_over() {
        let (store, seconds) = store();
        let killed = Lease::take(&store, &name()).await.unwrap().unwrap();
        seconds.store(60, Ordering::SeqCst);
        let lock = name();
        let taken = join_all((0..16).map(|_| Lease::take(&store, &lock))).await;
        assert_eq!(taken.into_iter().filter(|t| t.as_ref().unwrap().is_some()).count(), 1);
        drop(killed);
    }

    #[tokio::test]
    async fn what_is_no_lock_is_not_overwritten() {
        let (store, _) = store();
        assert!(store.create(&name(), Bytes::from_static(b"notes")).await.unwrap());
        let error = Lease::take(&store, &name()).await.err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
    }

    #[tokio::test]
    async fn a_lock_that_is_dropped_is_given_back_in_the_background() {
        let (store, _) = store();
        drop(Lease::take(&store, &name()).await.unwrap().unwrap());
        let next = tokio::time::timeout(Duration::from_secs(5), Lease::wait(&store, &name())).await;
        next.unwrap().unwrap().release().await;
    }
}
