//! Checks that look at another table, end to end: of the pipeline, of the source, of the target.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome, tpch_pipeline};

const CUSTOMERS: &str = "id,country\n1,DE\n2,FR\n3,DE\n";
const ORDERS: &str = "id,customer_id,country\n10,1,DE\n11,2,FR\n12,9,DE\n13,,XX\n14,9,DE\n";

/// A table of a pipeline over CSV files in `in`, with keys as whole numbers even where a file has no rows.
const CUSTOMERS_TABLE: &str = "  - from: customers\n    key: [id]\n    columns: { id: { cast: int64 } }\n";

fn orders_table(checks: &str) -> String {
    let columns = "{ id: { cast: int64 }, customer_id: { cast: int64 } }";
    format!("  - from: orders\n    key: [id]\n    columns: {columns}\n    checks:\n{checks}")
}

fn write_pipeline(bench: &Bench, tables: &str) {
    let text = format!(
        "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
         tables:\n{tables}"
    );
    bench.write("p.yaml", text);
}

/// A bench with customers and orders, and a pipeline with these tables.
fn bench(tables: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in/customers.csv", CUSTOMERS);
    bench.write("in/orders.csv", ORDERS);
    write_pipeline(&bench, tables);
    bench
}

fn key(rest: &str) -> String {
    format!("      - foreign_key: {{ columns: [customer_id], references: {{ table: customers, columns: [id]{rest} }}")
}

/// What the last line says of a table.
fn said(outcome: &Outcome, table: &str) -> Value {
    let line = outcome.last_line();
    line["tables"].as_array().unwrap().iter().find(|t| t["table"] == table).unwrap().clone()
}

/// The failed checks of the orders: how many rows break each, and how many were looked at.
fn failed(outcome: &Outcome) -> Vec<(String, Option<u64>, u64)> {
    let checks = said(outcome, "orders")["checks"]["failed"].as_array().unwrap().clone();
    let one =
        |f: &Value| (f["code"].as_str().unwrap().to_string(), f["failed"].as_u64(), f["evaluated"].as_u64().unwrap());
    checks.iter().map(one).collect()
}

fn broken(rows: u64, of: u64) -> Vec<(String, Option<u64>, u64)> {
    vec![("Q012".to_string(), Some(rows), of)]
}

#[test]
fn a_row_without_its_counterpart_stops_its_table_and_no_other() {
    let bench = bench(&format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + " }\n"))));
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("Q012 foreign_key (customer_id) failed");
    assert_eq!(failed(&outcome), broken(2, 4));
    let found = &said(&outcome, "orders")["checks"]["failed"][0];
    assert_eq!(found["shapes"], json!([["9", 2]]));
    assert_eq!(found["expected"], "values that are in customers (id)");
    assert_eq!(found["found"], "2 of 4 rows break it (50.00 %)");
    assert_eq!(found["values"], Value::Null);
    assert!(bench.all_files("out/orders").is_empty());
    assert_eq!(said(&outcome, "customers")["verdict"], "match");
    let shown = bench.run(&["run", "p.yaml", "--show-values"]).expect(4);
    assert_eq!(said(&shown, "orders")["checks"]["failed"][0]["values"], json!(["9"]));
}

#[test]
fn policy_threshold_and_where_work_as_ever() {
    let bench = bench(&format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + ", threshold: 2 }\n"))));
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + ", threshold: 49% }\n"))));
    bench.run(&["run", "p.yaml"]).expect(4).says("49% may");
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + ", where: \"id < 14\" }\n"))));
    assert_eq!(failed(&bench.run(&["run", "p.yaml"]).expect(4)), broken(1, 3));
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + ", severity: warn }\n"))));
    let outcome = bench.run(&["run", "p.yaml"]).expect(0).says("1 warning");
    assert_eq!(failed(&outcome), broken(2, 4));
}

