"""Loads from and into PostgreSQL beside their peers: medians, ratios, peak memory, measured as in jobs.py.

    cargo build --release -p transload-cli
    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install -r tests/requirements.txt
    /tmp/bench/bin/pip install connectorx==0.4.6 adbc-driver-postgresql==1.13.0
    python3 -m venv /tmp/bench-duckdb && /tmp/bench-duckdb/bin/pip install duckdb==1.5.5 duckdb-extension-postgres-scanner==1.5.5
    /tmp/bench/bin/python benches/postgres.py [--scale 1] [--runs 5] [--bin target/release] [--only NAME …] [--json FILE]
        [--duckdb /tmp/bench-duckdb/bin/python] [--large 5] [--cores 2]

The server is that of the tests (`tests/postgres_server.py`), on the same cores, over TCP without TLS. Its tables are frozen and
read from memory. Every file is written with zstd, level 3, and transload computes its digest. What can be measured:

lineitem   Lineitem to Parquet, beside DuckDB's extension, ConnectorX, ADBC, polars, and what the server sends by two binary
           `COPY`s that nobody looks at: the floor.
wide       The same for a table with 300 columns.
text       For one whose columns are texts of up to some hundred characters.
numeric    For one of numerics and timestamps.
memory     The peak of loads of lineitem at this scale and at `--large`.
reconcile  The comparison of lineitem with the server, beside its load.
target     Lineitem from Parquet into a table of the server, beside binary `COPY … FROM STDIN` of the same rows.

What is bounded says PASS or MISSED.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

from lake import Report, empty, peer, written
from lineitem import NO_RECONCILE, data
from timing import apart, arguments, begin, machine, ratio

SERVER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "postgres_server.py"
SETTINGS = ["ssl=off", "shared_buffers=512MB", "max_wal_size=8GB", "autovacuum=off", "max_parallel_workers_per_gather=0"]
MEMORY_MIB = 256
TYPES = {"BIGINT": "bigint", "INTEGER": "integer", "DATE": "date", "VARCHAR": "text"}

# Tables that the server makes itself. Each has a whole number `id`, by which some of the peers read it in two parts.
WIDE = ["i::int", "i * {n}", "i / ({n} + 1.0)::float8", "'v' || i % {n}", "date '2024-01-01' + (i % 365)::int",
        "timestamptz '2024-01-01 00:00:00+00' + i * interval '1 s'", "(i + {n} / 100.0)::numeric(12,2)", "(i + {n}) % 2 = 0"]
MADE = {
    "wide": (60_000, ", ".join(f"{WIDE[n % len(WIDE)].format(n=n + 1)} as c{n}" for n in range(300))),
    "text": (1_000_000, "md5(i::text) as hash, repeat(md5(i::text) || ' ', 1 + (i % 8)::int) as body,"
             " case when i % 3 = 0 then null else 'note ' || i end as note, 'äöü ' || i % 100 as word"),
    "numeric": (2_000_000, "(i * 7919 % 100000007 / 100.0)::numeric(15,2) as a, (i / 7.0)::numeric(18,4) as b,"
                " (i * 1000003 / 13.0)::numeric(38,10) as c, (i % 100)::numeric(5,0) as d,"
                " (-i / 3.0)::numeric(12,2) as e, (i::numeric * i)::numeric(20,0) as f,"
                " timestamptz '2020-01-01 00:00:00+00' + i * interval '1.000001 s' as g,"
                " timestamp '2020-01-01' + i * interval '1 minute' as h"),
}


class Database:
    """A database of a server that runs."""

    def __init__(self, said):
        self.said = said
        os.environ.update(PGHOST="127.0.0.1", PGPORT=str(said["port"]), PGUSER=said["user"], PGPASSWORD=said["password"],
                          PGDATABASE="bench", PGOPTIONS="-c client_min_messages=warning")
        self.url = f"postgresql://{said['user']}:{said['password']}@127.0.0.1:{said['port']}/bench"
        self.psql = f"{said['programs']}/psql"
        self.does("create database bench owner owner", "-d", "postgres", "-U", said["superuser"])
        self.does(f"grant pg_checkpoint to {said['user']}", "-U", said["superuser"])

    def does(self, sql, *more, given=None):
        command = [self.psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *more, "-c", sql]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stdin=given or subprocess.DEVNULL, text=True).stdout.strip()

    def settle(self, table):
        """Leaves nothing to be done later."""
        self.does(f"vacuum (freeze, analyze) {table}")
        self.does("checkpoint")

    def halves(self, table):
        """Conditions for the two halves of a table's pages."""
        middle = int(self.does(f"select pg_relation_size('{table}') / 8192 / 2"))
        return [f"ctid < '({middle},0)'", f"ctid >= '({middle},0)'"]

    def sent(self, table, to):
        """A command that has the server send a table, by a connection for each half."""
        copies = [
            f"{self.psql} -X -q -c \"copy (select * from {table} where {half}) to stdout (format binary)\" > {to.format(n)}"
            for n, half in enumerate(self.halves(table))
        ]
        return ["sh", "-c", " & ".join(copies) + " & wait"]

    def connection(self):
        port = self.said["port"]
        return (f"postgres: {{ host: 127.0.0.1, port: {port}, database: bench, user: {self.said['user']},"
                ' password: "${env:PGPASSWORD}", tls: { mode: disable } }')


