//! The JSON Schemas for editors: committed, current, and right about the files there are.

use serde_json::Value;

use crate::harness::{Bench, root};

fn committed(kind: &str) -> String {
    std::fs::read_to_string(root().join(format!("archetypes/schemas/{kind}.schema.json"))).unwrap()
}

/// To renew: `cargo run -- schema pipeline > archetypes/schemas/pipeline.schema.json`, and the same for the others.
#[test]
fn the_committed_schemas_are_what_the_program_prints() {
    let bench = Bench::new();
    for kind in ["pipeline", "archetype", "discover", "init"] {
        let printed = bench.run(&["schema", kind]).expect(0).stdout;
        assert_eq!(printed, committed(kind), "archetypes/schemas/{kind}.schema.json");
    }
}

fn yaml(path: &std::path::Path) -> Option<Value> {
    serde_saphyr::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

#[test]
fn the_schema_accepts_good_pipelines_and_refuses_most_bad_ones() {
    let schema: Value = serde_json::from_str(&committed("pipeline")).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let list = |folder: &str| -> Vec<_> {
        std::fs::read_dir(root().join(folder))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
            .collect()
    };
    for path in list("tests/good_yaml").into_iter().chain(list("pipelines")) {
        let errors: Vec<String> = validator.iter_errors(&yaml(&path).unwrap()).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
    let bad: Vec<Value> = list("tests/bad_yaml").iter().filter_map(|p| yaml(p)).collect();
    let refused = bad.iter().filter(|v| !validator.is_valid(v)).count();
    // The others break rules that a schema cannot state, such as two tables with one target.
    assert!(refused * 2 > bad.len(), "{refused} of {}", bad.len());
}

#[test]
fn init_writes_a_pipeline_that_its_schema_accepts() {
    let bench = Bench::new();
    bench.run(&["init", "demo"]).expect(0);
    let text = std::fs::read_to_string(bench.path("demo.yaml")).unwrap();
    assert!(text.starts_with("# yaml-language-server: $schema=.transload/pipeline.schema.json"));
    assert_eq!(std::fs::read_to_string(bench.path(".transload/pipeline.schema.json")).unwrap(), committed("pipeline"));
    bench.run(&["check", "demo.yaml"]).expect(0);
    bench.run(&["init", "demo"]).expect(3).says("exists already");
    bench.run(&["run", "demo.yaml"]).expect(0);
}

#[test]
fn a_name_means_the_same_in_what_init_writes_or_is_refused() {
    let bench = Bench::new();
    for name in ["1e5", "null", "No"] {
        bench.run(&["init", name]).expect(0);
        bench.run(&["check", &format!("{name}.yaml")]).expect(0);
    }
    for name in ["a: b", "${env:HOME}", "a#b", "it's", "ż", "line\nbreak", ""] {
        let refused = bench.run(&["init", name]).expect(2);
        refused.says("a pipeline's name is 1 to 100 letters, digits, `_` or `-`").says("hint: give it another one");
        assert!(!bench.path(&format!("{name}.yaml")).exists(), "{name}");
    }
    bench.write("in/t.csv", "a\n1\n");
    bench.run(&["init", "a: b", "--from-connection", "in"]).expect(2).says("a pipeline's name");
    assert!(!bench.path("a: b.yaml").exists());
}
