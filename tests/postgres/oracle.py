"""What a PostgreSQL server says of the values of a table, and what is found in Arrow, must be the same texts.

The server renders each value as text. What was read of it is rendered here in the server's way, by code that shares nothing
with the product. A column that arrived as text must be the server's text as it is.

    disagreements(connection, table, arrow, key)   of an Arrow table with the same columns
"""

import re
import struct
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pyarrow.compute as pc

MICROS_PER_DAY = 86_400_000_000

# A type of the server: its name, that of its elements, and the names and types of its parts.
Kind = namedtuple("Kind", "name element parts", defaults=(None, ()))


def kinds(connection, table):
    """The types of a table's columns, by name. Domains are what they are made of."""
    types = {row[0]: row for row in connection.execute(
        "select oid::int8, typname, typtype::text, typcategory::text, typlen, typelem::int8, typbasetype::int8, typrelid::int8"
        " from pg_type")}
    columns = "select attname, atttypid::int8 from pg_attribute where attrelid = %s and attnum > 0 and not attisdropped order by attnum"

    def kind(oid):
        _, name, typtype, category, length, element, base, relation = types[oid]
        if typtype == "d":
            return kind(base)
        if typtype == "c":
            return Kind("record", None, tuple((part, kind(of)) for part, of in connection.execute(columns, [relation])))
        if typtype == "e":
            return Kind("text")
        if category == "A" and length == -1 and name.startswith("_"):
            return Kind("array", kind(element))
        return Kind(name)

    (relation,) = connection.execute("select %s::regclass::oid::int8", [table]).fetchone()
    return {name: kind(oid) for name, oid in connection.execute(columns, [relation])}


def asked(name, kind):
    """The SQL for a column as text."""
    column = 'this."' + name.replace('"', '""') + '"'
    if kind.name == "bpchar":
        # A cast would cut off the blanks.
        return f"case when {column} is not null then format('%%s', {column}) end"
    if kind.name == "array" and kind.element.name == "inet":
        # An address is cast to a text with its netmask, alone as among others.
        return f"{column}::text[]::text"
    return f"{column}::numeric::text" if kind.name == "money" else f"{column}::text"


def told(connection, table, columns, key="id"):
    """What the server says: lists of texts by column, in the order of the key if there is one."""
    texts = ", ".join(asked(name, kind) for name, kind in columns.items())
    order = ' order by this."' + key.replace('"', '""') + '"' if key else ""
    connection.execute("set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set bytea_output = 'hex'")
    rows = connection.execute(f"select {texts} from {table} this{order}", []).fetchall()
    return dict(zip(columns, map(list, zip(*rows)))) if rows else {name: [] for name in columns}


# Texts as the server makes them

def day_text(days):
    """A day after 1970-01-01, by today's calendar for ever: its year, month and day, and whether it is before Christ."""
    # As many 400 years as there are have 146097 days each; years begin in March.
    eras, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    year += 400 * eras + (month >= 10)
    month += 3 if month < 10 else -9
    return f"{year if year > 0 else 1 - year:04}-{month:02}-{day:02}", " BC" if year <= 0 else ""


