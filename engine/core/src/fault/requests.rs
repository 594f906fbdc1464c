//! Requests to stores that fail by their number.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// How a request fails that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// It is not done, and the next one may be.
    Transient,
    /// It is refused.
    Permanent,
    /// It is done, and nobody hears of it.
    Unheard,
}

/// What was asked for, and what was counted since.
struct Broken {
    every: u64,
    how: Fails,
    requests: AtomicU64,
}

static BROKEN: OnceLock<Broken> = OnceLock::new();

/// Makes every Nth request of this process to any store fail, from now on: `every=7,how=transient`.
///
/// # Behavior
/// A request is what a store is asked for, such as a listing with all of its pages, or one step in a folder: a file that is
/// begun, written, synced, linked, renamed or removed. They are counted together, whatever thread they come from. Stores
/// that were opened before stay sound.
///
/// - `how=transient`: the request is not done; the error is one that passes.
/// - `how=permanent`: it is not done; access was refused.
/// - `how=after`: it is done, and the answer is lost; the error is one that passes.
///
/// # Errors
/// [`Usage`](ErrorKind::Usage) if the text does not say this.
pub fn break_requests(text: &str) -> Result<()> {
    let (every, how) = parse(text).ok_or_else(|| {
        Error::new(ErrorKind::Usage, "TRANSLOAD_FAULTY_IO cannot be understood")
            .hint("as in every=7,how=transient; how is transient, permanent or after")
    })?;
    let _ = BROKEN.set(Broken { every, how, requests: AtomicU64::new(0) });
    Ok(())
}

fn parse(text: &str) -> Option<(u64, Fails)> {
    let (every, how) = text.split_once(',')?;
    let every = every.strip_prefix("every=")?.parse().ok().filter(|every| *every > 0)?;
    let how = match how.strip_prefix("how=")? {
        "transient" => Fails::Transient,
        "permanent" => Fails::Permanent,
        "after" => Fails::Unheard,
        _ => return None,
    };
    Some((every, how))
}

/// Whether some requests fail.
pub(crate) fn are_requests_broken() -> bool {
    BROKEN.get().is_some()
}

/// Counts a request, and says how it fails if it does.
pub(crate) fn request() -> Option<Fails> {
    let broken = BROKEN.get()?;
    let number = broken.requests.fetch_add(1, Ordering::SeqCst) + 1;
    number.is_multiple_of(broken.every).then_some(broken.how)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_and_how_is_said_in_one_way() {
        assert_eq!(parse("every=7,how=transient"), Some((7, Fails::Transient)));
        assert_eq!(parse("every=1,how=permanent"), Some((1, Fails::Permanent)));
        assert_eq!(parse("every=30,how=after"), Some((30, Fails::Unheard)));
        for bad in
            ["", "7", "every=7", "every=0,how=after", "every=x,how=after", "every=7,how=often", "how=after,every=7"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
