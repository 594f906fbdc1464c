//! What goes wrong with a PostgreSQL server that is read, and on the way to it.
//!
//! Each fault ends in a sentence and an exit code. Nothing is visible then, no secret is in what was said, and the next run
//! brings all rows.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use transload_testkit::proxy::{End, Fault, Rule, When};

use crate::harness::{Bench, Outcome, Started, is_staging, run_python, wait_until};
use crate::postgres::{Connection, Database, Server, Session, pipeline, server};
use crate::site::{digest, each};

/// A table of about thirty megabytes: more than what fits into the buffers of a connection.
const LARGE: &str = "create table t (id int primary key, word text, amount numeric(12,2), pad text);
    insert into t select i, md5(i::text), i / 100.0, repeat(md5((-i)::text), 30) from generate_series(1, 30000) i;";
/// A small one in several splits of a megabyte.
pub(crate) const SMALL: &str = "create table t (id int primary key, word text, amount numeric(12,2));
    insert into t select i, md5(i::text) || md5(i::text), i / 100.0 from generate_series(1, 20000) i;";

/// A table of a server, and a pipeline that brings it into a lake.
pub(crate) struct Load<'s> {
    pub(crate) database: Database<'s>,
    pub(crate) bench: Bench,
    pub(crate) undisturbed: String,
}

impl<'s> Load<'s> {
    /// Makes the table in a database of its own, and loads it once elsewhere, undisturbed.
    pub(crate) fn new(server: &'s Server, name: &str, made: &str) -> Self {
        let database = Database::on(server, name);
        database.sql(made);
        let bench = database.bench();
        bench.write("p.yaml", text(&database.connection()));
        let undisturbed = digest(&bench.run(&["run", "p.yaml"]).expect(0));
        let bench = database.bench();
        bench.write("p.yaml", text(&database.connection()));
        Self { database, bench, undisturbed }
    }

    /// The same load by another connection.
    pub(crate) fn by(&self, connection: &Connection) -> Self {
        let Self { database, undisturbed, .. } = self;
        let database = Database { server: database.server, name: database.name.clone() };
        let bench = database.bench();
        bench.write("p.yaml", text(connection));
        Self { database, bench, undisturbed: undisturbed.clone() }
    }

    pub(crate) fn run(&self) -> Outcome {
        self.quiet(self.bench.run(&["run", "p.yaml"]))
    }

    /// Starts a load that takes its time, and waits until it has staged something.
    fn started(&self, faults: &str) -> Started {
        let load = Started::new(&self.bench, &["run", "p.yaml", "--parallel", "1"], faults);
        wait_until("something is staged", || is_staging(&self.bench));
        load
    }

    /// Asserts that nothing that was said holds a secret.
    #[track_caller]
    pub(crate) fn quiet(&self, outcome: Outcome) -> Outcome {
        let secret = &self.database.server.password;
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        outcome
    }

    /// Asserts that a load has failed, with a code and a sentence, and that nothing is visible.
    #[track_caller]
    pub(crate) fn failed(&self, outcome: Outcome, code: i32, sentence: &str) -> Outcome {
        let outcome = self.quiet(outcome).expect(code).says("error: ").says(sentence);
        assert!(self.bench.data_files("lake").is_empty(), "{:?}", self.bench.data_files("lake"));
        outcome
    }

    /// Goes on with a load that was disturbed, and asserts that all rows arrive.
    #[track_caller]
    fn goes_on(&self, disturbed: &Outcome) -> Outcome {
        let outcome = match disturbed.stdout.is_empty() {
            true => self.bench.run(&["run", "p.yaml"]),
            false => self.bench.run(&["resume", disturbed.last_line()["run_id"].as_str().unwrap()]),
        };
        self.arrived(outcome)
    }

    #[track_caller]
    pub(crate) fn arrived(&self, outcome: Outcome) -> Outcome {
        let outcome = self.quiet(outcome).expect(0);
        assert_eq!(digest(&outcome), self.undisturbed, "{outcome:?}");
        assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match");
        outcome
    }

    /// How many sessions of transload there are whose state and last statement are so.
    fn sessions(&self, what: &str) -> u64 {
        let query = format!(
            "select count(*) from pg_stat_activity where application_name = 'transload' and datname = '{}' and {what}",
            self.database.name
        );
        self.database.value(&query).parse().unwrap()
    }

    /// Ends such sessions. Returns how many there were.
    fn end_sessions(&self, what: &str) -> u64 {
        let query = format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where application_name = 'transload' and datname = '{}' and {what}",
            self.database.name
        );
        self.database.value(&query).parse().unwrap()
    }
}

/// A pipeline that reads `t` by a connection.
pub(crate) fn text(connection: &Connection) -> String {
    let table = "  - { from: t, to: t, key: [id] }\n";
    pipeline(&connection.clone().with("split_mb: 1"), &"lake: { url: lake }", table)
}

