"""Fills a bucket through a broker whose clock is moved, and holds the batch examples to what went in. Started by tests/batch/run."""

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples" / "batch"
sys.path.insert(0, str(EXAMPLES))
sys.dont_write_bytecode = True
import coverset  # noqa: E402

BUCKET, TOPIC = "logs", "app/access"
JOURNALS = [f"{TOPIC}/p000", f"{TOPIC}/p001"]
PATIENCE = 60
CHUNKS = 30
# The primary is killed in the last chunk before an hour ends, with content of it that is not stored.
KILL = 16


def say(text):
    print(f"batch: {text}", flush=True)


def need(condition, text):
    if not condition:
        raise SystemExit(f"batch: FAILED: {text}")


def until(what, condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if (value := condition()) not in (None, False):
            return value
        time.sleep(0.1)
    raise SystemExit(f"batch: FAILED: {what} did not happen in {patience} s")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Clock:
    """The time that brokers and followers see: an offset in a file that libfaketime reads. Their timers go on as they do."""

    def __init__(self, folder):
        self.file = folder / "clock"
        self.offset = 0.0
        library = next(Path("/usr/lib").glob("**/libfaketime.so.1"), None)
        need(library, "there is no libfaketime.so.1 below /usr/lib: install faketime")
        self.environment = {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }

    def set(self, moment):
        self.offset = (moment - datetime.now(timezone.utc)).total_seconds()
        draft = self.file.with_suffix(".draft")
        draft.write_text(f"{self.offset:+.3f}\n")
        draft.rename(self.file)

    def now(self):
        return datetime.now(timezone.utc) + timedelta(seconds=self.offset)


class Process:
    """A process of ours, with its output in files."""

    def __init__(self, folder, name, command, environment, append=False):
        mode = "ab" if append else "wb"
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with open(self.out, mode) as out, open(self.err, mode) as err:
            self.child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        Process.all.append(self)

    all = []

    def stop(self, sign=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(sign)
        return self.child.wait(timeout=2 * PATIENCE)


class Stage:
    """The S3 server, the broker, and what is run against them."""

    def __init__(self, folder, courant):
        self.folder, self.courant = folder, courant
        self.clock = Clock(folder)
        self.moto_port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.moto_port}"
        # Three brokers where there is an etcd for them, else one.
        self.etcd = shutil.which(os.environ.get("COURANT_TEST_ETCD", "etcd"))
        self.ports = [free_port() for _ in range(3 if self.etcd else 1)]
        self.etcd_ports = free_port(), free_port()
        addresses = ",".join(map(self.address, self.ports))
        tools = folder / "bin"
        tools.mkdir()
        (tools / "courant").symlink_to(courant)
        python = Path(sys.executable).parent
        self.environment = {
            "PATH": f"{tools}:{python}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint, "COURANT_BROKER": addresses,
        }
        os.environ.update({key: value for key, value in self.environment.items() if key.startswith("AWS_")})
        self.moto = Process(folder, "moto", [python / "moto_server", "-H", "127.0.0.1", "-p", str(self.moto_port)], self.environment)
        self.s3 = coverset.s3()
        until("the S3 server", self._bucket)
        self.brokers = {}
        if self.etcd:
            client, peer = (f"http://127.0.0.1:{port}" for port in self.etcd_ports)
            Process(folder, "etcd", [
                self.etcd, "--data-dir", folder / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            ], self.environment)

    @staticmethod
    def address(port):
        return f"http://127.0.0.1:{port}"

    def _bucket(self):
        try:
            self.s3.create_bucket(Bucket=BUCKET)
            return True
        except Exception:  # It is not there yet.
            return False

    def start(self, *numbers):
        """Starts these brokers, or all, on the folders that they had."""
        numbers = numbers or range(len(self.ports))
        for number in numbers:
            command = [self.courant, "serve", "--data-dir", self.folder / f"data-{number}", "--listen", f"127.0.0.1:{self.ports[number]}"]
            if self.etcd:
                command += ["--etcd", f"http://127.0.0.1:{self.etcd_ports[0]}", "--id", f"broker-{number}", "--zone", f"zone-{number}", "--lease-ttl", "5s"]
            environment = self.environment | self.clock.environment
            self.brokers[number] = Process(self.folder, f"broker-{number}", command, environment, append=True)
        for number in numbers:
            until(f"broker {number}", lambda: self.status(self.ports[number], "/healthz/ready") == 200)

    def stop(self):
        """Stops all brokers, at the same time: none can take over from another, so each stores what it holds."""
        for broker in self.brokers.values():
            broker.child.send_signal(signal.SIGTERM)
        # A second signal would end them at once.
        codes = [broker.child.wait(timeout=2 * PATIENCE) for broker in self.brokers.values()]
        need(not any(codes), f"brokers that are told to stop end with {codes}")

    def primary(self, journal):
        listing = json.loads(self.run(self.courant, "journals", "list", "-l", f"name={journal}", "-o", "json"))
        route = listing["journals"][0]["route"]
        if not self.etcd:
            return 0
        return int(route["members"][route["primary"]]["suffix"].removeprefix("broker-"))

    def status(self, port, path):
        try:
            return urllib.request.urlopen(self.address(port) + path, timeout=5).status
        except OSError:
            return None

    def append(self, journal, content):
        """Appends through any broker. What was refused, or reached nobody, is tried again; what may have happened is not."""
        def attempt():
            for port in self.ports:
                request = urllib.request.Request(f"{self.address(port)}/{journal}", data=content, method="PUT")
                try:
                    return int(urllib.request.urlopen(request, timeout=PATIENCE).headers["X-Commit-End"])
                except urllib.error.HTTPError as error:
                    need(error.code == 503, f"an append is answered {error.code}: {error.read()}")
                except urllib.error.URLError as error:
                    need(isinstance(error.reason, ConnectionRefusedError), f"an append: {error}")
            return None

        return until(f"an append to {journal}", attempt)

    def run(self, *command, code=0, cwd=EXAMPLES):
        done = subprocess.run([str(part) for part in command], env=self.environment, cwd=cwd, capture_output=True, timeout=300)
        need(done.returncode == code, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout.decode()[-2000:]}\n{done.stderr.decode()[-2000:]}")
        return done.stdout.decode()

    def follow(self, name):
        command = [self.courant, "journals", "fragments", "-l", f"prefix={TOPIC}/", "--follow", "-o", "ndjson", "--complete", "hour",
                   "--cursor", self.folder / "cursor.json", "--poll", "300ms", "--settle", "1s", "--gap-after", "1000h"]
        return Process(self.folder, name, command, self.environment | self.clock.environment)

    def keys(self):
        return list(coverset.listing(self.s3, f"s3://{BUCKET}/{TOPIC}"))

    def fetched(self, since):
        """Keys that were fetched since a length of the server's log."""
        text = self.moto.err.read_text()[since:]
        return set(re.findall(rf'"GET /{BUCKET}/(\S+?)(?:\?\S*)? HTTP', text.replace("%3D", "="))) - {""}


def fill(stage, lines):
    """Appends the log, chunk by chunk, each at the time of its last line. Tells of each append: when, where to."""
    size = -(-len(lines) // CHUNKS)
    followers, acked, logs = [], [], []
    for number in range(CHUNKS):
        chunk = lines[number * size:(number + 1) * size]
        if not chunk:
            break
        stage.clock.set(datetime.fromisoformat(json.loads(chunk[-1])["time"].replace("Z", "+00:00")))
        if not stage.brokers:
            stage.start()
            # Small objects, so that there are several in each hour.
            specs = (EXAMPLES / "access.yaml").read_text()
            specs = specs.replace("length: 16777216", "length: 16384").replace("replication: 1", f"replication: {min(2, len(stage.ports))}")
            (stage.folder / "specs.yaml").write_text(specs)
            stage.run(stage.courant, "journals", "apply", "--specs", stage.folder / "specs.yaml")
            followers.append(stage.follow("follow-0"))
        journal = JOURNALS[number % 2]
        content = "".join(line + "\n" for line in chunk).encode()
        end = stage.append(journal, content)
        acked.append((stage.clock.now(), journal, end))
        if number == CHUNKS // 3:
            need(followers[-1].stop() == 0, "a follower that is told to stop fails")
            followers.append(stage.follow("follow-1"))
        if number == KILL:
            killed = stage.primary(JOURNALS[0])
            stage.brokers[killed].stop(signal.SIGKILL)
            if len(stage.ports) == 1:
                stage.start(killed)
        if number == KILL + 5 and len(stage.ports) > 1:
            # What it held and others have stored meanwhile is no news.
            stage.start(killed)
        if number == 2 * CHUNKS // 3:
            followers[-1].stop(signal.SIGKILL)
            followers.append(stage.follow("follow-2"))
        time.sleep(0.2)
    # The hour ends, and an append that adds nothing lets the broker see so at once: its timers do not jump with its clock.
    last = stage.clock.now().replace(minute=0, second=30, microsecond=0) + timedelta(hours=1)
    stage.clock.set(last)
    for journal in JOURNALS:
        stage.append(journal, b"")
    end = last.strftime("%Y-%m-%dT%H:00:00Z")
    until(f"the last hour's completion ({end})", lambda: f'"end":"{end}"' in followers[-1].out.read_text())
    need(followers[-1].stop() == 0, "a follower that is told to stop fails")
    return acked, [[json.loads(line) for line in follower.out.read_text().splitlines()] for follower in followers]


def check_follow(acked, runs):
    """Each byte was told once and in order; and what was acknowledged before an hour's end was told before its completion."""
    told, complete = Counter(), []
    for number, events in enumerate(runs):
        for index, event in enumerate(events):
            if "complete" in event:
                end = datetime.fromisoformat(event["end"].replace("Z", "+00:00"))
                for at, journal, offset in acked:
                    need(at >= end or told[journal] >= offset, f"{event['complete']} is complete, and {journal} lacks {told[journal]}..{offset}")
                complete.append(event["complete"])
            elif "journal" in event:
                # After it was killed, a follower may say again what its cursor did not hold yet.
                repeats = number == 2 and event["end"] <= told[event["journal"]]
                need(repeats or event["offset"] == told[event["journal"]], f"run {number}, line {index}: {event}, after {told}")
                told[event["journal"]] = max(told[event["journal"]], event["end"])
            else:
                need(False, f"unforeseen: {event}")
    need(len(complete) >= 3, f"hours were completed: {complete}")
    need(complete == sorted(complete), f"hours out of order: {complete}")
    need(len(set(complete)) >= len(complete) - 1, f"hours twice: {complete}")
    for _, journal, offset in acked:
        need(told[journal] >= offset, f"{journal} was told up to {told[journal]} of {offset}")
    return complete


def expected(lines, begin, end):
    counts = Counter()
    for line in lines:
        record = json.loads(line)
        if begin <= record["time"] < end:
            counts[record["time"][:13] + ":00:00Z", record["status"]] += 1
    return "".join(f"{hour} {status} {count}\n" for (hour, status), count in sorted(counts.items()))


def check_counts(stage, lines, windows, scripts):
    url = f"s3://{BUCKET}/{TOPIC}"
    for begin, end in windows:
        wanted = expected(lines, begin, end)
        need(wanted, f"the log has nothing from {begin} to {end}")
        late = coverset.moment(end) + timedelta(hours=1)
        partitions = list(coverset.hours(coverset.moment(begin), late))
        matching = {key for key in stage.keys() if any(f"/{partition}/" in key for partition in partitions)}
        for script in scripts:
            mark = len(stage.moto.err.read_text())
            runner = "sh" if script.endswith(".sh") else sys.executable
            source = f"prefix={TOPIC}/" if "curl" in script else url
            counted = stage.run(runner, script, source, begin, end)
            need(counted == wanted, f"{script} {begin} {end} counts\n{counted}and the log has\n{wanted}")
            fetched = {key for key in stage.fetched(mark) if coverset.fragment(key)}
            need(fetched <= matching, f"{script} {begin} {end} fetches {sorted(fetched - matching)[:3]}, of other partitions")
            needed = {piece.key for piece in coverset.pieces(matching) if isinstance(piece, coverset.Piece)}
            need(fetched == needed, f"{script} {begin} {end} fetches {len(fetched)} objects, of {len(needed)} that it needs")
            say(f"{script} {begin} to {end}: as in the log; {len(fetched)} of {len(stage.keys())} objects fetched")


def check_glob(stage, begin, end):
    """DuckDB's own pruning: by a glob over all, objects of other partitions are not fetched."""
    url = f"s3://{BUCKET}/{TOPIC}"
    partitions = list(coverset.hours(coverset.moment(begin), coverset.moment(end) + timedelta(hours=1)))
    mark = len(stage.moto.err.read_text())
    counted = stage.run(sys.executable, "status_by_hour_duckdb.py", url, begin, end, "--glob")
    fetched = {key for key in stage.fetched(mark) if coverset.fragment(key)}
    strangers = {key for key in fetched if not any(f"/{partition}/" in key for partition in partitions)}
    need(not strangers, f"a glob fetches {sorted(strangers)[:3]}, of other partitions")
    rows = counted.split("-- by glob, all that was begun in these hours\n")[1].splitlines()
    return sum(int(row.split()[-1]) for row in rows)


def recut(stage, keys):
    """Stores content once more, cut differently, as another broker might have: from within a fragment to the end of the next one."""
    made = 0
    for journal in JOURNALS:
        pieces = [piece for piece in coverset.pieces(keys) if isinstance(piece, coverset.Piece) and piece.journal == journal]
        for one, two in zip(pieces[1:], pieces[2:]):
            content = coverset.content(stage.s3, BUCKET, one)
            cut = content.index(b"\n") + 1
            content = content[cut:] + coverset.content(stage.s3, BUCKET, two)
            put(stage, journal, two.partition, one.begin + cut, content)
            made += 1
            break
    need(made, "there are no two fragments to cut anew")


def put(stage, journal, partition, begin, content):
    name = f"{begin:016x}-{begin + len(content):016x}-{hashlib.sha1(content).hexdigest()}.gz"
    stage.s3.put_object(Bucket=BUCKET, Key=f"{journal}/{partition}/{name}", Body=gzip.compress(content))


def check_bytes(stage):
    """The cover set is what a reader gets."""
    for journal in JOURNALS:
        read = subprocess.run([stage.courant, "journals", "read", "-l", f"name={journal}"], env=stage.environment, capture_output=True, timeout=PATIENCE)
        need(read.returncode == 0, f"reading {journal}: {read.stderr.decode()}")
        mine = [piece for piece in coverset.pieces(stage.keys()) if piece.journal == journal]
        content = b"".join(coverset.content(stage.s3, BUCKET, piece) for piece in mine)
        need(read.stdout == content, f"{journal}: the cover set has {len(content)} bytes, a reader {len(read.stdout)}")


def check_audit(stage):
    def audit(code):
        report = json.loads(stage.run(stage.courant, "journals", "audit", "--deep", "-o", "json", code=code))
        return Counter(finding["kind"] for part in report["journals"] + report["stores"] for finding in part["findings"])

    need(not audit(0), "an audit of what is in order has findings")
    put(stage, "app/gone", "date=2020-01-01/hour=00", 0, b"nobody's\n")
    stage.s3.put_object(Bucket=BUCKET, Key="README.txt", Body=b"stray")
    victim = next(key for key in stage.keys() if key.endswith(".gz"))
    body = bytearray(stage.s3.get_object(Bucket=BUCKET, Key=victim)["Body"].read())
    body[len(body) // 2] ^= 1
    stage.s3.put_object(Bucket=BUCKET, Key=victim, Body=bytes(body))
    found = audit(1)
    need(found["ORPHAN"] == 1 and found["STRAY"] == 1 and found["UNREADABLE"] + found["DIGEST"] == 1 and sum(found.values()) == 3, f"an audit finds {dict(found)}")


def check_readme(folder, courant):
    """The commands of the examples' README, line by line, on ports of our own; but for those that install, and those that never end."""
    text = (EXAMPLES / "README.md").read_text().split("## When the hour is complete")[0]
    moto, port = free_port(), free_port()
    lines = ["set -em", "wait_for() { for _ in $(seq 600); do curl -sSf -o /dev/null $1 2>/dev/null && return; sleep 0.1; done; false; }"]
    for line in re.findall(r"^\$ (.*)$", text, re.M):
        if "pip install" in line or "-m venv" in line:
            continue
        lines.append(line.replace("5000 &", f"{moto} &").replace("127.0.0.1:5000", f"127.0.0.1:{moto}").replace("8080", str(port)))
        if line.endswith("&"):
            lines.append(f"wait_for http://127.0.0.1:{moto}/" if "moto" in line else f"wait_for http://127.0.0.1:{port}/healthz/ready")
        if line.startswith(("python3 status", "sh status")):
            lines.append("echo ====")
    lines.append("kill %1 %%")
    work = folder / "readme"
    shutil.copytree(EXAMPLES, work)
    python = Path(sys.executable).parent
    environment = {
        "PATH": f"{courant.parent}:{python}:{os.environ['PATH']}", "HOME": str(work), "LC_ALL": "C.UTF-8",
        "COURANT_LISTEN": f"127.0.0.1:{port}", "COURANT_BROKER": f"http://127.0.0.1:{port}",
    }
    with open(folder / "readme.err", "wb") as err:
        done = subprocess.run(["bash", "-c", "\n".join(lines)], env=environment, cwd=work, stdout=subprocess.PIPE, stderr=err, timeout=300)
    need(done.returncode == 0, f"the README's commands end with {done.returncode}: see {folder}/readme.err\n{done.stdout.decode()[-1000:]}")
    counted = [re.findall(r"^(\S+:00:00Z) (\d+) (\d+)$", part, re.M) for part in done.stdout.decode().split("====")[:4]]
    need(len(counted) == 4 and counted[0] and all(rows == counted[0] for rows in counted), f"the README's commands count\n{counted}")
    need(sum(int(count) for *_, count in counted[0]) == 5000, f"the README's commands count {counted[0]} of 5000")
    say("the README's commands, line by line: all four count the same")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--courant", required=True, type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="courant-batch-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        stage = Stage(folder.resolve(), args.courant.resolve())
        if args.log:
            with open(args.log) as log:
                text = subprocess.run([sys.executable, EXAMPLES / "apache_to_ndjson.py"], stdin=log, capture_output=True, check=True).stdout.decode()
            # A server writes a request when it ends, so times go back a little: as they came is how they are appended.
            lines = text.splitlines()[:3000]
        else:
            lines = stage.run(sys.executable, "make_log.py", "2030-01-01T10:32:30", "3000", "3").splitlines()
        first, last = min(lines, key=lambda l: json.loads(l)["time"]), max(lines, key=lambda l: json.loads(l)["time"])
        first, last = (coverset.moment(json.loads(line)["time"][:13]) for line in (first, last))
        acked, runs = fill(stage, lines)
        complete = check_follow(acked, runs)
        say(f"{len(stage.ports)} brokers, followed over kills of a primary and of the follower: {len(complete)} hours were told complete, and were")
        stage.stop()

        hour = "%Y-%m-%dT%H"
        whole = (first.strftime(hour), (last + timedelta(hours=1)).strftime(hour))
        part = ((first + timedelta(hours=1)).strftime(hour), (first + timedelta(hours=2)).strftime(hour))
        brokerless = ["status_by_hour_duckdb.py", "status_by_hour_polars.py", "status_by_hour_aws.sh"]
        check_counts(stage, lines, [whole, part], brokerless[:2])
        # A process for each object takes its time.
        check_counts(stage, lines, [part], brokerless[2:])
        once = check_glob(stage, *part)
        recut(stage, stage.keys())
        say("the same with content that was stored twice, cut differently")
        check_counts(stage, lines, [whole], brokerless)
        need(check_glob(stage, *whole) > len(lines), "a glob is not told from the cover set by content that is stored twice")
        need(once > 0, "a glob counts nothing")

        stage.start()
        check_counts(stage, lines, [whole, part], ["status_by_hour_curl.sh"])
        check_bytes(stage)
        check_audit(stage)
        stage.stop()
        check_readme(stage.folder, stage.courant)
        say(f"passed in {time.monotonic() - began:.0f} s")
    finally:
        for process in Process.all:
            if process.child.poll() is None:
                process.child.kill()
                process.child.wait()
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
