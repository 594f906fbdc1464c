//! Quality checks end to end: what stops a load, what is put aside, what is only said.

use serde_json::Value;

use crate::harness::{Bench, Outcome, run_python, tpch_pipeline};

const ORDERS: &str = "id,status,amount,placed\n1,open,10.00,2024-01-01\n2,paid,-5.00,2024-01-02\n3,PAID,7.50,2024-01-03\n\
                      4,open,,2024-01-05\n5,,12.00,2024-01-04\n6,paid,-1.00,2024-01-06\n";

/// A bench with six orders, two of them below zero, and a pipeline with these checks.
fn bench(checks: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    write_pipeline(&bench, checks);
    bench
}

fn write_pipeline(bench: &Bench, checks: &str) {
    let text = format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv, csv: {{ null_values: [\"\"] }} }} }}\n\
         target: {{ lake: {{ url: out }} }}\ntables:\n  - from: orders\n    key: [id]\n\
         \x20   columns: {{ amount: {{ cast: \"decimal(8,2)\" }}, placed: {{ cast: date }} }}\n    checks:\n{checks}"
    );
    bench.write("p.yaml", text);
}

fn counts(outcome: &Outcome) -> [u64; 4] {
    let table = &outcome.last_line()["tables"][0];
    ["read", "written", "quarantined", "filtered"].map(|name| table[name].as_u64().unwrap())
}

fn failed(outcome: &Outcome) -> Vec<Value> {
    outcome.last_line()["tables"][0]["checks"]["failed"].as_array().unwrap().clone()
}

#[test]
fn a_stopping_rule_that_is_broken_is_4_and_publishes_nothing() {
    let bench = bench("      - range: { column: amount, min: 0 }\n      - not_null: [id]\n");
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("Q005 range (amount) failed");
    assert!(bench.all_files("out").is_empty(), "{:?}", bench.all_files("out"));
    let found = &failed(&outcome)[0];
    assert_eq!((&found["code"], &found["check"]), (&Value::from("Q005"), &Value::from("range")));
    assert_eq!((&found["table"], &found["columns"][0]), (&Value::from("orders"), &Value::from("amount")));
    assert_eq!((found["failed"].as_u64(), found["evaluated"].as_u64()), (Some(2), Some(6)));
    assert_eq!((&found["expected"], &found["stops"]), (&Value::from("at least 0"), &Value::from(true)));
    assert_eq!(found["found"], "2 of 6 rows break it (33.33 %)");
    assert_eq!(found["shapes"], serde_json::json!([["-9.99", 2]]));
    assert!(!found["remedy"].as_str().unwrap().is_empty());
    assert_eq!(outcome.last_line()["tables"][0]["checks"]["passed"], 1);
    // No value of a row is shown.
    assert!(!outcome.stderr.contains("5.00") && !outcome.stdout.contains("5.00"), "{outcome:?}");
}

#[test]
fn all_rules_are_judged_before_the_load_stops() {
    let bench = bench(
        "      - range: { column: amount, min: 0 }\n      - not_null: [status]\n      - row_count: { min: 100 }\n",
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("3 checks failed");
    assert_eq!(failed(&outcome).len(), 3);
}

#[test]
fn quarantine_takes_a_row_once_with_all_reasons_and_the_counts_balance() {
    let bench = bench(
        "      - range: { column: amount, min: 0, action: quarantine }\n\
         \x20     - accepted_values: { column: status, values: [open, paid], action: quarantine }\n\
         \x20     - expression: { sql: \"amount > -3 or status <> 'paid'\", action: quarantine }\n",
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [6, 3, 3, 0]);
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match");
    let files = bench.all_files(".transload/quarantine");
    let file = files.iter().find(|f| f.extension().is_some_and(|e| e == "parquet")).unwrap();
    let script = "import sys, pyarrow.parquet as q\n\
                  names = ['id', 'amount', '_split', '_position']\n\
                  for r in q.read_table(sys.argv[1]).to_pylist(): print(*[r[n] for n in names], *[f'{x[\"code\"]} {x[\"reason\"]}' for x in r['_rules']])";
    let rows = run_python(script, &[file.to_str().unwrap()]);
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].starts_with("2 -5.00 0 1 Q005 range: amount: expected at least 0 Q011 expression"), "{rows:?}");
    assert!(rows[1].starts_with("3 7.50 0 2 Q004 accepted_values: status: expected one of open, paid"), "{rows:?}");
    assert!(rows[2].ends_with("Q005 range: amount: expected at least 0"), "{rows:?}");
    // What was put aside is no mismatch, also when compared later.
    bench.run(&["reconcile", "--run", &bench.newest_run()]).expect(0);
}

#[test]
fn a_row_that_cannot_be_read_is_put_aside_with_the_rules_it_breaks_otherwise() {
    let bench = bench(
        "      - range: { column: amount, min: 0, action: quarantine }\n      - not_null: { columns: [placed], action: quarantine }\n",
    );
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("cast: date }", "cast: date, on_misfit: quarantine }"));
    bench.write(
        "in/orders.csv",
        "id,status,amount,placed\n1,open,-1.00,soon\n2,open,1.00,soon\n3,open,1.00,2024-01-01\n",
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [3, 1, 2, 0]);
    let broken: Vec<(String, u64)> = failed(&outcome)
        .iter()
        .map(|f| (f["code"].as_str().unwrap().to_string(), f["failed"].as_u64().unwrap()))
        .collect();
    assert_eq!(broken, [("Q005".to_string(), 1)]);
}

