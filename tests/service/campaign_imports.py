#!/usr/bin/env python3
"""Large imports, killed on their way: all is there once, bit for bit, in bounded memory.

usage: campaign_imports.py [--series N] [--scrapes N] [--kills N] [--seed S]
  --series, --scrapes   what a real Prometheus holds, and is read from (default 10000 x 1440: 14.4 M samples)
  --kills N             of smaller imports of JSON lines and by remote read, at random moments (default 50)
  --seed S              of the moments (default 1)

1. By remote read from Prometheus, killed twice and resumed; held against what promtool says is in Prometheus's blocks.
2. The same samples as JSON lines, timed; the export of it is the file.
3. Imports of a tenth of the lines, and of a tenth of the time by remote read, killed --kills times in all.
Environment: PROMSPLIT=PATH tests another build.
"""
import argparse
import array
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from lib.processes import PROMSPLIT, ROOT, Stage, prometheus_binary  # noqa: E402
from lib.report import Report  # noqa: E402

LOAD = os.path.join(ROOT, "build", "bench", "load", "bench_load")
START_MS = 1_700_006_400_000  # the beginning of two hours
INTERVAL_MS = 15_000
MEMORY_MAX_MB = 512
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


class Wrong(Exception):
    pass


# --- what is stored -----------------------------------------------------------------------------------------------


class Digest:
    """{labels: a hash of the samples in order}, and how many there are."""

    def __init__(self):
        self.series, self.samples = {}, 0

    def add(self, labels, times, bits):
        series = self.series.setdefault(labels, hashlib.blake2b(digest_size=16))
        packed = array.array("q", [0]) * (2 * len(times))
        packed[0::2], packed[1::2] = array.array("q", times), array.array("q", bits)
        series.update(packed.tobytes())
        self.samples += len(times)

    def result(self):
        return {labels: series.digest() for labels, series in self.series.items()}


def signed_bits(values):
    return array.array("q", struct.pack(f"<{len(values)}d", *values))


def digest_of_blocks(directory):
    """By promtool: a line for each sample, the series one after another within each block."""
    tool = os.path.join(os.path.dirname(prometheus_binary("2.42")), "promtool")
    dump = subprocess.Popen([tool, "tsdb", "dump", directory], stdout=subprocess.PIPE, text=True, bufsize=1 << 20)
    digest, at, labels, times, values = Digest(), None, None, [], []
    for line in dump.stdout:
        text, value, stamp = line.rsplit(" ", 2)
        if text != at:
            if times:
                digest.add(labels, times, signed_bits(values))
            at, times, values = text, [], []
            labels = tuple(sorted(LABEL.findall(text)))
        times.append(int(stamp))
        values.append(float(value))
    if times:
        digest.add(labels, times, signed_bits(values))
    if dump.wait():
        raise Wrong(f"promtool tsdb dump ended with {dump.returncode}")
    return digest


def digest_of_export(path):
    digest = Digest()
    with open(path) as file:
        for line in file:
            series = json.loads(line)
            labels = tuple(sorted(series["metric"].items()))
            digest.add(labels, series["timestamps"], signed_bits([float(v) for v in series["values"]]))
    return digest


def file_hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


# --- commands -----------------------------------------------------------------------------------------------------


