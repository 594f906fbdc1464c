//! Metrics for a Prometheus Pushgateway: <https://github.com/prometheus/pushgateway#api>.

use std::cell::Cell;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use transload_core::{Error, ErrorKind, Result};

use crate::args::Quality;
use crate::http::{Message, address, place};
use crate::metrics::RunKind;

/// How often it is tried.
const TRIES: u32 = 3;
/// Time for one try.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A gateway. Its address can hold a password, so only its host is ever shown.
pub(crate) struct Gateway(Url);

impl Quality {
    /// The gateway that metrics go to, if one was named.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) if its address is none.
    pub(crate) fn gateway(&self) -> Result<Option<Gateway>> {
        let Some(text) = self.push_metrics.as_ref().filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        match address(text) {
            Ok(url) => Ok(Some(Gateway(url))),
            Err(error) => Err(Error::new(ErrorKind::Usage, "metrics cannot be pushed to such a place")
                .because(error.to_string())
                .hint("name the gateway itself: --push-metrics http://pushgateway:9091")),
        }
    }
}

impl Gateway {
    /// Replaces the metrics of a pipeline by those of its last run; those of its loads and of its replays, each for
    /// themselves. It is tried once if there is `no_time`.
    ///
    /// # Errors
    /// [`Transient`](ErrorKind::Transient) or [`Config`](ErrorKind::Config) if the gateway has not got them.
    pub(crate) async fn push(self, pipeline: &str, kind: RunKind, text: String, no_time: bool) -> Result<()> {
        let Self(mut url) = self;
        let to = place(&url);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["metrics", "job", "transload", "pipeline", pipeline]);
            if let Some((label, value)) = kind.label() {
                path.extend([label, value]);
            }
        }
        let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media)]);
        let message = Message { method: Method::PUT, url, headers, body: text, timeout: TIMEOUT };
        let tries = if no_time { 1 } else { TRIES };
        message.deliver(tries, &Cell::new(0)).await.map_err(|e| {
            Error::new(e.kind(), "the metrics were not pushed")
                .with("gateway", to)
                .because(e.chain().join(": "))
                .hint("the run itself is not affected: its outcome and exit code are as they would be without")
        })
    }
}
