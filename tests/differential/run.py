#!/usr/bin/env python3
"""The same samples in a real Prometheus and in promsplit, the same queries to both: any difference is a failure.

For each Prometheus that scripts/setup unpacked: one holds the samples (it is right by definition); promsplit has the
same samples, once with everything pushed down and once with nothing, each time in front of an empty Prometheus of that
version which reads back from it.

usage: run.py [--peer 2.42|3.5]… [--push LIST]… [--short] [--file F | --query Q… | --random N [--seed S]]
  --peer P         only this Prometheus (default: both)
  --push LIST      only this --planner.push (default: all and none); may be repeated. With --random also "random",
                   some classes by seed
  --short          fewer grids: what scripts/test runs; with --late for the older Prometheus
  --late           promsplit gets half of the samples late, in random order
  --after WHAT     compaction, restart (by kill -9) or retention: what promsplit has behind it when it is asked. Retention
                   has dropped the older half of the samples, which Prometheus never got; the grids lie about that edge
  --query Q        only this query; may be repeated
  --grid NAME      only this grid (grids.py)
  --random N       N random queries over random data instead of queries.txt (generate.py), mismatches shrunk; with
                   Prometheus 3, warnings and infos are compared as well
  --rollups        with --random: promsplits keep rollups, made before the queries are asked; with odd seeds some samples
                   come late, after that. Most grids have windows' ends at whole minutes or five of them
  --seed S         of the random data and queries (default 1)
  --shares-table   after --random, writes into docs/semantics.md how much was pushed (shares.py)
  --show           prints both answers too; with --random, what a rule excuses
  --annotations    compares warnings and infos as well
  --control        in promsplit's place, a Prometheus that reads the raw samples from the first: proves the harness
  --keep           leaves logs and data for looking at
"""
import argparse
import concurrent.futures
import functools
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)

import campaign  # noqa: E402
import grids  # noqa: E402
import rules  # noqa: E402
import shares  # noqa: E402
from compare import Comparison, Outcome  # noqa: E402
from lib import dataset  # noqa: E402
from lib.processes import PROMSPLIT, Stage, prometheus_binary, remote_read_stanza  # noqa: E402
from lib.report import Report  # noqa: E402

EDGE_AT_MS = dataset.HOUR  # with --after retention, samples lie so much earlier: T0 is the beginning of a partition

PEERS = ("2.42", "3.5")


def read_queries(path):
    """[(oldest major version, query)] of a file like queries.txt."""
    since, queries = 2, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if line.startswith("%since "):
                since = int(line.split()[1])
            elif line and not line.startswith("#"):
                queries.append((since, line))
    return queries


class Mismatch:
    def __init__(self, peer, subject, query, grid, text, state=""):
        self.peer, self.subject, self.query, self.grid, self.text, self.state = peer, subject, query, grid, text, state

    def __str__(self):
        quoted = "'" + self.query.replace("'", "'\\''") + "'"
        push = "--control" if self.subject == "control" else f"--push {self.subject}" + self.state
        return (
            f"MISMATCH Prometheus {self.peer}, push={self.subject}, {self.grid}\n   {self.query}\n      {self.text}\n"
            f"   again: tests/differential/run.py --peer {self.peer} {push} --grid '{self.grid.name}' --query {quoted} --show"
        )


