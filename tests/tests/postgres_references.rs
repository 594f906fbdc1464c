//! Rules that look at tables of a PostgreSQL server beside those that are loaded: in the source, and in the target.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome};
use crate::postgres::{Database, pipeline};

const CUSTOMERS: &str = "create table customers (id int primary key);
    insert into customers select generate_series(1, 10);";

/// Orders of these customers, one of which has an amount that is no number.
const ORDERS: &str = "create table orders (id int primary key, customer int not null, amount text not null);
    insert into orders select i, 1 + i % 10, case when i = 3 then 'much' else i::text end from generate_series(1, 50) i;";

/// Two databases with customers, of which the first has orders, too; and a pipeline that brings these into the second.
fn bench(name: &str, looks_at: &[&str]) -> (Database<'static>, Bench) {
    let (from, to) = (Database::new(&format!("{name}_from")), Database::new(&format!("{name}_to")));
    from.sql(&format!("{CUSTOMERS}{ORDERS}"));
    to.sql(CUSTOMERS);
    let rule = |place: &&str| {
        let customers = format!("{{ table: customers, columns: [id], in: {place} }}");
        format!("{{ foreign_key: {{ columns: [customer], references: {customers} }} }}")
    };
    let rules: Vec<String> = looks_at.iter().map(rule).collect();
    let amount = "columns: { amount: { cast: int32, on_misfit: quarantine } }";
    let table = format!("  - {{ from: orders, to: orders, key: [id], {amount}, checks: [ {} ] }}\n", rules.join(", "));
    let bench = from.bench();
    bench.write("p.yaml", pipeline(&from.connection(), &to.connection(), &table));
    (to, bench)
}

/// What the last line says of the checks: how many passed, and those that did not.
fn checks(outcome: &Outcome) -> (u64, Value) {
    let checks = outcome.last_line()["tables"][0]["checks"].clone();
    (checks["passed"].as_u64().unwrap(), json!([checks["failed"], checks["not_judged"]]))
}

#[test]
fn a_rule_looks_into_the_server_that_rows_go_to() {
    let (to, bench) = bench("looks_into", &["target"]);
    let done = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!((checks(&done), to.value("select count(*) from orders").as_str()), ((1, json!([[], []])), "49"));
    // Whoever goes on with a load looks at the table as it is by then.
    bench.run_with_faults(&["run", "p.yaml"], "unit.journaled=return(kill)").expect(-1);
    let killed = bench.newest_run();
    to.sql("insert into customers values (11); delete from customers where id = 10;");
    bench.run(&["resume", &killed]).expect(4).says("foreign_key").says("table customers is looked at anew");
}

#[test]
fn a_replay_looks_into_both_servers() {
    let (to, bench) = bench("replay_looks", &["source", "target"]);
    bench.run(&["run", "p.yaml"]).expect(0);
    let loaded = bench.newest_run();
    bench.write("patch.csv", "_split,_position,amount\n0,2,7\n");
    let done = bench.run(&["replay", &loaded, "--patch", "patch.csv"]).expect(0);
    // The key is held against the rows that are there already.
    assert_eq!((checks(&done), &done.last_line()["tables"][0]["verdict"]), ((3, json!([[], []])), &json!("match")));
    assert_eq!(to.value("select count(*) = count(distinct id) and count(*) = 50 from orders"), "t");
    bench.run(&["replay", &loaded]).expect(99);
}
