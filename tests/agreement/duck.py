"""What DuckDB finds: reads rules.json and started.json, prints for each table a list of what comes of its rules.

    python duck.py FOLDER

started.json has the start of the run that loaded each table, in µs since 1970, which SQL finds in the variable `started`.
"""

import json
import os
import sys

import duckdb

os.chdir(sys.argv[1])
duckdb.sql("set timezone = 'UTC'")
answers, started = {}, json.load(open("started.json"))
for table, of in json.load(open("rules.json")).items():
    duckdb.sql(f"set variable started = {started[table]}")
    for name, view in {**of.get("beside", {}), table: of["view"]}.items():
        duckdb.sql(f"create or replace table {name} as {view}")
    answers[table] = []
    for rule in of["rules"]:
        (settings,) = rule["check"].values()
        about = f"(select rowid, * from {table} where {settings.get('where', 'true')})"
        if "holds" in rule:
            over = rule.get("over", f"from {about}")
            (found,) = duckdb.sql(f"select {rule['holds']}, {rule['found']} from ({over})").fetchall()
            answers[table].append({"holds": found[0], "found": found[1]})
            continue
        if "repeated" in rule:
            columns = ", ".join(f'"{column}"' for column in rule["repeated"])
            there = " and ".join(f'"{column}" is not null' for column in rule["repeated"])
            about = f"(from {about} where {there})"
            broken = f"count(*) - count(distinct ({columns}))"
        elif "orphans" in rule:
            there = " and ".join(f'"{column}" is not null' for column in settings["columns"])
            about = f"(from {about} where {there})"
            broken = f"(select count(*) from ({rule['orphans']}))"
        elif "steps" in rule:
            # A step goes from one value to the next; NULL is passed over.
            values = f"""select lag("{settings['column']}") over (order by rowid) as before, "{settings['column']}" as after
                         from {about} where "{settings['column']}" is not null"""
            broken = f"(select count(*) filter ({rule['steps']}) from ({values}))"
        else:
            broken = f"count(*) filter ({rule['breaks']})"
        ((evaluated, failed),) = duckdb.sql(f"select count(*), {broken} from {about}").fetchall()
        answers[table].append({"evaluated": evaluated, "failed": failed})
print(json.dumps(answers))
