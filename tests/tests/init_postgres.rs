//! A database of PostgreSQL as it is discovered, profiled and drafted into a pipeline.

use serde_json::{Value, json};

use crate::harness::Bench;
use crate::postgres::Database;

const TABLES: &str = "
create schema crm;
create type state as enum ('open', 'paid');
create table crm.customers (
    id bigint generated always as identity primary key, name text not null, uid uuid not null default gen_random_uuid()
);
comment on table crm.customers is 'Who buys,
and where';
create table orders (
    id int generated always as identity primary key, customer_id bigint not null references crm.customers (id),
    amount numeric not null, doc jsonb, state state not null, waited interval, placed_on date not null,
    updated_at timestamptz not null
);
comment on column orders.amount is 'In EUR';
create index orders_updated on orders (updated_at);
create table log (code text not null unique, at timestamp, payload text);
create table nothing (a int, b int);
create view open_orders as select id, amount from orders where state = 'open';
insert into crm.customers (name) select 'Name ' || n from generate_series(1, 50) n;
insert into orders (customer_id, amount, doc, state, waited, placed_on, updated_at)
    select n % 50 + 1, n + 0.25, '{}', case when n % 3 = 0 then 'open' else 'paid' end::state, n * interval '1 hour',
        date '2024-01-01' + n % 100, timestamptz '2024-01-01 10:00+00' + n * interval '1 minute'
    from generate_series(1, 200) n;
insert into log select 'code ' || n, timestamp '2024-01-01' + n * interval '1 second', 'x' from generate_series(1, 40) n;
analyze;
";

/// A database with these tables, and a bench with a file that holds a connection to it.
fn shop(name: &str) -> (Database<'static>, Bench) {
    let database = Database::new(name);
    database.sql(TABLES);
    let bench = database.bench();
    bench.write("shop.yaml", format!("{}\n", database.connection()));
    (database, bench)
}

fn table<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let tables = list["tables"].as_array().unwrap();
    tables.iter().find(|table| table[key] == name).unwrap_or_else(|| panic!("{name}: {list}"))
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "{line} is not in:\n{text}");
    }
}

fn valid(bench: &Bench, command: &str, answer: &Value) {
    let schema: Value = serde_json::from_str(&bench.run(&["schema", command]).expect(0).stdout).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(answer).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}: {answer}");
}

#[test]
fn a_database_is_listed_with_what_it_knows_of_its_tables() {
    let (_database, bench) = shop("discovered");
    let found = bench.run(&["discover", "shop.yaml", "--format", "json"]).expect(0).last_line();
    valid(&bench, "discover", &found);
    let names: Vec<&Value> = found["tables"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["crm.customers", "public.log", "public.nothing", "public.open_orders", "public.orders"]);
    let orders = table(&found, "name", "public.orders");
    assert_eq!(orders["catalog"]["primary_key"], json!(["id"]));
    assert_eq!(orders["catalog"]["foreign_keys"][0]["to"], "crm.customers");
    assert_eq!(orders["catalog"]["estimated_rows"], 200);
    assert_eq!(table(&found, "name", "public.log")["catalog"]["unique"], json!([["code"]]));
    let listed = bench.run(&["discover", "shop.yaml", "--table", "public.orders"]).expect(0).stdout;
    assert!(listed.starts_with("public.orders  (table, about 200 rows, "), "{listed}");
    assert_lines(&listed, &["  key          id", "  foreign key  customer_id → crm.customers (id)"]);
    assert!(listed.contains("numeric: ") && listed.contains(" — In EUR\n"), "{listed}");
    let brief = bench.run(&["discover", "shop.yaml", "--brief"]).expect(0).stdout;
    assert_eq!(brief.lines().count(), 5, "{brief}");
    assert!(brief.contains("public.open_orders  (view, rows unknown)\n"), "{brief}");
}

