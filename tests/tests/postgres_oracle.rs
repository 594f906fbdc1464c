//! Values of every type of PostgreSQL: the server renders each as text, we read it, and they agree.
//!
//! `tests/postgres` has the values, at the edges of each type and generated ones, and renders what arrived by code of its own.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome};
use crate::postgres::{Database, asked, assert_agreed, pipeline};

const LAKE: &str = "lake: { url: lake }";

/// Makes the table `every`, and says what its columns are cast to for a target and what they are read as.
fn make_every(bench: &Bench, database: &Database<'_>, generated: u64, seed: u64, target: &str) -> Value {
    let script = format!(
        "rows = values.make(server, 'every', {generated}, {seed})\n\
         print(json.dumps({{'rows': rows, 'casts': {{n: {{'cast': t}} for n, t in values.casts('{target}').items()}},\n\
         \x20   'meant': {{n: c.meant for n, c in values.COLUMNS.items()}}}}))"
    );
    asked(bench, database, &script)
}

#[test]
fn every_value_is_read_as_the_server_shows_it() {
    for seed in [1, 2] {
        let database = Database::new(&format!("oracle_{seed}"));
        let bench = database.bench();
        let made = make_every(&bench, &database, 250, seed, "parquet");
        let table = format!("  - {{ from: every, to: every, key: [id], columns: {} }}\n", made["casts"]);
        // Several splits, of which the last ones begin in the middle of the table.
        bench.write("p.yaml", pipeline(&database.connection().with("split_mb: 1"), &LAKE, &table));
        let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        assert_eq!((&line["tables"][0]["read"], &line["tables"][0]["verdict"]), (&made["rows"], &json!("match")));
        let found = asked(
            &bench,
            &database,
            "print(json.dumps(oracle.disagreements(server, 'every', arrived('lake/every')), default=str))",
        );
        let columns = made["meant"].as_object().unwrap().len() as u64;
        assert_agreed(&found, made["rows"].as_u64().unwrap() * columns, &format!("seed {seed}"));
    }
}

#[test]
fn every_type_is_read_as_the_page_says() {
    let database = Database::new("oracle_types");
    let bench = database.bench();
    let made = make_every(&bench, &database, 0, 0, "parquet");
    bench.write("p.yaml", pipeline(&database.connection(), &LAKE, "  - { from: every, to: every }\n"));
    let found = bench.run(&["discover", "p.yaml", "--format", "json"]).expect(0).last_line();
    let tables = found["tables"].as_array().unwrap();
    let every = tables.iter().find(|table| table["name"] == "public.every").unwrap();
    let mut different: Vec<String> = Vec::new();
    for column in every["columns"].as_array().unwrap() {
        let name = column[0].as_str().unwrap();
        if name != "id" && made["meant"][name] != column[1] {
            different.push(format!("{name}: {} where {} is expected", column[1], made["meant"][name]));
        }
    }
    assert_eq!(different, [""; 0]);
}

/// A value that its type here has no place for.
struct Special {
    ty: &'static str,
    /// Values that are none, and the one that is.
    plain: &'static [&'static str],
    special: &'static str,
    /// Whether the type that is meant stays with `special_values: cast`, so that `on_misfit` decides.
    stays: bool,
}

