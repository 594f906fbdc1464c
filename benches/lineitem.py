"""The data of the benchmarks, and pipelines that load it."""

import shutil
import subprocess

NO_RECONCILE = "    reconcile: { level: none }\n"


def pipeline(folder, name, source, table, target, extra="", kind="lake"):
    """Writes a pipeline for lineitem from a lake into a lake, or into a target of another kind."""
    (folder / f"{name}.yaml").write_text(
        f"version: 1\npipeline: {name}\nsource: {{ lake: {{ url: {source} }} }}\n"
        f"target: {{ {kind}: {{ url: {target} }} }}\n"
        f"tables:\n  - from: {table}\n    key: [l_orderkey, l_linenumber]\n{extra}"
    )


def made(folder, binary, scale, table):
    """A table as the tpch connector makes it, in a folder that the caller removes."""
    (folder / "make.yaml").write_text(
        f"version: 1\npipeline: make\nsource: {{ tpch: {{ scale: {scale} }} }}\ntarget: {{ lake: {{ url: made }} }}\n"
        f"tables:\n  - from: {table}\n{NO_RECONCILE}"
    )
    subprocess.run([binary, "--quiet", "run", "make.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "made" / table


def data(folder, binary, scale):
    """Lineitem in one Parquet file, written by DuckDB from what the tpch connector makes."""
    import duckdb

    file = folder / "in" / "lineitem" / "lineitem.parquet"
    if file.exists():
        return
    files = made(folder, binary, scale, "lineitem")
    file.parent.mkdir(parents=True)
    duckdb.execute(
        f"copy (select * from '{files}/*.parquet' order by l_orderkey, l_linenumber) to '{file}' (format parquet, compression zstd)"
    )
    shutil.rmtree(folder / "made")


def eight_files(folder):
    """The same rows in the same order in eight files, each with an eighth of them."""
    import duckdb

    whole, parts = folder / "in" / "lineitem" / "lineitem.parquet", folder / "in" / "lineitem8"
    if parts.exists():
        return
    unfinished = folder / "in" / "_lineitem8"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    (rows,) = duckdb.execute(f"select count(*) from '{whole}'").fetchone()
    for part in range(8):
        duckdb.execute(
            f"copy (select * exclude (file_row_number) from read_parquet('{whole}', file_row_number = true)"
            f" where file_row_number >= {rows * part // 8} and file_row_number < {rows * (part + 1) // 8})"
            f" to '{unfinished}/{part}.parquet' (format parquet, compression zstd)"
        )
    unfinished.rename(parts)
