//! Generated code runs: dbt builds the project over the lake that was loaded, and Spark gives the digests of the load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::compat::{Digests, digests, python};
use crate::harness::{Bench, Outcome, ended, generated_code, postgres_driver, run_python_of};
use crate::place::Place;
use crate::postgres::{Database, pipeline};
use crate::s3::{Bucket, server};

const CUSTOMERS: &str = "id,name,country\n1,Ann,DE\n2,\"O'Neil, Bob\",\n3,Cem,a/b\n";
const ORDERS: &str = "id,line,customer_id,status,amount,placed,select,where from\n\
    1,1,1,open,10.00,2024-01-31,x,DE\n\
    1,2,1,paid,20.50,2024-02-01,y,FR\n\
    2,1,2,it's,0.00,2024-03-05,,100%\n\
    3,1,,open,7.25,2024-03-06,z,a/b\n";

/// Two tables with awkward names, and a check of nearly every kind, all of which hold.
fn shop(target: &str, checks: &str) -> String {
    format!(
        r#"
version: 1
pipeline: shop-nightly
source: {{ lake: {{ url: in, format: csv }} }}
target: {target}
tables:
  - from: customers.csv
    to: crm/customers
    key: [id]
    columns: {{ name: {{ mask: partial }} }}
    checks:
      - not_null: [id]
      - unique: [id]
  - from: orders.csv
    to: orders
    labels: {{ domain: "sales & {{{{ more }}}}" }}
    columns: {{ placed: {{ rename: "placed \"on\"" }}, amount: {{ cast: "decimal(12,2)" }} }}
    derive: {{ cents: "cast(amount * 100 as bigint)" }}
    partition_by: [ {{ identity: "where from" }} ]
    metadata_columns: [_ingested_at]
    checks:
      - unique: [id, line]
      - accepted_values: {{ column: status, values: [open, paid, "it's"] }}
      - accepted_values: {{ column: line, values: [1, 2] }}
      - foreign_key: {{ columns: [customer_id], references: {{ table: crm/customers, columns: [id] }} }}
      - foreign_key: {{ columns: [customer_id], references: {{ table: crm/customers, columns: [id] }}, where: "id < 3" }}
      - range: {{ column: amount, min: 0, below: "1000.00" }}
      - length: {{ column: status, max: 4 }}
      - pattern: {{ column: "where from", regex: "^([A-Z]{{2}}|\\d+%|a/b)$" }}
      - not_in_future: ["placed \"on\""]
      - expression: {{ sql: 'cents >= 0 and ("select" is null or char_length(trim("select")) = 1)' }}
      - not_null: {{ columns: [customer_id], threshold: 1 }}
      - not_null: {{ columns: [select], threshold: 50%, where: "amount >= 0" }}
      - row_count: {{ min: 1, max: 10 }}
      - row_count: {{ same_as: {{ table: crm/customers, within: 50% }} }}
      - completeness: {{ column: customer_id, min: 60% }}
      - aggregate: {{ column: amount, of: sum, min: 37.75, max: "37.75" }}
      - aggregate: {{ column: status, of: count_distinct, min: 3 }}
      - no_gaps: {{ column: "placed \"on\"", every: month }}
      - not_null: ["placed \"on\""]
      - freshness: {{ column: "placed \"on\"", max_age_secs: 4000000000 }}
      - monotonic: {{ column: id }}
{checks}
"#
    )
}

fn loaded_shop(target: &str, variables: Vec<(&'static str, String)>) -> Bench {
    let bench = Bench::with(variables);
    bench.write("in/customers.csv", CUSTOMERS);
    bench.write("in/orders.csv", ORDERS);
    bench.write("shop.yaml", shop(target, ""));
    bench.run(&["run", "shop.yaml"]).expect(0);
    bench
}

/// A home with the extensions of DuckDB that are packages of Python, where DuckDB looks for them before it fetches any.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    const SCRIPT: &str = r#"
import glob, os, shutil, sys
import duckdb, duckdb_extension_delta, duckdb_extension_httpfs
platform = duckdb.sql("pragma platform").fetchone()[0]
folder = f"{sys.argv[1]}/.duckdb/extensions/v{duckdb.__version__}/{platform}"
os.makedirs(folder, exist_ok=True)
for module in (duckdb_extension_delta, duckdb_extension_httpfs):
    found, = glob.glob(os.path.dirname(module.__file__) + "/extensions/*/*.duckdb_extension")
    shutil.copyfile(found, f"{folder}/{os.path.basename(found)}.{os.getpid()}")
    os.replace(f"{folder}/{os.path.basename(found)}.{os.getpid()}", f"{folder}/{os.path.basename(found)}")
"#;
    HOME.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("duckdb-home");
        run_python_of(generated_code(), SCRIPT, &[home.to_str().unwrap()]);
        home
    })
}

