"""A table of PostgreSQL to Parquet by DuckDB's extension: duckdb_postgres.py URL TABLE FILE

DuckDB 1.5.5, the newest that there is a package of the extension for, from an environment of its own.
"""

import glob
import os
import sys

import duckdb
import duckdb_extension_postgres_scanner as package

url, table, file = sys.argv[1:]
(extension,) = glob.glob(os.path.dirname(package.__file__) + "/extensions/*/postgres_scanner.duckdb_extension")
duck = duckdb.connect(config={"allow_unsigned_extensions": "true"})
duck.execute(f"load '{extension}'")
duck.execute(f"attach '{url}' as pg (type postgres, read_only)")
duck.execute(f"copy (from pg.public.{table}) to '{file}' (format parquet, compression zstd)")
