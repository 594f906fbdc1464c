"""The golden vectors of engine/digest/vectors.json: their types and values as pyarrow, and their expected side.

A vector is added by hand with its name, type and value; `row_hash.py vectors` fills in the rest. Values are written as

    bool                           true, false
    integers, decimals, floats     the number as a string: "-5", "1.50", "-0.0", "NaN", "-NaN", "inf"
    text, json                     string
    binary, uuid                   hexadecimal digits
    date, time, timestamp          the raw tick as a string: days, or the type's own unit
    interval                       [months, days, "nanoseconds"]
    list, struct, map              [items], [values in field order], [[key, value], ...]
    NULL                           null

In `samples`, all columns are the key. Every vector is encoded twice, straight from its value and by way of an Arrow
table, and both must agree.
"""

import json
import re
import struct
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

import row_hash

FILE = Path(__file__).resolve().parents[2] / "engine" / "digest" / "vectors.json"
SIMPLE = {
    "bool": pa.bool_(), "text": pa.string(), "json": pa.string(), "binary": pa.binary(), "uuid": pa.binary(16),
    "date": pa.date32(), "interval": pa.month_day_nano_interval(), "float32": pa.float32(), "float64": pa.float64(),
    "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
    "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
}
TIMES = {"s": pa.time32, "ms": pa.time32, "us": pa.time64, "ns": pa.time64}


# Types

def parse_type(text, name="c"):
    """The Arrow field for the text form of a logical type, such as `decimal(15,2)` or `list<text>`."""
    field, rest = _type(text, name)
    if rest.strip():
        raise ValueError(f"{rest!r} is left over after the type")
    return field


def _type(text, name):
    word, rest = re.match(r"\s*(\w+)(.*)", text, re.S).groups()
    if word in ("decimal", "time", "timestamp"):
        arguments, rest = re.match(r"\s*(?:\(([^)]*)\))?(.*)", rest, re.S).groups()
        arguments = [a.strip() for a in (arguments or "us").split(",")]
        if word == "decimal":
            precision, scale = map(int, arguments)
            return pa.field(name, (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)), rest
        return pa.field(name, (TIMES[arguments[0]] if word == "time" else pa.timestamp)(*arguments)), rest
    if word == "list":
        item, rest = _type(_skip(rest, "<"), "item")
        return pa.field(name, pa.list_(item)), _skip(rest, ">")
    if word == "map":
        key, rest = _type(_skip(rest, "<"), "key")
        item, rest = _type(_skip(rest, ","), "value")
        return pa.field(name, pa.map_(key.with_nullable(False), item)), _skip(rest, ">")
    if word == "struct":
        fields, mark = [], "<"
        while not rest.lstrip().startswith(">"):
            label, rest = re.match(r"\s*(\w+)\s*:(.*)", _skip(rest, mark), re.S).groups()
            field, rest = _type(rest, label)
            fields.append(field)
            mark = ","
        return pa.field(name, pa.struct(fields)), _skip(rest, ">")
    metadata = {row_hash.EXTENSION_NAME: f"arrow.{word}"} if word in ("uuid", "json") else None
    return pa.field(name, SIMPLE[word], metadata=metadata), rest


def _skip(text, mark):
    if not text.lstrip().startswith(mark):
        raise ValueError(f"{mark!r} is missing before {text!r}")
    return text.lstrip()[1:]


# Values

def parse_value(value, type):
    """The raw value that a vector's JSON means."""
    is_ = pa.types
    if value is None or is_.is_boolean(type) or is_.is_string(type):
        return value
    if is_.is_float32(type):
        return struct.unpack("<f", struct.pack("<f", float(value)))[0]
    if is_.is_floating(type):
        return float(value)
    if is_.is_decimal(type):
        return Decimal(value)
    if is_.is_binary(type) or is_.is_fixed_size_binary(type):
        return bytes.fromhex(value)
    if is_.is_interval(type):
        return tuple(map(int, value))
    if is_.is_list(type):
        return [parse_value(v, type.value_type) for v in value]
    if is_.is_struct(type):
        return tuple(parse_value(v, f.type) for v, f in zip(value, type, strict=True))
    if is_.is_map(type):
        return [(parse_value(k, type.key_type), parse_value(v, type.item_type)) for k, v in value]
    return int(value)


