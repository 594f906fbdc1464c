"""Whole jobs beside their peers, in the same run: medians, ratios and peak memory.

    cargo build --release -p transload-cli -p transload-benches
    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install -r tests/requirements.txt
    /tmp/bench/bin/python benches/jobs.py [--scale 1] [--runs 5] [--bin target/release] [--only NAME]

Each job runs as a process of its own, in turn with its peers (A B C A B C …), after one round that is not counted.
Wall seconds and peak memory are the operating system's own figures for the finished process.
"""

import argparse
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def measure(command, cwd):
    start = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        if process.returncode not in (0, 5):
            said.seek(0)
            sys.exit(f"{command} failed: {said.read().decode()}")
    return wall, usage.ru_maxrss / 1024


def python(code):
    return [sys.executable, "-c", code]


def pipeline(folder, name, source, table, target, extra=""):
    (folder / f"{name}.yaml").write_text(
        f"version: 1\npipeline: {name}\nsource: {{ lake: {{ url: {source} }} }}\n"
        f"target: {{ lake: {{ url: {target} }} }}\n"
        f"tables:\n  - from: {table}\n    key: [l_orderkey, l_linenumber]\n{extra}"
    )


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
UNIQUE = "    checks:\n      - unique: { columns: [l_orderkey, l_linenumber] }\n"


def data(folder, binary, scale):
    """Lineitem in one Parquet file, written by DuckDB from what the tpch connector makes."""
    import duckdb

    file = folder / "in" / "lineitem" / "lineitem.parquet"
    if file.exists():
        return
    (folder / "make.yaml").write_text(
        f"version: 1\npipeline: make\nsource: {{ tpch: {{ scale: {scale} }} }}\ntarget: {{ lake: {{ url: made }} }}\n"
        "tables:\n  - from: lineitem\n    reconcile: { level: none }\n"
    )
    subprocess.run([binary, "--quiet", "run", "make.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    file.parent.mkdir(parents=True)
    duckdb.execute(
        f"copy (select * from '{folder}/made/lineitem/*.parquet' order by l_orderkey, l_linenumber) to '{file}' (format parquet, compression zstd)"
    )
    shutil.rmtree(folder / "made")


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


def race(title, commands, runs, folder):
    """Runs the commands in turn and prints for each how long it took, its peak, and how the first one compares."""
    walls = {name: [] for name in commands}
    peaks = {name: 0.0 for name in commands}
    for round in range(runs + 1):
        for name, command in commands.items():
            shutil.rmtree(folder / "copied", ignore_errors=True)
            wall, peak = measure(command, folder)
            if round:
                walls[name].append(wall)
                peaks[name] = max(peaks[name], peak)
    first = next(iter(commands))
    print(title)
    for name in commands:
        median = statistics.median(walls[name])
        ratio = statistics.median(a / b for a, b in zip(walls[first], walls[name]))
        print(f"  {name:22} {median:7.2f} s  ({min(walls[name]):.2f}–{max(walls[name]):.2f})  {peaks[name]:6.0f} MiB  {first}/this {ratio:.2f}")
    sys.stdout.flush()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--scale", type=float, default=1)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--bin", default="target/release")
    options.add_argument("--folder", default="/tmp/transload-bench")
    options.add_argument("--only", default="")
    options = options.parse_args()
    bin = pathlib.Path(options.bin).resolve()
    transload, digest = str(bin / "transload"), str(bin / "digest_file")
    folder = pathlib.Path(options.folder) / f"scale-{options.scale:g}"
    folder.mkdir(parents=True, exist_ok=True)
    # In a process of their own: a child's peak would otherwise begin at this one's.
    for prepare in [(data, (folder, transload, options.scale)), (change_rows, (folder, 100))]:
        process = multiprocessing.Process(target=prepare[0], args=prepare[1])
        process.start()
        process.join()
    file = folder / "in" / "lineitem" / "lineitem.parquet"
    pipeline(folder, "copy", "in", "lineitem", "copied", "    reconcile: { level: none }\n")
    pipeline(folder, "checked", "in", "lineitem", "copied", "    reconcile: { level: none }\n" + CHECKS)
    pipeline(folder, "unique", "in", "lineitem", "copied", "    reconcile: { level: none }\n" + UNIQUE)
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
        if not options.only or options.only == job:
            race(f"{job} (scale {options.scale:g}, {options.runs} runs)", commands, options.runs, folder)


if __name__ == "__main__":
    main()
