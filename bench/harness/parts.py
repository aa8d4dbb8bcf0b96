"""The parts B1 to B9. Every contender gets the same samples and runs alone.

Each stage below loads one data set and takes all figures that need it; `Bench` holds what they share. Where contenders are held
against each other they take turns: a machine's speed changes within minutes, and must not change between one and the next. promsplit
comes last, so that its answers can be compared with those of every Prometheus, to 1e-9; its windows follow that Prometheus's version
for this.
"""
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

from compare import Outcome
from harness import data, timing
from harness.contenders import OWN, PROMETHEUS, VICTORIA_METRICS, Ask, set_flag
from harness.data import BenchError, DataSet
from harness.report import Figure
from lib import wire
from lib.dataset import SECOND, T0
from lib.processes import ServerError, Stage

PARTS = tuple(f"B{n}" for n in range(1, 10))
SENDERS, SAMPLES_PER_REQUEST = 50, 2000
PACED_RATE = 200_000  # samples/s: thirty times what 100 000 series scraped every 15 s bring
B1_MEMORY_MAX, READ_MEMORY_MAX = 512e6, 256e6
HOUR_S = 3600
START_MAX_S, OVERHEAD_MAX_S = 5, 0.003


class Entrant:
    """A contender and its server, which runs only in its turns. `times`: {figure: Times}."""

    def __init__(self, contender, stage):
        self.contender, self.stage, self.failed = contender, stage, False
        self.server, self.times = None, {}


