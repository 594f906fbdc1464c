//! The matrix of kills: at every point on the way of a load, into every kind of place.
//!
//! A table that holds rows is replaced, and the process is killed with SIGKILL. Nothing is seen of the new rows before the
//! commit. Then the run is resumed, and ends as if nothing had happened; or it is given up and cleaned, and leaves nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use transload_core::fault::{DELTA_POINTS, EDGE_POINTS, FILE_POINTS, POINTS, SOME_POINTS, UPLOAD_POINTS};

use crate::azure::Container;
use crate::place::Place;
use crate::s3::Bucket;
use crate::site::{At, Inventory, Site, Undisturbed, digest, each};

use State::{Hidden, InPlace, Published};

/// What is to be seen of a load at the moment at which it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing, whoever looks.
    Hidden,
    /// Nothing for those who go by the manifest or the log; files for those who list them.
    InPlace,
    /// All of its rows, and none of the old ones for those who go by the manifest or the log.
    Published,
}

/// How often a point is passed before the process is killed there, and what is to be seen then.
type Kill = (u32, State);

/// The load does not pass there.
const NOT: &[Kill] = &[];
const ONCE: &[Kill] = &[(0, Hidden)];
const TWICE: &[Kill] = &[(0, Hidden), (1, Hidden)];
const THEN: &[Kill] = &[(1, Hidden)];
const AFTER: &[Kill] = &[(0, Published)];

/// The kinds of places. In the second the ledger, and what is put aside, is in the bucket too.
const SINKS: [&str; 4] = ["disk", "s3", "delta", "delta-s3"];

/// Where a load into each kind of place is killed. Of two commits the first is of what is put aside, which is never a Delta
/// table; the second is the table's. There are two units, with two files each.
const MATRIX: [(&str, [&[Kill]; 4]); 41] = [
    ("run.planned", [ONCE, ONCE, ONCE, ONCE]),
    ("run.started", [ONCE, ONCE, ONCE, ONCE]),
    ("run.begun", [ONCE, ONCE, ONCE, ONCE]),
    ("unit.begun", [TWICE, THEN, TWICE, ONCE]),
    ("stage.opened", [&[(0, Hidden), (3, Hidden)], &[(3, Hidden)], &[(3, Hidden)], ONCE]),
    ("stage.created", [&[(0, Hidden), (3, Hidden), (4, Hidden)], NOT, &[(0, Hidden), (3, Hidden)], ONCE]),
    ("stage.batch", [&[(0, Hidden), (5, Hidden)], THEN, THEN, &[(5, Hidden)]]),
    ("stage.row_group", [&[(0, Hidden), (3, Hidden)], &[(3, Hidden)], THEN, ONCE]),
    ("stage.flushed", [&[(0, Hidden), (4, Hidden)], NOT, &[(1, Hidden), (4, Hidden)], ONCE]),
    ("upload.begun", [NOT, &[(0, Hidden), (4, Hidden)], NOT, &[(0, Hidden), (3, Hidden)]]),
    ("upload.noted", [NOT, ONCE, NOT, &[(3, Hidden)]]),
    ("upload.sent", [NOT, &[(3, Hidden)], NOT, ONCE]),
    ("upload.whole", [NOT, &[(0, Hidden), (3, Hidden)], NOT, THEN]),
    (
        "stage.written",
        [&[(0, Hidden), (1, Hidden), (4, Hidden)], &[(1, Hidden), (3, Hidden)], &[(0, Hidden), (3, Hidden)], THEN],
    ),
    ("unit.journaled", [TWICE, ONCE, THEN, ONCE]),
    ("run.checked", [ONCE, ONCE, ONCE, ONCE]),
    ("commit.begun", [TWICE, THEN, TWICE, THEN]),
    ("commit.locked", [TWICE, TWICE, TWICE, THEN]),
    ("commit.noted", [TWICE, TWICE, ONCE, ONCE]),
    (
        "commit.renamed",
        [
            &[(0, Hidden), (1, InPlace), (4, InPlace)],
            &[(0, Hidden), (1, InPlace), (4, InPlace)],
            ONCE,
            &[(1, InPlace), (4, InPlace)],
        ],
    ),
    ("commit.manifest", [&[(0, Hidden), (1, InPlace)], &[(1, InPlace)], &[(1, InPlace)], &[(1, InPlace)]]),
    ("commit.recorded", [NOT, NOT, &[(0, InPlace)], &[(0, InPlace)]]),
    ("commit.entered", [NOT, NOT, AFTER, AFTER]),
    ("checkpoint.written", [NOT, NOT, AFTER, AFTER]),
    ("checkpoint.named", [NOT, NOT, AFTER, AFTER]),
    ("commit.published", [&[(0, Hidden), (1, Published)], &[(1, Published)], &[(1, Published)], &[(1, Published)]]),
    ("commit.removed", [&[(0, Published), (3, Published)], AFTER, NOT, NOT]),
    ("commit.replaced", [&[(0, Hidden), (1, Published)], &[(1, Published)], ONCE, ONCE]),
    ("commit.cleaned", [&[(0, Hidden), (1, Published)], &[(1, Published)], &[(1, Published)], &[(1, Published)]]),
    ("run.aside", [ONCE, ONCE, ONCE, ONCE]),
    ("run.receipt", [AFTER, AFTER, AFTER, AFTER]),
    ("run.remembered", [AFTER, AFTER, AFTER, AFTER]),
    ("run.vouched", [AFTER, AFTER, AFTER, AFTER]),
    ("reconcile.begun", [AFTER, AFTER, AFTER, AFTER]),
    ("reconcile.verdict", [AFTER, AFTER, AFTER, AFTER]),
    ("reconcile.written", [AFTER, AFTER, AFTER, AFTER]),
    ("run.compared", [AFTER, AFTER, AFTER, AFTER]),
    ("run.closed", [AFTER, AFTER, AFTER, AFTER]),
    ("run.ended", [AFTER, AFTER, AFTER, AFTER]),
    // In this order: the plan, the first fact, a record of the chain, and for each unit what is put aside and the unit; then
    // what the checks have found (7), the note and the manifest of what is put aside, the note and the manifest of the table
    // (10, 11), or the record, the entry, the checkpoint and its name (10 to 13); then the receipt, … and last the end.
    (
        "create.written",
        [
            &[
                (0, Hidden),
                (1, Hidden),
                (2, Hidden),
                (3, Hidden),
                (4, Hidden),
                (7, Hidden),
                (8, Hidden),
                (9, Hidden),
                (10, Hidden),
                (11, InPlace),
                (12, Published),
                (14, Published),
                (18, Published),
                (19, Published),
            ],
            NOT,
            &[
                (5, Hidden),
                (10, InPlace),
                (11, InPlace),
                (12, Published),
                (13, Published),
                (14, Published),
                (21, Published),
            ],
            &[(2, Hidden), (10, Published)],
        ],
    ),
    (
        "create.linked",
        [
            &[(0, Hidden), (1, Hidden), (10, Hidden), (11, Published), (19, Published)],
            NOT,
            &[(10, InPlace), (11, Published), (12, Published), (13, Published)],
            &[(9, Hidden)],
        ],
    ),
];

