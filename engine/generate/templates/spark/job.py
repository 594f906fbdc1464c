#!/usr/bin/env python3
"""Loads the tables of the pipeline {{ pipeline }} with Spark.

{{ origin }}

    python3 {{ file }} --target ./lake
    spark-submit {{ file }} --target s3a://bucket/lake

It does what transload does with the rows: casts, filters, derived columns, masks, and rules that put rows aside. For each
table it prints a line of JSON with the digest of what it wrote, which is the one that `transload run` prints for the same
rows. Other checks are not judged, nothing is published in one step, and nothing is compared.

It needs pyspark 4 with pandas and pyarrow (pip install "pyspark[sql]>=4" "pandas<3"); with xxhash, digests are faster.
"""

import argparse
import datetime
import functools
import hashlib
import json
import os
import pathlib
import re
import struct
import sys
from decimal import Context, Decimal

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

PIPELINE = {{ pipeline_text }}


{{ functions }}
{% for load in loads %}

def {{ load.function }}(job):
    # {{ load.title }}
{% for line in load.lines %}
    {{ line }}
{% endfor %}

{% endfor %}

{{ runtime }}

TABLES = {
{% for load in loads %}
    {{ load.name }}: {{ load.function }},
{% endfor %}
}

if __name__ == "__main__":
    sys.exit(main())
