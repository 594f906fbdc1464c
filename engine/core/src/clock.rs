//! The only way to the time of day, so that plans and tests stay deterministic.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};

/// Nanoseconds since some moment, for measuring how long something takes. They never go back.
pub type Ticks = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A source of the current time.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    ticks: Ticks,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        let begun = Instant::now();
        let ticks = move || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self { now: Arc::new(Utc::now), ticks: Arc::new(ticks) }
    }

    /// A clock that stands still, for tests.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self::of(move || at)
    }

    /// A clock that shows what `now` returns, for tests that move time. Its ticks stand still.
    pub fn of(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), ticks: Arc::new(|| 0) }
    }

    /// Now, in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    /// What measures spans of time, whatever is done to the time of day.
    pub fn ticks(&self) -> Ticks {
        Arc::clone(&self.ticks)
    }

    /// Now, as RFC 3339 text with milliseconds, such as `2026-11-21T05:15:00.000Z`.
    pub fn stamp(&self) -> String {
        self.now().to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}
