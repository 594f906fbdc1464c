"""The twelve checks as a contract of Soda Core 4 on DuckDB: soda_contract.py LINEITEM SUPPLIER"""

import sys
import tempfile

import duckdb
from soda_core.contracts import verify_contract_locally
from soda_duckdb.common.data_sources.duckdb_data_source import DuckDBDataSourceImpl

CONTRACT = """
dataset: bench/memory/main/lineitem
checks:
  - duplicate: { columns: [l_orderkey, l_linenumber] }
columns:
  - { name: l_orderkey, checks: [ { missing: } ] }
  - { name: l_partkey, checks: [ { missing: } ] }
  - { name: l_shipdate, checks: [ { missing: } ] }
  - { name: l_returnflag, checks: [ { invalid: { valid_values: [A, N, R] } } ] }
  - { name: l_linestatus, checks: [ { invalid: { valid_values: [O, F] } } ] }
  - { name: l_quantity, checks: [ { invalid: { valid_min: 1, valid_max: 50 } } ] }
  - { name: l_discount, checks: [ { invalid: { valid_min: 0, valid_max: 0.1 } } ] }
  - { name: l_tax, checks: [ { invalid: { valid_min: 0, valid_max: 0.08 } } ] }
  - { name: l_shipinstruct, checks: [ { invalid: { valid_format: { name: capitals, regex: "^[A-Z ]+$" } } } ] }
  - name: l_suppkey
    checks:
      - missing:
      - invalid: { valid_reference_data: { dataset: bench/memory/main/supplier, column: s_suppkey } }
"""

connection = duckdb.connect()
for table, file in zip(("lineitem", "supplier"), sys.argv[1:]):
    connection.sql(f"create view {table} as from '{file}'")
source = DuckDBDataSourceImpl.from_existing_cursor(connection, name="bench")
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as contract:
    contract.write(CONTRACT)
    contract.flush()
    result = verify_contract_locally(data_sources=[source], contract_file_path=contract.name)
assert result.is_passed and result.number_of_checks == 12, result.get_errors_str()
