//! What goes wrong while a table of PostgreSQL is written: kills at every point on the way, connections that break, a server
//! that restarts, other writers, a disk that is full.
//!
//! Whoever reads the table sees all of the old rows or all of the new ones, and what is gone on with ends like a load that
//! nothing has disturbed. Nothing is left of what was staged.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use transload_core::fault::POINTS;
use transload_testkit::proxy::{End, Fault, Rule, When};

use crate::harness::{Outcome, Started, done, root, wait_until};
use crate::postgres::{Database, Server, server};
use crate::postgres_sink::{Target, first};
use crate::site::{digest, each};

/// Loads at the same time.
const WORKERS: usize = 3;

/// How rows come into a table that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They take the place of all others, in a table that nobody has built upon.
    Swapped,
    /// The same, in a table with an index.
    Replaced,
    Added,
    Merged,
}

impl Way {
    const ALL: [Self; 4] = [Self::Swapped, Self::Replaced, Self::Added, Self::Merged];

    fn mode(self) -> &'static str {
        match self {
            Self::Swapped | Self::Replaced => "full",
            Self::Added => "append",
            Self::Merged => "merge",
        }
    }

    /// A table with rows of the first version, and a source with those of the second.
    fn target(self, schema: &str) -> Target<'static> {
        static DATABASE: OnceLock<()> = OnceLock::new();
        const NAME: &str = "sink_faults";
        DATABASE.get_or_init(|| drop(Database::new(NAME)));
        let target = Target::in_schema(Database { server: server(), name: NAME.to_string() }, schema);
        target.write_pipeline(self.mode(), &target.connection());
        target.write_source(0..120, 1);
        target.arrives();
        if self == Self::Replaced {
            target.database.sql(&format!("create index on \"{schema}\".t (word);"));
        }
        target.write_source(if self == Self::Added { 120..180 } else { 60..180 }, 2);
        target
    }

    /// What is seen after a load that nothing disturbs, and its digest.
    fn undisturbed(self) -> (Value, String) {
        // Each test has a table of its own.
        static TIMES: AtomicUsize = AtomicUsize::new(0);
        let target = self.target(&format!("undisturbed {}", TIMES.fetch_add(1, Ordering::Relaxed)));
        let digest = digest(&target.arrives());
        (target.seen(), digest)
    }
}

/// The points that the connector passes when it writes.
fn own_points() -> Vec<String> {
    let mut found = Vec::new();
    collect(&root().join("connectors/postgres/src"), &mut found);
    found.sort();
    found.dedup();
    assert!(found.len() >= 6, "{found:?}");
    found
}

fn collect(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        match entry.unwrap().path() {
            path if path.is_dir() => collect(&path, found),
            path => {
                let text = std::fs::read_to_string(path).unwrap();
                let points = text.split("fault::point(\"").skip(1).filter_map(|rest| rest.split_once('"'));
                found.extend(points.map(|(point, _)| point.to_string()).filter(|point| point.starts_with("postgres.")));
            }
        }
    }
}

/// A load that is killed at a point, when it has passed there so often before.
#[derive(Debug)]
struct Cell {
    way: Way,
    point: String,
    passed: u32,
    is_resumed: bool,
}

impl Cell {
    fn name(&self) -> String {
        format!("{:?}, {} passed {} times, resumed: {}", self.way, self.point, self.passed, self.is_resumed)
    }

