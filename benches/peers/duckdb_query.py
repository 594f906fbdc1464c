"""The twelve checks as one query for DuckDB: duckdb_query.py LINEITEM SUPPLIER [--without-unique]"""

import sys

import duckdb

lineitem, supplier = sys.argv[1:3]
unique = "" if "--without-unique" in sys.argv else "count(*) - count(distinct (l_orderkey, l_linenumber)),"
found = duckdb.sql(f"""
with lineitem as (from '{lineitem}'), supplier as (from '{supplier}')
select {unique}
    count(*) filter (l_orderkey is null),
    count(*) filter (l_partkey is null),
    count(*) filter (l_suppkey is null),
    count(*) filter (l_shipdate is null),
    count(*) filter (l_returnflag not in ('A', 'N', 'R')),
    count(*) filter (l_linestatus not in ('O', 'F')),
    count(*) filter (l_quantity < 1 or l_quantity > 50),
    count(*) filter (l_discount < 0 or l_discount > 0.1),
    count(*) filter (l_tax < 0 or l_tax > 0.08),
    count(*) filter (not regexp_matches(l_shipinstruct, '^[A-Z ]+$')),
    count(*) filter (l_suppkey is not null and s_suppkey is null)
from lineitem left join supplier on l_suppkey = s_suppkey
""").fetchall()
assert found == [(0,) * (12 if unique else 11)], found
