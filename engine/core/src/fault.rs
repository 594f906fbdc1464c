//! Named points where a test can make the program fail.
//!
//! A point costs nothing unless the `faults` feature is on (tests only). Then the variable
//! `FAILPOINTS` arms it: `FAILPOINTS='stage.written=2*off->return(kill)'` kills the process with
//! SIGKILL the third time the point is passed; `return(transient)`, `return(permanent)` and
//! `return(full)` make it fail instead.

use crate::error::Result;

/// Every point, in the order a run passes them. A test holds this list against the code.
pub const POINTS: [&str; 17] = [
    "run.begun",
    "unit.begun",
    "stage.opened",
    "stage.batch",
    "stage.written",
    "unit.journaled",
    "run.aside",
    "commit.begun",
    "commit.noted",
    "commit.renamed",
    "commit.manifest",
    "commit.published",
    "commit.replaced",
    "commit.cleaned",
    "run.receipt",
    "reconcile.begun",
    "reconcile.verdict",
];

/// The points that only a replay passes, before it begins as any run does.
pub const REPLAY_POINTS: [&str; 2] = ["replay.begun", "replay.claimed"];

/// The points that a file passes on its way into a bucket, between `stage.opened` and `stage.written`.
pub const UPLOAD_POINTS: [&str; 4] = ["upload.begun", "upload.noted", "upload.sent", "upload.whole"];

/// The points that only a merge passes, between `commit.begun` and `commit.manifest`.
pub const MERGE_POINTS: [&str; 2] = ["merge.found", "merge.rewritten"];

/// The points that only `clean` passes.
pub const CLEAN_POINTS: [&str; 1] = ["clean.removed"];

/// Passes the point `name`, which is one of the lists above.
#[cfg(feature = "faults")]
pub fn point(name: &'static str) -> Result<()> {
    fail::fail_point!(name, |action| act(name, action.as_deref().unwrap_or("permanent")));
    Ok(())
}

/// Passes the point `name`, which is one of the lists above.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &'static str) -> Result<()> {
    Ok(())
}

#[cfg(feature = "faults")]
fn act(name: &'static str, action: &str) -> Result<()> {
    use crate::error::Error;
    match action {
        "kill" => {
            let me = std::process::id().to_string();
            let _ = std::process::Command::new("kill").args(["-9", &me]).status();
            loop {
                std::thread::park();
            }
        }
        "transient" => Err(Error::transient("a fault was injected").with("point", name)),
        "full" => Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into()),
        _ => Err(Error::config("a fault was injected").with("point", name)),
    }
}