#[test]
fn a_table_of_the_pipeline_is_what_goes_to_the_target() {
    let filtered = "  - from: customers\n    to: people\n    key: [id]\n    filter: \"id <> 2\"\n\
                    \x20   columns: { id: { cast: int64, rename: number } }\n";
    let check = "      - foreign_key: { columns: [customer_id], references: { table: people, columns: [number] } }\n";
    let bench = bench(&format!("{}{}", filtered, orders_table(check)));
    assert_eq!(failed(&bench.run(&["run", "p.yaml"]).expect(4)), broken(3, 4));
    let aside = "  - from: customers\n    to: people\n    key: [id]\n\
                 \x20   columns: { id: { cast: int64, rename: number } }\n    checks:\n\
                 \x20     - accepted_values: { column: country, values: [DE], action: quarantine }\n";
    write_pipeline(&bench, &format!("{aside}{}", orders_table(check)));
    assert_eq!(failed(&bench.run(&["run", "p.yaml"]).expect(4)), broken(3, 4));
}

#[test]
fn a_table_that_is_not_loaded_now_is_looked_at_all_the_same() {
    let bench = bench(&format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + ", threshold: 2 }\n"))));
    let plan = bench.run(&["plan", "p.yaml", "--table", "orders"]).expect(0).stdout;
    assert!(plan.contains("looks at customers of the pipeline"), "{plan}");
    let outcome = bench.run(&["run", "p.yaml", "--table", "orders"]).expect(0);
    assert_eq!(outcome.last_line()["tables"].as_array().unwrap().len(), 1);
    assert!(bench.all_files("out/customers").is_empty());
}

#[test]
fn an_incremental_table_counts_whole() {
    let customers = format!("{CUSTOMERS_TABLE}    mode: {{ incremental: {{ cursor: id }} }}\n");
    let bench = bench(&format!("{customers}{}", orders_table(&(key("") + ", threshold: 2 }\n"))));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(0);
    let count = "      - row_count: { same_as: { table: customers } }\n";
    write_pipeline(&bench, &format!("{customers}{}", orders_table(count)));
    bench.run(&["run", "p.yaml"]).expect(4).says("5 rows, and 0 in customers");
}

#[test]
fn any_table_of_the_source_can_be_looked_at() {
    let bench = bench(&orders_table(&(key(", in: source") + " }\n")));
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("values that are in customers of the source (id)");
    assert_eq!(failed(&outcome), broken(2, 4));
    bench.write("in/customers.csv", format!("{CUSTOMERS}9,DE\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn any_table_of_the_target_can_be_looked_at_but_not_one_that_changes() {
    let bench = bench(CUSTOMERS_TABLE);
    bench.run(&["run", "p.yaml"]).expect(0);
    let orders = orders_table(&(key(", in: target") + " }\n"));
    write_pipeline(&bench, &orders);
    assert_eq!(failed(&bench.run(&["run", "p.yaml"]).expect(4)), broken(2, 4));
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{orders}"));
    bench.run(&["check", "p.yaml"]).expect(3).says("changes with the load");
    // A table that only a pattern names is known when a plan is made.
    std::fs::remove_file(bench.path("in/customers.csv")).unwrap();
    bench.write("in/customers/all.csv", CUSTOMERS);
    write_pipeline(&bench, &format!("{}{orders}", CUSTOMERS_TABLE.replace("customers", "cust*")));
    bench.run(&["check", "p.yaml"]).expect(0);
    bench.run(&["plan", "p.yaml"]).expect(3).says("changes with the load");
}

#[test]
fn a_table_without_rows_has_nothing_and_misses_nothing() {
    let bench = bench(CUSTOMERS_TABLE);
    bench.write("in/customers.csv", "id,country\n");
    bench.run(&["run", "p.yaml"]).expect(9);
    for place in ["source", "target", "pipeline"] {
        let orders = orders_table(&(key(&format!(", in: {place}")) + " }\n"));
        let tables = if place == "pipeline" { format!("{CUSTOMERS_TABLE}{orders}") } else { orders };
        let tables = tables.replace("customer_id: { cast: int64 }", "customer_id: { cast: text }");
        // A file without rows says nothing of its types.
        let tables = if place == "source" { tables } else { tables.replace("cast: text", "cast: int64") };
        write_pipeline(&bench, &tables);
        assert_eq!(failed(&bench.run(&["run", "p.yaml"]).expect(4)), broken(4, 4), "{place}");
    }
    bench.write("in/customers.csv", CUSTOMERS);
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + " }\n      - unique: [id]\n"))));
    bench.write("in/orders.csv", "id,customer_id,country\n10,,DE\n11,,DE\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("in/orders.csv", "id,customer_id,country\n");
    bench.run(&["run", "p.yaml"]).expect(9);
}

