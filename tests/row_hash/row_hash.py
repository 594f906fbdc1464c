"""The row hash of docs/row-hash.md, version 1, for tests.

Written from that page alone, without sight of the Rust code, so that an error in one implementation does not
repeat itself in the other.

Values pass through here in a *raw* form that keeps every bit:

    bool, integers, floats, text, binary   bool, int, float, str, bytes
    decimal                                decimal.Decimal
    date, time, timestamp                  int: ticks of the type's own unit (never a datetime, which ends at µs)
    interval                               (months, days, nanoseconds)
    uuid                                   16 bytes
    list                                   list of values
    struct                                 tuple of values, in the order of the fields
    map                                    list of (key, value)
    NULL                                   None

Command line:

    row_hash.py digest FILE.parquet [--algorithm xxh64|sha256] [--key a,b] [--rows] [--sample K/M]
    row_hash.py vectors [--check] [--file VECTORS.json]
"""

import argparse
import hashlib
import json
import math
import struct
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

is_ = pa.types

EXTENSION_NAME = b"ARROW:extension:name"
NULL = 0x80
NAN = bytes.fromhex("000000000000f87f")  # 7ff8000000000000, little-endian
NANOS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY_MS = 86_400_000
MASK = 2**64 - 1


# Cells

def cell(value, type):
    """The canonical bytes of one raw value; `type` is a pyarrow type, or a field where its metadata matters."""
    return _encoder(type)(value)


def _encoder(type):
    """The function from a raw value (or None) of this type or field to the bytes of its cell."""
    tag, encode = _codec(*_unwrap(type))
    null = bytes([tag | NULL])
    return lambda value: null if value is None else encode(value)


def _unwrap(type):
    """The extension name that counts (or None) and the storage type below extensions, dictionaries and run ends."""
    name = None
    if isinstance(type, pa.Field):
        name = ((type.metadata or {}).get(EXTENSION_NAME) or b"").decode()
        type = type.type
    while True:
        if isinstance(type, pa.BaseExtensionType):
            name, type = name or type.extension_name, type.storage_type
        elif is_.is_dictionary(type) or is_.is_run_end_encoded(type):
            type = type.value_type
        else:
            return name, type


def _codec(name, type):
    """The tag of this type and the encoder of its values other than NULL."""
    if name == "arrow.uuid":
        return 0x0E, _uuid
    if name == "arrow.json":
        return 0x0F, lambda v: _sized(0x0F, v.encode())
    if is_.is_boolean(type):
        return 0x01, lambda v: bytes([0x01, v])
    if is_.is_integer(type):
        return 0x02, lambda v: _pack(0x02, 8, v) if v < 2**63 else b"\x03" + struct.pack("<Q", v)
    if is_.is_floating(type):
        return 0x04, lambda v: b"\x04" + (NAN if math.isnan(v) else struct.pack("<d", v))
    if is_.is_decimal(type):
        return 0x05, _decimal
    if is_.is_string(type) or is_.is_large_string(type) or is_.is_string_view(type) or is_.is_null(type):
        return 0x07, lambda v: _sized(0x07, v.encode())
    if is_.is_binary(type) or is_.is_large_binary(type) or is_.is_binary_view(type) or is_.is_fixed_size_binary(type):
        return 0x08, lambda v: _sized(0x08, v)
    if is_.is_date32(type):
        return 0x09, lambda v: _pack(0x09, 4, v)
    if is_.is_date64(type):
        return 0x09, lambda v: _pack(0x09, 4, _whole_days(v))
    if is_.is_time(type):
        return 0x0A, lambda v, tick=NANOS[type.unit]: _pack(0x0A, 8, v * tick)
    if is_.is_timestamp(type):
        tag = 0x0B if type.tz is None else 0x0C
        return tag, lambda v, tick=NANOS[type.unit]: _pack(tag, 16, v * tick)
    if is_.is_interval(type):
        return 0x0D, lambda v: b"\x0d" + struct.pack("<iiq", *v)
    if is_.is_list(type) or is_.is_large_list(type) or is_.is_fixed_size_list(type):
        item = _encoder(type.value_field)
        return 0x10, lambda v: _counted(0x10, [item(i) for i in v])
    if is_.is_struct(type):
        fields = [_encoder(type.field(i)) for i in range(type.num_fields)]
        return 0x11, lambda v: _counted(0x11, [f(i) for f, i in zip(fields, v, strict=True)])
    if is_.is_map(type):
        key, item = _encoder(type.key_field), _encoder(type.item_field)
        return 0x12, lambda v: _counted(0x12, sorted(key(k) + item(i) for k, i in v))
    raise TypeError(f"no canonical bytes for the type {type}")