/// Runs dbt in the project of a bench.
fn dbt(bench: &Bench, args: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(generated_code().with_file_name("dbt"));
    command.args(["--no-use-colors"]).args(args).current_dir(bench.path("shop-nightly-dbt"));
    ended(command.env("HOME", home()).env("DO_NOT_TRACK", "1").envs(variables.iter().copied()))
}

/// How the last build of a bench ended: by the names of models and tests.
fn results(bench: &Bench) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(bench.path("shop-nightly-dbt/target/run_results.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let result = |r: &Value| {
        let id = r["unique_id"].as_str().unwrap();
        (id.split('.').nth(2).unwrap().to_string(), r["status"].as_str().unwrap().to_string())
    };
    json["results"].as_array().unwrap().iter().map(result).collect()
}

/// The rows of a model that was built.
fn rows(bench: &Bench, query: &str, set: &str) -> String {
    const SCRIPT: &str = "import duckdb, json, os, sys\nos.chdir(sys.argv[1])\ndb = duckdb.connect('shop_nightly.duckdb')\n\
        db.execute(sys.argv[3])\nprint(json.dumps(db.execute(sys.argv[2]).fetchall(), default=str))";
    let project = bench.path("shop-nightly-dbt");
    run_python_of(generated_code(), SCRIPT, &[project.to_str().unwrap(), query, set]).trim().to_string()
}

const ALL_ROWS: &str = r#"select id, line, customer_id, status, amount, "placed ""on""", "select", "where from", cents
    from stg_orders order by id, line"#;
const EXPECTED: &str = r#"[[1, 1, 1, "open", "10.00", "2024-01-31", "x", "DE", 1000], [1, 2, 1, "paid", "20.50", "2024-02-01", "y", "FR", 2050], [2, 1, 2, "it's", "0.00", "2024-03-05", null, "100%", 0], [3, 1, null, "open", "7.25", "2024-03-06", "z", "a/b", 725]]"#;

