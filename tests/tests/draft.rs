//! Pipelines that are drafted from connections, and what a person may type to name one.

use serde_json::{Value, json};

use crate::harness::{Bench, root};

/// A bench with two files of orders and customers, and a file that holds a connection to them.
fn bench() -> Bench {
    let bench = Bench::new();
    let customers: String =
        (1..=30).map(|i| format!("{i},Name {i},{i}.25,0190a6b1-7f3a-7c12-8000-0000000001{i:02}\n")).collect();
    let orders: String = (1..=60)
        .map(|i| {
            format!(
                "{i},{},{}.50,2024-01-{:02}T10:00:00,0190a6b1-7f3a-7c12-8000-0000000000{i:02}\n",
                i % 30 + 1,
                i / 2,
                i % 28 + 1
            )
        })
        .collect();
    bench.write("in/customers.csv", format!("id,name,amount,token\n{customers}"));
    bench.write("in/orders.csv", format!("id,customer_id,amount,updated_at,token\n{orders}"));
    let types = "{ amount: \"decimal(9,2)\", token: uuid }";
    bench.write("files.yaml", format!("lake:\n  url: in\n  format: csv\n  csv: {{ types: {types} }}\n"));
    bench
}

/// The schema that the program prints for what a command answers.
fn validator(bench: &Bench, command: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&bench.run(&["schema", command]).expect(0).stdout).unwrap();
    jsonschema::draft7::new(&schema).unwrap()
}

#[track_caller]
fn assert_valid(bench: &Bench, command: &str, answer: &Value) {
    let validator = validator(bench, command);
    let wrong: Vec<String> = validator.iter_errors(answer).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}: {answer}");
    let mut other = answer.clone();
    other.as_object_mut().unwrap().remove(if command == "init" { "file" } else { "tables" });
    assert!(!validator.is_valid(&other), "a schema that takes everything says nothing");
}

fn text(bench: &Bench, file: &str) -> String {
    std::fs::read_to_string(bench.path(file)).unwrap()
}

#[test]
fn a_location_is_a_file_with_one_connection_too() {
    let bench = bench();
    let listed = bench.run(&["discover", "files.yaml"]).expect(0).stdout;
    assert!(listed.contains("customers.csv  (csv, ") && listed.contains("  token        uuid"), "{listed}");
    let some = bench.run(&["discover", "files.yaml", "--table", "ord*", "--brief"]).expect(0).stdout;
    assert!(some.starts_with("orders.csv  (csv, ") && some.lines().count() == 1, "{some}");
    bench.run(&["discover", "files.yaml", "--table", "nope"]).expect(99).says("no tables were found");
    let profiled = bench.run(&["profile", "files.yaml", "--format", "json"]).expect(0).last_line();
    assert_eq!(profiled["tables"][1]["rows"], 60);
    let found = bench.run(&["discover", "files.yaml", "--format", "json"]).expect(0).last_line();
    assert_valid(&bench, "discover", &found);
    bench.run(&["discover", "delta:in"]).expect(99).says("no tables were found");
}

#[test]
fn what_is_wrong_with_a_location_is_said_where_it_stands() {
    let bench = bench();
    for (text, says) in [
        ("lake: { url: in, formt: csv }\n", ["files.yaml:1:18", "did you mean `format`?"]),
        ("lak: { url: in }\n", ["files.yaml:1:1", "did you mean `lake`?"]),
        ("postgres: { host: h, database: d, user: u, password: s3cr3t }\n", ["files.yaml:1:", "is a secret"]),
        ("lake: [\n", ["files.yaml:", "not valid YAML"]),
        ("tables: []\n", ["files.yaml:1:1", "`source` is missing"]),
    ] {
        bench.write("files.yaml", text);
        let refused = bench.run(&["discover", "files.yaml"]).expect(3).says(says[0]).says(says[1]);
        assert!(!refused.stderr.contains("s3cr3t"), "{}", refused.stderr);
    }
    bench.write("files.yaml", "lake: { url: in, format: csv }\n");
    bench.run(&["discover", "files.yaml", "--target"]).expect(2).says("`--target` is about pipelines");
    let url = "postgres://me:s3cr3t@db.example.com/shop";
    for args in [&["discover", url][..], &["profile", url], &["init", "shop", "--from-connection", url]] {
        let refused = bench.run(args).expect(2).says("the url holds a password").says("PGPASSWORD");
        assert!(!refused.stderr.contains("s3cr3t") && refused.stdout.is_empty(), "{refused:?}");
    }
    bench.run(&["discover", "postgres://db.example.com/shop"]).expect(2).says("the url says no user");
}

#[test]
fn a_pipeline_is_drafted_that_runs_as_it_is() {
    let bench = bench();
    let args = ["init", "shop", "--from-connection", "files.yaml", "--target", "delta:./lake"];
    bench.run(&args).expect(0).says("reading orders.csv").says("next: transload plan shop.yaml");
    let written = text(&bench, "shop.yaml");
    assert!(written.starts_with("# yaml-language-server: $schema=.transload/pipeline.schema.json\n"), "{written}");
    for line in [
        "archetype: table_copy",
        "  - from: \"orders.csv\"",
        "    to: \"orders\"",
        "    # a value in each of 60 rows, all of them different",
        "    key: [\"id\"]",
        "    # mode: {\"incremental\":{\"cursor\":\"updated_at\",\"lookback_secs\":3600}}",
        "      # token: a Delta table has no uuid",
        "      \"token\": {\"cast\":\"text\"}",
        "      - not_null: {\"columns\":[\"id\"]}",
    ] {
        assert!(written.lines().any(|l| l == line), "{line} is not in:\n{written}");
    }
    bench.run(&["check", "shop.yaml"]).expect(0);
    bench.run(&["plan", "shop.yaml"]).expect(0);
    let ran = bench.run(&["run", "shop.yaml"]).expect(0).last_line();
    let verdicts: Vec<&Value> = ran["tables"].as_array().unwrap().iter().map(|t| &t["verdict"]).collect();
    assert_eq!(verdicts, ["match", "match"], "{ran}");
    // The advice is good, too: all rows come once more, and each takes its own place.
    bench.write("shop.yaml", written.replace("    # mode: ", "    mode: "));
    bench.run(&["run", "shop.yaml", "--table", "orders"]).expect(0);
    bench.run(&["init", "shop", "--from-connection", "files.yaml"]).expect(3).says("shop.yaml exists already");
}

