//! Sending something to another machine, and trying again: alerts and metrics. Nothing here tells more of an address
//! than its host, because the rest can be a secret.

use std::cell::Cell;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use transload_core::{Clock, Error, Result};

/// The longest that a busy server is waited for before it is asked again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something to be sent.
pub(crate) struct Message {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Time for one try, from the name of the host to the answer.
    pub(crate) timeout: Duration,
}

/// Reads an address.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if it is none of `https` or `http`. The text is not repeated.
pub(crate) fn address(text: &str) -> Result<Url> {
    let url = Url::parse(text.trim()).ok().filter(|url| url.has_host() && matches!(url.scheme(), "https" | "http"));
    url.ok_or_else(|| Error::config("this is not an address: it begins with `https://` or `http://`, then the host"))
}

/// The host of an address, with its port if it has one of its own.
pub(crate) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// Tries something, at most so often, until it succeeds or fails for good; `tries` counts along.
///
/// # Errors
/// The last one.
pub(crate) async fn tried<F>(most: u32, tries: &Cell<u32>, once: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    tried_as_asked(most, tries, &Cell::new(None), once).await
}

/// The same, with a pause that is at least as long as whoever refuses has `asked` for.
async fn tried_as_asked<F>(
    most: u32,
    tries: &Cell<u32>,
    asked: &Cell<Option<Duration>>,
    mut once: impl FnMut() -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let counted = || {
        tries.set(tries.get() + 1);
        once()
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(most.saturating_sub(1) as usize);
    let longer = |pause: Duration| asked.take().map_or(pause, |asked| asked.max(pause));
    counted.retry(pauses).when(Error::is_transient).adjust(|_, pause| pause.map(longer)).await
}

impl Message {
    /// Sends it, at most so often, until it arrives or will not; `tries` counts along. A server that is busy is left
    /// alone for as long as it asks for.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) or [`Config`](transload_core::ErrorKind::Config) if it has not
    /// arrived, also if the server wants to be left alone for longer than a minute.
    pub(crate) async fn deliver(&self, most: u32, tries: &Cell<u32>) -> Result<()> {
        let client = self.client()?;
        let asked = Cell::new(None);
        tried_as_asked(most, tries, &asked, || self.send(&client, &asked)).await
    }

    /// What sends it: certificates are checked, and nobody is followed elsewhere.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if this machine cannot make secure connections.
    fn client(&self) -> Result<Client> {
        Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            .user_agent(concat!("transload/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::config("nothing can be sent from here").because(cause(&e)))
    }

    /// Sends it once, and keeps how long the server wants to be left alone. The text of the answer is not read: it can
    /// repeat parts of the request.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if it may arrive the next time.
    async fn send(&self, client: &Client, asked: &Cell<Option<Duration>>) -> Result<()> {
        let request = client.request(self.method.clone(), self.url.clone());
        let sent = request.headers(self.headers.clone()).body(self.body.clone()).send().await;
        let answer = sent.map_err(|e| unsent(&e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        if !may_pass(status) {
            return Err(Error::config(format!("the server answered {status}")));
        }
        match retry_after(answer.headers(), Clock::system().now()) {
            Some(pause) if pause > PATIENCE => {
                let said = format!("the server answered {status} and wants to be left alone for {} s", pause.as_secs());
                Err(Error::config(said))
            }
            pause => {
                asked.set(pause);
                Err(Error::transient(format!("the server answered {status}")))
            }
        }
    }
}

/// How long a server wants to be left alone, which it says in seconds or as a date: RFC 9110, section 10.2.3. None if it
/// says nothing that can be read, or the date is over.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match said.parse() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_) => (DateTime::parse_from_rfc2822(said).ok()?.to_utc() - now).to_std().ok(),
    }
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn unsent(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        return Error::transient("there was no answer in time");
    }
    let what = match error {
        error if error.is_builder() => return Error::config("the request cannot be made"),
        error if error.is_connect() => "the server cannot be reached",
        _ => "the connection broke before there was an answer",
    };
    Error::transient(what).because(cause(error))
}

/// The innermost cause: those around it repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = String::from("the cause is not known");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        innermost = cause.to_string();
        next = cause.source();
    }
    innermost
}

#[cfg(test)]
mod tests {
    use transload_core::ErrorKind;

    use super::*;

    #[test]
    fn of_an_address_only_the_host_is_told() {
        let told = |text: &str| place(&address(text).unwrap());
        assert_eq!(told("https://hooks.example.com/services/T/B/s3cr3t?k=s3cr3t"), "hooks.example.com");
        assert_eq!(told(" http://user:s3cr3t@127.0.0.1:9091/ \n"), "127.0.0.1:9091");
        for bad in ["", "s3cr3t", "ftp://s3cr3t", "https://", "s3cr3t.example.com:443"] {
            let error = address(bad).unwrap_err();
            assert!(!error.chain().concat().contains("s3cr3t"), "{bad}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let after = |kind, most| {
            let tries = Cell::new(0);
            let result = runtime.block_on(tried(most, &tries, || async move { Err(Error::new(kind, "no")) }));
            (result.is_err(), tries.get())
        };
        assert_eq!(after(ErrorKind::Transient, 2), (true, 2));
        assert_eq!(after(ErrorKind::Transient, 1), (true, 1));
        assert_eq!(after(ErrorKind::Config, 3), (true, 1));
        let tries = Cell::new(0);
        let second = || {
            let works = tries.get() == 2;
            async move { if works { Ok(()) } else { Err(Error::transient("no")) } }
        };
        assert!(runtime.block_on(tried(3, &tries, second)).is_ok());
        assert_eq!(tries.get(), 2);
    }

    #[test]
    fn a_pause_is_as_long_as_was_asked_for_but_never_shorter() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let took = |pause: Option<Duration>| {
            let (tries, asked) = (Cell::new(0), Cell::new(None));
            let once = || {
                let works = tries.get() == 2;
                asked.set(pause);
                async move { if works { Ok(()) } else { Err(Error::transient("no")) } }
            };
            let begun = std::time::Instant::now();
            runtime.block_on(tried_as_asked(2, &tries, &asked, once)).unwrap();
            begun.elapsed()
        };
        for pause in [None, Some(Duration::ZERO)] {
            assert!(took(pause) >= Duration::from_millis(500), "{pause:?}");
        }
        assert!(took(Some(Duration::from_millis(900))) >= Duration::from_millis(900));
    }

    #[test]
    fn a_server_says_in_seconds_or_as_a_date_when_it_is_free() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T05:15:00Z").unwrap().to_utc();
        let after = |said: &'static str| {
            let value = reqwest::header::HeaderValue::from_static(said);
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now).map(|pause| pause.as_secs())
        };
        assert_eq!(after("0"), Some(0));
        assert_eq!(after(" 120 "), Some(120));
        assert_eq!(after("Sat, 21 Nov 2026 05:15:30 GMT"), Some(30));
        for unread in ["Sat, 21 Nov 2026 05:14:30 GMT", "soon", "-1", "1.5", ""] {
            assert_eq!(after(unread), None, "{unread}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_busy_server_may_be_free_later_and_one_that_refuses_will_not() {
        let passing = [408, 429, 500, 503].map(|code| StatusCode::from_u16(code).unwrap());
        let lasting = [301, 400, 401, 404, 410].map(|code| StatusCode::from_u16(code).unwrap());
        assert!(passing.into_iter().all(may_pass) && !lasting.into_iter().any(may_pass));
    }
}