const fn special(ty: &'static str, plain: &'static [&'static str], special: &'static str, stays: bool) -> Special {
    Special { ty, plain, special, stays }
}

/// Of each type.
const SPECIALS: [Special; 16] = [
    special("numeric(9,2)", &["1.50", "-9999999.99"], "NaN", true),
    special("numeric(76,38)", &["1.5"], "NaN", true),
    special("date", &["2024-02-29", "1969-12-31"], "infinity", true),
    special("date", &["2024-02-29"], "-infinity", true),
    special("time", &["23:59:59.999999", "00:00:00"], "24:00:00", true),
    special("timestamp", &["2024-02-29 10:00:00.000001"], "infinity", true),
    special("timestamp", &["1969-12-31 23:59:59"], "294276-12-31 23:59:59", true),
    special("timestamptz", &["2024-02-29 10:00:00.000001+00"], "-infinity", true),
    special("timestamptz", &["1969-12-31 23:59:59+00"], "294276-12-31 23:59:59+00", true),
    special("int[]", &["{1,NULL}", "{}"], "{{77001,2},{3,4}}", false),
    special("int[]", &["{1,NULL}"], "[77:78]={77002,8}", false),
    special("text[]", &["{a}"], "{{77003},{b}}", false),
    special("numeric(9,2)[]", &["{1.50}"], "{NaN}", false),
    special("timestamptz[]", &["{\"2024-01-01 00:00:00+00\"}"], "{infinity}", false),
    special("daterange[]", &["{\"[2024-01-01,2024-02-01)\"}"], "{{\"[2024-01-01,2024-02-01)\"}}", false),
    special("pair", &["(1,2024-01-01)"], "(77004,infinity)", false),
];

impl Special {
    /// A table with the values, the special one in the middle of rows.
    fn make(&self, database: &Database<'_>, table: &str) {
        database.sql(&format!("create table {table} (id int primary key, odd {})", self.ty));
        let values = self.plain.iter().chain([&self.special]).chain(self.plain);
        let values: Vec<String> = values.enumerate().map(|(id, value)| format!("({id}, '{value}')")).collect();
        database.sql(&format!("insert into {table} values {}", values.join(", ")));
        database.sql(&format!("insert into {table} values (99, null)"));
    }

    fn id(&self) -> usize {
        self.plain.len()
    }

    /// Numbers of it that no message may show.
    fn hidden(&self) -> impl Iterator<Item = &'static str> {
        self.special.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() >= 5)
    }

    fn rows(&self) -> usize {
        2 * self.plain.len() + 2
    }

    fn name(&self) -> String {
        format!("{} {}", self.ty, self.special)
    }
}

/// A database with a table `t0`, `t1`, … for each special value.
fn specials(name: &str) -> Database<'static> {
    let database = Database::new(name);
    database.sql("create type pair as (n int, day date);");
    SPECIALS.iter().enumerate().for_each(|(at, special)| special.make(&database, &format!("t{at}")));
    database
}

/// Runs a pipeline for one of the tables.
fn run(bench: &Bench, database: &Database<'_>, at: usize, options: &str, column: &str) -> Outcome {
    let table = format!("  - {{ from: t{at}, to: t{at}, key: [id]{column} }}\n");
    bench.write("p.yaml", pipeline(&database.connection().with(options), &LAKE, &table));
    bench.run(&["run", "p.yaml"])
}

#[test]
fn a_value_without_a_place_in_its_type_stops_the_load_and_is_not_shown() {
    let database = specials("oracle_error");
    let bench = database.bench();
    for (at, special) in SPECIALS.iter().enumerate() {
        let outcome = run(&bench, &database, at, "special_values: error", "");
        assert_eq!(outcome.code, 3, "{}: {outcome:?}", special.name());
        for said in ["odd", "special_values: cast"] {
            assert!(outcome.stderr.contains(said), "{}: {said}: {}", special.name(), outcome.stderr);
        }
        for hidden in special.hidden() {
            assert!(!outcome.stderr.contains(hidden), "{}: {}", special.name(), outcome.stderr);
        }
        assert!(bench.data_files(&format!("lake/t{at}")).is_empty(), "{}", special.name());
    }
}

/// What has become of a column: in how many rows it is the server's text, and the ids of the others with what they hold.
const COMPARED: &str = r#"
table = arrived("lake/TABLE").sort_by("id")
kinds = oracle.kinds(server, "TABLE")
told = dict(zip(oracle.told(server, "TABLE", {"id": kinds["id"]})["id"], oracle.told(server, "TABLE", kinds)["odd"]))
ids = [str(i) for i in table["id"].to_pylist()]
ours = dict(zip(ids, oracle.shown(table["odd"], kinds["odd"])))
print(json.dumps({"rows": len(ids), "others": {i: v for i, v in ours.items() if v != told[i]}}))
"#;

