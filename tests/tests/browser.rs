//! The report as people meet it: in a real browser, wide and narrow, by day and by night, with a keyboard, on paper.
//! `tests/browser/look.py` looks, and leaves pictures of what it saw beside the build, for a person to look at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Bench, browser, root, run_python, tpch_pipeline};

/// Makes a report of the newest run of a bench.
fn report(bench: &Bench, folder: &Path, name: &str) -> String {
    let file = folder.join(name).with_extension("html");
    bench.run(&["report", &bench.newest_run(), "--output", file.to_str().unwrap()]).expect(0);
    std::fs::read_to_string(file).unwrap()
}

/// What is wrong with the pages of a folder.
fn look(folder: &Path) -> Vec<Value> {
    let script = std::fs::read_to_string(root().join("tests/browser/look.py")).unwrap();
    let said = run_python(&script, &[browser(), folder.to_str().unwrap()]);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An empty folder beside the build.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Several tables, all of which match.
fn all_match(folder: &Path) {
    let bench = Bench::new();
    let tables = "  - from: nation\n    key: [n_nationkey]\n  - from: customer\n    key: [c_custkey]\n    \
                  columns: { c_phone: { mask: partial }, c_comment: { drop: true }, c_acctbal: { cast: \"decimal(12,2)\" } }\n    \
                  partition_by: [ { identity: c_mktsegment } ]\n    \
                  checks: [ { not_null: [c_name] }, { unique: [c_custkey] }, { range: { column: c_acctbal, min: -1000 } } ]\n";
    bench.write("p.yaml", tpch_pipeline(tables));
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench, folder, "match");
    assert!(page.contains("every one of them matches its source") && !page.contains("class=\"course\""), "{page}");
}

