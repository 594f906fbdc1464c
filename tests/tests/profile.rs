//! Profiles of tables, the checks that they suggest, and the check that compares a load with the last one.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome, tpch_pipeline};

const ORDERS: &str = "id,status,amount,placed\n1,open,10.00,2024-01-01\n2,paid,-5.00,2024-01-02\n3,PAID,7.50,2024-01-03\n\
                      4,open,,2024-01-05\n5,,12.00,2024-01-04\n6,paid,-1.00,2024-01-06\n";

/// A bench with six orders, and a pipeline with these checks.
fn bench(checks: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in/orders.csv", ORDERS);
    write_pipeline(&bench, checks);
    bench
}

fn write_pipeline(bench: &Bench, checks: &str) {
    let text = format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv, csv: {{ null_values: [\"\"] }} }} }}\n\
         target: {{ lake: {{ url: out }} }}\ntables:\n  - from: orders.csv\n    to: orders\n    key: [id]\n\
         \x20   columns: {{ amount: {{ cast: \"decimal(8,2)\" }} }}\n{checks}"
    );
    bench.write("p.yaml", text);
}

fn table(outcome: &Outcome) -> Value {
    outcome.last_line()["tables"][0].clone()
}

fn column(table: &Value, name: &str) -> Value {
    let columns = table["columns"].as_array().unwrap();
    columns.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("{name}: {table}")).clone()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_profile_for_programs_has_figures_and_no_values_of_rows() {
    let bench = bench("");
    let outcome = bench.run(&["profile", "p.yaml", "--format", "json"]).expect(0);
    assert_eq!(keys(&outcome.last_line()), ["tables", "unreadable"]);
    let found = table(&outcome);
    assert_eq!(keys(&found), ["table", "rows", "unreadable", "columns"]);
    assert_eq!((&found["table"], &found["rows"]), (&json!("orders.csv"), &json!(6)));
    let amount = column(&found, "amount");
    assert_eq!(
        keys(&amount),
        [
            "name",
            "type",
            "nulls",
            "misfits",
            "nan",
            "distinct",
            "min",
            "max",
            "mean",
            "stddev",
            "length",
            "blank",
            "patterns",
            "patterns_error",
            "top",
            "top_error",
            "reads_as"
        ]
    );
    assert_eq!((&amount["type"], &amount["nulls"]), (&json!("float64"), &json!(1)));
    assert_eq!(amount["distinct"], json!({ "count": 5, "exact": true }));
    assert_eq!((&amount["min"], &amount["max"], &amount["length"]), (&json!("-5.0"), &json!("12.0"), &Value::Null));
    assert!((amount["mean"].as_f64().unwrap() - 4.7).abs() < 1e-9);
    let placed = column(&found, "placed");
    assert_eq!((&placed["min"], &placed["max"]), (&json!("2024-01-01"), &json!("2024-01-06")));
    let status = column(&found, "status");
    assert_eq!((&status["nulls"], &status["min"], &status["blank"]), (&json!(1), &Value::Null, &json!(0)));
    assert_eq!(status["length"], json!({ "min": 4, "max": 4, "avg": 4.0 }));
    assert_eq!(
        status["patterns"],
        json!([{ "shape": "aaaa", "count": 4, "share": 0.8 }, { "shape": "AAAA", "count": 1, "share": 0.2 }])
    );
    assert_eq!(status["top"][0], json!({ "shape": "aaaa", "count": 2, "share": 0.4 }));
    assert!(!outcome.stdout.contains("paid") && !outcome.stdout.contains("open"), "{}", outcome.stdout);
    let shown = bench.run(&["profile", "p.yaml", "--format", "json", "--show-values"]).expect(0);
    let status = column(&table(&shown), "status");
    assert_eq!((&status["top"][0]["value"], &status["min"]), (&json!("open"), &json!("PAID")));
}

#[test]
fn a_profile_for_people_says_the_same() {
    let bench = bench("");
    let text = bench.run(&["profile", "p.yaml"]).expect(0).stdout;
    for line in [
        "orders.csv  (6 rows)",
        "  status  text",
        "    nulls      1 (16.67 %)",
        "    distinct   3",
        "    range      2024-01-01 to 2024-01-06",
        "    patterns   aaaa ×4 (80.00 %), AAAA ×1 (20.00 %)",
        "    frequent   aaaa ×2 (40.00 %), aaaa ×2 (40.00 %)",
        "    length     4 to 4, 4.00 on average",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
    bench.run(&["profile", "p.yaml", "--table", "nope*"]).expect(99).says("no tables were found");
    bench.run(&["profile", "--help"]).expect(0);
}

#[test]
fn texts_are_tried_as_other_types_and_misfits_are_no_nulls() {
    let bench = Bench::new();
    bench.write(
        "p.yaml",
        "version: 1\npipeline: p\nsource: { lake: { url: in, format: csv, csv: { types: { n: text, day: text, i: int64 } } } }\n\
         target: { lake: { url: out } }\ntables: [ { from: t.csv } ]\n",
    );
    bench.write("in/t.csv", "n,day,i\n1.50,2024-01-01,1\n-20.25,2024-01-02,x\n3,2024-01-03,3\n4,soon,4\n");
    let found = table(&bench.run(&["profile", "p.yaml", "--format", "json"]).expect(0));
    let reads = |name: &str| column(&found, name)["reads_as"].clone();
    assert_eq!(reads("n")[0], json!({ "type": "int64", "count": 2, "all": false }));
    assert_eq!(reads("n")[1], json!({ "type": "decimal(4,2)", "count": 4, "all": true }));
    assert_eq!(reads("day")[0], json!({ "type": "date", "count": 3, "all": false }));
    let i = column(&found, "i");
    assert_eq!((&i["type"], &i["nulls"], &i["misfits"]), (&json!("int64"), &json!(0), &json!(1)));
    assert_eq!(i["distinct"]["count"], 3);
}

#[test]
fn files_and_generated_tables_have_one_profile_whatever_the_limits_are() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: supplier\n  - from: nation\n"));
    let of = |args: &[&str]| bench.run(&[&["profile", "--format", "json"][..], args].concat()).expect(0);
    let source = of(&["p.yaml", "--table", "supplier", "--show-values"]);
    assert_eq!(table(&source)["rows"], 100);
    let alone = of(&["p.yaml", "--table", "supplier", "--show-values", "--parallel", "1", "--memory", "64MiB"]);
    assert_eq!(source.stdout, alone.stdout);
    bench.run(&["run", "p.yaml"]).expect(0);
    for target in [
        of(&["p.yaml", "--target", "--table", "sup*", "--show-values"]),
        of(&["lake", "--table", "supplier", "--show-values"]),
    ] {
        assert_eq!(table(&target)["columns"], table(&source)["columns"]);
    }
    assert_eq!(of(&["lake"]).last_line()["tables"].as_array().unwrap().len(), 2);
}

#[test]
fn many_different_values_are_estimated_and_said_to_be() {
    let bench = Bench::new();
    let rows: String = (0..150_000).map(|i| format!("{i}\n")).collect();
    bench.write("in/t.csv", format!("id\n{rows}"));
    let found = table(&bench.run(&["profile", "in", "--format", "json"]).expect(0));
    let distinct = &column(&found, "id")["distinct"];
    let count = distinct["count"].as_f64().unwrap();
    assert!(distinct["exact"] == false && (count - 150_000.0).abs() < 150_000.0 * 0.03, "{distinct}");
    assert!(bench.run(&["profile", "in"]).expect(0).stdout.contains("    distinct   about "));
    // An estimate suggests neither a key nor a rule.
    let draft = bench.run(&["discover", "in", "--checks"]).expect(0).stdout;
    assert!(draft.contains("# key: []") && !draft.contains("unique"), "{draft}");
}

/// Runs a draft and asserts that every check in it holds. Returns how many there are.
#[track_caller]
fn all_hold(bench: &Bench, draft: &str) -> u64 {
    bench.write("draft.yaml", draft);
    bench.run(&["check", "draft.yaml"]).expect(0);
    let outcome = bench.run(&["run", "draft.yaml"]).expect(0);
    let mut passed = 0;
    for table in outcome.last_line()["tables"].as_array().unwrap() {
        let checks = &table["checks"];
        assert_eq!(checks["failed"].as_array().map_or(0, Vec::len), 0, "{table}\n{draft}");
        passed += checks["passed"].as_u64().unwrap_or(0);
    }
    passed
}

#[test]
fn suggested_checks_hold_on_what_they_were_drawn_from() {
    let bench = Bench::new();
    let rows: String = (0..60)
        .map(|i| {
            let phone = if i % 4 == 0 { String::new() } else { format!("+49 {i}") };
            let status = ["open", "paid", "it's \"odd\", yes"][i % 3].replace('"', "\"\"");
            format!("{i},DE-{},\"{status}\",{}.5,2024-01-{:02},{phone},żółw {i}\n", 1000 + i, i / 2, i % 28 + 1)
        })
        .collect();
    bench.write("in/orders.csv", format!("id,code,status,amount,placed,phone,note\n{rows}"));
    bench.write(
        "p.yaml",
        "version: 1\npipeline: p\nsource: { lake: { url: in, format: csv, csv: { null_values: [\"\"] } } }\n\
         target: { lake: { url: out } }\ntables: [ { from: orders.csv } ]\n",
    );
    let draft = bench.run(&["discover", "p.yaml", "--checks"]).expect(0).stdout;
    for line in [
        "    key: [\"id\"]",
        "      - not_null: {\"columns\":[\"id\"]}",
        "      - unique: {\"columns\":[\"id\"]}",
        "      - pattern: {\"column\":\"code\",\"regex\":\"^[A-Z]{2}\\\\-[0-9]{4}$\",\"severity\":\"warn\"}",
        "      - accepted_values: {\"column\":\"status\",\"values\":[\"it's \\\"odd\\\", yes\",\"open\",\"paid\"],\"severity\":\"warn\"}",
        "      - range: {\"column\":\"amount\",\"min\":\"0.5\",\"max\":\"29.5\",\"severity\":\"warn\"}",
        "      - not_in_future: {\"columns\":[\"placed\"]}",
        "      - completeness: {\"column\":\"phone\",\"min\":\"75%\"}",
        "      # 3 different values in 60",
    ] {
        assert!(draft.lines().any(|l| l == line), "{line} is not in:\n{draft}");
    }
    assert!(all_hold(&bench, &draft) >= 12, "{draft}");
    // A pipeline without a look at the rows has no checks.
    assert!(!bench.run(&["discover", "p.yaml", "--pipeline"]).expect(0).stdout.contains("checks"));
}

#[test]
fn suggested_checks_hold_on_whole_databases() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n").replace("0.01", "0.001"));
    let draft = bench.run(&["discover", "p.yaml", "--checks"]).expect(0).stdout;
    assert!(draft.contains("    key: [\"o_orderkey\"]"), "{draft}");
    assert!(draft.contains("not_in_future: {\"columns\":[\"l_shipdate\"]}"), "{draft}");
    assert!(all_hold(&bench, &draft) > 60, "{draft}");
}

#[test]
fn from_few_rows_nothing_is_concluded() {
    let bench = bench("");
    let draft = bench.run(&["discover", "p.yaml", "--checks"]).expect(0).stdout;
    assert!(draft.contains("    # checks: []  # nothing is concluded from fewer than 20 rows"), "{draft}");
    assert_eq!(all_hold(&bench, &draft), 0);
}

/// What the only check of a table found.
fn found(bench: &Bench) -> String {
    let shown = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0).last_line();
    shown["run"]["findings"][0]["found"].as_str().unwrap().to_string()
}

