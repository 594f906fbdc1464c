"""Loads into lakes beside their peers, and how long planning takes: medians, ratios, peak memory, measured as in jobs.py.

    cargo build --release -p transload-cli
    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install -r tests/requirements.txt
    /tmp/bench/bin/python benches/lake.py [--scale 1] [--runs 5] [--bin target/release] [--only NAME …] [--json FILE]
        [--cores 2] [--objects 100000] [--commits 1000]

Every process, the bucket's server among them, is held to the same cores. The rows are those of lineitem, from eight Parquet
files; every file is written with zstd, level 3. What can be measured:

delta         A load into a Delta table, beside the Python package `deltalake`, which gets the rows as a stream.
delta-months  The same, partitioned by the month of l_shipdate, beside it and beside DuckDB's partitioned `COPY` to Parquet.
months        A load into folders of Parquet, one for each month, beside DuckDB's `COPY` and polars.
s3            Loads into a bucket, as Parquet and as a Delta table, beside how fast the bucket takes the same bytes.
objects       Planning ten of 100,000 Parquet files, which a pattern names, so that all are listed, and all of them; and
              `discover`. In a folder and in a bucket. All of them by every footer, too, which has no bound.
log           Planning a Delta table of 1,000 commits, in a folder and in a bucket.

What is bounded says PASS or MISSED. README.md has what the figures of the bucket mean.
"""

import functools
import io
import json
import pathlib
import shutil
import statistics
import sys

import bucket
import timing
from lineitem import NO_RECONCILE, data, eight_files, pipeline
from timing import apart, arguments, begin, ratio, remove_copies

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
# A Delta table knows no month of a date, so there it is a column, as it is for the peers.
BY_MONTH = {
    "lake": "    partition_by: [ { month: l_shipdate } ]\n",
    "delta": """    derive: { ship_month: "date_part('year', l_shipdate) * 100 + date_part('month', l_shipdate)" }
    partition_by: [ { identity: ship_month } ]
""",
}
MEMORY_MIB = 512
EVERY_FOOTER = "plan all by every footer"


