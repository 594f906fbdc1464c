"""A PostgreSQL table with a column of every type: values at the edges of each, and generated ones.

    make(connection, table, generated, seed)   makes it and fills it
    COLUMNS                                    what each column is, and what it is read as

Values are texts as the server reads them. They are the same for the same seed.
"""

import ipaddress
import json
import random
import re
import struct
from collections import namedtuple
from decimal import Decimal

# What is made before the table. Everybody may do it who owns the database.
BEFORE = '''
create extension if not exists hstore; create extension if not exists citext; create extension if not exists ltree;
create type mood as enum ('sad', 'ok', 'very, "happy"');
create domain price as numeric(9,2) check (value >= 0);
create domain short as varchar(5) not null;
create domain shorter as short;
create domain primes as int[];
create type point3 as (x int, y float8, "z""Z" text);
create type line_item as (name text, price numeric(9,2), at timestamptz, tags text[], "where" point3);
create type marked as (name text, area int4range);
'''

# The type in the server, what it is read as, values at the edges, and a maker of more.
Column = namedtuple("Column", "type meant edges more")

ALPHABET = "abcXYZ019 \t\n\r\x01\x7f,;|\"'\\{}()äßÜ\u0301İ東京\u200d🦀👩\ufeff\uffff\U0010ffff"
WORDS = ["", " ", "NULL", "null", "\\N", "\\.", "a", "a ", " a", "{}", "x" * 3000, "é" * 200, "🦀" * 50]
EPOCH_BC = ["4713-01-01 BC", "0044-03-15 BC", "0001-12-31 BC"]
DAYS = [*EPOCH_BC, "0001-01-01", "1582-10-04", "1582-10-15", "1969-12-31", "1970-01-01", "2000-02-29", "9999-12-31",
        "10000-01-01", "123456-07-08"]


def text(rng, most=12):
    return rng.choice(WORDS) if rng.random() < 0.2 else "".join(rng.choices(ALPHABET, k=rng.randint(0, most)))


def whole(low, high):
    def make(rng):
        if rng.random() < 0.2:
            return str(rng.choice([low, high, low + 1, high - 1]))
        return str(rng.randint(low, high) if rng.random() < 0.5 else min(max(rng.randint(-9, 300), low), high))

    return make


def decimal(precision, scale):
    """A number of at most so many digits, of which the last `scale` stand after the point: often with zeros at the end."""
    def make(rng):
        digits = rng.randint(0, precision)
        zeros = rng.randint(0, digits) if rng.random() < 0.5 else 0
        value = rng.randint(0, 10 ** (digits - zeros)) * 10**zeros % 10**precision
        return ("-" if rng.random() < 0.5 else "") + format(Decimal((0, tuple(map(int, str(value))), -scale)), "f")

    return make


def nines(precision, scale):
    return format(Decimal((0, (9,) * precision, -scale)), "f")


def any_decimal(rng):
    return decimal(rng.randint(1, 90), rng.randint(0, 60))(rng)


def float_of(form, size):
    def make(rng):
        value = struct.unpack(form, rng.randbytes(size))[0] if rng.random() < 0.5 else rng.uniform(-1000, 1000)
        return repr(struct.unpack(form, struct.pack(form, value))[0])

    return make


def binary(rng):
    return "\\x" + rng.randbytes(rng.choice([0, 1, 3, 16, 300])).hex()


def day(rng):
    year = rng.choice([rng.randint(1, 9999), rng.randint(1900, 2100), rng.randint(10000, 290000)])
    era = " BC" if year < 4000 and rng.random() < 0.2 else ""
    return f"{year:04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}{era}"


def clock(digits=6):
    def make(rng):
        fraction = f".{rng.randint(0, 10**digits - 1):0{digits}}" if digits and rng.random() < 0.7 else ""
        return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}{fraction}"

    return make


def offset(rng):
    return f"{rng.choice('+-')}{rng.randint(0, 15):02}:{rng.choice([0, 0, 30, 45]):02}"


def timestamp(digits=6, zone=False):
    def make(rng):
        written, _, era = day(rng).partition(" ")
        return f"{written} {clock(digits)(rng)}{offset(rng) if zone else ''} {era}".rstrip()

    return make