/// A pause at every batch that is staged.
const SLOWLY: &str = "stage.batch=sleep(300)";

/// The session that holds the snapshot.
const EXPORTER: &str = "state = 'idle in transaction' and query ilike 'release savepoint%'";

#[test]
fn a_server_that_restarts_while_it_is_read_is_read_anew() {
    let server = Server::own(&[]);
    for mode in ["immediate", "fast"] {
        let load = Load::new(&server, &format!("restarts_{mode}"), LARGE);
        let running = load.started(SLOWLY);
        server.told(&format!("restart {mode}"));
        let failed = load.failed(running.ended(), 75, "transload resume");
        let is_said = ["the server", "the snapshot"].iter().any(|said| failed.stderr.contains(said));
        assert!(is_said, "{}", failed.stderr);
        let resumed = load.goes_on(&failed);
        // A snapshot does not outlive its server, and nothing that was read under it is taken over.
        let run = resumed.last_line()["run_id"].as_str().unwrap().to_string();
        let shown = load.bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
        assert_eq!(shown["run"]["receipts"][0]["resumed_units"], 0, "{shown}");
        let shown = load.bench.run(&["show", &run]).expect(0).stdout;
        assert!(shown.contains("pinned anew"), "{shown}");
    }
}

#[test]
fn a_server_that_is_gone_is_told_from_one_that_refuses() {
    let server = Server::own(&[]);
    let load = Load::new(&server, "gone", SMALL);
    server.told("stop fast");
    load.failed(load.run(), 75, "no server answers there");
    server.told("start");
    load.arrived(load.run());
}

#[test]
fn whoever_ends_all_sessions_ends_the_snapshot_and_the_load() {
    let load = Load::new(server(), "terminated_all", LARGE);
    let running = load.started(SLOWLY);
    wait_until("the snapshot is held", || load.sessions(EXPORTER) > 0);
    assert!(load.end_sessions("true") > 1);
    let failed = load.failed(running.ended(), 75, "the snapshot").says("transload resume");
    load.goes_on(&failed).says("is read anew");
}

/// Those who read have the snapshot, too, for as long as their own sessions last; nobody else can get it any more.
#[test]
fn without_the_session_that_holds_the_snapshot_no_other_rows_are_read() {
    let load = Load::new(server(), "terminated_exporter", LARGE);
    let running = load.started(SLOWLY);
    wait_until("the snapshot is held", || load.sessions(EXPORTER) > 0);
    assert!(load.end_sessions(EXPORTER) > 0);
    load.database.sql("insert into t select i, 'late', 0, '' from generate_series(100001, 100100) i;");
    let outcome = load.quiet(running.ended()).says("the snapshot");
    match outcome.code {
        75 => drop(load.failed(outcome, 75, "transload resume")),
        _ => {
            let outcome = outcome.expect(9);
            assert_eq!(digest(&outcome), load.undisturbed);
            assert_ne!(outcome.last_line()["tables"][0]["verdict"], "match");
        }
    }
    load.bench.run(&["run", "p.yaml"]).expect(0);
}

/// The same rows by a view that takes two seconds to read.
const SLOW: &str = "alter table t rename to u;
    create view t as select u.*, pg_sleep(case id when 7 then 2 end) is null as waited from u;";

#[test]
fn whoever_ends_a_session_that_reads_a_split_has_it_read_again() {
    let load = Load::new(server(), "terminated_worker", &format!("{SMALL}{SLOW}"));
    let running = Started::new(&load.bench, &["run", "p.yaml"], "");
    wait_until("a session that reads is ended", || {
        load.end_sessions("state = 'active' and wait_event = 'PgSleep'") > 0
    });
    let outcome = load.arrived(running.ended());
    let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
    let shown = load.bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
    assert!(shown["run"]["receipts"][0]["retries"].as_u64() > Some(0), "{shown}");
}

/// A connection that breaks, by its number, with TLS or without.
#[derive(Debug)]
struct Cut {
    connection: u64,
    fault: Fault,
    tls: bool,
}

/// In a greeting, in a login, in answers to questions about the catalogue, in rows; in what is asked.
fn cuts() -> Vec<Cut> {
    let mut cuts = Vec::new();
    for (number, bytes) in (0..).zip([0, 9, 60, 420, 1500, 4000, 16_000, 300_000, 900_000]) {
        let end = if number % 2 == 0 { End::Reset } else { End::Closed };
        for connection in 1..=3 {
            let tls = (number + connection) % 2 == 0;
            cuts.push(Cut { connection, fault: Fault::CutAnswer(bytes, end), tls });
        }
        if bytes < 2000 {
            cuts.push(Cut { connection: 1 + number % 3, fault: Fault::CutRequest(bytes, end), tls: number % 3 == 0 });
        }
    }
    cuts
}

