"""A table of edge values in two files, and tables that others are compared with, drawn by lot but the same each time.

    python edges.py FOLDER

writes below FOLDER the tables edges and known, and beside the dirty data sets sensors/stations and shop/buyers.
"""

import datetime as dt
import random
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TOP = 2**63 - 1
FLOATS = [0.0, -0.0, 1.5, -1.5, 0.1, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 9007199254740993.0]
TEXTS = [
    "", " ", "  ", "\t\n", "\u00a0", "\u3000\u2003", "\u200b", "a", "a ", " a", "A", "ab", "open", "Open", "öpen", "o\u0308pen",
    "żółw", "日本語", "👍🏽", "👩\u200d👩\u200d👧", "x" * 40, "é" * 40, "\0", "a\0b", "NULL", "null", "0", "-0", "1e5", "%", "a\nb", "'", '"', "\\",
    "longer than twelve bytes", "longer than twelve byteś", "\ufeff", "\U0010ffff", "e\u0301",
]
IDS = [
    "123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000", "123e4567e89b12d3a456426614174000",
    "123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-4266141740000", "123e4567-e89b-12d3-a456_426614174000",
    "123e4567e89b-12d3-a456-426614174000", "{123e4567-e89b-12d3-a456-426614174000}", "g23e4567-e89b-12d3-a456-426614174000",
    "００００００００-0000-0000-0000-000000000000", "", " ", "\t123e4567e89b12d3a456426614174000", "0" * 32, "0" * 36, "-" * 36,
]
DAYS = [
    "2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "2024-12-31", "2024-13-01", "2024-00-10", "2024-01-00", "2024-04-31",
    "2024-1-1", "24-01-01", "2024-01-01 ", " 2024-01-01", "2024/01/01", "20240101", "0001-01-01", "9999-12-31", "10000-01-01",
    "2024-01-01T00:00:00", "-2024-01-01", "２０２４-01-01", "infinity", "epoch", "today", "", "1970-01-01 (BC)",
]


def main(folder):
    lot = random.Random("edges")
    # One in ten is NULL.
    some = lambda make: None if lot.random() < 0.1 else make()
    one_of = lambda values: some(lambda: lot.choice(values))
    # The two sides may draw the line of the present at another moment, so that nothing lies near it.
    instants = [0, -1, 1, 10**15, -(10**15), 4102444800 * 10**6 * 2, 253402300799999999, -62135596800000000]
    dates = [dt.date.min, dt.date.max, dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(2300, 1, 1)]
    types = {
        "id": (pa.int64(), lambda: lot.choice([lot.randrange(100000), None, 7])),
        "whole": (pa.int64(), lambda: one_of([0, 1, -1, 2, TOP, -TOP - 1, TOP - 1, 10**15, lot.randrange(-100, 100)])),
        "tiny": (pa.int8(), lambda: one_of([0, -128, 127, 1, -1])),
        "huge": (pa.uint64(), lambda: one_of([0, 1, 2**64 - 1, 2**63, 2**63 - 1])),
        "money": (pa.decimal128(9, 2), lambda: one_of([Decimal(v).scaleb(-2) for v in (0, 1, -1, 10, 250, 251, 999999999, -999999999)])),
        "exact": (pa.decimal128(38, 10), lambda: one_of([Decimal(v).scaleb(-10) for v in (0, 1, -1, 10**10, 5 * 10**9, 10**20, -(10**20))])),
        "float": (pa.float64(), lambda: one_of(FLOATS)),
        "single": (pa.float32(), lambda: one_of([v for v in FLOATS if v != 1.7976931348623157e308])),
        "calm": (pa.float64(), lambda: some(lambda: lot.randrange(-4000, 4000) / 16)),
        "flag": (pa.bool_(), lambda: one_of([True, False])),
        "text": (pa.string(), lambda: one_of(TEXTS)),
        "other": (pa.large_string(), lambda: one_of(TEXTS)),
        "uuid": (pa.string(), lambda: one_of(IDS)),
        "day": (pa.string(), lambda: one_of(DAYS)),
        "date": (pa.date32(), lambda: one_of(dates)),
        "at": (pa.timestamp("us"), lambda: one_of(instants)),
        "utc": (pa.timestamp("ms", "UTC"), lambda: some(lambda: lot.choice(instants) // 1000)),
        "list": (pa.list_(pa.int32()), lambda: one_of([[], [None], [1], [1, 2]])),
        "pair": (pa.struct({"a": pa.int32(), "b": pa.string()}), lambda: one_of([{"a": 1, "b": ""}, {"a": None, "b": None}, {"a": -1, "b": "x"}])),
        "none": (pa.string(), lambda: None),
    }
    Path(folder, "edges").mkdir(parents=True)
    for part in range(2):
        columns = {name: pa.array([make() for _ in range(3000)], type) for name, (type, make) in types.items()}
        pq.write_table(pa.table(columns), f"{folder}/edges/{part}.parquet", row_group_size=700)
    beside(folder, dates)


def beside(folder, dates):
    """Other tables, in types that are not quite those of their counterparts, with NULL and with rows that are there twice."""
    lot = random.Random("beside")
    numbers = lot.sample(range(100000), 4000)
    known = {
        "number": pa.array([*numbers, *numbers[:900], *[None] * 100], pa.int32()),
        "word": pa.array([lot.choice([None, *TEXTS[::2]]) for _ in range(5000)], pa.string()),
        "price": pa.array([lot.choice([None, Decimal(0), Decimal("-0.01"), Decimal("2.50")]) for _ in range(5000)], pa.decimal128(12, 2)),
        "day": pa.array([lot.choice([None, *dates[::2]]) for _ in range(5000)], pa.date32()),
        "nothing": pa.array([None] * 5000, pa.int64()),
    }
    Path(folder, "known").mkdir()
    pq.write_table(pa.table(known), f"{folder}/known/0.parquet", row_group_size=1100)
    # Every device as one of the two ways in which its readings name it, and one sensor that nobody knows.
    readings = pq.read_table(f"{folder}/sensors/readings.parquet", columns=["device"])["device"].to_pylist()
    devices = sorted({device for device in readings if len(device) == 36 and device.islower()})
    stations = {
        "number": pa.array([0, 2, None, 7, 2], pa.int8()),
        "device": pa.array([*devices[:3], None, devices[0]], pa.string()),
    }
    pq.write_table(pa.table(stations), f"{folder}/sensors/stations.parquet")
    buyers = [f"{1000 + number};2015-01-01" for number in range(400) if number % 9]
    Path(folder, "shop/buyers.csv").write_text("\n".join(["id;since", *buyers, ""]))


main(sys.argv[1])
