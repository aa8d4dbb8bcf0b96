#!/usr/bin/env python3
"""The first figure: one grouped rate over 14.4 million samples, asked of three servers that hold the same samples.

  prometheus   Prometheus 2.42 over its own TSDB
  promsplit    promsplit with everything pushed down
  remote read  the same Prometheus, empty, which reads the raw samples from promsplit (--planner.push=none) and does the rest

D1: 10 000 series (10 values of le, 1 000 instances) × 6 h × 15 s, random increments, resets, jittered timestamps.
"cold" is the first query after a start of the server, "warm" any later one; the operating system's page cache is warm.
Cold runs of promsplit start with empty engine caches; there is no result cache in it. Medians of --runs.

usage: bench/first.py [--series 10000] [--hours 6] [--runs 5] [--keep-data]
The encoded samples are kept in .deps/bench (260 MB) so that later runs start sooner; remove the folder at will.
"""
import argparse
import concurrent.futures
import os
import random
import statistics
import struct
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
sys.path.insert(0, os.path.join(ROOT, "tests", "differential"))

from compare import Comparison, Outcome  # noqa: E402
from lib import wire  # noqa: E402
from lib.dataset import HOUR, MINUTE, T0  # noqa: E402
from lib.processes import PROMSPLIT, Stage, free_port, prometheus_binary  # noqa: E402

