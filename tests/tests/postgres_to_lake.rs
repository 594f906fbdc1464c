//! From a PostgreSQL server into a bucket of a real S3 server, as Parquet and as Delta tables: tables of every shape arrive,
//! are proven equal row by row, and other programs read in them what the server says.
//!
//! `TRANSLOAD_TEST_BIG=1` makes the largest tables as large as they should be once before a release: six million rows, and a
//! gigabyte of texts that the server keeps apart from their rows.

use serde_json::{Value, json};

use crate::harness::Bench;
use crate::place::Place;
use crate::postgres::{Database, asked, assert_agreed, pipeline};
use crate::s3::Bucket;

/// Rows of `events`, and texts of a mebibyte in `texts`.
#[allow(clippy::disallowed_methods)]
fn sizes() -> (u64, u64) {
    match std::env::var("TRANSLOAD_TEST_BIG").is_ok() {
        true => (6_000_000, 1024),
        false => (600_000, 64),
    }
}

/// A table: its name in SQL and here, the key, and the column by whose values rows can be put in order.
struct Table {
    name: &'static str,
    to: &'static str,
    key: &'static str,
    order: &'static str,
}

const fn table(name: &'static str, to: &'static str, key: &'static str, order: &'static str) -> Table {
    Table { name, to, key, order }
}

/// `every` is made by `tests/postgres`. Those without an order are compared as they are, row by row.
const TABLES: [Table; 12] = [
    table("public.events", "events", "[id]", "id"),
    table("public.every", "every", "[id]", "id"),
    table("public.measures", "measures", "[id, day, region]", "id"),
    table("public.log", "log", "", ""),
    table("public.nothing", "nothing", "[id]", "id"),
    table("public.wide", "wide", "[id]", "id"),
    table("public.texts", "texts", "[id]", "id"),
    table("public.animals", "animals", "[id]", "id"),
    table("\"Odd Schema\".\"Tab.le \"\"x\"\" ünï\"", "odd", "[\"Id\"]", "Id"),
    table("public.orders", "orders", "[id]", "id"),
    table("public.open_orders", "open_orders", "[id]", "id"),
    table("public.totals", "totals", "[kind]", "kind"),
];

/// What is compared by sums of hashes that both sides compute, as there is too much of it for Python.
const LARGE: [&str; 2] = ["events", "texts"];

/// Makes all tables but `every`.
fn make(database: &Database<'_>) {
    let (events, texts) = sizes();
    let types = [
        "int",
        "text",
        "numeric(12,2)",
        "date",
        "timestamptz",
        "boolean",
        "float8",
        "varchar(20)",
        "bigint",
        "smallint",
    ];
    let values = [
        "i * {n}",
        "'v' || i || '.{n}'",
        "i + {n} / 100.0",
        "date '2024-01-01' + i % 365",
        "timestamptz '2024-01-01 00:00:00+00' + i * interval '1 hour' + {n} * interval '1 us'",
        "(i + {n}) % 2 = 0",
        "i / ({n} + 1.0)",
        "case when (i + {n}) % 7 = 0 then null else 'x' || i end",
        "i::bigint * {n}000000",
        "(i + {n}) % 30000",
    ];
    let columns: Vec<String> = (0..300).map(|n| format!("c{n} {}", types[n % types.len()])).collect();
    let values: Vec<String> = (0..300).map(|n| values[n % values.len()].replace("{n}", &n.to_string())).collect();
    database.sql(&format!(
        r#"
create table events (id bigint primary key, customer int not null, amount numeric(15,2), price float8,
    moment timestamptz not null, day date, kind varchar(10), note text);
insert into events select i, i % 1000, (i * 7919 % 1000003) / 100.0, i % 1024 / 8.0,
    timestamptz '2020-01-01 00:00:00+00' + i * interval '1.000001 s', date '2020-01-01' + (i % 1500)::int,
    (array['a', 'bb', 'ccc', null])[i % 4 + 1], case when i % 3 = 0 then null else 'note ' || i || ' é' end
    from generate_series(1::bigint, {events}) i;

create table measures (id int, day date, region text, value numeric(10,3), primary key (id, day, region)) partition by range (day);
create table measures_2023 partition of measures for values from ('2023-01-01') to ('2024-01-01') partition by list (region);
create table measures_2023_north partition of measures_2023 for values in ('north');
create table measures_2023_rest partition of measures_2023 default;
create table measures_2024 partition of measures for values from ('2024-01-01') to ('2025-01-01');
create table measures_2025 partition of measures for values from ('2025-01-01') to ('2026-01-01');
create table measures_rest partition of measures default;
insert into measures select i, date '2022-06-01' + i % 900, (array['north', 'south', 'wést'])[i % 3 + 1], i / 1000.0
    from generate_series(1, 5000) i;

create table log (at timestamp, line text);
insert into log select timestamp '2024-01-01' + i % 50 * interval '1 minute', case when i % 5 = 0 then null else 'line ' || i % 40 end
    from generate_series(1, 3000) i;
insert into log select * from log;
delete from log where line like 'line 1%';

create table nothing (id int primary key, name text, amount numeric(9,2));

create table wide (id int primary key, {});
insert into wide select i, {} from generate_series(1, 300) i;

create table texts (id int primary key, body text, tail text);
insert into texts select i, (select string_agg(md5(i || ':' || j), '') from generate_series(1, 32768) j), 'tail ' || i
    from generate_series(1, {texts}) i;

create table animals (id int primary key, name text);
create table cats (lives int) inherits (animals);
create table lions (mane boolean) inherits (cats);
insert into animals select i, 'animal ' || i from generate_series(1, 50) i;
insert into cats select i, 'cat ' || i, 9 from generate_series(51, 120) i;
insert into lions select i, 'lion ' || i, 9, i % 2 = 0 from generate_series(121, 130) i;

create schema "Odd Schema";
create table "Odd Schema"."Tab.le ""x"" ünï" ("Id" int primary key, "sel ect" text, "a.b" int, "quo""te" date, "größe" text, "select" int);
insert into "Odd Schema"."Tab.le ""x"" ünï" select i, 's' || i, i, date '2024-01-01' + i, 'ü', i from generate_series(1, 20) i;

create table customers (id int primary key);
insert into customers select generate_series(0, 99);
create table orders (gone int, id int primary key, customer int references customers, kind text default 'web', net numeric(9,2) check (net > 0),
    gross numeric(11,4) generated always as (net * 1.19) stored, also_gone text);
insert into orders (gone, id, customer, kind, net, also_gone) select i, i, i % 100, (array['web', 'shop'])[i % 2 + 1], i + 0.5, 'x'
    from generate_series(1, 2000) i;
alter table orders drop column gone, drop column also_gone, add column paid boolean default true;
update orders set paid = false where id % 10 = 0;
create view open_orders as select id, customer, net from orders where not paid;
create materialized view totals as select kind, sum(net)::numeric(20,2) as net, count(*) as many from orders group by kind;
"#,
        columns.join(", "),
        values.join(", ")
    ));
}

