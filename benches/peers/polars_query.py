"""The twelve checks as one lazy query for polars: polars_query.py LINEITEM SUPPLIER"""

import sys

import polars as pl

lineitem, supplier = pl.scan_parquet(sys.argv[1]), pl.scan_parquet(sys.argv[2]).select("s_suppkey")
c = pl.col
counts = lineitem.select(
    *(c(name).null_count() for name in ("l_orderkey", "l_partkey", "l_suppkey", "l_shipdate")),
    (~c("l_returnflag").is_in(["A", "N", "R"])).sum(),
    (~c("l_linestatus").is_in(["O", "F"])).sum(),
    ((c("l_quantity") < 1) | (c("l_quantity") > 50)).sum(),
    ((c("l_discount") < 0) | (c("l_discount") > 0.1)).sum(),
    ((c("l_tax") < 0) | (c("l_tax") > 0.08)).sum(),
    (~c("l_shipinstruct").str.contains("^[A-Z ]+$")).sum(),
)
repeated = lineitem.group_by("l_orderkey", "l_linenumber").len().select((c("len") - 1).sum().alias("repeated"))
orphans = lineitem.join(supplier, left_on="l_suppkey", right_on="s_suppkey", how="anti").select(
    pl.len().alias("orphans")
)
found = [value for frame in pl.collect_all([counts, repeated, orphans]) for value in frame.row(0)]
assert found == [0] * 12, found
