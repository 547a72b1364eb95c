"""What to read of a bucket of journals, so that every byte is read once.

    objects of a topic ──► fragments, by their names ──► cover set of each journal ──► pieces: an object, and where to begin in it

Several brokers may have stored the same content, cut in different places, and a plain glob would count that twice. `pieces` gives the
objects to read instead. Nearly always each is read from its first byte on; where fragments overlap, the later one is from `skip` on.

Works on anything that lists keys. As a program, it prints the pieces of a bucket as lines of JSON:

    python3 coverset.py s3://logs/app/access --from 2026-11-28T10 --to 2026-11-28T12
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone

NAME = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16})-([0-9a-f]{40})(\.\w+)?", re.I)
PARTITION = re.compile(r"(?:^|/)date=(\d{4}-\d\d-\d\d)/hour=(\d\d)(?:/|$)")


@dataclass(frozen=True)
class Fragment:
    """An object, as its key tells of it."""

    journal: str
    partition: str
    begin: int
    end: int
    sha1: str
    suffix: str
    key: str


@dataclass(frozen=True)
class Piece:
    """What to read of an object: its content from `skip` on, uncompressed."""

    journal: str
    key: str
    partition: str
    begin: int
    end: int
    skip: int


@dataclass(frozen=True)
class Gap:
    """Offsets of a journal that no object holds."""

    journal: str
    begin: int
    end: int


def fragment(key):
    """The fragment that a key names, or None. Folders like `hour=10` are partitions, and the others the journal's name."""
    folder, _, name = key.rpartition("/")
    match = NAME.fullmatch(name)
    if not match:
        return None
    begin, end, sha1, suffix = match.groups()
    parts = folder.split("/")
    at = next((index for index, part in enumerate(parts) if "=" in part), len(parts))
    journal, partition = "/".join(parts[:at]), "/".join(parts[at:])
    found = Fragment(journal, partition, int(begin, 16), int(end, 16), sha1.lower(), (suffix or "").lower(), key)
    return found if found.begin < found.end else None


def pieces(keys):
    """The pieces of all journals among some keys, journal after journal and in order within each, with a Gap where one is."""
    journals = defaultdict(list)
    for key in keys:
        if found := fragment(key):
            journals[found.journal].append(found)
    for journal, fragments in sorted(journals.items()):
        yield from cover(journal, fragments)


def cover(journal, fragments):
    """The cover set: at each offset, the fragment over it that reaches furthest."""
    ordered = sorted(fragments, key=lambda f: (f.begin, -f.end, f.key))
    at, index = ordered[0].begin if ordered else 0, 0
    best = None
    while index < len(ordered) or (best and best.end > at):
        while index < len(ordered) and ordered[index].begin <= at:
            if best is None or ordered[index].end > best.end:
                best = ordered[index]
            index += 1
        if best and best.end > at:
            yield Piece(journal, best.key, best.partition, best.begin, best.end, at - best.begin)
            at = best.end
        elif index < len(ordered):
            yield Gap(journal, at, ordered[index].begin)
            at = ordered[index].begin


def hours(begin, end):
    """The partitions of the hours from one time to another."""
    hour = begin.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        yield hour.strftime("date=%Y-%m-%d/hour=%H")
        hour += timedelta(hours=1)


def moment(text):
    """A time in UTC, as 2026-11-28T10 or longer."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00") if len(text) > 13 else text + ":00")
    return at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)


def s3():
    """A client of the bucket, for the endpoint and credentials of the environment: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …"""
    import boto3
    from botocore.config import Config

    # A server of one's own has no name for each bucket.
    style = {"addressing_style": "path"} if "AWS_ENDPOINT_URL" in os.environ else {}
    return boto3.client("s3", config=Config(s3=style))


def split(url):
    """Bucket and prefix of `s3://bucket/prefix`; the prefix ends in a slash."""
    scheme, _, rest = url.partition("://")
    if scheme != "s3":
        raise SystemExit(f"{url}: expected s3://BUCKET/PREFIX")
    bucket, _, prefix = rest.partition("/")
    return bucket, prefix.strip("/") + "/" if prefix.strip("/") else ""


def listing(client, url, partitions=None):
    """Keys below a URL. With partitions, only those are listed: one request for each journal and partition."""
    bucket, prefix = split(url)
    if partitions is None:
        yield from _keys(client, bucket, prefix)
        return
    for journal in _folders(client, bucket, prefix):
        for partition in partitions:
            yield from _keys(client, bucket, f"{journal}{partition}/")


def _pages(client, **request):
    return client.get_paginator("list_objects_v2").paginate(**request)


def _keys(client, bucket, prefix):
    for page in _pages(client, Bucket=bucket, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", ()))


def _folders(client, bucket, prefix):
    """The journals directly below a prefix: `p000/`, `p001/`, …"""
    for page in _pages(client, Bucket=bucket, Prefix=prefix, Delimiter="/"):
        yield from (entry["Prefix"] for entry in page.get("CommonPrefixes", ()))


def content(client, bucket, piece):
    """The content of a piece. What is not as its name promises is refused."""
    data = decode(client.get_object(Bucket=bucket, Key=piece.key)["Body"].read(), fragment(piece.key).suffix)
    sha1 = hashlib.sha1(data).hexdigest()
    if len(data) != piece.end - piece.begin or sha1 != fragment(piece.key).sha1:
        raise SystemExit(f"{piece.key} is damaged: {len(data)} bytes with SHA-1 {sha1}")
    return data[piece.skip:]


def decode(data, suffix):
    if suffix in (".gz", ".gzip"):
        return gzip.decompress(data)
    if suffix in (".zst", ".zstandard"):
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    if suffix == ".raw":
        return data
    raise SystemExit(f"no way to read *{suffix} here; snappy takes python-snappy")


def plan(client, url, begin, end, folder, late=timedelta(hours=1)):
    """What a SQL engine reads for the records of a window of time: URLs of whole objects, and files for the pieces that begin within one.

    A record lies in the partition of the hour in which its fragment was begun, so that one which arrives late lies in a later partition:
    `late` says how much later is looked at.
    """
    bucket, _ = split(url)
    found, gaps = [], []
    for piece in pieces(listing(client, url, list(hours(begin, end + late)))):
        if isinstance(piece, Gap):
            # Between partitions that are not looked at there is nothing to be missed.
            gaps.append(piece)
        elif piece.skip == 0:
            found.append(f"s3://{bucket}/{piece.key}")
        else:
            path = os.path.join(folder, f"{len(found)}.ndjson")
            with open(path, "wb") as file:
                file.write(content(client, bucket, piece))
            found.append(path)
    return found, gaps


def main():
    parser = argparse.ArgumentParser(description="Prints what to read of a bucket of journals, as lines of JSON.")
    parser.add_argument("url", help="s3://BUCKET/PREFIX, the folder in which the journals lie")
    parser.add_argument("--from", dest="begin", type=moment, help="only partitions of this hour on, like 2026-11-28T10")
    parser.add_argument("--to", dest="end", type=moment, help="and before this one")
    args = parser.parse_args()
    if (args.begin is None) != (args.end is None):
        parser.error("--from and --to go together")
    partitions = list(hours(args.begin, args.end)) if args.begin else None
    for piece in pieces(listing(s3(), args.url, partitions)):
        print(json.dumps({"gap": asdict(piece)} if isinstance(piece, Gap) else asdict(piece)))


if __name__ == "__main__":
    sys.exit(main())
