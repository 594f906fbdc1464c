//! Snapshots of a PostgreSQL server that have ended with the process that took them, while others write.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome, Started, wait_until};
use crate::postgres::{Database, Session, pipeline};

const TABLES: &str = "create table t (id int primary key, word text);
    insert into t select i, md5(i::text) from generate_series(1, 2000) i;
    create table u (id int primary key, t int not null);
    insert into u select i, i from generate_series(1, 2000) i;";

/// Takes a row of each table away and adds two, of which one belongs to the other.
const CHANGES: &str = "delete from u where id = 1; delete from t where id = 1;
    insert into t values (3000, 'new'), (3001, 'new'); insert into u values (3000, 3000), (3001, 3001);";

/// A database with two tables, and a pipeline that brings both into a lake; only the second has a check.
fn bench(name: &str) -> (Database<'static>, Bench) {
    let database = Database::new(name);
    database.sql(TABLES);
    let bench = database.bench();
    let tables = "  - { from: t, to: t, key: [id] }\n  - from: u\n    to: u\n    key: [id]\n    checks:\n      \
                  - foreign_key: { columns: [t], references: { table: t, columns: [id] } }\n";
    bench.write("p.yaml", pipeline(&database.connection(), &"lake: { url: lake }", tables));
    (database, bench)
}

/// What the last line says of the tables.
fn said(outcome: &Outcome, field: &str) -> [Value; 2] {
    let line = outcome.last_line();
    [0, 1].map(|at| line["tables"][at][field].clone())
}

/// The snapshots in the plan of a run.
fn snapshots(bench: &Bench, run: &str) -> [Value; 2] {
    let shown = bench.run(&["show", run, "--plan", "--format", "json"]).expect(0).last_line();
    [0, 1].map(|at| shown["plan"]["tables"][at]["pin"]["snapshot"]["snapshot"].clone())
}

fn matches() -> [Value; 2] {
    [json!("match"), json!("match")]
}

#[test]
fn a_saved_plan_is_pinned_anew_with_all_of_its_tables() {
    let (database, bench) = bench("repin_plan");
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    database.sql(CHANGES);
    let done = bench.run(&["run", "--plan", "plan.json"]).expect(0);
    let done = done.says("what the plan has pinned is gone (snapshot ").says("2 tables are pinned anew");
    assert_eq!((said(&done, "read"), said(&done, "verdict")), ([json!(2001), json!(2001)], matches()));
    let [t, u] = snapshots(&bench, &bench.newest_run());
    assert!(t.is_string() && t == u, "{t} and {u}");
}

#[test]
fn a_killed_load_is_read_anew_at_one_snapshot() {
    let (database, bench) = bench("repin_killed");
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    let run = bench.newest_run();
    let [before, _] = snapshots(&bench, &run);
    database.sql(CHANGES);
    let done = bench.run(&["resume", &run]).expect(0).says("table t is read anew").says("table u is read anew");
    assert_eq!((said(&done, "read"), said(&done, "verdict")), ([json!(2001), json!(2001)], matches()));
    let [t, u] = snapshots(&bench, &run);
    assert!(t.is_string() && t == u && t != before, "{before}; {t} and {u}");
    bench.run(&["reconcile", "p.yaml"]).expect(0);
}

#[test]
fn what_has_arrived_before_stays_and_others_are_read_anew() {
    let (database, bench) = bench("repin_some");
    let failed = bench.run_with_faults(&["run", "p.yaml"], "run.checked=return(transient)").expect(75);
    assert_eq!(said(&failed, "verdict"), [json!("match"), Value::Null]);
    database.sql(CHANGES);
    let run = bench.newest_run();
    let done = bench.run(&["resume", &run]).expect(0).says("table u is read anew").says("table t is looked at anew");
    assert_eq!((said(&done, "read"), said(&done, "verdict")), ([json!(2000), json!(2001)], matches()));

    // Nobody holds either snapshot now.
    let compared = bench.run(&["reconcile", "--run", &run]).expect(9).says("the snapshot that the run read is gone");
    assert_eq!(compared.last_line()["status"], "not_compared");
    bench.run(&["reconcile", "p.yaml", "--table", "u"]).expect(0);
    bench.run(&["reconcile", "p.yaml", "--table", "t"]).expect(5);
}

#[test]
fn a_table_that_was_published_and_not_written_down_is_not_loaded_again() {
    let (database, bench) = bench("repin_published");
    bench.run_with_faults(&["run", "p.yaml", "--table", "t"], "run.receipt=return(kill)").expect(-1);
    database.sql(CHANGES);
    let run = bench.newest_run();
    let done = bench.run(&["resume", &run]).expect(9).says("the snapshot that the run read is gone");
    assert!(!done.stderr.contains("read anew"), "{}", done.stderr);
    assert_eq!(done.last_line()["tables"][0]["written"], 2000);
    bench.run(&["resume", &run]).expect(99);
    bench.run(&["reconcile", "p.yaml", "--table", "t"]).expect(5);
}

#[test]
fn a_commit_that_is_on_its_way_is_waited_for_and_not_made_again() {
    let (database, other) = (Database::new("repin_from"), Database::new("repin_to"));
    database.sql(
        "create table t (id int primary key, word text not null);
         insert into t select i, 'old' from generate_series(1, 10) i;",
    );
    // The server makes no commit as long as somebody else has the lock.
    other.sql(
        "create table t (id int not null, word text not null);
         create function wait() returns trigger language plpgsql as
             'begin perform pg_advisory_xact_lock(7); return null; end';
         create constraint trigger waits after insert on t deferrable initially deferred
             for each row execute function wait();",
    );
    let bench = database.bench();
    let table = "  - { from: t, to: t, key: [id], mode: append }\n";
    bench.write("p.yaml", pipeline(&database.connection(), &other.connection(), table));
    let mut holder = Session::new(&other, "owner");
    holder.does("begin; select pg_advisory_xact_lock(7);");
    let waits = |statement: &str| {
        let waiting = "from pg_stat_activity where datname = current_database() and wait_event = 'advisory'";
        other.value(&format!("select count(*) {waiting} and query ilike '{statement}'")) == "1"
    };
    let killed = Started::new(&bench, &["run", "p.yaml"], "");
    wait_until("the server is about to make the commit", || waits("commit"));
    killed.signal("KILL");
    killed.ended().expect(-1);
    database.sql("insert into t values (11, 'new');");
    let run = bench.newest_run();
    let resumed = Started::new(&bench, &["resume", &run], "");
    wait_until("the commit is waited for", || waits("select pg_advisory%"));
    holder.does("commit;");
    let done = resumed.ended().expect(9).says("the snapshot that the run read is gone");
    assert!(!done.stderr.contains("read anew"), "{}", done.stderr);
    assert_eq!(done.last_line()["tables"][0]["written"], 10);
    assert_eq!(other.value("select count(*) from t"), "10");
    bench.run(&["resume", &run]).expect(99);
}