def clock_text(micros):
    seconds, micros = divmod(micros, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return text + f".{micros:06}".rstrip("0") if micros else text


def timestamp_text(micros, zone=""):
    days, micros = divmod(micros, MICROS_PER_DAY)
    day, era = day_text(days)
    return f"{day} {clock_text(micros)}{zone}{era}"


def neighbours(value, bits):
    """The points in the middle between a positive float and the next ones of its size."""
    form, number = ("<d", "<Q") if bits == 64 else ("<f", "<I")
    (at,) = struct.unpack(number, struct.pack(form, value))
    below = Fraction(struct.unpack(form, struct.pack(number, at - 1))[0])
    (above,) = struct.unpack(form, struct.pack(number, at + 1))
    value = Fraction(value)
    above = 2 * value - below if above == float("inf") else Fraction(above)
    return (below + value) / 2, (value + above) / 2


def around(value, digits):
    """The decimal numbers next to a float with so many digits after the first one, the nearest one first."""
    nearest = Decimal(f"{value:.{digits}e}")
    step = Decimal(1).scaleb(nearest.adjusted() - digits)
    return nearest, nearest + step, nearest - step


def float_text(value, bits):
    """The fewest digits that are nearer to this float than to any other. Where there is room for them there is no exponent."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    minus, value = "-" if struct.pack(">d", value)[0] & 0x80 else "", abs(value)
    if not value:
        return minus + "0"
    low, high = neighbours(value, bits)
    shortest = next(number for digits in range(17) for number in around(value, digits) if low < Fraction(number) < high)
    exponent = shortest.adjusted()
    digits = "".join(map(str, shortest.as_tuple().digits)).rstrip("0")
    if -4 <= exponent < (15 if bits == 64 else 6):
        places = max(len(digits) - 1 - exponent, 0)
        return minus + f"{Decimal(digits).scaleb(exponent - len(digits) + 1):.{places}f}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def interval_parts(text):
    """Months, days and nanoseconds of an interval, as the server writes it or as `1 mons 2 days 3 hours 4.5 secs`."""
    months = days = nanos = 0
    units = {"year": (12, 0), "mon": (1, 0), "day": (0, 1), "hour": 3600, "min": 60, "sec": 1}
    clock = re.search(r"([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?)$", text)
    if clock:
        sign, hours, minutes, seconds = clock.groups()
        total = (int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds)) * 10**9
        nanos = int(-total if sign == "-" else total)
        text = text[:clock.start()]
    for number, unit in re.findall(r"([+-]?[\d.]+) (year|mon|day|hour|min|sec)s?", text):
        factor = units[unit]
        if isinstance(factor, tuple):
            months += factor[0] * int(number)
            days += factor[1] * int(number)
        else:
            nanos += int(Decimal(number) * factor * 10**9)
    return f"{months} months {days} days {nanos} ns"


def quoted(text, special, doubled):
    """A part of a value that is made of values, in quotes where it needs them."""
    if text and not any(c in special or c in " \t\n\r\v\f" for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '""' if doubled else '\\"')
    return f'"{escaped}"'


def array_text(texts):
    def one(text):
        if text is None:
            return "NULL"
        return f'"{text}"' if text.upper() == "NULL" else quoted(text, '{}",\\', False)

    return "{" + ",".join(map(one, texts)) + "}"


def record_text(texts):
    return "(" + ",".join("" if text is None else quoted(text, '(),"\\', True) for text in texts) + ")"


def hstore_text(pairs):
    def one(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return ", ".join(f"{one(key)}=>{'NULL' if value is None else one(value)}" for key, value in pairs)


# Arrow

def plain(array):
    """An array in one piece, in no dictionary and of no extension type."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    array = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def whole(array, width):
    """The numbers in which dates and times are stored."""
    return pc.cast(array, pa.int32() if width == 32 else pa.int64()).to_pylist()


def grouped(texts, lengths):
    at, groups = 0, []
    for length in lengths:
        groups.append(None if length is None else texts[at:at + length])
        at += length or 0
    return groups


def each(work, values):
    return [None if value is None else work(value) for value in values]


def shown(array, kind, inside=False):
    """The values of an Arrow array as the server would write those of a type."""
    array, is_ = plain(array), pa.types
    type = array.type
    if is_.is_string(type) or is_.is_large_string(type) or is_.is_string_view(type):
        return array.to_pylist()
    if is_.is_boolean(type):
        return each(lambda v: "ft"[v] if inside else str(v).lower(), array.to_pylist())
    if is_.is_integer(type):
        return each(str, array.to_pylist())
    if is_.is_floating(type):
        return each(lambda v: float_text(v, type.bit_width), array.to_pylist())
    if is_.is_decimal(type):
        return each(lambda v: format(v, "f"), array.to_pylist())
    if is_.is_date(type):
        return each(lambda v: "".join(day_text(v)), whole(array, 32))
    if is_.is_time(type):
        return each(clock_text, whole(array, 64))
    if is_.is_timestamp(type):
        zone = "+00" if type.tz else ""
        return each(lambda v: timestamp_text(v, zone), whole(array, 64))
    if is_.is_fixed_size_binary(type) and kind.name == "uuid":
        return each(lambda v: re.sub("(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", v.hex()), array.to_pylist())
    if is_.is_binary(type) or is_.is_large_binary(type) or is_.is_fixed_size_binary(type):
        return each(lambda v: "\\x" + v.hex(), array.to_pylist())
    if is_.is_map(type):
        array = array.cast(pa.list_(pa.struct([("key", type.key_type), ("value", type.item_type)])))
        lengths = pc.list_value_length(array).to_pylist()
        pairs = [(pair["key"], pair["value"]) for pair in array.flatten().to_pylist()]
        return each(hstore_text, grouped(pairs, lengths))
    if is_.is_list(type) or is_.is_large_list(type):
        lengths = pc.list_value_length(array).to_pylist()
        return each(array_text, grouped(shown(array.flatten(), kind.element, True), lengths))
    if is_.is_struct(type):
        parts = [shown(part, of, True) for part, (_, of) in zip(array.flatten(), kind.parts)]
        rows = zip(*parts)
        return [record_text(row) if valid else None for row, valid in zip(rows, array.is_valid().to_pylist())]
    raise TypeError(f"{type} is not known here")


def canonical(text, kind):
    """The same text for the same value, where there are two ways to write it."""
    if text is None or kind.name != "interval" and (kind.name != "array" or kind.element.name != "interval"):
        return text
    if kind.name == "interval":
        return interval_parts(text)
    parts = re.findall(r'[^{},"]+', text)
    return [part if part == "NULL" else interval_parts(part) for part in parts]


def disagreements(connection, table, arrow, key="id", columns=None):
    """Where the server and an Arrow table say something else: the column, the row, and both texts. Without a key rows are
    compared in the order of their texts."""
    columns = columns or kinds(connection, table)
    arrow = arrow.sort_by(key) if key else arrow
    says = told(connection, table, columns, key)
    ours = {name: shown(arrow[name], kind) for name, kind in columns.items()}
    says, ours = ([[canonical(text, kind) for text in side[name]] for name, kind in columns.items()] for side in (says, ours))
    if not key:
        says, ours = (list(zip(*sorted(zip(*side), key=repr))) or [()] * len(columns) for side in (says, ours))
    found, compared = [], 0
    for name, theirs, own in zip(columns, says, ours):
        if len(theirs) != len(own):
            found.append([name, None, f"{len(theirs)} rows", f"{len(own)} rows"])
        different = [[name, row, *pair] for row, pair in enumerate(zip(theirs, own)) if pair[0] != pair[1]]
        found += different
        compared += min(len(theirs), len(own))
    return {"compared": compared, "different": found[:20]}
