"""The twelve checks in SodaCL, by Soda Core 3 on DuckDB: soda_scan.py LINEITEM SUPPLIER"""

import sys

import duckdb
from soda.scan import Scan

CHECKS = """
checks for lineitem:
  - missing_count(l_orderkey) = 0
  - missing_count(l_partkey) = 0
  - missing_count(l_suppkey) = 0
  - missing_count(l_shipdate) = 0
  - duplicate_count(l_orderkey, l_linenumber) = 0
  - invalid_count(l_returnflag) = 0: { valid values: [A, N, R] }
  - invalid_count(l_linestatus) = 0: { valid values: [O, F] }
  - invalid_count(l_quantity) = 0: { valid min: 1, valid max: 50 }
  - invalid_count(l_discount) = 0: { valid min: 0, valid max: 0.1 }
  - invalid_count(l_tax) = 0: { valid min: 0, valid max: 0.08 }
  - invalid_count(l_shipinstruct) = 0: { valid regex: "^[A-Z ]+$" }
  - values in (l_suppkey) must exist in supplier (s_suppkey)
"""

connection = duckdb.connect()
for table, file in zip(("lineitem", "supplier"), sys.argv[1:]):
    connection.sql(f"create view {table} as from '{file}'")
scan = Scan()
scan.disable_telemetry()
scan.add_duckdb_connection(connection, data_source_name="bench")
scan.set_data_source_name("bench")
scan.add_sodacl_yaml_str(CHECKS)
scan.execute()
scan.assert_no_error_logs()
outcomes = [check["outcome"] for check in scan.get_scan_results()["checks"]]
assert outcomes == ["pass"] * 12, outcomes
