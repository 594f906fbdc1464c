//! Bad input gets a sentence that names it, never a panic, and nothing of it is published.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Bench, Outcome, Started, is_staging, run_python, tpch_pipeline, wait_until};

/// A bench with a pipeline that copies `t` of the folder `in`; `source` and `table` are further options and settings.
fn bench(source: &str, table: &str) -> Bench {
    let bench = Bench::new();
    bench.write(
        "p.yaml",
        format!(
            "version: 1\npipeline: test\nsource: {{ lake: {{ url: in{source} }} }}\ntarget: {{ lake: {{ url: lake }} }}\n\
             tables: [ {{ from: t{table} }} ]\n"
        ),
    );
    bench
}

/// A bench whose table is this CSV file.
fn csv(options: &str, table: &str, content: impl AsRef<[u8]>) -> Bench {
    let options = if options.is_empty() { String::new() } else { format!(", csv: {{ {options} }}") };
    let bench = bench(&format!(", format: csv{options}"), table);
    bench.write("in/t.csv", content);
    bench
}

/// Everything in the target but the lock of a commit.
fn target(bench: &Bench) -> Vec<PathBuf> {
    bench.all_files("lake").into_iter().filter(|p| !p.ends_with("_transload/lock")).collect()
}

/// Asserts that the pipeline is refused with `code`, that standard error holds every one of `words`, that nobody
/// panicked, and that nothing was published or left.
#[track_caller]
fn assert_refused(bench: &Bench, code: i32, words: &[&str]) -> Outcome {
    let before = target(bench);
    let outcome = bench.run(&["run", "p.yaml"]).expect(code);
    for word in words {
        assert!(outcome.stderr.contains(word), "`{word}` is not in:\n{}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert_eq!(target(bench), before, "{}", outcome.stderr);
    outcome
}

fn counts(outcome: &Outcome) -> [u64; 4] {
    let table = &outcome.last_line()["tables"][0];
    ["read", "written", "quarantined", "filtered"].map(|name| table[name].as_u64().unwrap())
}

/// The rows that a run put aside, read by another program.
fn quarantine(bench: &Bench) -> Vec<Value> {
    let script = "import json, sys, pyarrow.parquet as pq\n\
                  print(json.dumps([r for f in sys.argv[1:] for r in pq.read_table(f).to_pylist()], default=str))";
    let files = bench.all_files(".transload/quarantine");
    let files: Vec<&str> = files.iter().filter_map(|p| p.to_str()).filter(|p| p.ends_with(".parquet")).collect();
    serde_json::from_str(&run_python(script, &files)).unwrap()
}

/// A good Parquet file of 100 rows.
fn parquet() -> Vec<u8> {
    let bench = Bench::new();
    bench.write("make.yaml", tpch_pipeline("  - from: supplier\n"));
    bench.run(&["run", "make.yaml"]).expect(0);
    fs::read(&bench.data_files("lake")[0]).unwrap()
}

#[test]
fn a_damaged_parquet_file_is_named() {
    let good = parquet();
    let with_footer_length = |length: [u8; 4]| [b"PAR1".as_slice(), &length, b"PAR1"].concat();
    let damaged: [(&str, Vec<u8>); 13] = [
        ("empty", Vec::new()),
        ("zeros", vec![0; 1000]),
        ("a magic number", good[..4].to_vec()),
        ("cut in the middle", good[..good.len() / 2].to_vec()),
        ("cut before the footer's length", good[..good.len() - 8].to_vec()),
        ("cut by one byte", good[..good.len() - 1].to_vec()),
        ("without its first byte", good[1..].to_vec()),
        ("with bytes behind it", [good.as_slice(), b"more"].concat()),
        ("text", b"id,name\n1,a\n".to_vec()),
        ("a footer of no bytes", with_footer_length([0; 4])),
        ("a footer of four gigabytes", with_footer_length([0xff; 4])),
        ("the file twice without a footer", [&good[..good.len() / 2], &good[..good.len() / 2]].concat()),
        ("compressed", [b"\x28\xb5\x2f\xfd".as_slice(), &good[4..100]].concat()),
    ];
    for (what, content) in damaged {
        let bench = bench("", "");
        bench.write("in/t/t.parquet", content);
        let outcome = assert_refused(&bench, 3, &["t/t.parquet", "cannot be read"]);
        assert!(outcome.stderr.len() < 2000, "{what}: {}", outcome.stderr);
    }
}

#[test]
fn one_damaged_file_spoils_the_table_and_is_the_one_that_is_named() {
    let good = parquet();
    let bench = bench("", "");
    bench.write("in/t/1.parquet", &good);
    bench.write("in/t/2.parquet", &good[..500]);
    bench.write("in/t/3.parquet", &good);
    let outcome = assert_refused(&bench, 3, &["t/2.parquet"]);
    assert!(!outcome.stderr.contains("t/1.parquet"), "{}", outcome.stderr);
}

#[test]
fn discover_lists_what_can_be_read_and_names_the_rest() {
    let bench = Bench::new();
    bench.write("in/bad.parquet", "not Parquet");
    bench.write("in/good.parquet", parquet());
    bench.write("in/mixed/a.parquet", parquet());
    bench.write("in/mixed/x=1/b.parquet", parquet());
    let listed = bench.run(&["discover", "in"]).expect(3).says("path bad.parquet").says("in a folder `x=…`");
    assert!(listed.stdout.starts_with("good.parquet  (parquet, 100 rows, "), "{}", listed.stdout);
    assert_eq!(listed.stdout.matches("(parquet, ").count(), 1, "{}", listed.stdout);
    // Errors are said even where nothing else is.
    bench.run(&["discover", "in", "-q"]).expect(3).says("path bad.parquet");

    let found = bench.run(&["discover", "in", "--format", "json"]).expect(3).last_line();
    assert_eq!(found["tables"].as_array().unwrap().len(), 1, "{found}");
    let unreadable: Vec<&str> =
        found["unreadable"].as_array().unwrap().iter().map(|u| u["table"].as_str().unwrap()).collect();
    assert_eq!(unreadable, ["bad.parquet", "mixed"]);
    assert!(found["unreadable"][0]["error"].as_str().unwrap().contains("cannot be read"), "{found}");

    let draft = bench.run(&["discover", "in", "--pipeline"]).expect(3).stdout;
    assert!(draft.contains("good.parquet") && !draft.contains("bad.parquet"), "{draft}");
    fs::remove_file(bench.path("in/good.parquet")).unwrap();
    bench.run(&["discover", "in"]).expect(3);
}

#[test]
fn what_is_not_a_file_is_no_table() {
    let bench = bench("", "");
    assert_refused(&bench, 3, &["in", "hint:"]);
    fs::create_dir_all(bench.path("in/t")).unwrap();
    assert_refused(&bench, 3, &["there is no table `t`", "discover"]);
    fs::create_dir_all(bench.path("in/t/t.parquet")).unwrap();
    assert_refused(&bench, 3, &["there is no table `t`"]);
    std::os::unix::fs::symlink("nowhere", bench.path("in/t/u.parquet")).unwrap();
    assert_refused(&bench, 3, &["a symbolic link leads nowhere", "t/u.parquet"]);
}

#[test]
fn a_flipped_bit_never_makes_it_panic() {
    const FLIPS: usize = 300;
    let good = parquet();
    let try_flips = |first: usize| {
        for flip in (first..FLIPS).step_by(2) {
            let (at, bit) = (flip * good.len() / FLIPS, flip % 8);
            let mut content = good.clone();
            content[at] ^= 1 << bit;
            let bench = bench("", "");
            bench.write("in/t/t.parquet", content);
            let outcome = bench.run(&["run", "p.yaml"]);
            assert!([0, 3, 4].contains(&outcome.code), "byte {at}, bit {bit}: {outcome:?}");
            assert!(!outcome.stderr.contains("panicked"), "byte {at}, bit {bit}: {outcome:?}");
            if outcome.code == 0 {
                assert_eq!(counts(&outcome), [100, 100, 0, 0], "byte {at}, bit {bit}: {outcome:?}");
            } else {
                assert!(outcome.stderr.contains("t/t.parquet"), "byte {at}, bit {bit}: {outcome:?}");
                assert!(target(&bench).is_empty(), "byte {at}, bit {bit}: {outcome:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| try_flips(0));
        scope.spawn(|| try_flips(1));
    });
}

#[test]
fn a_parquet_file_that_loses_rows_without_a_word_is_refused() {
    const WRITE: &str = r#"
import sys, pyarrow as pa, pyarrow.parquet as pq
rows = pa.table({"id": range(100)}, schema=pa.schema([pa.field("id", pa.int64(), nullable=False)]))
pq.write_table(rows, sys.argv[1], use_dictionary=False, compression="none", write_statistics=False)
content = bytearray(open(sys.argv[1], "rb").read())
# A number is written as twice its value, in groups of seven bits.
hundred, fewer, none = b"\xc8\x01", b"\xc6\x01", b"\x80\x00"
def replace(before, by, find):
    at = find(before + hundred) + len(before)
    content[at:at + 2] = by
"#;
    const KEEP: &str = "open(sys.argv[1], 'wb').write(content)";
    // The last number of rows in the footer is that of the row group; the first, that of the only page.
    let group = (r#"replace(b"\x16", none, content.rindex)"#, "another number of rows than its row groups together");
    let page =
        (r#"replace(b"\x2c\x15", fewer, content.index)"#, "its pages hold another number of rows than its footer");
    // A filter leaves rows out, so those that come do not tell how many there were.
    for ((forge, reason), table) in [(group, ""), (page, ""), (page, ", filter: id >= 0")] {
        let bench = bench("", table);
        fs::create_dir_all(bench.path("in")).unwrap();
        let script = format!("{WRITE}{forge}\n{KEEP}");
        run_python(&script, &[bench.path("in/t.parquet").to_str().unwrap()]);
        assert_refused(&bench, 3, &["it is damaged", reason, "path t.parquet"]);
    }
}

#[test]
fn a_csv_line_that_cannot_be_read_is_named_by_its_number() {
    let cases: [(&[u8], u32, &str); 9] = [
        (b"id,name\n1,a\n2,\"b\n3,c\n", 3, "a quote is not closed"),
        (b"id,name\n1,a\n2,\"b\"x\n3,c\n", 3, "text follows a closing quote"),
        (b"id,name\n1,a\n2,5\" pipe\n3,c\n", 3, "a quote stands inside an unquoted field"),
        (b"id,name\n1,a\n2,\xff\n3,c\n", 3, "the text is not UTF-8"),
        (b"id,name\n1,a\n2,b,c\n3,c\n", 3, "3 fields where 2 are expected"),
        (b"id,name\n1,a\n2\n3,c\n", 3, "1 fields where 2 are expected"),
        (b"id,name\r\n1,a\r\n2,b,c\r\n", 3, "3 fields where 2 are expected"),
        (b"id,name\n1,\"a\nb\nc\"\n2,b,c\n", 5, "3 fields where 2 are expected"),
        (b"id,name\n1,a\n\n\n2,b,c", 5, "3 fields where 2 are expected"),
    ];
    for (content, line, reason) in cases {
        let bench = csv("", "", content);
        assert_refused(&bench, 3, &[reason, &format!("line {line}, "), "t.csv", "on_bad_line: quarantine"]);
    }
}

fn utf16(text: &str, mark: &[u8], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect()
}

#[test]
fn a_csv_file_whose_header_or_encoding_is_wrong_is_refused() {
    let cases: [(Vec<u8>, &str); 14] = [
        (utf16("id,name\n1,a\n", &[0xff, 0xfe], u16::to_le_bytes), "the file is UTF-16"),
        (utf16("id,name\n1,a\n", &[0xfe, 0xff], u16::to_be_bytes), "the file is UTF-16"),
        (utf16("id,name\n1,a\n", &[], u16::to_le_bytes), "NUL characters"),
        (utf16("id,name\n1,a\n", &[], u16::to_be_bytes), "NUL characters"),
        (utf16("\"id\",\"name\"\n1,a\n", &[], u16::to_le_bytes), "NUL characters"),
        (b"id,n\xffme\n1,a\n".to_vec(), "not UTF-8"),
        (Vec::new(), "the CSV file is empty"),
        (b"id,id\n1,2\n".to_vec(), "names `id` twice"),
        (b"id,\n1,2\n".to_vec(), "column 2 has no name"),
        (b"\"id,name\n1,2\n".to_vec(), "the header cannot be read"),
        (b"id,name\r5,6\r7,8\r".to_vec(), "a carriage return stands outside quotes"),
        (b"id,\"name\r5\",6\r7,8\n".to_vec(), "a carriage return stands outside quotes"),
        (b"id,\"na\nme\"\n1,2\n".to_vec(), "the name of column 2 in the header holds a control character"),
        (b"id,\x1b[31mname\n1,2\n".to_vec(), "the name of column 2 in the header holds a control character"),
    ];
    for (content, reason) in cases {
        assert_refused(&csv("", "", content), 3, &[reason, "t.csv"]);
    }
    let headerless = csv("header: false", "", utf16("1,a\n", &[], u16::to_le_bytes));
    assert_refused(&headerless, 3, &["NUL characters", "t.csv", "iconv"]);
}

#[test]
fn a_file_whose_lines_end_with_cr_alone_is_no_header_without_rows() {
    let bench = bench(", format: csv", "");
    bench.write("in/t/1.csv", "a,b\n1,2\n");
    bench.write("in/t/2.csv", "a,b\r5,6\r7,8\r");
    assert_refused(&bench, 3, &["the header cannot be read", "path t/2.csv", "tr '\\r' '\\n'"]);
    // Nor is it a row of many fields, or one that swallows the next.
    for content in ["5,6\r7,8\r", "5\r6\n"] {
        let headerless = csv("header: false", "", content);
        assert_refused(&headerless, 3, &["a carriage return stands outside quotes", "t.csv"]);
    }
}

#[test]
fn columns_named_like_those_of_transload_are_refused_and_not_dropped() {
    let own = |name: &str| ["a name of transload's own", name, "rename it"].map(str::to_string);
    for options in ["", "on_bad_line: quarantine"] {
        for name in ["_transload_raw", "_transload_fault", "_transload_origin"] {
            let words = own(&format!("`{name}`"));
            let words = words.each_ref().map(String::as_str);
            assert_refused(&csv(options, "", format!("id,{name}\n1,a\n")), 3, &words);
        }
    }
    let bench = bench("", "");
    let script = "import sys, pyarrow as pa, pyarrow.parquet as pq\n\
                  pq.write_table(pa.table({'id': [1, 2], '_transload_fault': [3, None]}), sys.argv[1])";
    fs::create_dir_all(bench.path("in")).unwrap();
    run_python(script, &[bench.path("in/t.parquet").to_str().unwrap()]);
    let words = own("`_transload_fault`");
    assert_refused(&bench, 3, &words.each_ref().map(String::as_str));
    let found = bench.run(&["discover", "in"]).expect(0).stdout;
    assert!(found.contains("_transload_fault"), "{found}");
}

#[test]
fn folders_whose_names_are_not_utf_8_are_refused() {
    let bench = bench(", format: csv", "");
    bench.write("in/t/x=%FF/a.csv", "id\n1\n");
    bench.write("in/t/x=%FE/b.csv", "id\n2\n");
    assert_refused(&bench, 3, &["the name of a folder is not UTF-8", "path t/x=%F", "%25"]);
}

#[test]
fn a_column_in_the_header_and_in_the_names_of_folders_is_refused() {
    let bench = bench(", format: csv", "");
    bench.write("in/t/day=1/a.csv", "id,n\n1,a\n");
    bench.write("in/t/day=2/b.csv", "id,day\n2,1\n");
    assert_refused(&bench, 3, &["the header names a column `day`", "`day=…`", "t/day=2/b.csv", "rename `day`"]);
}

#[test]
fn files_in_other_levels_of_folders_than_the_rest_are_named() {
    for (one, other, level) in [
        ("a.csv", "x=1/b.csv", "x"),
        ("x=1/b.csv", "y.csv", "x"),
        ("x=1/a.csv", "x=1/y=2/b.csv", "y"),
        ("x=1/a.csv", "y=1/b.csv", "y"),
        ("x=1/y=2/a.csv", "y=2/x=1/b.csv", "y"),
    ] {
        let bench = bench(", format: csv", "");
        for file in [one, other] {
            bench.write(&format!("in/t/{file}"), "id\n1\n");
        }
        let reason = format!("not all files of the table are in a folder `{level}=…`");
        assert_refused(&bench, 3, &[&reason, "path t/", "hint: "]);
    }
    let bench = bench("", "");
    bench.write("in/t/a.parquet", parquet());
    bench.write("in/t/x=1/b.parquet", parquet());
    assert_refused(&bench, 3, &["in a folder `x=…`", "path t/a.parquet"]);
}

#[test]
fn a_nul_behind_the_first_record_is_text_like_any_other() {
    let outcome = csv("", ", key: [id]", b"id,name\n1,a\0b\n").run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [1, 1, 0, 0]);
}

#[test]
fn a_record_without_end_is_given_up_in_time() {
    let bench = csv("", "", format!("id,name\n1,\"{}", "x\n".repeat(9 << 20)));
    assert_refused(&bench, 3, &["a quote is not closed", "line 2, "]);
}

#[test]
fn bad_lines_go_into_quarantine_with_their_reason_and_as_they_were() {
    let content = b"id,name\n1,a\n2,b,c\n3,\"x\"y\n4\n5,ok\n6,\xff\n7,\"end";
    let bench = csv("on_bad_line: quarantine", ", key: [id]", content);
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [7, 2, 5, 0]);
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], "match");
    let found: Vec<(Value, Value)> =
        quarantine(&bench).iter().map(|r| (r["_transload_raw"].clone(), r["_rules"][0]["reason"].clone())).collect();
    let expected = [
        ("2,b,c", "line 3: 3 fields where 2 are expected"),
        ("3,\"x\"y", "line 4: text follows a closing quote"),
        ("4", "line 5: 1 fields where 2 are expected"),
        ("6,\u{fffd}", "line 7: the text is not UTF-8"),
        ("7,\"end", "line 8: a quote is not closed"),
    ];
    assert_eq!(found, expected.map(|(raw, reason)| (json!(raw), json!(reason))));
    let shown = bench.run(&["show", outcome.last_line()["run_id"].as_str().unwrap()]).expect(0).stdout;
    assert!(shown.contains("7 read = 2 written + 5 quarantined + 0 filtered"), "{shown}");
    assert!(shown.contains("5 source rows put into quarantine"), "{shown}");
}

#[test]
fn text_inside_of_a_broken_quote_becomes_no_row() {
    let content = "id,name\n1,\"line one\n9,9\nend\" oops\n2,b\n3,\"open\n9,9\n";
    let bench = csv("on_bad_line: quarantine", ", key: [id]", content);
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [6, 1, 5, 0]);
    let raw: Vec<Value> = quarantine(&bench).iter().map(|r| r["_transload_raw"].clone()).collect();
    assert_eq!(raw, ["1,\"line one", "9,9", "end\" oops", "3,\"open", "9,9"].map(|line| json!(line)));
}

#[test]
fn an_empty_line_does_not_make_a_column_text() {
    let bench = csv("null_values: [NA]", ", key: [id]", "id,n\n1,2\n\n2,NA\n\n");
    let plan = bench.run(&["plan", "p.yaml"]).expect(0).stdout;
    assert_eq!(plan.matches("cast text → int64").count(), 2, "{plan}");
    assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [2, 2, 0, 0]);
}