#[test]
fn dbt_builds_a_project_over_the_lake_and_finds_what_breaks_a_rule() {
    let bench = loaded_shop("{ lake: { url: lake } }", Vec::new());
    let answer = bench.run(&["generate", "dbt", "shop.yaml", "--format", "json"]).expect(0);
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    let unsaid: Vec<&str> =
        answer["not_said"].as_array().unwrap().iter().map(|u| u["what"].as_str().unwrap()).collect();
    assert_eq!(unsaid, ["Q010 monotonic (id)"]);
    assert!(answer["files"].as_array().unwrap().len() > 15, "{answer}");

    let parsed = dbt(&bench, &["parse", "--show-all-deprecations"], &[]).expect(0);
    assert!(!parsed.stdout.contains("Deprecat"), "{}", parsed.stdout);
    dbt(&bench, &["build"], &[]).expect(0);
    let built = results(&bench);
    // Two models, the checks of two tables but for one that cannot be said and one that is of the source.
    assert_eq!(built.len(), 2 + 2 + 19, "{built:?}");
    assert!(built.values().all(|status| status == "success" || status == "pass"), "{built:?}");
    assert_eq!(rows(&bench, ALL_ROWS, "select 1"), EXPECTED);
    assert_eq!(rows(&bench, "select name from stg_crm_customers where id = 2", "select 1"), r#"[["*** Bob"]]"#);
    dbt(&bench, &["source", "freshness"], &[]).expect(0);

    // The lake stays as it is, and the rules become stricter.
    bench.write(
        "shop.yaml",
        shop(
            "{ lake: { url: lake } }",
            "      - range: { column: amount, max: 20 }\n      - range: { column: amount, max: 19, severity: warn }\n",
        ),
    );
    let refused = bench.run(&["generate", "dbt", "shop.yaml"]).expect(3);
    refused.says("exists already").says("--force");
    bench.run(&["generate", "dbt", "shop.yaml", "--force"]).expect(0);
    dbt(&bench, &["build"], &[]).expect(1);
    let built = results(&bench);
    let broken: Vec<(&str, &str)> =
        built.iter().filter(|(_, s)| *s != "success" && *s != "pass").map(|(n, s)| (n.as_str(), s.as_str())).collect();
    assert_eq!(broken, [("orders_22_range", "fail"), ("orders_23_range", "warn")]);

    // Rules that are gone take their tests along.
    bench.write("shop.yaml", shop("{ lake: { url: lake } }", ""));
    let answer = bench.run(&["generate", "dbt", "shop.yaml", "--force", "--format", "json"]).expect(0);
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(answer["removed"], serde_json::json!(["tests/orders_22_range.sql", "tests/orders_23_range.sql"]));
}

#[test]
fn the_same_pipeline_gives_the_same_project_whatever_was_loaded_since() {
    let bench = loaded_shop("{ lake: { url: lake } }", Vec::new());
    let project = |out: &str| {
        bench.run(&["generate", "dbt", "shop.yaml", "--out", out]).expect(0);
        let files = bench.all_files(out).into_iter();
        files.map(|f| (f.strip_prefix(bench.path(out)).unwrap().to_path_buf(), std::fs::read(&f).unwrap())).collect()
    };
    let before: BTreeMap<PathBuf, Vec<u8>> = project("one");
    bench.write("in/orders.csv", format!("{ORDERS}4,1,1,open,0.00,2024-03-07,q,DE\n"));
    let after: BTreeMap<PathBuf, Vec<u8>> = project("two");
    assert!(before.len() > 15);
    for (path, content) in &after {
        assert_eq!(before.get(path), Some(content), "{}", path.display());
    }
}

#[test]
fn dbt_builds_a_project_over_delta_tables() {
    let bench = loaded_shop("{ delta: { url: lake } }", Vec::new());
    bench.run(&["generate", "dbt", "shop.yaml"]).expect(0);
    dbt(&bench, &["build"], &[]).expect(0);
    let extensions = home().join(".duckdb/extensions");
    let load = format!("set extension_directory = '{}'; load delta", extensions.display());
    assert_eq!(rows(&bench, ALL_ROWS, &load), EXPECTED);
}

#[test]
fn dbt_reads_a_bucket_and_the_project_has_no_secret() {
    let bucket = Bucket::new("generated");
    let target = format!(
        "{{ lake: {{ url: \"{}\", s3: {{ endpoint: \"${{env:LAKE_AT}}\", allow_http: true, access_key_id: \"${{env:LAKE_KEY}}\", \
         secret_access_key: \"${{env:LAKE_SECRET}}\" }} }} }}",
        bucket.url("lake")
    );
    let server = server();
    let mut variables = bucket.variables();
    variables.extend([
        ("LAKE_AT", server.endpoint.clone()),
        ("LAKE_KEY", server.key.clone()),
        ("LAKE_SECRET", server.secret.clone()),
    ]);
    let bench = loaded_shop(&target, variables);
    bench.run(&["generate", "dbt", "shop.yaml"]).expect(0);
    for file in bench.all_files("shop-nightly-dbt") {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(bucket.secret()) && !text.contains(&server.key), "{}", file.display());
    }
    let named = [
        ("LAKE_AT", server.endpoint.as_str()),
        ("LAKE_KEY", server.key.as_str()),
        ("LAKE_SECRET", server.secret.as_str()),
    ];
    dbt(&bench, &["build"], &named).expect(0);
    assert!(results(&bench).values().all(|status| status == "success" || status == "pass"));
    // Without the variables nothing is read.
    let refused = dbt(&bench, &["build"], &[]).expect(2);
    assert!(refused.stdout.contains("LAKE_"), "{}", refused.stdout);
}

/// Runs a job of a bench.
fn spark(bench: &Bench, job: &str, args: &[&str]) -> Outcome {
    ended(&mut started(bench, job, args, ""))
}

/// A job of a bench, which Spark would run with these options.
fn started(bench: &Bench, job: &str, args: &[&str], options: &str) -> Command {
    let mut command = Command::new(generated_code());
    command.args(["-B", "-W", "ignore", job, "--target", "by-spark"]).args(args).current_dir(bench.path("."));
    for variable in ["PYSPARK_PYTHON", "SPARK_HOME", "PGHOST", "PGPORT", "PGDATABASE", "PGUSER"] {
        command.env_remove(variable);
    }
    let options = format!("--master local[2] --driver-memory 1g --conf spark.ui.enabled=false {options} pyspark-shell");
    command.env("SPARK_LOCAL_IP", "127.0.0.1").env("PYSPARK_SUBMIT_ARGS", options);
    command
}

