//! Seeded defects: reconcile finds every one, with its key and its column, and stays silent about an untouched copy.

use serde_json::{Value, json};

use crate::harness::{Bench, run_python};

/// Makes the source, spoils a copy of the target, and prints evidence.
const SCRIPT: &str = r##"
import datetime, decimal, json, math, os, random, sys
import pyarrow as pa, pyarrow.parquet as pq

SCHEMA = pa.schema([
    pa.field("id", pa.int64(), nullable=False), pa.field("part", pa.int32()), pa.field("first", pa.string()),
    pa.field("last", pa.string()), pa.field("note", pa.string()), pa.field("story", pa.string()),
    pa.field("score", pa.float64()), pa.field("price", pa.decimal128(12, 2)), pa.field("seen", pa.timestamp("us")),
    pa.field("sent", pa.timestamp("us", "UTC")), pa.field("tags", pa.list_(pa.int32())),
])

def source():
    pick, day = random.Random(7), datetime.datetime(2024, 1, 1)
    def row(i):
        return {
            "id": i, "part": i % 7, "first": "ab", "last": "c" if i == 40 else f"L{i}",
            "note": None if i % 5 == 0 else "padded   " if i % 5 == 1 else "plain",
            "story": "".join(pick.choice("abcdefgh ") for _ in range(300 + i % 40)),
            "score": 0.0 if i % 100 == 0 else pick.uniform(-1e6, 1e6),
            "price": decimal.Decimal(pick.randrange(10, 10**9) * 10 + 1).scaleb(-2),
            "seen": day + datetime.timedelta(microseconds=i * 1000003 + 1),
            "sent": (day + datetime.timedelta(microseconds=i * 7000001)).replace(tzinfo=datetime.timezone.utc),
            "tags": [i, i + 1, i + 2],
        }
    return pa.Table.from_pylist([row(i) for i in range(5000)], schema=SCHEMA)

def spoil(defect, table):
    rows, schema = table.to_pylist(), table.schema
    by_id = {r["id"]: r for r in rows}
    at = by_id.__getitem__
    def retype(column, ty):
        return schema.set(schema.get_field_index(column), pa.field(column, ty))
    match defect:
        case "untouched": pass
        case "rows shuffled": random.Random(1).shuffle(rows)
        case "columns in another order": schema = pa.schema([schema.field(n) for n in reversed(schema.names)])
        case "another layout of text": schema = retype("story", pa.large_string())
        case "two cells swapped": at(10)["story"], at(11)["story"] = at(11)["story"], at(10)["story"]
        case "two columns of a row swapped": at(12)["first"], at(12)["last"] = at(12)["last"], at(12)["first"]
        case "a row dropped": rows.remove(at(77))
        case "a row duplicated twice": rows += [dict(at(78)), dict(at(78))]
        case "a row added": rows.append(at(79) | {"id": 999999})
        case "a row dropped and another doubled":
            rows.remove(at(77))
            rows.append(dict(at(78)))
        case "a key changed": at(70)["id"] = 777777
        case "a border between columns moved": at(40).update(first="a", last="bc")
        case "NULL became an empty text": at(50)["note"] = ""
        case "NULL became a word": at(55)["note"] = "NULL"
        case "a trailing blank removed": at(56)["note"] = "padded  "
        case "text changed past 256 characters": at(59)["story"] = at(59)["story"][:299] + "#" + at(59)["story"][300:]
        case "one ulp": at(57)["score"] = math.nextafter(at(57)["score"], math.inf)
        case "the sign of zero": at(100)["score"] = -0.0
        case "not a number": at(71)["score"] = math.nan
        case "microseconds cut": at(58)["seen"] = at(58)["seen"].replace(microsecond=0)
        case "a cent": at(60)["price"] += decimal.Decimal("0.01")
        case "a decimal point moved": at(61)["price"] = (at(61)["price"] / 10).quantize(decimal.Decimal("0.01"))
        case "an hour of time zone": at(62)["sent"] += datetime.timedelta(hours=1)
        case "an element of a list": at(63)["tags"] = [63, 64, 66]
        case "elements of a list swapped": at(64)["tags"] = [65, 64, 66]
        case "another decimal type": schema = retype("price", pa.decimal128(13, 3))
        case "another integer type": schema = retype("part", pa.int64())
        case "another zone": schema = retype("sent", pa.timestamp("us", "Europe/Berlin"))
        case "the zone lost":
            schema = retype("sent", pa.timestamp("us"))
            for r in rows: r["sent"] = r["sent"].replace(tzinfo=None)
        case "the key became text":
            schema = retype("id", pa.string())
            for r in rows: r["id"] = str(r["id"])
        case "a column missing": schema = schema.remove(schema.get_field_index("note"))
        case "a column added":
            schema = schema.append(pa.field("guest", pa.string()))
            for r in rows: r["guest"] = "g"
        case "nothing left": rows = []
        case _: raise SystemExit(f"no such defect: {defect}")
    return pa.Table.from_pylist([{name: r[name] for name in schema.names} for r in rows], schema=schema)