/// What of the large tables can be compared: sums over rows, of which a changed, missing or doubled row changes some.
const SUMS: [(&str, &str); 2] = [
    (
        "events",
        "count(*), sum(id), sum(amount), sum(price), sum(HASH(concat_ws('|', id, customer, amount, MICROS(moment), day, \
         coalesce(kind, '-'), coalesce(note, '-'))))",
    ),
    ("texts", "count(*), sum(id), sum(length(body)), sum(HASH(concat_ws('|', id, body, tail)))"),
];

/// Compares what has arrived in `FOLDER`, in which each table is a folder.
const COMPARE: &str = r#"
from deltalake import DeltaTable

def parquet_files(name):
    folder = f"FOLDER/{name}"
    return DeltaTable(folder).file_uris() if os.path.exists(f"{folder}/_delta_log") else files(folder)

server.execute("""create or replace function pg_temp.hash(text) returns numeric language sql
    as $$ select ('x' || substr(md5($1), 1, 8))::bit(32)::bigint::numeric $$;
    create or replace function pg_temp.micros(timestamptz) returns bigint language sql
    as $$ select (extract(epoch from $1) * 1000000)::bigint $$; set timezone = 'UTC'""")
duckdb.sql("set timezone = 'UTC'; create macro hash8(x) as ('0x' || md5(x)[1:8])::bigint")
found = {}
for name, sql, order in TABLES:
    paths = parquet_files(name)
    if name in SUMS:
        theirs = server.execute(f"select {SUMS[name].replace('HASH', 'pg_temp.hash').replace('MICROS', 'pg_temp.micros')} from {sql}").fetchone()
        query = f"select {SUMS[name].replace('HASH', 'hash8').replace('MICROS', 'epoch_us')} from read_parquet({paths})"
        ours = duckdb.sql(query).fetchall()[0]
        found[name] = {"compared": theirs[0], "different": [pair for pair in zip(theirs, ours) if pair[0] != pair[1]]}
        continue
    kinds = oracle.kinds(server, sql)
    # What became another type than the server's for the target's sake is compared elsewhere.
    kinds = {n: k for n, k in kinds.items() if name != "every" or n not in SKIPPED}
    (rows,) = server.execute(f"select count(*) from {sql}").fetchone()
    counted = duckdb.sql(f"select count(*) from read_parquet({paths})").fetchall()[0][0] if paths else 0
    if rows == 0:
        found[name] = {"compared": 0, "different": [] if counted == 0 else [[counted]]}
        continue
    arrow = pa.concat_tables([pq.ParquetFile(p).read() for p in paths])
    found[name] = oracle.disagreements(server, sql, arrow, order or None, kinds)
    if counted != rows:
        found[name]["different"].append(["rows", None, rows, counted])
print(json.dumps(found, default=str))
"#;

/// The entries of a pipeline for all tables, with the casts of `every` that a target needs.
fn entries(casts: &Value) -> String {
    let entry = |t: &Table| {
        let key = if t.key.is_empty() { String::new() } else { format!(", key: {}", t.key) };
        let columns = if t.to == "every" { format!(", columns: {casts}") } else { String::new() };
        format!("  - {{ from: '{}', to: {}{key}{columns} }}\n", t.name, t.to)
    };
    TABLES.iter().map(entry).collect()
}