/// What a job says of its tables.
fn said(outcome: &Outcome) -> BTreeMap<String, Value> {
    let lines = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    lines.map(|said| (said["table"].as_str().unwrap().to_string(), said)).collect()
}

/// Loads tables by transload and by Spark. Both must give the same digests; what the job says of each.
fn loaded_by_both(bench: &Bench, pipeline: &str, text: &str) -> BTreeMap<String, Value> {
    let file = format!("{pipeline}.yaml");
    bench.write(&file, text);
    let loaded = digests(&bench.run(&["run", &file]).expect(0).last_line());
    bench.run(&["generate", "spark", &file]).expect(0);
    let outcome = spark(bench, &format!("{pipeline}-spark.py"), &["--aside", "aside"]).expect(0);
    let said = said(&outcome);
    let digest = |said: &Value| said["digest"].as_str().unwrap().to_string();
    let theirs: Digests = said.iter().map(|(name, said)| (name.clone(), digest(said))).collect();
    assert_eq!(theirs, loaded, "{pipeline}");
    said
}

#[test]
fn spark_gives_the_digests_of_a_load_for_every_type_and_what_is_made_of_it() {
    let bench = Bench::new();
    python(
        &bench,
        r#"
t = core().append_column("wide", decimals(pa.decimal256(50, 2), "1.50", "-1e40", "0", None, "2", "1e47"))
t = t.append_column("nanos", pa.array([0, 86399999999999, 1, None, 2, 3], pa.int64()).cast(pa.time64("ns")))
said = pa.array(['{"a": 1}', "[]", None, "1", "null", '"x"'])
t = t.append_column("said", pa.ExtensionArray.from_storage(pa.json_(), said))
pq.write_table(t, file_of("every type"))
"#,
    );
    let said = loaded_by_both(
        &bench,
        "typed",
        r#"
version: 1
pipeline: typed
source: { lake: { url: src } }
target: { lake: { url: lake } }
tables:
  - from: every type
  - from: every type
    to: made
    reconcile: { hash: sha256 }
    columns:
      d9: { rename: price, cast: "decimal(12,1)" }
      i64: { cast: text }
      ts_us: { cast: timestamp(s) }
      text: { mask: hash }
      f32: { drop: true }
    derive:
      total: "d9 * (2 - d9)"
      half: "i32 / 2"
      month: "to_char(day, '%Y-%m')"
      part: "coalesce(substr(packed, 1, 1), 'none') || '-' || cast(u8 as varchar)"
    filter: "id <> 4 and (day is null or day > date '1500-01-01')"
    partition_by: [ { month: ts_ms }, { identity: flag } ]
    metadata_columns: [_ingested_at, _source_system, _run_id]
"#,
    );
    assert_eq!((said["every type"]["written"].as_u64(), said["made"]["written"].as_u64()), (Some(6), Some(4)));
    // What was hashed is what was written.
    let folders = python(
        &bench,
        "print(sorted(f for f in os.listdir('by-spark/made') if '=' in f), pq.read_table('by-spark/made').num_rows)",
    );
    assert_eq!(
        folders.trim(),
        "['ts_ms_month=1969-12', 'ts_ms_month=1970-01', 'ts_ms_month=2024-02', 'ts_ms_month=2100-01'] 4"
    );
}