QUERY = "sum by (le) (rate(m[5m]))"
STEP_S = 60
INTERVAL = 15_000
LES = ("0.005", "0.01", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf")
SLICE = 10 * MINUTE  # samples are sent in time order, as scrapes would bring them
SERIES_PER_REQUEST = 250


def encode(path, series, hours):
    """Writes D1 as ready remote-write bodies: per slice of time, requests of SERIES_PER_REQUEST series each."""
    chance = random.Random(1)
    heads = []
    for n in range(series):
        labels = {"__name__": "m", "instance": f"i{n // len(LES):04d}", "job": "bench", "le": LES[n % len(LES)]}
        heads.append(b"".join(wire.field_bytes(1, wire.field_bytes(1, k) + wire.field_bytes(2, v)) for k, v in sorted(labels.items())))
    phase = [chance.randrange(INTERVAL - 2000) for _ in range(series)]
    value = [float(chance.randrange(10_000)) for _ in range(series)]
    pack, per_slice = struct.Struct("<d").pack, SLICE // INTERVAL
    with open(path + ".new", "wb") as out:
        for slot in range(hours * HOUR // SLICE):
            request = bytearray()
            for n in range(series):
                body, v, start = bytearray(heads[n]), value[n], T0 + slot * SLICE + phase[n]
                for k in range(per_slice):
                    bits = chance.getrandbits(20)
                    v = 0.0 if bits < 200 else v + (bits & 31)  # about one reset in 5 000 samples
                    timestamp = start + k * INTERVAL + (bits >> 5 & 1023)
                    body += b"\x12\x10\x09" + pack(v) + b"\x10" + wire.varint(timestamp)
                value[n] = v
                request += wire.field_bytes(1, bytes(body))
                if (n + 1) % SERIES_PER_REQUEST == 0 or n + 1 == series:
                    packed = wire.snappy(bytes(request))
                    out.write(struct.pack("<II", slot, len(packed)) + packed)
                    request = bytearray()
            print(f"\rbuilding D1: slice {slot + 1}", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    os.rename(path + ".new", path)


def slices(path):
    """Lists of bodies, one list per slice of time."""
    bodies, current = [], 0
    with open(path, "rb") as file:
        while head := file.read(8):
            slot, size = struct.unpack("<II", head)
            if slot != current:
                yield bodies
                bodies, current = [], slot
            bodies.append(file.read(size))
    yield bodies


def load(server, path):
    """Sends D1 over four connections; seconds it took."""
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for bodies in slices(path):
            for answer in pool.map(server.api.write_bytes, bodies):
                if answer.status not in (200, 204):
                    sys.exit(f"{server.name} refused a write: {answer}")
    return time.monotonic() - began


class Contender:
    """One way to answer QUERY: the servers to restart before a cold run, and the one to ask."""

    def __init__(self, name, ask, restart, wait="/-/ready"):
        self.name, self.ask, self.restart, self.wait = name, ask, restart, wait
        self.cold, self.warm, self.answer, self.peak = [], [], None, 0

    def query(self, hours):
        end = T0 // 1000 + hours * 3600
        began = time.monotonic()
        answer = self.ask.api.query_range(QUERY, T0 // 1000, end, STEP_S)
        took = time.monotonic() - began
        if answer.status != 200:
            sys.exit(f"{self.name}: {answer}\n{self.ask.log_tail()}")
        self.answer = answer
        return took

    def measure(self, hours, runs):
        for _ in range(runs):
            for server in self.restart:
                server.stop(60)
                server.start(120)
            self.ask.wait_for(self.wait, 60)
            time.sleep(1)  # start-up work of both is over
            self.cold.append(self.query(hours))
        self.warm = [self.query(hours) for _ in range(runs)]
        self.peak = sum(server.memory_peak_bytes() for server in self.restart)


def table(contenders):
    """Markdown, and the ratios the project promises to keep."""
    base = contenders[1]
    rows = ["| | cold, median | cold, min–max | warm, median | promsplit is … × faster (cold) | peak memory |",
            "|---|---|---|---|---|---|"]
    for c in contenders:
        ratio = statistics.median(c.cold) / statistics.median(base.cold)
        rows.append(f"| {c.name} | {statistics.median(c.cold):.3f} s | {min(c.cold):.3f}–{max(c.cold):.3f} s "
                    f"| {statistics.median(c.warm):.3f} s | {ratio:.1f} | {c.peak / 1e6:.0f} MB |")
    return "\n".join(rows)


def check_equal(contenders):
    want = Outcome(contenders[0].answer)
    for c in contenders[1:]:
        difference = Comparison(QUERY, "2.42").difference(want, Outcome(c.answer))
        if difference:
            sys.exit(f"{c.name} gives another answer than {contenders[0].name}: {difference}")
    return sum(len(s["values"]) for s in want.result)


def main():
    parser = argparse.ArgumentParser(usage=__doc__[__doc__.index("usage:") + 7 :])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=6)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep-data", action="store_true")
    options = parser.parse_args()
    binary = prometheus_binary("2.42")
    if binary is None or not os.access(PROMSPLIT, os.X_OK):
        sys.exit("needs Prometheus 2.42 and a build: run scripts/setup and scripts/build")
    os.makedirs(os.path.join(ROOT, ".deps", "bench"), exist_ok=True)
    data = os.path.join(ROOT, ".deps", "bench", f"d1-{options.series}-{options.hours}h")
    if not os.path.exists(data):
        encode(data, options.series, options.hours)
    samples = options.series * options.hours * HOUR // INTERVAL
    with Stage(options.keep_data) as stage:
        local = stage.prometheus("prometheus", binary, one_block=False)
        port = free_port()
        upstream = stage.prometheus("upstream", binary, remote_read=f"http://127.0.0.1:{port}")
        split = stage.promsplit("promsplit", upstream.port, port=port)
        for server in (local, split):
            took = load(server, data)
            print(f"{server.name}: {samples / 1e6:.1f} M samples stored in {took:.1f} s ({samples / took / 1e6:.2f} M/s)", flush=True)
        time.sleep(10)  # compactions that the load started
        contenders = [
            Contender("Prometheus 2.42, own TSDB", local, [local]),
            Contender("promsplit, pushed down", split, [split]),
        ]
        for contender in contenders:
            contender.measure(options.hours, options.runs)
        split.command.append("--planner.push=none")
        contenders.append(Contender("Prometheus 2.42, raw samples by remote read", split, [split, upstream]))
        contenders[-1].measure(options.hours, options.runs)
        points = check_equal(contenders)
    print(f"\n`{QUERY}`, {options.hours} h, step {STEP_S} s, {options.series} series, {samples / 1e6:.1f} M samples; "
          f"{points} equal points; {options.runs} runs each, {os.cpu_count()} cores\n\n{table(contenders)}")


if __name__ == "__main__":
    main()