/// Two of five values do not fit int8.
const MISFITS: &str = "id,n\n1,10\n2,much\n3,300\n4,\n5,12\n";

fn misfits(policy: &str) -> Bench {
    csv("", &format!(", key: [id], columns: {{ n: {{ cast: int8{policy} }} }}"), MISFITS)
}

/// The run's receipt says of a column: values that were changed, that became NULL, whose row was put aside.
fn losses(bench: &Bench, outcome: &Outcome, column: &str) -> [u64; 3] {
    let run = outcome.last_line()["run_id"].as_str().unwrap().to_string();
    let shown = bench.run(&["show", &run, "--format", "json"]).expect(0).last_line();
    let losses = shown["run"]["receipts"][0]["losses"].as_array().unwrap().clone();
    let loss = losses.iter().find(|l| l["column"] == column).unwrap();
    ["changed", "nulled", "quarantined"].map(|name| loss[name].as_u64().unwrap())
}

#[test]
fn a_value_that_does_not_fit_stops_the_load_unless_the_pipeline_says_otherwise() {
    let outcome = assert_refused(&misfits(""), 4, &["do not fit int8", "column n", "t.csv", "hint:"]);
    // Values of rows are not for logs.
    assert!(!outcome.stderr.contains("much"), "{}", outcome.stderr);
    assert_refused(&misfits(", on_misfit: error"), 4, &["do not fit int8"]);
}

