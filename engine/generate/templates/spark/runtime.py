# What follows is the same in every job.


class Job:
    """Reads, casts and writes tables, and says what became of each."""

    def __init__(self, spark, args):
        self.spark, self.args = spark, args
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self.run_id = args.run_id or self.started.strftime("spark-%Y%m%dT%H%M%SZ")

    def read_files(self, table, columns, format="parquet", options=None):
        """A table of files: a folder, a file, or a pattern."""
        base, endings = url_of(self.args.source_files or source_url()), ENDINGS[format]
        reader = self.spark.read.format(format).options(**(options or {}))
        reader = reader.schema(T.StructType([T.StructField(name, stored(type)) for name, type in columns]))
        path, is_folder = self.path_of(base, table, endings)
        if is_folder:
            reader = reader.option("pathGlobFilter", "*{" + ",".join(endings) + "}")
            if not any("=" in status.getPath().getName() for status in self.files_of(path).listStatus(self.path(path))):
                # No names of folders are values.
                reader = reader.option("recursiveFileLookup", "true")
            path = literally(path)
        return reader.load(path).select([column(name) for name, _ in columns])

    def read_database(self, table, columns, query, options):
        """What a query of PostgreSQL gives; or the same rows from files, if there are any."""
        if self.args.source_files:
            return self.read_files(table, columns)
        rows = self.spark.read.format("jdbc").options(**options()).option("query", query).load()
        return rows.select([from_database(column(name), type).alias(name) for name, type in columns])

    def path_of(self, base, table, endings):
        """Where a table is, and whether that is a folder."""
        if table.endswith(endings) or any(c in table for c in "*?[{"):
            return f"{literally(base)}/{table}", False
        for ending in ("", *endings):
            path = f"{base}/{table}{ending}"
            if self.files_of(path).exists(self.path(path)):
                return (path, True) if ending == "" else (literally(path), False)
        raise Stopped(3, f"there is no table {table} in {base}")

    def path(self, text):
        return self.spark._jvm.org.apache.hadoop.fs.Path(text)

    def files_of(self, path):
        return self.path(path).getFileSystem(self.spark._jsc.hadoopConfiguration())

    def cast(self, rows, casts):
        """Casts columns, each with its policy for values that do not fit. They become NULL, and are marked."""
        changed = {}
        for name, source, target, _ in casts:
            value = cast(column(name), source, target)
            changed[name] = value
            changed[misfit(name)] = column(name).isNotNull() & value.isNull()
        return rows.withColumns(changed)

    def only_new(self, rows, table, cursor):
        """The rows with a cursor, or with one above what --above says."""
        wanted = column(cursor).isNotNull()
        if table in self.args.above:
            wanted = column(cursor) > F.lit(self.args.above[table]).cast(rows.schema[cursor].dataType)
        if misfit(cursor) in rows.columns:
            wanted = F.coalesce(wanted, F.lit(False)) | column(misfit(cursor))
        return rows.where(wanted)

    def write(self, table, rows, values, hash, mode, casts=(), aside=(), partition_by=(), cursor=None):
        """Writes the rows, but for those that are put aside: `values` are the target's columns with their types, `aside`
        conditions, each with the rule that it says."""
        target = f"{url_of(self.args.target)}/{table}"
        for owned in ("_transload", "_delta_log"):
            if self.files_of(target).exists(self.path(f"{target}/{owned}")):
                raise Stopped(3, f"{target} belongs to transload or is a Delta table: choose another --target")
        policies = {name: on_misfit for name, _, _, on_misfit in casts}
        aside = [condition for _, condition in aside]
        aside += [column(misfit(name)) for name, on_misfit in policies.items() if on_misfit == "quarantine"]
        aside = functools.reduce(lambda a, b: a | F.coalesce(b, F.lit(False)), aside, F.lit(False))
        rows = rows.withColumn(ASIDE, aside).persist(StorageLevel.DISK_ONLY)
        try:
            figures = [F.count_if(column(ASIDE)), F.max(column(cursor)) if cursor else F.lit(None)]
            for name, on_misfit in policies.items():
                figures.append(F.count_if(column(misfit(name)) & (F.lit(on_misfit == "error") | ~column(ASIDE))))
            put_aside, highest, *misfits = rows.agg(*(figure.alias(f"_{i}") for i, figure in enumerate(figures))).first()
            misfits = {name: count for name, count in zip(policies, misfits) if count and policies[name] != "quarantine"}
            for name, count in misfits.items():
                if policies[name] == "error":
                    raise Stopped(4, f"{count} values of {name} do not fit: nothing of {table} is written")
            if self.args.aside and put_aside:
                folder = f"{url_of(self.args.aside)}/{table}"
                rows.where(column(ASIDE)).drop(ASIDE, *map(misfit, policies)).write.mode("overwrite").parquet(folder)
            written = rows.where(~column(ASIDE)).select([value.cast(stored(type)).alias(name) for name, type, value in values])
            digest = digest_of(written, [(name, type) for name, type, _ in values if name not in METADATA], hash)
            self.write_files(target, written, partition_by, mode)
        finally:
            rows.unpersist()
        said = {"table": table, "written": int(digest.split(":")[1]), "put_aside": put_aside, "misfits": misfits, "digest": digest}
        if cursor:
            said["cursor"] = None if highest is None else str(highest)
        print(json.dumps(said, ensure_ascii=False), flush=True)

    def write_files(self, target, rows, partition_by, mode):
        rows = rows.withColumns({name: value for name, value in partition_by if value is not None})
        names = [name for name, _ in partition_by]
        empty = [column(name) == "" for name in names if rows.schema[name].dataType == T.StringType()]
        if empty and rows.where(functools.reduce(lambda a, b: a | b, empty)).limit(1).count():
            raise Stopped(4, f"Spark has no folder for the empty text: nothing is written to {target}")
        writer = rows.write.partitionBy(*names)
        if mode == "replace_partitions":
            writer, mode = writer.option("partitionOverwriteMode", "dynamic"), "overwrite"
        writer.mode(mode).parquet(target)


