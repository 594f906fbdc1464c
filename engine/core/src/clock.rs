//! The only way to the time of day, so that plans and tests stay deterministic.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

/// A source of the current time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Utc::now))
    }

    /// A clock that stands still, for tests.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self(Arc::new(move || at))
    }

    /// A clock that shows what `now` returns, for tests that move time.
    pub fn of(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now, in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }

    /// Now, as RFC 3339 text with milliseconds, such as `2026-11-21T05:15:00.000Z`.
    pub fn stamp(&self) -> String {
        self.now().to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}