class Bench:
    """Sizes, contenders, figures so far, and what went wrong."""

    def __init__(self, options, peers, own):
        self.options, self.peers, self.own = options, peers, own
        self.figures, self.bars, self.curve = [], [], {}
        self.problems, self.notes = [], []  # a problem makes the run fail
        self.outcomes = {}  # (figure, key)
        self.compared = self.wrong = 0  # answers

    @property
    def contenders(self):
        return [*self.peers, self.own]

    def wants(self, *parts):
        return any(part in self.options.only for part in parts)

    def figure(self, part, title, unit, **more):
        """A new row, if the part was asked for; else one that nobody sees."""
        figure = Figure(part, title, unit, **more)
        if self.wants(part):
            self.figures.append(figure)
        return figure

    def newest_prometheus(self):
        present = [c for c in self.peers if c.family == PROMETHEUS and not c.absent]
        return present[-1] if present else None

    def say(self, words):
        print(f"[{time.strftime('%H:%M:%S')}] {words}", file=sys.stderr, flush=True)

    def problem(self, words):
        self.problems.append(words)
        self.say(words)

    def each(self, name, work, contenders=None):
        """work(contender, stage) for each that is there; one that fails is named, and the others go on."""
        for contender in contenders or self.contenders:
            if contender.absent:
                continue
            self.say(f"{name}: {contender.title}")
            with Stage(self.options.keep_data) as stage:
                self._attempt(name, contender, work, contender, stage)

    def _attempt(self, name, contender, work, *arguments):
        try:
            work(*arguments)
        except (BenchError, ServerError, OSError, subprocess.SubprocessError) as error:
            self.problem(f"{name}, {contender.title}: failed: {error}")
            return False
        return True

    @contextlib.contextmanager
    def entrants(self, name, data_set=None):
        """All contenders that are there, stopped; each with the samples, at rest."""

        def prepare(entrant):
            entrant.server = entrant.contender.start(entrant.stage)
            if data_set:
                self.load(data_set, entrant.server)
                self.settle(entrant.server)
            entrant.server.stop(timing.STOP_S)

        with contextlib.ExitStack() as stages:
            found = [Entrant(c, stages.enter_context(Stage(self.options.keep_data))) for c in self.contenders if not c.absent]
            for entrant in found:
                self.say(f"{name}: {entrant.contender.title}")
                entrant.failed = not self._attempt(name, entrant.contender, prepare, entrant)
            yield found

    def turns(self, name, entrants, work, last=False):
        """work(entrant) for one after the other, its server started for that. After its last turn, or one that fails, its data go."""

        def turn(entrant):
            timing.start(entrant.server)
            work(entrant)
            entrant.server.stop(timing.STOP_S)

        for entrant in entrants:
            if not entrant.failed:
                entrant.failed = not self._attempt(name, entrant.contender, turn, entrant)
                if entrant.failed or last:
                    entrant.stage.close()

    def say_load(self, said):
        self.say(f"  {said['samples']} samples, {said['samples'] / said['seconds'] / 1e6:.2f} M/s, processors {said['work_s']:.1f} s")

    def load(self, data_set, server):
        self.say_load(data_set.load(server))

    def settle(self, server):
        data.settle(server, self.options.own_quiet_s if server.name == OWN else self.options.quiet_s)

    def measure(self, name, entrants, asks):
        """Every query on every server, cold and warm: their `times`."""
        for ask in asks:
            for entrant in entrants:
                entrant.times[ask.figure] = timing.Times()
            for _ in range(self.options.runs):
                self.turns(name, entrants, lambda e: timing.take(e.contender, e.server, ask, e.times[ask.figure]))
            for entrant in entrants:
                if not entrant.failed:
                    self.say(f"  {ask.query}: {entrant.contender.title} {entrant.times[ask.figure]}")
                    self.keep_outcome(ask, entrant.contender, entrant.times[ask.figure].outcome)

    # --- answers ---

    def keep_outcome(self, ask, contender, outcome):
        """Compares it with what the peers before it answered, as far as it can be compared."""
        self.outcomes[ask.figure, contender.key] = outcome
        for peer in self.peers:
            want = self.outcomes.get((ask.figure, peer.key))
            if peer.family != PROMETHEUS or want is None:
                continue
            if contender.family == VICTORIA_METRICS:
                far = timing.loose_difference(want, outcome)
                if far:
                    self.notes.append(f"{contender.title} answers `{ask.query}` far from Prometheus: {far}")
                return
            if contender.family == OWN and peer.rule == contender.rule:
                self.compare(ask, peer, outcome)

    def compare(self, ask, peer, outcome):
        want = self.outcomes.get((ask.figure, peer.key))
        if want is None:
            return
        self.compared += 1
        wrong = timing.difference(ask, peer.version, want, outcome)
        if wrong:
            self.wrong += 1
            self.problem(f"WRONG ANSWER: {ask.query}, compared with {peer.title}: {wrong}")

    def compare_other_rules(self, server, asks):
        """Asks promsplit again with the windows of the Prometheus versions that the timed runs did not follow."""
        for peer in self.peers:
            if peer.family != PROMETHEUS or peer.absent or peer.rule == self.own.rule:
                continue
            set_flag(server, "--upstream.version", peer.rule)
            timing.restart(server)
            for ask in asks:
                self.compare(ask, peer, Outcome(timing.timed(self.own, server, ask)[1]))
        set_flag(server, "--upstream.version", self.own.rule)
        timing.restart(server)

    def upstream(self, stage, server):
        """An empty Prometheus that evaluates what promsplit does not; promsplit's restart is the caller's."""
        newest = self.newest_prometheus()
        if newest is None:
            raise BenchError("no Prometheus to be its upstream")
        upstream = stage.prometheus("upstream", newest.binary, remote_read=server.api.url, flags=(f"--query.max-samples={10**9}",))
        set_flag(server, "--upstream.url", upstream.api.url)
        return upstream


# --- D1: B1, half of B5, B6, B7 ---------------------------------------------------------------------------------------


