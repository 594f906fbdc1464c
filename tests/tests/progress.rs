//! How a run is going, as a person sees it on a terminal and a program reads it elsewhere.

use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Bench, done, python, root, tpch_pipeline};

/// Slows a load down by half a second or more, so that there is something to see.
const SLOWLY: &str = "stage.batch=sleep(20)";
/// Rows of the table, which are two units of work.
const ROWS: u64 = 299_814;
/// Rows that are read while the first unit is on its way and some of it is written.
const EARLY: Range<u64> = 20_000..ROWS / 3;

/// A bench where a line is told every 20 ms, and a pipeline with a rule that rows break and one that takes a second look.
fn bench() -> Bench {
    let bench = Bench::with(vec![("TRANSLOAD_PROGRESS_MILLIS", "20".to_string())]);
    let table = "  - from: lineitem\n    key: [l_orderkey, l_linenumber]\n    checks:\n      \
                 - range: { column: l_quantity, min: 10, severity: warn }\n      \
                 - unique: [l_orderkey, l_linenumber]\n";
    bench.write("p.yaml", tpch_pipeline(table).replace("0.01", "0.05"));
    bench
}

/// The lines of progress on standard error. What else is there is talk.
fn lines(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!(line["event"], "progress", "{line}");
    }
    lines
}

#[test]
fn where_nobody_watches_lines_of_json_say_how_it_goes() {
    let bench = bench();
    let begun = Instant::now();
    let outcome = bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], SLOWLY).expect(0);
    let took = begun.elapsed();
    // Answers and talk stay apart.
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    assert_eq!(outcome.last_line()["status"], "succeeded");
    let lines = lines(&outcome.stderr);
    assert!(lines.len() >= 10, "{lines:?}");
    assert!(lines.len() as u128 <= took.as_millis() / 20 + 1, "{} lines in {took:?}", lines.len());
    let rows: Vec<u64> = lines.iter().map(|line| line["rows"].as_u64().unwrap()).collect();
    assert!(rows.is_sorted(), "{rows:?}");
    let table = |line: &Value| line["tables"][0].clone();

    // While the first unit is on its way: rows, bytes, the time left, and rows that break a rule.
    let early = lines.iter().find(|line| EARLY.contains(&line["rows"].as_u64().unwrap()));
    let early = early.unwrap_or_else(|| panic!("nothing was told of the first unit: {rows:?}"));
    let of_the_table = table(early);
    assert_eq!((&of_the_table["table"], &of_the_table["state"]), (&json!("lineitem"), &json!("loading")), "{early}");
    assert_eq!((&of_the_table["read"], of_the_table["expected"].as_u64()), (&early["rows"], Some(300_000)), "{early}");
    assert!(early["bytes"].as_u64().unwrap() > 0, "{early}");
    assert!(early["rows_per_sec"].is_number() && early["tables_done"] == 0, "{early}");
    for line in [early, &of_the_table] {
        assert!(line["eta_secs"].as_u64().is_some_and(|secs| secs < 600), "{early}");
    }
    let broken = &of_the_table["broken"][0];
    assert_eq!(broken["check"], "Q005 range (l_quantity)", "{early}");
    assert!((1..of_the_table["read"].as_u64().unwrap()).contains(&broken["rows"].as_u64().unwrap()), "{early}");
    assert_eq!(of_the_table["failed"], json!([]), "{early}");

    // The second look.
    let looks: Vec<Value> = lines.iter().map(table).filter(|table| table["look"].is_object()).collect();
    let seen = looks.iter().filter(|table| table["look"]["rows"].as_u64().is_some_and(|rows| rows > 0)).count();
    assert!(seen > 0, "{looks:?}");
    for table in &looks {
        assert_eq!(table["state"], "checking", "{table}");
        assert_eq!(table["look"]["check"], "Q003 unique (l_orderkey, l_linenumber)", "{table}");
        assert_eq!(table["look"]["expected"], ROWS, "{table}");
        assert!(table["look"]["rows"].as_u64().unwrap() <= ROWS, "{table}");
    }
    // What was broken so far has failed once it was judged.
    let last = table(lines.last().unwrap());
    assert_eq!(last["failed"], json!(["Q005 range (l_quantity)"]), "{last}");
    assert!(matches!(last["state"].as_str(), Some("published" | "comparing" | "compared")), "{last}");
    assert_eq!(last["read"], ROWS, "{last}");
}

