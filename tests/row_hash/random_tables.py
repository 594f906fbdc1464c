"""Writes random Parquet tables with their hashes, for the comparison with the Rust binary.

    random_tables.py OUTDIR [--seed N] [--tables K]

Beside NAME.parquet stands NAME.json:

    {"rows": n, "xxh64": {"digest": "...", "row_hashes": [first 50]}, "sha256": {"digest": "...", "row_hashes": [...]}}

The values are ones that Parquet keeps exactly. That they survived is checked: the hashes of the table in memory and of
the file read back must be the same.
"""

import argparse
import json
import random
import struct
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import row_hash
from vectors import arrow_value

ALPHABET = "abcXYZ019 \t\n\0,;|\"'\\äßÜ\u0301\u0308İ東京\u200d🦀👩\ufeff\U0010ffff"
WORDS = ["", " ", "NULL", "null", "0", "a", "a ", "A", "u\u0308", "ü", "x" * 300, "é" * 200]
FLOATS = [0.0, -0.0, 1.5, -1.5, float("inf"), float("-inf"), 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]
NAN_BITS = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001, 0x7FFFFFFFFFFFFFFF]
NAMES = ["id", "Größe", "two words", "x.y", "C", "c", "select", "名前", "e\u0301t\u00e9", "z_9", "$"]


# Types

def simple_type(rng):
    """A type without parts."""
    precision = rng.randint(1, 76)
    unit = rng.choice(["s", "ms", "us", "ns"])
    return rng.choice([
        pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
        pa.float16(), pa.float32(), pa.float64(),
        pa.decimal128(min(precision, 38), rng.randint(0, min(precision, 38))),
        pa.decimal256(precision, rng.randint(0, precision)),
        pa.string(), pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(rng.randint(1, 20)),
        pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
        pa.timestamp(unit), pa.timestamp(unit, rng.choice(["UTC", "+02:00", "Europe/Berlin"])),
    ])


def random_type(rng, depth=0):
    """A type that may nest, at most three deep."""
    kind = rng.random()
    if depth == 3 or kind < 0.6:
        return simple_type(rng)
    if kind < 0.75:
        item = pa.field("item", random_type(rng, depth + 1))
        return rng.choice([pa.list_(item), pa.large_list(item), pa.list_(item, rng.randint(1, 3))])
    if kind < 0.9:
        return pa.struct([pa.field(f"f{i}", random_type(rng, depth + 1)) for i in range(rng.randint(1, 3))])
    key = rng.choice([pa.string(), pa.int32(), pa.int64(), pa.date32()])
    return pa.map_(key, random_type(rng, depth + 1))


# Values, in the raw form of row_hash.py

def random_integer(rng, low, high):
    """Often an edge, often small, else anything."""
    kind = rng.random()
    if kind < 0.2:
        return rng.choice([low, high, low + 1, high - 1])
    if kind < 0.6:
        return min(max(rng.randint(-3, 300), low), high)
    return rng.randint(low, high)


def random_float(rng):
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(FLOATS)
    if kind < 0.5:
        return struct.unpack("<d", struct.pack("<Q", rng.choice(NAN_BITS)))[0]
    return rng.uniform(-1e6, 1e6)