const DRIFT: &str = "    checks: [ { drift: { columns: [amount, status], max: 20% } } ]\n";

#[test]
fn a_load_is_compared_with_the_last_one_that_was_published() {
    let bench = bench(DRIFT);
    // A plan makes no ledger to find out that there is none.
    assert!(bench.run(&["plan", "p.yaml"]).expect(0).stdout.contains("nothing to compare with yet"));
    assert!(!bench.path(".transload").exists());
    bench.run(&["run", "p.yaml"]).expect(0);
    assert!(found(&bench).starts_with("nothing to compare with: no run before this one"), "{}", found(&bench));
    let first = bench.newest_run();

    let plan = bench.run(&["plan", "p.yaml", "--save", "p.plan.json"]).expect(0).stdout;
    assert!(plan.contains(&format!("rows; nulls, mean of amount, status  against run {first}  error: stop")), "{plan}");
    // A plan has everything in it: the ledger is not asked again.
    bench.run(&["run", "--plan", "p.plan.json"]).expect(0);
    assert!(found(&bench).starts_with("4 figures; farthest since run "), "{}", found(&bench));
    let second = bench.newest_run();

    // Half of the rows is missing. What is not published is no measure for the next run.
    let half: String = ORDERS.lines().take(4).map(|l| format!("{l}\n")).collect();
    bench.write("in/orders.csv", half);
    for _ in 0..2 {
        bench.run(&["run", "p.yaml"]).expect(4).says("Q019 drift (amount, status) failed").says("rows 6 → 3 (50.00 %)");
        assert!(found(&bench).starts_with(&format!("since run {second}: ")), "{}", found(&bench));
    }

    // Who says that it is right publishes it once with a warning.
    write_pipeline(&bench, &DRIFT.replace("20%", "20%, severity: warn"));
    bench.run(&["run", "p.yaml"]).expect(0).says("1 warning");
    write_pipeline(&bench, DRIFT);
    bench.run(&["run", "p.yaml"]).expect(0);

    // Another rule, another pipeline and another table have nothing to do with it.
    write_pipeline(&bench, &DRIFT.replace("20%", "21%"));
    assert!(bench.run(&["plan", "p.yaml"]).expect(0).stdout.contains("nothing to compare with yet"));
    write_pipeline(&bench, DRIFT);
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    for (from, to) in [("pipeline: test", "pipeline: other"), ("to: orders", "to: others")] {
        bench.write("q.yaml", text.replace(from, to));
        assert!(bench.run(&["plan", "q.yaml"]).expect(0).stdout.contains("nothing to compare with yet"));
    }
}