def arrow_value(raw, type):
    """The form in which `pa.array` takes a raw value."""
    is_ = pa.types
    if raw is None:
        return None
    if is_.is_interval(type):
        return pa.MonthDayNano(raw)
    if is_.is_list(type) or is_.is_large_list(type) or is_.is_fixed_size_list(type):
        return [arrow_value(v, type.value_type) for v in raw]
    if is_.is_struct(type):
        return {f.name: arrow_value(v, f.type) for v, f in zip(raw, type, strict=True)}
    if is_.is_map(type):
        return [(arrow_value(k, type.key_type), arrow_value(v, type.item_type)) for k, v in raw]
    return raw


def build_table(fields, rows):
    """An Arrow table of raw rows."""
    arrays = [
        pa.array([arrow_value(row[i], field.type) for row in rows], field.type) for i, field in enumerate(fields)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def encode_rows(types, rows):
    """The canonical bytes of rows of JSON values, straight and through a table, which must agree."""
    fields = [parse_type(text, f"c{i}") for i, text in enumerate(types)]
    raw = [[parse_value(v, f.type) for v, f in zip(row, fields, strict=True)] for row in rows]
    straight = [b"".join(row_hash.cell(v, f) for v, f in zip(row, fields)) for row in raw]
    if straight != row_hash.canonical_rows(build_table(fields, raw)):
        raise AssertionError(f"{types}: the cells and the table disagree")
    return straight


# The file

def expected(section, vector):
    """The computed members of one vector of a section."""
    if section == "cells":
        (row,) = encode_rows([vector["type"]], [[vector["value"]]])
        return {"bytes": row.hex(), "xxh64": row_hash.hash_bytes(row, "xxh64")}
    if section == "rows":
        (row,) = encode_rows(vector["types"], [vector["values"]])
        return {"bytes": row.hex()} | {a: row_hash.hash_bytes(row, a) for a in ("xxh64", "sha256")}
    rows = encode_rows(vector["types"], vector["rows"])
    if section == "tables":
        return {
            f"{a}_digest": row_hash.digest_of([row_hash.hash_bytes(r, a) for r in rows], a) for a in ("xxh64", "sha256")
        }
    return {"chosen": [row_hash.chosen(r, vector["keep"], vector["of"]) for r in rows]}


def render(vectors):
    """The file's text: one vector per line, in ASCII, so that no editor normalises its text."""
    sections = ",\n".join(
        f'"{section}": [\n' + ",\n".join(map(json.dumps, members)) + "\n]"
        for section, members in vectors.items() if section != "version"
    )
    return f'{{"version": {vectors["version"]},\n{sections}}}\n'


def refresh(path=None, check=False):
    """Fills in (or with `check` compares) the expected side of the file. The exit status is 1 if any differs."""
    path = Path(path or FILE)
    vectors = json.loads(path.read_text("utf-8"))
    wrong = total = 0
    for section in ("cells", "rows", "tables", "samples"):
        names = [v["name"] for v in vectors[section]]
        if len(set(names)) != len(names):
            raise ValueError(f"two vectors in `{section}` have the same name")
        for i, vector in enumerate(vectors[section]):
            total += 1
            right = vector | expected(section, vector)
            if right != vector:
                wrong += 1
                print(f"{section}: {vector['name']}: {'differs' if check else 'set'}")
            vectors[section][i] = right
    if not check:
        path.write_text(render(vectors), "utf-8")
    print(f"{total} vectors, {wrong} {'wrong' if check else 'changed'}")
    return 1 if check and wrong else 0