def _pack(tag, width, value):
    return bytes([tag]) + value.to_bytes(width, "little", signed=True)


def _sized(tag, data):
    return bytes([tag]) + struct.pack("<I", len(data)) + data


def _counted(tag, cells):
    return bytes([tag]) + struct.pack("<I", len(cells)) + b"".join(cells)


def _uuid(value):
    if len(value) != 16:
        raise ValueError(f"a uuid has 16 bytes, not {len(value)}")
    return b"\x0e" + value


def _whole_days(millis):
    days, rest = divmod(millis, DAY_MS)
    if rest:
        raise ValueError(f"{millis} ms is not a whole number of days, as a date must be")
    return days


def _decimal(value):
    """From the digits themselves: arithmetic on Decimal would round to the precision of its context."""
    sign, digits, exponent = value.as_tuple()
    integer, scale = int("".join(map(str, digits))), -exponent
    if scale < 0:
        integer, scale = integer * 10**-scale, 0
    while scale > 0 and integer % 10 == 0:
        integer, scale = integer // 10, scale - 1
    integer = -integer if sign else integer
    if -(2**63) <= integer < 2**63:
        return bytes([0x05, scale]) + integer.to_bytes(8, "little", signed=True)
    return bytes([0x06, scale]) + integer.to_bytes(32, "little", signed=True)


# Raw values of Arrow arrays

def raw_values(array):
    """The raw values of an Arrow array, as the head of this module lists them."""
    type = array.type
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in raw_values(chunk)]
    if isinstance(type, pa.BaseExtensionType):
        return raw_values(array.storage)
    if is_.is_dictionary(type):
        return raw_values(array.dictionary_decode())
    if is_.is_run_end_encoded(type):
        return raw_values(pc.run_end_decode(array))
    if is_.is_date(type) or is_.is_time(type) or is_.is_timestamp(type):
        return array.view(pa.int32() if type.bit_width == 32 else pa.int64()).to_pylist()
    if is_.is_list(type) or is_.is_large_list(type):
        return _runs(array, array.offsets.to_pylist(), raw_values(array.values))
    if is_.is_fixed_size_list(type):
        size = type.list_size
        offsets = [(array.offset + i) * size for i in range(len(array) + 1)]
        return _runs(array, offsets, raw_values(array.values))
    if is_.is_map(type):
        pairs = list(zip(raw_values(array.keys), raw_values(array.items), strict=True))
        return _runs(array, array.offsets.to_pylist(), pairs)
    if is_.is_struct(type):
        rows = list(zip(*map(raw_values, array.flatten()))) or [()] * len(array)
        return [row if valid else None for row, valid in zip(rows, array.is_valid().to_pylist(), strict=True)]
    if is_.is_interval(type):
        return [None if v is None else tuple(v) for v in array.to_pylist()]
    return array.to_pylist()


def _runs(array, offsets, values):
    valid = array.is_valid().to_pylist()
    return [values[offsets[i]:offsets[i + 1]] if ok else None for i, ok in enumerate(valid)]


# Rows and tables

def canonical_rows(table, columns=None):
    """The canonical bytes of each row: of the named columns in that order, or of all columns."""
    indexes = range(table.num_columns) if columns is None else [_index(table.schema, name) for name in columns]
    rows = [bytearray() for _ in range(table.num_rows)]
    for i in indexes:
        encode = _encoder(table.schema.field(i))
        for row, value in zip(rows, raw_values(table.column(i)), strict=True):
            row += encode(value)
    return [bytes(row) for row in rows]


