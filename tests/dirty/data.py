"""Three data sets as they come, each with faults whose place and reasons are known.

    python data.py FOLDER

writes below FOLDER the files of hospital, sensors and shop, and faults.json:

    { DATASET: { TABLE: { "rows": N, "aside": { POSITION: [REASON, …] }, "broken": { REASON: N or WORDS } } } }

`aside` are the rows that have to be put aside, and why, each with its position in the file; `broken` are the rules that are
broken, with the number of rows that break them, or with what is said of the table. No other row and no other rule may be
found. What is drawn by lot is the same each time.
"""

import datetime as dt
import json
import random
import sys
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class Table:
    """Rows as they should be, into which faults are put."""

    def __init__(self, rows):
        self.rows, self.aside, self.broken = rows, {}, {}

    def spoil(self, position, reasons, **values):
        """Puts values into a row that has to be put aside for these reasons."""
        assert position not in self.aside and self.rows[position] is not None, position
        reasons = [reasons] if isinstance(reasons, str) else reasons
        self.rows[position].update(values)
        self.aside[position] = reasons
        for reason in reasons:
            self.count(reason)

    def count(self, reason, rows=1):
        # What a cast or a line is put aside for is no rule.
        if reason.startswith("Q"):
            self.broken[reason] = self.broken.get(reason, 0) + rows

    def faults(self):
        aside = {str(position): sorted(self.aside[position]) for position in sorted(self.aside)}
        return {"rows": len(self.rows), "aside": aside, "broken": self.broken}