#[test]
fn arithmetic_that_leaves_its_type_stops_the_load() {
    const ENDS: &str = "a,b\n9223372036854775807,-9223372036854775808\n";
    for sql in ["a + 1", "b - 1", "a * 2", "-b", "abs(b)", "b / -1", "case when a > 0 then a + a end"] {
        let outcome = assert_refused(
            &csv("", &format!(", derive: {{ c: '{sql}' }}"), ENDS),
            4,
            &["the expression of column c fails for a row"],
        );
        // Values of rows are not for logs.
        assert!(!outcome.stderr.contains("92233"), "{sql}: {}", outcome.stderr);
        let filter = csv("", &format!(", filter: '({sql}) <> 5'"), ENDS);
        assert_refused(&filter, 4, &["the filter fails for a row"]);
    }
    let guarded = csv("", ", derive: { c: 'case when a < 100 then a + 1 end', d: '-a', e: 'a + b' }", ENDS);
    guarded.run(&["run", "p.yaml"]).expect(0);
}

#[test]
fn a_cursor_that_cannot_be_read_would_be_loaded_again_in_every_run() {
    for policy in ["null_counted", "quarantine"] {
        let settings = format!(
            ", mode: {{ incremental: {{ cursor: c }} }}, columns: {{ c: {{ cast: int64, on_misfit: {policy} }} }}"
        );
        let bench = csv("", &settings, "id,c\n1,10\n2,abc\n");
        assert_refused(&bench, 3, &["would take the same rows again in every run", policy, "p.yaml:"]);
    }
}