class Report:
    """What is printed, kept for programs too."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.lines, self.bounds = [], []

    def race(self, name, title, commands, **more):
        title = f"{name}: {title} (scale {self.options.scale:g}, {self.options.runs} runs)"
        figures = timing.race(title, commands, self.options.runs, self.folder, **more)
        self.lines += [{"line": name, "command": command, **one._asdict()} for command, one in figures.items()]
        return figures

    def bound(self, what, value, most=None, least=None, unit=""):
        """Says whether a value is within its bound."""
        holds = value <= most if least is None else value >= least
        limit = f"at most {most:g}" if least is None else f"at least {least:g}"
        print(f"  {'PASS' if holds else 'MISSED':6} {what}: {value:.2f}{unit} (bound: {limit}{unit})", flush=True)
        self.bounds.append({"what": what, "value": value, "most": most, "least": least, "holds": holds})

    def write(self, path):
        machine = timing.machine()
        text = json.dumps({"machine": machine, "scale": self.options.scale, "lines": self.lines, "bounds": self.bounds})
        pathlib.Path(path).write_text(text)


def sizes(files):
    """How many files there are that readers see, and what they come to; `files` are their paths and sizes."""
    seen = [size for path, size in files if not any(part.startswith(("_", ".")) for part in path.split("/"))]
    return {"files": len(seen), "bytes": sum(seen)}


def written(folder, _):
    """What a command has left."""
    copied = folder / "copied"
    return sizes((str(f.relative_to(copied)), f.stat().st_size) for f in copied.rglob("*") if f.is_file())


def empty(folder):
    remove_copies(folder)
    (folder / "copied").mkdir()


def peer(script, *given):
    return [sys.executable, str(PEERS / script), *map(str, given)]


def loads(run, pipeline):
    """The same load with the usual memory and with little."""
    little = f"transload {MEMORY_MIB} MiB"
    return {"transload": [*run, pipeline], little: [*run, "--memory", f"{MEMORY_MIB}MiB", pipeline]}


def memory_is_bounded(report, figures):
    for name, one in figures.items():
        if name.startswith("transload"):
            report.bound(f"peak memory of {name}", one.peak, most=MEMORY_MIB, unit=" MiB")


def delta(report, run):
    folder = report.folder
    files = sorted((folder / "in" / "lineitem8").iterdir())
    pipeline(folder, "delta", "in", "lineitem8", "copied", NO_RECONCILE, kind="delta")
    commands = {**loads(run, "delta.yaml"), "deltalake": peer("deltalake_write.py", "copied/table", *files)}
    figures = report.race("delta", "eight files to a Delta table", commands, reset=empty, look=written)
    report.bound("as long as deltalake", ratio(figures["transload"], figures["deltalake"]), most=1, unit=" ×")
    memory_is_bounded(report, figures)


def months(report, run, kind):
    """Partitioned loads into Parquet or Delta."""
    folder = report.folder
    files = sorted((folder / "in" / "lineitem8").iterdir())
    name = "months" if kind == "lake" else "delta-months"
    pipeline(folder, name, "in", "lineitem8", "copied", NO_RECONCILE + BY_MONTH[kind], kind=kind)
    commands = {**loads(run, f"{name}.yaml"), "DuckDB": peer("duckdb_months.py", "copied/table", *files)}
    if kind == "lake":
        commands["polars"] = peer("polars_months.py", "copied/table", *files)
        title = "eight files to Parquet, a folder for each month"
    else:
        commands["deltalake"] = peer("deltalake_write.py", "copied/table", "--months", *files)
        title = "eight files to a Delta table, partitioned by month"
    figures = report.race(name, title, commands, reset=empty, look=written)
    report.bound("as long as DuckDB", ratio(figures["transload"], figures["DuckDB"]), most=1.2, unit=" ×")
    memory_is_bounded(report, figures)


def s3(report, run):
    for kind in ("lake", "delta"):
        into_bucket(report, run, kind)


def into_bucket(report, run, kind):
    folder, store = report.folder, bucket.Bucket()
    pipeline(folder, "local", "in", "lineitem8", "copied", NO_RECONCILE, kind=kind)
    pipeline(folder, "bucket", "in", "lineitem8", f"s3://{bucket.NAME}/copied", NO_RECONCILE, kind=kind)
    # The bytes that the others send are those that a load has written.
    empty(folder)
    timing.measure([*run, "local.yaml"], folder)
    shutil.rmtree(folder / "sent", ignore_errors=True)
    (folder / "copied").rename(folder / "sent")
    for hidden in (folder / "sent" / "lineitem8").glob("[_.]*"):
        shutil.rmtree(hidden)
    local = [*run, "local.yaml"]
    commands = {
        "transload to bucket": [*run, "bucket.yaml"],
        "put": peer("put_in_parts.py", "sent", "copied"),
        "transload to folder": local,
        "put beside that": peer("put_in_parts.py", "sent", "copied", *local),
    }

    def reset(folder):
        empty(folder)
        store.clear("copied/")

    def look(folder, name):
        return written(folder, name) if name == "transload to folder" else sizes(store.objects("copied/"))

    words = "Parquet" if kind == "lake" else "a Delta table"
    figures = report.race("s3", f"eight files to {words} in a bucket", commands, reset=reset, look=look)
    shutil.rmtree(folder / "sent")

    def rate(name):
        one = figures[name]
        return statistics.median(seen["bytes"] / wall / 1e6 for seen, wall in zip(one.seen, one.walls))

    # Beside a load to a folder the bucket has taken what that load has written.
    loaded, alone, beside = rate("transload to bucket"), rate("put"), rate("put beside that")
    print(f"  to bucket {loaded:.0f} MB/s, put {alone:.0f} MB/s, to folder {rate('transload to folder'):.0f} MB/s,"
          f" put while a load goes to a folder {beside:.0f} MB/s")
    report.bound(f"{words}: share of the rate of put", 100 * loaded / alone, least=80, unit=" %")
    report.bound(f"{words}: share of the rate of put beside a load", 100 * loaded / beside, least=80, unit=" %")
    report.bound(f"{words}: peak memory of transload", figures["transload to bucket"].peak, most=MEMORY_MIB, unit=" MiB")


def many(folder, count):
    """A table of so many Parquet files, each of one row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "all").mkdir(parents=True)
    content = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array([1], pa.int64()), "name": ["one"]}), content)
    for number in range(count):
        (unfinished / "all" / f"{number:07}.parquet").write_bytes(content.getvalue())
    unfinished.rename(folder)