class World:
    """The servers of one Prometheus version, loaded with one data set; with `late`, promsplits get half of it late. With
    `rollups` they make rollups of it; "late" as its value: some samples come later. `after`: see --after."""

    def __init__(self, stage, peer, pushes, series, control=False, late=False, rollups=None, after=None):
        binary = prometheus_binary(peer)
        self.peer, self.subjects = peer, {}
        self.state = " --late" * late + (f" --after {after}" if after else "")
        if after == "retention":
            series = dataset.shifted(series, -EDGE_AT_MS)
        self.oracle = stage.prometheus(f"oracle-{peer}", binary)
        self.samples = dataset.load(self.oracle.api, dataset.since(series, dataset.T0) if after == "retention" else series)
        if control:
            read = remote_read_stanza(self.oracle.api.url, required=False)
            self.subjects["control"] = stage.prometheus(f"control-{peer}", binary, remote_read=read).api
        for push in pushes:
            flags = (f"--storage.out-of-order-window={2 * dataset.SPAN // dataset.SECOND}s",) if late or rollups else ()
            flags += ("--storage.rollups.levels=1m,5m,1h",) if rollups else ()
            flags += (f"--storage.retention.time={EDGE_AT_MS // 2000}s",) if after == "retention" else ()
            promsplit, _ = stage.pair(f"promsplit-{peer}-{push.replace(',', '-')}", binary, push, flags=flags)
            if rollups:
                self._roll_up(promsplit, series, rollups == "late")
                self.subjects[push] = promsplit.api
                continue
            shuffled = functools.partial(dataset.late_batches, random=random.Random(1))
            dataset.load(promsplit.api, series, shuffled if late else dataset.batches)
            if after:
                getattr(self, f"_{after}")(promsplit)
            self.subjects[push] = promsplit.api

    @staticmethod
    def _compaction(promsplit):
        promsplit.stop()
        path = os.path.join(promsplit.directory, "data")
        subprocess.run([PROMSPLIT, "store", "compact", f"--storage.path={path}"], check=True, stdout=subprocess.DEVNULL)
        promsplit.start()
        promsplit.wait_for("/-/ready")

    @staticmethod
    def _restart(promsplit):
        promsplit.kill()
        promsplit.start()
        promsplit.wait_for("/-/ready")

    @staticmethod
    def _retention(promsplit):
        deadline = time.monotonic() + 90
        while not promsplit.api.metric("promsplit_store_dropped_partitions_total"):
            if time.monotonic() > deadline:
                raise RuntimeError("retention has dropped nothing")
            time.sleep(0.5)

    @classmethod
    def _roll_up(cls, promsplit, series, late):
        on_time, held = dataset.hold_back(series, random.Random(2)) if late else (series, [])
        dataset.load(promsplit.api, on_time)
        cls._compaction(promsplit)
        dataset.load(promsplit.api, held)

    def _excused(self, subject, query, got):
        if got is not None and got.error_type == "execution" and rules.impossible_over_remote_read(query, got.error):
            return True
        return subject == "control" and rules.control_differs(self.peer, query)

    def check(self, query, grid, annotations=False, show=False):
        """Mismatches of one query on one grid."""
        out = []
        want = Outcome(grid.ask(self.oracle.api, query))
        compare = Comparison(query, self.peer, annotations)
        for name, api in self.subjects.items():
            try:
                got = Outcome(grid.ask(api, query))
                text = compare.difference(want, got)
            except OSError as error:
                got, text = None, f"no answer: {error}"
            if show:
                print(f"{query}\n  {self.peer} {grid}\n  want {want.brief()} {want.result}")
                print(f"  {name}: {got and got.brief()} {got and got.result}")
            if text is not None and not self._excused(name, query, got):
                out.append(Mismatch(self.peer, name, query, grid, text, self.state))
        return out


def run_list(world, queries, chosen_grids, options, report):
    """Every query on every grid, four at a time; one mismatch of a (subject, query) is printed, the others counted."""
    major = int(world.peer.split(".")[0])
    work = [(query, grid) for since, query in queries if since <= major for grid in chosen_grids]
    shown, more = set(), 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda w: world.check(*w, options.annotations, options.show), work):
            report.ok(len(world.subjects) - len(found))
            for mismatch in found:
                key = (mismatch.subject, mismatch.query)
                if key in shown:
                    more += 1
                    report.failed += 1
                else:
                    shown.add(key)
                    report.fail(str(mismatch))
    return len({query for query, _ in work}), more


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__[__doc__.index("usage:") + 7 :])
    for name in ("--peer", "--push", "--query", "--grid"):
        parser.add_argument(name, action="append")
    for name in ("--short", "--show", "--annotations", "--control", "--keep", "--shares-table", "--late", "--rollups"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--after", choices=("compaction", "restart", "retention"))
    parser.add_argument("--file", default=os.path.join(HERE, "queries.txt"))
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    options = arguments()
    report = Report("differential" + (" (control)" if options.control else " (random)" if options.random else ""))
    pushes = [] if options.control else options.push or (["all", "none", "random"] if options.random else ["all", "none"])
    if pushes and not os.access(PROMSPLIT, os.X_OK):
        sys.exit(f"{PROMSPLIT} is not built: run scripts/build")
    measured, pushed = [], None
    for peer in options.peer or PEERS:
        if prometheus_binary(peer) is None:
            report.skip(f"differential against Prometheus {peer}", "scripts/setup did not find it")
            continue
        started = time.monotonic()
        if options.random:
            pushed, of = campaign.run(peer, pushes, options, report, World, pushed)
            measured.append(of)
            continue
        queries = [(0, q) for q in options.query] if options.query else read_queries(options.file)
        chosen = grids.SHORT if options.short else grids.FULL
        if options.grid:
            chosen = [grid for grid in grids.FULL if grid.name in options.grid]
        with Stage(options.keep) as stage:
            series = dataset.build(options.seed, peer.startswith("3"))
            late = options.late or (options.short and peer == PEERS[0] and not options.after)
            world = World(stage, peer, pushes, series, options.control, late, after=options.after)
            count, more = run_list(world, queries, chosen, options, report)
        print(f"Prometheus {peer}: {count} queries on {len(chosen)} grids over {world.samples} samples, "
              f"against {', '.join(world.subjects)}: {time.monotonic() - started:.0f} s"
              + (f"; {more} further mismatches of the same queries" if more else ""))
    if options.shares_table and pushed:
        shares.write_table(pushed, f"{' and '.join(measured)}, seeds from {options.seed}")
    report.finish()


if __name__ == "__main__":
    main()