def narrowed(value, form):
    """The nearest float of a narrower format; one too large becomes an infinity."""
    try:
        return struct.unpack(form, struct.pack(form, value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def random_decimal(rng, type):
    """With trailing zeros more often than chance would have it."""
    digits = rng.randint(0, type.precision)
    zeros = rng.randint(0, digits) if rng.random() < 0.5 else 0
    integer = rng.randint(0, 10 ** (digits - zeros) - 1) * 10**zeros
    if rng.random() < 0.1:
        integer = 10**type.precision - 1
    sign = rng.randint(0, 1) if integer else 0
    return Decimal((sign, tuple(map(int, str(integer))), -type.scale))


def random_text(rng):
    if rng.random() < 0.3:
        return rng.choice(WORDS)
    return "".join(rng.choices(ALPHABET, k=rng.randint(0, 12)))


def random_value(rng, type, nulls=0.15):
    """A raw value of this type; NULL with the chance `nulls`, at every level."""
    is_ = pa.types
    if rng.random() < nulls:
        return None
    if is_.is_boolean(type):
        return rng.random() < 0.5
    if is_.is_signed_integer(type):
        return random_integer(rng, -(2 ** (type.bit_width - 1)), 2 ** (type.bit_width - 1) - 1)
    if is_.is_unsigned_integer(type):
        return random_integer(rng, 0, 2**type.bit_width - 1)
    if is_.is_floating(type):
        value = random_float(rng)
        return value if is_.is_float64(type) else narrowed(value, "<f" if is_.is_float32(type) else "<e")
    if is_.is_decimal(type):
        return random_decimal(rng, type)
    if is_.is_string(type) or is_.is_large_string(type):
        return random_text(rng)
    if is_.is_fixed_size_binary(type):
        return rng.randbytes(type.byte_width)
    if is_.is_binary(type) or is_.is_large_binary(type):
        return rng.randbytes(rng.choice([0, 1, 3, 16]))
    if is_.is_date32(type):
        return random_integer(rng, -719162, 2932896)
    if is_.is_date64(type):
        return random_integer(rng, -719162, 2932896) * row_hash.DAY_MS
    if is_.is_time(type):
        return random_integer(rng, 0, 86400 * 10**9 // row_hash.NANOS[type.unit] - 1)
    if is_.is_timestamp(type):
        if type.unit == "s":  # Parquet keeps it as milliseconds
            return random_integer(rng, -(2**63) // 1000 + 1, 2**63 // 1000 - 1)
        return random_integer(rng, -(2**63), 2**63 - 1)
    if is_.is_fixed_size_list(type):
        return [random_value(rng, type.value_type, nulls) for _ in range(type.list_size)]
    if is_.is_list(type) or is_.is_large_list(type):
        return [random_value(rng, type.value_type, nulls) for _ in range(rng.choice([0, 1, 2, 5]))]
    if is_.is_struct(type):
        return tuple(random_value(rng, f.type, nulls) for f in type)
    keys = {random_value(rng, type.key_type, 0) for _ in range(rng.choice([0, 1, 2, 4]))}
    pairs = [(key, random_value(rng, type.item_type, nulls)) for key in sorted(keys)]
    rng.shuffle(pairs)
    return pairs


# Tables

def random_column(rng, name, count):
    """A field and an array of `count` values: plain, of few distinct texts (a dictionary), uuid, json or all NULL."""
    kind = rng.random()
    if kind < 0.1:
        values = rng.sample(WORDS, 5)
        codes = [None if rng.random() < 0.15 else rng.randrange(5) for _ in range(count)]
        index = rng.choice([pa.int8(), pa.int32()])
        array = pa.DictionaryArray.from_arrays(pa.array(codes, index), pa.array(values))
    elif kind < 0.2:
        type = rng.choice([pa.uuid(), pa.json_()])
        make = (lambda: rng.randbytes(16)) if type == pa.uuid() else (lambda: json.dumps(random_text(rng)))
        storage = [None if rng.random() < 0.15 else make() for _ in range(count)]
        array = pa.ExtensionArray.from_storage(type, pa.array(storage, type.storage_type))
    elif kind < 0.23:
        array = pa.nulls(count)
    else:
        type = random_type(rng)
        nulls = rng.choice([0, 0.15, 0.15, 0.6])
        values = [arrow_value(random_value(rng, type, nulls), type) for _ in range(count)]
        array = pa.array(values, type)
    return pa.field(name, array.type), array


def random_table(rng):
    """A table of up to 400 rows, of which some occur more than once."""
    count = rng.choice([0, 1, 7, 60, 200])
    names = rng.sample(NAMES, rng.randint(1, 8))
    fields, arrays = zip(*(random_column(rng, name, count) for name in names))
    table = pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))
    rows = [i for i in range(count) for _ in range(rng.choice([1, 1, 1, 2]))]
    rng.shuffle(rows)
    return pa.concat_tables([table.slice(i, 1) for i in rows]).combine_chunks() if rows else table


def summary(table):
    """What stands in the JSON file beside a table."""
    result = {"rows": table.num_rows}
    for algorithm in ("xxh64", "sha256"):
        hashes = row_hash.row_hashes(table, algorithm)
        result[algorithm] = {"digest": row_hash.digest_of(hashes, algorithm), "row_hashes": hashes[:50]}
    return result


def write_table(rng, table, path):
    """Writes the table in a random layout, and its hashes beside it.

    Small pages are of version 1.0: of a list of bools in a small page of version 2.0, pyarrow 26 may read no row back.
    """
    version, page_size = rng.choice([("1.0", 64), ("1.0", 1024**2), ("2.0", 1024**2)])
    pq.write_table(
        table, path, row_group_size=rng.choice([1, 10, 64, 1000]), use_dictionary=rng.random() < 0.5,
        compression=rng.choice(["none", "snappy", "zstd"]), data_page_version=version,
        data_page_size=page_size, store_schema=rng.random() < 0.8,
    )
    result = summary(pq.read_table(path))
    if result != summary(table):
        raise AssertionError(f"{path.name}: the values did not survive Parquet: {table.schema}")
    path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Write random Parquet tables with their hashes.")
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", type=int, default=20)
    args = parser.parse_args()
    args.outdir.mkdir(parents=True, exist_ok=True)
    for i in range(args.tables):
        rng = random.Random(f"{args.seed}/{i}")  # so that one table can be made again without the others
        write_table(rng, random_table(rng), args.outdir / f"table_{args.seed}_{i:03}.parquet")


if __name__ == "__main__":
    main()