#[test]
fn bad_lines_would_be_put_aside_again_in_every_incremental_run() {
    let mode = ", mode: { incremental: { cursor: id } }";
    let bench = csv("on_bad_line: quarantine", mode, "id,n\n1,10\n2,3,4\n");
    assert_refused(
        &bench,
        3,
        &["would take the same bad lines again in every run", "use `on_bad_line: error`", "p.yaml:"],
    );
    csv("", mode, "id,n\n1,10\n").run(&["run", "p.yaml"]).expect(0);
}

/// Puts other words into the bench's pipeline.
fn rewrite(bench: &Bench, words: &str, others: &str) {
    let text = fs::read_to_string(bench.path("p.yaml")).unwrap();
    assert!(text.contains(words), "{text}");
    bench.write("p.yaml", text.replace(words, others));
}

#[test]
fn how_far_one_cursor_has_come_says_nothing_of_another() {
    let bench = csv("", ", mode: { incremental: { cursor: id } }", "id,n\n1,100\n2,200\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    bench.write("in/t.csv", "id,n\n1,100\n2,200\n3,1\n");
    rewrite(&bench, "cursor: id", "cursor: n");
    assert_refused(&bench, 3, &["came by the cursor `id`", "says nothing of `n`", "go on with `id`", "p.yaml:"]);
    rewrite(&bench, "cursor: n", "cursor: id");
    assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [3, 1, 0, 2]);

    // A table that an older version has written does not say whose cursor it is.
    let manifest = "lake/t/_transload/manifest/00000000000000000002.json";
    let mut old: Value = serde_json::from_slice(&fs::read(bench.path(manifest)).unwrap()).unwrap();
    assert_eq!(old["state"], json!({ "cursor": "3", "cursor_column": "id" }));
    old["state"] = json!({ "cursor": "3" });
    bench.write(manifest, old.to_string());
    bench.run(&["run", "p.yaml"]).expect(99);
}

