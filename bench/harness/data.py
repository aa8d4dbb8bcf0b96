"""Samples: what sets there are, how they get into a server, and when a server has come to rest after that."""
import json
import os
import shutil
import subprocess
import sys
import time

from lib.dataset import MINUTE, T0
from lib.processes import PROMSPLIT

BUILD = os.path.dirname(os.path.abspath(PROMSPLIT))
LOAD = os.path.join(BUILD, "bench", "load", "bench_load")
BACKEND = os.path.join(BUILD, "bench", "backend", "bench_backend")
DISK_MAX = 30e9  # bytes that one server's data may take

SLICE_MS = 10 * MINUTE
BATCH = 10_000  # samples a request, when a set is loaded


class BenchError(Exception):
    pass


class DataSet:
    """`series` counters named `metric`, scraped every `interval_s` from T0 on, for `seconds`."""

    def __init__(self, metric, series, seconds, interval_s):
        self.metric, self.series, self.seconds, self.interval_s = metric, series, seconds, interval_s
        self.scrapes = seconds // interval_s

    @property
    def samples(self):
        return self.series * self.scrapes

    @property
    def start(self):
        return T0 // 1000

    @property
    def end(self):
        return self.start + self.seconds

    def load(self, server):
        """Sends it over four connections in the order of time; what bench_load said."""
        run = max(1, SLICE_MS // 1000 // self.interval_s)
        return load(server, metric=self.metric, series=self.series, scrapes=self.scrapes, interval=self.interval_s * 1000,
                    run=run, batch=BATCH, senders=4)


def loading(server, **options):
    """bench_load, started."""
    command = [LOAD, f"--url={server.api.url}/api/v1/write", *(f"--{name}={value}" for name, value in options.items())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def loaded(process, server):
    out, err = process.communicate()
    if process.returncode:
        raise BenchError(f"loading {server.name}: {err.strip()}\n{server.log_tail()}")
    return json.loads(out)


def load(server, **options):
    """What bench_load said, and `work_s`: the server's processor time meanwhile."""
    before = server.processor_s()
    said = loaded(loading(server, **options), server)
    said["work_s"] = server.processor_s() - before
    return said


def disk_bytes(path):
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                pass  # a server at work removes files
    if total > DISK_MAX:
        raise BenchError(f"{path} holds {total / 1e9:.1f} GB; at most {DISK_MAX / 1e9:.0f} GB are allowed")
    return total


def settle(server, quiet_s, tick_s=1, limit_s=900):
    """Waits until the server has done next to nothing for a while: what a load or a start set off is over."""
    quiet, last, deadline = 0, server.processor_s(), time.monotonic() + limit_s
    while quiet < quiet_s and time.monotonic() < deadline:
        time.sleep(tick_s)
        now = server.processor_s()
        quiet = quiet + tick_s if now - last < 0.05 * tick_s else 0
        last = now
    disk_bytes(server.directory)
    if quiet < quiet_s:
        print(f"{server.name} is still busy after {limit_s} s", file=sys.stderr)


def backend(*arguments):
    """bench_backend's output."""
    done = subprocess.run([BACKEND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchError(f"bench_backend {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def copy_store(server):
    """A copy of a stopped promsplit's database, beside it."""
    copy = os.path.join(server.directory, "copy")
    shutil.copytree(os.path.join(server.directory, "data"), copy)
    return copy


def copy_data(server, other):
    """Both stopped promsplits; what the other one had is gone."""
    shutil.rmtree(os.path.join(other.directory, "data"))
    shutil.copytree(os.path.join(server.directory, "data"), os.path.join(other.directory, "data"))
