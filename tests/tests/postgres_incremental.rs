//! Incremental loads from PostgreSQL: after each of ten rounds of changes the target equals a full load, by its digest.
//!
//! The changes are made by chance, of a seed that is part of every message. They bring ties with the highest cursor that has
//! been loaded, rows a microsecond after it, and rows that come late.

use serde_json::Value;

use crate::harness::{Bench, Outcome};
use crate::postgres::{Database, pipeline};
use crate::site::digest;

const ROUNDS: u64 = 10;

/// Numbers by chance: `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of so many, from 0 on.
    fn below(&mut self, many: u64) -> u64 {
        self.next() % many
    }
}

/// A table that changes.
struct Accounts<'d> {
    database: &'d Database<'static>,
    name: &'static str,
    chance: Chance,
    /// The next id, and the highest cursor so far in microseconds after the beginning of 2024.
    next: u64,
    newest: u64,
    /// How far behind the newest one a cursor may come, in microseconds.
    late: u64,
}

impl<'d> Accounts<'d> {
    fn new(database: &'d Database<'static>, name: &'static str, seed: u64, late_secs: u64) -> Self {
        database.sql(&format!(
            "create table {name} (id int primary key, balance numeric(12,2), note text, tags text[], changed_at timestamptz not null);"
        ));
        Self { database, name, chance: Chance(seed), next: 0, newest: 3_600_000_000, late: late_secs * 1_000_000 }
    }

    /// A cursor: often the newest one again, or a microsecond after it; later ones; some that come late.
    fn cursor(&mut self) -> u64 {
        let at = match self.chance.below(6) {
            0 | 1 => self.newest,
            2 => self.newest + 1,
            3 => self.newest - self.chance.below(self.late.max(1)),
            _ => self.newest + self.chance.below(5_000_000),
        };
        self.newest = self.newest.max(at);
        at
    }

    fn values(&mut self) -> String {
        let (balance, note) = (self.chance.below(10_000_000), self.chance.below(1000));
        let note = if note < 100 { "null".to_string() } else { format!("'note {note}'") };
        let at = self.cursor();
        format!(
            "{}.{:02}, {note}, array['a{}', null], timestamptz '2024-01-01 00:00:00+00' + {at} * interval '1 us'",
            balance / 100,
            balance % 100,
            self.chance.below(9)
        )
    }

    /// A round of changes. The rows that were loaded last are among those that change.
    fn change(&mut self, updates: bool) {
        let mut sql = String::new();
        for _ in 0..5 + self.chance.below(30) {
            let values = self.values();
            sql.push_str(&format!("insert into {} values ({}, {values});\n", self.name, self.next));
            self.next += 1;
        }
        for _ in 0..if updates { self.chance.below(25) } else { 0 } {
            let (values, id) = (self.values(), self.chance.below(self.next));
            sql.push_str(&format!(
                "update {} set (balance, note, tags, changed_at) = ({values}) where id = {id};\n",
                self.name
            ));
        }
        self.database.sql(&sql);
    }
}

/// A pipeline into a target that grows, one that loads the same table in full, and one that reads the target.
fn write_pipelines(bench: &Bench, database: &Database<'_>, table: &str, target: &str, mode: &str) {
    let entry = |from: &str, mode: &str| format!("  - {{ from: {from}, to: {table}, key: [id]{mode} }}\n");
    bench.write("p.yaml", pipeline(&database.connection(), &target, &entry(table, &format!(", mode: {mode}"))));
    bench.write("full.yaml", pipeline(&database.connection(), &"lake: { url: full }", &entry(table, "")));
    bench.write("reader.yaml", pipeline(&target, &"lake: { url: seen }", &entry(table, "")));
}

fn run(bench: &Bench, file: &str) -> Outcome {
    bench.run(&["run", file, "--ledger", file.trim_end_matches(".yaml")])
}

/// Rows read and written.
fn counts(outcome: &Outcome) -> [u64; 2] {
    ["read", "written"].map(|name| outcome.last_line()["tables"][0][name].as_u64().unwrap())
}

/// Asserts that the target holds what a full load brings.
#[track_caller]
fn equals_a_full_load(bench: &Bench, note: &str) {
    let full = run(bench, "full.yaml");
    assert_eq!(full.code, 0, "{note}: {full:?}");
    let seen = run(bench, "reader.yaml");
    assert_eq!(seen.code, 0, "{note}: {seen:?}");
    assert_eq!(digest(&seen), digest(&full), "{note}");
}

/// Ten rounds of changes and loads.
fn rounds(accounts: &mut Accounts<'_>, target: &str, mode: &str, updates: bool, seed: u64) {
    let bench = accounts.database.bench();
    write_pipelines(&bench, accounts.database, accounts.name, target, mode);
    let mut brought = 0;
    for round in 0..ROUNDS {
        let note = format!("{target}, {mode}, seed {seed}, round {round}");
        accounts.change(updates);
        let loaded = run(&bench, "p.yaml");
        assert_eq!(loaded.code, 0, "{note}: {loaded:?}");
        assert_eq!(loaded.last_line()["tables"][0]["verdict"], "match", "{note}");
        brought += counts(&loaded)[1];
        equals_a_full_load(&bench, &note);
    }
    // Each load has brought what had changed, and not the whole table again.
    assert!(brought < accounts.next * ROUNDS / 2, "{target}: {brought} rows were brought in all, of {}", accounts.next);
}