#[test]
fn decisions_are_data_too() {
    let bench = bench();
    let args = ["init", "shop", "--from-connection", "in", "--table", "orders*", "--format", "json", "-q"];
    let answer = bench.run(&args).expect(0).last_line();
    assert_valid(&bench, "init", &answer);
    let draft = &answer["draft"];
    assert_eq!((&answer["file"], &draft["pipeline"]), (&json!("shop.yaml"), &json!("shop")));
    assert_eq!(draft["source"], json!({ "lake": { "url": "in", "format": "csv" } }));
    assert_eq!(draft["target"], json!({ "lake": { "url": "./shop-lake" } }));
    let [table] = draft["tables"].as_array().unwrap().as_slice() else { panic!("{draft}") };
    assert_eq!((&table["from"], &table["to"]), (&json!("orders.csv"), &json!("orders")));
    assert_eq!((&table["key"]["columns"], &table["key"]["applied"]), (&json!(["id"]), &json!(true)));
    assert_eq!(table["looked_at"], json!({ "rows": 60 }));
    assert_eq!(table["cursor"]["applied"], false);
    let checks = table["checks"].as_array().unwrap();
    assert!(checks.iter().any(|c| c["check"] == json!({ "unique": { "columns": ["id"] } })), "{checks:?}");
    assert!(checks.iter().all(|c| !c["reason"].as_str().unwrap().is_empty()));
    // What is drafted without a look at rows has no rules that rows have shown.
    let args = ["init", "quick", "--from-connection", "in", "--no-profile", "--format", "json"];
    let answer = bench.run(&args).expect(0).last_line();
    let tables = answer["draft"]["tables"].as_array().unwrap();
    assert!(tables.iter().all(|t| t["checks"] == json!([]) && t["looked_at"].is_null()), "{tables:?}");
    bench.run(&["plan", "quick.yaml"]).expect(0);
    let plain = bench.run(&["init", "plain", "--format", "json"]).expect(0).last_line();
    assert_eq!(plain, json!({ "file": "plain.yaml", "schema": ".transload/pipeline.schema.json" }));
    assert_valid(&bench, "init", &plain);
}

#[test]
fn nothing_is_written_without_a_table_or_for_an_archetype_that_there_is_not() {
    let bench = bench();
    bench.run(&["init", "a", "--from-connection", "in", "--table", "nope"]).expect(99).says("no tables were found");
    let refused = bench.run(&["init", "a", "--from-connection", "in", "--archetype", "postgres_to_s4"]).expect(2);
    refused.says("there is no archetype `postgres_to_s4`").says("did you mean `postgres_to_s3`?");
    bench.run(&["init", "a", "--from-connection", "in", "--target", "p.yaml"]).expect(3).says("p.yaml");
    bench.write("p.yaml", "version: 1\n");
    let refused = bench.run(&["init", "a", "--from-connection", "in", "--target", "p.yaml"]).expect(2);
    refused.says("the file holds something else");
    for args in [["init", "a", "--sample", "5"], ["init", "a", "--target", "x"], ["init", "a", "--table", "x"]] {
        bench.run(&args).expect(2).says("--from-connection");
    }
    for percent in ["0", "101", "x"] {
        bench.run(&["profile", "in", "--sample", percent]).expect(2);
    }
    assert!(!bench.path("a.yaml").exists());
    // Nor is there a pipeline of tables that cannot be read.
    bench.write("in/bad.parquet", "not Parquet");
    bench.write("bad.yaml", "lake: { url: in, format: parquet }\n");
    bench.run(&["init", "a", "--from-connection", "bad.yaml", "--table", "*.parquet"]).expect(3).says("bad.parquet");
    assert!(!bench.path("a.yaml").exists());
}

#[test]
fn a_source_that_gives_no_samples_is_read_as_a_whole_and_says_so() {
    let bench = bench();
    let args = ["profile", "files.yaml", "--table", "orders.csv", "--sample", "10"];
    let said = bench.run(&args).expect(0).stdout;
    assert!(said.starts_with("orders.csv  (60 rows, all of them: the source gives no samples)\n"), "{said}");
    let found = bench.run(&[&args[..], &["--format", "json"]].concat()).expect(0).last_line();
    let table = found["tables"][0].as_object().unwrap();
    assert!(table["sample_percent"].is_null() && table.contains_key("sample_percent"), "{found}");
    // So a key is a key.
    let draft = bench.run(&["discover", "files.yaml", "--checks", "--sample", "10"]).expect(0).stdout;
    assert!(draft.lines().any(|l| l == "    key: [\"id\"]"), "{draft}");
    bench.run(&["discover", "files.yaml", "--sample", "10"]).expect(2).says("--checks");
}

#[test]
fn the_example_for_postgres_is_right_as_far_as_can_be_told_without_a_server() {
    let bench = Bench::new();
    let path = root().join("pipelines/postgres_to_s3.yaml");
    let path = path.to_str().unwrap();
    bench.run(&["check", path]).expect(0);
    bench.run(&["check", path, "--env", "delta"]).expect(0);
}