#[test]
fn several_columns_are_one_key_and_a_table_can_refer_to_itself() {
    let check = "      - foreign_key: { columns: [customer_id, country], references: { table: customers, columns: [id, country] } }\n\
                 \x20     - foreign_key: { columns: [customer_id], references: { table: orders, columns: [id] }, severity: warn }\n";
    let bench = bench(&format!("{CUSTOMERS_TABLE}{}", orders_table(check)));
    bench.write("in/orders.csv", "id,customer_id,country\n1,1,DE\n2,1,FR\n3,,FR\n4,2,\n5,2,FR\n");
    let outcome = bench.run(&["run", "p.yaml"]).expect(4);
    assert_eq!(failed(&outcome), broken(1, 3));
    assert_eq!(said(&outcome, "orders")["checks"]["failed"][0]["shapes"], json!([["9, AA", 1]]));
}

#[test]
fn types_are_compared_exactly_or_not_at_all() {
    let narrow = |ty: &str| {
        let orders = orders_table(&(key("") + ", threshold: 2 }\n"));
        format!(
            "{CUSTOMERS_TABLE}{}",
            orders.replace("customer_id: { cast: int64", &format!("customer_id: {{ cast: {ty}"))
        )
    };
    let bench = bench(&narrow("int32"));
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, &narrow("\"decimal(9,2)\""));
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, &narrow("text"));
    bench.run(&["plan", "p.yaml"]).expect(3).says("values of these types cannot be compared exactly");
    write_pipeline(&bench, &narrow("float64"));
    bench.run(&["plan", "p.yaml"]).expect(3).says("`foreign_key` needs numbers (but no floats)");
}

#[test]
fn what_cannot_be_looked_at_is_3_before_anything_moves() {
    let bench = bench(&orders_table(&(key("") + " }\n")));
    bench.run(&["check", "p.yaml"]).expect(3).says("the pipeline has no table `customers`");
    for (rest, said) in [
        (
            key(", in: source").replace("customers", "clients"),
            "`clients` cannot be looked at: there is no table `clients`",
        ),
        (key(", in: target"), "`customers` cannot be looked at"),
        (key(", in: source").replace("[id]", "[idd]"), "`customers` has no column `idd`"),
    ] {
        write_pipeline(&bench, &orders_table(&(rest + " }\n")));
        bench.run(&["check", "p.yaml"]).expect(0);
        bench.run(&["run", "p.yaml"]).expect(3).says(said);
    }
    bench.write("out/customers/part.parquet", "no Parquet at all");
    write_pipeline(&bench, &orders_table(&(key(", in: target") + " }\n")));
    bench.run(&["run", "p.yaml"]).expect(3).says("`customers` cannot be looked at");
    // A default that is about no column of the table needs no other table.
    write_pipeline(
        &bench,
        &format!(
            "{CUSTOMERS_TABLE}defaults:\n  checks:\n{}",
            key(", in: source").replace("customers", "clients").replace("      -", "    -") + " }\n"
        ),
    );
    bench.run(&["plan", "p.yaml"]).expect(0);
}

#[test]
fn a_plan_is_refused_when_the_other_table_has_changed() {
    let bench = bench(&orders_table(&(key(", in: source") + ", threshold: 2 }\n")));
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    bench.run_with_faults(&["run", "--plan", "plan.json"], "unit.journaled=return(kill)").expect(-1);
    bench.write("in/customers.csv", format!("{CUSTOMERS}4,DE\n"));
    bench.run(&["resume", &bench.newest_run()]).expect(3).says("the file changed after it was pinned");
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("the file changed after it was pinned");
}