class D1:
    """10 000 series × 6 h × 15 s."""

    QUERIES = (("rate", "sum by (le) (rate(m[5m]))"), ("avg", "avg by (le, zone) (rate(m[5m]))"),
               ("max", "max by (le, zone) (rate(m[5m]))"), ("quantile", "avg by (le, zone) (quantile_over_time(0.9, m[5m]))"))
    STEP_S = 60

    def __init__(self, bench):
        self.bench, options = bench, bench.options
        self.data = DataSet("m", options.d1_series, options.d1_hours * 3600, 15)
        self.asks = [Ask(figure, query, self.data.start, self.data.end, self.STEP_S) for figure, query in self.QUERIES]
        if not bench.wants("B1"):
            self.asks = self.asks[:1]
        size = f"{self.data.series} series, {self.data.samples / 1e6:.1f} M samples"
        self.cold = {a.figure: bench.figure("B1", f"`{a.query}` · {size}, cold", "s") for a in self.asks}
        self.warm = {"rate": bench.figure("B1", f"`{self.asks[0].query}` · warm", "s")}
        self.raw = bench.figure("B1", "the same, cold, Prometheus reading all raw samples from promsplit", "s")
        if bench.wants("B1"):
            bench.bars += self.cold.values()
        self._other_figures()

    def _other_figures(self):
        figure = self.bench.figure
        self.busy = figure("B5", "first query of B1, warm, while 50 senders write as fast as they can", "s")
        self.paced = figure("B5", f"the same, while they write {PACED_RATE / 1e6:g} M samples/s", "s")
        self.fresh = figure("B5", "the same, right after D1 was written", "s")
        self.peak = figure("B6", "peak memory, first query of B1", "MB")
        self.peaks = figure("B6", "the largest of the other queries of B1", "MB")
        self.read_memory = figure("B6", "remote read of all raw samples as a stream: memory above idle", "MB")
        self.read_rate = figure("B6", "its speed, samples", "M/s", more_is_better=True)
        self.read_bytes = figure("B6", "its speed, bytes of the answer", "MB/s", more_is_better=True)
        self.disk = figure("B7", "bytes on disk per sample, compacted", "B")

    def run(self):
        with self.bench.entrants("D1", self.data) as entrants:
            self.bench.measure("D1", entrants, self.asks)
            self.bench.turns("D1", entrants, self._others, last=True)
        if self.bench.wants("B5"):
            self._right_after()
        for figure in self.cold.values():
            figure.want_gain(10 if figure is self.cold["rate"] else 5, PROMETHEUS, self.bench.peers)
        self.cold["rate"].want_gain(1.2, VICTORIA_METRICS, self.bench.peers)
        self.peak.want_at_most(B1_MEMORY_MAX)
        self.read_memory.want_at_most(READ_MEMORY_MAX)
        self.read_rate.want_gain(1, PROMETHEUS, self.bench.peers)
        self.read_bytes.want_gain(1, PROMETHEUS, self.bench.peers)
        blocks = [self.disk.median(p.key) for p in self.bench.peers if p.family == PROMETHEUS and self.disk.median(p.key)]
        self.disk.want_ratio(1.5, self.disk.median(OWN), min(blocks, default=None), "Prometheus's blocks")

    def _others(self, entrant):
        """What is left once all were timed."""
        bench, contender, server = self.bench, entrant.contender, entrant.server
        self.bench.say(f"D1, the rest: {contender.title}")
        self._keep(contender, entrant.times)
        if bench.wants("B6") and contender.family != VICTORIA_METRICS:
            self._remote_read(contender, server)
        if contender is bench.own:
            self._own(server, entrant.stage)
        elif bench.wants("B7"):
            self.disk.add(contender.key, [self._peer_bytes(contender, server) / self.data.samples])
        if bench.wants("B5"):
            self._during_ingest(contender, server)

    def _keep(self, contender, found):
        for ask in self.asks:
            self.cold[ask.figure].add(contender.key, found[ask.figure].cold)
        self.warm["rate"].add(contender.key, found["rate"].warm)
        self.peak.add(contender.key, found["rate"].peaks)
        self.peaks.add(contender.key, [max(found[a.figure].peaks) for a in self.asks[1:]])

    def _right_after(self):
        """A load gives one figure, since what follows it is over within seconds; held against the same server at rest."""
        seconds, ratios = [], []

        def load_and_ask(contender, stage):
            server = contender.start(stage)
            self.bench.load(self.data, server)
            runs = self.bench.options.runs
            fresh = statistics.median(timing.warm(contender, server, self.asks[0], runs))
            self.bench.settle(server)
            rest = statistics.median(timing.warm(contender, server, self.asks[0], runs))
            seconds.append(fresh)
            ratios.append(fresh / rest)
            self.bench.say(f"  {fresh:.3f} s, at rest {rest:.3f} s")

        for _ in range(self.bench.options.runs):
            self.bench.each("D1, right after it was written", load_and_ask, [self.bench.own])
        self.fresh.add(OWN, seconds)
        measured = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f}× to {max(ratios):.2f}×)" if ratios else "not measured"
        self.fresh.want("≤ 1.5× compacted", measured, statistics.median(ratios) <= 1.5 if ratios else None)

    def _own(self, server, stage):
        bench = self.bench
        bench.compare_other_rules(server, self.asks)
        if bench.wants("B1"):
            self._raw_row(server, stage)
        server.stop(timing.STOP_S)
        path = os.path.join(server.directory, "data")
        if bench.wants("B7"):
            lies = data.disk_bytes(path) / self.data.samples
            data.backend("compact", path)
            self.disk.add(OWN, [data.disk_bytes(path) / self.data.samples])
            self.disk.marks[OWN] = f"(before the last compaction {lies:.2f} B)"
        if bench.wants("B1"):
            self._floor(data.copy_store(server))
        server.start(timing.START_S)

    def _raw_row(self, server, stage):
        """The first query as Prometheus would answer it in front of any other remote storage."""
        if self.bench.newest_prometheus() is None:
            return
        command = list(server.command)
        upstream = self.bench.upstream(stage, server)
        server.command.append("--planner.push=none")
        for _ in range(self.bench.options.runs):
            timing.restart(server)
            server.wait_for("/-/ready", 60)
            took, answer = timing.timed(self.bench.own, server, self.asks[0])
            self.raw.values.setdefault(OWN, []).append(took)
        self.bench.keep_outcome(self.asks[0], self.bench.own, Outcome(answer))
        self.raw.marks[OWN] = f"(with {(server.memory_peak_bytes() + upstream.memory_peak_bytes()) / 1e6:.0f} MB in both)"
        upstream.stop(timing.STOP_S)
        server.command = command

    def _floor(self, copy):
        """The engine's own sum of the same rows, grouped by series, from a store of its own."""
        data.backend("rows", copy)
        cold = [_median_ms(data.backend("floor", copy, "1")) / 1e3 for _ in range(self.bench.options.runs)]
        warm = _median_ms(data.backend("floor", copy, str(self.bench.options.runs))) / 1e3
        for figure, floor in ((self.cold["rate"], statistics.median(cold)), (self.warm["rate"], warm)):
            figure.want_ratio(1.7, figure.median(OWN), floor, f"DuckDB's grouped sum ({floor:.3f} s)")

    def _peer_bytes(self, contender, server):
        """What the samples take once they are all in blocks."""
        if contender.family == PROMETHEUS:
            answer = server.api.post("/api/v1/admin/tsdb/snapshot")
            if answer.status != 200:
                raise BenchError(f"snapshot: {answer}")
            return data.disk_bytes(os.path.join(server.directory, "data", "snapshots", json.loads(answer.body)["data"]["name"]))
        server.api.get("/internal/force_flush")
        server.api.get("/internal/force_merge")
        self.bench.settle(server)
        return data.disk_bytes(os.path.join(server.directory, "data"))

    def _remote_read(self, contender, server):
        everything = (T0, T0 + self.data.seconds * SECOND, [(wire.EQUAL, "__name__", self.data.metric)])
        body = wire.snappy(wire.read_request([everything], (wire.STREAMED_XOR_CHUNKS,)))
        memory, rates, bytes_per_s = [], [], []
        for _ in range(self.bench.options.runs):
            timing.restart(server)
            idle = server.memory_bytes()
            took, answer = timing.read_body(server, body)
            memory.append(max(0, server.memory_peak_bytes() - idle))
            rates.append(self.data.samples / took)
            bytes_per_s.append(len(answer) / took)
        count = _samples_of_chunks(answer)
        if count != self.data.samples:
            raise BenchError(f"the remote read had {count} samples instead of {self.data.samples}")
        self.read_memory.add(contender.key, memory)
        self.read_rate.add(contender.key, rates)
        self.read_bytes.add(contender.key, bytes_per_s)

    def _during_ingest(self, contender, server):
        runs, ask = self.bench.options.runs, self.asks[0]
        idle = statistics.median(self.warm["rate"].values[contender.key])
        start = T0 + self.data.seconds * SECOND
        for n, (figure, rate) in enumerate(((self.busy, 0), (self.paced, PACED_RATE))):
            senders = data.loading(server, metric=f"ingest{n}", series=self.bench.options.ingest_series, scrapes=0, senders=SENDERS,
                                   batch=SAMPLES_PER_REQUEST, rate=rate, start=start)
            time.sleep(self.bench.options.ingest_lead)
            try:
                took = timing.warm(contender, server, ask, runs)
            finally:
                senders.terminate()
                said = data.loaded(senders, server)
            figure.add(contender.key, took)
            figure.marks[contender.key] = f"at {said['samples'] / said['seconds'] / 1e6:.2f} M/s"
            start += said["samples"] // self.bench.options.ingest_series * 15 * SECOND  # Prometheus takes nothing old
            if contender is self.bench.own:
                figure.want_ratio(2, statistics.median(took), idle, "idle")


