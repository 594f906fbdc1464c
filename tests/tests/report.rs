//! The report of a run: one page that says what happened, needs nothing else and believes nothing it shows.

use crate::harness::{Bench, tpch_pipeline};

/// A bench with three orders and a pipeline with these further settings of their table.
fn bench(settings: &str) -> Bench {
    let bench = Bench::new();
    bench.write("in/orders.csv", "id,amount\n1,10.25\n2,-31.75\n3,7.50\n");
    bench.write(
        "p.yaml",
        format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: in, format: csv }} }}\n\
             target: {{ lake: {{ url: out }} }}\ntables:\n  - from: orders\n    key: [id]\n    \
             columns: {{ amount: {{ cast: \"decimal(8,2)\" }} }}\n{settings}"
        ),
    );
    bench
}

/// The report of the newest run.
fn report(bench: &Bench) -> String {
    bench.run(&["report", &bench.newest_run(), "--output", "-"]).expect(0).stdout
}

#[track_caller]
fn assert_says(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "`{word}` is not in:\n{page}");
    }
}

/// Nothing is fetched, nothing is executed.
#[track_caller]
fn assert_stands_alone(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{page}");
    for word in ["http://", "https://", "<script", "src=", "@import", "url(", "<link rel=\"stylesheet\""] {
        assert!(!page.contains(word), "`{word}` is in:\n{page}");
    }
}

/// What stands on the page behind one text and before the next one.
#[track_caller]
fn between<'p>(page: &'p str, before: &str, after: &str) -> &'p str {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("`{before}` is not in:\n{page}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("`{after}` does not follow `{before}` in:\n{page}")).0
}

/// The number that a figure begins with, such as 1234.5 of `1,234.5 rows/s read`.
#[track_caller]
fn number(figure: &str) -> f64 {
    let digits = figure.split(' ').next().unwrap().replace(',', "");
    digits.parse().unwrap_or_else(|e| panic!("{e}: {figure}"))
}

#[test]
fn a_run_that_matches_is_told_with_its_figures() {
    let bench = Bench::new();
    let tables = "  - from: customer\n    key: [c_custkey]\n    \
                  columns: { c_phone: { mask: partial }, c_comment: { drop: true } }\n";
    bench.write("p.yaml", tpch_pipeline(tables));
    bench.run(&["run", "p.yaml"]).expect(0);
    let run = bench.newest_run();
    let outcome = bench.run(&["report", &run]).expect(0);
    assert_eq!(outcome.stdout.trim(), format!("{run}.html"));
    let page = std::fs::read_to_string(bench.path(&format!("{run}.html"))).unwrap();
    assert_stands_alone(&page);
    assert_says(
        &page,
        &["Match", "1,500 rows were loaded into 1 table", &run, "table_copy", "tpch at scale 0.01", "version 1"],
    );
    assert_says(&page, &["xxh64:1500:", "c_phone", "(partial)", "Plan fingerprint", "planned", "ended: succeeded"]);
}

#[test]
fn a_run_that_checks_stopped_says_which_and_what_to_do_but_no_value() {
    let bench = bench("    checks: [ { range: { column: amount, min: 0 } }, { not_null: [id] } ]\n");
    bench.run(&["run", "p.yaml"]).expect(4);
    let page = report(&bench);
    assert_stands_alone(&page);
    assert_says(&page, &["Stopped by a quality check: nothing of orders was published.", "Q005 range (amount)"]);
    assert_says(
        &page,
        &["at least 0", "1 of 3 rows breaks it", "-99.99", "widen the limits", "Not published", "Passed"],
    );
    assert!(!page.contains("31.75"), "{page}");
    bench.run(&["run", "p.yaml", "--show-values"]).expect(4);
    assert_says(&report(&bench), &["-31.75"]);
}

