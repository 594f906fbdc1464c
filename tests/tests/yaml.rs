//! Pipelines with mistakes are refused with a sentence and a place; good ones are not.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::{Bench, assert_golden, root};

fn files(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    found
}

/// The golden file holds what `check` says about every file; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn every_mistake_is_refused_at_its_place() {
    let bench = Bench::new();
    let mut said = String::new();
    let bad = files("tests/bad_yaml");
    assert!(bad.len() > 500, "{} files", bad.len());
    for file in &bad {
        let name = file.file_name().unwrap().to_str().unwrap();
        let start = Instant::now();
        let outcome = {
            let mut command = bench.command(&["check", name]);
            let output = command.current_dir(root().join("tests/bad_yaml")).output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        assert_eq!(outcome.0, Some(3), "{name}: {}", outcome.1);
        assert!(outcome.1.contains(&format!("--> {name}:")), "{name} has no place: {}", outcome.1);
        assert!(outcome.1.len() < 20_000, "{name}: {} bytes", outcome.1.len());
        assert!(start.elapsed() < Duration::from_secs(20), "{name} took {:?}", start.elapsed());
        said.push_str(&format!("==== {name}\n{}\n", outcome.1));
    }
    assert_golden("tests/bad_yaml/golden.txt", &said);
}

#[test]
fn good_pipelines_pass() {
    let bench = Bench::new();
    let good: Vec<PathBuf> = files("tests/good_yaml").into_iter().chain(files("pipelines")).collect();
    assert!(good.len() > 10);
    for file in good {
        bench.run(&["check", file.to_str().unwrap()]).expect(0);
    }
}

#[test]
fn a_huge_file_is_refused_quickly() {
    let bench = Bench::new();
    bench.write("huge.yaml", format!("version: 1\npipeline: {}\n", "x".repeat(10 << 20)));
    bench.run(&["check", "huge.yaml"]).expect(3).says("at most 1048576 are read");
}

#[test]
fn check_as_json_names_file_line_and_column() {
    let bench = Bench::new();
    bench.write("p.yaml", "version: 1\npipeline: p\nsource: { tpch: {} }\ntarget: { lake: { url: x } }\ntabels: []\ntables: [ { from: nation } ]\n");
    let found = bench.run(&["check", "p.yaml", "--format", "json"]).expect(3).last_line();
    let problem = &found["problems"][0];
    assert_eq!((problem["line"].as_u64(), problem["column"].as_u64()), (Some(5), Some(1)));
    assert_eq!(problem["hint"], "did you mean `tables`?");
}