#[test]
fn a_url_names_a_database_without_a_password() {
    let (database, _) = shop("by_url");
    let bench = Bench::with(vec![("PGPASSWORD", database.server.password.clone())]);
    let (port, ca) = (database.server.address().port(), &database.server.ca);
    let url = format!("postgres://owner@localhost:{port}/{}?sslrootcert={ca}", database.name);
    let found = bench.run(&["discover", &url, "--table", "public.*", "--format", "json"]).expect(0);
    assert_eq!(found.last_line()["tables"].as_array().unwrap().len(), 4);
    bench.run(&["init", "shop", "--from-connection", &url, "--table", "crm.*", "--no-profile"]).expect(0);
    let written = std::fs::read_to_string(bench.path("shop.yaml")).unwrap();
    assert!(!written.contains(&database.server.password));
    assert_lines(
        &written,
        &["  postgres:", "    user: \"owner\"", "archetype: postgres_to_s3", "  - from: \"crm.customers\""],
    );
    assert!(written.contains("    # the password comes from PGPASSWORD"), "{written}");
    bench.run(&["plan", "shop.yaml"]).expect(0);
    let with_password = url.replacen("owner@", &format!("owner:{}@", database.server.password), 1);
    let refused = bench.run(&["discover", &with_password]).expect(2).says("the url holds a password");
    assert!(!refused.stderr.contains(&database.server.password));
}

#[test]
fn a_profile_of_a_sample_says_that_it_is_one() {
    let (database, bench) = shop("sampled");
    database.sql("create table many (id int primary key, padding text); insert into many select n, repeat('x', 200) from generate_series(1, 20000) n; analyze many;");
    let args = ["profile", "shop.yaml", "--table", "public.many", "--sample", "50"];
    let found = bench.run(&[&args[..], &["--format", "json"]].concat()).expect(0).last_line();
    let many = table(&found, "table", "public.many");
    let rows = many["rows"].as_u64().unwrap();
    assert!(many["sample_percent"] == 50 && rows > 0 && rows < 20_000, "{many}");
    let text = bench.run(&args).expect(0).stdout;
    assert!(text.contains(" rows, a sample of about 50 %)\n"), "{text}");
    // A view has no pages to choose from.
    let args = ["profile", "shop.yaml", "--table", "public.open_orders", "--sample", "50"];
    assert!(bench.run(&args).expect(0).stdout.contains(", all of them: the source gives no samples)"));
    // What only a sample shows is not applied.
    let args = ["init", "many", "--from-connection", "shop.yaml", "--table", "public.lone", "--sample", "50"];
    database.sql("create table lone as select id, padding from many; analyze lone;");
    bench.run(&args).expect(0).says("reading public.lone: about 50 % of it");
    let written = std::fs::read_to_string(bench.path("many.yaml")).unwrap();
    assert_lines(&written, &["    # key: [\"id\"]"]);
    assert!(written.contains("a candidate and no more") && written.contains("in a sample"), "{written}");
    assert!(!written.contains("\n    key: "), "{written}");
    bench.run(&["plan", "many.yaml"]).expect(0);
}

