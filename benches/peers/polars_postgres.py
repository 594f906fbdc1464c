"""A table of PostgreSQL to Parquet by polars, which reads it by ConnectorX: polars_postgres.py URL TABLE COLUMN FILE"""

import sys

import polars as pl

url, table, column, file = sys.argv[1:]
rows = pl.read_database_uri(f"select * from {table}", url, partition_on=column, partition_num=2)
rows.write_parquet(file, compression="zstd")
