"""Parquet files into a folder for each month: duckdb_months.py TARGET FILE …"""

import sys

import duckdb

target, *files = sys.argv[1:]
duckdb.execute(
    f"copy (select *, year(l_shipdate) * 100 + month(l_shipdate) as ship_month from read_parquet({files}))"
    f" to '{target}' (format parquet, compression zstd, partition_by (ship_month))"
)