#[test]
fn a_threshold_lets_some_rows_through() {
    let bench = bench("      - range: { column: amount, min: 0, threshold: 2 }\n");
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [6, 6, 0, 0]);
    assert!(failed(&outcome).is_empty());
    write_pipeline(&bench, "      - range: { column: amount, min: 0, threshold: 33% }\n");
    bench.run(&["run", "p.yaml"]).expect(4).says("33% may");
    write_pipeline(&bench, "      - range: { column: amount, min: 0, action: quarantine, threshold: 1 }\n");
    bench.run(&["run", "p.yaml"]).expect(4).says("2 of 6 rows break it");
    write_pipeline(&bench, "      - range: { column: amount, min: 0, action: quarantine, threshold: 50% }\n");
    assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [6, 4, 2, 0]);
}

#[test]
fn where_narrows_a_rule_and_what_is_filtered_is_not_checked() {
    let bench = bench("      - range: { column: amount, min: 0, where: \"status = 'open'\" }\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, "      - range: { column: amount, min: 0 }\n    filter: \"amount > 0\"\n");
    assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [6, 3, 0, 3]);
}

#[test]
fn a_warning_is_said_and_stops_nothing() {
    let bench = bench(
        "      - range: { column: amount, min: 0, severity: warn }\n      - row_count: { max: 5, severity: info }\n",
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(0).says("2 checks: 0 passed, 1 warning, 1 note");
    assert_eq!(counts(&outcome), [6, 6, 0, 0]);
    assert_eq!(failed(&outcome).len(), 2);
}

#[test]
fn rules_about_the_table_see_the_rows_that_go_to_the_target() {
    let good = "      - range: { column: amount, min: 0, action: quarantine }\n      - row_count: { exactly: 4 }\n\
                \x20     - completeness: { column: amount, min: 75% }\n      - aggregate: { column: amount, of: sum, min: 29.5, max: \"29.50\" }\n\
                \x20     - no_gaps: { column: placed, every: month }\n      - monotonic: { column: id, strict: true }\n\
                \x20     - schema: { columns: { id: int64, status: text, amount: \"decimal(8,2)\", placed: date }, ordered: true }\n";
    let bench = bench(good);
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("columns: { amount:", "columns: { id: { cast: int64 }, amount:"));
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [6, 4, 2, 0]);
    let bad = "      - completeness: { column: amount, min: 99% }\n      - no_gaps: { column: placed, every: day, where: \"id <> '3'\" }\n\
               \x20     - monotonic: { column: placed }\n      - freshness: { column: placed, max_age_secs: 3600 }\n\
               \x20     - aggregate: { column: amount, of: max, below: 12 }\n      - schema: { columns: { id: int32 } }\n";
    write_pipeline(&bench, bad);
    let outcome = bench.run(&["run", "p.yaml"]).expect(4);
    let codes: Vec<String> = failed(&outcome).iter().map(|f| f["code"].as_str().unwrap().to_string()).collect();
    assert_eq!(codes, ["Q013", "Q017", "Q010", "Q016", "Q015", "Q018"]);
}