/// The points at which loads into containers of Azure are killed, too: into those of a lake, and into Delta tables.
const IN_AZURE: [&[&str]; 2] = [
    &[
        "upload.begun",
        "upload.noted",
        "upload.sent",
        "upload.whole",
        "commit.noted",
        "commit.renamed",
        "commit.published",
        "run.receipt",
    ],
    &["upload.sent", "stage.written", "commit.begun", "commit.manifest", "commit.published"],
];

/// After so long the locks of a killed process have run out.
const LEASE: Duration = Duration::from_secs(36);

/// Loads at the same time.
const WORKERS: usize = 3;

#[test]
fn the_matrix_has_every_point_on_the_way_of_a_load() {
    let lists: [&[&str]; 6] = [&POINTS, &EDGE_POINTS, &SOME_POINTS, &FILE_POINTS, &UPLOAD_POINTS, &DELTA_POINTS];
    let listed: BTreeSet<&str> = lists.concat().into_iter().collect();
    assert!(listed.len() >= 30, "{}", listed.len());
    assert_eq!(MATRIX.iter().map(|(point, _)| *point).collect::<BTreeSet<_>>(), listed);
    for (point, kills) in MATRIX {
        let passed = kills.iter().filter(|kills| !kills.is_empty()).count();
        let least = if POINTS.contains(&point) { SINKS.len() } else { 1 };
        assert!(passed >= least, "no load is killed at {point}");
    }
}

/// How it goes on after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Resumed,
    GivenUp,
}

/// A kill, and how it goes on.
#[derive(Debug)]
struct Cell {
    sink: &'static str,
    point: &'static str,
    kill: Kill,
    ending: Ending,
}

/// A load that was killed.
struct Killed {
    cell: Cell,
    site: Site,
    /// The run, if there was one.
    run: Option<String>,
    at: Instant,
}

impl Cell {
    fn of(sink: &'static str, point: &'static str, kill: Kill) -> [Self; 2] {
        [Ending::Resumed, Ending::GivenUp].map(|ending| Self { sink, point, kill, ending })
    }

