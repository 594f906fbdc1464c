"""Parquet files into a folder for each month: polars_months.py TARGET FILE …"""

import sys

import polars as pl

target, *files = sys.argv[1:]
shipped = pl.col("l_shipdate")
rows = pl.scan_parquet(files).with_columns(
    (shipped.dt.year().cast(pl.Int64) * 100 + shipped.dt.month().cast(pl.Int64)).alias("ship_month")
)
layout = pl.PartitionBy(target, key="ship_month", include_key=False)
rows.sink_parquet(layout, compression="zstd", compression_level=3, mkdir=True)