#[test]
fn checks_of_defaults_and_of_the_archetype_add_up() {
    let bench = bench("      - row_count: { min: 1 }\n");
    let archetype = "version: 1\narchetype: careful\ndescription: x\nrulebook: standard\ndefaults:\n  checks:\n\
                     \x20   - not_null: [status]\n    - not_null: [somewhere_else]\n";
    bench.write("careful.yaml", archetype);
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("pipeline: test\n", "pipeline: test\narchetype: ./careful.yaml\n"));
    let plan = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert!(plan.contains("Q001 not_null (status)  no NULL  error: stop"), "{plan}");
    assert!(plan.contains("Q014 row_count  at least 1 rows  error: stop"), "{plan}");
    assert!(!plan.contains("somewhere_else"), "{plan}");
    bench.run(&["run", "p.yaml"]).expect(4).says("Q001 not_null (status) failed");
}

#[test]
fn checks_see_renamed_derived_masked_and_dropped_columns() {
    let bench = bench(
        "      - pattern: { column: state, regex: \"^[a-z]+$\", action: quarantine }\n      - range: { column: double, min: 0, action: quarantine }\n\
         \x20     - length: { column: amount, min: 1, where: \"false\", severity: info }\n",
    );
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    let text = text
        .replace("columns: { amount: { cast: \"decimal(8,2)\" }", "derive: { double: \"id * 2 - 4\" }\n    columns: { id: { cast: int64 }, status: { rename: state, mask: hash }, amount: { drop: true }");
    bench.write("p.yaml", text);
    assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [6, 4, 2, 0]);
}

#[test]
fn values_are_shown_only_if_asked_for() {
    let bench = bench("      - range: { column: amount, min: 0 }\n");
    let shown = bench.run(&["run", "p.yaml", "--show-values"]).expect(4).says("values    -5.00, -1.00");
    assert_eq!(failed(&shown)[0]["values"], serde_json::json!(["-5.00", "-1.00"]));
    bench.run(&["run", "p.yaml"]).expect(4);
    let hidden = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0);
    assert!(!hidden.stdout.contains("-5.00"), "{}", hidden.stdout);
    assert_eq!(hidden.last_line()["run"]["findings"][0]["code"], "Q005");
    let text = bench.run(&["show", &bench.newest_run()]).expect(0).stdout;
    assert!(text.contains("quality      1 check: 0 passed, 1 failed"), "{text}");
}

#[test]
fn a_build_server_reads_what_was_found() {
    let bench = bench(
        "      - range: { column: amount, min: 0 }\n      - not_null: { columns: [status], severity: warn }\n      - row_count: { min: 1 }\n",
    );
    bench.run(&["run", "p.yaml", "--junit", "found.xml"]).expect(4);
    let script = "import sys, xml.etree.ElementTree as e\n\
                  r = e.parse(sys.argv[1]).getroot()\n\
                  print(r.get('tests'), r.get('failures'), len(r.findall('.//failure')), len(r.findall('.//system-out')))";
    let said = run_python(script, &[bench.path("found.xml").to_str().unwrap()]);
    assert_eq!(said.trim(), "3 1 1 1");
}

#[test]
fn a_report_for_a_build_server_that_cannot_be_written_is_said_and_changes_nothing() {
    let bench = bench("      - row_count: { min: 1 }\n");
    let outcome = bench.run(&["run", "p.yaml", "--junit", "gone/found.xml"]).expect(0);
    let outcome = outcome.says("the JUnit report cannot be written").says("gone/found.xml").says("not affected");
    assert_eq!(outcome.last_line()["status"], "succeeded");
}