#[test]
fn a_mismatch_is_told_by_kind_and_column_with_its_evidence() {
    let bench = bench("");
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("in/orders.csv", "id,amount\n1,10.25\n2,-31.99\n4,7.50\n5,8.50\n");
    bench.run(&["reconcile", "p.yaml"]).expect(5);
    let page = report(&bench);
    assert_stands_alone(&page);
    assert_says(&page, &["1 of 1 compared table does not match the source: orders. 4 keys differ."]);
    for (kind, keys) in [("Missing in the target", 2), ("Extra in the target", 1), ("Changed", 1)] {
        assert_says(&page, &[&format!("<td>{kind}</td><td class=\"number\">{keys}</td>")]);
    }
    assert_says(&page, &["<td><code>amount</code></td><td class=\"number\">1</td>", "Every differing key is in"]);
    assert!(!page.contains("31.99"), "{page}");
}

#[test]
fn names_from_data_are_text_and_not_markup() {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,<script>x\n1,2\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
         tables: [ { from: t, key: [id] } ]\n",
    );
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench);
    assert_stands_alone(&page);
    assert_says(&page, &["id, &lt;script&gt;x"]);
}

#[test]
fn secrets_stay_references() {
    let bench = Bench::with(vec![("LAKE_FOLDER", "hunter2".to_string())]);
    bench.write("hunter2/t.csv", "id\n1\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: \"${env:LAKE_FOLDER}\", format: csv } }\n\
         target: { lake: { url: out } }\ntables: [ { from: t, key: [id] } ]\n",
    );
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench);
    assert!(!page.contains("hunter2"), "{page}");
    assert_says(&page, &["${env:LAKE_FOLDER}"]);
}

#[test]
fn a_run_that_was_killed_has_a_report_and_one_that_never_was_has_none() {
    let bench = bench("");
    bench.run_with_faults(&["run", "p.yaml"], "commit.begun=return(kill)").expect(-1);
    assert_says(&report(&bench), &["Not finished", "0 of 1 table published", "Not published"]);
    bench.run(&["resume", &bench.newest_run()]).expect(0);
    assert_says(&report(&bench), &["1 taken over from an earlier process", "resumed"]);
    bench.run(&["report", "20261121T051500Z-7f3a9c12"]).expect(3).says("has no run");
    bench.run(&["report", "nonsense"]).expect(2).says("is not the name of a run");
    bench
        .run(&["report", &bench.newest_run(), "--output", "no/such/folder.html"])
        .expect(3)
        .says("no/such/folder.html");
}

