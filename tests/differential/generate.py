"""Random samples and random, type-correct PromQL over them: the same for the same seed.

`samples(seed, utf8)` makes one data set: counters with resets, gauges, classic histograms with odd `le`s, series that
come, go and come back, staleness markers, NaN, infinities, -0, huge and tiny values, ties, missing labels, aligned and
jittered scrapes, samples sent twice. `Generator(seed, major)` makes queries and grids that fit it.

A query is a tree (Node), so that a mismatch can be shrunk by its parts and its roundings can be perturbed (rules.py).
"""
import math
import random

from grids import Grid
from lib.dataset import MINUTE, SECOND, T0
from lib.wire import NAN_BITS, STALE_BITS, float_bits

SPAN = 70 * MINUTE

# Families: name, labels worth grouping by, what its values are like.
COUNTER, GAUGE, HISTOGRAM, ODD, CONSTANT = "counter", "gauge", "histogram", "odd", "constant"


class Family:
    def __init__(self, name, labels, kind, utf8=False):
        self.name, self.labels, self.kind, self.utf8 = name, labels, kind, utf8


FAMILIES = (
    Family("c_total", ("job", "instance", "code"), COUNTER),
    Family("d_total", ("job", "instance"), COUNTER),
    Family("still_total", ("pod",), COUNTER),
    Family("g", ("job", "instance", "zone"), GAUGE),
    Family("whole", ("job", "instance"), GAUGE),
    Family("sparse", ("pod", "zone"), GAUGE),
    Family("slow", ("every",), GAUGE),
    Family("h_bucket", ("job", "instance", "le"), HISTOGRAM),
    Family("h_sum", ("job", "instance"), COUNTER),
    Family("h_count", ("job", "instance"), COUNTER),
    Family("odd", ("kind", "job"), ODD),
    Family("ties", ("n", "half"), CONSTANT),
    Family("limit", ("job", "instance"), CONSTANT),
    Family("pod_info", ("pod", "zone", "node"), CONSTANT),
    Family("text", ("word",), GAUGE),
    Family("my.metric", ("dotted.label", "job"), GAUGE, utf8=True),
)


# --- samples -----------------------------------------------------------------------------------------------------------


class Data:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.series = []

    def add(self, name, labels, samples):
        bits = [(t, v if isinstance(v, int) else float_bits(v)) for t, v in samples]
        self.series.append(({"__name__": name, **labels}, bits))

    def times(self):
        r = self.random
        interval = r.choice((10, 15, 15, 30, 60)) * SECOND
        phase = r.choice((0, 0, r.randrange(interval)))
        jitter = r.choice((0, 0, 5, 400, 2000))
        all_ = [t + phase + (r.randrange(-jitter, jitter + 1) if jitter else 0) for t in range(T0, T0 + SPAN, interval)]
        if r.random() < 0.4:  # a gap
            begin = T0 + r.randrange(SPAN)
            all_ = [t for t in all_ if not begin <= t < begin + r.choice((1, 3, 6, 12)) * MINUTE]
        return sorted(set(all_))

    def counter(self, times, whole=True):
        r = self.random
        value, resets, out = r.randrange(1000) * 1.0, r.choice((0, 0.01, 0.05)), []
        speed = r.choice((0.01, 1, 30))
        for t in times:
            value += r.randrange(20) * speed if whole else r.random() * speed
            if r.random() < resets:
                value = r.randrange(3) * 1.0
            if whole:
                value = float(math.floor(value))
            out.append((t, value))
        return out

    def gauge(self, times):
        r = self.random
        middle, swing, phase = r.choice((0, 50, 1e9, -3)), r.choice((0.5, 40, 1e3)), r.random() * 6
        return [(t, middle + swing * math.sin(phase + (t - T0) / 4e5) + r.gauss(0, swing / 8)) for t in times]

    def whole(self, times):
        return [(t, float(self.random.randrange(-8, 9))) for t in times]

    def spoilt(self, samples):
        """Some of the values replaced by odd ones."""
        r = self.random
        odd = (NAN_BITS, NAN_BITS | 77, float_bits(math.inf), float_bits(-math.inf), float_bits(-0.0), 0.0, STALE_BITS)
        chance = r.choice((0.02, 0.2, 0.6))
        return [(t, r.choice(odd) if r.random() < chance else v) for t, v in samples]

    def cut(self, samples):
        """Ends with a marker; may come back."""
        r = self.random
        end = T0 + r.randrange(5, 60) * MINUTE
        kept = [s for s in samples if s[0] < end]
        rest = [s for s in samples if s[0] >= end]
        if kept and rest and r.random() < 0.8:
            kept.append((rest[0][0], STALE_BITS))
        if r.random() < 0.5:
            back = end + r.randrange(1, 20) * MINUTE
            kept += [s for s in rest[1:] if s[0] >= back]
        return kept