/// Loads all tables into a bucket, and holds what has arrived against the server.
fn arrive(database: &Database<'_>, bucket: &Bucket, kind: &str, casts: &Value) {
    let bench = Bench::with([bucket.variables(), database.variables()].concat());
    let target = format!("{kind}: {{ url: '{}' }}", bucket.url(kind));
    bench.write("p.yaml", pipeline(&database.connection(), &target, &entries(casts)));
    // Of the table without rows there is nothing to compare.
    let outcome = bench.run(&["run", "p.yaml"]).expect(9);
    let line = outcome.last_line();
    for (table, is) in line["tables"].as_array().unwrap().iter().zip(&TABLES) {
        let expected = if is.to == "nothing" { "not_compared" } else { "match" };
        assert_eq!((&table["table"], &table["verdict"]), (&json!(is.to), &json!(expected)), "{kind}: {table}");
    }
    let run = line["run_id"].as_str().unwrap();
    let shown = bench.run(&["show", run, "--format", "json"]).expect(0).last_line();
    let pins: Vec<&Value> =
        shown["run"]["receipts"].as_array().unwrap().iter().map(|r| &r["pin"]["snapshot"]["snapshot"]).collect();
    assert_eq!(pins.len(), TABLES.len());
    assert!(pins[0].is_string() && pins.iter().all(|pin| pin == &pins[0]), "one snapshot for all: {pins:?}");

    bucket.fetch(kind, &bench.path("fetched"));
    let folder = format!("fetched/{kind}");
    let tables: Vec<[&str; 3]> = TABLES.iter().map(|t| [t.to, t.name, t.order]).collect();
    let sums: serde_json::Map<String, Value> = SUMS.iter().map(|(t, sql)| ((*t).to_string(), json!(sql))).collect();
    // Times as text are written in another way than the server's.
    let skipped: Vec<&str> = if kind == "delta" { vec!["clock", "clock0", "clocks"] } else { vec![] };
    let given = format!("TABLES = {}\nSUMS = {}\nSKIPPED = {}\n", json!(tables), json!(sums), json!(skipped));
    let found = asked(&bench, database, &(given + &COMPARE.replace("FOLDER", &folder)));
    for table in &TABLES {
        let least = if table.to == "nothing" { 0 } else { 2 };
        assert_agreed(&found[table.to], least, &format!("{kind} {}", table.to));
    }
    assert!(LARGE.iter().all(|name| found[name]["compared"].as_u64() > Some(30)), "{found}");
}

#[test]
fn tables_of_every_shape_arrive_in_a_bucket_as_parquet_and_as_delta() {
    let database = Database::new("to_lake");
    let bucket = Bucket::new("from-postgres");
    let bench = Bench::new();
    make(&database);
    let script = "values.make(server, 'every', 60, 5)\n\
                  print(json.dumps({t: {n: {'cast': c} for n, c in values.casts(t).items()} for t in ('parquet', 'delta')}))";
    let casts = asked(&bench, &database, script);
    database.sql("analyze");
    arrive(&database, &bucket, "lake", &casts["parquet"]);
    arrive(&database, &bucket, "delta", &casts["delta"]);
}

#[test]
fn a_wildcard_takes_every_table_of_a_schema_and_no_partition_of_them() {
    let database = Database::new("to_lake_all");
    database.sql(
        "create schema sales; create table sales.a (id int primary key); insert into sales.a values (1);
         create table sales.b (id int, day date) partition by range (day);
         create table sales.b1 partition of sales.b for values from ('2024-01-01') to ('2025-01-01');
         insert into sales.b values (1, '2024-06-01');
         create view sales.c as select * from sales.a; create table public.d (id int);",
    );
    let bench = database.bench();
    bench.write(
        "p.yaml",
        pipeline(&database.connection(), &"lake: { url: lake }", "  - { from: 'sales.*', to: '*' }\n"),
    );
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    let names: Vec<&str> = line["tables"].as_array().unwrap().iter().map(|t| t["table"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn whoever_may_only_read_reads_and_whoever_may_not_is_told_so() {
    let database = Database::new("to_lake_roles");
    database.sql("create table t (id int primary key); insert into t values (1), (2); create schema hidden; create table hidden.t (id int);");
    let read = |user: &str, table: &str| {
        let bench = database.bench();
        let table = format!("  - {{ from: {table}, to: t, key: [id] }}\n");
        bench.write("p.yaml", pipeline(&database.connection().user(user), &"lake: { url: lake }", &table));
        bench.run(&["run", "p.yaml"])
    };
    assert_eq!(read("reader", "t").expect(0).last_line()["tables"][0]["verdict"], "match");
    read("nobody", "t").expect(3).says("may ").says("hint: ");
    read("reader", "hidden.t").expect(3).says("hidden.t");
    read("reader", "missing").expect(3).says("missing");
    // What is not written to: no table, no sequence, no temporary table.
    let left = database.value("select count(*) from pg_class where relname like '%transload%'");
    assert_eq!(left, "0");
}