    /// All of one kind of place.
    fn all(sink: &'static str) -> Vec<Self> {
        let at = SINKS.iter().position(|name| *name == sink).unwrap();
        let kills = MATRIX.iter().flat_map(|(point, kills)| kills[at].iter().map(move |kill| (*point, *kill)));
        kills.flat_map(|(point, kill)| Self::of(sink, point, kill)).collect()
    }

    fn name(&self) -> String {
        let (passed, state) = self.kill;
        format!("{} in {}, passed {passed} times before, {state:?}, then {:?}", self.point, self.sink, self.ending)
    }

    fn fault(&self) -> String {
        match self.kill.0 {
            0 => format!("{}=return(kill)", self.point),
            passed => format!("{}={passed}*off->return(kill)", self.point),
        }
    }
}

/// The kind of the tables of a sink.
fn kind(sink: &str) -> &'static str {
    if sink.starts_with("delta") { "delta" } else { "lake" }
}

/// Asserts that a load passes none of the points of which the matrix says so.
fn passes_no_other_point(sink: &str, site: &Site) {
    let at = SINKS.iter().position(|name| *name == sink).unwrap();
    let others = MATRIX.iter().filter(|(_, kills)| kills[at].is_empty());
    let faults: Vec<String> = others.map(|(point, _)| format!("{point}=return(kill)")).collect();
    site.load(&faults.join(";")).expect(0);
}

impl Killed {
    /// Kills a load at a site whose table holds the first version of the rows.
    fn new(cell: Cell, site: Site, expected: &Undisturbed) -> Self {
        let name = cell.name();
        let before = site.runs();
        site.write_source(2);
        let killed = site.load(&cell.fault());
        assert_eq!(killed.code, -1, "{name}: it was not killed: {killed:?}");
        let at = Instant::now();
        let run = site.runs().into_iter().find(|run| !before.contains(run));
        let seen = &expected.seen[usize::from(cell.kill.1 == Published)];
        assert_eq!(site.seen(), *seen, "{name}: what a reader sees");
        Self { cell, site, run, at }
    }

    /// Asserts that whoever comes too early is told so.
    fn is_still_locked(&self) {
        let early = match &self.run {
            Some(run) => self.site.bench.run(&["resume", run]),
            None => self.site.load(""),
        };
        let early = early.expect(75).says("another run of this pipeline is not finished yet");
        assert!(early.stderr.contains("half a minute if it was killed"), "{}", early.stderr);
    }

    /// Goes on, and asserts that it ends well.
    fn ends(&self, expected: &Undisturbed) {
        match self.cell.ending {
            Ending::Resumed => self.is_resumed(expected),
            Ending::GivenUp => self.is_given_up(expected),
        }
    }

    fn is_resumed(&self, expected: &Undisturbed) {
        let (name, site) = (self.cell.name(), &self.site);
        let resumed = match &self.run {
            Some(run) => site.bench.run(&["resume", run]),
            // There is nothing to resume.
            None => site.load(""),
        };
        if resumed.code == 99 {
            assert_eq!(self.cell.kill.1, Published, "{name}: {resumed:?}");
            resumed.says("has ended: succeeded");
        } else {
            assert_eq!(resumed.code, 0, "{name}: {resumed:?}");
            assert_eq!(digest(&resumed), expected.digest, "{name}");
            assert_eq!(resumed.last_line()["tables"][0]["verdict"], "match", "{name}");
        }
        assert_eq!(site.seen(), expected.seen[1], "{name}: after the last resume");
        site.bench.run(&["audit", "verify"]).expect(0);
        if let Some(run) = &self.run {
            site.bench.run(&["resume", run]).expect(99).says("has ended");
        }
    }

    fn is_given_up(&self, expected: &Undisturbed) {
        let (name, site) = (self.cell.name(), &self.site);
        let clean = ["clean", "p.yaml", "--older-than", "0s"];
        let cleaned = site.bench.run(&clean);
        assert!([0, 99].contains(&cleaned.code), "{name}: {cleaned:?}");
        let seen = &expected.seen[usize::from(self.cell.kill.1 == Published)];
        assert_eq!(site.seen(), *seen, "{name}: after it was cleaned");
        site.bench.run(&clean).expect(99);
    }

    /// Asserts that what has been left in the end is the table alone, and how often it was committed to: once before, and
    /// once by this load if it has arrived.
    fn has_left(&self, all: &Inventory) {
        assert_eq!(all.strangers(), [""; 0], "{}", self.cell.name());
        let has_arrived = self.cell.ending == Ending::Resumed || self.cell.kill.1 == Published;
        assert_eq!(all.commits(), 1 + usize::from(has_arrived), "{}", self.cell.name());
    }

