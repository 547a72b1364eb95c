# Requests by hour and status, counted by DuckDB from the bucket. No broker is asked.
#
#     python3 status_by_hour_duckdb.py s3://logs/app/access 2026-11-28T10 2026-11-28T12
#
# The cells (`# %%`) run one by one in an editor that knows them, or all as a script.

# %% Where the journals are, and the window: from the first hour on, and before the second.
import os
import sys
import tempfile
from urllib.parse import urlparse

import duckdb
from duckdb_extensions import import_extension

import coverset

url, begin, end = sys.argv[1], coverset.moment(sys.argv[2]), coverset.moment(sys.argv[3])
bucket, prefix = coverset.split(url)

# %% DuckDB and the bucket. The extension is a package like others, so nothing is fetched while this runs.
import_extension("httpfs")
db = duckdb.connect()
db.execute("load httpfs")
endpoint = urlparse(os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com"))
db.execute(f"""
    create secret (type s3, key_id '{os.environ["AWS_ACCESS_KEY_ID"]}', secret '{os.environ["AWS_SECRET_ACCESS_KEY"]}',
                   region '{os.environ.get("AWS_DEFAULT_REGION", "us-east-1")}', endpoint '{endpoint.netloc}',
                   use_ssl {endpoint.scheme == "https"},
                   url_style '{"path" if "AWS_ENDPOINT_URL" in os.environ else "vhost"}')
""")

# %% The exact way: the cover set says what to read, so that what two brokers have stored counts once.
scratch = tempfile.TemporaryDirectory()
found, gaps = coverset.plan(coverset.s3(), url, begin, end, scratch.name)
for gap in gaps:
    print(f"warning: {gap.journal} has nothing at [{gap.begin}, {gap.end})", file=sys.stderr)

COLUMNS = "columns = {time: 'TIMESTAMP', status: 'INTEGER'}, format = 'newline_delimited'"
COUNT = """
    select strftime(date_trunc('hour', time), '%Y-%m-%dT%H:00:00Z') as hour, status, count(*) as requests
    from records where time >= ? and time < ? group by all order by all
"""
if found:
    db.execute(f"create view records as select * from read_json({found!r}, {COLUMNS})")
    rows = db.execute(COUNT, [begin.replace(tzinfo=None), end.replace(tzinfo=None)]).fetchall()
else:
    rows = []
for hour, status, requests in rows:
    print(hour, status, requests)

# %% The short way: a glob, where `date` and `hour` are columns. Objects of other partitions are not fetched. What was stored twice counts
# twice, so compare before you rely on it.
if "--glob" in sys.argv:
    print("-- by glob, all that was begun in these hours")
    late = end + coverset.timedelta(hours=1)
    for suffix in ("zst", "gz"):
        pattern = f"s3://{bucket}/{prefix}*/date=*/hour=*/*.{suffix}"
        if not db.execute("select count(*) from glob(?)", [pattern]).fetchone()[0]:
            continue
        for row in db.execute(f"""
            select date, hour, count(*) from read_json('{pattern}', {COLUMNS}, hive_partitioning = true,
                hive_types = {{date: 'DATE', hour: 'VARCHAR'}})
            where date >= ? and date <= ? and date || 'T' || hour >= ? and date || 'T' || hour < ? group by all order by all
        """, [begin.date(), late.date(), f"{begin:%Y-%m-%dT%H}", f"{end:%Y-%m-%dT%H}"]).fetchall():
            print(suffix, *row)
