"""Checks beside their peers, in the same run: medians, ratios and peak memory, measured as in jobs.py.

    cargo build --release -p transload-cli
    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install -r tests/requirements.txt
    python3 -m venv /tmp/soda3 && /tmp/soda3/bin/pip install soda-core-duckdb==3.5.6
    python3 -m venv /tmp/soda4 && /tmp/soda4/bin/pip install soda-duckdb==4.28.0
    python3 -m venv /tmp/gx && /tmp/gx/bin/pip install 'great_expectations[spark]==1.24.1' pandas pyarrow   # and a Java
    /tmp/bench/bin/python benches/quality.py --soda3 /tmp/soda3 --soda4 /tmp/soda4 --gx /tmp/gx
        [--scale 1] [--runs 5] [--bin target/release] [--only alone|load|keys] [--keys 60000000] [--cores 2]

A peer whose environment is not named is left out. Every process is held to the same cores. The jobs:

alone   Twelve checks of lineitem, without a load: 4 not_null, unique (l_orderkey, l_linenumber), 2 accepted_values,
        3 range, pattern (l_shipinstruct), foreign_key (l_suppkey in supplier). `transload run --checks-only` beside
        one query written by hand for DuckDB, with and without unique, a lazy one for polars, Soda Core 3 (SodaCL) and 4
        (a contract) on DuckDB, and Great Expectations on Spark and on pandas. What they run is in `peers/`.
load    A load of lineitem with eleven of these checks inside, all but unique, and without any.
keys    unique of a shuffled column of 60 million whole numbers within 512 MiB, beside DuckDB under the same limit.

Peak memory is that of the process itself: of Spark, whose work is done in a Java beside it, it says nothing.
"""

import pathlib
import shutil
import sys

from lineitem import NO_RECONCILE, data, made, pipeline
from timing import apart, arguments, begin, python, race

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
EXACT = "      - unique: [l_orderkey, l_linenumber]\n"
ELEVEN = """      - not_null: [l_orderkey, l_partkey, l_suppkey, l_shipdate]
      - accepted_values: { column: l_returnflag, values: [A, N, R] }
      - accepted_values: { column: l_linestatus, values: [O, F] }
      - range: { column: l_quantity, min: 1, max: 50 }
      - range: { column: l_discount, min: 0, max: 0.1 }
      - range: { column: l_tax, min: 0, max: 0.08 }
      - pattern: { column: l_shipinstruct, regex: "^[A-Z ]+$" }
      - foreign_key: { columns: [l_suppkey], references: { table: supplier, columns: [s_suppkey], in: source } }
"""


def suppliers(folder, binary, scale):
    """Supplier in one Parquet file, beside lineitem."""
    file = folder / "in" / "supplier" / "supplier.parquet"
    if file.exists():
        return
    (only,) = made(folder, binary, scale, "supplier").glob("*.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(only, file)
    shutil.rmtree(folder / "made")


def keys(folder, count):
    """Whole numbers from 0, shuffled; none is there twice."""
    import duckdb

    file = folder / "in" / f"keys-{count}" / "keys.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(
            f"copy (select i as k from range({count}) t(i) order by hash(i)) to '{file}' (format parquet, compression zstd)"
        )


def main():
    options = arguments("alone", "load", "keys")
    options.add_argument("--keys", type=int, default=60_000_000)
    for peer in ("soda3", "soda4", "gx"):
        options.add_argument(f"--{peer}", help="its virtual environment")
    options = options.parse_args()
    bin, folder = begin(options)
    transload = str(bin / "transload")
    apart(data, folder, transload, options.scale)
    apart(suppliers, folder, transload, options.scale)
    if "keys" in options.only:
        apart(keys, folder, options.keys)
    pipeline(folder, "copy", "in", "lineitem", "copied", NO_RECONCILE)
    pipeline(folder, "eleven", "in", "lineitem", "copied", f"{NO_RECONCILE}    checks:\n{ELEVEN}")
    pipeline(folder, "twelve", "in", "lineitem", "copied", f"{NO_RECONCILE}    checks:\n{EXACT}{ELEVEN}")
    (folder / "keys.yaml").write_text(
        "version: 1\npipeline: keys\nsource: { lake: { url: in } }\ntarget: { lake: { url: copied } }\n"
        f"tables:\n  - from: keys-{options.keys}\n    checks:\n      - unique: [k]\n"
    )
    run = [transload, "--quiet", "run"]
    files = [str(folder / "in" / name / f"{name}.parquet") for name in ("lineitem", "supplier")]
    query = [sys.executable, str(PEERS / "duckdb_query.py"), *files]
    alone = {
        "transload": [*run, "--checks-only", "twelve.yaml"],
        "transload, no unique": [*run, "--checks-only", "eleven.yaml"],
        "DuckDB query": query,
        "DuckDB, no unique": [*query, "--without-unique"],
        "polars": [sys.executable, str(PEERS / "polars_query.py"), *files],
    }
    for name, environment, script, *more in (
        ("Soda Core 3", options.soda3, "soda_scan.py"),
        ("Soda contract", options.soda4, "soda_contract.py"),
        ("GX on Spark", options.gx, "great_expectations_run.py", "spark"),
        ("GX on pandas", options.gx, "great_expectations_run.py", "pandas"),
    ):
        if environment:
            alone[name] = [f"{environment}/bin/python", str(PEERS / script), *files, *more]
    column = f"'{folder}/in/keys-{options.keys}/keys.parquet'"
    limited = "import duckdb; duckdb.execute(\"set memory_limit = '512MiB'; set preserve_insertion_order = false\"); "
    counted = f"duckdb.execute(\"select count(*) - count(distinct k) from {column}\").fetchall()"
    jobs = {
        "alone": alone,
        "load": {"transload 11 checks": [*run, "eleven.yaml"], "transload load": [*run, "copy.yaml"]},
        "keys": {
            "transload unique": [*run, "--checks-only", "--memory", "512MiB", "keys.yaml"],
            "DuckDB distinct": python(f"{limited}assert {counted} == [(0,)]"),
        },
    }
    for job, commands in jobs.items():
        if job in options.only:
            race(f"{job} (scale {options.scale:g}, {options.runs} runs)", commands, options.runs, folder)


if __name__ == "__main__":
    main()