#[test]
fn a_unit_that_is_tried_again_counts_once() {
    let bench = bench();
    let faults = "stage.batch=3*off->1*return(transient)->sleep(20)";
    let outcome = bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], faults).expect(0);
    let told: Vec<Value> = lines(&outcome.stderr).iter().map(|line| line["tables"][0].clone()).collect();
    let again = told.iter().find(|table| table["state"] == "trying again");
    let again = again.unwrap_or_else(|| panic!("it was not tried again: {told:?}"));
    assert_eq!((again["read"].as_u64(), again["broken"].as_array().unwrap().len()), (Some(0), 0), "{again}");
    assert_eq!(told.last().unwrap()["read"], ROWS, "{told:?}");
}

#[test]
fn a_short_run_and_one_that_is_to_be_quiet_tell_nothing_meanwhile() {
    let short = Bench::new();
    short.write("p.yaml", tpch_pipeline("  - from: nation\n    key: [n_nationkey]\n"));
    assert_eq!(lines(&short.run(&["run", "p.yaml"]).expect(0).stderr), Vec::<Value>::new());
    let outcome = bench().run_with_faults(&["run", "p.yaml", "-q"], SLOWLY).expect(0);
    assert_eq!(outcome.stderr, "");
}

/// Runs the program with its standard error on a terminal: its exit code, its answer, and what was to be seen.
fn on_a_terminal(bench: &Bench, args: &[&str], faults: &str) -> (i64, String, Vec<String>) {
    let program = bench.command(args);
    let mut watched = Command::new(python());
    watched.arg("-B").arg(root().join("tests/terminal/watch.py"));
    watched.arg(program.get_program()).args(program.get_args()).current_dir(bench.path(""));
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => watched.env(name, value),
            None => watched.env_remove(name),
        };
    }
    let seen: Value = serde_json::from_str(&done(watched.env("FAILPOINTS", faults))).unwrap();
    let shown = seen["shown"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_string()).collect();
    (seen["code"].as_i64().unwrap(), seen["stdout"].as_str().unwrap().to_string(), shown)
}

/// The number before a word, with its thousands set apart.
fn number_before(line: &str, word: &str) -> Option<u64> {
    line.split_once(word)?.0.split_whitespace().last()?.replace(',', "").parse().ok()
}

#[test]
fn on_a_terminal_a_bar_shows_rows_speed_time_left_and_what_fails_as_it_fails() {
    let bench = bench();
    let begun = Instant::now();
    let (code, stdout, shown) = on_a_terminal(&bench, &["run", "p.yaml", "--parallel", "1"], SLOWLY);
    assert!(begun.elapsed() < Duration::from_secs(300));
    let all = shown.join("\n");
    assert_eq!(code, 0, "{all}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&answer["status"], stdout.lines().count()), (&json!("succeeded"), 1), "{stdout}");
    // Where somebody watches, nobody reads JSON.
    assert!(!all.contains("\"event\""), "{all}");

    let bars: Vec<&String> = shown.iter().filter(|line| line.starts_with("lineitem ")).collect();
    let early: Vec<&&String> =
        bars.iter().filter(|bar| number_before(bar, " rows ").is_some_and(|rows| EARLY.contains(&rows))).collect();
    assert!(early.len() >= 2, "{all}");
    for bar in &early {
        assert!(bar.contains('█') && bar.contains("/s ") && bar.contains(" left"), "{bar}");
        assert!(bar.contains("iB"), "no bytes: {bar}");
    }
    // Rows that break a rule grow while the first unit is on its way.
    let rule = "Q005 range (l_quantity): ";
    let mut broken: Vec<u64> = early.iter().filter_map(|bar| number_before(bar.split_once(rule)?.1, " rows")).collect();
    assert!(broken.is_sorted(), "{all}");
    broken.dedup();
    assert!(broken.len() >= 2 && broken[0] > 0, "{broken:?}: {all}");

    let look = "rows for Q003 unique (l_orderkey, l_linenumber)";
    assert!(bars.iter().any(|bar| bar.contains("looking at ") && bar.contains(look)), "{all}");
    let last = bars.last().unwrap();
    assert!(last.contains("compared: match, Q005 range (l_quantity) failed") && !last.contains(" left"), "{all}");
    assert_eq!(number_before(last, " rows "), Some(ROWS), "{all}");
}