#[test]
fn spark_reads_texts_as_strictly_and_puts_the_same_rows_aside() {
    let bench = Bench::new();
    bench.write(
        "in/texts.csv",
        "n,x\n0,1\n1,+2\n2, 3\n3,007\n4,1.0\n5,\"\"\n6,128\n7,-129\n8,1.50\n9,1.255\n10,.5\n11,1e3\n12,nan\n13,-inf\n14,1e999\n\
         15,t\n16,OFF\n17,2024-02-29\n18,2023-02-29\n19,2024-02-29 10:00:00.5\n20,2024-02-29T10:00:00+02:00\n\
         21,550E8400E29B41D4A716446655440000\n22,\n",
    );
    bench.write(
        "in/events.csv",
        "id,amount,kind,at\n1,10.00,a,2024-01-01\n2,x,a,2024-01-02\n3,7.5,b,2024-02-30\n4,,a,2024-03-01\n5,-3,b,\n\
         6,1.255,\"\",2024-03-02\n7,99,b,2024-03-05\n",
    );
    let table = |(number, ty): (usize, &&str)| {
        let settings = format!("columns: {{ x: {{ cast: \"{ty}\", on_misfit: null_counted }} }}");
        format!("  - {{ from: texts.csv, to: texts_{number}, {settings} }}\n")
    };
    let types =
        ["int8", "uint64", "decimal(5,2)", "float64", "bool", "date", "timestamp(ms)", "timestamp(us, UTC)", "uuid"];
    let texts: String = types.iter().enumerate().map(table).collect();
    let said = loaded_by_both(
        &bench,
        "events",
        &format!(
            r#"
version: 1
pipeline: events
source: {{ lake: {{ url: in, format: csv }} }}
target: {{ lake: {{ url: lake }} }}
tables:
  - from: events.csv
    to: events
    columns:
      amount: {{ cast: "decimal(8,2)", on_misfit: null_counted }}
      at: {{ cast: date, on_misfit: quarantine }}
    filter: "amount > 0 and kind <> 'c'"
    checks: [ {{ range: {{ column: amount, max: 50, action: quarantine }} }} ]
{texts}"#
        ),
    );
    assert_eq!(said.len(), 1 + types.len());
    assert_eq!(said["events"]["put_aside"], 2);
    assert_eq!(said["events"]["misfits"], serde_json::json!({ "amount": 2 }));
    let aside = python(&bench, "print(sorted(pq.read_table('aside/events')['id'].to_pylist()))");
    assert_eq!(aside.trim(), "[3, 7]");
}

#[test]
fn spark_reads_json_lines_digit_by_digit() {
    let bench = Bench::new();
    bench.write(
        "in/docs.json",
        "{\"id\":1,\"n\":1.50,\"s\":{\"a\":1,\"b\":\"x\"},\"l\":[1,2],\"f\":true}\n\
         {\"id\":2,\"n\":12345678901234567890.5,\"l\":[],\"f\":false}\n",
    );
    let said = loaded_by_both(
        &bench,
        "docs",
        "version: 1\npipeline: docs\nsource: { lake: { url: in, format: json } }\ntarget: { lake: { url: lake } }\n\
         tables: [ { from: docs.json, to: docs } ]\n",
    );
    assert_eq!(said["docs"]["written"], 2);
}

#[test]
fn spark_reads_a_database_as_a_load_does_and_dbt_says_what_it_knows() {
    let database = Database::new("generated");
    database.sql(
        r#"
create schema "My S";
create type mood as enum ('sad', 'ok');
create table "My S"."or.ders" (id int8 primary key, b bool, i2 int2, i4 int4, o oid, f4 float4, f8 float8, n numeric(12,2),
    no numeric(5,-2), m money, u numeric, t text, c char(5), v varchar(9), mo mood, j json, jb jsonb, by bytea, d date, ti time,
    ts timestamp, tz timestamptz, uu uuid, ip inet, bt bit(3), ta text[], ia int[], "odd ""name`" text, iv interval);
comment on table "My S"."or.ders" is 'What was ordered';
comment on column "My S"."or.ders".n is 'In euros';
insert into "My S"."or.ders" values (3, true, 1, 2, 4000000000, 1.5, 0.1, 12.50, 12300, 1.23, 1234567890123456789012345.678,
    'ä', 'ab', 'v', 'ok', '{"a": 1}', '{"a": 1}', '\x00ff', '1500-01-01', '10:00:00.5', '1500-01-01 10:00:00.123456',
    '0001-01-01 00:00Z', '550e8400-e29b-41d4-a716-446655440000', '192.168.1.1', '101', array['a', null], array[1, 2], 'x',
    '1 day');
insert into "My S"."or.ders" (id, d, ts, tz) values
    (4, '9999-12-31', '290000-12-31 23:59:59.999999', '2024-06-01 12:00+02');
insert into "My S"."or.ders" (id, f4, f8) values (5, 'nan', '-infinity');
create table infinite (id int8, at timestamp);
insert into infinite values (1, 'infinity');
"#,
    );
    let bench = database.bench();
    let tables = "  - { from: 'My S.\"or.ders\"', to: orders, columns: { iv: { drop: true } } }\n";
    bench.write("p.yaml", pipeline(&database.connection(), &"lake: { url: lake }", tables));
    let loaded = digests(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    bench.run(&["generate", "spark", "p.yaml", "--out", "p.py"]).expect(0);
    let driver = format!("--driver-class-path {}", postgres_driver().display());
    let outcome = ended(started(&bench, "p.py", &[], &driver).envs(database.variables())).expect(0);
    let digest = |said: &Value| said["digest"].as_str().unwrap().to_string();
    let theirs: Digests = said(&outcome).iter().map(|(name, said)| (name.clone(), digest(said))).collect();
    assert_eq!(theirs, loaded);

    // What people have said in the database is said again, and the password nowhere.
    bench.run(&["generate", "dbt", "p.yaml", "--out", "project"]).expect(0);
    for file in bench.all_files("project").into_iter().chain([bench.path("p.py")]) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&database.server.password), "{}", file.display());
    }
    let described = std::fs::read_to_string(bench.path("project/models/staging/_models.yml")).unwrap();
    assert!(described.contains("What was ordered") && described.contains("In euros"), "{described}");

    // A point in time that is none, as only PostgreSQL has it.
    let tables = "  - { from: infinite, to: infinite }\n";
    bench.write("q.yaml", pipeline(&database.connection(), &"lake: { url: lake }", tables));
    bench.run(&["generate", "spark", "q.yaml", "--out", "q.py"]).expect(0);
    let outcome = ended(started(&bench, "q.py", &[], &driver).envs(database.variables()));
    assert_ne!(outcome.code, 0);
    assert!(bench.all_files("by-spark").iter().all(|file| !file.to_string_lossy().contains("infinite")));
}