def write(folder, table):
    os.makedirs(folder, exist_ok=True)
    half = table.num_rows // 2
    pq.write_table(table.slice(0, half), folder + "/1.parquet", row_group_size=1000)
    pq.write_table(table.slice(half), folder + "/2.parquet")

match sys.argv[1:]:
    case ["source", folder]: write(folder, source())
    case ["spoil", defect, good, bad]: write(bad, spoil(defect, pq.read_table(good)))
    case ["evidence", folder]: print(json.dumps(pq.read_table(folder).to_pylist(), default=str))
"##;

/// A loaded table whose copies can be spoilt.
struct People {
    bench: Bench,
}

/// What a comparison of the source with a spoilt copy of the target found.
struct Found {
    code: i32,
    /// The table's part of the last line.
    table: Value,
    evidence: Vec<Value>,
}

fn pipeline(target: &str, key: &str) -> String {
    format!(
        "version: 1\npipeline: people\nsource: {{ lake: {{ url: in }} }}\ntarget: {{ lake: {{ url: {target} }} }}\n\
         tables: [ {{ from: people{key} }} ]\n"
    )
}

impl People {
    fn loaded() -> Self {
        let people = Self { bench: Bench::new() };
        people.python(&["source", &people.at("in/people")]);
        people.bench.write("load.yaml", pipeline("good", ""));
        people.bench.run(&["run", "load.yaml"]).expect(0);
        people
    }

    fn at(&self, name: &str) -> String {
        self.bench.path(name).to_str().unwrap().to_string()
    }

    fn python(&self, args: &[&str]) -> String {
        run_python(SCRIPT, args)
    }

    /// Compares the source with a copy of the target that has a defect, by `key` as a pipeline says it.
    fn found(&self, defect: &str, key: &str) -> Found {
        let bad = defect.replace(' ', "-");
        self.python(&["spoil", defect, &self.at("good/people"), &self.at(&format!("{bad}/people"))]);
        self.bench.write("compare.yaml", pipeline(&bad, key));
        let outcome = self.bench.run(&["reconcile", "compare.yaml"]);
        let table = outcome.last_line()["tables"][0].clone();
        assert!(table["error"].is_null(), "{defect}{key}: {}", outcome.stderr);
        let evidence = match table["evidence"].as_str() {
            Some(folder) => serde_json::from_str(&self.python(&["evidence", &self.at(folder)])).unwrap(),
            None => Vec::new(),
        };
        Found { code: outcome.code, table, evidence }
    }