def csv(table, path, names, delimiter=",", lines=None):
    """Writes a table as CSV; `lines` replaces whole rows, as bytes."""

    def field(value):
        text = "" if value is None else str(value)
        quoted = any(c in text for c in (delimiter, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if quoted else text

    def line(row):
        return delimiter.join(field(row[name]) for name in names).encode()

    written = [(lines or {}).get(position) or line(row) for position, row in enumerate(table.rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join([delimiter.join(names).encode(), *written, b""]))


# --- admissions to a hospital: CSV from an old system, typed by hand ---

WARDS = ["cardiology", "surgery", "maternity", "oncology", "emergency"]
CODES = ["I21.4", "K35.8", "O80", "C34.1", "S72.0", "J18.9", "E11.9", "N20"]
ICD = "Q007 pattern: diagnosis: expected a match of ^[A-Z][0-9]{2}(\\.[0-9]{1,2})?$"
WARD = "Q004 accepted_values: ward: expected one of cardiology, surgery, maternity, oncology, emergency"
PATIENT = "Q001 not_null: patient: expected no NULL"
DOCTOR = "Q002 not_empty: doctor: expected more than blanks"
WEIGHT = "Q005 range: weight_kg: expected at least 0.3 and at most 350"
POSTCODE = "Q006 length: postcode: expected 5 characters"
ADMITTED = "Q009 not_in_future: admitted_at: expected nothing after the start of the run"
STAY = "Q011 expression: expected discharged_at >= admitted_at"
BIRTH = "Q011 expression: expected born_on <= cast(admitted_at as date)"
TWICE = "Q003 unique: admission: expected no two rows alike"


def hospital(folder, lot):
    rows = []
    for number in range(800):
        admitted = dt.datetime(2023, 1, 1) + dt.timedelta(minutes=lot.randrange(365 * 24 * 60))
        home = lot.random() < 0.02
        rows.append({
            "admission": f"A{number:06}",
            "patient": f"P{lot.randrange(100000):05}",
            "born_on": dt.date(1930, 1, 1) + dt.timedelta(days=lot.randrange(33000)),
            "admitted_at": admitted,
            "discharged_at": None if home else admitted + dt.timedelta(minutes=30 + lot.randrange(20000)),
            "ward": lot.choice(WARDS),
            "diagnosis": lot.choice(CODES),
            "weight_kg": None if lot.random() < 0.1 else Decimal(lot.randrange(28, 1300)) / 10,
            "doctor": lot.choice(["Dr. Żak", "Dr. O'Neill", 'Dr. "Bob" Lee', "Dr. Muñoz, jr.", None]),
            "postcode": f"{lot.randrange(1000, 99999):05}",
        })
    table = Table(rows)
    at = iter(lot.sample(range(800), 60))
    table.spoil(next(at), ICD, diagnosis="I21.")
    table.spoil(next(at), ICD, diagnosis="i21.4")
    table.spoil(next(at), ICD, diagnosis="I21.4 ")
    table.spoil(next(at), ICD, diagnosis="O80\nO82")
    table.spoil(next(at), ICD, diagnosis="Ι21.4")  # with a Greek capital iota
    for ward in ("Cardiology", "surgery ", "emergancy", "ICU"):
        table.spoil(next(at), WARD, ward=ward)
    for _ in range(3):
        table.spoil(next(at), PATIENT, patient=None)
    for doctor in (" ", "\t", "\u00a0\u2003"):
        table.spoil(next(at), DOCTOR, doctor=doctor)
    for weight in ("0", "-71.5", "0.29", "350.01", "7210"):
        table.spoil(next(at), WEIGHT, weight_kg=weight)
    for postcode in ("123", "1234", "123456", "D-12345"):
        table.spoil(next(at), POSTCODE, postcode=postcode)
    for year in (2203, 9999):
        table.spoil(next(at), ADMITTED, admitted_at=dt.datetime(year, 1, 1), discharged_at=None)
    for minutes in (1, 60 * 24 * 30):
        position = next(at)
        before = rows[position]["admitted_at"] - dt.timedelta(minutes=minutes)
        table.spoil(position, STAY, discharged_at=before)
    table.spoil(next(at), BIRTH, born_on=dt.date(2066, 5, 1))
    # Text that is no value of its column's type.
    table.spoil(next(at), "weight_kg does not fit decimal(6,2)", weight_kg="71,5")
    table.spoil(next(at), "weight_kg does not fit decimal(6,2)", weight_kg="70 kg")
    table.spoil(next(at), "born_on does not fit date", born_on="1961-02-29")
    table.spoil(next(at), "born_on does not fit date", born_on="07.11.1961")
    table.spoil(next(at), "discharged_at does not fit timestamp(us)", discharged_at="still here")
    # Several at once.
    table.spoil(next(at), [ICD, WARD, PATIENT], diagnosis="?", ward="?", patient=None)
    table.spoil(next(at), ["weight_kg does not fit decimal(6,2)", ICD], weight_kg="heavy", diagnosis="-")
    table.spoil(next(at), [ADMITTED, STAY], admitted_at=dt.datetime(2203, 4, 1))
    # Lines that are no records.
    names, lines = list(rows[0]), {}
    head = lambda position: f"A{position:06},P00001,1961-11-07,2023-01-01 10:00:00,,surgery"
    for said, rest in (
        ("a quote stands inside an unquoted field", ',I21.4,70,Dr. "Bob,12345'),
        (f"9 fields where {len(names)} are expected", ",I21.4,70,Dr. Lee"),
        (f"11 fields where {len(names)} are expected", ",I21.4,70,Dr. Muñoz, jr.,12345"),
    ):
        position = next(at)
        lines[position] = (head(position) + rest).encode()
        table.spoil(position, f"line LINE: {said}")
    position = next(at)
    lines[position] = (head(position) + ",I21.4,70,Dr. Muñoz,12345").encode("latin-1")
    table.spoil(position, "line LINE: the text is not UTF-8")
    # The same admission twice: said, and not put aside.
    for _ in range(4):
        position, other = next(at), next(at)
        rows[position] = dict(rows[other])
        table.count(TWICE)
    csv(table, folder / "admissions.csv", names, lines=lines)
    # A record can have several lines; the first one holds the header.
    line = 2
    for position, row in enumerate(rows):
        if position in lines:
            table.aside[position] = [reason.replace("LINE", str(line)) for reason in table.aside[position]]
        line += 1 if position in lines else 1 + sum(str(v).count("\n") for v in row.values())
    return {"admissions": table.faults()}


# --- readings of sensors: Parquet, with what a bus and a clock do to them ---

TEMPERATURE = "Q005 range: temperature: expected at least -40 and below 85"
HUMIDITY = "Q005 range: humidity: expected at least 0 and at most 100"
STATE = "Q004 accepted_values: state: expected one of ok, low_battery, maintenance"
PAYLOAD = "Q008 format: payload: expected JSON"
DEVICE = "Q008 format: device: expected a UUID"
GATEWAY = "Q008 format: gateway: expected an IPv4 or IPv6 address"
TAGS = "Q002 not_empty: tags: expected more than blanks"
CLOCK = "Q009 not_in_future: at: expected nothing after the start of the run"
DEW = "Q011 expression: expected dew_point <= temperature"
READING = "Q003 unique: sensor, at: expected no two rows alike"
ORDER = "Q010 monotonic: at: expected rising values"
HOURS = "Q017 no_gaps: at: expected a row for every hour between the first and the last"
BATTERY = "Q013 completeness: battery: expected at least 95% not NULL"


def sensors(folder, lot):
    rows = []
    devices = [str(uuid.UUID(int=lot.getrandbits(128))) for _ in range(3)]
    for number in range(1200):
        sensor, slot = number % 3, number // 3
        # Six readings of every sensor in an hour, and none in the 34th hour.
        minutes = 10 * (slot if slot < 198 else slot + 6)
        temperature = round(lot.uniform(-15, 30), 2)
        rows.append({
            "sensor": sensor,
            "device": devices[sensor] if number % 2 else devices[sensor].replace("-", "").upper(),
            "at": dt.datetime(2024, 3, 30, 20) + dt.timedelta(minutes=minutes),
            "temperature": temperature if lot.random() > 0.03 else None,
            "dew_point": round(temperature - lot.uniform(0, 12), 2),
            "humidity": Decimal(lot.randrange(0, 10001)) / 100,
            "battery": lot.randrange(5, 101),
            "state": lot.choice(["ok", "ok", "ok", "low_battery", "maintenance", None]),
            "payload": json.dumps({"raw": lot.randrange(4096), "crc": lot.choice(["ä1", "ff", None])}),
            "gateway": lot.choice(["10.0.0.7", "fe80::1", "2001:db8::ff00:42:8329"]),
            "tags": lot.choice([["roof"], ["roof", "south"], None, [None]]),
        })
    table = Table(rows)
    at = iter(lot.sample(range(100, 1100), 60))
    nan, inf = float("nan"), float("inf")
    for value in (nan, -999.0, 85.0, inf):
        table.spoil(next(at), TEMPERATURE, temperature=value, dew_point=None)
    table.spoil(next(at), TEMPERATURE, temperature=-40.01, dew_point=-41.0)
    table.spoil(next(at), [TEMPERATURE, DEW], temperature=-inf, dew_point=3.0)
    for value in ("100.01", "-0.01", "655.35"):
        table.spoil(next(at), HUMIDITY, humidity=Decimal(value))
    for value in ("OK", "ok\0", "", "unknown"):
        table.spoil(next(at), STATE, state=value)
    for value in ('{"raw": 17', "{raw: 17}", "", "NaN"):
        table.spoil(next(at), PAYLOAD, payload=value)
    for value in (devices[0][:-1], devices[0] + " ", "{" + devices[0] + "}", "n/a"):
        table.spoil(next(at), DEVICE, device=value)
    for value in ("10.0.0.256", "10.0.0", "10.0.0.7:80", "localhost"):
        table.spoil(next(at), GATEWAY, gateway=value)
    for _ in range(3):
        table.spoil(next(at), TAGS, tags=[])
    for year in (2225, 2262):
        table.spoil(next(at), CLOCK, at=dt.datetime(year, 1, 1))
    for above in (0.01, 40.0):
        table.spoil(next(at), DEW, temperature=10.0, dew_point=10.0 + above)
    table.spoil(
        next(at), [TEMPERATURE, HUMIDITY, STATE, PAYLOAD],
        temperature=nan, dew_point=None, humidity=Decimal("655.35"), state="?", payload="?",
    )
    # What only the table can tell. A reading that is there twice, and a clock that was set back.
    for position in (30, 60, 1140):
        rows[position + 3].update(at=rows[position]["at"])
        table.count(READING)
    rows[90].update(at=rows[90]["at"] - dt.timedelta(minutes=95))
    table.count(ORDER)
    table.broken[HOURS] = "67 of 68 hours have rows, with 1 gaps"
    for position in range(4, 1200, 12):
        rows[position].update(battery=None)
    left = [row for position, row in enumerate(rows) if position not in table.aside]
    filled = sum(row["battery"] is not None for row in left)
    table.broken[BATTERY] = f"{filled} of {len(left)} rows have a value ({filled * 100 / len(left):.2f} %)"
    types = {
        "sensor": pa.int16(), "device": pa.string(), "at": pa.timestamp("us", "UTC"), "temperature": pa.float64(),
        "dew_point": pa.float64(), "humidity": pa.decimal128(5, 2), "battery": pa.int8(), "state": pa.string(),
        "payload": pa.string(), "gateway": pa.string(), "tags": pa.list_(pa.string()),
    }
    folder.mkdir(parents=True)
    written = pa.table([pa.array([row[name] for row in rows], type) for name, type in types.items()], list(types))
    pq.write_table(written, folder / "readings.parquet", row_group_size=500)
    return {"readings": table.faults()}


# --- a web shop: two exports with semicolons, after a move between encodings ---

NAME = "Q007 pattern: name: expected a match of ^[^\u00c3\u00c2\ufffd]+$"
SURNAME = "Q002 not_empty: name: expected more than blanks"
EMAIL = "Q008 format: email: expected an address of e-mail"
COUNTRY = "Q004 accepted_values: country: expected one of AT, CH, DE, FR, PL"
LONG = "Q006 length: vat_id: expected 8 to 14 characters"
JOINED = "Q008 format: joined: expected a day written YYYY-MM-DD"
CUSTOMER = "Q003 unique: id: expected no two rows alike"
PHONE = "Q013 completeness: phone: expected at least 90% not NULL"
ORDER_ID = "Q008 format: order: expected a UUID"
BUYER = "Q001 not_null: customer: expected no NULL"
TOTAL = "Q005 range: total: expected above 0 and at most 100000"
CURRENCY = "Q004 accepted_values: currency: expected one of EUR, CHF, PLN"
SHIPPED = "Q011 expression: expected shipped_on >= ordered_on"
PAID = "Q011 expression: expected status <> 'open' or shipped_on is null"
FUTURE = "Q009 not_in_future: ordered_on: expected nothing after the start of the run"
STAMP = "Q008 format: changed_at: expected a timestamp such as 2024-01-31T10:00:00Z"
SUM = "Q015 aggregate: total: expected avg at most 400"
COUNT = "Q014 row_count: expected exactly 900 rows"


def shop(folder, lot):
    names = ["Müller", "Żółkowska", "O'Brien", "Lefèvre", "Đặng", "王", "van der Berg; jr.", 'Ann "Nan" Lee']
    rows = []
    for number in range(400):
        rows.append({
            "id": 1000 + number,
            "name": lot.choice(names),
            "email": lot.choice([f"user{number}@example.org", f"a.b+{number}@mail.example.co", "ü@müller.de", None]),
            "country": lot.choice(["AT", "CH", "DE", "FR", "PL"]),
            "vat_id": lot.choice([None, None, f"DE{lot.randrange(10**8, 10**9)}", f"ATU{lot.randrange(10**7, 10**8)}"]),
            "joined": str(dt.date(2015, 1, 1) + dt.timedelta(days=lot.randrange(3000))),
            "phone": None if number % 5 == 0 else f"+49 30 {lot.randrange(10**6, 10**7)}",
        })
    customers = Table(rows)
    at = iter(lot.sample(range(400), 40))
    # UTF-8 that was read as Latin-1, once and twice, and what is left of a letter that had no place.
    for name in ("Müller".encode().decode("latin-1"), "Lefèvre".encode().decode("cp1252"), "M\ufffdller"):
        customers.spoil(next(at), NAME, name=name)
    customers.spoil(next(at), NAME, name="Müller".encode().decode("cp1252").encode().decode("cp1252"))
    for name in (" ", "\u3000"):
        customers.spoil(next(at), SURNAME, name=name)
    for email in ("nobody", "a@b", "a b@example.org", "<a@example.org>", "a@example..org", "a@example.org;b@example.org"):
        customers.spoil(next(at), EMAIL, email=email)
    for country in ("de", "D", "DE ", "ДЕ", "Germany"):
        customers.spoil(next(at), COUNTRY, country=country)
    for number in ("DE12345", "DE123456789012345"):
        customers.spoil(next(at), LONG, vat_id=number)
    for day in ("2021-02-29", "29.02.2020", "2020-2-9", "0000-00-00"):
        customers.spoil(next(at), JOINED, joined=day)
    customers.spoil(next(at), "id does not fit int64", id="1O42")
    customers.spoil(next(at), ["id does not fit int64", EMAIL, COUNTRY], id="9" * 20, email="?", country="?")
    position, columns, lines = next(at), list(rows[0]), {}
    lines[position] = "4711;Müller;;DE;;2020-01-01;".encode("latin-1")
    customers.spoil(position, f"line {position + 2}: the text is not UTF-8")
    for _ in range(2):
        position, other = next(at), next(at)
        rows[position].update(id=rows[other]["id"])
        customers.count(CUSTOMER)
    left = [row for position, row in enumerate(rows) if position not in customers.aside]
    filled = sum(row["phone"] is not None for row in left)
    customers.broken[PHONE] = f"{filled} of {len(left)} rows have a value ({filled * 100 / len(left):.2f} %)"
    csv(customers, folder / "customers.csv", columns, ";", lines)

    rows = []
    for number in range(900):
        ordered = dt.date(2024, 1, 1) + dt.timedelta(days=number // 3)
        is_open = lot.random() < 0.2
        rows.append({
            "order": str(uuid.UUID(int=lot.getrandbits(128))),
            "customer": 1000 + lot.randrange(400),
            "ordered_on": ordered,
            "shipped_on": None if is_open else ordered + dt.timedelta(days=lot.randrange(9)),
            "status": "open" if is_open else lot.choice(["shipped", "returned"]),
            "currency": lot.choice(["EUR", "CHF", "PLN"]),
            "total": Decimal(lot.randrange(100, 99900)) / 100,
            "changed_at": f"{ordered}T{lot.randrange(24):02}:00:00{lot.choice(['Z', '+02:00', '.5Z', ''])}",
        })
    orders = Table(rows)
    at = iter(lot.sample(range(900), 40))
    for order in ("", "1", "00000000-0000-0000-0000-00000000000g"):
        orders.spoil(next(at), ORDER_ID, order=order or "null")
    for _ in range(2):
        orders.spoil(next(at), BUYER, customer=None)
    for total in ("0.00", "-19.99", "100000.01"):
        orders.spoil(next(at), TOTAL, total=total)
    orders.spoil(next(at), "total does not fit decimal(10,2)", total="1.234,56")
    orders.spoil(next(at), "total does not fit decimal(10,2)", total="19.995")
    orders.spoil(next(at), ["total does not fit decimal(10,2)", CURRENCY], total="€ 20", currency="€")
    for currency in ("eur", "USD", "EUR "):
        orders.spoil(next(at), CURRENCY, currency=currency)
    for days in (1, 400):
        position = next(at)
        ordered = rows[position]["ordered_on"]
        orders.spoil(position, SHIPPED, status="shipped", shipped_on=ordered - dt.timedelta(days=days))
    position = next(at)
    orders.spoil(position, PAID, status="open", shipped_on=rows[position]["ordered_on"])
    orders.spoil(next(at), FUTURE, ordered_on=dt.date(9999, 12, 31), status="open", shipped_on=None)
    for stamp in ("2024-01-31 25:00:00", "31.01.2024 10:00", "2024-01-31"):
        orders.spoil(next(at), STAMP, changed_at=stamp)
    left = [row for position, row in enumerate(rows) if position not in orders.aside]
    mean = sum(row["total"] for row in left) / len(left)
    orders.broken[SUM] = f"avg {mean:.6f} of {len(left)} values"
    orders.broken[COUNT] = f"{len(left)} rows"
    csv(orders, folder / "orders.csv", list(rows[0]), ";")
    return {"customers": customers.faults(), "orders": orders.faults()}


def main(folder):
    made = {}
    for make in (hospital, sensors, shop):
        name = make.__name__
        made[name] = make(Path(folder, name), random.Random(name))
    Path(folder, "faults.json").write_text(json.dumps(made, ensure_ascii=False, indent=1))


main(sys.argv[1])