#[test]
fn with_special_values_cast_the_pipeline_decides_what_becomes_of_them() {
    let database = specials("oracle_cast");
    for (at, special) in SPECIALS.iter().enumerate() {
        let compared = |bench: &Bench| asked(bench, &database, &COMPARED.replace("TABLE", &format!("t{at}")));
        let (rows, name) = (special.rows(), special.name());
        if !special.stays {
            // The server's text, whatever it holds.
            let bench = database.bench();
            run(&bench, &database, at, "special_values: cast", "").expect(0);
            assert_eq!(compared(&bench), json!({ "rows": rows, "others": {} }), "{name}");
            continue;
        }
        for policy in ["error", "null_counted", "quarantine", "text"] {
            let bench = database.bench();
            let column = format!(", columns: {{ odd: {{ on_misfit: {policy} }} }}");
            let outcome = run(&bench, &database, at, "special_values: cast", &column);
            let counts = |outcome: &Outcome| {
                let table = &outcome.last_line()["tables"][0];
                ["written", "quarantined"].map(|name| table[name].as_u64().unwrap() as usize)
            };
            match policy {
                "error" => {
                    assert_eq!(outcome.code, 4, "{name}: {outcome:?}");
                    assert!(
                        special.hidden().all(|hidden| !outcome.stderr.contains(hidden)),
                        "{name}: {}",
                        outcome.stderr
                    );
                }
                "null_counted" => {
                    assert_eq!(outcome.code, 0, "{name}: {outcome:?}");
                    let lost = json!({ special.id().to_string(): null });
                    assert_eq!(compared(&bench), json!({ "rows": rows, "others": lost }), "{name}");
                    let shown = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0).last_line();
                    let losses = shown["run"]["receipts"][0]["losses"].as_array().unwrap();
                    let loss = losses.iter().find(|loss| loss["column"] == "odd").unwrap();
                    assert_eq!(loss["nulled"], 1, "{name}");
                }
                "quarantine" => {
                    assert_eq!((outcome.code, counts(&outcome)), (0, [rows - 1, 1]), "{name}: {outcome:?}");
                    assert_eq!(compared(&bench), json!({ "rows": rows - 1, "others": {} }), "{name}");
                }
                _ => {
                    assert_eq!((outcome.code, counts(&outcome)), (0, [rows, 0]), "{name}: {outcome:?}");
                    assert_eq!(compared(&bench), json!({ "rows": rows, "others": {} }), "{name}");
                }
            }
        }
    }
}

#[test]
fn days_and_times_of_years_far_away_are_values_like_any_other() {
    let database = Database::new("oracle_years");
    database.sql(
        "create table t0 (id int primary key, odd date);
         insert into t0 values (0, '0044-03-15 BC'), (1, '10000-01-01'), (2, '5874897-12-31'), (3, '4713-01-01 BC'), (4, '0001-01-01');
         create table t1 (id int primary key, odd timestamp);
         insert into t1 values (0, '0044-03-15 12:34:56.789 BC'), (1, '10000-01-01'), (2, '294247-01-10 04:00:54.775807'),
             (3, '4714-11-24 BC'), (4, '0001-12-31 23:59:59.999999 BC');
         create table t2 (id int primary key, odd timestamptz);
         insert into t2 select id, odd at time zone 'UTC' from t1;",
    );
    let bench = database.bench();
    for at in 0..3 {
        for values in ["error", "cast"] {
            run(&bench, &database, at, &format!("special_values: {values}"), "").expect(0);
            let found = asked(&bench, &database, &COMPARED.replace("TABLE", &format!("t{at}")));
            assert_eq!(found, json!({ "rows": 5, "others": {} }), "t{at}, {values}");
        }
    }
}