def interval(rng):
    months, days = rng.randint(-5000, 5000), rng.randint(-50000, 50000)
    micros = rng.choice([0, rng.randint(-10**15, 10**15), rng.randint(-10**7, 10**7)])
    return f"{rng.choice([0, months])} months {rng.choice([0, days])} days {micros} microseconds"


def uuid(rng):
    return rng.randbytes(16).hex()


def tree(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [tree(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind == 7:
        return {text(rng).replace("\0", ""): tree(rng, depth + 1) for _ in range(rng.randint(0, 3))}
    return [None, True, rng.randint(-10**20, 10**20), rng.uniform(-1e9, 1e9), text(rng), ""][kind]


def json_text(rng):
    return json.dumps(tree(rng), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))


def bits(low, high):
    return lambda rng: "".join(rng.choices("01", k=rng.randint(low, high)))


def host(rng):
    width = rng.choice([32, 128])
    address = ipaddress.ip_address(rng.getrandbits(width) if width == 128 else rng.getrandbits(32))
    return str(address) + (f"/{rng.randint(0, width)}" if rng.random() < 0.5 else "")


def network(rng):
    return str(ipaddress.ip_network(host(rng), strict=False))


def hardware(size):
    return lambda rng: rng.randbytes(size).hex(":")


def number(rng):
    return str(rng.choice([rng.randint(-100, 100), round(rng.uniform(-1e3, 1e3), rng.randint(0, 9))]))


def points(low, high, form="{}"):
    def make(rng):
        return form.format(",".join(f"({number(rng)},{number(rng)})" for _ in range(rng.randint(low, high))))

    return make


def within(lower, upper):
    """A range, of two texts that are in their order."""
    def make(rng):
        if rng.random() < 0.1:
            return "empty"
        low, high = sorted(rng.sample(range(1000), 2))
        low = "" if rng.random() < 0.2 else lower(low)
        high = "" if rng.random() < 0.2 else upper(high)
        return f"{rng.choice('[(')}{low},{high}{rng.choice('])')}"

    return make


def several(make):
    return lambda rng: "{" + ",".join(make(rng) for _ in range(rng.randint(0, 3))) + "}"


def day_of(n):
    return f"{1900 + n // 10}-{n % 10 + 1:02}-15"


def moment_of(n):
    return f"{day_of(n)} {n % 24:02}:00:00.{n:06}"


def quoted(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def list_of(make, nulls=0.2, most=4):
    def one(rng):
        return "NULL" if rng.random() < nulls else quoted(make(rng))

    return lambda rng: "{" + ",".join(one(rng) for _ in range(rng.randint(0, most))) + "}"


def record_of(*makes):
    def one(make, rng):
        return "" if rng.random() < 0.2 else quoted(make(rng))

    return lambda rng: "(" + ",".join(one(make, rng) for make in makes) + ")"


def pairs(rng):
    names = {text(rng) for _ in range(rng.randint(0, 4))}
    return ", ".join(f"{quoted(n)}=>{'NULL' if rng.random() < 0.2 else quoted(text(rng))}" for n in sorted(names))


def words(rng):
    return " ".join(rng.choices(["a", "fat", "'it''s'", "cat:3A,5", "rat:1B"], k=rng.randint(0, 5)))


def labels(rng):
    return ".".join(rng.choices(["top", "science", "A1", "x_y"], k=rng.randint(0, 5)))


def choice(*values):
    return lambda rng: rng.choice(values)


def char(width):
    return lambda rng: text(rng, width)[:width].rstrip(" ")


POINT3 = record_of(whole(-9, 9), float_of("d", 8), text)
POINT3_TYPE = 'struct<x: int32, y: float64, "z""Z": text>'
ITEM_TYPE = f"struct<name: text, price: decimal(9,2), at: timestamp(us, UTC), tags: list<text>, where: {POINT3_TYPE}>"

COLUMNS = {
    "bool": Column("boolean", "bool", ["t", "f"], choice("t", "f")),
    "i2": Column("smallint", "int16", ["-32768", "32767", "0"], whole(-2**15, 2**15 - 1)),
    "i4": Column("integer", "int32", ["-2147483648", "2147483647", "0"], whole(-2**31, 2**31 - 1)),
    "i8": Column("bigint", "int64", ["-9223372036854775808", "9223372036854775807", "0"], whole(-2**63, 2**63 - 1)),
    "oid": Column("oid", "uint32", ["0", "4294967295", "2147483648"], whole(0, 2**32 - 1)),
    "f4": Column("real", "float32", ["NaN", "Infinity", "-Infinity", "-0", "0", "1e-45", "3.4028235e38", "1.17549435e-38",
                                     "16777217", "0.1", "123456.7", "1234567"], float_of("f", 4)),
    "f8": Column("double precision", "float64", ["NaN", "Infinity", "-Infinity", "-0", "0", "5e-324", "1.7976931348623157e308",
                                                 "2.2250738585072014e-308", "9007199254740993", "0.1", "1e15", "1e14",
                                                 "0.0001", "0.00001"], float_of("d", 8)),
    "n1": Column("numeric(1,0)", "decimal(1,0)", ["-9", "9", "0"], decimal(1, 0)),
    "n9": Column("numeric(9,2)", "decimal(9,2)", [nines(9, 2), "-" + nines(9, 2), "0", "0.01", "-0.01", "100", "10000.00"],
                 decimal(9, 2)),
    "n18": Column("numeric(18,4)", "decimal(18,4)", [nines(18, 4), "-" + nines(18, 4), "0.0001", "1e13"], decimal(18, 4)),
    "n38": Column("numeric(38,10)", "decimal(38,10)", [nines(38, 10), "-" + nines(38, 10), "1e-10", "1e27"], decimal(38, 10)),
    "n76": Column("numeric(76,38)", "decimal(76,38)", [nines(76, 38), "-" + nines(76, 38), "1e-38", "1e37"], decimal(76, 38)),
    "whole": Column("numeric(20)", "decimal(20,0)", [nines(20, 0), "-1", "0"], decimal(20, 0)),
    "n100": Column("numeric(100,50)", "text", [nines(100, 50), "-1", "0"], decimal(100, 50)),
    "hundreds": Column("numeric(5,-2)", "decimal(7,0)", ["9999900", "-100", "0", "149"], whole(-9999949, 9999949)),
    "small": Column("numeric(2,4)", "decimal(4,4)", ["0.0099", "-0.0099", "0", "0.0001"], decimal(2, 4)),
    "any": Column("numeric", "text", ["NaN", "Infinity", "-Infinity", "0", "0.000", "-1.50", "1e-1000", "1" + "0" * 1000 + ".5",
                                      "1e131071"], any_decimal),
    "cash": Column("money", "decimal(19,2)", ["-92233720368547758.08", "92233720368547758.07", "0", "-0.01", "1.50"],
                   decimal(17, 2)),
    "words": Column("text", "text", WORDS, text),
    "vc": Column("varchar", "text", WORDS, text),
    "vc20": Column("varchar(20)", "text", ["", "a" * 20, "🦀" * 20, "x "], lambda rng: text(rng)[:20]),
    "padded": Column("char(5)", "text", ["", "a", "abcde", " b", "é"], char(5)),
    "one": Column("char", "text", ["", "a"], char(1)),
    "byte": Column('"char"', "text", ["a", "", "Z"], choice("a", "b", "~")),
    "name": Column("name", "text", ["", "pg_class", "x" * 63], lambda rng: text(rng)[:15]),
    "ci": Column("citext", "text", ["", "AbC", "abc"], text),
    "mood": Column("mood", "text", ["sad", "ok", 'very, "happy"'], choice("sad", "ok", 'very, "happy"')),
    "price": Column("price", "decimal(9,2)", ["0", nines(9, 2)], lambda rng: decimal(9, 2)(rng).lstrip("-")),
    "short": Column("shorter", "text", ["", "a", "🦀" * 5], char(5)),
    "bytes": Column("bytea", "binary", ["\\x", "\\x00", "\\x00ff5c27", "\\x" + bytes(range(256)).hex()], binary),
    "day": Column("date", "date", [*DAYS, "5874897-12-31"], day),
    "clock": Column("time", "time(us)", ["00:00:00", "23:59:59.999999", "12:34:56.7"], clock()),
    "clock0": Column("time(0)", "time(us)", ["00:00:00", "23:59:59"], clock(0)),
    "clock_zone": Column("timetz", "text", ["00:00:00+00", "24:00:00-15:59:59", "12:34:56.7+05:30"],
                         lambda rng: clock()(rng) + offset(rng)),
    "ts": Column("timestamp", "timestamp(us)", [*(f"{d.partition(' ')[0]} 12:34:56.789{' BC' if 'BC' in d else ''}" for d in DAYS),
                                                "294247-01-10 04:00:54.775807"], timestamp()),
    "ts3": Column("timestamp(3)", "timestamp(us)", ["1969-12-31 23:59:59.999", "1970-01-01"], timestamp(3)),
    "utc": Column("timestamptz", "timestamp(us, UTC)", ["1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00-12",
                                                        "0001-01-01 00:00:00+00 BC", "294247-01-10 04:00:54.775807+00",
                                                        "2024-03-31 02:30:00+01:00"], timestamp(zone=True)),
    "span": Column("interval", "interval", ["0", "1 year 2 mons -3 days 04:05:06.789", "-178000000 years", "2147483647 days",
                                            "-2147483648 days", "0.000001 secs", "-0.000001 secs", "2562047:47:16.854775",
                                            "-1 mon +1 day", "30 days", "1 mon", "24:00:00"], interval),
    "span_ym": Column("interval year to month", "interval", ["1-2", "-1-2"], lambda rng: f"{rng.randint(-99, 99)} months"),
    "id128": Column("uuid", "uuid", ["0" * 32, "f" * 32, "550e8400-e29b-41d4-a716-446655440000"], uuid),
    "json": Column("json", "json", ['{"b": 1,   "a": [1, 2], "b": 2}', "null", '"\\ud800"', '"\\u0000"', "1e400", " [ ] ", '"é"',
                                    "-0", '{"": {"": []}}'], json_text),
    "jsonb": Column("jsonb", "json", ['{"b": 1,   "a": [1, 2], "b": 2}', "null", "1e100", '"é\\n"', "1.50", "[]", '{"": {"": []}}'],
                    json_text),
    "xml": Column("xml", "text", ["<a/>", "<a b=\"1\">é &amp; <c>x</c></a>", "text"], choice("<a/>", "<b>1</b>", "x")),
    "bits8": Column("bit(8)", "text", ["00000000", "11111111", "10000001"], bits(8, 8)),
    "bits3": Column("bit(3)", "text", ["101"], bits(3, 3)),
    "bits": Column("varbit", "text", ["", "1", "0", "0" * 17 + "1", "1" * 100], bits(0, 70)),
    "host": Column("inet", "text", ["0.0.0.0", "192.168.0.1/24", "::1", "::ffff:1.2.3.4", "2001:db8::/32"], host),
    "net": Column("cidr", "text", ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "10.1.2.3/32"], network),
    "mac": Column("macaddr", "text", ["08:00:2b:01:02:03"], hardware(6)),
    "mac8": Column("macaddr8", "text", ["08:00:2b:01:02:03:04:05"], hardware(8)),
    "point": Column("point", "text", ["(0,0)", "(-1.5,1e300)", "(NaN,Infinity)"], points(1, 1)),
    "line": Column("line", "text", ["{1,2,3}"], lambda rng: f"{{1,{number(rng)},{number(rng)}}}"),
    "lseg": Column("lseg", "text", ["[(0,0),(1,1)]"], points(2, 2, "[{}]")),
    "box": Column("box", "text", ["(1,1),(0,0)"], points(2, 2)),
    "path": Column("path", "text", ["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"], points(1, 4, "[{}]")),
    "polygon": Column("polygon", "text", ["((0,0),(1,1),(2,0))"], points(1, 4, "({})")),
    "circle": Column("circle", "text", ["<(0,0),1>"], lambda rng: f"<({number(rng)},{number(rng)}),{rng.randint(0, 9)}>"),
    "vector": Column("tsvector", "text", ["", "a:1A fat:2,4 'it''s':3"], words),
    "query": Column("tsquery", "text", ["", "'fat' & ( 'rat' | !'cat':*AB )"], choice("a & b", "!c", "a <-> b")),
    "ints": Column("int4range", "text", ["empty", "[1,10)", "(,)", "[5,]"], within(str, str)),
    "longs": Column("int8range", "text", ["[-9223372036854775808,0)"], within(str, str)),
    "numbers": Column("numrange", "text", ["[1.50,2.0]", "(,NaN)"], within(str, lambda n: f"{n}.50")),
    "days": Column("daterange", "text", ["[2024-01-01,2024-02-01)", "(-infinity,infinity)"], within(day_of, day_of)),
    "moments": Column("tsrange", "text", ['["2024-01-01 00:00:00","2024-02-01 12:00:00.5")'], within(moment_of, moment_of)),
    "moments_utc": Column("tstzrange", "text", ['["2024-01-01 00:00:00+01",)'], within(moment_of, moment_of)),
    "many_ints": Column("int4multirange", "text", ["{}", "{[1,3),[5,9)}"], several(within(str, str))),
    "many_days": Column("datemultirange", "text", ["{[2024-01-01,2024-02-01)}"], several(within(day_of, day_of))),
    "store": Column("hstore", "map<text, text>", ["", "a=>1, b=>NULL", '"a b"=>"c\\"d\\\\", ""=>""'], pairs),
    "path_of": Column("ltree", "text", ["", "Top.Science"], labels),
    "path_query": Column("lquery", "text", ["*.Top.*{1,2}"], choice("a.*", "*.b")),
    "class": Column("regclass", "text", ["pg_class", "0"], choice("pg_type", "pg_class")),
    "proc": Column("regproc", "text", ["pg_sleep", "0"], choice("pg_backend_pid")),
    "type": Column("regtype", "text", ["integer", "timestamp with time zone"], choice("text", "numeric")),
    "lsn": Column("pg_lsn", "text", ["0/0", "16/B374D848"], lambda rng: f"{rng.getrandbits(32):X}/{rng.getrandbits(32):X}"),
    "xid": Column("xid", "text", ["0", "4294967295"], whole(0, 2**32 - 1)),
    "xid8": Column("xid8", "text", ["0", "18446744073709551615"], whole(0, 2**64 - 1)),
    "tid": Column("tid", "text", ["(0,1)", "(4294967295,65535)"], lambda rng: f"({rng.randint(0, 99)},{rng.randint(1, 99)})"),
    "snapshot": Column("pg_snapshot", "text", ["10:20:10,14,15"], choice("1:1:", "5:9:6")),
    "oids": Column("oidvector", "text", ["", "1 2 3"], choice("4 5", "6")),
    "acl": Column("aclitem", "text", ["owner=r*w/owner", "=X/owner"], choice("owner=r/owner")),
    "jsonpath": Column("jsonpath", "text", ["$.a[*] ? (@ > 1)"], choice("$", "$.b")),
    "cursor": Column("refcursor", "text", ["", "c"], text),
    "i4s": Column("int[]", "list<int32>", ["{}", "{1,2,NULL,-2147483648}", "{NULL}"], list_of(whole(-2**31, 2**31 - 1))),
    "i8s": Column("bigint[]", "list<int64>", ["{}", "{9223372036854775807}"], list_of(whole(-2**63, 2**63 - 1))),
    "f8s": Column("float8[]", "list<float64>", ["{NaN,-0,Infinity,1e300}"], list_of(float_of("d", 8))),
    "n9s": Column("numeric(9,2)[]", "list<decimal(9,2)>", ["{1.50,NULL,-9999999.99}"], list_of(decimal(9, 2))),
    "texts": Column("text[]", "list<text>", ["{}", '{"",NULL,"NULL","a b","{}","\\"","\\\\"}'], list_of(text)),
    "bools": Column("bool[]", "list<bool>", ["{t,f,NULL}"], list_of(choice("t", "f"))),
    "dates": Column("date[]", "list<date>", ['{2024-02-29,NULL,"0044-03-15 BC",10000-01-01}'], list_of(day)),
    "clocks": Column("time[]", "list<time(us)>", ["{23:59:59.999999,NULL}"], list_of(clock())),
    "utcs": Column("timestamptz[]", "list<timestamp(us, UTC)>", ['{"1969-12-31 23:59:59.999999+00"}'], list_of(timestamp(zone=True))),
    "ids": Column("uuid[]", "list<uuid>", ["{550e8400-e29b-41d4-a716-446655440000,NULL}"], list_of(uuid)),
    "byteses": Column("bytea[]", "list<binary>", ['{"\\\\x00ff",NULL,"\\\\x"}'], list_of(binary)),
    "moods": Column("mood[]", "list<text>", ['{sad,NULL,"very, \\"happy\\""}'], list_of(choice("sad", "ok", 'very, "happy"'))),
    "paddeds": Column("char(3)[]", "list<text>", ["{a,NULL,abc}"], list_of(char(3))),
    "jsons": Column("jsonb[]", "list<json>", ['{"{\\"a\\": 1}",NULL,null,"\\"x\\""}'], list_of(json_text)),
    "hosts": Column("inet[]", "list<text>", ["{10.0.0.1,NULL,::1}"], list_of(host)),
    "spans": Column("interval[]", "list<interval>", ['{"1 mon 2 days 03:00:00",NULL}'], list_of(interval)),
    "primes": Column("primes", "list<int32>", ["{2,3,5}"], list_of(whole(0, 99))),
    "prices": Column("price[]", "list<decimal(9,2)>", ["{0,1.50,NULL}"],
                     list_of(lambda rng: decimal(9, 2)(rng).lstrip("-"))),
    "spot": Column("point3", POINT3_TYPE, ["(1,0.5,a)", "(,,)", '(1,NaN,"a ""b"" (,)")'], POINT3),
    "item": Column("line_item", ITEM_TYPE, ['(a,1.50,"2024-01-01 00:00:00+00","{a,""b c"",NULL}","(1,2,x)")', "(,,,,)"],
                   record_of(text, decimal(9, 2), timestamp(zone=True), list_of(text), POINT3)),
    "spots": Column("point3[]", f"list<{POINT3_TYPE}>", ['{"(1,0.5,a)",NULL,"(,,)"}'], list_of(POINT3)),
    "marked": Column("marked", "text", ['(a,"[1,5)")', "(,)"], record_of(text, within(str, str))),
}

# Types that a target does not hold, and what columns of them are cast to.
LACKING = {
    "parquet": [("interval", "text")],
    "delta": [("interval|uuid|json|time\\(us\\)", "text"), ("uint32", "int64"), (r"decimal\((39|[4-7]\d),\d+\)", "text")],
}


def casts(target):
    """The columns that a target does not hold as they are, with the types that it holds."""
    found = {}
    for name, column in COLUMNS.items():
        type = column.meant
        for lacking, instead in LACKING[target]:
            type = re.sub(rf"\b({lacking})", instead, type)
        if type != column.meant:
            found[name] = type
    return found


def rows(generated, seed):
    """Rows with all values at the edges, and so many with generated ones."""
    rng = random.Random(seed)
    edges = max(len(column.edges) for column in COLUMNS.values())
    for row in range(edges + 1):
        # A column with fewer edges begins anew, and one row is NULL wherever it may be.
        yield [None if row == edges and name != "short" else column.edges[row % len(column.edges)]
               for name, column in COLUMNS.items()]
    for _ in range(generated):
        yield [None if rng.random() < 0.1 and name != "short" else column.more(rng) for name, column in COLUMNS.items()]


def make(connection, table, generated, seed):
    """Makes the table, with the key `id`, and fills it. Returns how many rows it has."""
    connection.execute(BEFORE)
    columns = ", ".join(f'"{name}" {column.type}' for name, column in COLUMNS.items())
    connection.execute(f"create table {table} (id int primary key, {columns})")
    count = 0
    with connection.cursor().copy(f"copy {table} from stdin") as copy:
        for count, row in enumerate(rows(generated, seed), 1):
            copy.write_row([str(count), *row])
    return count
