"""The tables that every check is tried on: rows with NULL among them, no rows, and nothing but NULL.

    python tables.py FOLDER
"""

import datetime as dt
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DAY, TIME = dt.date, dt.datetime
UTC = pa.timestamp("us", "UTC")
FIRST, SECOND = "123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"

COLUMNS = {
    "id": (pa.int64(), [1, 2, 3, 4, 5, 6]),
    "number": (pa.int64(), [1, 2, None, 4, 2, 9]),
    "rising": (pa.int64(), [1, 2, None, 2, 7, 9]),
    "price": (pa.decimal128(8, 2), [Decimal(v) if v else None for v in ("10.00", "0.50", "", "-1.25", "99.99", "10.00")]),
    "ratio": (pa.float64(), [0.5, float("nan"), None, 1.0, -0.0, 0.25]),
    "flag": (pa.bool_(), [True, False, None, True, True, False]),
    "word": (pa.string(), ["open", "paid", None, "Open ", "", "open"]),
    "status": (pa.string(), ["open", "paid", None, "open", "paid", "open"]),
    "code": (pa.string(), [FIRST, SECOND, None, "123e4567", "-", FIRST]),
    "key": (pa.string(), [FIRST, SECOND, None, FIRST, SECOND, FIRST]),
    "day": (pa.date32(), [DAY(2024, 1, 1), DAY(2024, 1, 2), None, DAY(2024, 1, 3), DAY(2024, 1, 3), DAY(2024, 1, 4)]),
    "due": (pa.date32(), [DAY(2024, 1, 1), DAY(9999, 12, 31), None, DAY(2024, 1, 7), DAY(2023, 12, 31), DAY(2024, 1, 2)]),
    "at": (UTC, [TIME(2024, 1, 1, 9), TIME(2024, 1, 1, 10), None, TIME(2024, 1, 1, 12), TIME(2024, 1, 1, 8), TIME(2024, 1, 1, 11)]),
    "pair": (pa.struct({"a": pa.int64(), "b": pa.string()}), [{"a": 1, "b": "x"}, {"a": -2, "b": None}, None, {"a": None, "b": ""}, {"a": 4, "b": "y"}, {"a": 5, "b": "z"}]),
    "list": (pa.list_(pa.int64()), [[1, 2], [], None, [None], [3], [4]]),
}


def main(folder):
    schema = pa.schema({name: type for name, (type, _) in COLUMNS.items()})
    rows = pa.table([pa.array(values, type) for type, values in COLUMNS.values()], schema)
    nulls = pa.table([pa.nulls(3, type) for type in schema.types], schema)
    for name, table in {"rows": rows, "empty": rows.slice(0, 0), "nulls": nulls}.items():
        Path(folder, name).mkdir(parents=True)
        pq.write_table(table, f"{folder}/{name}/1.parquet")


main(sys.argv[1])