@contextlib.contextmanager
def served():
    """A server, which ends with this."""
    guardian = subprocess.Popen([sys.executable, "-B", str(SERVER), *SETTINGS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Database(json.loads(guardian.stdout.readline()))
    finally:
        guardian.stdin.close()
        guardian.wait()


def fill_lineitem(database, folder, table):
    """The rows of the Parquet file, in its order."""
    import duckdb

    file = folder / "in" / "lineitem" / "lineitem.parquet"
    columns = duckdb.connect().execute(f"describe select * from '{file}'").fetchall()
    types = [f"{name} {TYPES.get(type, type.replace('DECIMAL', 'numeric'))} not null" for name, type, *_ in columns]
    database.does(f"create table {table} ({', '.join(types)})")
    # The bar of its progress would stand among the rows.
    code = ("import duckdb; duck = duckdb.connect(); duck.execute('set enable_progress_bar = false'); "
            f"duck.execute(\"copy (from '{file}') to '/dev/stdout' (format csv, header false)\")")
    rows = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    database.does(f"copy {table} from stdin (format csv)", given=rows.stdout)
    rows.wait()
    database.settle(table)


def make(database, table, scale):
    rows, columns = MADE[table]
    database.does(f"create table {table} as select i as id, {columns} from generate_series(1::bigint, {int(rows * scale)}) i")
    database.settle(table)


def pipeline(folder, name, source, target, table, extra=""):
    (folder / f"{name}.yaml").write_text(
        f"version: 1\npipeline: {name}\nsource: {{ {source} }}\ntarget: {{ {target} }}\ntables:\n{table}{extra}"
    )


def from_server(report, database, run, table, key, column, peers):
    """A load of a table of the server beside its peers."""
    folder, name = report.folder, f"from-{table}"
    entry = f"  - from: {table}\n    to: {table}\n    key: [{key}]\n"
    pipeline(folder, name, database.connection(), "lake: { url: copied }", entry, NO_RECONCILE)
    duckdb = peer("duckdb_postgres.py", database.url, table, "copied/duckdb.parquet")
    all = {
        "DuckDB": [report.options.duckdb, *duckdb[1:]],
        "ConnectorX": peer("connectorx_parquet.py", database.url, table, column, "copied/connectorx.parquet"),
        "ADBC": peer("adbc_parquet.py", database.url, table, "copied/adbc.parquet"),
        "polars": peer("polars_postgres.py", database.url, table, column, "copied/polars.parquet"),
    }
    commands = {"transload": [*run, f"{name}.yaml"], "floor": database.sent(table, "/dev/null"), **{p: all[p] for p in peers}}
    figures = report.race(table, f"{table} of the server to Parquet", commands, reset=empty, look=written)
    best = min(peers, key=lambda peer: figures[peer].median)
    most = 0.9 if table == "lineitem" else 1
    report.bound(f"as long as the fastest peer ({best})", ratio(figures["transload"], figures[best]), most=most, unit=" ×")
    print(f"         as long as the floor: {ratio(figures['transload'], figures['floor']):.2f} ×")
    report.bound("peak memory of transload", figures["transload"].peak, most=MEMORY_MIB, unit=" MiB")
    return figures["transload"]


ALL = ["DuckDB", "ConnectorX", "ADBC", "polars"]


def lineitem(report, database, run):
    from_server(report, database, run, "lineitem", "l_orderkey, l_linenumber", "l_orderkey", ALL)


def made(table):
    def line(report, database, run):
        make(database, table, report.options.scale)
        from_server(report, database, run, table, "id", "id", ALL)
        database.does(f"drop table {table}")

    return line


def memory(report, database, run):
    """Whether a load of more rows needs more memory."""
    options, folder = report.options, report.folder
    large = folder.parent / f"scale-{options.large:g}"
    large.mkdir(exist_ok=True)
    apart(data, large, run[0], options.large)
    apart(fill_lineitem, database, large, "large")
    for table in ("lineitem", "large"):
        entry = f"  - from: {table}\n    to: {table}\n    key: [l_orderkey, l_linenumber]\n"
        pipeline(folder, f"memory-{table}", database.connection(), "lake: { url: copied }", entry, NO_RECONCILE)
    commands = {f"transload {table}": [*run, f"memory-{table}.yaml"] for table in ("lineitem", "large")}
    figures = report.race("memory", f"lineitem at scale {options.scale:g} and {options.large:g}", commands, reset=empty)
    small, large = (one.peak for one in figures.values())
    report.bound("peak memory at the larger scale", large, most=MEMORY_MIB, unit=" MiB")
    report.bound("as much memory as at the smaller one", large / small, most=1.15, unit=" ×")
    database.does("drop table large")


def reconcile(report, database, run):
    folder = report.folder
    entry = "  - from: lineitem\n    to: lineitem\n    key: [l_orderkey, l_linenumber]\n"
    pipeline(folder, "from-load", database.connection(), "lake: { url: copied }", entry, NO_RECONCILE)
    pipeline(folder, "from-kept", database.connection(), "lake: { url: kept }", entry)
    subprocess.run([*run, "from-kept.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    commands = {"transload reconcile": [*run[:-1], "reconcile", "from-kept.yaml"], "transload load": [*run, "from-load.yaml"]}
    figures = report.race("reconcile", "lineitem of the server against Parquet", commands, reset=empty)
    took = ratio(figures["transload reconcile"], figures["transload load"])
    report.bound("comparing, as long as the load", took, most=1.3, unit=" ×")


def target(report, database, run):
    folder = report.folder
    source = "lake: { url: in }"
    entry = "  - from: lineitem\n    to: loaded\n    key: [l_orderkey, l_linenumber]\n"
    pipeline(folder, "into", source, database.connection(), entry, NO_RECONCILE)
    subprocess.run(database.sent("lineitem", str(folder / "half{}.bin")), check=True)
    subprocess.run([database.psql, "-X", "-q", "-c", f"\\copy lineitem to '{folder}/whole.bin' (format binary)"], check=True)
    copy = f"{database.psql} -X -q -c \"copy floor from stdin (format binary)\" < {folder}"
    commands = {
        "transload": [*run, "into.yaml"],
        "COPY": ["sh", "-c", f"{copy}/whole.bin"],
        "two COPYs": ["sh", "-c", f"{copy}/half0.bin & {copy}/half1.bin & wait"],
    }

    def reset(_):
        database.does("drop table if exists loaded, floor; create table floor (like lineitem)")
        database.does("checkpoint")

    def look(_, name):
        return {"rows": int(database.does(f"select count(*) from {'loaded' if name == 'transload' else 'floor'}"))}

    figures = report.race("target", "lineitem from Parquet into the server", commands, reset=reset, look=look)
    share = {name: 100 / ratio(figures["transload"], figures[name]) for name in ("COPY", "two COPYs")}
    report.bound("share of the rate of COPY", share["COPY"], least=80, unit=" %")
    print(f"         share of the rate of two COPYs: {share['two COPYs']:.2f} %")
    report.bound("peak memory of transload", figures["transload"].peak, most=MEMORY_MIB, unit=" MiB")
    for file in ("half0.bin", "half1.bin", "whole.bin"):
        (folder / file).unlink()
    database.does("drop table if exists loaded, floor")


LINES = {"lineitem": lineitem, **{table: made(table) for table in MADE}, "memory": memory, "reconcile": reconcile, "target": target}


def main():
    options = arguments(*LINES)
    options.add_argument("--json", help="a file for all figures")
    options.add_argument("--duckdb", default="/tmp/bench-duckdb/bin/python", help="a Python with DuckDB and its extension")
    options.add_argument("--large", type=float, default=5, help="the scale at which memory is measured, too")
    options = options.parse_args()
    bin, folder = begin(options)
    transload = str(bin / "transload")
    run = [transload, "--quiet", "run"]
    apart(data, folder, transload, options.scale)
    report = Report(options, folder)
    print(machine())
    with served() as database:
        apart(fill_lineitem, database, folder, "lineitem")
        for name, line in LINES.items():
            if name in options.only:
                line(report, database, run)
    if options.json:
        report.write(options.json)


if __name__ == "__main__":
    main()
