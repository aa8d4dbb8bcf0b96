"""Random queries over random samples (generate.py) in a real Prometheus and in promsplit; mismatches are shrunk.

One data set serves many queries. Workers are processes, because most of a query's time is the client's; each asks the
real Prometheus and every promsplit. What differs goes back to the main process, which asks whether Prometheus itself is
in two minds (rules.py), and shrinks what is left: first the query and its grid, then the data. For the latter, copies of
the data go to the same servers under other metric names.

Every run also counts how much is pushed (shares.py).
"""
import concurrent.futures
import math
import random
import time

import generate
import rules
import shares
from compare import Comparison, Outcome
from grids import Grid, seconds
from lib import dataset
from lib.api import Api
from lib.processes import Stage
from lib.wire import STALE_BITS, bits_float

CLASSES = ("selector", "window", "subquery", "aggregate", "select", "elementwise", "scalar", "binary", "set", "absent")
PER_DATA = 1500  # queries over one data set
WORKERS = 3
SHRUNK_MAX = 25  # mismatches shrunk in one run; further ones are counted
SHRINK_S = 40  # seconds for one


def subset(seed):
    """Some classes of --planner.push."""
    r = random.Random(seed)
    return ",".join(sorted(r.sample(CLASSES, r.randrange(2, len(CLASSES)))))


whole_minutes = False  # grids that rollups are read on; set before the workers start


def query_at(seed, major, n):
    """The n-th query of a data set and its grid."""
    generator = generate.Generator(seed * 1_000_003 + n, major)
    query, grid = generator.query(), generator.grid()
    return query, on_whole_minutes(grid, n) if whole_minutes else grid