#[test]
fn an_incremental_load_does_not_bring_rows_again_that_came_without_a_cursor() {
    for mode in ["full", "append"] {
        let bench = csv("", &format!(", mode: {mode}"), "id,n\n1,10\n2,20\n");
        bench.run(&["run", "p.yaml"]).expect(0);
        rewrite(&bench, &format!("mode: {mode}"), "mode: { incremental: { cursor: id } }");
        assert_refused(&bench, 3, &["has rows that came without a cursor", "use another `to`", "p.yaml:"]);
        rewrite(&bench, "from: t,", "from: t, to: u,");
        assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [2, 2, 0, 0]);
        bench.run(&["run", "p.yaml"]).expect(99);
    }
    // A table that is still empty is in nobody's way.
    let bench = csv("types: { id: int64, n: int64 }", ", mode: { incremental: { cursor: id } }", "id,n\n");
    bench.run(&["run", "p.yaml"]).expect(99);
    bench.write("in/t.csv", "id,n\n1,10\n2,20\n");
    assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [2, 2, 0, 0]);
}

#[test]
fn a_filter_takes_the_same_rows_however_a_file_is_cut() {
    for rows_in_group in ["4", "2", "1"] {
        let bench = bench("", ", filter: 'f > 10'");
        fs::create_dir_all(bench.path("in")).unwrap();
        let write = "import sys, pyarrow as pa, pyarrow.parquet as q\n\
                     t = pa.table({'f': [float('nan'), 2.0, 1.0, 11.0]})\n\
                     q.write_table(t, sys.argv[1], row_group_size=int(sys.argv[2]))";
        run_python(write, &[bench.path("in/t.parquet").to_str().unwrap(), rows_in_group]);
        assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), [4, 2, 0, 2], "{rows_in_group}");
    }
}