    /// Asserts that nothing is left of what is put aside, where the ledger is in a folder.
    fn leaves_no_stranger_aside(&self) {
        let left = self.site.inventory(".transload/quarantine").strangers();
        assert_eq!(left, [""; 0], "{}", self.cell.name());
    }
}

fn killed_in_a_folder(sink: &'static str) {
    let loaded = Site::new(kind(sink), "full", At::Folder);
    loaded.write_source(1);
    loaded.load("").expect(0);
    let expected = Site::new(kind(sink), "full", At::Folder).undisturbed();
    let other = loaded.copy();
    other.write_source(2);
    passes_no_other_point(sink, &other);
    each(WORKERS, Cell::all(sink), |cell| {
        let killed = Killed::new(cell, loaded.copy(), &expected);
        // Files of a Delta table are staged where they belong.
        if killed.cell.kill.1 == Hidden && kind(sink) == "lake" {
            let visible = killed.site.inventory("lake").visible_strangers();
            assert_eq!(visible, [""; 0], "{}", killed.cell.name());
        }
        killed.ends(&expected);
        killed.has_left(&killed.site.inventory("lake"));
        killed.leaves_no_stranger_aside();
    });
}

#[test]
fn killed_anywhere_a_load_into_a_folder_ends_well_or_leaves_nothing() {
    killed_in_a_folder("disk");
}

#[test]
fn killed_anywhere_a_load_into_a_delta_table_ends_well_or_leaves_nothing() {
    killed_in_a_folder("delta");
}

/// Kills loads into a bucket, all of which wait for locks to run out at the same time.
fn killed_in_a_bucket(bucket: &dyn Place, sinks: [(&'static str, Vec<Cell>); 2]) {
    for (sink, cells) in sinks {
        let prefix = |number: usize| format!("{sink}-{number}");
        let with_ledger = kind(sink) == "lake";
        let site = |prefix: &str| Site::new(kind(sink), "full", At::Bucket { bucket, prefix, with_ledger });
        let expected = site(sink).undisturbed();
        let other = site(&format!("{sink}-other"));
        other.write_source(1);
        other.load("").expect(0);
        other.write_source(2);
        passes_no_other_point(sink, &other);

        let killed = each(WORKERS, cells.into_iter().enumerate().collect(), |(number, cell): (usize, Cell)| {
            let site = site(&prefix(number));
            site.write_source(1);
            site.load("").expect(0);
            let killed = Killed::new(cell, site, &expected);
            if with_ledger {
                killed.is_still_locked();
            }
            (number, killed)
        });
        let there = Inventory::of(bucket);
        for (number, killed) in killed.iter().filter(|(_, killed)| killed.cell.kill.1 == Hidden) {
            let visible = there.below(&format!("{}/lake", prefix(*number))).visible_strangers();
            assert_eq!(visible, [""; 0], "{}", killed.cell.name());
        }
        each(WORKERS, killed.iter().collect(), |(_, killed): &(usize, Killed)| {
            std::thread::sleep(LEASE.saturating_sub(killed.at.elapsed()));
            killed.ends(&expected);
        });
        let left = Inventory::of(bucket);
        for (number, killed) in &killed {
            killed.has_left(&left.below(&format!("{}/lake", prefix(*number))));
            if with_ledger {
                let aside = left.below(&format!("{}/ledger/quarantine", prefix(*number))).strangers();
                assert_eq!(aside, [""; 0], "{}", killed.cell.name());
            } else {
                killed.leaves_no_stranger_aside();
            }
        }
    }
}

#[test]
fn killed_anywhere_a_load_into_a_bucket_ends_well_or_leaves_nothing() {
    let sinks = ["s3", "delta-s3"].map(|sink| (sink, Cell::all(sink)));
    killed_in_a_bucket(&Bucket::new("killed"), sinks);
}

#[test]
fn killed_on_its_way_a_load_into_a_container_ends_well_or_leaves_nothing() {
    // Where a point is passed several times, the last time is the table's own.
    let last = |sink: &'static str, point: &str| -> Vec<Cell> {
        Cell::all(sink).into_iter().rev().filter(|cell| cell.point == point).take(2).collect()
    };
    let at = |sink: &'static str, points: &[&str]| -> Vec<Cell> {
        points.iter().flat_map(|point| last(sink, point)).collect()
    };
    let sinks = [("s3", at("s3", IN_AZURE[0])), ("delta-s3", at("delta-s3", IN_AZURE[1]))];
    killed_in_a_bucket(&Container::new("killed"), sinks);
}