#[test]
fn a_connection_that_breaks_anywhere_leads_to_all_rows_or_to_a_passing_error() {
    let whole = Load::new(server(), "cut", SMALL);
    let struck = each(3, cuts(), |cut| {
        let proxy = whole.database.proxy();
        let connection = whole.database.connection().through(&proxy);
        let connection = if cut.tls { connection } else { connection.tls("{ mode: disable }") };
        let load = whole.by(&connection);
        proxy.set([Rule::connections(When::Nth(cut.connection), cut.fault.clone())]);
        let outcome = load.run();
        let is_struck = !proxy.struck().is_empty();
        proxy.set([]);
        match outcome.code {
            0 => load.arrived(outcome),
            75 => load.goes_on(&load.failed(outcome, 75, "hint: ")),
            _ => panic!("{cut:?}: {outcome:?}"),
        };
        is_struck
    });
    let often = struck.iter().filter(|is_struck| **is_struck).count();
    assert!(often > struck.len() / 2, "{often} of {} connections broke", struck.len());
}

#[test]
fn a_server_that_is_silent_is_not_waited_for_without_end() {
    let whole = Load::new(server(), "silent", SMALL);
    let proxy = whole.database.proxy();
    let load = whole.by(&whole.database.connection().through(&proxy).with("connect_timeout_secs: 1"));
    proxy.set([Rule::connections(When::Always, Fault::Silence)]);
    let begun = Instant::now();
    let failed = load.failed(load.run(), 75, "the server");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    proxy.set([]);
    load.goes_on(&failed);
}

#[test]
fn a_statement_that_takes_longer_than_it_may_is_stopped() {
    let load = Load::new(server(), "timeout", SMALL);
    load.database.sql(SLOW);
    let by = load.by(&load.database.connection().with("statement_timeout_secs: 1"));
    by.failed(by.run(), 75, "a statement took longer than it may").says("statement_timeout_secs");
    load.database.sql("drop view t; alter table u rename to t;");
    by.arrived(by.run());
}

#[test]
fn a_table_that_somebody_has_locked_is_waited_for_as_long_as_is_said() {
    let load = Load::new(server(), "locked", SMALL);
    let mut other = Session::new(&load.database, "owner");
    other.does("begin; lock table t in access exclusive mode;");
    let by = load.by(&load.database.connection().with("lock_timeout_secs: 1"));
    by.failed(by.run(), 75, "somebody else has locked the table").says("lock_timeout_secs");
    other.does("rollback;");
    by.arrived(by.run());
}

/// A change waits for whoever reads, and whoever comes after it waits for the change: a load ends it.
#[test]
fn a_change_of_the_table_does_not_change_what_is_being_read() {
    let load = Load::new(server(), "altered", LARGE);
    let by = load.by(&load.database.connection().with("lock_timeout_secs: 1"));
    let running = by.started(SLOWLY);
    let mut alter = by.database.server.program("psql", &by.database.name, "owner");
    alter.args(["-X", "-q", "-c", "alter table t drop column pad"]).stdin(Stdio::null());
    let mut alter = Ended(alter.spawn().unwrap());
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'alter table t%'";
    wait_until("the change waits", || by.database.value(waits) != "0");
    let outcome = by.quiet(running.ended());
    match outcome.code {
        // It may be in the way of the load, or of the comparison after it.
        75 => drop(outcome.says("somebody else has locked the table")),
        _ => drop(by.arrived(outcome)),
    }
    assert!(alter.0.wait().unwrap().success());
    let next = by.quiet(by.bench.run(&["run", "p.yaml"])).expect(0);
    assert_eq!((&next.last_line()["tables"][0]["verdict"], digest(&next) == by.undisturbed), (&json!("match"), false));
}