#[test]
fn a_database_is_drafted_into_a_pipeline_that_runs_as_it_is() {
    let (database, bench) = shop("drafted");
    let args = ["init", "lake", "--from-connection", "shop.yaml", "--target", "delta:./lake", "--format", "json"];
    let answer = bench.run(&args).expect(0).last_line();
    valid(&bench, "init", &answer);
    let written = std::fs::read_to_string(bench.path("lake.yaml")).unwrap();
    for answer in [&written, &answer.to_string()] {
        assert!(!answer.contains(&database.server.password));
    }
    assert_lines(
        &written,
        &[
            "archetype: postgres_to_s3",
            "  - from: \"public.orders\"",
            "    to: \"public/orders\"",
            "    labels: {\"schema\":\"public\"}",
            "    # the primary key",
            "    key: [\"id\"]",
            "    # mode: {\"incremental\":{\"cursor\":\"updated_at\",\"lookback_secs\":3600}}",
            "    # amount: In EUR",
            "      \"amount\": {\"cast\":\"decimal(38,2)\"}",
            "      # doc: a Delta table has no json",
            "      \"doc\": {\"cast\":\"text\"}",
            "      \"waited\": {\"cast\":\"text\"}",
            "      \"uid\": {\"cast\":\"text\"}",
            "      - foreign_key: {\"columns\":[\"customer_id\"],\"references\":{\"table\":\"crm/customers\",\"columns\":[\"id\"]}}",
            "    # a unique index, whose columns are never NULL",
            "    key: [\"code\"]",
        ],
    );
    assert!(written.contains(": Who buys, and where\n"), "{written}");
    let draft = &answer["draft"];
    let orders = table(draft, "from", "public.orders");
    assert_eq!(orders["key"], json!({ "columns": ["id"], "reason": "the primary key", "applied": true }));
    assert_eq!(orders["cursor"]["column"], "updated_at");
    assert!(orders["cursor"]["reason"].as_str().unwrap().contains("with an index"), "{orders}");
    let column = |name: &str| orders["columns"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
    assert_eq!((&column("amount")["type"], &column("amount")["source_type"]), (&json!("text"), &json!("numeric")));
    assert!(column("amount")["read_reason"].is_string());
    assert_eq!(table(draft, "from", "public.nothing")["key"], Value::Null);
    bench.run(&["check", "lake.yaml"]).expect(0);
    bench.run(&["plan", "lake.yaml"]).expect(0);
    // `nothing` has nothing to compare, which is no match, and that stands there.
    assert!(written.contains("# it has no rows"), "{written}");
    let some = ["run", "lake.yaml", "--table", "crm/*", "--table", "public/o*", "--table", "public/log"];
    let ran = bench.run(&some).expect(0).last_line();
    let tables = ran["tables"].as_array().unwrap();
    for table in tables {
        assert_eq!(table["checks"]["failed"].as_array().map_or(0, Vec::len), 0, "{table}");
        assert_eq!(table["verdict"], "match", "{table}");
    }
    assert_eq!(tables.len(), 4);
}

/// Names that would be something else in YAML, in SQL or in a path, if they were not kept apart from them.
const ODD: [&str; 14] = [
    "a: b",
    "# c",
    "- d",
    "x\"y",
    "it's",
    "back\\slash",
    "new\nline",
    "nel\u{85}x",
    "null",
    "1e5",
    "${env:HOME}",
    "../etc",
    "ls\u{2028}x",
    "{x: [y]}",
];

#[test]
fn names_and_comments_stay_what_they_are() {
    let database = Database::new("drafted_odd");
    for name in ODD {
        let (table, text) = (name.replace('"', "\"\""), name.replace('\'', "''"));
        database.sql(&format!(
            "create table \"{table}\" (id int primary key, \"v {table}\" numeric not null, updated_at timestamptz);
             insert into \"{table}\" select i, i + 0.5 from generate_series(1, 40) i;
             comment on table \"{table}\" is '{text}\nkey: [nope]\n  - from: evil';
             comment on column \"{table}\".\"v {table}\" is '{text}\u{2028}mode: append';"
        ));
    }
    database.sql("create table \"all*\" (id int primary key);");
    let bench = database.bench();
    bench.write("odd.yaml", format!("{}\n", database.connection()));
    let init = ["init", "lake", "--from-connection", "odd.yaml", "--format", "json"];
    let drafted = bench.run(&init).expect(3).says("the `*` in its name would stand for any text").last_line();
    assert_eq!(drafted["unreadable"][0]["table"], "public.\"all*\"");
    let plan: Value =
        serde_json::from_str(&bench.run(&["plan", "lake.yaml", "--format", "json"]).expect(0).stdout).unwrap();
    let tables = plan["tables"].as_array().unwrap();
    let mut found: Vec<&str> = Vec::new();
    for table in tables {
        assert_eq!((&table["key"], &table["write"]), (&json!(["id"]), &json!("replace")), "{table}");
        let columns: Vec<&str> =
            table["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!((columns[0], columns[2]), ("id", "updated_at"));
        found.push(columns[1].strip_prefix("v ").unwrap());
    }
    found.sort_unstable();
    let mut expected = ODD.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