/// One table that puts rows aside and one that a check stops, each time worse than before.
fn stopped(folder: &Path) {
    let bench = Bench::new();
    let customers: String = (0..50).map(|id| format!("{id},Person {id},555-01{id:02}\n")).collect();
    bench.write("in/customers.csv", format!("id,name,phone\n{customers}"));
    bench.write(
        "p.yaml",
        "version: 1\npipeline: shop\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
         tables:\n  - from: customers\n    key: [id]\n    \
         columns: { id: { cast: int64 }, phone: { mask: partial } }\n    checks:\n      \
         - range: { column: id, min: 3, action: quarantine }\n      \
         - completeness: { column: name, min: 99%, severity: warn }\n  - from: orders\n    key: [id]\n    \
         columns: { id: { cast: int64 }, amount: { cast: \"decimal(8,2)\" } }\n    checks:\n      \
         - range: { column: amount, min: 0, threshold: 3% }\n      - not_null: [status]\n      \
         - accepted_values: { column: status, values: [open, paid], severity: warn }\n      \
         - expression: { sql: \"amount < 100\", severity: info }\n",
    );
    for (bad, code) in [(0, 0), (1, 0), (9, 4), (20, 4)] {
        let row = |id: i32| {
            let (status, sign) = if id < bad { ("opne", "-") } else { ("open", "") };
            format!("{id},{status},{sign}{}.25\n", id * 7 % 120)
        };
        bench.write("in/orders.csv", format!("id,status,amount\n{}", (0..100).map(row).collect::<String>()));
        bench.run(&["run", "p.yaml"]).expect(code);
    }
    let page = report(&bench, folder, "stopped");
    for said in ["Stopped by a quality check", "Rows put aside", "over 4 runs", "Warning", "Note", "Passed", "***"] {
        assert!(page.contains(said), "`{said}` is not in:\n{page}");
    }
}

/// A target that is not what the source has become.
fn mismatch(folder: &Path) {
    let bench = Bench::new();
    let rows = |ids: std::ops::Range<i32>, of: fn(i32) -> i32| -> String {
        let rows = ids.map(|id| format!("{id},{}.50,text {}\n", of(id), id % 7));
        format!("id,amount,note\n{}", rows.collect::<String>())
    };
    bench.write("in/orders.csv", rows(0..200, |id| id));
    bench.write(
        "p.yaml",
        "version: 1\npipeline: cutover\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
         tables:\n  - from: orders\n    to: bronze_orders\n    key: [id]\n    \
         columns: { amount: { cast: \"decimal(8,2)\" } }\n",
    );
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("in/orders.csv", rows(5..210, |id| if id % 11 == 0 { -id } else { id }));
    bench.run(&["reconcile", "p.yaml"]).expect(5);
    let page = report(&bench, folder, "mismatch");
    assert!(page.contains("Missing in the target") && page.contains("orders → bronze_orders"), "{page}");
}

/// A table with long names, sixty columns and rows that were put aside.
fn wide(folder: &Path) {
    let bench = Bench::new();
    let table = "a_table_with_a_name_that_goes_on_and_on_as_those_of_data_warehouses_written_by_programs_do";
    let column = |n: usize| format!("column_{n:02}_with_a_long_name_such_as_customer_relationship_status_code");
    let names: Vec<String> = std::iter::once("id".to_string()).chain((1..60).map(column)).collect();
    let row = |id: i32| (1..=60).map(|n| (-id * n).to_string()).collect::<Vec<_>>().join(",");
    let rows: Vec<String> = (1..30).map(row).collect();
    bench.write(&format!("in/{table}.csv"), format!("{}\n{}\n", names.join(","), rows.join("\n")));
    let pipeline = json!({
        "version": 1,
        "pipeline": "a_pipeline_with_a_name_that_is_just_about_as_long_as_it_may_be",
        "source": { "lake": { "url": "in", "format": "csv" } },
        "target": { "lake": { "url": "out" } },
        "tables": [{
            "from": table,
            "key": ["id"],
            "columns": {
                column(1): { "cast": "int16" },
                column(5): { "mask": "partial" },
                column(59): { "cast": "int8", "on_misfit": "null_counted" },
            },
            "checks": [
                { "range": { "column": column(3), "min": -20, "action": "quarantine" } },
                { "range": { "column": column(9), "max": 0 } },
                { "unique": { "columns": names[..10] } },
            ],
        }],
    });
    bench.write("p.yaml", pipeline.to_string());
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench, folder, "wide");
    for said in ["more casts that lost nothing", "Columns whose values were compared", "more columns are left out"] {
        assert!(page.contains(said), "`{said}` is not in:\n{page}");
    }
}

#[test]
fn reports_are_legible_everywhere_and_need_no_mouse() {
    let folder = folder();
    for make in [all_match, stopped, mismatch, wide] {
        make(&folder);
    }
    let wrong: Vec<String> = look(&folder).iter().map(Value::to_string).collect();
    assert!(wrong.is_empty(), "pictures are in {}:\n{}", folder.display(), wrong.join("\n"));
    let pictures = std::fs::read_dir(&folder).unwrap().flatten();
    assert_eq!(pictures.filter(|file| file.path().extension().is_some_and(|e| e == "png")).count(), 4 * 2 * 2);
}

/// Who finds nothing wrong with a good page has to find what is wrong with a bad one.
#[test]
fn a_bad_page_is_seen_to_be_bad() {
    let bench = Bench::new();
    bench.write("pages/bad.html", std::fs::read(root().join("tests/browser/bad.html")).unwrap());
    let wrong = look(&bench.path("pages"));
    let kinds: BTreeSet<&str> = wrong.iter().map(|problem| problem["kind"].as_str().unwrap()).collect();
    let wanted = ["console", "contrast", "fetched", "focus", "keyboard", "link", "overflow", "paper"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), wanted, "{wrong:?}");
    for kind in wanted.iter().filter(|kind| **kind != "paper") {
        let screens: BTreeSet<String> = wrong
            .iter()
            .filter(|problem| problem["kind"] == **kind)
            .map(|problem| format!("{} {}", problem["width"], problem["scheme"]))
            .collect();
        assert_eq!(screens.len(), 4, "{kind}: {screens:?}");
    }
}