class Store:
    """A store that is imported into. `peak_mb`: the most memory that an import took."""

    def __init__(self, directory):
        self.directory, self.peak_mb, self.resumed = directory, 0, 0

    def _arguments(self, command, *arguments):
        return [PROMSPLIT, command, f"--storage.path={self.directory}", *arguments]

    def import_killed(self, after_s, *arguments):
        """Kills it then; False if it had ended."""
        process = subprocess.Popen(self._arguments("import", *arguments), stderr=subprocess.PIPE)
        deadline = time.monotonic() + after_s
        while time.monotonic() < deadline:
            found, status, usage = os.wait4(process.pid, os.WNOHANG)
            if found:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.002)
        else:
            process.send_signal(signal.SIGKILL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        said = process.stderr.read()
        process.stderr.close()
        self.resumed += b"going on where" in said
        self.peak_mb = max(self.peak_mb, usage.ru_maxrss / 1024)
        if process.returncode not in (0, -signal.SIGKILL):
            raise Wrong(f"import ended with {process.returncode}: {said[-2000:].decode(errors='replace')}")
        return process.returncode != 0

    def import_all(self, *arguments):
        """Seconds it took."""
        began = time.monotonic()
        if self.import_killed(3600, *arguments):
            raise Wrong("an import took an hour")
        return time.monotonic() - began

    def export(self, path):
        with open(path, "wb") as file:
            subprocess.run(self._arguments("export"), stdout=file, stderr=subprocess.DEVNULL, check=True)

    def verify(self):
        done = subprocess.run(self._arguments("store", "verify"), capture_output=True, text=True)
        if done.returncode or "BROKEN" in done.stdout:
            raise Wrong(f"store verify: {done.stdout[-2000:]}{done.stderr[-2000:]}")


# --- the campaign -------------------------------------------------------------------------------------------------


class Campaign:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.stage = Stage()
        self.directory = self.stage.directory
        self.end_s = START_MS // 1000 + options.scrapes * INTERVAL_MS // 1000

    def path(self, name):
        return os.path.join(self.directory, name)

    def load_source(self):
        flags = ("--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")
        self.source = self.stage.prometheus("source", prometheus_binary("2.42"), flags=flags, one_block=False)
        subprocess.run([LOAD, f"--url=http://127.0.0.1:{self.source.port}/api/v1/write", "--senders=1", "--batch=10000",
                        f"--series={self.options.series}", f"--scrapes={self.options.scrapes}",
                        f"--interval={INTERVAL_MS}", f"--start={START_MS}"], check=True, stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.source.port}"

    def span(self, end_s):
        return f"--from={START_MS // 1000}", f"--to={end_s}", self.url

    def remote_read(self):
        store, span = Store(self.path("by-remote-read")), self.span(self.end_s)
        uninterrupted = Store(self.path("uninterrupted"))
        took = uninterrupted.import_all(*span)
        shutil.rmtree(uninterrupted.directory)
        kills = sum(store.import_killed(took * self.random.uniform(0.2, 0.45), *span) for _ in range(2))
        store.import_all(*span)
        store.verify()
        if kills != 2 or store.resumed == 0:
            raise Wrong(f"{kills} kills of an import of {took:.0f} s, resumed {store.resumed} times")
        store.export(self.path("lines.json"))
        self.source.stop()
        wanted, found = digest_of_blocks(os.path.join(self.source.directory, "data")), digest_of_export(self.path("lines.json"))
        if wanted.samples != found.samples or wanted.result() != found.result():
            raise Wrong(f"Prometheus holds {wanted.samples} samples of {len(wanted.series)} series, the store "
                        f"{found.samples} of {len(found.series)}, or others")
        self.source.start()
        self.samples = found.samples
        shutil.rmtree(store.directory)
        peak = max(store.peak_mb, uninterrupted.peak_mb)
        print(f"remote read: {found.samples} samples of {len(found.series)} series, 2 kills, all equal to promtool's dump; "
              f"uninterrupted {took:.1f} s ({found.samples / took / 1e6:.2f} M/s); peak memory {peak:.0f} MB", flush=True)
        return peak

    def json_lines(self):
        store = Store(self.path("lines"))
        took = store.import_all(self.path("lines.json"))
        store.export(self.path("again.json"))
        store.verify()
        if file_hash(self.path("again.json")) != file_hash(self.path("lines.json")):
            raise Wrong("the export of imported lines is not the lines")
        shutil.rmtree(store.directory)
        os.unlink(self.path("again.json"))
        print(f"JSON lines: {took:.1f} s ({self.samples / took / 1e6:.2f} M/s), the export is the file; peak memory "
              f"{store.peak_mb:.0f} MB", flush=True)
        return store.peak_mb

    def killed_often(self, name, kills_wanted, *arguments):
        """Imports of the same into new stores, killed so often in all; each, once it ended, is as one that nobody killed."""
        whole = Store(self.path("whole"))
        took = whole.import_all(*arguments)
        whole.export(self.path("whole.json"))
        shutil.rmtree(whole.directory)
        kills = rounds = resumed = 0
        while kills < kills_wanted:
            store = Store(self.path("killed"))
            while kills < kills_wanted and store.import_killed(took * self.random.uniform(0.02, 1.2), *arguments):
                kills += 1
            store.import_all(*arguments)
            store.verify()
            store.export(self.path("killed.json"))
            if file_hash(self.path("killed.json")) != file_hash(self.path("whole.json")):
                raise Wrong(f"{name}: after kills the store differs from one that nobody killed")
            rounds, resumed = rounds + 1, resumed + store.resumed
            shutil.rmtree(store.directory)
        print(f"{name}: {kills} kills of {rounds} imports of {took:.1f} s, {resumed} resumed, all equal", flush=True)

    def run(self):
        self.load_source()
        peak = max(self.remote_read(), self.json_lines())
        with open(self.path("lines.json")) as file, open(self.path("some.json"), "w") as some:
            some.writelines(line for n, line in enumerate(file) if n % 10 == 0)
        half = self.options.kills // 2
        self.killed_often("JSON lines", half, self.path("some.json"))
        self.killed_often("remote read", self.options.kills - half, *self.span(START_MS // 1000 + (self.end_s - START_MS // 1000) // 10))
        if peak > MEMORY_MAX_MB:
            raise Wrong(f"an import took {peak:.0f} MB; at most {MEMORY_MAX_MB} MB are allowed")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name, standard in (("series", 10000), ("scrapes", 1440), ("kills", 50), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=standard)
    campaign = Campaign(parser.parse_args())
    report = Report("imports")
    try:
        campaign.run()
        report.ok()
    except Wrong as wrong:
        report.fail(str(wrong))
    finally:
        campaign.stage.close()
    report.finish()


if __name__ == "__main__":
    main()
