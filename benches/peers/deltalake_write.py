"""Parquet files into a Delta table, as they stream by: deltalake_write.py TARGET [--months] FILE …"""

import sys

import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import WriterProperties, write_deltalake

target, *files = sys.argv[1:]
by_month = "--months" in files
files = ds.dataset([file for file in files if file != "--months"], format="parquet")
columns = {name: ds.field(name) for name in files.schema.names}
if by_month:
    shipped = ds.field("l_shipdate")
    columns["ship_month"] = pc.add(pc.multiply(pc.year(shipped), 100), pc.month(shipped))
write_deltalake(
    target,
    files.scanner(columns=columns).to_reader(),
    partition_by=["ship_month"] if by_month else None,
    writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
)