def _requests(d):
    r = d.random
    for job in ("web", "db"):
        for instance in ("a", "b", "c")[: r.randrange(1, 4)]:
            for code in ("200", "500", None):
                if r.random() < 0.75:
                    labels = {"job": job, "instance": instance, **({"code": code} if code else {})}
                    d.add("c_total", labels, d.counter(d.times()))
            if r.random() < 0.8:
                d.add("d_total", {"job": job, "instance": instance}, d.counter(d.times(), whole=False))
            if r.random() < 0.8:
                d.add("limit", {"job": job, "instance": instance}, [(t, r.choice((1.0, 100.0))) for t in d.times()])
            d.add("g", {"job": job, "instance": instance, **({"zone": "z1"} if r.random() < 0.6 else {})},
                  d.gauge(d.times()))
            d.add("whole", {"job": job, "instance": instance}, d.whole(d.times()))
    for pod in ("p1", "p2"):
        d.add("still_total", {"pod": pod}, [(t, 42.0) for t in d.times()])


def _histograms(d):
    r = d.random
    for instance in ("a", "b"):
        bounds = sorted(r.sample((0.005, 0.1, 0.5, 1, 2.5, 10, 100, 1e6), r.randrange(2, 6)))
        names = [f"{b:g}" for b in bounds] + (["+Inf"] if r.random() < 0.8 else []) + (["odd"] if r.random() < 0.2 else [])
        times, counts = d.times(), [0.0] * len(names)
        buckets = [[] for _ in names]
        for t in times:
            if r.random() < 0.01:
                counts = [0.0] * len(names)
            hit = r.randrange(len(names))
            counts = [c + (r.randrange(4) if i >= hit else 0) for i, c in enumerate(counts)]
            if r.random() < 0.9:
                counts = [max(counts[: i + 1]) for i in range(len(counts))]
            for i, c in enumerate(counts):
                buckets[i].append((t, c))
        for le, values in zip(names, buckets):
            d.add("h_bucket", {"job": "web", "instance": instance, "le": le}, values)
        d.add("h_count", {"job": "web", "instance": instance}, buckets[-1])
        d.add("h_sum", {"job": "web", "instance": instance}, d.counter(times, whole=False))