    /// Kills the load and goes on. Returns whether it came to the point.
    fn ends_well(&self, schema: &str, expected: &(Value, String)) -> bool {
        let (name, target) = (self.name(), self.way.target(schema));
        let before = target.seen();
        let before_it = if self.passed == 0 { String::new() } else { format!("{}*off->", self.passed) };
        let fault = format!("{}={before_it}return(kill)", self.point);
        let killed = target.bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], &fault);
        if killed.code == 0 {
            assert!(!self.point.starts_with("postgres."), "{name}: no load comes there");
            return false;
        }
        assert_eq!(killed.code, -1, "{name}: {killed:?}");
        let seen = target.seen();
        assert!([&before, &expected.0].contains(&&seen), "{name}: {seen}");
        let is_published = seen == expected.0;
        if self.point.starts_with("postgres.") {
            let comes_late = ["postgres.commit.sent", "postgres.committed"].contains(&&*self.point);
            assert_eq!(is_published, comes_late, "{name}");
        }
        if self.is_resumed {
            let resumed = target.bench.run(&["resume", &target.bench.newest_run()]);
            let has_ended = resumed.code == 99 && is_published;
            assert!(resumed.code == 0 || has_ended, "{name}: {resumed:?}");
            if !has_ended {
                assert_eq!(digest(&resumed), expected.1, "{name}");
                assert_eq!(resumed.last_line()["tables"][0]["verdict"], "match", "{name}");
            }
            assert_eq!(target.seen(), expected.0, "{name}");
            target.bench.run(&["audit", "verify"]).expect(0);
        } else {
            let clean = ["clean", "p.yaml", "--older-than", "0s"];
            let cleaned = target.bench.run(&clean);
            assert!([0, 99].contains(&cleaned.code), "{name}: {cleaned:?}");
            assert_eq!(target.seen(), seen, "{name}");
            target.bench.run(&clean).expect(99);
        }
        assert_eq!(target.staged(), "", "{name}");
        let commits = format!("select count(*) from \"{schema}\"._transload_commits");
        let times = 1 + usize::from(self.is_resumed || is_published);
        assert_eq!(target.database.value(&commits), times.to_string(), "{name}");
        let noted = format!("select count(*) from \"{schema}\"._transload_staged");
        assert_eq!(target.database.value(&noted), "0", "{name}");
        true
    }
}

#[test]
fn killed_anywhere_a_load_ends_well_or_leaves_nothing() {
    let points = own_points();
    let mut cells = Vec::new();
    for way in Way::ALL {
        for point in &points {
            let stages = point.contains("stage");
            // How rows are staged does not depend on what becomes of them.
            if stages && way != Way::Swapped {
                continue;
            }
            for passed in if stages { 0..2 } else { 0..1 } {
                cells.push(Cell { way, point: point.clone(), passed, is_resumed: true });
            }
            if way == Way::Swapped {
                cells.push(Cell { way, point: point.clone(), passed: 0, is_resumed: false });
            }
        }
    }
    let others = POINTS.iter().filter(|point| !point.starts_with("postgres."));
    cells.extend(others.map(|point| Cell {
        way: Way::Added,
        point: (*point).to_string(),
        passed: 0,
        is_resumed: true,
    }));
    let expected = Way::ALL.map(Way::undisturbed);
    let cells: Vec<(usize, Cell)> = cells.into_iter().enumerate().collect();
    let came = each(WORKERS, cells, |(number, cell)| {
        let at = Way::ALL.iter().position(|way| *way == cell.way).unwrap();
        (cell.ends_well(&format!("killed {number}"), &expected[at]), cell.point.starts_with("postgres."))
    });
    let others = came.iter().filter(|(came, is_own)| *came && !is_own).count();
    assert!(others >= 10, "{others} loads were killed outside of the connector");
}

#[test]
fn a_fault_that_passes_is_tried_again_and_one_that_stays_leaves_the_old_rows() {
    let expected = Way::Added.undisturbed();
    let cells: Vec<(usize, String)> = own_points().into_iter().enumerate().collect();
    each(WORKERS, cells, |(number, point)| {
        let target = Way::Added.target(&format!("passing {number}"));
        let fault = format!("{point}=1*return(transient)->off");
        let outcome = target.bench.run_with_faults(&["run", "p.yaml"], &fault).expect(0);
        assert_eq!((target.seen(), digest(&outcome)), expected, "{fault}");
        assert_eq!(target.staged(), "", "{fault}");

        if ["postgres.commit.sent", "postgres.committed"].contains(&&*point) {
            return;
        }
        let target = Way::Added.target(&format!("staying {number}"));
        let fault = format!("{point}=return(permanent)");
        target.bench.run_with_faults(&["run", "p.yaml"], &fault).expect(3).says(&point);
        assert_eq!(target.seen(), first(0..120), "{fault}");
        assert_eq!(target.staged(), "", "{fault}");
    });
}

/// Goes on with a load that was disturbed, and asserts that it has brought its rows once.
#[track_caller]
fn goes_on(target: &Target<'_>, disturbed: &Outcome, expected: &(Value, String), note: &str) {
    let outcome = match (disturbed.code, disturbed.stdout.is_empty()) {
        (0, _) => None,
        (_, true) => Some(target.run()),
        (_, false) => Some(target.bench.run(&["resume", disturbed.last_line()["run_id"].as_str().unwrap()])),
    };
    if let Some(outcome) = outcome {
        assert!([0, 99].contains(&outcome.code), "{note}: {disturbed:?}\n{outcome:?}");
    }
    assert_eq!(target.seen(), expected.0, "{note}: {disturbed:?}");
    assert_eq!(target.staged(), "", "{note}");
}

