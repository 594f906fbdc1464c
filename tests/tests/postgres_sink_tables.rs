//! PostgreSQL as the target, where others have put something on the table or beside it: triggers, references, rights, other
//! columns, other sessions.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome, Started, wait_until};
use crate::postgres::{Session, pipeline};
use crate::postgres_sink::{Target, first};

#[test]
fn two_names_of_one_table_are_not_two_tables() {
    let bench = Bench::new();
    bench.write("in/a.csv", "id\n1\n");
    bench.write("in/b.csv", "id\n2\n");
    let refused = |command: &str, schema: &str, tables: &str, sentence: &str, hint: &str| {
        // Nobody is asked there.
        let target = format!("postgres: {{ host: 127.0.0.1, port: 1, database: d, user: u{schema} }}");
        bench.write("p.yaml", pipeline(&"lake: { url: in, format: csv }", &target, tables));
        bench.run(&[command, "p.yaml"]).expect(3).says(sentence).says(hint);
    };
    for (schema, one, other, table) in [
        ("", "t", "public.t", "public.t"),
        ("", "public.t", "'\"t\"'", "public.t"),
        (", schema: crm", "crm.t", "t", "crm.t"),
    ] {
        let tables = format!("  - {{ from: a.csv, to: {one} }}\n  - {{ from: b.csv, to: {other} }}\n");
        let hint = format!("the other one is on line 6, as `{one}`; give one of them another `to`");
        for command in ["check", "plan"] {
            refused(command, schema, &tables, &format!("two tables go to `{table}`"), &hint);
        }
    }
    // What a `*` stands for is known by the plan.
    let tables = "  - { from: '*.csv', to: 'public.*' }\n  - { from: b.csv, to: b }\n";
    refused("plan", "", tables, "two tables go to `public.b`", "on line 6, as `public.b`");
    // They are two if their schemas are.
    let tables = "  - { from: a.csv, to: t }\n  - { from: b.csv, to: crm.t }\n";
    bench.write(
        "p.yaml",
        pipeline(&"lake: { url: in, format: csv }", &"postgres: { host: h, database: d, user: u }", tables),
    );
    bench.run(&["check", "p.yaml"]).expect(0);
}

#[test]
fn triggers_find_what_they_name_as_for_others() {
    let target = Target::new("sink_triggers");
    target.write_pipeline("append", &target.connection());
    target.write_source(0..20, 1);
    target.arrives();
    target.database.sql(
        "create table audit (n int);
         create function noted() returns trigger language plpgsql as
             $$ begin insert into audit values (1); return new; end $$;
         create trigger noted before insert on t for each row execute function noted();
         create constraint trigger noted_at_the_end after insert on t deferrable initially deferred
             for each row execute function noted();",
    );
    target.write_source(20..30, 1);
    target.arrives();
    assert_eq!(target.seen(), first(0..30));
    assert_eq!(target.database.value("select count(*) from audit"), "20");
}

#[test]
fn rows_that_a_trigger_keeps_are_no_rows_that_are_gone() {
    for mode in ["full", "merge"] {
        let target = Target::new(&format!("sink_kept_by_trigger_{mode}"));
        target.write_pipeline(mode, &target.connection());
        target.write_source(0..20, 1);
        target.arrives();
        target.database.sql(
            "create function kept() returns trigger language plpgsql as 'begin return null; end';
             create trigger kept before delete on t for each row execute function kept();",
        );
        if mode == "full" {
            // It could be emptied at once, which asks no trigger.
            target.database.sql("alter table t add primary key (id); create table other (id int references t);");
        }
        target.write_source(100..120, 2);
        if mode == "merge" {
            target.write_source(0..10, 2);
        }
        target.run().expect(3).says("still in the table").says("hint: ");
        assert_eq!(target.seen(), first(0..20), "{mode}");
        assert_eq!(target.staged(), "", "{mode}");
    }
}