#[test]
fn figures_are_kept_without_values_and_survive_a_kill() {
    let bench = bench(DRIFT);
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    bench.run(&["resume", &bench.newest_run()]).expect(0);
    let shown = bench.run(&["show", &bench.newest_run(), "--format", "json"]).expect(0);
    let figures = &shown.last_line()["run"]["receipts"][0]["checks"][0]["figures"];
    assert_eq!(figures["rows"], 6);
    assert_eq!(figures["columns"]["status"], json!({ "type": "text", "nulls": 1 }));
    let amount = &figures["columns"]["amount"];
    assert_eq!((&amount["type"], &amount["nulls"]), (&json!("decimal(8,2)"), &json!(1)));
    assert_eq!((&amount["min"], &amount["max"]), (&json!("-5.00"), &json!("12.00")));
    assert!((amount["mean"].as_f64().unwrap() - 4.7).abs() < 1e-9, "{amount}");
    assert!(!shown.stdout.contains("paid"), "{}", shown.stdout);
    bench.run(&["run", "p.yaml"]).expect(0);
    assert!(found(&bench).starts_with("4 figures; "), "{}", found(&bench));
}

#[test]
fn what_has_no_mean_is_refused_when_a_plan_is_made() {
    let bench = bench("    checks: [ { drift: { columns: [status], of: [mean], max: 20% } } ]\n");
    bench.run(&["plan", "p.yaml"]).expect(3).says("`drift` needs numbers of at most 38 digits, dates");
}