#[test]
fn ties_at_the_boundary_are_neither_lost_nor_doubled() {
    for seed in [11, 12] {
        let database = Database::new(&format!("incremental_{seed}"));
        let mut accounts = Accounts::new(&database, "accounts", seed, 0);
        rounds(
            &mut accounts,
            "delta: { url: grown }",
            "{ incremental: { cursor: changed_at, lookback_secs: 0 } }",
            true,
            seed,
        );
    }
}

#[test]
fn rows_that_come_late_are_found_by_looking_back() {
    let seed = 21;
    let database = Database::new("incremental_late");
    let mut accounts = Accounts::new(&database, "accounts", seed, 30);
    rounds(
        &mut accounts,
        "delta: { url: grown }",
        "{ incremental: { cursor: changed_at, lookback_secs: 30 } }",
        true,
        seed,
    );
}

#[test]
fn another_server_is_kept_up_to_date() {
    let seed = 31;
    let (database, other) = (Database::new("incremental_from"), Database::new("incremental_to"));
    let mut accounts = Accounts::new(&database, "accounts", seed, 30);
    let mode = "{ incremental: { cursor: changed_at, lookback_secs: 30 } }";
    rounds(&mut accounts, &other.connection().to_string(), mode, true, seed);
    // There is one row for each key, whatever has been loaded twice.
    assert_eq!(other.value("select count(*) = count(distinct id) and count(*) > 50 from accounts"), "t");
}

#[test]
fn rows_that_are_only_added_are_added_once() {
    let database = Database::new("incremental_added");
    database.sql("create table clicks (id bigint primary key generated always as identity, word text);");
    let bench = database.bench();
    write_pipelines(&bench, &database, "clicks", "lake: { url: grown }", "{ incremental: { cursor: id } }");
    let mut chance = Chance(41);
    for round in 0..ROUNDS {
        let rows = 1 + chance.below(40);
        database.sql(&format!("insert into clicks (word) select 'w' || i from generate_series(1, {rows}) i;"));
        assert_eq!(counts(&run(&bench, "p.yaml").expect(0))[1], rows, "round {round}");
        equals_a_full_load(&bench, &format!("round {round}"));
    }
    run(&bench, "p.yaml").expect(99);
    equals_a_full_load(&bench, "after a run that found nothing");
}

#[test]
fn only_rows_above_the_cursor_are_asked_for() {
    let database = Database::new("incremental_asked");
    database.sql(
        "create table t (id int primary key, at timestamp(6) not null);
         insert into t select i, timestamp '2024-01-01' + i * interval '1 us' from generate_series(1, 1000) i;",
    );
    let bench = database.bench();
    write_pipelines(&bench, &database, "t", "lake: { url: grown }", "{ incremental: { cursor: at } }");
    run(&bench, "p.yaml").expect(0);
    database.sql(
        "insert into t select i, timestamp '2024-01-01' + i * interval '1 us' from generate_series(1001, 1003) i;",
    );
    // A microsecond is not lost on the way, and the server does the choosing: what it does not send is not counted.
    assert_eq!(counts(&run(&bench, "p.yaml").expect(0)), [3, 3]);
    equals_a_full_load(&bench, "three rows more");
}

/// A killed or failed incremental load is gone on with, and the next one begins where it ended.
#[test]
fn a_load_that_failed_is_gone_on_with_and_the_cursor_stays_true() {
    let seed = 51;
    let database = Database::new("incremental_killed");
    let mut accounts = Accounts::new(&database, "accounts", seed, 0);
    let bench = database.bench();
    let mode = "{ incremental: { cursor: changed_at, lookback_secs: 0 } }";
    write_pipelines(&bench, &database, "accounts", "delta: { url: grown }", mode);
    for point in ["unit.journaled", "commit.begun", "commit.published", "run.receipt"] {
        accounts.change(true);
        let killed =
            bench.run_with_faults(&["run", "p.yaml", "--ledger", "p"], &format!("{point}=return(kill)")).expect(-1);
        assert_eq!(killed.stdout, "", "{point}");
        // Meanwhile the source has changed.
        accounts.change(true);
        let runs: Value = bench.run(&["runs", "--ledger", "p", "--format", "json"]).expect(0).last_line();
        let id = runs["runs"][0]["run_id"].as_str().unwrap().to_string();
        let resumed = bench.run(&["resume", &id, "--ledger", "p"]);
        // The snapshot is gone; if the rows are already there, only the comparison is.
        assert!([0, 3, 9].contains(&resumed.code), "{point}: {resumed:?}");
        let next = run(&bench, "p.yaml");
        assert!([0, 99].contains(&next.code), "{point}: {next:?}");
        equals_a_full_load(&bench, &format!("{point}, seed {seed}"));
    }
}
