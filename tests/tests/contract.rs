//! Checks and data contracts: what a pipeline exports is a contract by the standard, and comes back as the same plan.

use serde_json::{Value, json};

use crate::harness::{Bench, root, updates_golden};

const HEAD: &str =
    "version: 1\npipeline: nations\nsource: { tpch: { scale: 0.01 } }\ntarget: { lake: { url: lake } }\n";

/// Checks of every way into a contract.
const TABLES: &str = r#"tables:
  - from: nation
    checks:
      - row_count: { min: 1, max: 100 }
      - not_null: [n_nationkey, n_name]
      - not_null: { columns: [n_comment], action: quarantine, threshold: 5% }
      - unique: [n_nationkey]
      - unique: { columns: [n_regionkey, n_name], severity: warn, threshold: 2 }
      - accepted_values: { column: n_regionkey, values: [0, 1, 2, 3, 4], threshold: 0.5% }
      - pattern: { column: n_name, regex: '^[A-Z ]+$', where: "n_regionkey = 1" }
      - range: { column: n_nationkey, min: 0, below: "25.5" }
      - expression: { sql: "length(n_name) < 30\n  or n_name = 'größer: #1'", severity: info }
      - schema: { columns: { n_nationkey: int64, n_name: text }, others: true }
"#;

/// A file of `tests/odcs`.
fn file(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/odcs").join(name)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// What the standard's own schema says against a contract.
fn faults(contract: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(&file("v3.1.0.schema.json")).unwrap();
    let validator = jsonschema::draft201909::new(&schema).unwrap();
    validator.iter_errors(&yaml(contract)).map(|e| e.to_string()).collect()
}

/// A bench with the contract of a shop.
fn shop() -> Bench {
    let bench = Bench::new();
    bench.write("shop.yaml", file("shop.yaml"));
    bench
}

/// The golden file holds the contract; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn a_pipeline_becomes_a_contract_of_the_standard() {
    let bench = Bench::new();
    bench.write("p.yaml", format!("{HEAD}{TABLES}"));
    let contract = bench.run(&["contract", "export", "p.yaml"]).expect(0).stdout;
    assert_eq!(faults(&contract), Vec::<String>::new());
    let golden = root().join("tests/odcs/nations.yaml");
    if updates_golden() {
        std::fs::write(&golden, &contract).unwrap();
    }
    assert_eq!(contract, file("nations.yaml"));
    let json = bench.run(&["contract", "export", "p.yaml", "--format", "json"]).expect(0).last_line();
    assert_eq!(json, yaml(&contract));
}

#[test]
fn a_contract_comes_back_as_the_same_plan() {
    let bench = Bench::new();
    bench.write("p.yaml", format!("{HEAD}{TABLES}"));
    let contract = bench.run(&["contract", "export", "p.yaml"]).expect(0).stdout;
    bench.write("c.yaml", contract);
    let tables = bench.run(&["contract", "import", "c.yaml"]).expect(0).stdout;
    bench.write("again.yaml", format!("{HEAD}{tables}"));
    let plan = |pipeline: &str| bench.run(&["plan", pipeline, "--format", "json"]).expect(0).stdout;
    let (plan, again) = (plan("p.yaml"), plan("again.yaml"));
    let checks = &serde_json::from_str::<Value>(&plan).unwrap()["tables"][0]["checks"];
    assert_eq!(checks.as_array().map(Vec::len), Some(11), "{checks}");
    assert_eq!(plan, again);
}

#[test]
fn a_contract_of_others_becomes_checks() {
    assert_eq!(faults(&file("shop.yaml")), Vec::<String>::new());
    let bench = shop();
    let printed = bench.run(&["contract", "import", "shop.yaml", "--table", "orders"]).expect(0).stdout;
    let missing = "\"status\" IS NOT NULL AND \"status\" NOT IN ('', 'n/a')";
    assert_eq!(
        yaml(&printed),
        json!({ "tables": [{ "from": "orders", "checks": [
            { "not_null": { "columns": ["order_id"] } },
            { "unique": { "columns": ["order_id"], "severity": "error" } },
            { "accepted_values": { "column": "status", "values": ["open", "paid", "cancelled"] } },
            { "expression": { "sql": missing, "severity": "warn", "threshold": "1.9999999999999991%" } },
            { "not_null": { "columns": ["customer_id"], "threshold": 10 } },
            { "pattern": { "column": "code", "regex": "^[A-Z]{2}-[0-9]{4}$", "threshold": "0.5%" } },
            { "row_count": { "min": 1, "severity": "error" } },
            { "unique": { "columns": ["customer_id", "code"], "severity": "info" } },
        ] }] })
    );
    bench.write("p.yaml", format!("{HEAD}{printed}").replace("tpch: { scale: 0.01 }", "lake: { url: in }"));
    bench.run(&["check", "p.yaml"]).expect(0);
}