def on_whole_minutes(grid, n):
    """Every third grid as it is, the others moved to whole minutes, or five of them."""
    unit = (0, dataset.MINUTE, 5 * dataset.MINUTE)[n % 3]
    if unit == 0:
        return grid
    start, step = grid.start // unit * unit, -(-grid.step // unit) * unit
    return Grid("random", start, start + (grid.end - grid.start) // max(grid.step, 1) * step, step)


# --- asking -----------------------------------------------------------------------------------------------------------


class Asker:
    """Connections of one process."""

    def __init__(self, peer, oracle_port, subject_ports):
        self.peer = peer
        self.annotations = not peer.startswith("2.")  # which has no infos in its answers
        self.oracle = Api(oracle_port)
        self.subjects = {name: Api(port) for name, port in subject_ports.items()}

    def differences(self, text, grid, subjects=None):
        """(what the oracle said, {subject: difference}) of one query."""
        raw = grid.ask(self.oracle, text)
        want = Outcome(raw)
        compare = Comparison(text, self.peer, self.annotations)
        found = {}
        for name in subjects or self.subjects:
            try:
                answer = grid.ask(self.subjects[name], text)
            except OSError as error:
                found[name] = f"no answer: {error}"
                continue
            if answer.body == raw.body and answer.status == raw.status:
                continue
            difference = compare.difference(want, Outcome(answer))
            if difference is not None:
                found[name] = difference
        return want, found


    def annotations_differ(self, text, grid, subject):
        """None unless they differ and nothing else does, else (annotations that lack, annotations too many)."""
        want, got = (Outcome(grid.ask(api, text)) for api in (self.oracle, self.subjects[subject]))
        if Comparison(text, self.peer).difference(want, got) is not None:
            return None
        sides = [{text for texts in outcome.annotations for text in texts} for outcome in (want, got)]
        return (sides[0] - sides[1], sides[1] - sides[0]) if sides[0] != sides[1] else None


_asker = None


def _start(*arguments):
    global _asker
    _asker = Asker(*arguments)


def _work(job):
    """One slice of a data set's queries: [(n, subject, difference)], errors, empty answers, shares."""
    seed, major, numbers = job
    found, errors, empty, pushed = [], 0, 0, shares.Shares()
    for n in numbers:
        node, grid = query_at(seed, major, n)
        want, differences = _asker.differences(node.text(), grid)
        errors += not want.ok
        empty += want.ok and not want.result
        if want.ok and "all" in _asker.subjects:
            pushed.count(_asker.subjects["all"], node, grid)
        found += [(n, subject, text) for subject, text in differences.items()]
    return found, errors, empty, pushed


# --- does Prometheus contradict itself? ---


def _points(outcome):
    """{timestamp: {label set: value}}; None for an error."""
    if not outcome.ok:
        return None
    if outcome.type in ("scalar", "string"):
        return {outcome.result[0]: {(): outcome.result[1]}}
    at = {}
    for series in outcome.result:
        for t, value in series.get("values") or [series["value"]]:
            at.setdefault(t, {})[tuple(sorted(series["metric"].items()))] = value
    return at


def _same(a, b, relative):
    if a == b:
        return True
    a, b = float(a), float(b)
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return (math.isnan(a) and math.isnan(b)) or a == b
    return abs(a - b) <= relative * max(abs(a), abs(b))


def _unstable(base, variants):
    """Timestamps at which an answer moved by more than what the comparison allows for, or None: everything."""
    out = set()
    for variant in variants:
        if variant is None:
            return None
        for t in base.keys() | variant.keys():
            a, b = base.get(t, {}), variant.get(t, {})
            if a.keys() != b.keys() or not all(_same(a[k], b[k], rules.RELATIVE / 20) for k in a):
                out.add(t)
    return out


def contradicts_itself(asker, node, grid, subject):
    """Whether what differs does so only where moved roundings make Prometheus give other answers too."""
    if not rules.is_open(node):
        return False
    if rules.counts_last_bits(node):
        return True
    base = _points(Outcome(grid.ask(asker.oracle, node.text())))
    got = _points(Outcome(grid.ask(asker.subjects[subject], node.text())))
    variants = [_points(Outcome(grid.ask(asker.oracle, rules.moved(node, sign).replace("\0", "")))) for sign in "+-"]
    if base is None:
        return any(variant is not None for variant in variants)
    unstable = _unstable(base, variants)
    if unstable is None:
        return True
    if got is None:
        return False
    for t in (base.keys() | got.keys()) - unstable:
        a, b = base.get(t, {}), got.get(t, {})
        if a.keys() != b.keys() or not all(_same(a[k], b[k], rules.RELATIVE) for k in a):
            return False
    return bool(unstable)


def has_ties(asker, node, grid):
    """Whether topk or bottomk inside the query must choose among equals. In a subquery they are looked for on a grid
    that covers its range."""
    for operand in rules.choices(node):
        wide = Grid("ties", grid.start - 2 * dataset.HOUR, grid.end, 30 * dataset.SECOND)
        for at in (grid, wide):
            points = _points(Outcome(at.ask(asker.oracle, operand.text())))
            for values in (points or {}).values():
                if len(set(values.values())) < len(values):
                    return True
    return False


def excused(asker, node, grid, subject):
    annotations = asker.annotations_differ(node.text(), grid, subject)
    if annotations:
        return rules.remark_may_lack(node, *annotations)
    return (rules.choices(node) and has_ties(asker, node, grid)) or contradicts_itself(asker, node, grid, subject)


# --- shrinking --------------------------------------------------------------------------------------------------------


class Shrinker:
    copies = 0  # of data, of the whole run: no name may come twice

    def __init__(self, asker, world, series, subject):
        self.asker, self.world, self.series, self.subject = asker, world, series, subject
        self.deadline = time.monotonic() + SHRINK_S

    def fails(self, node, grid, suffix=""):
        _, found = self.asker.differences(node.text(suffix), grid, [self.subject])
        return self.subject in found and (suffix or not excused(self.asker, node, grid, self.subject))

    def late(self):
        return time.monotonic() > self.deadline

    def query(self, node, grid):
        again = True
        while again and not self.late():
            again = False
            for smaller in node.smaller():
                if len(smaller.text()) < len(node.text()) and self.fails(smaller, grid):
                    node, again = smaller, True
                    break
                if self.late():
                    break
        return node

    def grid(self, node, grid):
        if grid.step == 0:
            return grid
        for t in range(grid.start, grid.end + 1, grid.step):
            instant = Grid("shrunk", t)
            if self.late() or self.fails(node, instant):
                return instant if not self.late() else grid
        return grid

    def data(self, node, grid):
        """The fewest series, then samples, with which it still fails."""
        series = [s for s in self.series if s[0]["__name__"] in node.metrics()]
        if not self._fails_with(node, grid, series):
            return series
        series = self._fewest(series, lambda kept: self._fails_with(node, grid, kept))
        for n, (labels, samples) in enumerate(series):

            def without(kept, n=n, labels=labels):
                return self._fails_with(node, grid, series[:n] + [(labels, kept)] + series[n + 1 :])

            series[n] = (labels, self._fewest(samples, without))
        return series

    def _fewest(self, items, fails):
        size = max(1, len(items) // 2)
        while not self.late():
            at = 0
            while at < len(items) and len(items) > 1 and not self.late():
                kept = items[:at] + items[at + size :]
                if kept and fails(kept):
                    items = kept
                else:
                    at += size
            if size == 1:
                break
            size //= 2
        return items

    def _fails_with(self, node, grid, series):
        """Under metric names of their own, so that the servers need not be emptied."""
        Shrinker.copies += 1
        suffix = f"_copy{Shrinker.copies}"
        copy = [({**labels, "__name__": labels["__name__"] + suffix}, samples) for labels, samples in series]
        for api in (self.asker.oracle, self.asker.subjects[self.subject]):
            dataset.load(api, copy)
        return self.fails(node, grid, suffix)


def _sample_text(sample):
    bits = sample[1]
    value = "stale" if bits == STALE_BITS else repr(bits_float(bits))
    return f"{seconds(sample[0])}:{value}"


def describe(peer, subject, seed, n, node, grid, series, text):
    lines = [f"MISMATCH Prometheus {peer}, push={subject}, seed {seed} query {n}, {grid}", f"   {node.text()}"]
    lines += ["      " + line for line in text.splitlines()]
    lines.append(f"   {sum(len(s) for _, s in series)} samples in {len(series)} series:")
    for labels, samples in series[:6]:
        shown = " ".join(_sample_text(s) for s in samples[:12])
        lines.append(f"      {labels} {shown}{' …' if len(samples) > 12 else ''}")
    return "\n".join(lines)


# --- the campaign -----------------------------------------------------------------------------------------------------


class Campaign:
    def __init__(self, peer, pushes, options, report, world):
        self.peer, self.pushes, self.options, self.report, self.new_world = peer, pushes, options, report, world
        self.major = int(peer.split(".")[0])
        self.rolled = 0  # fragments that read rollups
        self.queries = self.errors = self.empty = self.excused = self.shrunk = self.more = 0
        self.seen = set()
        self.shares = shares.Shares()

    def run(self):
        left, seed = self.options.random, self.options.seed
        while left > 0:
            count = min(left, PER_DATA)
            self.data_set(seed, count)
            left -= count
            seed += 1
        self.summary(seed)

    def data_set(self, seed, count):
        series = generate.samples(seed, self.major >= 3)
        pushes = [subset(seed) if push == "random" else push for push in self.pushes]
        with Stage(self.options.keep) as stage:
            rollups = ("made", "late")[seed % 2] if self.options.rollups else None
            world = self.new_world(stage, self.peer, list(dict.fromkeys(pushes)), series, rollups=rollups)
            ports = (self.peer, world.oracle.port, {name: api.port for name, api in world.subjects.items()})
            jobs = [(seed, self.major, range(at, min(at + 25, count))) for at in range(0, count, 25)]
            with concurrent.futures.ProcessPoolExecutor(WORKERS, initializer=_start, initargs=ports) as pool:
                results = list(pool.map(_work, jobs))
            asker = Asker(*ports)
            for found, errors, empty, pushed in results:
                self.errors += errors
                self.empty += empty
                self.shares.add(pushed)
                self.report.failed += len(found)
                for n, subject, text in found:
                    self.mismatch(asker, world, series, seed, n, subject, text)
            self.queries += count
            self.rolled += sum(api.metric("promsplit_fragments_total", '{kind="rollup"}') or 0 for api in world.subjects.values())
            self.report.ok(count * len(world.subjects) - sum(len(found) for found, *_ in results))

    def mismatch(self, asker, world, series, seed, n, subject, text):
        node, grid = query_at(seed, self.major, n)
        if excused(asker, node, grid, subject):
            self.excused += 1
            self.report.failed -= 1
            if self.options.show:
                print(f"EXCUSED by rule: seed {seed} query {n}, push={subject}, {grid}\n   {node.text()}\n      {text}", flush=True)
            return
        if self.shrunk >= SHRUNK_MAX:
            self.more += 1
            print(f"   further: seed {seed} query {n}, push={subject}, {grid}: {node.text()}", flush=True)
            return
        shrinker = Shrinker(asker, world, series, subject)
        node = shrinker.query(node, grid)
        grid = shrinker.grid(node, grid)
        node = shrinker.query(node, grid)
        key = (subject, node.text())
        if key in self.seen:
            self.more += 1
            return
        self.seen.add(key)
        self.shrunk += 1
        fewest = shrinker.data(node, grid)
        text = asker.differences(node.text(""), grid, [subject])[1].get(subject, text)
        print(describe(self.peer, subject, seed, n, node, grid, fewest, text), flush=True)

    def summary(self, seed):
        print(f"Prometheus {self.peer}: {self.queries} random queries (seeds {self.options.seed} to {seed - 1}) against "
              f"{', '.join(self.pushes)}; {self.errors} were errors, {self.empty} empty; {self.excused} answers in which "
              f"Prometheus contradicts itself; {self.shrunk} mismatches shown, {self.more} more", flush=True)
        if self.options.rollups:
            print(f"   {self.rolled:.0f} fragments read rollups", flush=True)
        print(f"   with push=all: {self.shares.summary()}", flush=True)


def run(peer, pushes, options, report, world, pushed=None):
    """Returns the shares of what was pushed, `pushed` included, and a clause that says of how many queries."""
    global whole_minutes
    whole_minutes = options.rollups
    campaign = Campaign(peer, pushes, options, report, world)
    campaign.run()
    if pushed:
        campaign.shares.add(pushed)
    return campaign.shares, f"{campaign.queries} random queries for Prometheus {peer}"