#[test]
fn a_misfit_in_the_filter_is_not_taken_again_by_an_incremental_load() {
    for (policy, expected) in [("quarantine", [3, 1, 1, 1]), ("null_counted", [3, 2, 0, 1])] {
        let settings = format!(
            ", mode: {{ incremental: {{ cursor: id }} }}, filter: 'n > 5', \
             columns: {{ n: {{ cast: int64, on_misfit: {policy} }} }}"
        );
        let bench = csv("", &settings, "id,n\n1,10\n2,much\n3,5\n");
        assert_eq!(counts(&bench.run(&["run", "p.yaml"]).expect(0)), expected, "{policy}");
        let again = bench.run(&["run", "p.yaml"]).expect(99);
        assert_eq!(counts(&again), [3, 0, 0, 3], "{policy}: rows at or below the cursor came again");
        bench.write("in/t.csv", "id,n\n1,10\n2,much\n3,5\n4,more\n5,9\n");
        let [_, written, quarantined, _] = expected;
        let more = counts(&bench.run(&["run", "p.yaml"]).expect(0));
        assert_eq!(more, [5, written, quarantined, 3], "{policy}");
    }
}

#[test]
fn a_misfit_lets_a_row_through_only_where_the_rest_of_the_filter_does() {
    const ROWS: &str = "id,n,m\n1,much,1\n2,7,1\n3,8,1\n4,much,1\n5,much,more\n6,9,more\n7,9,0\n";
    let columns = "columns: { n: { cast: int64, on_misfit: quarantine }, m: { cast: int64, on_misfit: quarantine } }";
    for (filter, expected) in [
        ("n > 5", [7, 3, 4, 0]),
        ("id > 2 and n > 5", [7, 2, 3, 2]),
        ("n > 5 and m = 1", [7, 2, 4, 1]),
        ("n > 8 and m = 1 and id <> 4", [7, 0, 3, 4]),
        ("id > 2 or n > 5", [7, 3, 4, 0]),
    ] {
        let bench = csv("", &format!(", filter: '{filter}', {columns}"), ROWS);
        let outcome = bench.run(&["run", "p.yaml"]);
        assert!([0, 9].contains(&outcome.code), "{filter}: {outcome:?}");
        assert_eq!(counts(&outcome), expected, "{filter}");
    }
}

#[test]
fn a_misfit_is_judged_alike_however_a_file_is_cut() {
    for rows_in_group in ["4", "2", "1"] {
        let columns = "columns: { n: { cast: int64, on_misfit: quarantine } }";
        let bench = bench("", &format!(", filter: 'id > 2 and n > 5', {columns}"));
        fs::create_dir_all(bench.path("in")).unwrap();
        let write = "import sys, pyarrow as pa, pyarrow.parquet as q\n\
                     t = pa.table({'id': [1, 2, 3, 4], 'n': ['much', '7', '8', 'much']})\n\
                     q.write_table(t, sys.argv[1], row_group_size=int(sys.argv[2]))";
        run_python(write, &[bench.path("in/t.parquet").to_str().unwrap(), rows_in_group]);
        let [_, written, quarantined, _] = counts(&bench.run(&["run", "p.yaml"]).expect(0));
        assert_eq!([written, quarantined], [1, 1], "{rows_in_group}");
    }
}

#[test]
fn a_misfit_in_parquet_names_the_row_group() {
    let bench = bench("", ", columns: { s_name: { cast: int64 } }");
    bench.write("in/t/t.parquet", parquet());
    let outcome = assert_refused(&bench, 4, &["do not fit int64", "split t/t.parquet row group 0"]);
    assert!(!outcome.stderr.contains("row groups"), "{}", outcome.stderr);
}

#[test]
fn misfits_that_become_null_are_counted() {
    let bench = misfits(", on_misfit: null_counted");
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [5, 5, 0, 0]);
    assert_eq!(losses(&bench, &outcome, "n"), [0, 2, 0]);
}

#[test]
fn misfits_that_are_put_aside_keep_their_value_and_a_reason() {
    let bench = misfits(", on_misfit: quarantine");
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [5, 3, 2, 0]);
    assert_eq!(losses(&bench, &outcome, "n"), [0, 0, 2]);
    let found: Vec<Value> = quarantine(&bench)
        .iter()
        .map(|r| json!([r["id"], r["n"], r["_rules"][0]["code"], r["_rules"][0]["reason"]]))
        .collect();
    let expected = [("2", "much"), ("3", "300")];
    assert_eq!(found, expected.map(|(id, n)| json!([id, n, "C001", "n does not fit int8"])));
}

#[test]
fn what_casts_lose_is_counted_for_rows_that_are_written() {
    const ROWS: &str = "id,n,f,day\n1,10,0.1,2024-01-01\n2,much,16777217,2024-01-02\n3,much,16777217,never\n\
                        4,much,16777217,2024-01-04\n5,12,0.5,2024-01-05\n";
    let columns = "n: { cast: int8, on_misfit: null_counted }, f: { cast: float32 }, \
                   day: { cast: date, on_misfit: quarantine }";
    let bench = csv("", &format!(", columns: {{ {columns} }}, filter: 'id <> 4'"), ROWS);
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(counts(&outcome), [5, 3, 1, 1]);
    let found = ["f", "n", "day"].map(|column| losses(&bench, &outcome, column));
    assert_eq!(found, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]);

    let bench = csv("", ", columns: { f: { cast: float32 } }", "f\n0.1\n16777217\n");
    let outcome = bench.run(&["run", "p.yaml"]).expect(0);
    assert_eq!(losses(&bench, &outcome, "f"), [1, 0, 0]);
}