#[test]
fn rows_that_others_refer_to_are_merged_in_place() {
    let target = Target::new("sink_referred");
    let bench = &target.bench;
    let load = |merge: &str, rows: &[(u64, &str, &str)]| -> Outcome {
        let columns = "columns: { op: { drop: true } }";
        let table = format!("  - {{ from: t, to: t, key: [id], mode: {merge}, {columns} }}\n");
        bench.write("p.yaml", pipeline(&"lake: { url: in, format: json }", &target.connection(), &table));
        let line = |(id, v, op): &(u64, &str, &str)| format!("{}\n", json!({ "id": id, "v": v, "op": op }));
        bench.write("in/t.jsonl", rows.iter().map(line).collect::<String>());
        bench.run(&["run", "p.yaml"])
    };
    let arrives = |merge: &str, rows: &[(u64, &str, &str)]| {
        let outcome = load(merge, rows).expect(0);
        assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match", "{outcome:?}");
    };
    let rows = || target.database.value("select string_agg(id || v, ' ' order by id) from t");
    let marked = "{ merge: { deleted: \"op = 'D'\" } }";
    arrives(marked, &[(1, "x", "I"), (2, "y", "I"), (3, "z", "I")]);
    target.database.sql(
        "alter table t add primary key (id); create table other (id bigint references t);
         insert into other values (1);",
    );
    arrives(marked, &[(1, "X", "U"), (2, "", "D"), (4, "new", "I")]);
    assert_eq!(rows(), "1X 3z 4new");
    load(marked, &[(1, "", "D")]).expect(3).says("other_id_fkey");
    assert_eq!(rows(), "1X 3z 4new");

    // Nothing is deleted, so nothing goes with it.
    target
        .database
        .sql("alter table other drop constraint other_id_fkey, add foreign key (id) references t on delete cascade;");
    arrives("merge", &[(1, "again", "U"), (5, "five", "I")]);
    assert_eq!(
        (rows().as_str(), target.database.value("select count(*) from other").as_str()),
        ("1again 3z 4new 5five", "1")
    );
    load(marked, &[(3, "", "D")]).expect(3).says("would go or change");
    // Without an index that says so, there may be several rows of a key.
    target.database.sql(
        "alter table other drop constraint other_id_fkey; alter table t drop constraint t_pkey;
         insert into t values (1, 'twice');",
    );
    arrives("merge", &[(1, "once", "U")]);
    assert_eq!(rows(), "1once 3z 4new 5five");
    assert_eq!(target.staged(), "");
}

#[test]
fn whoever_shares_a_schema_is_told_what_its_owner_has_to_grant() {
    let target = Target::new("sink_shared");
    target.write_pipeline("full", &target.connection());
    target.write_source(0..10, 1);
    target.arrives();
    target.database.sql("grant create, usage on schema public to reader;");
    let table = "  - { from: t, to: u, key: [id] }\n";
    let connection = target.connection().user("reader");
    target.bench.write("p.yaml", pipeline(&"lake: { url: in, format: csv }", &connection, table));
    let grant = "GRANT SELECT, INSERT, DELETE ON \"public\".\"_transload_commits\", \"public\".\"_transload_staged\" TO the user";
    for command in ["plan", "run"] {
        target.bench.run(&[command, "p.yaml"]).expect(3).says(grant);
    }
    target.database.sql("revoke select on _transload_commits from reader;");
    target.run().expect(3).says(grant);
    assert_eq!(target.staged(), "");
    target.database.sql("grant select, insert, delete on _transload_commits, _transload_staged to reader;");
    for _ in 0..2 {
        target.arrives();
    }
}

#[test]
fn what_a_table_does_not_take_is_said_by_the_plan() {
    let target = Target::new("sink_planned");
    target.write_pipeline("append", &target.connection());
    target.write_source(0..10, 1);
    target.arrives();
    let planned = || target.bench.run(&["plan", "p.yaml"]);
    target.database.sql("alter table t alter column id type bigint;");
    planned().expect(3).says("the column is bigint in the table").says("cast the column to int64");
    // Where the pipeline says what happens about columns, it is told so there.
    let setting = ["run", "p.yaml", "--set", "on_schema_change=evolve"];
    let said = target.bench.run(&setting).expect(3).says("does not take the rows").says("--set:1:");
    said.says("cast the column to int64");
    target.database.sql("alter table t alter column id type integer, alter column amount type numeric;");
    planned().expect(3).says("the column is numeric in the table").says("column amount");
    target.database.sql("alter table t alter column amount type numeric(9,2); alter table t set unlogged;");
    planned().expect(3).says("unlogged").says("SET LOGGED");
    target.database.sql("alter table t set logged; create type kind as enum ('a');");
    planned().expect(0);
    let source = "lake: { url: in, format: csv }";
    target.bench.write("kind.yaml", pipeline(&source, &target.connection(), "  - { from: t, to: kind, key: [id] }\n"));
    target.bench.run(&["plan", "kind.yaml"]).expect(3).says("the target is a type");
    assert_eq!(target.staged(), "");
    target.write_source(10..20, 1);
    target.arrives();
    assert_eq!(target.seen(), first(0..20));
}