#[test]
fn keys_are_compared_over_all_splits_within_the_memory_limit() {
    let bench = Bench::new();
    let checks = "    checks:\n      - unique: [l_orderkey, l_linenumber]\n      - unique: { columns: [l_orderkey], severity: warn }\n\
                  \x20     - unique: { columns: [l_orderkey], where: \"l_linenumber = 1\" }\n";
    let table = format!("  - from: lineitem\n    reconcile: {{ level: none }}\n{checks}");
    bench.write("p.yaml", tpch_pipeline(&table).replace("0.01", "0.1"));
    let outcome = bench.run(&["run", "p.yaml", "--memory", "64MiB"]);
    // 600572 rows of 150000 orders.
    let found = failed(&outcome);
    assert_eq!(found.len(), 1, "{outcome:?}");
    assert_eq!((found[0]["failed"].as_u64(), found[0]["evaluated"].as_u64()), (Some(450_572), Some(600_572)));
}

#[test]
fn a_key_that_is_there_twice_stops_the_load() {
    let bench = bench("      - unique: [status, amount]\n      - unique: [id]\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write(
        "in/orders.csv",
        format!("{ORDERS}6,paid,-1.00,2024-01-06\n,open,-2.00,2024-01-06\n,open,-3.00,2024-01-06\n"),
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("2 checks failed");
    let found: Vec<&str> = outcome.stderr.lines().filter(|l| l.contains("found ")).collect();
    assert_eq!(found, ["      found     1 of 7 rows breaks it (14.29 %)"; 2]);
    write_pipeline(&bench, "      - unique: [id]\n      - range: { column: amount, min: 0, action: quarantine }\n");
    // The rows that were alike are put aside, so that they do not meet in the target.
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn what_does_not_fit_the_columns_is_3_before_anything_moves() {
    let bench = bench(
        "      - not_null: [nope]\n      - pattern: { column: amount, regex: x }\n      - expression: { sql: \"amount + 1\" }\n\
         \x20     - range: { column: amount, min: abc }\n      - range: { column: amount, min: 0, where: \"nope > 1\" }\n",
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(3);
    for said in [
        "has no column `nope`",
        "`pattern` needs text, and `amount` is decimal(8,2)",
        "a condition must be true or false",
        "`abc` cannot be compared with `amount`, which is decimal(8,2)",
        "nope",
        "5 problems found",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    write_pipeline(&bench, "      - expression: { sql: \"now() > placed\" }\n");
    bench.run(&["check", "p.yaml"]).expect(3).says("`now` gives another value each time");
}

#[test]
fn an_empty_table_breaks_only_rules_about_the_table() {
    let bench = bench("      - not_null: [id]\n      - range: { column: amount, min: 0 }\n");
    bench.write("in/orders.csv", "id,status,amount,placed\n");
    bench.run(&["run", "p.yaml"]).expect(9);
    write_pipeline(&bench, "      - row_count: { min: 1 }\n");
    bench.run(&["run", "p.yaml"]).expect(4).says("0 rows");
}

#[test]
fn a_killed_run_judges_what_all_of_its_processes_counted() {
    let bench =
        bench("      - row_count: { exactly: 6 }\n      - range: { column: amount, min: 0, action: quarantine }\n");
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    let run = bench.newest_run();
    bench.run(&["resume", &run]).expect(4).says("Q014 row_count failed");
    write_pipeline(
        &bench,
        "      - row_count: { exactly: 4 }\n      - range: { column: amount, min: 0, action: quarantine }\n",
    );
    bench.run_with_faults(&["run", "p.yaml"], "commit.begun=return(kill)").expect(-1);
    let outcome = bench.run(&["resume", &bench.newest_run()]).expect(0);
    assert_eq!(counts(&outcome), [6, 4, 2, 0]);
}

#[test]
fn what_only_the_columns_can_tell_is_found_when_a_plan_is_made() {
    for (check, said) in [("not_null: [ordr_id]", "ordr_id"), ("pattern: { column: id, regex: \"^[0-9]+$\" }", "id")] {
        let bench = bench(&format!("      - {check}\n"));
        bench.run(&["check", "p.yaml"]).expect(0);
        bench.run(&["plan", "p.yaml"]).expect(3).says(said);
    }
}

#[test]
fn only_checking_says_what_a_load_would_and_writes_nothing() {
    let checks = "      - range: { column: amount, min: 0, action: quarantine }\n\
                  \x20     - accepted_values: { column: status, values: [open, paid] }\n\
                  \x20     - unique: [id]\n      - row_count: { max: 3 }\n";
    let bench = bench(checks);
    let only = bench.run(&["run", "p.yaml", "--checks-only"]).expect(4);
    assert_eq!(counts(&only), [6, 0, 2, 0]);
    assert!(bench.all_files("out").is_empty() && bench.all_files(".transload/quarantine").is_empty());
    let load = bench.run(&["run", "p.yaml"]).expect(4);
    let timeless = |outcome: &Outcome| {
        let mut findings = failed(outcome);
        findings.iter_mut().for_each(|f| f["duration_micros"] = Value::Null);
        findings
    };
    assert_eq!(timeless(&only), timeless(&load));
    assert_eq!(failed(&only).len(), 3);
    write_pipeline(&bench, "      - not_null: [id]\n");
    let run = bench.run(&["run", "p.yaml", "--checks-only"]).expect(0).last_line()["run_id"].clone();
    let run = run.as_str().unwrap();
    assert!(bench.run(&["runs", "--quality"]).expect(0).stdout.contains(run));
    assert!(bench.run(&["report", run, "--output", "-"]).expect(0).stdout.contains("nothing was written"));
    bench.run(&["resume", run]).expect(3).says("only a load can be resumed");
    bench.run(&["run", "p.yaml", "--checks-only", "--dry-run"]).expect(2);
}

#[test]
fn only_checking_finds_the_value_that_would_stop_a_load_even_in_a_column_without_checks() {
    let bench = bench("      - not_null: [id]\n");
    bench.write("in/orders.csv", "id,status,amount,placed\n1,open,many,2024-01-01\n");
    bench.run(&["run", "p.yaml", "--checks-only"]).expect(4).says("does not fit decimal(8,2)");
}

/// As the reference shows it.
#[test]
fn what_is_inside_of_nested_columns_is_checked_in_sql() {
    let bench = Bench::new();
    let script = "import sys, os, pyarrow as pa, pyarrow.parquet as pq\n\
                  os.makedirs(sys.argv[1])\n\
                  where = lambda city, zip, country: {'city': city, 'zip': zip, 'country': country}\n\
                  pq.write_table(pa.table({\n\
                  'id': [1, 2, 3, 4],\n\
                  'address': [where('Ulm', '89073', 'DE'), where('Bern', '1', 'DE'), None, where('Graz', 'x', 'AT')],\n\
                  'tags': [['a', 'b'], [], None, ['z']],\n\
                  'lines': [[{'qty': 1}], [{'qty': 0}, {'qty': 2}], [], None],\n\
                  }), sys.argv[1] + '/orders.parquet')";
    run_python(script, &[bench.path("in").to_str().unwrap()]);
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in } }\ntarget: { lake: { url: out } }\ntables:\n  \
         - from: orders\n    key: [id]\n    derive: { city: \"address['city']\" }\n    checks:\n      \
         - accepted_values: { column: city, values: [Ulm, Bern], severity: warn }\n      \
         - expression: { sql: \"address.zip ~ '^[0-9]{5}$'\", where: \"address['country'] = 'DE'\", action: quarantine }\n      \
         - expression: { sql: \"array_has_all(['a', 'b', 'c'], tags)\", action: quarantine }\n      \
         - expression: { sql: \"lines[1]['qty'] > 0\", severity: warn }\n      \
         - expression: { sql: \"address['city'] is not null\", severity: warn }\n",
    );
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [4, 2, 2, 0]);
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match");
    let found: Vec<u64> = failed(&outcome).iter().map(|finding| finding["failed"].as_u64().unwrap()).collect();
    assert_eq!(found, [1, 1, 1, 1, 1]);
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("array_has_all(['a', 'b', 'c'], tags)", "unnest(tags) = 'a'"));
    bench.run(&["check", "p.yaml"]).expect(3).says("unnest");
}
