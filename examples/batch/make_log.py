"""Writes an access log as lines of JSON, for trying things: make_log.py FROM LINES [STEP_SECONDS]. The same arguments write the same log."""

import json
import random
import sys
from datetime import timedelta

import coverset

begin, lines = coverset.moment(sys.argv[1]), int(sys.argv[2])
step = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
random.seed(f"{begin} {lines}")
for number in range(lines):
    at = begin + timedelta(seconds=number * step)
    print(json.dumps({
        "time": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z",
        "client": f"192.0.2.{random.randrange(256)}",
        "method": random.choice(["GET", "GET", "GET", "POST"]),
        "path": random.choice(["/", "/index.html", "/robots.txt", "/blog/zürich", f"/item/{random.randrange(1000)}"]),
        "status": random.choices([200, 304, 404, 301, 500, 206], [80, 8, 6, 3, 2, 1])[0],
        "bytes": random.randrange(100_000),
    }, ensure_ascii=False))