def _others(d):
    r = d.random
    for n in range(5):
        labels = {"pod": f"p{n}", **({"zone": f"z{n % 2}"} if n != 3 else {})}
        d.add("sparse", labels, d.cut(d.gauge(d.times())))
        if n != 4:
            d.add("pod_info", {**labels, "node": f"n{n % 3}"}, [(t, 1.0) for t in d.times()])
    for every in (4, 5, 6):
        d.add("slow", {"every": f"{every}m"}, [(T0 + n * every * MINUTE, float(n % 4)) for n in range(SPAN // MINUTE // every)])
    for kind in ("rare", "often", "plain"):
        samples = d.whole(d.times())
        d.add("odd", {"kind": kind, **({"job": "web"} if r.random() < 0.5 else {})},
              samples if kind == "plain" else d.spoilt(samples))
    d.add("odd", {"kind": "infinite"}, [(t, r.choice((math.inf, math.inf, -math.inf))) for t in d.times()])
    d.add("odd", {"kind": "nan"}, [(t, NAN_BITS) for t in d.times()])
    d.add("odd", {"kind": "huge"}, [(t, r.choice((1.2e308, 9e307))) for t in d.times()])
    d.add("odd", {"kind": "tiny"}, [(t, r.random() * 1e-300) for t in d.times()])
    for n in range(4):
        d.add("ties", {"n": str(n), "half": str(n // 2)}, [(t, float(n // 2)) for t in d.times()])
    for word in ("größe", "漢字", 'a"b\\c', "new\nline", "x,y=z"):
        d.add("text", {"word": word}, d.whole(d.times()))


def _add_metadata_labels(r, series):
    """What Prometheus 3.5 drops with the name; some series differ in nothing else."""
    for labels, values in list(series):
        twin = r.random() < 0.03
        if r.random() < 0.7:
            labels["__type__"] = "counter" if labels["__name__"].endswith("_total") else r.choice(("gauge", "unknown"))
        if r.random() < 0.2:
            labels["__unit__"] = "bytes"
        if twin and values:
            series.append(({**labels, "__unit__": "twin"}, values[: len(values) // 2]))


def samples(seed, utf8):
    """[(labels, [(ms, value bits)])]. Names that are not plain identifiers only with utf8."""
    d = Data(seed)
    for part in (_requests, _histograms, _others):
        part(d)
    if utf8:
        for value in ("v", "w"):
            d.add("my.metric", {"dotted.label": value, "job": "web"}, d.gauge(d.times()))
    r = random.Random(seed + 1)
    if seed % 4 == 3:
        _add_metadata_labels(r, d.series)
    for _, values in d.series:
        if r.random() < 0.1 and values:  # some samples are sent twice
            at = r.randrange(len(values))
            values.insert(at, values[at])
    return [series for series in d.series if series[1]]


# --- trees -------------------------------------------------------------------------------------------------------------

VECTOR, SCALAR, MATRIX = "vector", "scalar", "matrix"


class Node:
    """Pieces of text and operands. `what` is the function, aggregation or operator; "" for the rest. `plain` are
    variants of the node with less in it, for shrinking."""

    def __init__(self, type_, pieces, what="", labels=(), plain=(), metric=None):
        self.type, self.pieces, self.what, self.labels, self.plain = type_, tuple(pieces), what, tuple(labels), plain
        self.metric = metric

    def operands(self):
        return [p for p in self.pieces if isinstance(p, Node)]

    def text(self, suffix=""):
        """suffix goes behind every metric name: the same query over another copy of the data."""
        if self.metric is not None:
            return "".join(self.pieces).replace("\0", suffix)
        return "".join(p.text(suffix) if isinstance(p, Node) else p for p in self.pieces)

    def replaced(self, old, new):
        if self is old:
            return new
        if not any(isinstance(p, Node) for p in self.pieces):
            return self
        pieces = [p.replaced(old, new) if isinstance(p, Node) else p for p in self.pieces]
        same = all(a is b for a, b in zip(pieces, self.pieces))
        return self if same else Node(self.type, pieces, self.what, self.labels, self.plain, self.metric)

    def walk(self):
        yield self
        for operand in self.operands():
            yield from operand.walk()

    def metrics(self):
        return {node.metric for node in self.walk() if node.metric}

    def smaller(self):
        """Trees that differ from this one by less in one place, most promising first."""
        for node in self.walk():
            for other in node.walk():
                if other is not node and other.type == node.type:
                    yield self.replaced(node, other)
        for node in self.walk():
            for plain in node.plain:
                yield self.replaced(node, plain)


def number(text):
    plain = () if text in ("1", "2") else (Node(SCALAR, ("1",)), Node(SCALAR, ("2",)))
    return Node(SCALAR, (text,), plain=plain)


# --- queries -----------------------------------------------------------------------------------------------------------

RANGE_FUNCTIONS = (
    "rate", "rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv", "sum_over_time", "avg_over_time",
    "min_over_time", "max_over_time", "count_over_time", "last_over_time", "present_over_time", "stddev_over_time",
    "stdvar_over_time", "quantile_over_time", "predict_linear", "absent_over_time", "holt_winters", "mad_over_time",
    "ts_of_last_over_time", "ts_of_max_over_time", "ts_of_min_over_time",
)  # fmt: skip
SINCE_3 = ("mad_over_time", "ts_of_last_over_time", "ts_of_max_over_time", "ts_of_min_over_time")
ELEMENTWISE = (
    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad", "minute", "hour", "day_of_week", "day_of_month", "day_of_year",
    "days_in_month", "month", "year", "round", "clamp", "clamp_min", "clamp_max", "timestamp",
)  # fmt: skip
AGGREGATIONS = ("sum", "sum", "sum", "avg", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
RANGES = ("15s", "30s", "1m", "1m", "90s", "2m", "5m", "5m", "10m", "1h", "7m13s", "1ms")
NAMED_LABELS = ("job", "instance", "pod", "zone")


class Generator:
    def __init__(self, seed, major):
        self.random, self.major = random.Random(seed), major
        self.families = [f for f in FAMILIES if major >= 3 or not f.utf8]

    def maybe(self, chance):
        return self.random.random() < chance

    def pick(self, choices):
        return self.random.choice(choices)

    # --- leaves ---

    def scalar(self, depth):
        r = self.random.random()
        if depth > 0 and r < 0.08:
            return Node(SCALAR, ("scalar(", self.vector(depth - 1), ")"), "scalar", plain=(number("2"),))
        if depth > 0 and r < 0.16:
            op = self.pick(ARITHMETIC)
            return Node(SCALAR, ("(", self.scalar(depth - 1), f" {op} ", self.scalar(depth - 1), ")"), op)
        if r < 0.24:
            return Node(SCALAR, ("time()",), "time", plain=(number("2"),))
        if r < 0.27:
            return Node(SCALAR, ("pi()",), "pi", plain=(number("2"),))
        return number(self.pick(("0", "1", "2", "3", "-1", "0.5", "10", "100", "-2.5", "1e3", "0.1", "Inf", "NaN", "-0")))

    def matchers(self, family):
        """Texts of matchers, most of which select something."""
        texts = []
        for label in family.labels:
            if self.maybe(0.12):
                name = _label(label)
                values = {"job": ("web", "db"), "instance": ("a", "b"), "code": ("200", "500"), "pod": ("p1", "p2"),
                          "zone": ("z0", "z1"), "kind": ("rare", "plain")}.get(label, ("1", "x"))  # fmt: skip
                value = self.pick(values)
                form = self.pick(('{}="{}"', '{}!="{}"', '{}=~"{}|q"', '{}!~"{}"', '{}=~".*{}"', '{}=~"{}.*|"', '{}!=""', '{}=~".*"', '{}=""'))
                texts.append(form.format(name, value))
        return texts

    def modifiers(self):
        text = ""
        if self.maybe(0.12):
            text += " offset " + self.pick(("1m", "5m", "-1m", "17s", "-10m", "30m"))
        if self.maybe(0.08):
            at = self.pick(("start()", "end()", f"{(T0 + self.random.randrange(SPAN)) / 1000:.3f}", f"{T0 // 1000 + 1800}"))
            text = f" @ {at}" + text if self.maybe(0.5) else text + f" @ {at}"
        return text

    def selector(self, range_=None, family=None, type_=VECTOR):
        family = family or self.pick(self.families)
        texts, modifiers = self.matchers(family), self.modifiers()
        window = f"[{range_}]" if range_ else ""

        def build(matchers, tail):
            if family.utf8:
                inner = ", ".join([f'"{family.name}\0"', *matchers])
                pieces = ("{" + inner + "}", window, tail)
            else:
                pieces = (family.name + "\0", "{" + ", ".join(matchers) + "}" if matchers else "", window, tail)
            return Node(type_, pieces, labels=family.labels, metric=family.name)

        plain = [build(texts[:i] + texts[i + 1 :], modifiers) for i in range(len(texts))]
        if modifiers:
            plain.append(build(texts, ""))
        whole = build(texts, modifiers)
        whole.plain = tuple(plain)
        return whole

    def matrix(self, depth, family=None):
        if depth > 0 and self.maybe(0.25):
            inner = self.vector(depth - 1)
            step = self.pick(("", "10s", "30s", "1m", "5m", "37s"))
            text = f"[{self.pick(RANGES[3:-1])}:{step}]" + self.modifiers()
            if self.bare(inner):
                return Node(MATRIX, (inner, text), labels=inner.labels)
            return Node(MATRIX, ("(", inner, ")", text), labels=inner.labels)
        return self.selector(self.pick(RANGES), family, MATRIX)

    @staticmethod
    def bare(node):
        """Whether a subquery may follow without parentheses."""
        return node.what not in ARITHMETIC + COMPARISONS + ("and", "or", "unless", "-")

    # --- functions ---

    def range_call(self, depth):
        name = self.pick([f for f in RANGE_FUNCTIONS if self.major >= 3 or f not in SINCE_3])
        counter = name in ("rate", "increase", "irate", "resets") and self.maybe(0.8)
        family = self.pick([f for f in self.families if f.kind in (COUNTER, HISTOGRAM)]) if counter else None
        matrix = self.matrix(depth, family)
        labels = matrix.labels
        if name == "quantile_over_time":
            return Node(VECTOR, (name + "(", self.phi(depth), ", ", matrix, ")"), name, labels)
        if name == "predict_linear":
            return Node(VECTOR, (name + "(", matrix, ", ", self.scalar(0), ")"), name, labels)
        if name == "holt_winters":
            name = "double_exponential_smoothing" if self.major >= 3 else name
            factors = [self.pick(("0.1", "0.5", "0.9", "0.3")) for _ in range(2)]
            if self.maybe(0.05):
                factors[0] = self.pick(("0", "1", "-1", "2"))
            return Node(VECTOR, (name + "(", matrix, f", {factors[0]}, {factors[1]})"), name, labels)
        if name == "absent_over_time":
            labels = ()
        return Node(VECTOR, (name + "(", matrix, ")"), name, labels)

    def counted(self, depth):
        """A small number that changes along the grid: what is pinned inside a parameter has rules of its own."""
        return Node(SCALAR, ("scalar(count(", self.vector(depth), "))"), "scalar", plain=(number("2"),))

    def phi(self, depth):
        if self.maybe(0.1):
            return self.scalar(depth) if depth <= 0 or self.maybe(0.5) else Node(SCALAR, (self.counted(depth - 1), " / 10"))
        return number(self.pick(("0.5", "0.9", "0.99", "0", "1", "0.25", "-1", "1.5", "NaN")))

    def elementwise(self, depth):
        name, operand = self.pick(ELEMENTWISE), self.vector(depth - 1)
        more = {"round": self.pick((0, 1)), "clamp": 2, "clamp_min": 1, "clamp_max": 1}.get(name, 0)
        pieces = [name + "(", operand]
        for _ in range(more):
            pieces += [", ", self.scalar(depth - 1)]
        return Node(VECTOR, (*pieces, ")"), name, operand.labels)

    def negation(self, depth):
        operand = self.vector(depth - 1)
        return Node(VECTOR, ("-", operand) if self.bare(operand) else ("-(", operand, ")"), "-", operand.labels)

    def shaping(self, depth):
        """What stays with Prometheus, but may have pushed parts in it."""
        r = self.random.random()
        if r < 0.3:
            inner = self.vector_of(depth - 1, [f for f in self.families if f.kind == HISTOGRAM][0])
            return Node(VECTOR, ("histogram_quantile(", self.phi(depth - 1), ", ", inner, ")"), "histogram_quantile", inner.labels)
        operand = self.vector(depth - 1)
        if r < 0.5:
            source = self.pick(operand.labels or ("job",))
            target = self.pick(("new", "job", "instance", "zone"))
            text = f', "{target}", "{self.pick(("$1", "x", "", "$1-y"))}", "{source}", "{self.pick(("(.*)", "(.).*", "a", ""))}")'
            if "." in source:
                text = ', "new", "$1", "job", "(.*)")'
            return Node(VECTOR, ("label_replace(", operand, text), "label_replace", operand.labels)
        if r < 0.6:
            return Node(VECTOR, ("label_join(", operand, ', "new", "-", "job", "instance")'), "label_join", operand.labels)
        name = self.pick(("sort", "sort_desc"))
        if self.major >= 3 and self.maybe(0.2):
            return Node(VECTOR, ("sort_by_label(", operand, ', "job", "instance")'), "sort_by_label", operand.labels)
        return Node(VECTOR, (name + "(", operand, ")"), name, operand.labels)

    def made(self, depth):
        r = self.random.random()
        if r < 0.4:
            return Node(VECTOR, ("vector(", self.scalar(depth - 1), ")"), "vector")
        if r < 0.6:
            name = self.pick(("hour", "minute", "day_of_week", "month", "year"))
            return Node(VECTOR, (name + "()",), name)
        operand = self.vector(depth - 1)
        return Node(VECTOR, ("absent(", operand, ")"), "absent")

    # --- aggregations ---

    def grouping(self, labels):
        """("by (a, b) ", the labels that stay)."""
        labels = [name for name in labels if name]
        if not labels or self.maybe(0.3):
            return "", ()
        chosen = self.random.sample(labels, self.random.randrange(1, len(labels) + 1))
        if self.maybe(0.1):
            chosen.append(self.pick(("nothing", "__name__", "zone", "__type__")))
        names = ", ".join(_label(name) for name in dict.fromkeys(chosen))
        if self.maybe(0.3):
            return f"without ({names}) ", tuple(name for name in labels if name not in chosen)
        return f"by ({names}) ", tuple(chosen)

    def aggregation(self, depth):
        operand = self.vector(depth - 1)
        grouping, labels = self.grouping(operand.labels)
        r = self.random.random()
        if r < 0.1:
            name = self.pick(("topk", "bottomk"))
            k = number(self.pick(("1", "2", "3", "5", "0", "-1", "100", "1.7")))
            if self.maybe(0.2):
                k = self.scalar(depth - 1) if self.maybe(0.5) else self.counted(depth - 1)
            return self._aggregate(name, grouping, operand, operand.labels, k)
        if r < 0.17:
            return self._aggregate("quantile", grouping, operand, labels, self.phi(depth - 1))
        if r < 0.22:
            value = Node(SCALAR, ('"value"',))
            return self._aggregate("count_values", grouping, operand, (*labels, "value"), value)
        return self._aggregate(self.pick(AGGREGATIONS), grouping, operand, labels)

    @staticmethod
    def _aggregate(name, grouping, operand, labels, parameter=None):
        first = (parameter, ", ") if parameter else ()
        plain = (Node(VECTOR, (name + " (", *first, operand, ")"), name, ()),) if grouping else ()
        return Node(VECTOR, (f"{name} {grouping}(", *first, operand, ")"), name, labels, plain)

    # --- operators ---

    def with_scalar(self, depth):
        vector, scalar = self.vector(depth - 1), self.scalar(depth - 1)
        op = self.pick(ARITHMETIC + COMPARISONS)
        bool_ = "bool " if op in COMPARISONS and self.maybe(0.5) else ""
        sides = (vector, f" {op} {bool_}", scalar) if self.maybe(0.6) else (scalar, f" {op} {bool_}", vector)
        return Node(VECTOR, ("(", *sides, ")"), op, vector.labels)

    def operator(self):
        op = self.pick(ARITHMETIC + COMPARISONS)
        return op, "bool " if op in COMPARISONS and self.maybe(0.4) else ""

    def same_family(self, depth):
        """Both sides of one family, so that they match one to one."""
        family = self.pick(self.families)
        left, right = self.vector_of(depth - 1, family), self.vector_of(depth - 1, family)
        op, bool_ = self.operator()
        return Node(VECTOR, ("(", left, f" {op} {bool_}", right, ")"), op, family.labels)

    def grouped_sides(self, depth):
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        shared = [name for name in left.labels if name in right.labels]
        chosen = self.random.sample(shared, self.random.randrange(0, len(shared) + 1))
        names = ", ".join(_label(name) for name in chosen)
        by = f"by ({names}) "
        sides = [self._aggregate(self.pick(AGGREGATIONS), by, side, chosen) for side in (left, right)]
        op, bool_ = self.operator()
        matching = self.pick(("", f"on ({names}) ", "ignoring (nothing) "))
        return Node(VECTOR, ("(", sides[0], f" {op} {bool_}{matching}", sides[1], ")"), op, chosen)

    def many_to_one(self, depth):
        many, other = self.vector(depth - 1), self.vector(depth - 1)
        shared = [name for name in many.labels if name in other.labels]
        chosen = self.random.sample(shared, self.random.randrange(0, len(shared) + 1)) if shared else []
        names = ", ".join(_label(name) for name in chosen)
        one = self._aggregate(self.pick(AGGREGATIONS), f"by ({names}) ", other, chosen)
        others = [name for name in other.labels if "." not in name and (name not in chosen or self.maybe(0.02))]
        included = self.pick(("", "", *others))
        op, bool_ = self.operator()
        if self.maybe(0.6):
            return Node(VECTOR, ("(", many, f" {op} {bool_}on ({names}) group_left ({included}) ", one, ")"), op, many.labels)
        return Node(VECTOR, ("(", one, f" {op} {bool_}on ({names}) group_right ({included}) ", many, ")"), op, many.labels)

    def with_info(self, depth):
        sparse = next(f for f in FAMILIES if f.name == "sparse")
        info = next(f for f in FAMILIES if f.name == "pod_info")
        op = self.pick(("*", "*", "+", "-"))
        text = f" {op} on (pod) group_left ({self.pick(('node', 'node, zone', ''))}) "
        return Node(VECTOR, ("(", self.vector_of(depth - 1, sparse), text, self.selector(family=info), ")"), op,
                    (*sparse.labels, "node"))

    def set_operator(self, depth):
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        op = self.pick(("and", "or", "unless"))
        shared = [name for name in left.labels if name in right.labels]
        matching = self.pick(("", f"on ({', '.join(_label(n) for n in shared[:1])}) ", "on () ", "ignoring (instance) "))
        return Node(VECTOR, ("(", left, f" {op} {matching}", right, ")"), op, left.labels)

    def loose(self, depth):
        """Anything with anything: most of it is PromQL's to refuse."""
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        op, bool_ = self.operator()
        return Node(VECTOR, ("(", left, f" {op} {bool_}", right, ")"), op, left.labels)

    # --- vectors ---

    def vector_of(self, depth, family):
        """Something that keeps the labels of a family's series."""
        r = self.random.random()
        if depth > 0 and r < 0.4:
            name = self.pick(("rate", "increase", "max_over_time", "avg_over_time", "last_over_time", "delta"))
            return Node(VECTOR, (name + "(", self.selector(self.pick(RANGES), family, MATRIX), ")"), name, family.labels)
        if depth > 0 and r < 0.5:
            inner = self.vector_of(depth - 1, family)
            op = self.pick(ARITHMETIC[:4])
            return Node(VECTOR, ("(", inner, f" {op} ", self.scalar(0), ")"), op, family.labels)
        return self.selector(family=family)

    def vector(self, depth):
        if depth <= 0:
            return self.selector()
        forms = (
            (self.range_call, 22), (self.aggregation, 26), (self.elementwise, 10), (self.with_scalar, 10),
            (self.same_family, 6), (self.grouped_sides, 6), (self.many_to_one, 5), (self.with_info, 2),
            (self.set_operator, 6), (self.loose, 1), (self.shaping, 4), (self.made, 2), (self.negation, 2),
        )  # fmt: skip
        form = self.random.choices([f for f, _ in forms], [w for _, w in forms])[0]
        return form(depth)

    def query(self):
        depth = self.random.choices((1, 2, 3, 4), (3, 5, 4, 1))[0]
        r = self.random.random()
        if r < 0.02:
            return self.scalar(2)
        if r < 0.05:
            return self.selector()
        return self.vector(depth)

    # --- when ---

    def grid(self):
        """An instant, or a range: aligned or not, steps from below a scrape to above lookback and ranges."""
        r = self.random
        start = T0 + r.randrange(5 * MINUTE, SPAN - 5 * MINUTE)
        if self.maybe(0.1):
            start = T0 + r.randrange(-5 * MINUTE, SPAN + 8 * MINUTE)
        kind = r.random()
        if kind < 0.6:
            start = start // MINUTE * MINUTE
        elif kind < 0.7:
            start = start // (15 * SECOND) * 15 * SECOND + r.choice((-1, 0, 1))
        if self.maybe(0.25):
            return Grid("random", start)
        step = r.choice((250, SECOND, 7 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, MINUTE, 2 * MINUTE, 5 * MINUTE, 7 * MINUTE))
        steps = r.choice((1, 3, 10, 30, 60))
        return Grid("random", start, start + step * steps + r.choice((0, 0, step // 2)), step)


def _label(name):
    """As grouping and matchers have it: quoted if it is no identifier."""
    return name if name.replace("_", "a").isalnum() else f'"{name}"'
