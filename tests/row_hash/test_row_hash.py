"""Tests of the Python row hash itself: python -m unittest discover -s tests/row_hash"""

import contextlib
import io
import json
import random
import struct
import tempfile
import unittest
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

import random_tables
import row_hash
import vectors

NANOS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Reader:
    """Reads cells back without knowing their types. That it can is what makes the encoding injective."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def integer(self, width, signed=True):
        return int.from_bytes(self.take(width), "little", signed=signed)

    def count(self):
        return self.integer(4, signed=False)

    def cell(self):
        tag = self.integer(1, signed=False)
        if tag & 0x80:
            return (tag,)
        if tag == 0x01:
            return tag, bool(self.integer(1))
        if tag in (0x02, 0x03):
            return "integer", self.integer(8, signed=tag == 0x02)
        if tag == 0x04:
            return tag, self.take(8)
        if tag in (0x05, 0x06):
            scale = self.integer(1, signed=False)
            return "decimal", Fraction(self.integer(16 if tag == 0x05 else 32), 10**scale)
        if tag in (0x07, 0x08, 0x0F):
            return tag, self.take(self.count())
        if tag in (0x09, 0x0A, 0x0B, 0x0C):
            return tag, self.integer({0x09: 4, 0x0A: 8}.get(tag, 16))
        if tag == 0x0D:
            return tag, self.integer(4), self.integer(4), self.integer(8)
        if tag == 0x0E:
            return tag, self.take(16)
        if tag in (0x10, 0x11):
            return tag, tuple(self.cell() for _ in range(self.count()))
        if tag == 0x12:
            return tag, frozenset(Counter((self.cell(), self.cell()) for _ in range(self.count())).items())
        raise ValueError(f"tag {tag:02x}")

    def row(self):
        cells = []
        while self.at < len(self.data):
            cells.append(self.cell())
        if self.at != len(self.data):
            raise ValueError("the row ends inside a cell")
        return tuple(cells)


def meaning(value, type):
    """What a Reader should read for this raw value: the value itself, whatever its notation."""
    is_ = pa.types
    if value is None:
        return (_tag(type) | 0x80,)
    if is_.is_integer(type):
        return "integer", value
    if is_.is_decimal(type):
        return "decimal", Fraction(value)
    tag = _tag(type)
    if is_.is_floating(type):
        return tag, struct.pack("<d", value) if value == value else b"\0\0\0\0\0\0\xf8\x7f"
    if is_.is_string(type) or is_.is_large_string(type):
        return tag, value.encode()
    if is_.is_date64(type):
        return tag, value // 86_400_000
    if is_.is_time(type) or is_.is_timestamp(type):
        return tag, value * NANOS[type.unit]
    if is_.is_list(type) or is_.is_large_list(type) or is_.is_fixed_size_list(type):
        return tag, tuple(meaning(v, type.value_type) for v in value)
    if is_.is_struct(type):
        return tag, tuple(meaning(v, f.type) for v, f in zip(value, type))
    if is_.is_map(type):
        pairs = Counter((meaning(k, type.key_type), meaning(v, type.item_type)) for k, v in value)
        return tag, frozenset(pairs.items())
    return tag, value


def _tag(type):
    if pa.types.is_timestamp(type):
        return 0x0B if type.tz is None else 0x0C
    prefixes = {
        "bool": 1, "int": 2, "uint": 2, "halffloat": 4, "float": 4, "double": 4, "decimal": 5, "string": 7,
        "large_string": 7, "binary": 8, "large_binary": 8, "fixed_size_binary": 8, "date": 9, "time": 10, "list": 16,
        "large_list": 16, "fixed_size_list": 16, "struct": 17, "map": 18,
    }
    return prefixes[max((p for p in prefixes if str(type).startswith(p)), key=len)]


def random_rows(seed, tables=150, count=40):
    """Pairs of types and raw rows, alike enough that near misses occur."""
    for i in range(tables):
        rng = random.Random(f"{seed}/{i}")
        types = [random_tables.random_type(rng) for _ in range(rng.randint(1, 4))]
        rows = [[random_tables.random_value(rng, t, 0.3) for t in types] for _ in range(count)]
        yield types, rows


def table(**columns):
    return pa.table(columns)


class Cells(unittest.TestCase):
    def test_cells_written_by_hand(self):
        uuid = pa.field("c", pa.binary(16), metadata={row_hash.EXTENSION_NAME: "arrow.uuid"})
        text = pa.field("c", pa.string(), metadata={row_hash.EXTENSION_NAME: "arrow.json"})
        for value, type, expected in [
            (True, pa.bool_(), "01 01"),
            (5, pa.int8(), "02 05 00 00 00 00 00 00 00"),
            (-2, pa.int32(), "02 fe ff ff ff ff ff ff ff"),
            (2**63 - 1, pa.uint64(), "02 ff ff ff ff ff ff ff 7f"),
            (2**63, pa.uint64(), "03 00 00 00 00 00 00 00 80"),
            (None, pa.uint64(), "82"),
            (-0.0, pa.float64(), "04 00 00 00 00 00 00 00 80"),
            (1.0, pa.float32(), "04 00 00 00 00 00 00 f0 3f"),
            (struct.unpack("<d", b"\1\0\0\0\0\0\xf0\xff")[0], pa.float64(), "04 00 00 00 00 00 00 f8 7f"),
            (Decimal("1.50"), pa.decimal128(5, 2), "05 01 0f" + "00" * 7),
            (Decimal("-2.00"), pa.decimal256(50, 2), "05 00 fe" + "ff" * 15),
            (Decimal("1.23E+4"), pa.decimal128(5, -2), "05 00 0c 30" + "00" * 6),
            (Decimal(2**127), pa.decimal256(76, 0), "06 00" + "00" * 15 + "80" + "00" * 16),
            (None, pa.decimal256(76, 0), "85"),
            ("é ", pa.string(), "07 03 00 00 00 c3 a9 20"),
            (None, pa.null(), "87"),
            (b"\xff", pa.binary(), "08 01 00 00 00 ff"),
            (-1, pa.date32(), "09 ff ff ff ff"),
            (-86_400_000, pa.date64(), "09 ff ff ff ff"),
            (1, pa.time64("us"), "0a e8 03 00 00 00 00 00 00"),
            (-1, pa.timestamp("ns"), "0b" + "ff" * 16),
            (-(2**63), pa.timestamp("us"), "0b 00 00 00 00 00 00 00 00 0c fe" + "ff" * 6),  # -1000 * 2^63 = -500 * 2^64
            (1, pa.timestamp("ms", "Europe/Berlin"), "0c 40 42 0f" + "00" * 13),
            ((1, -1, 2), pa.month_day_nano_interval(), "0d 01 00 00 00 ff ff ff ff 02 00 00 00 00 00 00 00"),
            (bytes(range(16)), uuid, "0e 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"),
            (bytes(16), pa.uuid(), "0e" + "00" * 16),
            ("{}", text, "0f 02 00 00 00 7b 7d"),
            (None, pa.json_(), "8f"),
            ([True, None], pa.list_(pa.bool_()), "10 02 00 00 00 01 01 81"),
            ((None, False), pa.struct([("a", pa.bool_()), ("b", pa.bool_())]), "11 02 00 00 00 81 01 00"),
            ([("b", True), ("a", None)], pa.map_(pa.string(), pa.bool_()),
             "12 02 00 00 00 07 01 00 00 00 61 81 07 01 00 00 00 62 01 01"),
            ("a", pa.dictionary(pa.int8(), pa.string()), "07 01 00 00 00 61"),
        ]:
            with self.subTest(type=str(type), value=value):
                self.assertEqual(row_hash.cell(value, type).hex(), expected.replace(" ", ""))

    def test_what_has_no_bytes_is_refused(self):
        with self.assertRaises(TypeError):
            row_hash.cell(1, pa.duration("s"))
        with self.assertRaises(ValueError):
            row_hash.cell(1, pa.date64())
        with self.assertRaises(ValueError):
            row_hash.cell(b"short", pa.uuid())

    def test_the_layout_of_a_column_does_not_matter(self):
        values = ["a", None, "", "a", "u\u0308"]
        plain = pa.array(values)
        layouts = [
            plain.cast(pa.large_string()), plain.cast(pa.string_view()), plain.dictionary_encode(),
            pc.run_end_encode(plain), pa.chunked_array([plain[:2], plain[2:2], plain[2:]]),
            pa.array(["x", *values, "y"])[1:-1],
            pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0, 3]), pa.array(["a", None, "", "u\u0308"])),
        ]
        expected = row_hash.canonical_rows(table(c=plain))
        for layout in layouts:
            self.assertEqual(row_hash.canonical_rows(table(c=layout)), expected, str(layout.type))

    def test_slices_of_nested_columns(self):
        for types, rows in random_rows("slices", tables=60, count=12):
            fields = [pa.field(f"c{i}", t) for i, t in enumerate(types)]
            whole = vectors.build_table(fields, rows)
            expected = [b"".join(row_hash.cell(v, t) for v, t in zip(row, types)) for row in rows]
            self.assertEqual(row_hash.canonical_rows(whole), expected)
            self.assertEqual(row_hash.canonical_rows(whole.slice(3, 6)), expected[3:9])

    def test_integers_of_all_widths_and_timestamps_of_all_units_agree(self):
        self.assertEqual(len({row_hash.cell(5, t) for t in [pa.int8(), pa.int64(), pa.uint8(), pa.uint64()]}), 1)
        ticks = [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
        self.assertEqual(len({row_hash.cell(7 * n, pa.timestamp(u)) for u, n in ticks}), 1)

    def test_rows_read_back_and_only_equal_values_have_equal_bytes(self):
        seen, total = {}, 0
        for types, rows in random_rows("injective"):
            for row in rows:
                data = b"".join(row_hash.cell(v, t) for v, t in zip(row, types))
                value = tuple(meaning(v, t) for v, t in zip(row, types))
                self.assertEqual(Reader(data).row(), value)
                self.assertEqual(seen.setdefault(data, value), value)
                total += 1
        self.assertEqual(len(set(seen.values())), len(seen))
        self.assertGreater(len(seen), total / 2)


class Hashes(unittest.TestCase):
    def test_known_answers(self):
        self.assertEqual(xxhash.xxh64_hexdigest(b"", seed=0), "ef46db3751d8e999")
        self.assertEqual(xxhash.xxh64_hexdigest(b"abc", seed=0), "44bc2cf5ad770999")
        self.assertEqual(row_hash.mix(0), 0xE220A8397B1DCDAF)
        self.assertEqual(row_hash.hash_bytes(b"abc", "sha256")[:16], "ba7816bf8f01cfea")

    def test_digest_of_nothing(self):
        empty = table(a=pa.array([], pa.int32()))
        self.assertEqual(row_hash.table_digest(empty, "xxh64"), "xxh64:0:" + "0" * 32 + ":" + "0" * 32)
        self.assertEqual(row_hash.table_digest(empty, "sha256"), "sha256:0" + (":" + "0" * 32) * 4)

    def test_digest_does_not_depend_on_order_but_on_every_row(self):
        for i in range(30):
            rng = random.Random(f"digest/{i}")
            before = random_tables.random_table(rng)
            if not before.num_rows:
                continue
            order = list(range(before.num_rows))
            rng.shuffle(order)
            after = pa.concat_tables([before.slice(j, 1) for j in order])
            for algorithm in ("xxh64", "sha256"):
                digest = row_hash.table_digest(before, algorithm)
                self.assertEqual(row_hash.table_digest(after, algorithm), digest)
                self.assertNotEqual(row_hash.table_digest(after.slice(1), algorithm), digest)
                doubled = pa.concat_tables([before, before.slice(0, 1)])
                self.assertNotEqual(row_hash.table_digest(doubled, algorithm), digest)

    def test_digest_is_the_sum_over_any_number_of_buckets(self):
        rows = table(a=list(range(500)), b=[str(i % 7) for i in range(500)])
        for algorithm, key in (("xxh64", ["a"]), ("sha256", None), ("sha256", ["b", "a"])):
            digest = row_hash.table_digest(rows, algorithm).split(":")
            for bits in (0, 1, 5):
                buckets = [row_hash.bucket(h, bits) for h in row_hash.key_hashes(rows, key, algorithm)]
                self.assertLess(max(buckets), 2**bits)
                parts = [
                    row_hash.table_digest(rows.filter(pa.array([b == wanted for b in buckets])), algorithm).split(":")
                    for wanted in range(2**bits)
                ]
                self.assertEqual(sum(int(p[1]) for p in parts), int(digest[1]))
                for lane in range(2, len(digest)):
                    self.assertEqual(sum(int(p[lane], 16) for p in parts), int(digest[lane], 16))

    def test_sample_is_stable_and_grows(self):
        rows = table(k=list(range(2000)), v=["x"] * 2000)
        tenth, fifth = (row_hash.sample(rows, ["k"], keep, 10) for keep in (1, 2))
        self.assertTrue(all(b for a, b in zip(tenth, fifth) if a))
        self.assertTrue(140 < sum(tenth) < 260, sum(tenth))
        changed = rows.set_column(1, "v", pa.array(["y"] * 2000))
        self.assertEqual(row_hash.sample(changed, ["k"], 1, 10), tenth)
        backwards = rows.take(list(range(1999, -1, -1)))
        self.assertEqual(row_hash.sample(backwards, ["k"], 1, 10), tenth[::-1])

    def test_columns_are_found_by_name_and_in_the_order_asked_for(self):
        rows = table(a=[1], b=["x"])
        self.assertEqual(
            row_hash.canonical_rows(rows, ["b", "a"]),
            [row_hash.cell("x", pa.string()) + row_hash.cell(1, pa.int64())],
        )
        with self.assertRaises(KeyError):
            row_hash.canonical_rows(rows, ["c"])


class Files(unittest.TestCase):
    def test_golden_vectors(self):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = row_hash.main(["vectors", "--check"])
        self.assertEqual(status, 0, out.getvalue())

    def test_command_line_and_random_tables(self):
        with tempfile.TemporaryDirectory() as folder:
            for i in range(20):
                rng = random.Random(f"files/{i}")
                path = Path(folder) / f"{i}.parquet"
                random_tables.write_table(rng, random_tables.random_table(rng), path)
                expected = json.loads(path.with_suffix(".json").read_text())
                for algorithm in ("xxh64", "sha256"):
                    with contextlib.redirect_stdout(io.StringIO()) as out:
                        row_hash.main(["digest", str(path), "--algorithm", algorithm, "--rows", "--sample", "1/2"])
                    result = json.loads(out.getvalue())
                    self.assertEqual(result["rows"], expected["rows"])
                    self.assertEqual(result["digest"], expected[algorithm]["digest"])
                    self.assertEqual(result["row_hashes"][:50], expected[algorithm]["row_hashes"])
                    self.assertEqual(len(result["sample"]), expected["rows"])


if __name__ == "__main__":
    unittest.main()
