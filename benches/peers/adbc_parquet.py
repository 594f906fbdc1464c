"""A table of PostgreSQL to Parquet by the ADBC driver, as a stream: adbc_parquet.py URL TABLE FILE"""

import sys

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq

url, table, file = sys.argv[1:]


def plain(type):
    """Numbers that the driver has no type for come as text that it says more about than Parquet can hold."""
    return type.storage_type if isinstance(type, pa.BaseExtensionType) else type


with adbc.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute(f"select * from {table}")
    rows = cursor.fetch_record_batch()
    schema = pa.schema([pa.field(field.name, plain(field.type)) for field in rows.schema])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in rows:
            columns = [c.storage if isinstance(c.type, pa.BaseExtensionType) else c for c in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
