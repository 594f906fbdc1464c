//! Requests that are made again.
//!
//! The library makes a request again that has got no answer, if it comes to the same when it is done twice. Of a request
//! on a condition, of a removal, and of an answer that broke off it does not know that. Whoever makes those here does,
//! since they look at what is there afterwards.

use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};
use object_store::{Error, Result, RetryConfig};
use tokio::time::Instant;

use super::answer;

/// How often, and for how long, a request is made again that fails for a passing reason.
#[derive(Debug, Clone)]
pub(super) struct Again(RetryConfig);

impl Again {
    /// As often as the library does it.
    pub(super) fn like(retries: RetryConfig) -> Self {
        Self(retries)
    }

    /// Not once.
    pub(super) fn never() -> Self {
        Self(RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() })
    }

    /// Makes a request until it is answered or refused, or time is up.
    pub(super) async fn until_answered<T, F>(&self, request: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let mut pause = self.0.backoff.init_backoff;
        let mut repeated = 0;
        loop {
            let error = match request().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passes = !answer::is_refused(&error) && answer::explain(&error).is_transient();
            if !passes || repeated >= self.0.max_retries || begun.elapsed() >= self.0.retry_timeout {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.0.backoff.max_backoff);
            repeated += 1;
        }
    }
}

/// Whether a request has reached nobody, so that nothing of it can have been done.
pub(super) fn has_reached_nobody(error: &Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| (**cause).source());
    let of_http = causes.find_map(|cause| cause.downcast_ref::<HttpError>());
    of_http.is_some_and(|error| error.kind() == HttpErrorKind::Connect)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use object_store::BackoffConfig;

    use super::*;

    fn patient(max_retries: usize) -> Again {
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(1), ..BackoffConfig::default() };
        Again::like(RetryConfig { backoff, max_retries, retry_timeout: Duration::from_secs(60) })
    }

    /// How often a request is made that fails so often with such an error, and whether it is answered then.
    async fn asked(again: &Again, failures: usize, error: impl Fn() -> Error) -> (usize, bool) {
        let asked = AtomicUsize::new(0);
        let request = || async {
            match asked.fetch_add(1, Ordering::SeqCst) < failures {
                true => Err(error()),
                false => Ok(()),
            }
        };
        let is_answered = again.until_answered(request).await.is_ok();
        (asked.into_inner(), is_answered)
    }

    fn cut_off() -> Error {
        Error::Generic { store: "S3", source: "HTTP error: connection reset".into() }
    }

    #[tokio::test]
    async fn what_passes_is_asked_again_as_often_as_the_library_does_it() {
        assert_eq!(asked(&patient(2), 2, cut_off).await, (3, true));
        assert_eq!(asked(&patient(2), 9, cut_off).await, (3, false));
        assert_eq!(asked(&Again::never(), 1, cut_off).await, (1, false));
        let timely = Again::like(RetryConfig { retry_timeout: Duration::ZERO, ..patient(9).0 });
        assert_eq!(asked(&timely, 9, cut_off).await, (1, false));
    }

    #[tokio::test]
    async fn what_is_refused_is_not_asked_again() {
        let refused = || Error::Generic { store: "S3", source: "status code: 400 Bad Request: no".into() };
        assert_eq!(asked(&patient(5), 1, refused).await, (1, false));
        let there = || Error::AlreadyExists { path: "t".to_string(), source: "412".into() };
        assert_eq!(asked(&patient(5), 1, there).await, (1, false));
    }

    #[test]
    fn what_has_reached_nobody_is_known() {
        let unheard =
            |kind| Error::Generic { store: "S3", source: Box::new(HttpError::new(kind, std::io::Error::other("no"))) };
        assert!(has_reached_nobody(&unheard(HttpErrorKind::Connect)));
        for kind in [HttpErrorKind::Interrupted, HttpErrorKind::Timeout, HttpErrorKind::Request] {
            assert!(!has_reached_nobody(&unheard(kind)));
        }
        assert!(!has_reached_nobody(&cut_off()));
    }
}
