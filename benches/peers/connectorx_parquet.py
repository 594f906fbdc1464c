"""A table of PostgreSQL to Parquet by ConnectorX, as a stream of two parts: connectorx_parquet.py URL TABLE COLUMN FILE"""

import sys

import connectorx
import pyarrow.parquet as pq

url, table, column, file = sys.argv[1:]
rows = connectorx.read_sql(url, f"select * from {table}", partition_on=column, partition_num=2, return_type="arrow_stream")
with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
    for batch in rows:
        writer.write_batch(batch)
