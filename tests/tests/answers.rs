//! What the program answers beside its exit code: JSON for programs, colours for people, and the truth when it fails itself.

use std::io::pipe;

use serde_json::Value;

use crate::harness::{Bench, root, run_python};

/// A bench with two rows to load.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: test\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: lake } }\n\
         tables: [ { from: t, key: [id] } ]\n",
    );
    bench
}

fn run_of(line: &Value) -> String {
    line["run_id"].as_str().unwrap().to_string()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_bug_inside_of_a_unit_is_1_and_leaves_nothing() {
    for point in ["unit.begun", "stage.opened", "stage.batch", "unit.journaled"] {
        let bench = bench();
        let outcome = bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=panic")).expect(1);
        assert!(outcome.stderr.contains("error: "), "{point}: {}", outcome.stderr);
        assert_eq!(outcome.last_line()["status"], "failed", "{point}");
        assert!(bench.all_files("lake").is_empty(), "{point}: {:?}", bench.all_files("lake"));
    }
}

#[test]
fn a_bug_anywhere_else_is_1_too_and_is_said() {
    for point in ["run.begun", "commit.begun", "reconcile.begun", "reconcile.verdict"] {
        let bench = bench();
        let outcome = bench.run_with_faults(&["run", "p.yaml"], &format!("{point}=panic")).expect(1);
        assert!(outcome.stderr.contains("error: "), "{point}: {}", outcome.stderr);
    }
    let bench = bench();
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run_with_faults(&["reconcile", "p.yaml"], "reconcile.begun=panic").expect(1).says("error: ");
}

#[test]
fn every_verb_answers_in_json() {
    let bench = bench();
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    let verbs: [(&[&str], &str); 21] = [
        (&["init", "demo"], "file"),
        (&["init", "drafted", "--from-connection", "in"], "draft"),
        (&["profile", "in"], "tables"),
        (&["discover", "p.yaml"], "tables"),
        (&["discover", "p.yaml", "--target"], "tables"),
        (&["discover", "in"], "tables"),
        (&["check", "p.yaml"], "problems"),
        (&["plan", "p.yaml"], "fingerprint"),
        (&["run", "p.yaml", "--dry-run"], "fingerprint"),
        (&["run", "p.yaml"], "run_id"),
        (&["reconcile", "p.yaml"], "run_id"),
        (&["runs"], "runs"),
        (&["show", &run], "run"),
        (&["show", &run, "--plan"], "plan"),
        (&["report", &run], "file"),
        (&["report", &run, "--output", "-"], "html"),
        (&["audit", "verify"], "good"),
        (&["schema"], "properties"),
        (&["schema", "archetype"], "properties"),
        (&["schema", "discover"], "properties"),
        (&["schema", "init"], "properties"),
    ];
    for (verb, key) in verbs {
        let outcome = bench.run(&[verb, &["--format", "json"]].concat()).expect(0);
        let answer: Value =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{verb:?}: {e}: {outcome:?}"));
        assert!(!answer[key].is_null(), "{verb:?}: {answer}");
    }
}

#[test]
fn the_last_line_of_a_comparison_has_exactly_these_keys() {
    let bench = bench();
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    let comparisons: [&[&str]; 2] = [&["reconcile", "p.yaml", "-q"], &["reconcile", "--run", &run]];
    for args in comparisons {
        let line = bench.run(args).expect(0).last_line();
        assert_eq!(keys(&line), ["pipeline", "run_id", "status", "exit_code", "tables"]);
        assert_eq!((&line["status"], &line["exit_code"]), (&Value::from("match"), &Value::from(0)));
        let table = &line["tables"][0];
        assert_eq!(
            keys(table),
            [
                "table",
                "read",
                "written",
                "quarantined",
                "filtered",
                "source_rows",
                "target_rows",
                "digest",
                "verdict",
                "differences",
                "schema",
                "coverage",
                "evidence"
            ]
        );
        assert_eq!(
            keys(&table["differences"]),
            ["missing_in_target", "extra_in_target", "changed", "multiplicity", "columns"]
        );
        assert_eq!(keys(&table["coverage"]), ["columns", "not_compared", "rows_left_out", "masked"]);
    }
}

#[test]
fn a_comparison_counts_the_rows_of_the_source_as_a_load_does() {
    let bench = bench();
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n3,much\n4,0\n");
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    let rules = "filter: 'id <> 4', columns: { n: { cast: int64, on_misfit: quarantine } }";
    bench.write("p.yaml", text.replace("key: [id]", &format!("key: [id], {rules}")));
    let loaded = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    let compared = bench.run(&["reconcile", "p.yaml"]).expect(0).last_line();
    for (key, rows) in [("read", 4), ("written", 2), ("quarantined", 1), ("filtered", 1)] {
        let found = [&loaded, &compared].map(|line| line["tables"][0][key].as_u64());
        assert_eq!(found, [Some(rows); 2], "{key}");
    }

    bench.write("in/t.csv", "id,n\n1,10\n");
    let moved = bench.run(&["reconcile", "--run", &run_of(&loaded)]).expect(3).last_line();
    let table = &moved["tables"][0];
    assert_eq!(
        keys(table),
        ["table", "read", "written", "quarantined", "filtered", "digest", "verdict", "error"],
        "{moved}"
    );
    assert!(table["read"].is_null() && table["error"].is_string(), "{moved}");
}

#[test]
fn a_failed_run_ends_with_the_same_line_and_says_why() {
    let bench = bench();
    bench.write("in/t.csv", "id,n\n1,10\n2,20,30\n");
    let outcome = bench.run(&["run", "p.yaml"]).expect(3);
    let line = outcome.last_line();
    assert_eq!(keys(&line), ["pipeline", "run_id", "status", "exit_code", "tables"]);
    assert_eq!((&line["status"], &line["exit_code"]), (&Value::from("failed"), &Value::from(3)));
    assert!(line["tables"][0]["error"].as_str().unwrap().contains("3 fields where 2 are expected"), "{line}");
    let shown = bench.run(&["show", &run_of(&line)]).expect(0).stdout;
    assert!(shown.contains("3 fields where 2 are expected"), "{shown}");
    assert!(shown.contains("not committed"), "{shown}");
}

#[test]
fn what_fails_before_a_run_begins_leaves_standard_output_empty() {
    let bench = bench();
    for args in [["run", "gone.yaml"], ["reconcile", "gone.yaml"], ["show", "20260101T000000Z-00000000"]] {
        let outcome = bench.run(&args).expect(3);
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert!(outcome.stderr.starts_with("error: "), "{args:?}: {}", outcome.stderr);
    }
}

/// The exit code of a program whose reader has gone away before it wrote anything, and what it said.
fn without_reader(bench: &Bench, args: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = bench.command(args).stdout(writer).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_reader_that_goes_away_is_fine_for_every_verb() {
    let bench = bench();
    let run = run_of(&bench.run(&["run", "p.yaml"]).expect(0).last_line());
    let verbs: [&[&str]; 13] = [
        &["--help"],
        &["--version"],
        &["completions", "bash"],
        &["schema"],
        &["check", "p.yaml"],
        &["plan", "p.yaml"],
        &["discover", "in"],
        &["generate", "dbt", "p.yaml"],
        &["run", "p.yaml"],
        &["reconcile", "p.yaml"],
        &["runs"],
        &["show", &run],
        &["audit", "verify"],
    ];
    for verb in verbs {
        let (code, said) = without_reader(&bench, verb);
        assert_eq!(code, Some(0), "{verb:?}: {said}");
        assert!(!said.contains("error"), "{verb:?}: {said}");
    }
}

#[test]
fn a_reader_that_goes_away_does_not_hide_a_failure() {
    let bench = bench();
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("in/t.csv", "id,n\n1,10\n2,21\n");
    let (code, said) = without_reader(&bench, &["reconcile", "p.yaml"]);
    assert_eq!(code, Some(5), "{said}");
    bench.write("in/t.csv", "id,n\n1,10\n2,20,30\n");
    let (code, said) = without_reader(&bench, &["run", "p.yaml"]);
    assert_eq!(code, Some(3), "{said}");
}

#[test]
fn an_answer_that_cannot_be_written_is_3_and_hides_neither_the_run_nor_a_failure() {
    let bench = bench();
    let full = |args: &[&str]| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bench.command(args).stdout(full).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for args in [["run", "p.yaml"], ["plan", "p.yaml"], ["reconcile", "p.yaml"]] {
        let (code, said) = full(&args);
        assert_eq!(code, Some(3), "{args:?}: {said}");
        assert!(said.contains("standard output cannot be written"), "{args:?}: {said}");
        assert!(!said.contains("resume"), "{args:?}: {said}");
    }
    let runs = bench.run(&["runs", "--format", "json"]).expect(0).last_line();
    assert_eq!(runs["runs"][1]["exit_code"], 0, "{runs}");
    bench.write("in/t.csv", "id,n\n1,10\n2,21\n");
    let (code, said) = full(&["reconcile", "p.yaml"]);
    assert_eq!(code, Some(5), "{said}");
}

/// Runs a command on a terminal and prints what it shows there.
const TERMINAL: &str = r#"
import os, pty, subprocess, sys
ours, theirs = pty.openpty()
shown, child = b"", subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs, stderr=theirs)
os.close(theirs)
while True:
    try: more = os.read(ours, 4096)
    except OSError: break
    if not more: break
    shown += more
child.wait()
sys.stdout.write(shown.decode())
"#;

#[test]
fn a_terminal_shows_colours_unless_no_color_is_set() {
    let bench = bench();
    let text = std::fs::read_to_string(bench.path("p.yaml")).unwrap();
    let bad = bench.write("bad.yaml", text.replace("tables", "tabels"));
    let program = env!("CARGO_BIN_EXE_transload-faulty");
    let shown = |setting: &str| {
        run_python(TERMINAL, &["env", "-u", "NO_COLOR", setting, "TERM=xterm", program, "check", bad.to_str().unwrap()])
    };
    let (plain, coloured) = (shown("NO_COLOR=1"), shown("NO_COLOR="));
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    assert!(plain.contains("did you mean `tables`?"), "{plain}");
    // Without a terminal there are none either.
    assert!(!bench.run(&["check", "bad.yaml"]).expect(3).stderr.contains('\u{1b}'));
}

#[test]
fn runs_are_listed_newest_first_even_within_a_second() {
    let bench = bench();
    let begun: Vec<String> = (0..6).map(|_| run_of(&bench.run(&["run", "p.yaml"]).expect(0).last_line())).collect();
    let listed = bench.run(&["runs", "--format", "json"]).expect(0).last_line();
    let listed: Vec<String> = listed["runs"].as_array().unwrap().iter().map(run_of).collect();
    assert_eq!(listed, begun.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn the_documented_exit_codes_are_those_there_are() {
    let text = std::fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok());
    assert_eq!(rows.collect::<Vec<u8>>(), [0, 1, 2, 3, 4, 5, 8, 9, 75, 99, 130, 143]);
    let help = Bench::new().run(&["--help"]).expect(0).stdout;
    for code in ["0 good", "1 internal", "2 usage", "3 configuration", "5 mismatch", "75 try again", "99 nothing to do"]
    {
        assert!(help.contains(code), "{code}: {help}");
    }
}
