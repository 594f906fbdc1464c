//! Every check in every situation: what it says of good rows and bad ones, NULL, no rows at all and nested columns.

use serde_json::{Value, json};

use crate::harness::{Bench, assert_golden, root, run_python};

/// What every kind of check is tried on.
const SITUATIONS: [&str; 7] = ["pass", "fail", "some_null", "empty", "all_null", "struct", "list"];

/// One kind of check in one situation.
struct Case {
    kind: String,
    situation: String,
    /// As it stands in the file.
    said: Value,
}

impl Case {
    /// The table it writes.
    fn target(&self) -> String {
        format!("{}__{}", self.kind, self.situation)
    }

    fn is_refused(&self) -> bool {
        self.said.get("refused").is_some()
    }

    /// The table of a pipeline that reads the one named here, if there is one.
    fn table(&self, source: &str) -> Option<Value> {
        Some(json!({
            "from": self.said.get(source)?,
            "to": self.target(),
            "reconcile": { "level": "none" },
            "checks": [{ self.kind.as_str(): self.said["with"] }],
        }))
    }

    /// Takes out of a message what changes from day to day.
    fn timeless(&self, message: &str, earlier_run: Option<&str>) -> String {
        let message = earlier_run.map_or_else(|| message.to_string(), |run| message.replace(run, "R"));
        match message.split_once(" days ").filter(|_| self.kind == "freshness") {
            Some((before, after)) => {
                format!("{}N days {after}", before.trim_end_matches(|c: char| c.is_ascii_digit()))
            }
            None => message,
        }
    }
}

/// All cases, in the order of the file.
fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(root().join("tests/checks/cases.yaml")).unwrap();
    let kinds: Value = serde_saphyr::from_str(&text).unwrap();
    let of_kind = |(kind, situations): (&String, &Value)| -> Vec<Case> {
        let case = |(situation, said): (&String, &Value)| Case {
            kind: kind.clone(),
            situation: situation.clone(),
            said: said.clone(),
        };
        situations.as_object().unwrap().iter().map(case).collect()
    };
    kinds.as_object().unwrap().iter().flat_map(of_kind).collect()
}

/// A bench with the tables.
fn bench() -> Bench {
    let bench = Bench::new();
    let script = std::fs::read_to_string(root().join("tests/checks/tables.py")).unwrap();
    run_python(&script, &[bench.path("in").to_str().unwrap()]);
    bench
}

/// Writes a pipeline that has a table of its own for every case that reads one by this word. False if none does.
fn write_pipeline(bench: &Bench, cases: &[Case], source: &str) -> bool {
    let tables: Vec<Value> = cases.iter().filter_map(|case| case.table(source)).collect();
    let pipeline = json!({
        "version": 1,
        "pipeline": "test",
        "source": { "lake": { "url": "in" } },
        "target": { "lake": { "url": "out" } },
        "tables": tables,
    });
    bench.write("p.yaml", pipeline.to_string());
    !tables.is_empty()
}

/// The kinds of checks there are, by the schema of a pipeline.
fn kinds() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("archetypes/schemas/pipeline.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let kinds = schema["definitions"]["Check"]["oneOf"].as_array().unwrap();
    kinds.iter().flat_map(|kind| kind["properties"].as_object().unwrap().keys().cloned()).collect()
}

#[test]
fn every_kind_of_check_is_tried_in_every_situation() {
    let (kinds, cases) = (kinds(), cases());
    assert!(kinds.len() >= 17, "{kinds:?}");
    let has = |kind: &str, situation: &str| cases.iter().any(|c| c.kind == kind && c.situation == situation);
    let wanted = kinds.iter().flat_map(|kind| SITUATIONS.map(|situation| (kind.as_str(), situation)));
    let missing: Vec<_> = wanted.filter(|(kind, situation)| !has(kind, situation)).collect();
    assert!(missing.is_empty(), "tests/checks/cases.yaml lacks {missing:?}");
    for case in cases {
        assert!(kinds.contains(&case.kind), "there is no check {}", case.kind);
        assert!(SITUATIONS.contains(&case.situation.as_str()), "{} has {}", case.kind, case.situation);
        let outcome = match case.situation.as_str() {
            "pass" => "passes",
            "fail" => "fails",
            _ => continue,
        };
        assert!(case.said.get(outcome).is_some(), "{}", case.target());
    }
}

/// The golden file holds in full what is said of the case `fail` of every kind; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn every_check_says_what_it_should_in_every_situation() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| !case.is_refused()).collect();
    let bench = bench();
    let earlier_run = write_pipeline(&bench, &cases, "before").then(|| {
        bench.run(&["run", "p.yaml"]).expect(0);
        bench.newest_run()
    });
    let earlier_run = earlier_run.as_deref();
    write_pipeline(&bench, &cases, "in");
    bench.run(&["run", "p.yaml"]).expect(4);
    let run = bench.newest_run();
    let shown = bench.run(&["show", &run]).expect(0).stdout;
    let run = bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
    let findings = run["run"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), cases.len());
    let mut said = String::new();
    for case in &cases {
        let target = case.target();
        let found = findings.iter().find(|finding| finding["table"] == target.as_str()).unwrap();
        let (outcome, words) = match case.said.get("passes") {
            Some(words) => ("passed", words),
            None => ("failed", &case.said["fails"]),
        };
        let message = case.timeless(found["found"].as_str().unwrap(), earlier_run);
        assert_eq!((found["outcome"].as_str(), Some(message.as_str())), (Some(outcome), words.as_str()), "{target}");
        // A broken rule keeps its own table from being published, and no other.
        if case.said.get("before").is_none() {
            assert_eq!(bench.path("out").join(&target).exists(), outcome == "passed", "{target}");
        }
        if case.situation == "fail" {
            let mut found = found.clone();
            let took = found.as_object_mut().unwrap().shift_remove("duration_micros").unwrap();
            assert!(took.as_u64().is_some() || took.is_null(), "{target}: {took}");
            let json = serde_json::to_string_pretty(&found).unwrap();
            let [text, json] = [told(&shown, &target), json].map(|message| case.timeless(&message, earlier_run));
            said.push_str(&format!("==== {}\n{text}\n\n{json}\n\n", case.kind));
        }
    }
    assert_golden("tests/checks/golden.txt", &said);
}

/// What `show` tells of the check of a table.
fn told(shown: &str, table: &str) -> String {
    let title = format!("→ {table}");
    let part = shown.split("\n\n").find(|part| part.lines().next().is_some_and(|line| line.ends_with(&title))).unwrap();
    let lines = part.lines().skip_while(|line| !line.starts_with("    Q")).map(|line| line.trim_start_matches("    "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_check_that_cannot_look_at_a_nested_column_says_so_before_anything_moves() {
    let cases: Vec<Case> = cases().into_iter().filter(Case::is_refused).collect();
    let bench = bench();
    write_pipeline(&bench, &cases, "in");
    let problems = bench.run(&["plan", "p.yaml", "--format", "json"]).expect(3).last_line();
    let said: Vec<&str> =
        problems["problems"].as_array().unwrap().iter().map(|p| p["message"].as_str().unwrap()).collect();
    let wanted: Vec<&str> = cases.iter().map(|case| case.said["refused"].as_str().unwrap()).collect();
    assert_eq!(said, wanted);
}
