//! Delta tables that Spark, Databricks and old programs have written, read here as another reader reads them.
//!
//! The tables come with crates that other implementations test themselves with: `deltalake` 0.16.5, `delta_kernel` 0.13.0
//! and `deltalake-core` 1.1.3. The other reader is DuckDB, whose extension shares no code with what reads the rows here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::compat::{Digests, digests};
use crate::harness::{Bench, delta_reader, done, root, run_python, run_python_of};

/// The crates, the folder of each that holds tables, and its name here.
const CRATES: [(&str, &str, &str); 3] = [
    ("deltalake@0.16.5", "tests/data", "deltalake"),
    ("delta_kernel@0.13.0", "tests/data", "kernel"),
    ("deltalake-core@1.1.3", "checkpoint_v2_table", "spark4"),
];

/// Tables of which the crates hold the log, and not the files.
const WITHOUT_FILES: [&str; 5] = [
    "deltalake/checkpoint_with_partitions",
    "deltalake/checkpoints",
    "deltalake/checkpoints_vacuumed",
    "kernel/app-txn-with-last-updated",
    "kernel/with_checkpoint_no_last_checkpoint",
];

/// A million rows, which Python hashes for too long.
const LARGE: &str = "deltalake/COVID-19_NYT";

/// Tables that are refused, and what is said.
const REFUSED: [(&str, &str); 2] = [
    ("deltalake/delta-live-table", "cannot be done here yet: columnMapping"),
    ("spark4", "cannot be done here yet: columnMapping"),
];

/// Puts the tables into one folder; prints the names of all.
const GATHER: &str = r#"
import glob, json, os, shutil, sys, tarfile
import pyarrow as pa
into, crates = sys.argv[1], json.loads(sys.argv[2])
shutil.rmtree(into, ignore_errors=True)
for folder, name in crates:
    shutil.copytree(folder, f"{into}/{name}")
for archive in glob.glob(f"{into}/*/*.tar.zst"):
    with pa.input_stream(archive, compression="zstd") as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        tar.extractall(os.path.dirname(archive), filter="data")
"#;

/// Prints the digests of tables as DuckDB reads them, their partition columns last.
const THEIRS: &str = r#"
import glob, json, os, sys
folder, tables, row_hash = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
sys.path.insert(0, row_hash)
import duckdb, duckdb_extension_delta, row_hash
from deltalake import DeltaTable
extension, = glob.glob(os.path.dirname(duckdb_extension_delta.__file__) + "/extensions/*/delta.duckdb_extension")
duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
duck.execute(f"load '{extension}'")
duck.execute("set timezone = 'UTC'")
def digest(table):
    rows = duck.execute(f"select * from delta_scan('{folder}/{table}')").to_arrow_table()
    last = DeltaTable(f"{folder}/{table}").metadata().partition_columns
    return row_hash.table_digest(rows.select([c for c in rows.column_names if c not in last] + last), "xxh64")
print(json.dumps({table: digest(table) for table in tables}))
"#;

/// The folder of a crate, which Cargo gets if it is not there.
fn crate_folder(name: &str) -> PathBuf {
    let dir = tempfile::tempdir().unwrap();
    done(Command::new(env!("CARGO")).args(["info", "--quiet", name]).current_dir(dir.path()));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).unwrap();
    let sources = std::fs::read_dir(cargo.join("registry/src")).unwrap();
    let mut folders = sources.map(|registry| registry.unwrap().path().join(name.replace('@', "-")));
    folders.find(|folder| folder.is_dir()).unwrap_or_else(|| panic!("cargo has no {name}"))
}

/// The folder with all tables, made on first use beside the build.
fn golden() -> &'static Path {
    static GOLDEN: OnceLock<PathBuf> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("delta-golden");
        let stamp = folder.join("gathered.txt");
        let wanted = format!("{CRATES:?}");
        // Test processes may come here at the same time: one gathers, the others wait.
        let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        if std::fs::read_to_string(&stamp).ok().as_deref() != Some(wanted.as_str()) {
            let crates: Vec<(PathBuf, &str)> =
                CRATES.iter().map(|(name, inside, here)| (crate_folder(name).join(inside), *here)).collect();
            run_python(GATHER, &[folder.to_str().unwrap(), &json!(crates).to_string()]);
            std::fs::write(&stamp, wanted).unwrap();
        }
        folder
    })
}

/// The names of the tables in a folder, sorted.
fn tables(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    if folder.join("_delta_log").is_dir() {
        found.insert(folder.strip_prefix(root).unwrap().to_str().unwrap().to_string());
        return;
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tables(root, &path, found);
        }
    }
}

fn pipeline(tables: impl IntoIterator<Item = String>) -> String {
    format!(
        "version: 1\npipeline: test\nsource: {{ delta: {{ url: \"{}\" }} }}\ntarget: {{ lake: {{ url: lake }} }}\ntables: [{}]\n",
        golden().display(),
        tables
            .into_iter()
            .map(|table| format!("{{ from: \"{table}\", to: \"{table}\" }}"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

#[test]
fn tables_of_spark_and_of_old_programs_are_read_as_duckdb_reads_them() {
    let mut found = BTreeSet::new();
    tables(golden(), golden(), &mut found);
    let left_out = WITHOUT_FILES.iter().chain(REFUSED.iter().map(|(table, _)| table)).chain([&LARGE]);
    for table in left_out {
        assert!(found.remove(*table), "{table}");
    }
    assert_eq!(found.len(), 55, "{found:?}");
    let bench = Bench::new();
    bench.write("p.yaml", pipeline(found.iter().cloned()));
    // Some of them are empty, so not everything is compared.
    let ours = digests(&bench.run(&["run", "p.yaml"]).expect(9).last_line());
    let row_hash = root().join("tests/row_hash");
    let args = [golden().to_str().unwrap(), &json!(found).to_string(), row_hash.to_str().unwrap()];
    let theirs: Digests = serde_json::from_str(&run_python_of(delta_reader(), THEIRS, &args)).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn tables_that_cannot_be_read_are_refused_by_the_name_of_what_they_ask() {
    let bench = Bench::new();
    for (table, said) in REFUSED {
        bench.write("p.yaml", pipeline([table.to_string()]));
        bench.run(&["plan", "p.yaml"]).expect(3).says(said);
    }
}
