//! Rows whose cursor lies in a range, loaded whatever the target remembers of the cursor.

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome};
use crate::merge::{bench, counts, given, load, pipeline, rows};

const TABLE: &str = "{ from: t, key: [id], mode: { incremental: { cursor: at, lookback_secs: 0 } }, \
    columns: { at: { cast: \"timestamp(us, UTC)\" } } }";

fn row(id: i64, at: &str, v: &str) -> Value {
    json!({ "id": id, "at": format!("2024-01-01T{at}:00Z"), "v": v })
}

/// A bench where three rows were loaded, the highest of which is of eleven o'clock.
fn loaded() -> Bench {
    let bench = bench(TABLE);
    load(&bench, &[row(1, "09:00", "a"), row(2, "10:00", "b"), row(3, "11:00", "c")]);
    bench
}

/// Loads a range again, which must arrive.
#[track_caller]
fn backfilled(bench: &Bench, range: &str) -> Outcome {
    let outcome = bench.run(&["run", "p.yaml", "--backfill", range]).expect(0);
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match", "{outcome:?}");
    outcome
}

/// What a plan says of the cursor.
fn cursor(bench: &Bench, args: &[&str]) -> String {
    let planned = bench.run(&[&["plan", "p.yaml"][..], args].concat()).expect(0).stdout;
    let told = planned.lines().filter_map(|line| line.split_once("├─ ")).map(|(_, said)| said);
    told.filter(|said| said.starts_with("backfill ") || said.starts_with("cursor ")).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_gap_is_filled_and_the_cursor_stays() {
    let bench = loaded();
    // One row came late, another one was changed, and those beside the range are not looked at.
    let all =
        [row(1, "09:00", "A"), row(4, "09:30", "d"), row(2, "10:00", "B"), row(5, "10:30", "e"), row(3, "11:00", "C")];
    given(&bench, &all);
    let before = "cursor     at from 2024-01-01T11:00:00Z on";
    assert_eq!(cursor(&bench, &[]), before);
    let range = "2024-01-01T09:30:00Z..2024-01-01 10:30:00";
    assert_eq!(
        cursor(&bench, &["--backfill", range]),
        "backfill   at from 2024-01-01T09:30:00Z to before 2024-01-01T10:30:00Z; cursor     at stays at 2024-01-01T11:00:00Z"
    );
    let run = backfilled(&bench, range);
    assert_eq!(counts(&run), [5, 2, 0]);
    let run = run.says("nothing is left that they should have taken away");
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "B"], [3, "c"], [4, "d"]]));
    assert_eq!(cursor(&bench, &[]), before);

    let run = run.last_line()["run_id"].as_str().unwrap().to_string();
    let shown = bench.run(&["show", &run]).expect(0).stdout;
    let said = "backfill     at from 2024-01-01T09:30:00Z to before 2024-01-01T10:30:00Z";
    assert!(shown.contains(said), "{shown}");
    bench.run(&["reconcile", "--run", &run]).expect(0);

    // Again it changes nothing, and the next load goes on from where the last one was.
    backfilled(&bench, range);
    let next = load(&bench, &[&all[..], &[row(6, "12:00", "f")]].concat());
    assert_eq!(counts(&next), [6, 2, 0]);
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "B"], [3, "C"], [4, "d"], [6, "f"]]));
    assert_eq!(cursor(&bench, &[]), "cursor     at from 2024-01-01T12:00:00Z on");
}

#[test]
fn a_range_ahead_of_the_cursor_does_not_hide_what_lies_between() {
    let bench = loaded();
    let all = [row(3, "11:00", "c"), row(4, "12:00", "d"), row(5, "13:00", "e")];
    given(&bench, &all);
    assert_eq!(counts(&backfilled(&bench, "2024-01-01T13:00:00Z..2024-01-02")), [3, 1, 0]);
    assert_eq!(counts(&load(&bench, &all)), [3, 3, 0]);
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "b"], [3, "c"], [4, "d"], [5, "e"]]));
}

#[test]
fn a_table_can_begin_with_a_range() {
    let bench = bench(TABLE);
    let all = [row(1, "09:00", "a"), row(2, "10:00", "b"), row(3, "11:00", "c")];
    given(&bench, &all);
    let range = "2024-01-01T10:00:00Z..2024-01-01T11:00:00Z";
    assert!(cursor(&bench, &["--backfill", range]).ends_with("cursor     at stays unknown"));
    backfilled(&bench, range);
    assert_eq!(rows(&bench, "id v"), json!([[2, "b"]]));
    assert_eq!(cursor(&bench, &[]), "cursor     at above anything (first load)");
    load(&bench, &all);
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "b"], [3, "c"]]));
}

#[test]
fn a_range_without_rows_is_nothing_to_do() {
    let bench = loaded();
    bench.run(&["run", "p.yaml", "--backfill", "2023-01-01..2024-01-01"]).expect(99);
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "b"], [3, "c"]]));
    assert_eq!(cursor(&bench, &[]), "cursor     at from 2024-01-01T11:00:00Z on");
}