/// Where the rules stand that cannot be executed: a text, a query, another engine's, a part of a column, a count.
const UNSUPPORTED: [&str; 5] = ["shop.yaml:85:", "shop.yaml:87:", "shop.yaml:91:", "shop.yaml:102:", "shop.yaml:106:"];

#[test]
fn rules_that_cannot_be_executed_are_refused_at_their_places() {
    let bench = shop();
    let outcome = bench.run(&["contract", "import", "shop.yaml"]).expect(3).says("`--skip-unsupported` leaves out");
    for place in UNSUPPORTED {
        assert!(outcome.stderr.contains(&format!("--> {place}")), "{place}: {}", outcome.stderr);
    }
    assert!(outcome.stdout.is_empty() && outcome.stderr.contains("5 problems found"), "{outcome:?}");
    let json = bench.run(&["contract", "import", "shop.yaml", "--format", "json"]).expect(3).last_line();
    assert_eq!(json["problems"].as_array().unwrap().len(), 5);
}

#[test]
fn they_can_be_left_out_and_are_listed() {
    let bench = shop();
    let args = ["contract", "import", "shop.yaml", "--skip-unsupported", "--table", "order_*"];
    let outcome = bench.run(&args).expect(0);
    for place in UNSUPPORTED {
        assert!(outcome.stderr.contains(&format!("left out: {place}")), "{place}: {}", outcome.stderr);
    }
    let expected = json!({ "tables": [
        { "from": "order_lines", "checks": [{ "not_null": { "columns": ["amount"] } }] },
    ] });
    assert_eq!(yaml(&outcome.stdout), expected);
    let json = bench.run(&[&args[..], &["--format", "json"][..]].concat()).expect(0).last_line();
    assert_eq!(json["tables"], expected["tables"]);
    assert_eq!(json["skipped"][0]["line"], 85);
}

#[test]
fn what_is_no_contract_of_a_known_version_is_3() {
    let bench = shop();
    for (name, old, new, said) in [
        ("newer.yaml", "v3.1.0", "v3.2.0", "this contract is written in v3.2.0 of the standard; this program knows"),
        ("older.yaml", "v3.1.0", "v2.2.2", "convert it to v3.1.0"),
        ("other.yaml", "DataContract", "DataProduct", "this is not a data contract"),
        ("wrong.yaml", "mustBeGreaterThan: 0", "mustBeGreaterTan: 0", "did you mean `mustBeGreaterThan`?"),
        ("metric.yaml", "metric: nullValues", "metric: nullvalues", "did you mean `nullValues`?"),
    ] {
        bench.write(name, file("shop.yaml").replace(old, new));
        let outcome = bench.run(&["contract", "import", name, "--skip-unsupported"]).expect(3).says(said);
        assert!(outcome.stdout.is_empty() && outcome.stderr.contains(&format!("--> {name}:")), "{outcome:?}");
    }
    bench.run(&["contract", "import", "none.yaml"]).expect(3).says("none.yaml");
    bench.run(&["contract", "import", "shop.yaml", "--table", "customers"]).expect(99).says("has no rules");
}

#[test]
fn tables_are_chosen_by_name_and_those_of_a_wildcard_only_so() {
    let bench = Bench::new();
    bench.write("p.yaml", format!("{HEAD}defaults: {{ checks: [ {{ row_count: {{ min: 1 }} }} ] }}\ntables: [ {{ from: 'n*' }}, {{ from: part }} ]\n"));
    let names = |args: &[&str]| -> Vec<String> {
        let contract = bench.run(&[&["contract", "export", "p.yaml"][..], args].concat()).expect(0).stdout;
        assert_eq!(faults(&contract), Vec::<String>::new());
        yaml(&contract)["schema"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names(&[]), ["part"]);
    assert_eq!(names(&["--table", "nation"]), ["nation"]);
    assert_eq!(names(&["--table", "nation", "--table", "p*"]), ["nation", "part"]);
    bench.run(&["contract", "export", "p.yaml"]).expect(0).says("left out: n*");
    bench.run(&["contract", "export", "p.yaml", "--table", "x"]).expect(99).says("no table fits");
    bench.write("bad.yaml", format!("{HEAD}tables: [ {{ from: part, checks: [ {{ rnage: {{}} }} ] }} ]\n"));
    bench.run(&["contract", "export", "bad.yaml"]).expect(3).says("did you mean `range`?");
}