#[test]
fn rows_that_were_put_aside_are_shown_by_their_shapes() {
    let bench = bench("    checks: [ { range: { column: amount, min: 0, action: quarantine } } ]\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench);
    assert_stands_alone(&page);
    assert_says(&page, &["Rows put aside", "The first rows. Not the values are shown", "<code>-99.99</code>", "Q005"]);
    assert!(!page.contains("31.75"), "{page}");
    bench.run(&["run", "p.yaml", "--show-values"]).expect(0);
    assert_says(&report(&bench), &["with their values, as the run was asked to", "<code>-31.75</code>"]);
    // The quarantine is gone, the report is not.
    std::fs::remove_dir_all(bench.path(".transload/quarantine")).unwrap();
    assert_says(&report(&bench), &["They cannot be read: ", "Q005 range (amount)"]);
}

#[test]
fn what_the_target_does_not_show_is_not_shown_of_quarantine_either() {
    let bench = Bench::new();
    bench.write("in/people.csv", "id,phone,note,age\n1,555-0199,hidden1,-5\n2,555-0188,hidden2,30\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
         tables:\n  - from: people\n    key: [id]\n    columns:\n      phone: { mask: partial }\n      \
         note: { drop: true }\n      age: { cast: int16 }\n    \
         checks: [ { range: { column: age, min: 0, action: quarantine } } ]\n",
    );
    bench.run(&["run", "p.yaml", "--show-values"]).expect(0);
    let page = report(&bench);
    assert_says(&page, &["<code>***</code>", "<code>a+9</code>", "<code>-5</code>"]);
    assert!(!page.contains("0199") && !page.contains("hidden1"), "{page}");
}

#[test]
fn a_check_is_shown_with_how_it_went_before() {
    let bench = bench("    checks: [ { range: { column: amount, min: 0, action: log } } ]\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    assert!(!report(&bench).contains("<polyline"));
    bench.write("in/orders.csv", "id,amount\n1,10.25\n2,31.75\n3,7.50\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench);
    assert_stands_alone(&page);
    assert_says(&page, &["66.66 % → 100.00 % over 2 runs, lowest 66.66 %", "points=\"3.0,21.0 117.0,3.0\""]);
}

#[test]
fn a_real_run_is_told_with_its_speed_its_losses_the_time_of_its_checks_and_its_scores() {
    let bench = Bench::new();
    bench.write("in/orders.csv", "id,amount\n1,10\n2,many\n3,-5\n4,7\n");
    bench.write("in/parts.csv", "id,amount\n1,10\n2,20\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
         tables:\n  - from: orders\n    key: [id]\n    \
         columns: { amount: { cast: int16, on_misfit: null_counted } }\n    \
         checks: [ { range: { column: amount, min: 0, action: log } }, { row_count: { min: 1 } } ]\n  \
         - from: parts\n    key: [id]\n    checks: [ { not_null: [id] } ]\n",
    );
    bench.run(&["run", "p.yaml"]).expect(0);
    let page = report(&bench);
    assert_stands_alone(&page);
    let fact = |name: &str, of: &'static str| {
        let told = between(&page, &format!("<dt>{name}</dt><dd>"), "</dd>");
        assert!(told.ends_with(of), "{name}: {told}");
        told
    };
    assert!(number(fact("Time taken", " s")) > 0.0);
    // Of the run and, behind its heading, of the table.
    fact("Took", " s");
    let part = between(&page, "<h2 id=\"t1\">orders</h2>", "</section>");
    let of_the_table = |name: &str| between(part, &format!("<dt>{name}</dt><dd>"), "</dd>");
    // The check comes first, and its time is so short that there are thousandths of it.
    assert!(of_the_table("Took").ends_with(" ms"), "{part}");
    assert!(part.contains(" s, first unit to commit</dd>"), "{part}");
    let throughput = of_the_table("Throughput");
    assert!(number(throughput) > 0.0, "{throughput}");
    let (rows, bytes) = throughput.split_once(" rows/s read, ").unwrap();
    assert!(number(rows) > 0.0 && number(bytes) > 0.0 && bytes.ends_with("B/s written"), "{throughput}");

    let losses = "<td>text → int16</td><td>checked</td><td>NULL, counted</td><td class=\"number\">0</td>\
                  <td class=\"number\">1</td><td class=\"number\">0</td>";
    assert_says(part, &["Casts and what they lost", &format!("<tr><td><code>amount</code></td>{losses}</tr>")]);
    assert_says(&page, &["1 value did not fit and became NULL."]);

    let passed = between(part, "<strong>Q014 row_count</strong>", "</tr>");
    let took = passed.rsplit_once("<td class=\"number\">").unwrap().1;
    assert!(took.trim_end().ends_with(" ms</td>"), "{passed}");

    // Three of four rows are not below zero, and four of four are counted; of the other table both are there.
    assert_says(part, &["2 checks: 1 passed, 1 failed. Score 87.50 %."]);
    assert_says(&page, &["<dt>Quality score</dt><dd>90.00 %</dd>"]);
    let all = between(&page, "aria-label=\"All tables\"", "</table>");
    assert_says(all, &["<td class=\"number\">87.50 %</td>", "<td class=\"number\">100.00 %</td>"]);
    assert_eq!(all.matches(" s</td>").count(), 2, "{all}");
}

#[test]
fn a_run_without_checks_has_no_score_and_one_that_was_stopped_names_the_tables_that_were_not() {
    let bench = bench("");
    bench.run(&["run", "p.yaml"]).expect(0);
    assert!(!report(&bench).contains("Quality score"));
    let bench = Bench::new();
    bench.write("in/orders.csv", "id\n1\n2\n");
    bench.write("in/parts.csv", "id\n1\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
         tables:\n  - { from: orders, key: [id], checks: [ { row_count: { max: 1 } } ] }\n  - { from: parts, key: [id] }\n",
    );
    bench.run(&["run", "p.yaml"]).expect(4);
    assert_says(
        &report(&bench),
        &[
            "nothing of orders was published. 1 other table was published.",
            "<dt>Tables that match</dt><dd>1 of 2</dd>",
            "<dt>Quality score</dt><dd>0.00 %</dd>",
        ],
    );
}
