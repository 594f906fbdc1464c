//! A load beside pgbench, whose transactions keep four tables of a PostgreSQL server in step.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Started, done, wait_until};
use crate::postgres::{Database, asked, pipeline};
use crate::postgres_faults::Ended;

/// The tables, the column of each that has the same sum in all of them, and what stands of its key in the pipeline.
const TABLES: [(&str, &str, &str); 4] = [
    ("history", "delta", ""),
    ("accounts", "abalance", ", key: [aid]"),
    ("tellers", "tbalance", ", key: [tid]"),
    ("branches", "bbalance", ", key: [bid]"),
];

#[test]
fn tables_that_pgbench_changes_all_the_time_are_in_step_in_the_lake() {
    let database = Database::new("pgbench");
    let pgbench = |args: &[&str]| {
        let mut command = database.server.program("pgbench", &database.name, "owner");
        command.args(args).stdin(Stdio::null());
        command
    };
    done(&mut pgbench(&["-i", "-q", "-s", "1"]));
    let bench = database.bench();
    let entry = |(table, _, key): (&str, &str, &str)| format!("  - {{ from: pgbench_{table}, to: {table}{key} }}\n");
    let entries = TABLES.map(entry).concat();
    bench.write("p.yaml", pipeline(&database.connection(), &"lake: { url: lake }", &entries));

    let mut writers = pgbench(&["-n", "-c", "2", "-T", "600"]);
    let mut writers = Ended(writers.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let written = || database.value("select count(*) from pgbench_history").parse::<u64>().unwrap();
    wait_until("pgbench writes", || written() > 100);
    let running = Started::new(&bench, &["run", "p.yaml", "--parallel", "2"], "unit.begun=sleep(300)");
    let outcome = running.ended().expect(0);
    let line = outcome.last_line();
    let loaded = line["tables"].as_array().unwrap();
    assert_eq!(loaded.len(), TABLES.len());
    assert!(loaded.iter().all(|table| table["verdict"] == "match"), "{line}");
    let read = loaded[0]["read"].as_u64().unwrap();
    assert!(writers.0.try_wait().unwrap().is_none(), "pgbench has written all the time");
    assert!(100 < read && read < written(), "{read} rows of the history");

    let shown = bench.run(&["show", line["run_id"].as_str().unwrap(), "--format", "json"]).expect(0).last_line();
    let receipts = shown["run"]["receipts"].as_array().unwrap();
    let pins: Vec<&Value> = receipts.iter().map(|receipt| &receipt["pin"]["snapshot"]["snapshot"]).collect();
    assert!(pins[0].is_string() && pins.iter().all(|pin| *pin == pins[0]), "one snapshot for all: {pins:?}");

    let script = format!(
        "print(json.dumps([sum(arrived(f'lake/{{table}}')[column].to_pylist()) for table, column, _ in {}]))",
        json!(TABLES)
    );
    let sums = asked(&bench, &database, &script);
    assert!(sums.as_array().unwrap().iter().all(|sum| *sum == sums[0]), "{sums}");
    let rows = "print(len(arrived('lake/history')))";
    assert_eq!(asked(&bench, &database, rows), json!(read));
}
