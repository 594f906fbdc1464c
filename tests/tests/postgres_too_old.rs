//! Servers that do not keep for long what a snapshot sees (`old_snapshot_threshold`).

use std::time::Duration;

use serde_json::json;

use crate::harness::{Started, wait_until};
use crate::postgres::{Database, Server, Session, pipeline, server};

/// As long as a server with a threshold of 0 keeps what a snapshot sees, and a second more.
const TOO_LONG: Duration = Duration::from_secs(6);

/// What is said then.
const SENTENCE: &str = "the server no longer keeps the rows as they were when the table was pinned";

/// Two tables that are read as far as their first row, and on from there once nobody has the lock.
fn tables() -> String {
    let table = |name: &str| {
        format!(
            "create table {name}_rows as select i as id, md5(i::text) as word from generate_series(1, 2000) i;
             create view {name} as select id, word,
                 pg_advisory_xact_lock_shared(case id when 1 then 7 end) is null as is_free from {name}_rows;\n"
        )
    };
    ["changed", "unchanged"].map(table).concat()
}

/// The server refuses whoever reads rows that were changed, but only under a snapshot that the session took itself: whoever
/// takes over that of another is told nothing, even if rows are gone. So unchanged rows are refused like changed ones.
#[test]
fn what_a_server_does_not_keep_for_as_long_as_it_is_read_is_never_taken_for_the_whole() {
    let known = Database { server: server(), name: "postgres".to_string() };
    if known.value("select count(*) from pg_settings where name = 'old_snapshot_threshold'") == "0" {
        // From version 17 on servers keep all that a snapshot sees.
        return;
    }
    let server = Server::own(&["old_snapshot_threshold=0", "autovacuum=off"]);
    let database = Database::on(&server, "too_old");
    database.sql(&tables());
    let bench = database.bench();
    let entries = "  - { from: changed, to: changed, key: [id] }\n  - { from: unchanged, to: unchanged, key: [id] }\n";
    bench.write("p.yaml", pipeline(&database.connection(), &"lake: { url: lake }", entries));

    let mut other = Session::new(&database, "owner");
    other.does("select pg_advisory_lock(7);");
    let running = Started::new(&bench, &["run", "p.yaml", "--parallel", "2"], "");
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'transload' and wait_event = 'advisory'";
    wait_until("both tables are being read", || database.value(waits) == "2");
    std::thread::sleep(TOO_LONG);
    database.sql("update changed_rows set word = word || '!'; vacuum changed_rows;");
    other.does("select pg_advisory_unlock(7);");
    let failed = running.ended().expect(75).says(SENTENCE).says("old_snapshot_threshold").says("transload resume");
    let line = failed.last_line();
    for table in line["tables"].as_array().unwrap() {
        assert!(table["error"].as_str().unwrap().contains(SENTENCE), "{table}");
    }
    assert!(bench.data_files("lake").is_empty());
    let log = std::fs::read_to_string(format!("{}/log", server.folder)).unwrap();
    assert!(log.contains("snapshot too old"), "{log}");

    drop(other);
    database.sql_of_superuser("alter system set old_snapshot_threshold = '1h';");
    server.told("restart fast");
    let done = bench.run(&["resume", line["run_id"].as_str().unwrap()]).expect(0).says("is read anew");
    for table in done.last_line()["tables"].as_array().unwrap() {
        assert_eq!((&table["read"], &table["verdict"]), (&json!(2000), &json!("match")), "{table}");
    }
}