def _median_ms(line):
    return float(line.split(" median ")[1].split()[0])


def _samples_of_chunks(body):
    """Of a streamed answer: the sum of the counts that stand in the chunks' first two bytes."""
    at = total = 0
    while at < len(body):
        length, at = wire.read_varint(body, at)
        at += 4  # the frame's checksum
        for number, series in wire.fields(body[at : at + length]):
            if number == 1:
                total += sum(int.from_bytes(dict(wire.fields(chunk))[4][:2], "big") for field, chunk in wire.fields(series) if field == 2)
        at += length
    return total


# --- D2: B2, B3 -------------------------------------------------------------------------------------------------------


class D2:
    """100 000 series × 24 h × 60 s."""

    def __init__(self, bench):
        self.bench, options = bench, bench.options
        self.data = DataSet("m", options.d2_series, options.d2_hours * 3600, 60)
        size = f"{self.data.series} series, {self.data.samples / 1e6:.1f} M samples"
        asks = (Ask("day", "sum by (le) (rate(m[1h]))", self.data.start, self.data.end, 300),
                Ask("topk", "topk(10, sum by (handler) (rate(m[5m])))", None, self.data.end - 60))
        self.figures = {"day": bench.figure("B2", f"`{asks[0].query}` · {size}, cold", "s"),
                        "topk": bench.figure("B3", f"`{asks[1].query}` · instant, {self.data.series} series, cold", "s")}
        self.warm = bench.figure("B3", "the same, warm", "s")
        hours = [t // HOUR_S * HOUR_S for t in (self.data.start + HOUR_S - 1, self.data.end)]
        self.hours = Ask("hours", asks[0].query, *hours, HOUR_S)
        self.hourly = bench.figure("B2", f"`{asks[0].query}` by the hour, warm", "s")
        self.rolled = bench.figure("B2", "the same from rollups of an hour", "s")
        self.asks = [a for a in asks if bench.wants(self.figures[a.figure].part)]
        bench.bars += [self.figures[a.figure] for a in self.asks]

    def run(self):
        with self.bench.entrants("D2", self.data) as entrants:
            self.bench.measure("D2", entrants, self.asks)
            self.bench.turns("D2", entrants, self._others, last=True)
        self.figures["day"].want_gain(10, PROMETHEUS, self.bench.peers)
        self.figures["topk"].want_gain(3, PROMETHEUS, self.bench.peers)

    def _others(self, entrant):
        contender, server, times = entrant.contender, entrant.server, entrant.times
        for ask in self.asks:
            self.figures[ask.figure].add(contender.key, times[ask.figure].cold)
        if "topk" in times:
            self.warm.add(contender.key, times["topk"].warm)
        if contender is self.bench.own:
            self.bench.compare_other_rules(server, self.asks)
            if self.bench.wants("B2"):
                self._rollups(contender, server, entrant.stage)

    def _rollups(self, contender, server, stage):
        """Of one store and its copy, which makes rollups; both run, and are asked in turns."""
        server.stop(timing.STOP_S)
        rolled = contender.start(stage, ("--storage.rollups.levels=1h",))
        rolled.stop(timing.STOP_S)
        data.copy_data(server, rolled)
        pairs, answers = ((self.hourly, server), (self.rolled, rolled)), []
        for figure, one in pairs:
            timing.start(one)
            self.bench.settle(one)
            answers.append(Outcome(timing.timed(contender, one, self.hours)[1]))
        for _ in range(self.bench.options.runs):
            for figure, one in pairs:
                figure.values.setdefault(OWN, []).append(timing.warm(contender, one, self.hours, 2)[1])
        self.rolled.want_ratio(0.1, self.rolled.median(OWN), self.hourly.median(OWN), "from all samples")
        wrong = timing.difference(self.hours, "3", *answers)
        self.bench.compared += 1
        if wrong:
            self.bench.wrong += 1
            self.bench.problem(f"WRONG ANSWER: {self.hours.query} from rollups: {wrong}")


# --- B4 ---------------------------------------------------------------------------------------------------------------


class SplitOverhead:
    """What it costs that Prometheus evaluates the rest: the whole query, less the engine's time for the fragment, less the
    same expression in that Prometheus over the fragment's result as samples of its own."""

    FRAGMENT = "sum by (le) (rate(small[5m]))"
    QUERIES = ("histogram_quantile(0.9, {})", 'label_replace({}, "x", "$1", "le", "(.*)")')
    STEP_S, WARM_UP = 60, 5

    def __init__(self, bench):
        self.bench = bench
        self.data = DataSet("small", 10, bench.options.d1_hours * 3600, 15)
        self.rows = []
        for query in self.QUERIES:
            whole = bench.figure("B4", f"`{query.format(self.FRAGMENT)}` · 10 series", "ms")
            self.rows.append((query, whole, bench.figure("B4", "more than its SQL and the same expression in Prometheus", "ms")))

    def run(self):
        self.bench.each("B4", self._own, [self.bench.own])
        for _, _, overhead in self.rows:
            overhead.want_at_most(OVERHEAD_MAX_S)

    def _ask(self, query):
        return Ask(query, query, self.data.start, self.data.end, self.STEP_S)

    def _own(self, contender, stage):
        server = contender.start(stage)
        upstream = self.bench.upstream(stage, server)
        for one in (server, upstream):
            self.bench.load(self.data, one)
        timing.restart(server)
        server.wait_for("/-/ready", 60)
        self._copy_fragment(contender, server, upstream)
        for query, whole, overhead in self.rows:
            self._measure(server, upstream, query, whole, overhead)

    def _copy_fragment(self, contender, server, upstream):
        """Its points become the samples of `native` in upstream."""
        answer = timing.timed(contender, server, self._ask(self.FRAGMENT))[1]
        series = [({"__name__": "native", **s["metric"]}, [(int(t * 1000), wire.float_bits(float(v))) for t, v in s["values"]])
                  for s in answer.json()["data"]["result"]]
        answer = upstream.api.write(series)
        if answer.status // 100 != 2:
            raise BenchError(f"upstream refuses the fragment's points: {answer}")

    def _measure(self, server, upstream, query, whole, overhead):
        newest, own = self.bench.newest_prometheus(), self.bench.own
        full, native = self._ask(query.format(self.FRAGMENT)), self._ask(query.format("native"))
        split, local, more = [], [], []
        for n in range(self.WARM_UP + 10 * self.bench.options.runs):
            before = timing.fragment_seconds(server)
            took, answer = timing.timed(own, server, full)
            sql = timing.fragment_seconds(server) - before
            alone = timing.timed(newest, upstream, native)[0]
            of_prometheus, want = timing.timed(newest, upstream, full)
            if n >= self.WARM_UP:
                split.append(took)
                local.append(of_prometheus)
                more.append(took - sql - alone)
        self.bench.outcomes[full.figure, newest.key] = Outcome(want)
        self.bench.keep_outcome(full, own, Outcome(answer))
        whole.add(OWN, split)
        whole.add(newest.key, local)
        overhead.add(OWN, more)


# --- the other half of B5 ---------------------------------------------------------------------------------------------


class Ingest:
    """50 senders, each with its own series and 2 000 samples of one scrape in a request."""

    def __init__(self, bench):
        self.bench = bench
        size = f"{SENDERS} senders × {SAMPLES_PER_REQUEST} samples, {bench.options.ingest_series} series"
        self.rate = bench.figure("B5", f"remote write · {size}", "M/s", more_is_better=True)
        self.slow = bench.figure("B5", "its requests, 99th percentile", "ms")

    def run(self):
        rates, slow = {}, {}
        with self.bench.entrants("B5") as entrants:
            for n in range(self.bench.options.runs):
                self.bench.turns("B5", entrants, lambda e: self._load(n, e, rates.setdefault(e.contender.key, []),
                                                                     slow.setdefault(e.contender.key, [])))
        for entrant in entrants:
            if not entrant.failed:
                self._keep(entrant.contender, rates[entrant.contender.key], slow[entrant.contender.key])
        self.rate.want_gain(2, PROMETHEUS, self.bench.peers)
        self.rate.want_gain(1, VICTORIA_METRICS, self.bench.peers)

    def _load(self, n, entrant, rates, slow):
        """The n-th: as many scrapes as before, right after them."""
        options = self.bench.options
        self.bench.say(f"B5: {entrant.contender.title}")
        said = data.load(entrant.server, metric="ingest", series=options.ingest_series, scrapes=options.ingest_scrapes,
                         senders=SENDERS, batch=SAMPLES_PER_REQUEST, start=T0 + n * options.ingest_scrapes * 15 * SECOND)
        self.bench.say_load(said)
        rates.append(said["samples"] / said["seconds"])
        slow.append(said["p99_ms"] / 1e3)
        data.disk_bytes(entrant.server.directory)

    def _keep(self, contender, rates, slow):
        self.rate.add(contender.key, rates)
        self.slow.add(contender.key, slow)
        if contender.family != OWN:
            self.rate.marks[contender.key] = "not synced"


# --- B8, B9 -----------------------------------------------------------------------------------------------------------


class Curve:
    """From 1 000 series up, ten times more each time, all in one store."""

    def __init__(self, bench):
        self.bench = bench
        numbers = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= bench.options.curve_most]
        self.sets = {n: DataSet(f"m{n}", n, bench.options.curve_minutes * 60, 60) for n in numbers}
        self.asks = {n: Ask(f"curve{n}", f"sum by (le) (rate(m{n}[5m]))", d.start, d.end, 60) for n, d in self.sets.items()}
        self.start = bench.figure("B8", f"start with {sum(numbers)} series, to the first answer", "s")
        self.figures = {n: bench.figure("B9", f"`{a.query}` · {n} series, {self.sets[n].samples / 1e6:g} M samples, warm", "s")
                        for n, a in self.asks.items()}
        if bench.wants("B9"):
            bench.curve.update(self.figures)

    def run(self):
        self.bench.each("B8, B9", self._contender)
        self.start.want_at_most(START_MAX_S)
        own = {n: f.median(OWN) for n, f in self.figures.items()}
        for n, figure in self.figures.items():
            if n // 10 in own:
                figure.want_ratio(10, own[n], own[n // 10], f"that of {n // 10} series")

    def _contender(self, contender, stage):
        runs, least = self.bench.options.runs, min(self.asks)
        server = contender.start(stage)
        for one in self.sets.values():
            self.bench.load(one, server)
        self.bench.settle(server)
        if self.bench.wants("B8"):
            self.start.add(contender.key, [self._start(contender, server, self.asks[least]) for _ in range(runs)])
        if self.bench.wants("B9"):
            self._grow(contender, server)

    def _grow(self, contender, server):
        """The sizes take turns: a machine's speed changes, and must not change between one and the next. Each is asked twice, since
        what came before has taken the processor's caches."""
        for n, ask in self.asks.items():
            took, answer = timing.timed(contender, server, ask)
            self.bench.say(f"  {n} series: {took:.3f} s")
            self.bench.keep_outcome(ask, contender, Outcome(answer))
        times = {n: [] for n in self.asks}
        for _ in range(self.bench.options.runs):
            for n, ask in self.asks.items():
                times[n].append(timing.warm(contender, server, ask, 2)[1])
        for n, figure in self.figures.items():
            figure.add(contender.key, times[n])

    def _start(self, contender, server, ask):
        server.stop(timing.STOP_S)
        began = time.monotonic()
        server.start(timing.START_S)
        timing.timed(contender, server, ask)
        return time.monotonic() - began


STAGES = ((D1, ("B1", "B5", "B6", "B7")), (D2, ("B2", "B3")), (SplitOverhead, ("B4",)), (Ingest, ("B5",)), (Curve, ("B8", "B9")))


def run_all(bench):
    for stage, parts in STAGES:
        if bench.wants(*parts):
            stage(bench).run()
    bench.figures.sort(key=lambda figure: figure.part)