    /// Asserts that a defect is found as exactly these differences (kind, id, columns), and in nothing else.
    #[track_caller]
    fn find(&self, defect: &str, expected: &[(&str, i64, &str)]) {
        let found = self.found(defect, BY_ID);
        assert_eq!(found.code, 5, "{defect}");
        assert_eq!(found.table["verdict"], "mismatch", "{defect}");
        assert!(found.schema().is_empty(), "{defect}: {:?}", found.schema());
        let expected: Vec<_> =
            expected.iter().map(|(kind, id, columns)| (kind.to_string(), *id, columns.to_string())).collect();
        assert_eq!(found.differences(), expected, "{defect}");
        let count = |kind: &str| expected.iter().filter(|(k, ..)| k == kind).count() as u64;
        let counts = ["missing_in_target", "extra_in_target", "changed", "multiplicity"].map(count);
        assert_eq!(found.counts(), counts, "{defect}");
    }

    /// Asserts that a change inside one row is found as that.
    #[track_caller]
    fn find_change(&self, defect: &str, id: i64, columns: &str) {
        self.find(defect, &[("changed", id, columns)]);
    }

    /// Asserts that a change which keeps every row is not reported.
    #[track_caller]
    fn find_nothing(&self, change: &str) {
        for key in [BY_ID, WITHOUT_KEY, BY_PART_AND_ID] {
            let found = self.found(change, key);
            assert_eq!((found.code, &found.table["verdict"]), (0, &json!("match")), "{change}{key}");
            assert_eq!(found.counts(), [0; 4], "{change}{key}");
            assert!(found.table["evidence"].is_null(), "{change}{key}");
            assert_eq!(found.table["target_rows"], 5000, "{change}{key}");
        }
    }

    /// Asserts that a change of the columns is reported as this sentence.
    #[track_caller]
    fn find_in_columns(&self, change: &str, sentence: &str, key: &str) -> Found {
        let found = self.found(change, key);
        assert_eq!((found.code, &found.table["verdict"]), (5, &json!("mismatch")), "{change}{key}");
        assert_eq!(found.schema(), [sentence], "{change}{key}");
        found
    }
}

const BY_ID: &str = ", key: [id]";
const BY_PART_AND_ID: &str = ", key: [part, id]";
const WITHOUT_KEY: &str = "";

impl Found {
    /// Keys missing, extra, changed, and there another number of times.
    fn counts(&self) -> [u64; 4] {
        let d = &self.table["differences"];
        ["missing_in_target", "extra_in_target", "changed", "multiplicity"].map(|kind| d[kind].as_u64().unwrap())
    }

    /// Kind, key and columns of every difference, in the order of the key.
    fn differences(&self) -> Vec<(String, i64, String)> {
        let mut found: Vec<_> = self
            .evidence
            .iter()
            .map(|e| {
                let text = |name: &str| e[name].as_str().unwrap_or_default().to_string();
                (text("_difference"), e["id"].as_i64().unwrap(), text("_columns"))
            })
            .collect();
        found.sort_by_key(|(_, id, _)| *id);
        found
    }