#[test]
fn a_connection_that_breaks_anywhere_brings_no_row_twice() {
    let expected = Way::Added.undisturbed();
    let mut cuts: Vec<(u64, Fault)> = Vec::new();
    for (number, bytes) in (0..).zip([0, 60, 500, 1500, 2500, 3500, 5000, 8000, 20_000]) {
        let end = if number % 2 == 0 { End::Reset } else { End::Closed };
        cuts.extend((1..=3).map(|connection| (connection, Fault::CutRequest(bytes, end))));
        cuts.push((1 + number % 3, Fault::CutAnswer(bytes, end)));
    }
    let cuts: Vec<(usize, (u64, Fault))> = cuts.into_iter().enumerate().collect();
    let struck = each(WORKERS, cuts, |(number, (connection, fault))| {
        let target = Way::Added.target(&format!("cut {number}"));
        let note = format!("connection {connection}, {fault:?}");
        let proxy = target.database.proxy();
        let plainly = target.connection().through(&proxy).tls("{ mode: disable }");
        target.write_pipeline("append", &plainly);
        proxy.set([Rule::connections(When::Nth(connection), fault)]);
        let outcome = target.run();
        let is_struck = !proxy.struck().is_empty();
        proxy.set([]);
        assert!([0, 8, 75].contains(&outcome.code), "{note}: {outcome:?}");
        assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.contains(&server().password), "{outcome:?}");
        goes_on(&target, &outcome, &expected, &note);
        is_struck
    });
    assert!(struck.iter().filter(|is_struck| **is_struck).count() > struck.len() / 2, "{struck:?}");
}

#[test]
fn a_commit_whose_answer_is_lost_is_looked_for() {
    let expected = Way::Added.undisturbed();
    let target = Way::Added.target("unheard");
    let outcome = target.bench.run_with_faults(&["run", "p.yaml"], "postgres.commit.sent=return(transient)").expect(0);
    goes_on(&target, &outcome, &expected, "somebody else can be asked");

    let target = Target::new("sink_unknown");
    target.write_pipeline("append", &target.connection());
    target.write_source(0..120, 1);
    target.arrives();
    target.write_source(120..180, 2);
    let faults = "postgres.commit.moved=sleep(3000);postgres.commit.sent=return(transient)";
    let running = Started::new(&target.bench, &["run", "p.yaml"], faults);
    let waiting =
        "select count(*) from pg_stat_activity where datname = 'sink_unknown' and application_name = 'transload'
        and state = 'idle in transaction' and now() - state_change > interval '500 ms'";
    wait_until("the commit is about to be made", || target.database.value(waiting) != "0");
    // Whoever is connected stays, and nobody else comes.
    target.database.sql_of_superuser(
        "alter database sink_unknown connection limit 0;
         select pg_terminate_backend(pid) from pg_stat_activity
             where datname = 'sink_unknown' and application_name = 'transload' and state = 'idle';",
    );
    let outcome = running.ended().expect(8).says("whether the table was published is not known");
    target.database.sql_of_superuser("alter database sink_unknown connection limit -1;");
    goes_on(&target, &outcome, &expected, "nobody could be asked");
}

#[test]
fn a_server_that_restarts_while_it_is_written_has_the_rows_once() {
    let server = Server::own(&[]);
    let expected = Way::Added.undisturbed();
    for (number, point) in
        ["postgres.stage.batch", "postgres.commit.begun", "postgres.commit.moved"].into_iter().enumerate()
    {
        let database = Database::on(&server, &format!("restarts_{number}"));
        let target = Target::in_schema(database, "public");
        target.write_pipeline("append", &target.connection());
        target.write_source(0..120, 1);
        target.arrives();
        target.write_source(120..180, 2);
        let running =
            Started::new(&target.bench, &["run", "p.yaml", "--parallel", "1"], &format!("{point}=1*sleep(4000)->off"));
        wait_until("something is staged", || !target.staged().is_empty());
        std::thread::sleep(Duration::from_millis(500));
        server.told("restart immediate");
        let outcome = running.ended();
        assert!([0, 8, 75].contains(&outcome.code), "{point}: {outcome:?}");
        goes_on(&target, &outcome, &expected, point);
    }
}