def _index(schema, name):
    found = schema.get_all_field_indices(name)
    if len(found) != 1:
        raise KeyError(f"{len(found)} columns are named {name!r}")
    return found[0]


def hash_bytes(row, algorithm):
    """The hash of canonical bytes, as lower-case hexadecimal digits."""
    return {"xxh64": lambda: xxhash.xxh64_hexdigest(row, seed=0), "sha256": hashlib.sha256(row).hexdigest}[algorithm]()


def row_hashes(table, algorithm):
    """The hash of each row, as lower-case hexadecimal digits."""
    return [hash_bytes(row, algorithm) for row in canonical_rows(table)]


def key_hashes(table, key, algorithm):
    """The 64-bit key hash of each row; without a key it is taken from the row hash of `algorithm`."""
    if key:
        return [xxhash.xxh64_intdigest(row, seed=0) for row in canonical_rows(table, key)]
    return [_lanes(row_hash, algorithm)[0] for row_hash in row_hashes(table, algorithm)]


def bucket(key_hash, bits):
    """The bucket, of 2^bits, that a row with this key hash belongs to."""
    return key_hash >> (64 - bits)


def mix(h):
    """The finaliser of SplitMix64."""
    z = (h + 0x9E3779B97F4A7C15) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def _lanes(row_hash, algorithm):
    if algorithm == "xxh64":
        h = int(row_hash, 16)
        return h, mix(h)
    return struct.unpack("<4Q", bytes.fromhex(row_hash))


def digest_of(hashes, algorithm):
    """The digest of a table with these row hashes."""
    sums = [0] * {"xxh64": 2, "sha256": 4}[algorithm]
    for row_hash in hashes:
        sums = [total + lane for total, lane in zip(sums, _lanes(row_hash, algorithm), strict=True)]
    return ":".join([algorithm, str(len(hashes)), *(f"{total:032x}" for total in sums)])


def table_digest(table, algorithm):
    """The digest of a table: its algorithm, number of rows and sums of lanes."""
    return digest_of(row_hashes(table, algorithm), algorithm)


def chosen(row, keep, of):
    """Whether the sample of `keep` in `of` takes the row whose key columns have these canonical bytes."""
    return int.from_bytes(hashlib.sha256(row).digest(), "big") % of < keep


def sample(table, key, keep, of):
    """Which rows the sample of `keep` in `of` takes; without a key, all columns are the key."""
    return [chosen(row, keep, of) for row in canonical_rows(table, key or None)]


# Command line

def main(argv=None):
    parser = argparse.ArgumentParser(description="The row hash of docs/row-hash.md.")
    commands = parser.add_subparsers(dest="command", required=True)
    digest = commands.add_parser("digest", help="print the digest of a Parquet file as JSON")
    digest.add_argument("file")
    digest.add_argument("--algorithm", choices=["xxh64", "sha256"], default="xxh64")
    digest.add_argument("--key", type=lambda text: text.split(","), help="columns that decide the sample: a,b")
    digest.add_argument("--rows", action="store_true", help="print the hash of each row too")
    digest.add_argument("--sample", metavar="K/M", type=lambda text: tuple(map(int, text.split("/", 1))))
    vectors = commands.add_parser("vectors", help="compute the expected side of the golden vectors")
    vectors.add_argument("--check", action="store_true", help="compare only; write nothing")
    vectors.add_argument("--file", help="instead of engine/digest/vectors.json")
    args = parser.parse_args(argv)

    if args.command == "vectors":
        from vectors import refresh
        return refresh(args.file, args.check)
    table = pq.read_table(args.file)
    hashes = row_hashes(table, args.algorithm)
    result = {"rows": table.num_rows, "digest": digest_of(hashes, args.algorithm)}
    if args.rows:
        result["row_hashes"] = hashes
    if args.sample:
        result["sample"] = sample(table, args.key, *args.sample)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