#[test]
fn a_job_stops_where_a_load_does_and_writes_nothing() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,5\n2,x\n");
    let pipeline = "version: 1\npipeline: strict\nsource: { lake: { url: in, format: csv, csv: { types: { n: int32 } } } }\n\
        target: { lake: { url: lake } }\ntables: [ { from: t.csv, to: t } ]\n";
    bench.write("p.yaml", pipeline);
    bench.run(&["run", "p.yaml"]).expect(4);
    bench.run(&["generate", "spark", "p.yaml", "--out", "jobs/t.py"]).expect(0);
    spark(&bench, "jobs/t.py", &[]).expect(4).says("1 values of n do not fit");
    assert!(bench.all_files("by-spark").is_empty());
}

#[test]
fn what_spark_cannot_do_is_refused_when_the_job_is_generated() {
    let bench = Bench::new();
    bench.write(
        "p.yaml",
        "version: 1\npipeline: p\nsource: { tpch: { scale: 0.01 } }\ntarget: { delta: { url: lake } }\ntables:\n  \
         - { from: nation, key: [n_nationkey], mode: merge }\n  \
         - { from: region, derive: { odd: \"reverse(r_name)\" } }\n",
    );
    let delta = bench.run(&["generate", "spark", "p.yaml"]).expect(3);
    delta.says("merges rows by their key").says("`odd`: `reverse`");
    assert!(!bench.path("p-spark.py").exists());
    bench.write(
        "q.yaml",
        "version: 1\npipeline: q\nsource: { tpch: { scale: 0.01 } }\ntarget: { lake: { url: lake } }\ntables:\n  \
         - { from: part, partition_by: [ { bucket: { column: p_partkey, buckets: 4 } } ] }\n  - { from: region }\n",
    );
    bench
        .run(&["generate", "spark", "q.yaml"])
        .expect(3)
        .says("`p_partkey_bucket`: Spark cannot make the same buckets");
    let answer = bench.run(&["generate", "spark", "q.yaml", "--table", "region", "--format", "json"]).expect(0);
    assert_eq!(answer.stdout.trim(), r#"{"files":["q-spark.py"]}"#);
    bench.run(&["generate", "spark", "q.yaml", "--table", "region"]).expect(3).says("exists already");
    let csv = "version: 1\npipeline: r\nsource: { tpch: { scale: 0.01 } }\ntarget: { lake: { url: lake, format: csv } }\n\
        tables: [ { from: region } ]\n";
    bench.write("r.yaml", csv);
    bench.run(&["generate", "dbt", "r.yaml"]).expect(3).says("the target is a lake of csv files");
}
