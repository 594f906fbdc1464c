"""What DuckDB finds: reads rules.json, prints for each table a list of what comes of its rules.

    python duck.py FOLDER
"""

import json
import os
import sys

import duckdb

os.chdir(sys.argv[1])
duckdb.sql("set timezone = 'UTC'")
answers = {}
for table, of in json.load(open("rules.json")).items():
    duckdb.sql(f"create table {table} as {of['view']}")
    answers[table] = []
    for rule in of["rules"]:
        (settings,) = rule["check"].values()
        about = f"(from {table} where {settings.get('where', 'true')})"
        if "holds" in rule:
            (found,) = duckdb.sql(f"select {rule['holds']}, {rule['found']} from {about}").fetchall()
            answers[table].append({"holds": found[0], "found": found[1]})
            continue
        if "repeated" in rule:
            columns = ", ".join(f'"{column}"' for column in rule["repeated"])
            there = " and ".join(f'"{column}" is not null' for column in rule["repeated"])
            about = f"(from {about} where {there})"
            broken = f"count(*) - count(distinct ({columns}))"
        else:
            broken = f"count(*) filter ({rule['breaks']})"
        ((evaluated, failed),) = duckdb.sql(f"select count(*), {broken} from {about}").fetchall()
        answers[table].append({"evaluated": evaluated, "failed": failed})
print(json.dumps(answers))