#[test]
fn rows_of_an_attempt_that_ends_late_are_not_published() {
    let target = Target::new("sink_late_unit");
    target.write_pipeline("full", &target.connection());
    target.write_source(0..40, 1);
    target.arrives();
    target.write_source(0..60, 1);
    let running = Started::new(&target.bench, &["run", "p.yaml"], "postgres.commit.begun=1*sleep(3000)->off");
    let units = "select count(*) from _transload_staged";
    wait_until("both units are staged", || target.database.value(units) == "2");
    let staged = target.staged();
    let mut late = Session::new(&target.database, "owner");
    late.does(&format!(
        "begin; insert into \"{staged}\" select * from \"{staged}\" limit 1;
         insert into _transload_staged (commit_key, unit, xid, rows, deleted, bytes)
             select commit_key, 'late', txid_current()::text, 1, 0, 1 from _transload_staged limit 1;"
    ));
    let waiting = format!("select count(*) from pg_locks where not granted and relation = to_regclass('\"{staged}\"')");
    wait_until("the commit waits for it", || target.database.value(&waiting) != "0");
    late.does("commit;");
    let outcome = running.ended().expect(0);
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match");
    assert_eq!((target.seen(), target.staged().as_str()), (first(0..60), ""));
}

#[test]
fn a_commit_that_goes_on_without_its_writer_is_waited_for() {
    let target = Target::new("sink_in_flight");
    target.database.sql(
        "create schema src; create table src.t (id bigint primary key, word text); insert into src.t values (1, 'a');",
    );
    let table = "  - { from: src.t, to: t, key: [id], mode: append }\n";
    target.bench.write("p.yaml", pipeline(&target.database.connection(), &target.connection(), table));
    target.arrives();
    target.database.sql(
        "create function slow() returns trigger language plpgsql as
             'begin perform pg_sleep(5); return new; end';
         create constraint trigger slow after insert on t deferrable initially deferred
             for each row execute function slow();",
    );
    let running = Started::new(&target.bench, &["run", "p.yaml"], "postgres.committed=off");
    let sent = "select count(*) from pg_stat_activity where datname = 'sink_in_flight' and query = 'COMMIT'
        and state = 'active' and wait_event = 'PgSleep'";
    wait_until("the commit is on its way", || target.database.value(sent) != "0");
    running.signal("KILL");
    assert_eq!(running.ended().code, -1);
    target.database.sql("insert into src.t values (2, 'b');");
    // Nobody can compare what a snapshot saw that is gone; but the rows are known to have come.
    let resumed = target.bench.run(&["resume", &target.bench.newest_run()]).expect(9);
    assert!(!resumed.stderr.contains("read anew"), "{}", resumed.stderr);
    assert_eq!(resumed.last_line()["tables"][0]["written"], Value::from(1));
    assert_eq!(target.database.value("select count(*) || ' ' || max(id) from t"), "2 1");
    assert_eq!(target.staged(), "");
}

#[test]
fn connections_that_write_are_counted_over_all_tables() {
    let target = Target::new("sink_counted");
    target.write_source(0..10, 1);
    let table = |number: u32| format!("  - {{ from: t, to: t{number}, key: [id], reconcile: {{ level: none }} }}\n");
    let tables: String = (0..4).map(table).collect();
    let connection = target.connection().with("connections: 2");
    target.bench.write("p.yaml", pipeline(&"lake: { url: in, format: csv }", &connection, &tables));
    let mut running =
        Started::new(&target.bench, &["run", "p.yaml", "--parallel", "4"], "postgres.stage.batch=sleep(200)");
    let count =
        "select count(*) from pg_stat_activity where datname = 'sink_counted' and application_name = 'transload'";
    let mut most = 0;
    while running.is_running() {
        most = most.max(target.database.value(count).parse::<u32>().unwrap());
    }
    running.ended().expect(0);
    assert!((1..=2).contains(&most), "{most} connections");
}
