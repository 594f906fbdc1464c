//! PostgreSQL as the target: what a load leaves in a table, and what it leaves alone.

use std::ops::Range;

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome, Started};
use crate::postgres::{Connection, Database, Server, Session, asked, pipeline};

/// A database that is written, and a source of two files.
pub(crate) struct Target<'s> {
    pub(crate) database: Database<'s>,
    pub(crate) bench: Bench,
    /// The schema whose tables are written.
    pub(crate) schema: String,
}

impl Target<'static> {
    /// With a database of its own.
    pub(crate) fn new(name: &str) -> Self {
        Self::in_schema(Database::new(name), "public")
    }
}

impl<'s> Target<'s> {
    /// In a schema of a database, which is made if it is missing.
    pub(crate) fn in_schema(database: Database<'s>, schema: &str) -> Self {
        database.sql(&format!("create schema if not exists \"{schema}\";"));
        let bench = database.bench();
        Self { database, bench, schema: schema.to_string() }
    }

    pub(crate) fn connection(&self) -> Connection {
        let schema = &self.schema;
        self.database.connection().with(&format!("schema: '{schema}', schemas: ['{schema}']"))
    }

    /// Writes a pipeline that brings `t`, in a mode, by a connection.
    pub(crate) fn write_pipeline(&self, mode: &str, connection: &Connection) {
        let columns = "columns: { id: { cast: int32 }, amount: { cast: \"decimal(9,2)\" }, day: { cast: date } }";
        let table = format!("  - {{ from: t, to: t, key: [id], mode: {mode}, {columns} }}\n");
        let source = "lake: { url: in, format: csv, csv: { null_values: [\"\"] } }";
        self.bench.write("p.yaml", pipeline(&source, connection, &table));
        let table = "  - { from: t, to: t, key: [id] }\n";
        self.bench.write("reader.yaml", pipeline(&self.connection(), &"lake: { url: seen }", table));
    }

    /// Makes rows with these ids the source, in two files. The version is in their words.
    pub(crate) fn write_source(&self, ids: Range<u64>, version: u64) {
        for file in 0..2 {
            let mut text = String::from("id,word,amount,day\n");
            for id in ids.clone().filter(|id| id % 2 == file) {
                let word = if id % 7 == 0 { String::new() } else { format!("w{id} v{version} é") };
                text.push_str(&format!("{id},{word},{}.{:02},2024-01-{:02}\n", id * 3, id % 100, 1 + id % 28));
            }
            self.bench.write(&format!("in/t/{file}.csv"), text);
        }
    }

    pub(crate) fn run(&self) -> Outcome {
        self.bench.run(&["run", "p.yaml"])
    }

    /// Runs the pipeline, whose rows must arrive.
    #[track_caller]
    pub(crate) fn arrives(&self) -> Outcome {
        let outcome = self.run().expect(0);
        assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match", "{outcome:?}");
        outcome
    }

    /// The ids of the table, how many rows have each version, and whether all of them are as they should be.
    pub(crate) fn seen(&self) -> Value {
        json!(self.database.rows(&format!(
            "select count(*)::int as rows, count(distinct id)::int as ids, coalesce(min(id), -1) as first,
                 coalesce(max(id), -1) as last, (count(*) filter (where word like '%v2%'))::int as second,
                 coalesce(bool_and(amount = id * 3 + (id % 100) / 100.0 and extract(day from day) = 1 + id % 28), true) as right
             from \"{}\".t",
            self.schema
        )))
    }

    /// What transload has made in the schema for itself and not removed: tables with rows that are staged.
    pub(crate) fn staged(&self) -> String {
        self.database.value(&format!(
            "select string_agg(relname, ' ') from pg_class c join pg_namespace n on n.oid = relnamespace
             where nspname = '{}' and relkind = 'r' and relname ~ '^_transload_[0-9a-f]{{8,}}'",
            self.schema
        ))
    }
}