    fn schema(&self) -> Vec<&str> {
        self.table["schema"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect()
    }
}

#[test]
fn an_untouched_copy_matches() {
    let people = People::loaded();
    people.find_nothing("untouched");
}

#[test]
fn the_order_of_rows_means_nothing() {
    let people = People::loaded();
    people.find_nothing("rows shuffled");
}

#[test]
fn the_order_of_columns_means_nothing() {
    let people = People::loaded();
    people.find_nothing("columns in another order");
}

#[test]
fn the_layout_of_text_means_nothing() {
    let people = People::loaded();
    people.find_nothing("another layout of text");
}

#[test]
fn swapped_cells_are_found() {
    let people = People::loaded();
    people.find("two cells swapped", &[("changed", 10, "story"), ("changed", 11, "story")]);
    people.find_change("two columns of a row swapped", 12, "first,last");
}

#[test]
fn missing_and_extra_rows_are_found() {
    let people = People::loaded();
    people.find("a row dropped", &[("missing_in_target", 77, "")]);
    people.find("a row added", &[("extra_in_target", 999_999, "")]);
    people.find("a key changed", &[("missing_in_target", 70, ""), ("extra_in_target", 777_777, "")]);
}

#[test]
fn duplicates_are_found_and_do_not_cancel() {
    let people = People::loaded();
    people.find("a row duplicated twice", &[("multiplicity", 78, "")]);
    people.find("a row dropped and another doubled", &[("missing_in_target", 77, ""), ("multiplicity", 78, "")]);
}

#[test]
fn changes_of_text_are_found() {
    let people = People::loaded();
    people.find_change("a border between columns moved", 40, "first,last");
    people.find_change("NULL became an empty text", 50, "note");
    people.find_change("NULL became a word", 55, "note");
    people.find_change("a trailing blank removed", 56, "note");
    people.find_change("text changed past 256 characters", 59, "story");
}

#[test]
fn changes_of_numbers_are_found() {
    let people = People::loaded();
    people.find_change("one ulp", 57, "score");
    people.find_change("the sign of zero", 100, "score");
    people.find_change("not a number", 71, "score");
    people.find_change("a cent", 60, "price");
    people.find_change("a decimal point moved", 61, "price");
}

#[test]
fn changes_of_times_are_found() {
    let people = People::loaded();
    people.find_change("microseconds cut", 58, "seen");
    people.find_change("an hour of time zone", 62, "sent");
}

#[test]
fn changes_inside_of_lists_are_found() {
    let people = People::loaded();
    people.find_change("an element of a list", 63, "tags");
    people.find_change("elements of a list swapped", 64, "tags");
}

#[test]
fn a_change_of_type_is_found_even_if_no_value_changed() {
    let people = People::loaded();
    for key in [BY_ID, WITHOUT_KEY] {
        for (change, sentence) in [
            ("another decimal type", "column price should be decimal(12,2) and is decimal(13,3)"),
            ("another integer type", "column part should be int32 and is int64"),
            ("another zone", "column sent should be timestamp(us, UTC) and is timestamp(us, Europe/Berlin)"),
        ] {
            assert_eq!(people.find_in_columns(change, sentence, key).counts(), [0; 4], "{change}{key}");
        }
    }
}

#[test]
fn a_change_of_type_that_changed_values_is_found_in_every_row() {
    let people = People::loaded();
    let sentence = "column sent should be timestamp(us, UTC) and is timestamp(us)";
    let found = people.find_in_columns("the zone lost", sentence, BY_ID);
    assert_eq!(found.counts(), [0, 0, 5000, 0]);
    assert_eq!(found.table["differences"]["columns"], json!([["sent", 5000]]));
    let found = people.find_in_columns("the zone lost", sentence, WITHOUT_KEY);
    assert_eq!(found.counts(), [5000, 5000, 0, 0]);
}

#[test]
fn a_change_of_the_key_s_type_is_a_mismatch() {
    let people = People::loaded();
    for key in [BY_ID, BY_PART_AND_ID, WITHOUT_KEY] {
        let found = people.find_in_columns("the key became text", "column id should be int64 and is text", key);
        assert_eq!(found.counts(), [5000, 5000, 0, 0], "{key}");
    }
}

#[test]
fn missing_and_extra_columns_are_found_and_the_others_compared() {
    let people = People::loaded();
    let found = people.find_in_columns("a column missing", "column note is missing in the target", BY_ID);
    assert_eq!(found.counts(), [0; 4]);
    assert_eq!(found.table["coverage"]["not_compared"], json!([["note", "missing in the target"]]));
    assert_eq!(found.table["coverage"]["columns"].as_array().unwrap().len(), 10);
    let found = people.find_in_columns("a column added", "column guest is in the target and not in the plan", BY_ID);
    assert_eq!(found.table["coverage"]["not_compared"], json!([["guest", "not in the plan"]]));
}

#[test]
fn an_emptied_table_is_a_mismatch() {
    let people = People::loaded();
    let found = people.found("nothing left", BY_ID);
    assert_eq!((found.code, found.counts()), (5, [5000, 0, 0, 0]));
    assert_eq!(found.evidence.len(), 5000);
}

#[test]
fn without_a_key_rows_are_compared_as_a_multiset() {
    let people = People::loaded();
    for (defect, counts) in [
        ("a row dropped", [1, 0, 0, 0]),
        ("a row added", [0, 1, 0, 0]),
        ("a row duplicated twice", [0, 0, 0, 1]),
        ("a row dropped and another doubled", [1, 0, 0, 1]),
        ("one ulp", [1, 1, 0, 0]),
        ("two cells swapped", [2, 2, 0, 0]),
        ("a border between columns moved", [1, 1, 0, 0]),
        ("NULL became an empty text", [1, 1, 0, 0]),
    ] {
        let found = people.found(defect, WITHOUT_KEY);
        assert_eq!((found.code, found.counts()), (5, counts), "{defect}");
        assert_eq!(found.evidence.len() as u64, counts.iter().sum::<u64>(), "{defect}");
    }
    // The evidence holds the whole row, and how often each side has it.
    let found = people.found("a row duplicated twice", WITHOUT_KEY);
    let row = &found.evidence[0];
    assert_eq!((&row["id"], &row["last"], &row["tags"]), (&json!(78), &json!("L78"), &json!([78, 79, 80])));
    assert_eq!((&row["_source_rows"], &row["_target_rows"]), (&json!(1), &json!(3)));
}

#[test]
fn a_key_of_several_columns_leads_to_the_row() {
    let people = People::loaded();
    for (defect, kind, part, id, columns) in [
        ("one ulp", "changed", 57 % 7, 57, json!("score")),
        ("a row dropped", "missing_in_target", 77 % 7, 77, json!(null)),
        ("a row duplicated twice", "multiplicity", 78 % 7, 78, json!(null)),
        ("a row added", "extra_in_target", 79 % 7, 999_999, json!(null)),
    ] {
        let found = people.found(defect, BY_PART_AND_ID);
        assert_eq!((found.code, found.evidence.len()), (5, 1), "{defect}");
        let row = &found.evidence[0];
        assert_eq!(row["_difference"], kind, "{defect}");
        assert_eq!((&row["part"], &row["id"]), (&json!(part), &json!(id)), "{defect}");
        assert_eq!(row["_columns"], columns, "{defect}");
    }
}

#[test]
fn differences_all_over_a_table_are_found_key_by_key() {
    let bench = Bench::new();
    let script = "import sys, pyarrow as pa, pyarrow.parquet as q\n\
                  import os\n\
                  os.makedirs('in/t'); os.makedirs('out/t')\n\
                  ids = list(range(150_000))\n\
                  q.write_table(pa.table({'id': ids, 'v': [i * 7 for i in ids]}), 'in/t/1.parquet')\n\
                  q.write_table(pa.table({'id': ids, 'v': [i * 7 + (i % 150 == 3) for i in ids]}), 'out/t/1.parquet')";
    run_python(&format!("import os\nos.chdir({:?})\n{script}", bench.path("").to_str().unwrap()), &[]);
    for key in ["    key: [id]\n", ""] {
        let text = format!(
            "version: 1\npipeline: wide\nsource: {{ lake: {{ url: in }} }}\ntarget: {{ lake: {{ url: out }} }}\n\
             tables:\n  - from: t\n{key}"
        );
        bench.write("p.yaml", text);
        let table = bench.run(&["reconcile", "p.yaml"]).expect(5).last_line()["tables"][0].clone();
        let found = &table["differences"];
        let kinds = ["missing_in_target", "extra_in_target", "changed", "multiplicity"];
        let counts = kinds.map(|kind| found[kind].as_u64().unwrap());
        assert_eq!(counts, if key.is_empty() { [1000, 1000, 0, 0] } else { [0, 0, 1000, 0] }, "{table}");
        let evidence = bench.path(table["evidence"].as_str().unwrap());
        let read = "import sys, pyarrow.parquet as q\n\
                    print(len({i for i in q.read_table(sys.argv[1])['id'].to_pylist() if i % 150 == 3}))";
        assert_eq!(run_python(read, &[evidence.to_str().unwrap()]).trim(), "1000");
    }
}
