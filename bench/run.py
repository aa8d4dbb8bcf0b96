#!/usr/bin/env python3
"""Runs the benchmarks B1 to B9 against real peers and prints one table; bench/run builds first and then calls this.

usage: bench/run [--quick] [--only B1,B5] [--peers prometheus-3.5,…] [--runs 5] [--write] [--json FILE] [--chart FILE] [--keep-data]
  --quick        everything small, in about two minutes: to try it, not to publish
  --only         these parts; --peers: these peers, or none
  --write        puts the table between the markers of docs/performance.md and the chart beside it; only of a whole run
  --json         all runs of all figures; --chart: the chart, without --write
  --keep-data    leaves the servers' directories
Sizes: --d1-series 10000 --d1-hours 6 --d2-series 100000 --d2-hours 24 --ingest-series 100000 --ingest-scrapes 40
       --curve-most 1000000 --curve-minutes 30
Ends with 1 if an answer was wrong or a part failed, not if a bound was missed: the table says which were.
"""
import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests", "differential")]

from harness import chart, data, report  # noqa: E402
from harness.contenders import all_contenders  # noqa: E402
from harness.parts import PARTS, Bench, run_all  # noqa: E402
from lib.processes import PROMSPLIT  # noqa: E402

DOCUMENT = os.path.join(ROOT, "docs", "performance.md")
CHART = os.path.join(ROOT, "docs", "performance.svg")
BEGIN, END = "<!-- bench/run: begin -->", "<!-- bench/run: end -->"

SIZES = {  # option: whole, quick
    "runs": (5, 2),
    "d1_series": (10_000, 1_000),
    "d1_hours": (6, 2),
    "d2_series": (100_000, 5_000),
    "d2_hours": (24, 4),
    "ingest_series": (100_000, 10_000),
    "ingest_scrapes": (40, 20),
    "ingest_lead": (10, 1),  # seconds of ingest before queries are timed
    "curve_most": (1_000_000, 10_000),
    "curve_minutes": (30, 30),
    "quiet_s": (4, 1),  # how long a server that has come to rest does nothing
    "own_quiet_s": (40, 1),  # promsplit moves its newest samples into place, too, when no more came for 30 s
}


def read_options():
    parser = argparse.ArgumentParser(usage=__doc__[__doc__.index("usage:") + 7 :])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--peers")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--chart")
    parser.add_argument("--keep-data", action="store_true")
    for name in SIZES:
        parser.add_argument("--" + name.replace("_", "-"), type=int)
    options = parser.parse_args()
    for name, (whole, quick) in SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else whole)
    options.only = options.only.split(",")
    if not set(options.only) <= set(PARTS):
        parser.error(f"--only knows {', '.join(PARTS)}")
    if options.curve_minutes > 55:
        parser.error("--curve-minutes is at most 55: a Prometheus takes no samples older than an hour behind its newest")
    whole = set(options.only) == set(PARTS) and not options.peers and all(getattr(options, n) >= w for n, (w, _) in SIZES.items())
    if options.write and not whole:
        parser.error("--write publishes whole runs only: no --quick, --only, --peers or smaller sizes with it")
    return options


def chosen(peers, names):
    """Peers that were not asked for are shown as absent, with that reason."""
    known = {peer.key for peer in peers}
    for name in names or ():
        if name not in known | {"none"}:
            sys.exit(f"bench/run: no peer '{name}': {', '.join(sorted(known))}")
    for peer in peers:
        if names and peer.key not in names:
            peer.absent = "left out by --peers"


def build_type():
    try:
        with open(os.path.join(data.BUILD, "CMakeCache.txt")) as cache:
            return re.search(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache.read(), re.MULTILINE).group(1)
    except (OSError, AttributeError):
        return "unknown build"


def machine(bench, options):
    """One paragraph: what the figures were taken with."""
    with open("/etc/os-release") as file:
        system = re.search(r'^PRETTY_NAME="(.*)"$', file.read(), re.MULTILINE).group(1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    own = subprocess.run([PROMSPLIT, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    peers = ", ".join(peer.title for peer in bench.peers if not peer.absent)
    return (f"Machine: {os.cpu_count()} processors, {memory:.0f} GB of memory, {system}, Linux {platform.release()}. {own}, {build_type()}. "
            f"Peers: {peers or 'none'}. Medians of {options.runs} runs. {time.strftime('%B %Y')}.")


def text_of(bench, options):
    lines = [machine(bench, options), "", report.table(bench.figures, bench.contenders), ""]
    lines += [f"- Absent: {peer.title}, {peer.absent}." for peer in bench.peers if peer.absent]
    lines += [f"- {problem.splitlines()[0]}" for problem in (*bench.problems, *bench.notes)]
    lines.append(f"- Answers of promsplit compared with those of a Prometheus: {bench.compared}; wrong ones: {bench.wrong}.")
    held = [holds for figure in bench.figures for _, _, holds in figure.bounds if holds is not None]
    lines.append(f"- Bounds: {held.count(True)} hold, {held.count(False)} are missed.")
    return "\n".join(lines)


def write_document(text):
    with open(DOCUMENT) as file:
        before, _, rest = file.read().partition(BEGIN)
    if END not in rest:
        sys.exit(f"bench/run: {DOCUMENT} has no markers {BEGIN} and {END}")
    image = "![Query times, and time against the number of series](performance.svg)"
    with open(DOCUMENT, "w") as file:
        file.write(f"{before}{BEGIN}\n{text}\n\n{image}\n{END}{rest.partition(END)[2]}")


def main():
    options = read_options()
    for program in (PROMSPLIT, data.LOAD, data.BACKEND):
        if not os.access(program, os.X_OK):
            sys.exit(f"bench/run: {program} is missing: run scripts/setup and scripts/build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers end and data go then too
    peers, own = all_contenders()
    chosen(peers, options.peers.split(",") if options.peers else None)
    bench, began = Bench(options, peers, own), time.monotonic()
    run_all(bench)
    text = text_of(bench, options)
    print(f"\n{text}\n\nTook {time.monotonic() - began:.0f} s.")
    drawing = chart.draw(bench.bars, bench.curve, [c for c in (own, *peers) if not c.absent])
    if options.write:
        write_document(text)
    outputs = {options.json: json.dumps(report.spreads(bench.figures), indent=1), options.chart: drawing}
    if options.write:
        outputs[CHART] = drawing
    for path, content in outputs.items():
        if path:
            with open(path, "w") as file:
                file.write(content)
    sys.exit(1 if bench.problems else 0)


if __name__ == "__main__":
    main()
