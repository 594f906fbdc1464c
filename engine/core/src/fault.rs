//! Named points where a test can make the program fail, and requests that fail by their number.
//!
//! Neither costs anything unless the `faults` feature is on (tests only). Then the variable `FAILPOINTS` arms points:
//! `FAILPOINTS='stage.written=2*off->return(kill)'` kills the process with SIGKILL the third time the point is passed;
//! `return(transient)`, `return(permanent)` and `return(full)` make it fail instead. And the variable
//! `TRANSLOAD_FAULTY_IO` makes requests to stores fail by their number: `TRANSLOAD_FAULTY_IO='every=7,how=transient'`.

#[cfg(feature = "faults")]
mod requests;

use crate::error::Result;

#[cfg(feature = "faults")]
pub use self::requests::break_requests;
#[cfg(feature = "faults")]
pub(crate) use self::requests::{Fails, are_requests_broken, request};

/// The points that every load passes between its first fact in the ledger and its last one, in the order in which a run
/// passes them. A test holds these lists against the code.
pub const POINTS: [&str; 24] = [
    "run.started",
    "run.begun",
    "unit.begun",
    "stage.opened",
    "stage.batch",
    "stage.written",
    "unit.journaled",
    "run.aside",
    "commit.begun",
    "commit.locked",
    "commit.noted",
    "commit.renamed",
    "commit.manifest",
    "commit.published",
    "commit.replaced",
    "commit.cleaned",
    "run.receipt",
    "run.remembered",
    "run.vouched",
    "reconcile.begun",
    "reconcile.verdict",
    "reconcile.written",
    "run.compared",
    "run.closed",
];

/// The points that a load passes where no run is to be resumed: before its first fact, and after its last.
pub const EDGE_POINTS: [&str; 2] = ["run.planned", "run.ended"];

/// The points that a load passes if its tables have checks, replace rows, or have many of them.
pub const SOME_POINTS: [&str; 3] = ["stage.row_group", "run.checked", "commit.removed"];

/// The points that files pass that are written into a folder.
pub const FILE_POINTS: [&str; 4] = ["stage.created", "stage.flushed", "create.written", "create.linked"];

/// The points that a file passes on its way into a bucket, between `stage.opened` and `stage.written`.
pub const UPLOAD_POINTS: [&str; 4] = ["upload.begun", "upload.noted", "upload.sent", "upload.whole"];

/// The points that only a commit to a Delta table passes, between `commit.manifest` and `commit.published`.
pub const DELTA_POINTS: [&str; 4] = ["commit.recorded", "commit.entered", "checkpoint.written", "checkpoint.named"];

/// The points that only a load into PostgreSQL passes: those of a unit between `unit.begun` and `unit.journaled`, those of a
/// commit between `run.aside` and `run.receipt`.
pub const POSTGRES_POINTS: [&str; 9] = [
    "postgres.stage.begun",
    "postgres.stage.batch",
    "postgres.stage.sent",
    "postgres.staged",
    "postgres.commit.begun",
    "postgres.commit.locked",
    "postgres.commit.moved",
    "postgres.commit.sent",
    "postgres.committed",
];

/// The points that only a merge passes, between `commit.locked` and `commit.manifest`.
pub const MERGE_POINTS: [&str; 2] = ["merge.found", "merge.rewritten"];

/// The points that only a replay passes, before it begins as any run does.
pub const REPLAY_POINTS: [&str; 2] = ["replay.begun", "replay.claimed"];

/// The points that only a resumed run passes whose tables are pinned anew, in their order; at the first one every load finds
/// out whether what was pinned is held. If that fails, it is not.
pub const REPIN_POINTS: [&str; 7] =
    ["pin.held", "repin.begun", "repin.forgotten", "repin.removed", "repin.pinned", "repin.kept", "repin.written"];

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
