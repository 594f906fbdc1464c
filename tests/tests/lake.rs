//! Tables beside, above and below each other in one lake, and what lies there that is not theirs.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{Bench, tpch_pipeline};

/// Writes a pipeline that copies something of a lake into the folder `copy`.
fn write_copy(bench: &Bench, source: &str, from: &str) {
    let text = format!(
        "version: 1\npipeline: copy\nsource: {{ lake: {source} }}\ntarget: {{ lake: {{ url: copy }} }}\n\
         tables: [ {{ from: '{from}', to: t }} ]\n"
    );
    bench.write("copy.yaml", text);
}

/// The first table of the last line.
fn table(line: &Value) -> &Value {
    &line["tables"][0]
}

#[test]
fn a_table_is_not_loaded_into_the_folder_of_another() {
    let bench = Bench::new();
    bench.write("nation.yaml", tpch_pipeline("  - from: nation\n    to: bronze/nation\n"));
    bench.write("outer.yaml", tpch_pipeline("  - from: region\n    to: bronze\n"));
    bench.write("inner.yaml", tpch_pipeline("  - from: region\n    to: bronze/nation/x\n"));
    bench.write("beside.yaml", tpch_pipeline("  - from: region\n    to: bronze/nation_2\n"));
    // Made before there was anything to see.
    for name in ["outer", "inner"] {
        bench.run(&["plan", &format!("{name}.yaml"), "--save", &format!("{name}.json")]).expect(0);
    }
    bench.run(&["run", "nation.yaml"]).expect(0);
    let before = bench.all_files("lake");
    for name in ["outer", "inner"] {
        let (pipeline, plan) = (format!("{name}.yaml"), format!("{name}.json"));
        let attempts: [&[&str]; 3] = [&["plan", &pipeline], &["run", &pipeline], &["run", "--plan", &plan]];
        for args in attempts {
            bench.run(args).expect(3).says("would lie inside a table in `").says("use another `to`");
            assert_eq!(bench.all_files("lake"), before, "{args:?}");
        }
    }
    bench.run(&["run", "beside.yaml"]).expect(0);
    bench.run(&["run", "nation.yaml"]).expect(0);
}

#[test]
fn names_that_a_wildcard_stands_for_do_not_overlap_either() {
    let bench = Bench::new();
    bench.write("in/x/a.csv", "id\n1\n");
    bench.write("in/x/y/b.csv", "id\n2\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: p\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: lake } }\n\
         tables: [ { from: '*' } ]\n",
    );
    bench.run(&["run", "p.yaml"]).expect(3).says("the table `x/y` would lie inside the table `x`");
    assert!(bench.all_files("lake").is_empty());
}

#[test]
fn a_name_with_brackets_is_read_as_it_stands_and_never_written() {
    let bench = Bench::new();
    bench.write("in/a1.csv", "id\n1\n");
    bench.write("in/a[1].csv", "id\n1\n2\n");
    let write = |tables: &str| {
        let ends = "source: { lake: { url: in, format: csv } }\ntarget: { lake: { url: lake } }";
        bench.write("p.yaml", format!("version: 1\npipeline: p\n{ends}\ntables: [ {tables} ]\n"));
    };
    let profiled = bench.run(&["profile", "in", "--format", "json"]).expect(0).last_line();
    let rows: Vec<(&Value, &Value)> =
        profiled["tables"].as_array().unwrap().iter().map(|t| (&t["table"], &t["rows"])).collect();
    assert_eq!(rows, [(&json!("a1.csv"), &json!(1)), (&json!("a[1].csv"), &json!(2))]);
    write("{ from: '*' }");
    for command in ["plan", "run", "reconcile"] {
        let refused = bench.run(&[command, "p.yaml"]).expect(3);
        refused.says("`a[1].csv` is a pattern, and a target needs a name").says("leave `a[1].csv` out with `except`");
    }
    assert!(bench.all_files("lake").is_empty());
    write("{ from: '*', except: ['a[1].csv'] }, { from: 'a[1].csv', to: a_1 }");
    let line = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    for (table, rows) in line["tables"].as_array().unwrap().iter().zip([1, 2]) {
        assert_eq!((&table["read"], &table["verdict"]), (&json!(rows), &json!("match")), "{table}");
    }
}