#[test]
fn several_pipelines_add_to_a_table_at_the_same_time() {
    let database = Database::new("sink_writers");
    let targets: Vec<Target<'_>> = (0..3)
        .map(|number: u64| {
            let target = Target::in_schema(Database { server: database.server, name: database.name.clone() }, "public");
            target.write_pipeline("append", &target.connection());
            target.write_source(number * 100..number * 100 + 100, 1);
            target
        })
        .collect();
    let started: Vec<Started> = targets
        .iter()
        .map(|target| Started::new(&target.bench, &["run", "p.yaml"], "postgres.commit.locked=1*sleep(500)->off"))
        .collect();
    for load in started {
        load.ended().expect(0);
    }
    assert_eq!(targets[0].seen(), first(0..300));
    assert_eq!(targets[0].staged(), "");
}

#[test]
fn a_run_that_was_killed_does_not_undo_what_another_has_published_since() {
    for way in [Way::Swapped, Way::Replaced] {
        let target = way.target(&format!("late {way:?}"));
        target.bench.run_with_faults(&["run", "p.yaml"], "postgres.commit.begun=return(kill)").expect(-1);
        let late = target.bench.newest_run();
        target.write_source(0..90, 1);
        target.arrives();
        let resumed = target.bench.run(&["resume", &late]);
        assert_ne!(resumed.code, 0, "{resumed:?}");
        assert_eq!(target.seen(), first(0..90));
        target.bench.run(&["clean", "p.yaml", "--older-than", "0s"]);
        assert_eq!(target.staged(), "", "{way:?}");
    }
}

#[test]
fn whoever_ends_a_session_that_stages_rows_has_them_staged_again() {
    let expected = Way::Added.undisturbed();
    let target = Way::Added.target("terminated");
    let running = Started::new(&target.bench, &["run", "p.yaml"], "postgres.stage.batch=1*sleep(3000)->off");
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where application_name = 'transload' and query ilike 'copy%terminated%from stdin%' and state = 'active'";
    wait_until("a session that writes is ended", || target.database.value(end) != "0");
    let outcome = running.ended().expect(0);
    assert_eq!(digest(&outcome), expected.1);
    goes_on(&target, &outcome, &expected, "a session that was ended");
}

/// A file system of so many megabytes for a database of a server. It goes with it.
struct SmallDisk {
    server: Server,
    at: String,
}

impl SmallDisk {
    /// Mounts it, which only root may.
    fn new(megabytes: u32) -> Self {
        let server = Server::own(&[]);
        let at = format!("{}/small", server.folder);
        std::fs::create_dir(&at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs", &at]).output();
        let is_mounted = mounted.as_ref().is_ok_and(|output| output.status.success());
        assert!(is_mounted, "a small file system for PostgreSQL is needed: run the tests as root: {mounted:?}");
        done(Command::new("chown").args(["postgres", &at]));
        Self { server, at }
    }

    fn make_room(&self, megabytes: u32) {
        done(Command::new("mount").args(["-o", &format!("remount,size={megabytes}m"), &self.at]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.server.told("stop immediate");
        let _ = Command::new("umount").arg(&self.at).output();
    }
}

#[test]
fn a_disk_of_the_server_that_is_full_is_told_and_what_was_staged_is_gone_on_with() {
    let disk = SmallDisk::new(8);
    let target = Target::in_schema(Database::on(&disk.server, "full"), "public");
    target.database.sql_of_superuser(&format!(
        "create tablespace small location '{}'; grant create on tablespace small to owner;
         alter role owner set default_tablespace = small;",
        disk.at
    ));
    target.write_pipeline("append", &target.connection());
    target.write_source(0..120, 1);
    target.arrives();
    for file in 0..2 {
        let mut text = String::from("id,word,amount,day\n");
        for id in (1000..4000).filter(|id| id % 2 == file) {
            // Nothing that could be packed well.
            let word = |part: u64| format!("{:016x}", (id * 1000 + part).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            text.push_str(&format!("{id},{},1.00,2024-01-01\n", (0..250).map(word).collect::<String>()));
        }
        target.bench.write(&format!("in/t/{file}.csv"), text);
    }
    let full = target.run().expect(75).says("the server has no room left on its disk");
    assert_eq!(target.seen(), first(0..120));
    disk.make_room(200);
    let resumed = target.bench.run(&["resume", full.last_line()["run_id"].as_str().unwrap()]).expect(0);
    assert_eq!(resumed.last_line()["tables"][0]["verdict"], "match");
    assert_eq!(target.database.value("select count(*) || ' ' || count(distinct id) from t"), "3120 3120");
    assert_eq!(target.staged(), "");
}