#[test]
fn intervals_are_put_aside_as_they_are_made_and_replayed_as_they_were() {
    let database = Database::new("oracle_aside");
    database.sql(
        "create table t0 (id int primary key, odd interval, spans interval[]);
         insert into t0 values (1, '14 mons -3 days 04:05:06.789', '{1 mon}'), (3, null, null), (4, '-00:00:00.000001', '{}');
         insert into t0 select 2, odd, spans || null::interval from t0 where id = 1;",
    );
    let bench = database.bench();
    let settings = |most: u8| {
        format!(
            ", columns: {{ odd: {{ cast: text }}, spans: {{ cast: 'list<text>' }} }}, \
             checks: [ {{ range: {{ column: id, max: {most}, action: quarantine }} }} ]"
        )
    };
    let line = run(&bench, &database, 0, "special_values: error", &settings(1)).expect(0).last_line();
    let table = &line["tables"][0];
    assert_eq!((&table["written"], &table["quarantined"], &table["verdict"]), (&json!(1), &json!(3), &json!("match")));
    let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert!(planned.contains("put aside  with months, days and nanoseconds of odd, spans"), "{planned}");

    let loaded = line["run_id"].as_str().unwrap();
    let script = "aside = arrived('.transload/quarantine/RUN/t0').sort_by('id')\n\
                  found = {name: aside[name].to_pylist() for name in ['odd', 'spans']}\n\
                  print(json.dumps({**found, 'type': str(aside.schema.field('odd').type)}))";
    let found = asked(&bench, &database, &script.replace("RUN", loaded));
    let parts = |months, days, nanoseconds: i64| json!({ "months": months, "days": days, "nanoseconds": nanoseconds });
    assert_eq!(found["type"], "struct<months: int32, days: int32, nanoseconds: int64>");
    assert_eq!(found["odd"], json!([parts(14, -3, 14_706_789_000_000), null, parts(0, 0, -1_000)]));
    assert_eq!(found["spans"], json!([[parts(1, 0, 0), null], null, []]));

    let table = format!("  - {{ from: t0, to: t0, key: [id]{} }}\n", settings(4));
    bench.write("amended.yaml", pipeline(&database.connection().with("special_values: error"), &LAKE, &table));
    let line = bench.run(&["replay", loaded, "--pipeline", "amended.yaml"]).expect(0).last_line();
    let table = &line["tables"][0];
    assert_eq!((&table["written"], &table["verdict"]), (&json!(3), &json!("match")));
    let script = "print(json.dumps(oracle.disagreements(server, 't0', arrived('lake/t0')), default=str))";
    assert_agreed(&asked(&bench, &database, script), 12, "replayed");
}

#[test]
fn text_that_the_server_has_in_another_encoding_arrives_as_utf8() {
    let database = Database::new("oracle_latin");
    database.sql_of_superuser(
        "create database oracle_latin9 owner owner encoding 'LATIN9' template template0 lc_collate 'C' lc_ctype 'C';",
    );
    let latin = Database { server: database.server, name: "oracle_latin9".to_string() };
    latin.sql("create table t0 (id int primary key, odd text); insert into t0 values (0, 'Größe 5 €'), (1, 'ÿ');");
    let bench = latin.bench();
    run(&bench, &latin, 0, "special_values: error", "").expect(0);
    assert_eq!(asked(&bench, &latin, &COMPARED.replace("TABLE", "t0")), json!({ "rows": 2, "others": {} }));
    // The server has no such character, so it is not asked for one.
    let filtered = run(&bench, &latin, 0, "special_values: error", ", filter: \"odd = 'ÿ' or odd = '漢'\"").expect(0);
    assert_eq!(
        (&filtered.last_line()["tables"][0]["written"], &filtered.last_line()["tables"][0]["verdict"]),
        (&json!(1), &json!("match"))
    );
}