#[test]
fn a_copied_file_is_not_taken_for_one_of_ours() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
    let file = bench.data_files("lake").remove(0);
    let name = file.file_name().unwrap().to_str().unwrap();
    let copy = bench.write(&format!("other/nation/{name}"), std::fs::read(&file).unwrap());
    bench.write("other.yaml", tpch_pipeline("  - from: nation\n").replace("url: lake", "url: other"));
    bench.run(&["run", "other.yaml"]).expect(3).says("files that transload did not write").says(name);
    assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(file).unwrap());
}

#[test]
fn only_published_rows_are_read_however_they_are_named() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n    to: bronze/nation\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.run_with_faults(&["run", "p.yaml"], "commit.manifest=return(kill)").expect(-1);
    assert_eq!(bench.data_files("lake").len(), 2, "the dead run has moved its file");
    for from in ["bronze/nation", "bronze", "bronze/nation/**/*.parquet", "**/*.parquet"] {
        write_copy(&bench, "{ url: lake }", from);
        let copied = bench.run(&["run", "copy.yaml"]).expect(0).last_line();
        assert_eq!((&table(&copied)["read"], &table(&copied)["verdict"]), (&25.into(), &"match".into()), "{from}");
    }

    // The first load of a table shows nothing either.
    let first = Bench::new();
    first.write("p.yaml", tpch_pipeline("  - from: nation\n    to: bronze/nation\n"));
    first.run_with_faults(&["run", "p.yaml"], "commit.manifest=return(kill)").expect(-1);
    for from in ["bronze/nation", "bronze", "bronze/nation/**/*.parquet", "**/*.parquet"] {
        write_copy(&first, "{ url: lake }", from);
        first.run(&["run", "copy.yaml"]).expect(3).says("there is no table");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_said() {
    let bench = Bench::new();
    bench.write("in/t/a.csv", "id\n1\n");
    bench.write("in/t/.draft/b.csv", "id\n2\n");
    symlink("nowhere", bench.path("in/t/.draft/gone.csv")).unwrap();
    let source = "{ url: in, format: csv }";
    for from in ["t", "t/**/*.csv"] {
        write_copy(&bench, source, from);
        bench.run(&["run", "copy.yaml"]).expect(0);
    }
    std::fs::create_dir(bench.path("in/t/deep")).unwrap();
    symlink("nowhere", bench.path("in/t/deep/gone.csv")).unwrap();
    for from in ["t", "t/**/*.csv"] {
        write_copy(&bench, source, from);
        bench.run(&["run", "copy.yaml"]).expect(3).says("a symbolic link leads nowhere").says("t/deep/gone.csv");
    }
    write_copy(&bench, source, "t/a.csv");
    bench.run(&["run", "copy.yaml"]).expect(0);

    symlink("nowhere", bench.path("in/gone.parquet")).unwrap();
    bench.run(&["discover", "in"]).expect(3).says("a symbolic link leads nowhere (path gone.parquet");
}

#[test]
fn a_folder_that_holds_itself_is_said_and_not_tried_again() {
    let bench = Bench::new();
    bench.write("in/t/a.csv", "id\n1\n");
    symlink("..", bench.path("in/t/up")).unwrap();
    write_copy(&bench, "{ url: in, format: csv }", "t");
    bench.run(&["run", "copy.yaml"]).expect(3).says("a folder holds itself through a symbolic link").says("t/up");
}

#[test]
fn the_folders_above_a_table_are_no_columns_of_it() {
    let bench = Bench::new();
    bench.write("in/sales.csv", "id,region\n1,north\n2,south\n3,\n");
    bench.write(
        "p.yaml",
        "version: 1\npipeline: p\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: lake } }\n\
         tables: [ { from: sales.csv, to: region=XX/sales, key: [id], partition_by: [ { identity: region } ] } ]\n",
    );
    let run = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!(table(&run)["verdict"], "match");
    write_copy(&bench, "{ url: lake }", "region=XX/sales");
    let copied = bench.run(&["run", "copy.yaml"]).expect(0).last_line();
    assert_eq!(table(&copied)["digest"], table(&run)["digest"]);
}
