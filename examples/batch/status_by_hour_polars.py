# Requests by hour and status, counted by Polars from the bucket. No broker is asked.
#
#     python3 status_by_hour_polars.py s3://logs/app/access 2026-11-28T10 2026-11-28T12

# %% Where the journals are, and the window: from the first hour on, and before the second.
import os
import sys
import tempfile

import polars as pl

import coverset

url, begin, end = sys.argv[1], coverset.moment(sys.argv[2]), coverset.moment(sys.argv[3])

# %% What to read: the cover set, of the partitions that matter alone.
scratch = tempfile.TemporaryDirectory()
found, gaps = coverset.plan(coverset.s3(), url, begin, end, scratch.name)
for gap in gaps:
    print(f"warning: {gap.journal} has nothing at [{gap.begin}, {gap.end})", file=sys.stderr)

# %% Polars tells compression by itself. Only the columns that are named are kept.
options = {
    "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
    "aws_region": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
}
if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
    options |= {"aws_endpoint_url": endpoint, "aws_allow_http": "true"}


def scan(files):
    remote = files[0].startswith("s3://")
    return pl.scan_ndjson(files, schema={"time": pl.String, "status": pl.Int64}, storage_options=options if remote else None)


# Objects and local files are scanned apart, since only one of them takes the options of a bucket.
groups = [[file for file in found if file.startswith("s3://") == remote] for remote in (True, False)]
scans = [scan(files) for files in groups if files]
if not scans:
    sys.exit(0)

# %% The records of the window.
records = pl.concat(scans).with_columns(pl.col("time").str.to_datetime("%+", time_zone="UTC"))
counts = (
    records.filter((pl.col("time") >= begin) & (pl.col("time") < end))
    .group_by(pl.col("time").dt.truncate("1h").dt.strftime("%Y-%m-%dT%H:00:00Z").alias("hour"), "status")
    .agg(pl.len().alias("requests"))
    .sort("hour", "status")
    .collect()
)
for hour, status, requests in counts.iter_rows():
    print(hour, status, requests)