/// As `docs/pipelines.md` says where masks are described.
#[test]
fn rows_in_quarantine_are_as_the_source_gave_them_whatever_the_target_hides() {
    let columns = "n: { cast: int8, on_misfit: quarantine }, name: { mask: redact }, note: { drop: true }";
    let bench = csv("", &format!(", columns: {{ {columns} }}"), "n,name,note\n1,Ada,x\nmuch,Bob,y\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    let found: Vec<Value> = quarantine(&bench).iter().map(|r| json!([r["n"], r["name"], r["note"]])).collect();
    assert_eq!(found, [json!(["much", "Bob", "y"])]);
}

#[test]
fn misfits_that_stay_text_or_widen_the_column_lose_nothing() {
    for policy in ["text", "widen"] {
        let bench = misfits(&format!(", on_misfit: {policy}"));
        let outcome = bench.run(&["run", "p.yaml"]).expect(0);
        assert_eq!(counts(&outcome), [5, 5, 0, 0], "{policy}");
        let found = bench.run(&["discover", "lake", "--format", "json"]).expect(0).last_line();
        assert_eq!(found["tables"][0]["columns"][1], json!(["n", "text", true]), "{policy}");
    }
}

#[test]
fn a_plan_whose_source_has_changed_is_refused() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("changed after it was pinned", |file| fs::write(file, "id,n\n1,10\n2,21\n").unwrap()),
        ("changed after it was pinned", |file| fs::write(file, "id,n\n1,10\n2,20\n3,30\n").unwrap()),
        ("changed after it was pinned", |file| {
            // The same content in another file is not the file that was pinned.
            fs::copy(file, file.with_extension("new")).unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        }),
        ("is gone", |file| fs::remove_file(file).unwrap()),
    ];
    for (reason, change) in changes {
        let bench = bench(", format: csv", "");
        let file = bench.write("in/t/1.csv", "id,n\n1,10\n2,20\n");
        bench.write("in/t/2.csv", "id,n\n3,30\n");
        bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
        change(&file);
        bench.run(&["run", "--plan", "plan.json"]).expect(3).says(reason).says("t/1.csv").says("make a new plan");
        assert!(target(&bench).is_empty(), "{reason}");
    }
}

#[test]
fn a_plan_that_was_edited_is_refused() {
    let bench = csv("", "", "id,n\n1,10\n");
    bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    let plan = fs::read_to_string(bench.path("plan.json")).unwrap();
    bench.write("plan.json", plan.replace("t.csv", "u.csv"));
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("plan.json").says("was changed after it was made");
    bench.write("plan.json", &plan[..plan.len() / 2]);
    bench.run(&["run", "--plan", "plan.json"]).expect(3).says("plan.json").says("is not a plan");
    bench.write("plan.json", plan);
    bench.run(&["run", "--plan", "plan.json"]).expect(0);
}

/// A CSV file that takes several reads.
fn long_csv(word: &str) -> String {
    let mut text = String::from("id,word\n");
    (0..200_000).for_each(|id| text.push_str(&format!("{id},{word} {id}\n")));
    text
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named_and_nothing_is_published() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("replaced", |file| {
            fs::write(file.with_extension("new"), long_csv("other")).unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        }),
        ("cut", |file| fs::write(file, "id,word\n").unwrap()),
        ("removed", |file| fs::remove_file(file).unwrap()),
    ];
    for (what, change) in changes {
        let bench = csv("", "", long_csv("word"));
        // One batch of 8192 rows in 100 ms: the change comes long before the last read.
        let load = Started::new(&bench, &["run", "p.yaml"], "stage.batch=sleep(100)");
        wait_until("staging", || is_staging(&bench));
        change(&bench.path("in/t.csv"));
        let outcome = load.ended().expect(3);
        assert!(outcome.stderr.contains("t.csv"), "{what}: {}", outcome.stderr);
        assert!(target(&bench).is_empty(), "{what}: {:?}", target(&bench));
    }
}

#[test]
fn a_source_that_changes_before_the_comparison_is_not_called_a_match() {
    let bench = csv("", ", key: [id]", "id,n\n1,10\n");
    let load = Started::new(&bench, &["run", "p.yaml"], "reconcile.begun=sleep(500)");
    wait_until("a receipt", || {
        bench.all_files(".transload/runs").iter().any(|p| p.to_string_lossy().contains("/receipt-"))
    });
    bench.write("in/t.csv", "id,n\n1,11\n");
    let outcome = load.ended().expect(3).says("t.csv").says("changed after it was pinned");
    assert_eq!(outcome.last_line()["tables"][0]["verdict"], Value::Null);
    assert_eq!(counts(&outcome), [1, 1, 0, 0]);
}

#[test]
fn a_file_where_a_folder_is_needed_is_said_and_not_tried_again() {
    for taken in ["lake", "lake/t", "lake/t/_transload", ".transload", ".transload/runs", ".transload/artifacts"] {
        let bench = csv("", "", "id,n\n1,10\n");
        bench.write(taken, "a file");
        let outcome = assert_refused(&bench, 3, &[taken]);
        assert!(!outcome.stderr.contains("resume"), "{taken}: {}", outcome.stderr);
        assert_eq!(fs::read_to_string(bench.path(taken)).unwrap(), "a file");
    }
}

#[test]
fn a_target_where_nothing_can_be_made_is_refused() {
    // Tests may run as root, whom no mode of a folder keeps out; nobody can make a folder in /proc.
    let bench = csv("", "", "id,n\n1,10\n");
    let text = fs::read_to_string(bench.path("p.yaml")).unwrap().replace("url: lake", "url: /proc/lake");
    bench.write("p.yaml", text);
    assert_refused(&bench, 3, &["/proc/lake"]);
}

