"""Whole jobs beside their peers, in the same run: medians, ratios and peak memory.

    cargo build --release -p transload-cli -p transload-benches
    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install -r tests/requirements.txt
    /tmp/bench/bin/python benches/jobs.py [--scale 1] [--runs 5] [--bin target/release] [--only NAME …]

Each job runs as a process of its own, in turn with its peers (A B C A B C …), after one round that is not counted.
Wall seconds and peak memory are the operating system's own figures for the finished process.
"""

from lineitem import NO_RECONCILE, data, pipeline
from timing import apart, arguments, begin, python, race

CHECKS = """    checks:
      - not_null: [l_orderkey, l_partkey, l_suppkey]
      - not_empty: [l_comment]
      - range: { column: l_quantity, min: 1, max: 50 }
      - range: { column: l_discount, min: 0, max: 0.1 }
      - range: { column: l_tax, min: 0, below: 1 }
      - range: { column: l_extendedprice, above: 0 }
      - accepted_values: { column: l_returnflag, values: [A, N, R] }
      - accepted_values: { column: l_linestatus, values: [O, F] }
      - accepted_values: { column: l_shipmode, values: [AIR, RAIL, TRUCK, MAIL, FOB, SHIP, REG AIR] }
      - length: { column: l_comment, min: 1, max: 44 }
      - not_in_future: [l_shipdate]
      - expression: { sql: "l_receiptdate > l_shipdate" }
"""
NAMES = ["digest", "sha256", "copy", "checks", "reconcile"]
UNIQUE = "    checks:\n      - unique: { columns: [l_orderkey, l_linenumber] }\n"


def change_rows(folder, count):
    """A copy in which `count` rows differ in one value."""
    import duckdb

    target = folder / "changed" / "lineitem"
    target.mkdir(parents=True, exist_ok=True)
    file = target / "lineitem.parquet"
    if not file.exists():
        step = "(select count(*) from t) // %d" % count
        duckdb.execute(f"create table t as select * from '{folder}/in/lineitem/*.parquet'")
        duckdb.execute(
            f"copy (select * replace (case when row_number() over () % ({step}) = 0 then l_comment || '!' else l_comment end as l_comment) from t)"
            f" to '{file}' (format parquet, compression zstd)"
        )


def main():
    options = arguments(*NAMES).parse_args()
    bin, folder = begin(options)
    transload, digest = str(bin / "transload"), str(bin / "digest_file")
    apart(data, folder, transload, options.scale)
    apart(change_rows, folder, 100)
    file = folder / "in" / "lineitem" / "lineitem.parquet"
    pipeline(folder, "copy", "in", "lineitem", "copied", NO_RECONCILE)
    pipeline(folder, "checked", "in", "lineitem", "copied", NO_RECONCILE + CHECKS)
    pipeline(folder, "unique", "in", "lineitem", "copied", NO_RECONCILE + UNIQUE)
    pipeline(folder, "equal", "in", "lineitem", "in", "    to: lineitem/lineitem.parquet\n")
    pipeline(folder, "differ", "in", "lineitem", "changed")
    duck = "import duckdb; "
    columns = "l_orderkey,l_partkey,l_suppkey,l_linenumber,l_quantity,l_extendedprice,l_discount,l_tax,l_returnflag,l_linestatus,l_shipdate,l_commitdate,l_receiptdate,l_shipinstruct,l_shipmode,l_comment"
    jobs = {
        "digest": {
            "transload xxh64": [digest, "in", "lineitem", "xxh64"],
            "transload read": [digest, "in", "lineitem", "read"],
            "polars hash_rows": python(f"import polars as pl; pl.read_parquet('{file}').hash_rows().sum()"),
            "duckdb hash": python(duck + f"duckdb.execute(\"select sum(hash({columns})::hugeint) from '{file}'\").fetchall()"),
        },
        "sha256": {
            "transload sha256": [digest, "in", "lineitem", "sha256"],
            "duckdb sha256": python(duck + f"duckdb.execute(\"select count(distinct sha256(concat_ws('|',{columns}))[1:4]) from '{file}'\").fetchall()"),
        },
        "copy": {
            "transload copy": [transload, "--quiet", "run", "copy.yaml"],
            "duckdb copy": python(duck + f"duckdb.execute(\"copy (select * from '{file}') to '{folder}/duck.parquet' (format parquet, compression zstd)\")"),
        },
        "checks": {
            "transload 12 checks": [transload, "--quiet", "run", "checked.yaml"],
            "transload unique": [transload, "--quiet", "run", "unique.yaml"],
            "transload copy": [transload, "--quiet", "run", "copy.yaml"],
        },
        "reconcile": {
            "transload equal": [transload, "--quiet", "reconcile", "equal.yaml"],
            "transload 100 differ": [transload, "--quiet", "reconcile", "differ.yaml"],
            "transload xxh64": [digest, "in", "lineitem", "xxh64"],
        },
    }
    for job, commands in jobs.items():
        if job in options.only:
            race(f"{job} (scale {options.scale:g}, {options.runs} runs)", commands, options.runs, folder)


if __name__ == "__main__":
    main()