class Stopped(Exception):
    """Why the job does not go on, with the exit code that transload has for it."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


METADATA = ("_ingested_at", "_source_system", "_run_id")
ASIDE = "_transload_aside"
ENDINGS = {
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "json": tuple(ending + packed for ending in (".json", ".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")),
}


def url_of(text):
    """A url as Hadoop has it, without a slash at its end."""
    return re.sub("^s3://", "s3a://", text).rstrip("/")


def literally(path):
    """A path in which nothing is a pattern."""
    return re.sub(r"([\\{}\[\]*?])", r"\\\1", path)


def text_of(path):
    return pathlib.Path(path).read_text().rstrip("\n")


def column(name):
    return F.col("`" + name.replace("`", "``") + "`")


def misfit(name):
    """The column that marks the values of another one that do not fit."""
    return f"_transload_misfit {name}"


# Types: a word, such as "int32", or one of these.


def decimal(precision, scale):
    return ("decimal", precision, scale)


def time(unit):
    return ("time", unit)


def timestamp(unit, zone=None):
    return ("timestamp", unit, zone)


def list_of(item):
    return ("list", item)


def struct_of(*fields):
    return ("struct", fields)


def map_of(key, value):
    return ("map", key, value)


def kind_of(type):
    return type if isinstance(type, str) else type[0]


def stored(type):
    """The type that Spark holds such values in. Where it has none it is the form in which Parquet stores them: bytes for a
    uuid and for a decimal of more than 38 digits, the number of its units for a time and for a timestamp in nanoseconds."""
    match type:
        case ("decimal", precision, scale):
            return T.DecimalType(precision, scale) if precision <= 38 else T.BinaryType()
        case ("time", unit):
            return T.IntegerType() if unit in ("s", "ms") else T.LongType()
        case ("timestamp", "ns", _):
            return T.LongType()
        case ("timestamp", _, zone):
            return T.TimestampNTZType() if zone is None else T.TimestampType()
        case ("list", item):
            return T.ArrayType(stored(item))
        case ("struct", fields):
            return T.StructType([T.StructField(name, stored(field)) for name, field in fields])
        case ("map", key, value):
            return T.MapType(stored(key), stored(value))
    return {
        "bool": T.BooleanType(), "text": T.StringType(), "json": T.StringType(), "date": T.DateType(),
        "binary": T.BinaryType(), "uuid": T.BinaryType(), "float32": T.FloatType(), "float64": T.DoubleType(),
        "int8": T.ByteType(), "int16": T.ShortType(), "int32": T.IntegerType(), "int64": T.LongType(),
        "uint8": T.ShortType(), "uint16": T.IntegerType(), "uint32": T.LongType(), "uint64": T.DecimalType(20, 0),
    }[type]


def from_database(value, type):
    """What a query gave: days, and microseconds since 1970, are numbers there."""
    match type:
        case "date":
            return F.date_from_unix_date(value.cast("int"))
        case ("timestamp", _, _):
            return F.timestamp_micros(value).cast(stored(type))
    return value.cast(stored(type))


# Casts, by the rules of transload's rulebook `standard`: a value that does not fit becomes NULL.

LIMITS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)}
LIMITS |= {f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)}
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
BLANKS = r"[ \t\n\f\r]*"
ANY_BLANKS = r"[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*"
NUMBER = r"[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)"
YES = ("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1")
NO = ("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0")


def cast(value, source, target):
    before, after = kind_of(source), kind_of(target)
    if source == target:
        return value
    if before == "list":
        items = F.transform(value, lambda item: cast(item, source[1], target[1]))
        return F.when(~F.exists(value, lambda item: item.isNotNull() & cast(item, source[1], target[1]).isNull()), items)
    if before == "struct":
        types, fits, parts = dict(source[1]), value.isNotNull(), []
        for name, type in target[1]:
            part = cast(value.getField(name), types[name], type)
            fits = fits & (value.getField(name).isNull() | part.isNotNull())
            parts.append(part.alias(name))
        return F.when(fits, F.struct(*parts))
    if before == "text":
        return read_text(value, target)
    if after == "text":
        return write_text(value, before)
    if after in LIMITS:
        return to_integer(value, before, target)
    if after == "bool":
        return F.when(value.isin(0, 1), value == 1)
    if after == "float32" and before == "float64":
        narrow, infinity = value.cast("float"), F.lit(float("inf"))
        return F.when((F.abs(narrow) != infinity) | (F.abs(value) == infinity), narrow)
    if after in ("decimal", "float32", "float64"):
        return value.try_cast(stored(target))
    if after == "uuid":
        return F.when(F.octet_length(value) == 16, value)
    if after == "binary":
        return value
    if after == "date" or before == "date":
        return value.try_cast(stored(target))
    # What is finer than the unit is cut, towards 1970. Where a zone comes or goes, the clock is that of UTC.
    size = F.lit(UNITS[target[1]])
    ticks = F.call_function("div", F.unix_micros(value.cast("timestamp")), size) * size
    return F.timestamp_micros(ticks).cast(stored(target))


def to_integer(value, before, target):
    least, most = LIMITS[target]
    if before == "bool":
        return value.cast(stored(target))
    if before in ("float32", "float64"):
        wide = value.cast("double")
        fits = (wide >= float(least)) & (wide < float(most + 1)) & (wide == F.rint(wide)) & (wide.cast("string") != "-0.0")
    else:
        fits = value.between(F.lit(Decimal(least)), F.lit(Decimal(most)))
    if before == "decimal":
        fits = fits & (value == F.floor(value))
    return F.when(fits, value.try_cast(stored(target)))


def read_text(value, target):
    """Strictly: what would get lost does not fit."""

    def found(pattern):
        part = F.regexp_extract(value, "^" + pattern + r"\z", 1)
        return F.when(part != "", part)

    match target:
        case "text" | "binary":
            return value.cast(stored(target))
        case "bool":
            word = F.lower(found(rf"{ANY_BLANKS}([A-Za-z01]+){ANY_BLANKS}"))
            return F.when(word.isin(*YES), True).when(word.isin(*NO), False)
        case ("decimal", _, scale):
            number = found(rf"{ANY_BLANKS}({NUMBER}){ANY_BLANKS}")
            return F.when(~number.rlike(rf"[.][0-9]{{{scale}}}[0-9]*[1-9]"), number.try_cast(stored(target)))
        case "float32" | "float64":
            number = found(rf"{BLANKS}({NUMBER}(?:[eE][+-]?[0-9]+)?){BLANKS}")
            read = number.try_cast(stored(target))
            kept = (F.abs(read) != float("inf")) & ((read != 0) | ~number.rlike("^[+-]?[0.]*[1-9]"))
            word = F.lower(found(rf"{BLANKS}([+-]?(?i:inf|infinity|nan)){BLANKS}"))
            word = F.when(word.contains("nan"), F.lit("nan")).otherwise(word)
            return F.coalesce(F.when(kept, read), word.try_cast(stored(target)))
        case "date":
            return found("([0-9]{4}-[0-9]{1,2}-[0-9]{1,2}|[+-][0-9]{4,7}-[0-9]{1,2}-[0-9]{1,2})").try_cast("date")
        case ("timestamp", unit, zone):
            offset = "" if zone is None else "(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
            clock = "[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,9})?"
            read = F.translate(found(f"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[Tt ]{clock}{offset})?)"), "tz", "TZ")
            digits = {"s": 0, "ms": 3, "us": 6}[unit]
            return F.when(~read.rlike(rf"[.][0-9]{{{digits}}}[0-9]*[1-9]"), read.try_cast(stored(target)))
        case "uuid":
            return F.unhex(F.translate(found("([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"), "-", ""))
        case integer:
            number = found(rf"{BLANKS}([+-]?[0-9]+){BLANKS}").try_cast(T.DecimalType(38, 0))
            least, most = LIMITS[integer]
            return F.when(number.between(F.lit(Decimal(least)), F.lit(Decimal(most))), number.try_cast(stored(integer)))


def write_text(value, before):
    if before == "uuid":
        return F.regexp_replace(F.lower(F.hex(value)), "^(.{8})(.{4})(.{4})(.{4})(.{12})$", "$1-$2-$3-$4-$5")
    text = value.cast("string")
    return F.try_validate_utf8(text) if before == "binary" else text


# Masks of texts.


def redacted(text):
    return F.when(text.isNotNull(), F.lit("***"))


def hashed(text):
    return F.sha2(text.cast("binary"), 256)


def last_four(text):
    return F.when(F.char_length(text) <= 8, F.lit("***")).otherwise(F.concat(F.lit("***"), F.substring(text, -4, 4)))


# The digest of a table, by docs/row-hash.md of transload, version 1.


def digest_of(rows, columns, hash):
    """The digest of the rows: sums over the hashes of all of them, which no order changes."""
    lanes = 2 if hash == "xxh64" else 4

    def sums(batches):
        count, totals, lanes_of = 0, [0] * lanes, lanes_by(hash)
        encoders = [encoder(type) for _, type in columns]
        for batch in batches:
            cells = [map(encode, raw_values(array)) for encode, array in zip(encoders, batch.columns)]
            for found in map(lanes_of, map(b"".join, zip(*cells))):
                count += 1
                totals = [total + lane for total, lane in zip(totals, found)]
        yield pa.RecordBatch.from_pydict({"sums": [f"{n:x}" for n in (count, *totals)], "at": list(range(lanes + 1))})

    # Names with dots and backticks are not for every function of Spark.
    rows = rows.select([column(name).alias(f"_{at}") for at, (name, _) in enumerate(columns)])
    found = rows.mapInArrow(sums, "sums string, at long").collect()
    totals = [sum(int(row.sums, 16) for row in found if row.at == at) for at in range(lanes + 1)]
    return ":".join([hash, str(totals[0]), *(f"{total:032x}" for total in totals[1:])])


def lanes_by(hash):
    """The function from the canonical bytes of a row to the integers that are summed."""
    if hash == "sha256":
        return lambda row: struct.unpack("<4Q", hashlib.sha256(row).digest())
    try:
        from xxhash import xxh64_intdigest as xxh
    except ImportError:
        xxh = xxh64

    def lanes(row):
        h = xxh(row)
        z = (h + 0x9E3779B97F4A7C15) & MASK
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        return h, z ^ (z >> 31)

    return lanes


MASK = 2**64 - 1
NANOS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
EXACT = Context(prec=80)
TAGS = {"bool": 1, "float32": 4, "float64": 4, "decimal": 5, "text": 7, "binary": 8, "date": 9, "time": 10}
TAGS |= {"uuid": 14, "json": 15, "list": 16, "struct": 17, "map": 18} | {name: 2 for name in LIMITS}


def encoder(type):
    """The function from a value of this type, or None, to its canonical bytes."""
    kind = kind_of(type)
    tag = (11 if type[2] is None else 12) if kind == "timestamp" else TAGS[kind]
    null, encode = bytes([tag | 0x80]), payload(type, bytes([tag]))
    return lambda value: null if value is None else encode(value)


def payload(type, tag):
    match type:
        case "bool":
            return lambda v: tag + (b"\1" if v else b"\0")
        case "float32" | "float64":
            nan = tag + bytes.fromhex("000000000000f87f")
            return lambda v: nan if v != v else tag + struct.pack("<d", v)
        case "text" | "json":
            return lambda v: sized(tag, v.encode())
        case "binary":
            return lambda v: sized(tag, v)
        case "uuid":
            return lambda v: tag + v
        case "date":
            return lambda v: tag + struct.pack("<i", v)
        case ("decimal", precision, scale):
            if precision > 38:
                return lambda v: digits_of(int.from_bytes(v, "big", signed=True), scale)
            return lambda v: digits_of(int(v.scaleb(scale, EXACT)), scale)
        case ("time", unit):
            # Parquet has no seconds: they are stored as milliseconds.
            tick = NANOS["ms" if unit == "s" else unit]
            return lambda v: tag + struct.pack("<q", v * tick)
        case ("timestamp", unit, _):
            tick = 1 if unit == "ns" else 1_000
            return lambda v: tag + (v * tick).to_bytes(16, "little", signed=True)
        case ("list", item):
            item = encoder(item)
            return lambda v: counted(tag, [item(i) for i in v])
        case ("struct", fields):
            fields = [encoder(field) for _, field in fields]
            return lambda v: counted(tag, [field(i) for field, i in zip(fields, v)])
        case ("map", key, item):
            key, item = encoder(key), encoder(item)
            return lambda v: counted(tag, sorted(key(k) + item(i) for k, i in v))
    return lambda v: tag + struct.pack("<q", int(v)) if v < 2**63 else b"\x03" + struct.pack("<Q", int(v))


def sized(tag, data):
    return tag + struct.pack("<I", len(data)) + data


def counted(tag, cells):
    return tag + struct.pack("<I", len(cells)) + b"".join(cells)


def digits_of(integer, scale):
    """A decimal by its digits, without zeros at the end of its fraction."""
    while scale > 0 and integer % 10 == 0:
        integer, scale = integer // 10, scale - 1
    if -(2**63) <= integer < 2**63:
        return bytes([5, scale]) + integer.to_bytes(8, "little", signed=True)
    return bytes([6, scale]) + integer.to_bytes(32, "little", signed=True)


def raw_values(array):
    """The values of an Arrow array, with every bit: days and times as numbers, structs as tuples, maps as pairs."""
    type = array.type
    if pa.types.is_timestamp(type):
        return array.cast(pa.int64()).to_pylist()
    if pa.types.is_date32(type):
        return array.cast(pa.int32()).to_pylist()
    if pa.types.is_struct(type):
        rows = list(zip(*map(raw_values, array.flatten())))
        return [row if valid else None for row, valid in zip(rows, array.is_valid().to_pylist())]
    if pa.types.is_map(type) or pa.types.is_list(type) or pa.types.is_large_list(type):
        is_map = pa.types.is_map(type)
        items = list(zip(raw_values(array.keys), raw_values(array.items))) if is_map else raw_values(array.values)
        ends, valid = array.offsets.to_pylist(), array.is_valid().to_pylist()
        return [items[ends[i]:ends[i + 1]] if valid[i] else None for i in range(len(array))]
    return array.to_pylist()


def xxh64(data):
    """XXH64 with seed 0, for where there is no package `xxhash`, which is faster by far."""
    p1, p2, p3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
    p4, p5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

    def left(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & MASK

    def turn(lane, word):
        return left((lane + word * p2) & MASK, 31) * p1 & MASK

    at, size, h = 0, len(data), p5
    if size >= 32:
        lanes = [(p1 + p2) & MASK, p2, 0, -p1 & MASK]
        while at + 32 <= size:
            lanes = [turn(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(left(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            h = ((h ^ turn(0, lane)) * p1 + p4) & MASK
    h = (h + size) & MASK
    while at + 8 <= size:
        h = (left(h ^ turn(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & MASK
        at += 8
    if at + 4 <= size:
        h = (left(h ^ struct.unpack_from("<I", data, at)[0] * p1 & MASK, 23) * p2 + p3) & MASK
        at += 4
    for byte in data[at:]:
        h = left(h ^ byte * p5 & MASK, 11) * p1 & MASK
    h = (h ^ (h >> 33)) * p2 & MASK
    h = (h ^ (h >> 29)) * p3 & MASK
    return h ^ (h >> 32)


SETTINGS = {
    # Names mean what they say, clocks are those of UTC, and what overflows fails.
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # A line with too few fields is seen though not all of them are read.
    "spark.sql.csv.parser.columnPruning.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, metavar="URL", help="the folder or bucket that gets the tables")
    parser.add_argument("--source-files", metavar="URL", help="read the tables from files in this folder or bucket instead")
    parser.add_argument("--aside", metavar="URL", help="where rows go that are put aside; without it they are only counted")
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="only this table; may be given several times")
    parser.add_argument("--above", action="append", default=[], metavar="NAME=VALUE", help="of an incremental table only rows whose cursor is above this value; may be given several times")
    parser.add_argument("--run-id", metavar="NAME", help="the name of this run, for the column _run_id")
    args = parser.parse_args()
    args.above = dict(above.split("=", 1) for above in args.above)
    unknown = sorted({*args.table, *args.above} - set(TABLES))
    if unknown:
        parser.error(f"there is no table {', '.join(unknown)}; there are {', '.join(TABLES)}")
    return args


def main():
    args = arguments()
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        # Started by Python itself, and not by spark-submit: the workers are this Python, too.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = SparkSession.builder.appName(PIPELINE)
    for name, value in SETTINGS.items():
        session = session.config(name, value)
    job = Job(session.getOrCreate(), args)
    try:
        for name, load in TABLES.items():
            if not args.table or name in args.table:
                load(job)
    except Stopped as stopped:
        print(f"error: {stopped}", file=sys.stderr)
        return stopped.code
    finally:
        job.spark.stop()
    return 0