#[test]
fn rules_about_what_is_new_say_nothing_of_a_range_and_are_not_held_against_it() {
    let table =
        |checks: &str| TABLE.replace("} } }", &format!("}} }}, checks: [ {{ drift: {{ max: 10% }} }}{checks} ] }}"));
    let bench = bench(&table(""));
    let all = [row(1, "09:00", "a"), row(2, "10:00", "b"), row(3, "11:00", "c")];
    load(&bench, &all);
    let first = bench.newest_run();
    bench.write("p.yaml", pipeline(&table(", { freshness: { column: at, max_age_secs: 1 } }")));
    let range = "2024-01-01T09:00:00Z..2024-01-01T10:00:00Z";
    let planned = bench.run(&["plan", "p.yaml", "--backfill", range]).expect(0).stdout;
    for rule in ["Q019 drift", "Q016 freshness (at)"] {
        assert!(planned.contains(&format!("├─ not judged {rule}: a backfill loads a range")), "{planned}");
    }
    let checks = backfilled(&bench, range).last_line()["tables"][0]["checks"].clone();
    let not_judged = checks["not_judged"].as_array().unwrap();
    // The key is not NULL, and there once: that is judged.
    assert_eq!((&checks["passed"], not_judged.len()), (&json!(2), 2), "{checks}");
    // The next load is held against the one before the backfill.
    bench.write("p.yaml", pipeline(&table("")));
    let planned = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert!(planned.contains(&format!("against run {first}")), "{planned}");
}

#[test]
fn a_range_is_part_of_the_plan() {
    let bench = loaded();
    let plan = |more: &[&str]| -> Value {
        let planned = bench.run(&[&["plan", "p.yaml", "--format", "json"][..], more].concat()).expect(0).stdout;
        serde_json::from_str(&planned).unwrap()
    };
    let [without, days, longer] =
        [&[][..], &["--backfill", "2024-01-01..2024-01-02"], &["--backfill", "2024-01-01..2024-01-03"]].map(plan);
    let expected = json!({ "from": "2024-01-01T00:00:00Z", "to": "2024-01-02T00:00:00Z" });
    assert_eq!(days["tables"][0]["incremental"]["backfill"], expected);
    assert!(without["tables"][0]["incremental"].get("backfill").is_none());
    assert!(without["fingerprint"] != days["fingerprint"] && days["fingerprint"] != longer["fingerprint"]);
    bench.run(&["plan", "p.yaml", "--backfill", "2024-01-01..2024-01-02", "--save", "saved.json"]).expect(0);
    let ran = bench.run(&["run", "--plan", "saved.json"]).expect(0);
    assert_eq!(counts(&ran), [3, 3, 0]);
}

#[test]
fn what_is_no_range_of_the_cursor_is_refused() {
    let bench = loaded();
    let refused = |range: &str| bench.run(&["run", "p.yaml", "--backfill", range]).expect(3);
    refused("2024-01-01..soon")
        .says("`soon` is no value of the cursor, which is timestamp(us, UTC)")
        .says("--backfill:1:13");
    refused("1..2024-01-01").says("`1` is no value of the cursor").says("--backfill:1:1");
    refused("2024-01-02..2024-01-01").says("no value lies from `2024-01-02` to before `2024-01-01`");
    refused("2024-01-01..2024-01-01").says("no value lies from");
    for range in ["2024-01-01", "..2024-01-01", "2024-01-01.."] {
        bench.run(&["run", "p.yaml", "--backfill", range]).expect(2).says("a range is written FROM..TO");
    }
    bench.run(&["run", "--plan", "x.json", "--backfill", "1..2"]).expect(2);
    assert_eq!(rows(&bench, "id v"), json!([[1, "a"], [2, "b"], [3, "c"]]));
}

#[test]
fn a_table_that_is_not_merged_by_a_cursor_is_refused() {
    let run = |table: &str| {
        let bench = Bench::new();
        bench.write("p.yaml", pipeline(table));
        given(&bench, &[json!({ "id": 1, "n": 1 })]);
        bench.run(&["run", "p.yaml", "--backfill", "1..2"])
    };
    for table in ["{ from: t }", "{ from: t, mode: append }", "{ from: t, key: [id], mode: merge }"] {
        run(table).expect(3).says("`t` is not incremental").says("choose incremental tables with `--table`");
    }
    let added = "{ from: t, key: [id], mode: { incremental: { cursor: n } } }";
    run(added).expect(3).says("would have its rows twice").says("add `lookback_secs`");
    // With others it is the table that is chosen.
    let both = format!("{{ from: t, to: whole }}, {}", added.replace("cursor: n", "cursor: n, lookback_secs: 0"));
    run(&both).expect(3).says("`t` is not incremental");
    let bench = Bench::new();
    bench.write("p.yaml", pipeline(&both));
    given(&bench, &[json!({ "id": 1, "n": 1 }), json!({ "id": 2, "n": 2 })]);
    let chosen = bench.run(&["run", "p.yaml", "--table", "t", "--backfill", "1..2"]).expect(0);
    assert_eq!(counts(&chosen), [2, 1, 0]);
}
