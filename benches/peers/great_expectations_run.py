"""The twelve checks as a suite of Great Expectations: great_expectations_run.py LINEITEM SUPPLIER spark|pandas

A foreign key is a set of values here. Only the columns that are looked at are read.
"""

import sys

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

lineitem, supplier, engine = sys.argv[1:4]
COLUMNS = [
    "l_orderkey", "l_partkey", "l_suppkey", "l_linenumber", "l_quantity", "l_discount", "l_tax", "l_returnflag",
    "l_linestatus", "l_shipdate", "l_shipinstruct",
]
suppliers = pd.read_parquet(supplier, columns=["s_suppkey"])["s_suppkey"].tolist()
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
if engine == "spark":
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[2]").config("spark.driver.memory", "4g").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    frame = spark.read.parquet(lineitem).select(*COLUMNS)
    source = context.data_sources.add_spark("bench")
else:
    frame = pd.read_parquet(lineitem, columns=COLUMNS)
    source = context.data_sources.add_pandas("bench")
batch = source.add_dataframe_asset("lineitem").add_batch_definition_whole_dataframe("all")
suite = gx.ExpectationSuite(
    name="bench",
    expectations=[
        gxe.ExpectColumnValuesToNotBeNull(column="l_orderkey"),
        gxe.ExpectColumnValuesToNotBeNull(column="l_partkey"),
        gxe.ExpectColumnValuesToNotBeNull(column="l_suppkey"),
        gxe.ExpectColumnValuesToNotBeNull(column="l_shipdate"),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["l_orderkey", "l_linenumber"]),
        gxe.ExpectColumnValuesToBeInSet(column="l_returnflag", value_set=["A", "N", "R"]),
        gxe.ExpectColumnValuesToBeInSet(column="l_linestatus", value_set=["O", "F"]),
        gxe.ExpectColumnValuesToBeBetween(column="l_quantity", min_value=1, max_value=50),
        gxe.ExpectColumnValuesToBeBetween(column="l_discount", min_value=0, max_value=0.1),
        gxe.ExpectColumnValuesToBeBetween(column="l_tax", min_value=0, max_value=0.08),
        gxe.ExpectColumnValuesToMatchRegex(column="l_shipinstruct", regex="^[A-Z ]+$"),
        gxe.ExpectColumnValuesToBeInSet(column="l_suppkey", value_set=suppliers),
    ],
)
result = batch.get_batch({"dataframe": frame}).validate(suite, result_format="BOOLEAN_ONLY")
failed = [r.expectation_config.type for r in result.results if not r.success]
raised = [r.exception_info for r in result.results if r.exception_info.get("raised_exception", True)]
assert len(result.results) == 12 and not failed, (failed, raised)