/// What is seen of rows with these ids that are all of the first version.
pub(crate) fn first(ids: Range<u64>) -> Value {
    let rows = ids.end - ids.start;
    json!([{ "rows": rows, "ids": rows, "first": ids.start, "last": ids.end - 1, "second": 0, "right": true }])
}

#[test]
fn a_table_is_made_with_the_types_of_the_plan() {
    let target = Target::new("sink_made");
    target.write_pipeline("full", &target.connection());
    target.write_source(1..300, 1);
    target.arrives();
    assert_eq!(target.seen(), first(1..300));
    let columns = target.database.rows(
        "select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
         where attrelid = 'public.t'::regclass and attnum > 0 and not attisdropped order by attnum",
    );
    let columns: Vec<[&str; 2]> =
        columns.iter().map(|c| ["name", "type"].map(|part| c[part].as_str().unwrap())).collect();
    assert_eq!(columns, [["id", "integer"], ["word", "text"], ["amount", "numeric(9,2)"], ["day", "date"]]);
    assert_eq!(target.database.value("select count(*) from t where word is null"), "42");
    assert_eq!(target.staged(), "");

    // Again, over a table that nobody has built upon.
    target.write_source(100..250, 1);
    target.arrives();
    assert_eq!(target.seen(), first(100..250));
    assert_eq!(target.staged(), "");
    let found = target.bench.run(&["discover", "reader.yaml", "--format", "json"]).expect(0).last_line();
    let names: Vec<&str> = found["tables"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["public.t"], "what transload notes for itself is no table");
}

#[test]
fn replacing_all_rows_keeps_what_others_have_built_upon_the_table() {
    let target = Target::new("sink_kept");
    target.write_pipeline("full", &target.connection());
    target.write_source(1..200, 1);
    target.arrives();
    target.database.sql(
        "alter table t add primary key (id); create index by_word on t (word); alter table t add check (amount >= 0);
         create view v as select id, word from t where id > 10; grant select on t to reader; comment on table t is 'kept';
         create function counted() returns trigger language plpgsql as $$ begin return new; end $$;
         create trigger count before insert on t for each row execute function counted();
         create table other (id int references t);",
    );
    let built = "select (select string_agg(indexrelid::regclass || ' ' || indisvalid, ',' order by 1) from pg_index where indrelid = 't'::regclass)
        || (select string_agg(conname, ',' order by conname) from pg_constraint where conrelid = 't'::regclass or confrelid = 't'::regclass)
        || (select string_agg(tgname, ',' order by tgname) from pg_trigger where tgrelid = 't'::regclass and not tgisinternal)
        || obj_description('t'::regclass) || has_table_privilege('reader', 't', 'select')";
    let before = target.database.value(built);
    assert!(before.contains("by_word true") && before.contains("kept"), "{before}");
    target.write_source(50..260, 2);
    let outcome = target.run();
    if outcome.code != 0 {
        // A table that others refer to cannot be emptied in one step: that is refused, and nothing is lost.
        outcome.expect(3).says("hint: ");
        assert_eq!(target.seen(), first(1..200));
    }
    target.database.sql("drop table other;");
    let before = target.database.value(built);
    target.arrives();
    assert_eq!(target.database.value(built), before);
    assert_eq!(target.database.value("select count(*) || ' ' || min(id) || ' ' || max(id) from v"), "210 50 259");
    assert_eq!(target.staged(), "");
    // The index is used, and tells of no row that is gone.
    assert_eq!(target.database.value("set enable_seqscan = off; select count(*) from t where id = 10"), "0");
}

#[test]
fn rows_are_added_and_columns_must_be_the_same() {
    let target = Target::new("sink_added");
    target.write_pipeline("append", &target.connection());
    target.write_source(0..100, 1);
    target.arrives();
    target.write_source(100..150, 1);
    target.arrives();
    assert_eq!(target.seen(), first(0..150));
    target.database.sql("alter table t drop column word;");
    target.run().expect(3).says("word");
    target.database.sql("alter table t add column word text, alter column amount type numeric(8,3);");
    target.run().expect(3).says("amount");
    assert_eq!(target.database.value("select count(*) from t"), "150");
    assert_eq!(target.staged(), "");
}