/// A process that ends with the test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn writes_during_a_load_never_change_what_it_sees() {
    const ROWS: u64 = 5000;
    let database = Database::new("writes");
    database.sql(&format!(
        "create table t (id int primary key, balance bigint not null, pad text);
         insert into t select i, 1000, repeat('x', 500) from generate_series(1, {ROWS}) i;"
    ));
    let bench = database.bench();
    // Moves money, makes accounts with nothing, and closes some of these.
    let script = "\\set a random(1, 5000)\n\\set b random(1, 5000)\n\\set d random(1, 100)\n\
        begin;\nupdate t set balance = balance - :d where id = :a;\nupdate t set balance = balance + :d where id = :b;\ncommit;\n\
        insert into t select max(id) + 1, 0, 'new' from t;\ndelete from t where id = (select max(id) from t where id > 5500);\n";
    bench.write("transfer.sql", script);
    bench.write("p.yaml", text(&database.connection()));
    let mut writer = database.server.program("pgbench", &database.name, "owner");
    writer.args(["-n", "-c", "1", "-T", "300", "-f", "transfer.sql"]).current_dir(bench.path("."));
    let _writer = Ended(writer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("something is written", || database.value("select count(*) > 5000 from t") == "t");
    for parallel in ["1", "4"] {
        let running = Started::new(
            &bench,
            &["run", "p.yaml", "--parallel", parallel],
            "stage.batch=sleep(100);unit.begun=sleep(200)",
        );
        let outcome = running.ended().expect(0);
        assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match", "{outcome:?}");
        let files: Vec<String> = bench.data_files("lake/t").iter().map(|p| p.to_str().unwrap().to_string()).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let sums = run_python(
            "import sys, pyarrow.parquet as q, pyarrow as pa\n\
             t = pa.concat_tables([q.ParquetFile(f).read() for f in sys.argv[1:]])\n\
             print(sum(t['balance'].to_pylist()), len(set(t['id'].to_pylist())) == t.num_rows, t.num_rows >= 5000)",
            &files,
        );
        assert_eq!(sums, format!("{} True True\n", ROWS * 1000));
    }
}

#[test]
fn a_replica_is_read_like_the_server_itself_unless_it_has_to_take_rows_away() {
    let server = Server::own(&["autovacuum=off"]);
    let load = Load::new(&server, "replica", LARGE);
    let standby = server.standby();
    let by = load.by(&load.database.connection().at(standby));
    by.arrived(by.run());

    let by = load.by(&load.database.connection().at(standby));
    let running = by.started("stage.batch=sleep(700)");
    load.database.sql("update t set word = word; vacuum t;");
    let failed = by.quiet(running.ended()).expect(75);
    let is_said = ["the replica stopped the read", "the snapshot"].iter().any(|said| failed.stderr.contains(said));
    assert!(is_said, "{}", failed.stderr);
    assert!(by.bench.data_files("lake").is_empty());
    wait_until("the replica has caught up", || {
        load.database
            .value("select coalesce(bool_and(replay_lsn = pg_current_wal_lsn()), false) from pg_stat_replication")
            == "t"
    });
    by.goes_on(&failed);
}

#[test]
fn a_signal_stops_what_the_server_does_for_the_load() {
    let load = Load::new(server(), "signal", SMALL);
    load.database.sql(&SLOW.replace("then 2", "then 600"));
    let running = Started::new(&load.bench, &["run", "p.yaml"], "");
    wait_until("the server reads", || load.sessions("state = 'active' and wait_event = 'PgSleep'") > 0);
    running.signal("INT");
    let outcome = load.quiet(running.ended()).expect(130);
    assert_eq!(outcome.last_line()["status"], "interrupted");
    wait_until("the server is left alone", || load.sessions("true") == 0);
}

#[test]
fn there_are_no_more_connections_than_the_pipeline_allows() {
    let load = Load::new(server(), "budget", LARGE);
    let by = load.by(&load.database.connection().with("connections: 3"));
    let mut running = Started::new(&by.bench, &["run", "p.yaml", "--parallel", "8"], "unit.begun=sleep(200)");
    let mut most = 0;
    while running.is_running() {
        most = most.max(by.sessions("true"));
    }
    by.arrived(running.ended());
    assert!((2..=3).contains(&most), "{most} connections");
    load.database.sql_of_superuser("alter database budget connection limit 0;");
    load.failed(load.run(), 75, "the server takes no more connections");
}

#[test]
fn a_foreign_table_is_read_and_its_server_may_be_out_of_reach() {
    let (database, far) = (Database::new("foreign_here"), Database::new("foreign_there"));
    far.sql("create table t (id int primary key, word text); insert into t select i, 'w' || i from generate_series(1, 500) i;");
    let (port, password) = (database.server.address().port(), &database.server.password);
    database.sql_of_superuser(&format!(
        "create extension postgres_fdw;
         create server far foreign data wrapper postgres_fdw options (host '127.0.0.1', port '{port}', dbname 'foreign_there');
         create user mapping for owner server far options (user 'owner', password '{password}');
         grant usage on foreign server far to owner;"
    ));
    database.sql("create foreign table t (id int, word text) server far;");
    let bench = database.bench();
    bench.write("p.yaml", text(&database.connection()));
    assert_eq!(bench.run(&["run", "p.yaml"]).expect(0).last_line()["tables"][0]["verdict"], "match");
    let before = bench.data_files("lake");
    database.sql_of_superuser("alter server far options (set port '1');");
    let outcome = bench.run(&["run", "p.yaml"]).expect(75).says("error: ").says("far");
    assert!(!outcome.stderr.contains(password) && !outcome.stdout.contains(password), "{outcome:?}");
    assert_eq!(bench.data_files("lake"), before);
}