#[test]
fn files_that_transload_did_not_write_are_never_replaced() {
    let bench = csv("", "", "id,n\n1,10\n");
    let foreign = bench.write("lake/t/precious.parquet", "not ours");
    assert_refused(&bench, 3, &["files that transload did not write", "t/precious.parquet"]);
    assert_eq!(fs::read_to_string(foreign).unwrap(), "not ours");
}

#[test]
fn a_damaged_manifest_is_named() {
    let bench = csv("", "", "id,n\n1,10\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    let manifest = "lake/t/_transload/manifest/00000000000000000001.json";
    let good = fs::read_to_string(bench.path(manifest)).unwrap();
    bench.write(manifest, &good[..good.len() / 2]);
    assert_refused(&bench, 3, &["the manifest of a table cannot be read", "t/_transload/manifest/"]);
    bench.write(manifest, good.replace("\"format\": 1", "\"format\": 3"));
    assert_refused(&bench, 3, &["has format 3", "use a newer transload"]);
}

#[test]
fn a_table_whose_files_were_removed_by_hand_is_not_read() {
    let bench = csv("", "", "id,n\n1,10\n");
    bench.run(&["run", "p.yaml"]).expect(0);
    let file = bench.data_files("lake")[0].clone();
    fs::remove_file(&file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap().to_string();
    bench.run(&["reconcile", "p.yaml"]).expect(3).says(&name).says("someone changed the folder by hand");
}

const SECRET: &str = "s3cr3t-8f1d";

/// Runs with the variable WHERE set.
fn run_where(bench: &Bench, args: &[&str], value: &str) -> Outcome {
    let output = bench.command(args).env("WHERE", value).output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
fn assert_silent(outcome: &Outcome) {
    assert!(!outcome.stdout.contains(SECRET), "standard output shows it: {}", outcome.stdout);
    assert!(!outcome.stderr.contains(SECRET), "standard error shows it: {}", outcome.stderr);
}

fn assert_silent_ledger(bench: &Bench) {
    for file in bench.all_files(".transload") {
        let content = fs::read(&file).unwrap();
        let shown = content.windows(SECRET.len()).any(|w| w == SECRET.as_bytes());
        assert!(!shown, "{} holds it", file.display());
    }
}

/// A bench whose source or target lies in a folder that only the variable WHERE names.
fn referring(side: &str) -> Bench {
    let bench = csv("", ", key: [id]", "id,n\n1,10\n");
    let text = fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace(&format!("url: {side}"), "url: \"${env:WHERE}\""));
    if side == "in" {
        fs::rename(bench.path("in"), bench.path(SECRET)).unwrap();
    }
    bench
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    for side in ["in", "lake"] {
        let bench = referring(side);
        bench.run(&["check", "p.yaml"]).expect(0);
        bench.run(&["run", "p.yaml"]).expect(3).says("WHERE is not set").says("export WHERE=");
    }
    let bench = csv("", "", "id,n\n1,10\n");
    let text = fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("url: lake", "url: \"${file:gone.txt}\""));
    bench.run(&["run", "p.yaml"]).expect(3).says("gone.txt");
}

#[test]
fn the_value_of_a_reference_is_never_printed_or_kept() {
    for side in ["in", "lake"] {
        let bench = referring(side);
        let run = run_where(&bench, &["run", "p.yaml"], SECRET).expect(0);
        assert_silent(&run);
        let run = run.last_line()["run_id"].as_str().unwrap().to_string();
        let verbs: [&[&str]; 9] = [
            &["check", "p.yaml"],
            &["plan", "p.yaml"],
            &["plan", "p.yaml", "--format", "json"],
            &["plan", "p.yaml", "--save", "plan.json"],
            &["discover", "p.yaml"],
            &["discover", "p.yaml", "--target", "--pipeline"],
            &["reconcile", "p.yaml"],
            &["show", &run, "--plan"],
            &["show", &run, "--plan", "--format", "json"],
        ];
        for verb in verbs {
            assert_silent(&run_where(&bench, verb, SECRET).expect(0));
        }
        assert!(!fs::read_to_string(bench.path("plan.json")).unwrap().contains(SECRET));
        assert_silent_ledger(&bench);
    }
}

#[test]
fn the_value_of_a_reference_is_not_logged() {
    for side in ["in", "lake"] {
        let bench = referring(side);
        assert_silent(&run_where(&bench, &["run", "p.yaml", "--log", "debug"], SECRET).expect(0));
    }
}

#[test]
fn the_value_of_a_reference_is_not_in_errors() {
    let bench = referring("in");
    assert_silent(&run_where(&bench, &["run", "p.yaml"], &format!("gone-{SECRET}")).expect(3));
    assert_silent(&run_where(&bench, &["run", "p.yaml"], &format!("s3://user:{SECRET}@host/x")).expect(3));
    let text = fs::read_to_string(bench.path("p.yaml")).unwrap();
    bench.write("p.yaml", text.replace("from: t", "from: u"));
    assert_silent(&run_where(&bench, &["run", "p.yaml"], SECRET).expect(3));
    let bench = referring("lake");
    bench.write(SECRET, "a file where a folder is needed");
    assert_silent(&run_where(&bench, &["run", "p.yaml"], SECRET));
    assert_silent(&run_where(&bench, &["run", "p.yaml"], &format!("/proc/{SECRET}")).expect(3));
    assert_silent_ledger(&bench);
}