def objects(report, run):
    folder, count = report.folder, report.options.objects
    files = folder / f"files-{count}"
    apart(many, files, count)
    apart(bucket.copy, files, "many")
    transload = run[0]
    commands = {}
    for place, url in (("folder", files.name), ("bucket", f"s3://{bucket.NAME}/many")):
        for words, table, options in (
            ("plan ten", "all/000001?.parquet", ""),
            ("plan all", "all", ""),
            (EVERY_FOOTER, "all", ", parquet: { footers: all }"),
        ):
            name = f"{words.replace(' ', '-')}-{place}"
            (folder / f"{name}.yaml").write_text(
                f'version: 1\npipeline: {name}\nsource: {{ lake: {{ url: "{url}"{options} }} }}\n'
                f'target: {{ lake: {{ url: copied }} }}\ntables:\n  - from: "{table}"\n    to: copied\n'
            )
            commands[f"{words}, {place}"] = [transload, "--quiet", "plan", f"{name}.yaml"]
        commands[f"discover, {place}"] = [transload, "--quiet", "discover", f"plan-all-{place}.yaml"]
    figures = report.race("objects", f"planning among {count} files", commands)
    for name, one in figures.items():
        if not name.startswith(EVERY_FOOTER):
            report.bound(name, one.median, most=10, unit=" s")


def commits(folder, count):
    """A Delta table to which so many commits have added a row each, by the Python package, which writes checkpoints."""
    import pyarrow as pa
    from deltalake import write_deltalake

    if folder.exists():
        return
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for number in range(count):
        rows = pa.table({"id": pa.array([number], pa.int64()), "name": [f"row {number}"]})
        write_deltalake(str(unfinished), rows, mode="append")
    unfinished.rename(folder)


def log(report, run):
    folder, count = report.folder, report.options.commits
    tables = folder / "logs"
    tables.mkdir(exist_ok=True)
    apart(commits, tables / f"of{count}", count)
    apart(bucket.copy, tables, "logs")
    commands = {}
    for place, url in (("folder", "logs"), ("bucket", f"s3://{bucket.NAME}/logs")):
        (folder / f"log-{place}.yaml").write_text(
            f'version: 1\npipeline: log\nsource: {{ delta: {{ url: "{url}" }} }}\n'
            f"target: {{ lake: {{ url: copied }} }}\ntables:\n  - from: of{count}\n"
        )
        commands[f"plan, {place}"] = [run[0], "--quiet", "plan", f"log-{place}.yaml"]
    figures = report.race("log", f"planning a Delta table of {count} commits", commands)
    for name, one in figures.items():
        report.bound(name, one.median, most=1, unit=" s")


LINES = {
    "delta": delta,
    "delta-months": functools.partial(months, kind="delta"),
    "months": functools.partial(months, kind="lake"),
}
IN_A_BUCKET = {"s3": s3, "objects": objects, "log": log}


def main():
    options = arguments(*LINES, *IN_A_BUCKET)
    options.add_argument("--json", help="a file for all figures")
    options.add_argument("--objects", type=int, default=100_000)
    options.add_argument("--commits", type=int, default=1000)
    options = options.parse_args()
    bin, folder = begin(options)
    transload = str(bin / "transload")
    run = [transload, "--quiet", "run"]
    apart(data, folder, transload, options.scale)
    apart(eight_files, folder)
    report = Report(options, folder)
    print(timing.machine())
    for name, line in LINES.items():
        if name in options.only:
            line(report, run)
    wanted = [line for name, line in IN_A_BUCKET.items() if name in options.only]
    if wanted:
        with bucket.served(folder / "server"):
            for line in wanted:
                line(report, run)
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