#[test]
fn rows_are_merged_by_key_and_delete_markers_take_rows_away() {
    let target = Target::new("sink_merged");
    let bench = &target.bench;
    let table = "  - { from: t, to: t, key: [id, part], mode: { merge: { deleted: \"op = 'D'\" } }, columns: { op: { drop: true } } }\n";
    bench.write("p.yaml", pipeline(&"lake: { url: in, format: json }", &target.connection(), table));
    let given = |rows: &[Value]| {
        bench.write("in/t.jsonl", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        let outcome = bench.run(&["run", "p.yaml"]).expect(0);
        assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match");
        ["read", "written", "deleted"].map(|name| outcome.last_line()["tables"][0][name].as_u64().unwrap_or_default())
    };
    let row = |id: u64, part: &str, v: &str, op: &str| json!({ "id": id, "part": part, "v": v, "op": op });
    let rows = || target.database.value("select string_agg(id || part || v, ' ' order by id, part) from t");
    assert_eq!(
        given(&[row(1, "a", "x", "I"), row(1, "b", "y", "I"), row(2, "a", "z", "I"), row(9, "z", "", "D")]),
        [4, 3, 1]
    );
    assert_eq!(rows(), "1ax 1by 2az");
    target.database.sql("alter table t add primary key (id, part); create index by_v on t (v);");
    assert_eq!(
        given(&[row(1, "a", "X", "U"), row(2, "a", "", "D"), row(3, "a", "new", "I"), row(7, "q", "", "D")]),
        [4, 2, 2]
    );
    assert_eq!(rows(), "1aX 1by 3anew");
    // The same again changes nothing, and so does what was there all along.
    assert_eq!(given(&[row(1, "a", "X", "U"), row(2, "a", "", "D"), row(3, "a", "new", "I")]), [3, 2, 1]);
    assert_eq!(rows(), "1aX 1by 3anew");
    assert_eq!(given(&[row(1, "a", "", "D"), row(1, "b", "", "D"), row(3, "a", "", "D")]), [3, 0, 3]);
    assert_eq!(rows(), "");
    assert_eq!(target.staged(), "");
    // A key that is there twice in one load is nobody's to choose from.
    bench.write("in/t.jsonl", format!("{}\n{}\n", row(5, "a", "1", "I"), row(5, "a", "2", "I")));
    bench.run(&["run", "p.yaml"]).expect(4);
    assert_eq!(target.database.value("select count(*) from t"), "0");
}

#[test]
fn what_somebody_changes_in_the_target_is_found() {
    let target = Target::new("sink_compared");
    target.write_pipeline("full", &target.connection());
    target.write_source(0..500, 1);
    target.arrives();
    let differing = |code: i32| {
        let table = target.bench.run(&["reconcile", "p.yaml"]).expect(code).last_line()["tables"][0].clone();
        let kinds = ["missing_in_target", "extra_in_target", "changed", "multiplicity"];
        kinds.iter().map(|kind| table["differences"][kind].as_u64().unwrap_or_default()).sum::<u64>()
    };
    assert_eq!(differing(0), 0);
    target.database.sql("update t set word = word || ' ' where id = 11;");
    assert_eq!(differing(5), 1);
    target.database.sql("delete from t where id in (20, 22);");
    assert_eq!(differing(5), 3);
    target.arrives();
    assert_eq!(differing(0), 0);
    target.database.sql("insert into t select * from t where id = 30; insert into t (id) values (999);");
    assert_eq!(differing(5), 2);
}

#[test]
fn a_row_that_the_table_does_not_take_leaves_the_table_as_it_was() {
    let target = Target::new("sink_refused");
    target.write_pipeline("append", &target.connection());
    target.write_source(0..100, 1);
    target.arrives();
    let long: String = (0..20_000).map(|n: u64| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    for (made, given, sentence) in [
        ("create unique index one on t (id);", "50,again,1.00,2024-01-01", "the same key"),
        ("alter table t add constraint positive check (amount > -1);", "200,x,-5.00,2024-01-01", "breaks a rule"),
        ("alter table t alter column day set not null;", "201,x,5.00,", "NULL"),
        ("create index by_word on t (word);", &format!("202,{long},1.00,2024-01-01"), "larger than the server allows"),
    ] {
        target.database.sql(made);
        target.bench.write("in/t/0.csv", format!("id,word,amount,day\n{given}\n"));
        target.bench.write("in/t/1.csv", "id,word,amount,day\n300,fine,1.00,2024-01-01\n");
        let outcome = target.run().expect(3).says(sentence).says("hint: ");
        assert!(!outcome.stderr.contains("201,x") && !outcome.stderr.contains("-5.00"), "{}", outcome.stderr);
        assert_eq!(target.seen(), first(0..100), "{made}");
        assert_eq!(target.staged(), "", "{made}");
    }
    target.write_source(100..110, 1);
    target.arrives();
    assert_eq!(target.seen(), first(0..110));
}

#[test]
fn what_a_table_cannot_be_is_said_before_or_while_it_is_made() {
    let target = Target::new("sink_limits");
    let bench = &target.bench;
    let load = |table: &str| {
        bench.write("p.yaml", pipeline(&"lake: { url: src }", &target.connection(), table));
        bench.run(&["run", "p.yaml"]).expect(3).says("error: ")
    };
    asked(
        bench,
        &target.database,
        "for name, table in {\n\
         \x20   'wide': pa.table({f'c{n}': [n] for n in range(1700)}),\n\
         \x20   'zero': pa.table({'id': [1, 2], 'word': ['a', 'b\\0c']}),\n\
         \x20   'nested': pa.table({'id': [1], 'pair': [{'a': 1}]}),\n\
         \x20   'fine': pa.table({'id': pa.array([1], pa.int64()), 'at': pa.array([1], pa.timestamp('ns'))}),\n\
         }.items():\n\
         \x20   os.makedirs(f'src/{name}')\n\
         \x20   pq.write_table(table, f'src/{name}/f.parquet')\n\
         print('1')",
    );
    load("  - { from: wide, to: wide }\n").says("columns");
    load("  - { from: nested, to: nested }\n").says("pair");
    load("  - { from: fine, to: fine }\n").says("timestamp(us)");
    let zero = load("  - { from: zero, to: zero }\n");
    assert!(!zero.stderr.contains("b\\0c") && !zero.stderr.contains("b\0c"), "{}", zero.stderr);
    load(&format!("  - {{ from: fine, to: {}, columns: {{ at: {{ drop: true }} }} }}\n", "x".repeat(70)));
    load("  - { from: fine, to: _transload_mine, columns: { at: { drop: true } } }\n");
    load("  - { from: fine, to: nowhere.t, columns: { at: { drop: true } } }\n").says("nowhere");
    assert_eq!(
        target
            .database
            .value("select count(*) from pg_tables where schemaname = 'public' and tablename !~ '^_transload'"),
        "0"
    );
}

#[test]
fn names_are_what_they_are_however_odd() {
    let target = Target::new("sink_names");
    let bench = &target.bench;
    bench.write("in/t.csv", "\"sel ect\",\"a\"\"b\",größe,\"x; drop table kept\"\n1,2,3,4\n");
    target.database.sql("create schema \"Odd.One\"; create table kept (id int);");
    let names = ["Upper", "select", "\"a.b\"", "\"Odd.One\".\"q\"\"t\"", "t\"; drop table kept; --"];
    for name in names {
        let table = format!("  - {{ from: t.csv, to: {}, key: [\"sel ect\"] }}\n", json!(name));
        bench.write("p.yaml", pipeline(&"lake: { url: in, format: csv }", &target.connection(), &table));
        let outcome = bench.run(&["run", "p.yaml"]);
        let is_refused = outcome.code == 3 && outcome.stderr.contains("error: ");
        assert!(outcome.code == 0 || (is_refused && name.contains(';')), "{name}: {outcome:?}");
    }
    let made = target.database.rows(
        "select schemaname || '|' || tablename as name from pg_tables
         where schemaname in ('public', 'Odd.One') and tablename !~ '^_transload' and tablename !~ 'drop' order by 1",
    );
    let made: Vec<&str> = made.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(made, ["Odd.One|q\"t", "public|Upper", "public|a.b", "public|kept", "public|select"]);
    assert_eq!(
        target.database.value("select \"sel ect\" + \"a\"\"b\" + größe + \"x; drop table kept\" from \"Upper\""),
        "10"
    );
}

#[test]
fn whoever_may_not_write_is_told_so_and_a_replica_takes_nothing() {
    let target = Target::new("sink_rights");
    target.write_source(0..10, 1);
    target.write_pipeline("full", &target.connection().user("reader"));
    target.run().expect(3).says("may not make tables in the schema");
    assert_eq!(target.database.value("select count(*) from pg_tables where schemaname = 'public'"), "0");

    let server = Server::own(&[]);
    let target = Target::in_schema(Database::on(&server, "sink_replica"), "public");
    let standby = server.standby();
    target.write_source(0..10, 1);
    target.write_pipeline("full", &target.connection().at(standby));
    target.run().expect(3).says("the server takes no changes on this connection");
}

#[test]
fn whoever_reads_the_table_sees_all_old_rows_or_all_new_ones() {
    for (name, made) in [("sink_seen_swapped", ""), ("sink_seen_kept", "create index by_word on t (word);")] {
        let target = Target::new(name);
        target.write_pipeline("full", &target.connection());
        target.write_source(0..400, 1);
        target.arrives();
        target.database.sql(made);
        target.write_source(0..400, 2);
        let mut running = Started::new(&target.bench, &["run", "p.yaml"], "postgres.commit.moved=sleep(300)");
        let mut seen = Vec::new();
        while running.is_running() {
            seen.push(target.seen());
        }
        running.ended().expect(0);
        let new = target.seen();
        assert!(new[0]["second"].as_u64() > Some(300), "{name}: {new}");
        assert!(seen.iter().all(|now| [&first(0..400), &new].contains(&now)), "{name}: {seen:?}");
    }
}

#[test]
fn a_reader_of_the_old_rows_keeps_them_and_a_writer_is_waited_for() {
    let target = Target::new("sink_waits");
    target.write_pipeline("full", &target.connection().with("lock_timeout_secs: 1"));
    target.write_source(0..50, 1);
    target.arrives();
    let mut reader = Session::new(&target.database, "owner");
    let still = |rows: u64| format!("do $$ begin assert (select count(*) from t) = {rows}; end $$;");
    reader.does(&format!("begin isolation level repeatable read; {}", still(50)));
    target.write_source(0..60, 1);
    target.arrives();
    assert_eq!(target.seen(), first(0..60));
    reader.does(&format!("{} commit; {}", still(50), still(60)));

    let mut writer = Session::new(&target.database, "owner");
    writer.does("begin; insert into t (id) values (5000);");
    target.write_source(0..70, 1);
    let outcome = target.run().expect(75).says("somebody else has locked the table");
    assert_eq!(target.seen(), first(0..60));
    writer.does("rollback;");
    target.bench.run(&["resume", outcome.last_line()["run_id"].as_str().unwrap()]).expect(0);
    assert_eq!(target.seen(), first(0..70));
    assert_eq!(target.staged(), "");
}