#[test]
fn a_killed_run_looks_again() {
    let bench = bench(&format!("{CUSTOMERS_TABLE}{}", orders_table(&(key("") + " }\n"))));
    bench.run_with_faults(&["run", "p.yaml", "--table", "orders"], "unit.journaled=return(kill)").expect(-1);
    assert_eq!(failed(&bench.run(&["resume", &bench.newest_run()]).expect(4)), broken(2, 4));
}

#[test]
fn rows_are_counted_against_another_table() {
    let same = |rest: &str| orders_table(&format!("      - row_count: {{ same_as: {{ {rest} }} }}\n"));
    let bench = bench(&format!("{CUSTOMERS_TABLE}{}", same("table: customers")));
    let outcome = bench.run(&["run", "p.yaml"]).expect(4).says("5 rows, and 3 in customers");
    assert_eq!(failed(&outcome), [("Q014".to_string(), None, 5)]);
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{}", same("table: customers, within: 66%")));
    bench.run(&["run", "p.yaml"]).expect(4).says("as many rows as customers, give or take 66%");
    write_pipeline(&bench, &format!("{CUSTOMERS_TABLE}{}", same("table: customers, within: 67%")));
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, &same("table: orders, in: source"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let some =
        "      - row_count: { same_as: { table: customers, in: target }, where: \"customer_id < 9 or id = 13\" }\n";
    write_pipeline(&bench, &orders_table(some));
    bench.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn different_values_are_counted_exactly() {
    let counted = |limits: &str| {
        orders_table(&format!("      - aggregate: {{ column: customer_id, of: count_distinct, {limits} }}\n"))
    };
    let bench = bench(&counted("min: 3, max: 3"));
    bench.run(&["run", "p.yaml"]).expect(0);
    write_pipeline(&bench, &counted("above: 3"));
    bench.run(&["run", "p.yaml"]).expect(4).says("count_distinct 3 of 4 values");
}

/// A tenth of all line items, of which one in a hundred has another key, against all of them: by many columns, so that
/// keys are long. A rule about single rows is broken by the same rows.
fn long_keys(memory: &str) -> Outcome {
    let bench = Bench::with(vec![("TRANSLOAD_LOG", "info".to_string())]);
    let columns = "l_linenumber, l_comment, l_shipinstruct, l_extendedprice, l_quantity, l_discount, l_tax";
    let references = format!("{{ table: lineitem, columns: [l_orderkey, {columns}], in: source }}");
    let table = format!(
        "  - from: lineitem\n    filter: \"l_orderkey % 10 = 0\"\n    reconcile: {{ level: none }}\n\
         \x20   derive: {{ number: \"CASE WHEN l_orderkey % 1000 = 0 THEN l_orderkey + 1 ELSE l_orderkey END\" }}\n\
         \x20   checks:\n\
         \x20     - foreign_key: {{ columns: [number, {columns}], references: {references}, severity: warn }}\n\
         \x20     - expression: {{ sql: \"l_orderkey % 1000 <> 0\", severity: warn }}\n"
    );
    bench.write("p.yaml", tpch_pipeline(&table).replace("0.01", "0.1"));
    bench.run(&["run", "p.yaml", "--memory", memory]).expect(0)
}

#[test]
fn keys_that_do_not_fit_into_memory_are_sorted_and_the_same_is_found() {
    let (in_memory, sorted) = (long_keys("2GiB"), long_keys("64MiB"));
    let log = "keys do not fit into memory: sorting them";
    assert!(!in_memory.stderr.contains(log) && sorted.stderr.contains(log), "{}", sorted.stderr);
    let table = said(&sorted, "lineitem");
    assert_eq!(table["checks"], said(&in_memory, "lineitem")["checks"]);
    let found = table["checks"]["failed"].as_array().unwrap();
    assert_eq!((found.len(), found[0]["evaluated"].as_u64()), (2, table["written"].as_u64()));
    assert_eq!(found[0]["failed"], found[1]["failed"]);
    assert!(found[0]["failed"].as_u64() > Some(100), "{found:?}");
}
