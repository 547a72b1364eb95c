"""An Apache access log (combined format, stdin) as lines of JSON (stdout). Lines that are none are told on stderr."""

import json
import re
import sys
from datetime import datetime, timezone

LINE = re.compile(
    r'(?P<client>\S+) \S+ \S+ \[(?P<time>[^]]+)\] "(?P<method>\S+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) (?P<bytes>\d+|-)'
)

skipped = 0
for line in sys.stdin:
    if not (match := LINE.match(line)):
        skipped += 1
        continue
    record = match.groupdict()
    at = datetime.strptime(record["time"], "%d/%b/%Y:%H:%M:%S %z").astimezone(timezone.utc)
    record["time"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    record["status"] = int(record["status"])
    record["bytes"] = 0 if record["bytes"] == "-" else int(record["bytes"])
    print(json.dumps(record))
if skipped:
    print(f"{skipped} lines are no requests", file=sys.stderr)
