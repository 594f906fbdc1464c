//! Parquet of old writers: days of the Julian calendar, and INT96 timestamps taken from the clock of a zone. What a file
//! means is what it says, or what the pipeline says; nothing is guessed.

use serde_json::Value;

use crate::compat::{Digests, computed, digests, python};
use crate::harness::Bench;

/// What the scripts have in common: files of writers that leave these notes.
const NOTES: &str = r#"
def noted(table, **notes):
    return table.replace_schema_metadata({key.replace("_", "."): value for key, value in notes.items()})
spark2 = {"org_apache_spark_version": "2.4.8"}
spark3 = {"org_apache_spark_version": "3.5.1"}
legacy = {**spark3, "org_apache_spark_legacyDateTime": ""}
hive = {"writer_date_proleptic": "false", "writer_time_zone": "UTC"}
"#;

/// Writes a pipeline that copies every table of `src`, read with these options of Parquet.
fn write_pipeline(bench: &Bench, options: &str, table: &str) {
    let source = format!("source: {{ lake: {{ url: src, parquet: {{ {options} }} }} }}");
    let tables = format!("tables: [{{ from: '*'{table} }}]");
    let target = "target: { lake: { url: lake } }";
    bench.write("p.yaml", format!("version: 1\npipeline: test\n{source}\n{target}\n{tables}\n"));
}

fn loaded(bench: &Bench, options: &str) -> Digests {
    write_pipeline(bench, options, "");
    digests(&bench.run(&["run", "p.yaml", "--format", "json"]).expect(0).last_line())
}

/// Refuses to load with these words and a hint.
#[track_caller]
fn refused(bench: &Bench, options: &str, words: &[&str]) {
    write_pipeline(bench, options, "");
    let mut outcome = bench.run(&["plan", "p.yaml"]).expect(3).says("hint: ");
    for word in words {
        outcome = outcome.says(word);
    }
}

#[test]
fn days_of_the_julian_calendar_are_read_as_the_pipeline_says() {
    let script = r#"
stored = [dt.date(2024, 1, 1), dt.date(1582, 10, 14), dt.date(1500, 1, 10), None]
meant = [dt.date(2024, 1, 1), dt.date(1582, 10, 4), dt.date(1500, 1, 1), None]
def table(days):
    times = [day and dt.datetime.combine(day, dt.time(12, 0, 0, 1)) for day in days]
    return pa.table({
        "id": [1, 2, 3, 4], "day": days, "at": pa.array(times, pa.timestamp("us")),
        "all": [None if day is None else [{"day": day}, None] for day in days],
    })
for name, notes in (("spark2", spark2), ("legacy", legacy), ("hive", hive)):
    pq.write_table(noted(table(stored), **notes), file_of(name), row_group_size=2, write_statistics=name != "hive")
names = ("spark2", "legacy", "hive")
print(json.dumps([
    {name: row_hash.table_digest(table(days), "xxh64") for name in names} for days in (stored, meant)
]))
"#;
    let bench = Bench::new();
    let [as_stored, rebased]: [Digests; 2] =
        serde_json::from_str(&python(&bench, &format!("{NOTES}\n{script}"))).unwrap();
    let words = ["dates before 1582-10-15", "has counted them in the Julian calendar", "column day", "f.parquet"];
    refused(&bench, "", &words);
    refused(&bench, "legacy_calendar: refuse", &["`rebase`", "`as_stored`"]);
    assert_eq!(loaded(&bench, "legacy_calendar: as_stored"), as_stored);
    assert_eq!(loaded(&bench, "legacy_calendar: rebase"), rebased);

    // A filter is about the days that are meant, and the pages hold others.
    write_pipeline(&bench, "legacy_calendar: rebase", ", filter: \"day = date '1500-01-01'\"");
    let summary = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    for table in summary["tables"].as_array().unwrap() {
        assert_eq!((&table["written"], &table["verdict"]), (&Value::from(1), &Value::from("match")), "{table}");
    }
}

#[test]
fn what_cannot_be_of_the_julian_calendar_is_read_without_a_word() {
    let script = r#"
recent = pa.table({"day": [dt.date(1582, 10, 15), dt.date.max, None], "at": pa.array([0, -1, None], pa.timestamp("us"))})
old = pa.table({"day": [dt.date(1500, 1, 1)], "at": pa.array([dt.datetime(1, 1, 1)], pa.timestamp("us"))})
pq.write_table(noted(recent, **spark2), file_of("recent"))
pq.write_table(noted(recent, **spark2), file_of("no_statistics"), write_statistics=False)
pq.write_table(noted(old, **spark3), file_of("modern"))
pq.write_table(old, file_of("pyarrow"))
print_digests()
"#;
    let bench = Bench::new();
    let source = computed(&bench, &format!("{NOTES}\n{script}"));
    for options in ["", "legacy_calendar: rebase"] {
        assert_eq!(loaded(&bench, options), source, "{options}");
    }
}

#[test]
fn timestamps_from_the_clock_of_a_zone_are_read_as_the_pipeline_says() {
    let script = r#"
old = {"use_deprecated_int96_timestamps": True}
moments = [dt.datetime(2024, 7, 1, 10), dt.datetime(2024, 1, 1, 10, 0, 0, 1), None]
def table(hours):
    times = [at and at + dt.timedelta(hours=h) for at, h in zip(moments, hours)]
    return pa.table({"id": [1, 2, 3], "at": pa.array(times, pa.timestamp("us"))})
zoned = {"writer_time_zone": "Europe/Paris", "writer_date_proleptic": "true"}
pq.write_table(noted(table([0, 0, 0]), **zoned), file_of("t"), **old)
hours = {"stored": [0, 0, 0], "paris": [2, 1, 0], "new_york": [-4, -5, 0]}
print_digests({name: table(hours) for name, hours in hours.items()})
"#;
    let bench = Bench::new();
    let expected = computed(&bench, &format!("{NOTES}\n{script}"));
    refused(&bench, "", &["INT96 timestamps were taken from the clock of Europe/Paris", "int96_zone", "t/f.parquet"]);
    for (zone, name) in
        [("UTC", "stored"), ("writer", "paris"), ("Europe/Paris", "paris"), ("America/New_York", "new_york")]
    {
        assert_eq!(loaded(&bench, &format!("int96_zone: {zone}"))["t"], expected[name], "{zone}");
    }
}
