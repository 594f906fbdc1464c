//! Tables of a PostgreSQL server that others change while they are pinned and read. Rows are as old as a snapshot, and names,
//! files and types are not: a load either has what the snapshot sees, or says that it cannot have it.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{Bench, Started, is_staging, wait_until};
use crate::postgres::{Connection, Database, Session, pipeline};

/// A bench that brings tables of a database into a lake.
fn bench(database: &Database<'_>, connection: &Connection, tables: &str) -> Bench {
    let bench = database.bench();
    bench.write("p.yaml", pipeline(connection, &"lake: { url: lake }", tables));
    bench
}

/// What somebody does to a table `t` after a snapshot was taken and before the table is pinned.
struct Change {
    name: &'static str,
    made: &'static str,
    /// What they have locked meanwhile, so that the pin waits.
    locked: &'static str,
    change: &'static str,
    /// Rows of it afterwards.
    rows: u64,
}

const PARTITIONED: &str = "create table t (id int) partition by range (id);
    create table t1 partition of t for values from (0) to (500);
    create table t2 partition of t for values from (500) to (2000);
    insert into t select generate_series(0, 999);";

const CHANGES: [Change; 6] = [
    Change {
        name: "replaced",
        made: "create table t as select generate_series(1, 1000) id;",
        locked: "t",
        change: "create table n as select generate_series(1, 7) id; alter table t rename to o; alter table n rename to t;",
        rows: 7,
    },
    Change {
        name: "truncated",
        made: "create table t as select generate_series(1, 1000) id;",
        locked: "t",
        change: "truncate t; insert into t select generate_series(1, 8);",
        rows: 8,
    },
    Change { name: "without_a_part", made: PARTITIONED, locked: "t", change: "drop table t2;", rows: 500 },
    Change {
        name: "with_a_part_detached",
        made: PARTITIONED,
        locked: "t",
        change: "alter table t detach partition t2;",
        rows: 500,
    },
    Change {
        name: "of_a_view",
        made: "create table u as select generate_series(1, 1000) id; create view t as select * from u;",
        locked: "u",
        change: "truncate u; insert into u select generate_series(1, 9);",
        rows: 9,
    },
    Change {
        name: "of_another_type",
        made: "create table t as select i id, i x from generate_series(1, 10) i;",
        locked: "t",
        change: "alter table t drop column x; alter table t add column x float4 default 1.5;",
        rows: 10,
    },
];

#[test]
fn a_table_that_is_changed_before_it_is_pinned_is_not_taken_for_what_it_was() {
    for Change { name, made, locked, change, rows } in CHANGES {
        let database = Database::new(&format!("moved_{name}"));
        database.sql("create table first as select 1 id;");
        database.sql(made);
        let bench =
            bench(&database, &database.connection(), "  - { from: first, to: first }\n  - { from: t, to: t }\n");
        let mut other = Session::new(&database, "owner");
        other.does(&format!("begin; lock table {locked} in access exclusive mode;"));
        let running = Started::new(&bench, &["run", "p.yaml"], "");
        wait_until("the pin waits", || {
            let waits = "select count(*) from pg_locks l join pg_stat_activity s using (pid)
                where not l.granted and s.application_name = 'transload' and s.datname = current_database()";
            database.value(waits) != "0"
        });
        other.does(&format!("{change} commit;"));
        let failed = running.ended().expect(75).says("after its snapshot was taken").says("try again");
        assert!(bench.data_files("lake").is_empty(), "{name}: {failed:?}");
        let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        assert_eq!(
            (&line["tables"][1]["read"], &line["tables"][1]["verdict"]),
            (&json!(rows), &json!("match")),
            "{name}"
        );
    }
}

#[test]
fn a_view_that_keeps_its_rows_is_not_filled_anew_while_it_is_read() {
    let database = Database::new("moved_filled");
    database.sql(
        "create table u as select generate_series(1, 1000) id; create materialized view t as select * from u;
         insert into u select generate_series(2001, 2010);",
    );
    let bench = bench(&database, &database.connection(), "  - { from: t, to: t }\n");
    let running = Started::new(&bench, &["run", "p.yaml"], "unit.begun=sleep(2000)");
    wait_until("whoever holds the snapshot has locked it", || {
        let locks = "select count(*) from pg_locks l join pg_stat_activity s using (pid)
            where l.relation = 't'::regclass and l.granted and s.query ilike 'release savepoint%'";
        database.value(locks) != "0"
    });
    let mut refresh = database.server.program("psql", &database.name, "owner");
    refresh.args(["-X", "-q", "-c", "set lock_timeout = '100ms'", "-c", "refresh materialized view t"]);
    let refreshed = refresh.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(!refreshed.success(), "it waits for the load");
    let line = running.ended().expect(0).last_line();
    assert_eq!((&line["tables"][0]["read"], &line["tables"][0]["verdict"]), (&json!(1000), &json!("match")));
}

/// A schema is renamed without a lock of its tables.
#[test]
fn a_schema_that_takes_the_place_of_another_is_noticed() {
    let database = Database::new("moved_schema");
    let made = |schema: &str, word: &str| {
        database.sql(&format!(
            "create schema {schema};
             create table {schema}.t as select i id, repeat('{word}', 30) word from generate_series(1, 20000) i;"
        ));
    };
    made("live", "abc");
    made("next", "xyz");
    let connection = database.connection().with("split_mb: 1");
    let bench = bench(&database, &connection, "  - { from: live.t, to: t, key: [id] }\n");
    let running = Started::new(&bench, &["run", "p.yaml", "--parallel", "1"], "unit.begun=sleep(700)");
    wait_until("something is staged", || is_staging(&bench));
    database.sql("begin; alter schema live rename to old; alter schema next rename to live; commit;");
    running.ended().expect(3).says("was replaced or made anew").says("make a new plan");
    assert!(bench.data_files("lake").is_empty());
    assert_eq!(bench.run(&["run", "p.yaml"]).expect(0).last_line()["tables"][0]["verdict"], "match");
}

#[test]
fn temporary_tables_of_others_that_inherit_are_left_out() {
    let database = Database::new("moved_temporary");
    database.sql("create table t as select generate_series(1, 10) id;");
    let mut other = Session::new(&database, "owner");
    other.does("create temp table mine () inherits (t); insert into mine values (99);");
    for user in ["owner", "postgres"] {
        let bench = bench(&database, &database.connection().user(user), "  - { from: t, to: t }\n");
        let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        assert_eq!(
            (&line["tables"][0]["read"], &line["tables"][0]["verdict"]),
            (&json!(10), &json!("match")),
            "{user}"
        );
    }
}

#[test]
fn many_tables_take_no_more_connections_than_one() {
    let database = Database::new("moved_many");
    let tables: String = (0..30).map(|n| format!("create table t{n} as select {n} id;\n")).collect();
    database.sql(&tables);
    let bench = bench(&database, &database.connection().with("connections: 3"), "  - { from: \"public.*\" }\n");
    let mut running = Started::new(&bench, &["run", "p.yaml", "--parallel", "8"], "");
    let mut most = 0;
    while running.is_running() {
        let sessions = "select count(*) from pg_stat_activity
            where application_name = 'transload' and datname = current_database()";
        most = most.max(database.value(sessions).parse().unwrap());
    }
    let line = running.ended().expect(0).last_line();
    let tables = line["tables"].as_array().unwrap();
    assert!(tables.len() == 30 && tables.iter().all(|table| table["verdict"] == "match"), "{line}");
    assert!((1..=3).contains(&most), "{most} connections");
}
