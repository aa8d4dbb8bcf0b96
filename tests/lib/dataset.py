"""Samples for tests: the same for the same seed, on every machine, with everything that makes PromQL hard.

`build(seed)` makes the data set that queries.txt is written for. Times are ms; the set covers [T0, T0 + SPAN).
"""
import math
import random

from lib.wire import NAN_BITS, STALE_BITS, float_bits

T0 = 1_699_999_200_000  # a full hour, so that aligned scrapes and aligned steps meet
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
SPAN = 2 * HOUR
SCRAPE = 15 * SECOND


class Family:
    """Collects series; every helper draws from the one seeded generator, so order of calls is part of the data."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.series = []

    def add(self, labels, samples):
        self.series.append((dict(labels), [(t, v if isinstance(v, int) else float_bits(v)) for t, v in samples]))

    # --- when ---

    def aligned(self, start=T0, end=T0 + SPAN, interval=SCRAPE):
        return list(range(start, end, interval))

    def jittered(self, start=T0, end=T0 + SPAN, interval=SCRAPE, jitter=400):
        phase = self.random.randrange(interval)
        return [t + phase + self.random.randrange(-jitter, jitter + 1) for t in range(start, end - interval, interval)]

    def without(self, times, *gaps):
        """times less those inside gaps, given in minutes since T0."""
        return [t for t in times if not any(a * MINUTE <= t - T0 < b * MINUTE for a, b in gaps)]

    # --- what ---

    def counter(self, times, per_second=3.0, reset_chance=0.01, whole=True):
        value, last, out = self.random.randrange(1000), None, []
        for t in times:
            if last is not None:
                step = self.random.random() * 2 * per_second * (t - last) / 1000
                value += round(step) if whole else step
                if self.random.random() < reset_chance:
                    value = self.random.randrange(5)
            last = t
            out.append((t, float(value)))
        return out

    def gauge(self, times, middle=100.0, swing=40.0):
        phase = self.random.random() * 6.3
        return [
            (t, middle + swing * math.sin(phase + (t - T0) / 600_000) + self.random.gauss(0, swing / 10)) for t in times
        ]

    def ended(self, samples, minute):
        """samples before `minute`, then a staleness marker."""
        kept = [s for s in samples if s[0] < T0 + minute * MINUTE]
        return kept + [(kept[-1][0] + SCRAPE, STALE_BITS)]


def _counters(f):
    for instance in ("a:9100", "b:9100", "c:9100"):
        for handler in ("/", "/api/v1/query"):
            for code in ("200", "500"):
                labels = {"__name__": "http_requests_total", "job": "web", "instance": instance, "handler": handler}
                if not (instance == "c:9100" and code == "500"):
                    labels["code"] = code  # one instance has a series without `code`
                f.add(labels, f.counter(f.jittered(), per_second=5 if code == "200" else 0.2))
    for instance in ("a:9100", "b:9100"):
        labels = {"__name__": "cpu_seconds_total", "instance": instance, "job": "node"}
        for mode in ("user", "system", "idle"):
            f.add({**labels, "mode": mode, "cpu": "0"}, f.counter(f.aligned(), 0.4, 0.004, whole=False))
    f.add({"__name__": "restarts_total", "pod": "often"}, f.counter(f.aligned(), 8, 0.3))
    f.add({"__name__": "restarts_total", "pod": "never"}, f.counter(f.aligned(), 2, 0))
    f.add({"__name__": "restarts_total", "pod": "still"}, [(t, 42.0) for t in f.aligned()])
    f.add({"__name__": "errors_total", "job": "web", "instance": "a:9100"}, f.counter(f.jittered(), 0.05, 0.02))
    f.add({"__name__": "errors_total", "job": "web", "instance": "b:9100"}, f.counter(f.jittered(), 0.5, 0.02))


def _histograms(f):
    bounds = ("0.005", "0.05", "0.25", "0.5", "1", "2.5", "10", "+Inf")
    for instance in ("a:9100", "b:9100"):
        for path in ("/", "/metrics"):
            times = f.jittered() if instance == "a:9100" else f.aligned()
            labels = {"job": "web", "instance": instance, "path": path}
            total, rates = 0.0, sorted(f.random.random() for _ in bounds)
            buckets = {le: [] for le in bounds}
            sums, count = [], [0.0] * len(bounds)
            for n, t in enumerate(times):
                if n == 200:
                    count, total = [0.0] * len(bounds), 0.0  # the process was restarted
                hits = [round(r * f.random.randrange(1, 30)) for r in rates]
                for i, le in enumerate(bounds):
                    count[i] += max(hits[: i + 1])
                    buckets[le].append((t, count[i]))
                total += f.random.random() * hits[-1]
                sums.append((t, total))
            base = "http_request_duration_seconds"
            for le in bounds:
                f.add({"__name__": base + "_bucket", "le": le, **labels}, buckets[le])
            f.add({"__name__": base + "_count", **labels}, buckets["+Inf"])
            f.add({"__name__": base + "_sum", **labels}, sums)


def _gauges(f):
    for n, instance in enumerate(("a:9100", "b:9100", "c:9100")):
        labels = {"__name__": "memory_bytes", "job": "node", "instance": instance}
        f.add({**labels, "node": f"n{n % 2}", "kind": "used"}, f.gauge(f.aligned(), 6e8, 2e8))
        f.add({**labels, "kind": "free"}, f.gauge(f.aligned(), 2e9, 1e8))  # without `node`
        f.add({"__name__": "temperature", "sensor": f"s{n}"}, f.gauge(f.jittered(), 20 - 25 * n, 15))
        f.add({"__name__": "up", "job": "node", "instance": instance},
              [(t, float(f.random.random() > 0.1)) for t in f.without(f.aligned(), (20, 23), (50, 58 + n))])
    f.add({"__name__": "limit_bytes", "job": "node", "instance": "a:9100"}, [(t, 1e9) for t in f.aligned()])
    f.add({"__name__": "limit_bytes", "job": "node", "instance": "b:9100"}, [(t, 7e8) for t in f.aligned()])
    for pod, minute in (("p1", 35), ("p2", 61), ("p3", 80)):
        times = f.aligned(T0 + 5 * MINUTE)
        f.add({"__name__": "vanishing", "pod": pod, "team": "x" if pod == "p1" else "y"},
              f.ended(f.gauge(times, 10, 5), minute))
    back = f.ended(f.gauge(f.aligned(), 5, 2), 30) + f.gauge(f.aligned(T0 + 40 * MINUTE), 5, 2)
    f.add({"__name__": "vanishing", "pod": "back", "team": "x"}, back)
    f.add({"__name__": "late", "pod": "l"}, f.gauge(f.jittered(T0 + 45 * MINUTE), 1, 1))
    f.add({"__name__": "slow", "every": "4m"}, f.gauge(f.aligned(interval=4 * MINUTE), 3, 1))
    f.add({"__name__": "slow", "every": "5m"}, f.gauge(f.aligned(interval=5 * MINUTE), 3, 1))
    f.add({"__name__": "slow", "every": "6m"}, f.gauge(f.aligned(interval=6 * MINUTE), 3, 1))
    f.add({"__name__": "single"}, [(T0 + 50 * MINUTE, 7.0)])


def _odd_values(f):
    special = [NAN_BITS, float_bits(math.inf), float_bits(-math.inf), float_bits(-0.0), NAN_BITS | 0x1234, STALE_BITS]
    for kind, chance in (("rare", 0.02), ("common", 0.4)):
        f.add({"__name__": "odd", "kind": kind},
              [(t, f.random.choice(special) if f.random.random() < chance else v) for t, v in f.gauge(f.aligned(), 0, 3)])
    f.add({"__name__": "odd", "kind": "infinite"}, [(t, math.inf) for t in f.aligned()])
    f.add({"__name__": "odd", "kind": "nan"}, [(t, NAN_BITS) for t in f.aligned()])
    f.add({"__name__": "odd", "kind": "minus_zero"}, [(t, -0.0) for t in f.aligned()])
    f.add({"__name__": "odd", "kind": "blinking"},
          [(t, STALE_BITS if n % 3 == 0 else float(n)) for n, t in enumerate(f.aligned(interval=MINUTE))])
    for n in range(3):
        f.add({"__name__": "huge", "n": str(n)}, [(t, 1.1e308 + n * 1e307) for t in f.aligned()])
        f.add({"__name__": "tiny", "n": str(n)}, [(t, (n + 1) * 1e-300 * (t % 7 + 1)) for t in f.aligned()])
    # what only compensated summing adds up to the right number
    f.add({"__name__": "cancel", "n": "0"}, [(t, (1e16, 1.0, -1e16, 1.0)[i % 4]) for i, t in enumerate(f.aligned())])


def _odd_labels(f):
    for name, n in (("größe", 1), ("漢字", 2), ('quote"back\\slash', 3), ("new\nline", 4), ("a b,c=d", 5)):
        f.add({"__name__": "text", "version": name, "same": "x"}, f.gauge(f.aligned(), n, 0.5))
    f.add({"__name__": "text", "same": "x"}, f.gauge(f.aligned(), 9, 0.5))
    # equal once the name is gone
    f.add({"__name__": "dup_a", "x": "1"}, f.counter(f.aligned(), 1, 0))
    f.add({"__name__": "dup_b", "x": "1"}, f.counter(f.aligned(), 1, 0))
    f.add({"__name__": "dup_b", "x": "2"}, f.counter(f.aligned(), 1, 0))
    # equal values: every ordering has ties
    for n in range(4):
        f.add({"__name__": "ties", "n": str(n), "half": str(n // 2)}, [(t, float(n // 2)) for t in f.aligned()])


def _utf8_names(f):
    f.add({"__name__": "my.metric", "dotted.label": "v", "job": "utf8"}, f.gauge(f.aligned(), 4, 1))
    f.add({"__name__": "my.metric", "dotted.label": "w", "job": "utf8"}, f.gauge(f.aligned(), 6, 1))


def _infos(f):
    """What info() joins: of each instance one series, two that follow each other, two at once, or none."""
    def target(job, instance, times, **labels):
        f.add({"__name__": "target_info", "job": job, "instance": instance, **labels}, [(t, 1.0) for t in times])

    target("node", "a:9100", f.aligned(), region="eu", node="info", host="h1")
    target("web", "a:9100", f.jittered(), host="h9")
    target("web", "b:9100", f.aligned(), host="h2")
    target("web", "b:9100", f.aligned(), host="h3")
    for instance, version in (("a:9100", "1.2"), ("b:9100", "1.3"), ("c:9100", "1.3")):
        f.add({"__name__": "build_info", "job": "node", "instance": instance, "version": version, "host": "built"},
              [(t, 1.0) for t in f.aligned()])
    target("node", "b:9100", [t for t in f.aligned() if t < T0 + 40 * MINUTE], region="us", host="old")
    target("node", "b:9100", f.aligned(T0 + 40 * MINUTE), region="us", host="new")


def build(seed=1, utf8_names=True):
    """List of (labels, samples). Names that are not plain identifiers are for Prometheus 3 only."""
    f = Family(seed)
    for part in (_counters, _histograms, _gauges, _odd_values, _odd_labels):
        part(f)
    if utf8_names:
        _utf8_names(f)
    _infos(f)
    return f.series


def batches(series, slice_ms=10 * MINUTE, samples_max=20_000):
    """The same samples as lists of series, in time order: what a sender would send, and a head block accepts."""
    slots = {}
    for n, (labels, samples) in enumerate(series):
        for sample in samples:
            slots.setdefault(sample[0] // slice_ms, {}).setdefault(n, []).append(sample)
    for slot in sorted(slots):
        batch, size = [], 0
        for n, samples in slots[slot].items():
            batch.append((series[n][0], samples))
            size += len(samples)
            if size >= samples_max:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def shifted(series, by_ms):
    return [(labels, [(timestamp + by_ms, bits) for timestamp, bits in samples]) for labels, samples in series]


def since(series, at_ms):
    """What of it is not older; series that are left without samples are gone."""
    rest = [(labels, [sample for sample in samples if sample[0] >= at_ms]) for labels, samples in series]
    return [(labels, samples) for labels, samples in rest if samples]


def late_batches(series, random):
    """The same batches, but half of the samples come late: held back, and sent after some later batches, shuffled."""
    held = []
    for batch in batches(series):
        on_time = []
        for labels, samples in batch:
            late = {n for n in range(len(samples) - 1) if random.random() < 0.5}
            on_time.append((labels, [sample for n, sample in enumerate(samples) if n not in late]))
            held += [(labels, samples[n]) for n in late]
        yield on_time
        random.shuffle(held)
        send, held = held[: len(held) // 2], held[len(held) // 2 :]
        yield [(labels, [sample]) for labels, sample in send]
    yield [(labels, [sample]) for labels, sample in held]


def hold_back(series, random):
    """(the same series without some of their samples, those): none of the latest, most of them short runs."""
    on_time, held = [], []
    for labels, samples in series:
        late, n = set(), 0
        while n < len(samples) - 1:
            if random.random() < 0.05:
                late.update(range(n, min(n + random.choice((1, 1, 3, 20)), len(samples) - 1)))
                n = max(late)
            n += 1
        on_time.append((labels, [sample for n, sample in enumerate(samples) if n not in late]))
        held.append((labels, [samples[n] for n in sorted(late)]))
    return on_time, [(labels, samples) for labels, samples in held if samples]


def load(api, series, cut=batches):
    """Writes everything; returns the number of samples. The first refusal is an error."""
    count = 0
    for batch in cut(series):
        answer = api.write(batch)
        if answer.status not in (200, 204):
            raise RuntimeError(f"remote write refused: {answer}")
        count += sum(len(samples) for _, samples in batch)
    return count
