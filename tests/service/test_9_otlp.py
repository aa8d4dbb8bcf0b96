"""OTLP, sent to promsplit; what Prometheus's receiver makes of it, written to a Prometheus: both have the same."""
import gzip
import math
import random
import subprocess

from fixture import T0, T0_S, ServiceCase
from lib import otlp, wire
from lib.processes import PROMSPLIT
from lib.wire import EQUAL
from test_8_histograms import result, same

STEP_MS = 15_000
COUNT = 40
PROTOBUF = "application/x-protobuf"
PATH = "/api/v1/otlp/v1/metrics"


def nanoseconds(k):
    return (T0 + k * STEP_MS) * 1_000_000


class Growing:
    """A cumulative exponential histogram: dense buckets with holes, which fill up as time goes on."""

    def __init__(self, chance, scale, offset, width, negative):
        self.chance, self.scale, self.offset = chance, scale, offset
        least = int(scale > 8)  # see otlp.native_histogram
        self.positive, self.negative = [least] * width, [least] * (width if negative else 0)
        self.zero, self.sum = 0, 0.0

    def observe(self):
        for side in (self.positive, self.negative):
            for _ in range(self.chance.randrange(4) if side else 0):
                side[int(len(side) * self.chance.random() ** 2)] += self.chance.randrange(1, 50)
        self.zero += self.chance.randrange(3)
        self.sum += self.chance.random() * 100

    def point(self, k, **attributes):
        count = sum(self.positive) + sum(self.negative) + self.zero
        return {"attributes": otlp.attributes(**attributes), "startTimeUnixNano": nanoseconds(0), "count": count,
                "timeUnixNano": nanoseconds(k), "sum": self.sum, "scale": self.scale, "zeroCount": self.zero,
                "positive": {"offset": self.offset, "bucketCounts": list(self.positive)},
                "negative": {"offset": -self.offset, "bucketCounts": list(self.negative)}, "flags": 0,
                "zeroThreshold": 0.5}


def requests(seed):
    """One after the other in time. Scales that are kept and that are brought down, the empty and the dense."""
    chance = random.Random(seed)
    kinds = [Growing(chance, scale, int(chance.uniform(-20, 20) * 2**scale), width, scale % 2)
             for scale in (-4, -1, 0, 3, 8, 9, 10, 12, 20) for width in (0, 1, 7, 160) if scale >= 0 or width < 8]
    for k in range(COUNT):
        points = []
        for n, kind in enumerate(kinds):
            kind.observe()
            points.append(kind.point(k, series=f"s{n}", part=n % 3))
        bare = {"timeUnixNano": nanoseconds(k), "flags": 1 if k == 30 else 0}
        points.append({**bare, "attributes": otlp.attributes(series="bare")})
        metrics = [otlp.metric("request.duration", "exponentialHistogram", points, unit="s")]
        if k % 10 == 0:
            metrics += [
                otlp.metric("coarse", "exponentialHistogram", [{**points[0], "scale": -5}]),
                otlp.metric("changes", "exponentialHistogram", [points[0]], temporality=otlp.DELTA),
                otlp.metric("odd", "exponentialHistogram", [points[0]], temporality=0),
            ]
        metrics.append(otlp.metric("plain", "gauge", [{"timeUnixNano": nanoseconds(k), "asInt": k}]))
        yield otlp.request(metrics, service_name="shop", service_instance_id="i-1")


NAME = "request_duration_seconds"
QUERIES = [
    NAME, f"{NAME}[2m]", f"rate({NAME}[5m])", f"sum(rate({NAME}[5m]))", f"sum by (part) ({NAME})",
    f"histogram_count({NAME})", f"histogram_sum({NAME})", f"histogram_quantile(0.9, rate({NAME}[5m]))",
    f"histogram_quantile(0.5, sum by (part) (rate({NAME}[5m])))", f"histogram_fraction(-1, 1, {NAME})",
    f"count({NAME})", f"avg_over_time({NAME}[2m])", "sum(plain)", "coarse", "changes", "odd",
]  # fmt: skip


def written(request):
    """The histograms and gauges of such a request that are stored, as series of a remote write."""
    identity = {"job": "shop", "instance": "i-1"}
    for metric in request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]:
        data = metric.get("exponentialHistogram", {})
        for point in data.get("dataPoints", ()) if metric["name"] == "request.duration" else ():
            values = {a["key"]: next(iter(a["value"].values())) for a in point["attributes"]}
            labels = {"__name__": NAME, **identity, **{key: str(value) for key, value in values.items()}}
            yield labels, [], [], [otlp.native_histogram(point)]
        for point in metric.get("gauge", {}).get("dataPoints", ()):
            yield {"__name__": "plain", **identity}, [(point["timeUnixNano"] // 1_000_000, wire.float_bits(float(point["asInt"])))]


class Exponential(ServiceCase):
    """Native histograms made of exponential ones, beside a Prometheus that has the same."""

    version = "3.5"

    @classmethod
    def prepare(cls):
        flags = ("--enable-feature=native-histograms",)
        cls.reference = cls.stage.prometheus("reference", cls.prometheus, flags=flags)
        cls.promsplit, _ = cls.stage.pair("promsplit", cls.prometheus)
        cls.partial = []
        for request in requests(1):
            answer = cls.promsplit.api.request("POST", PATH, body=otlp.protobuf(request), headers={"Content-Type": PROTOBUF})
            theirs = cls.reference.api.write(written(request))
            if (answer.status, theirs.status) != (200, 204):
                raise AssertionError((answer, theirs))
            cls.partial.append(dict(wire.fields(dict(wire.fields(answer.body)).get(1, b""))))

    def read(self, server):
        answer = server.api.read([(0, T0 * 2, [(EQUAL, "__name__", NAME)])])
        self.assertEqual(answer.status, 200, answer)
        return wire.read_histograms(wire.unsnappy(answer.body))

    def test_1_the_same_histograms_are_stored(self):
        ours, theirs = (self.read(server) for server in (self.promsplit, self.reference))
        self.assertEqual(len(theirs), 35)
        self.assertEqual(ours.keys(), theirs.keys())
        for labels in theirs:
            self.assertEqual(ours[labels], theirs[labels], labels)
            self.assertEqual(len(theirs[labels]), COUNT)
        stale = ours[("__name__", NAME), ("instance", "i-1"), ("job", "shop"), ("series", "bare")][30]
        self.assertEqual(stale, {3: wire.STALE_BITS, 15: T0 + 30 * STEP_MS})

    def test_2_queries_give_the_same(self):
        for query in QUERIES:
            for seconds in (100, 500):
                ours, theirs = (result(server.api.query(query, T0_S + seconds)) for server in (self.promsplit, self.reference))
                self.assertTrue(same(ours, theirs), f"{query}\n ours   {str(ours)[:800]}\n theirs {str(theirs)[:800]}")

    def test_3_what_is_not_stored_is_counted_and_named(self):
        for k, partial in enumerate(self.partial):
            self.assertEqual(partial.get(1, 0), 3 if k % 10 == 0 else 0)
        self.assertIn(b'invalid temporality and type combination (delta; only cumulative is stored) for metric "changes"', self.partial[0][2])
        for point, words in (
            ({"scale": -5, "count": 1}, b"cannot convert exponential to native histogram. Scale must be >= -4, was -5 for series {__name__=\"alone\", job=\"shop\"}"),
            ({"count": 5, "positive": {"offset": 0, "bucketCounts": [1]}}, b"1 observations found in buckets, but the Count field is 5"),
            ({"positive": {"offset": 0, "bucketCounts": [0] * 20000}}, b"exponential histogram with 20000 buckets exceeds limit 16384"),
            ({"positive": {"offset": 2**31 - 1, "bucketCounts": [1]}}, b"exponential histogram with a bucket number above 2147483647"),
        ):
            point = {"timeUnixNano": nanoseconds(0), **point}
            body = otlp.protobuf(otlp.request([otlp.metric("alone", "exponentialHistogram", [point])], service_name="shop"))
            answer = self.promsplit.api.request("POST", PATH, body=body, headers={"Content-Type": PROTOBUF})
            self.assertEqual(answer.status, 400, answer)
            self.assertIn(words, answer.body)
        self.assertEqual(self.promsplit.api.metric("promsplit_write_samples_total", '{result="invalid_histogram"}'), 8)

    def test_4_metadata(self):
        metadata = self.promsplit.api.get("/api/v1/metadata", metric=NAME).json()["data"]
        self.assertEqual(metadata[NAME], [{"type": "histogram", "help": "help of request.duration", "unit": "seconds"}])


class Json(ServiceCase):
    """The same request as protobuf to one store, as JSON to another one: both have the same."""

    JSON = "application/json"

    @classmethod
    def prepare(cls):
        cls.apis = [cls.stage.promsplit(name, 1).api for name in ("protobuf", "json")]

    def post(self, body, media=JSON, **headers):
        return self.apis[1].request("POST", PATH, body=body, headers={"Content-Type": media, **headers})

    def stored(self):
        bodies = [api.read([(0, T0 * 2, [(wire.MATCHES, "__name__", ".+")])]).body for api in self.apis]
        return [[wire.read_response(wire.unsnappy(body)), wire.read_histograms(wire.unsnappy(body))] for body in bodies]

    def all_kinds(self):
        chance = random.Random(3)
        at = {"timeUnixNano": nanoseconds(0), "attributes": otlp.attributes(a="é\n\"", b=-5, c=0.25, d=True, e=b"\0\xff")}
        lists = {"key": "l", "value": {"arrayValue": {"values": [{"intValue": 1}, {"kvlistValue": {"values": otlp.attributes(x="y")}}]}}}
        growing = Growing(chance, 9, -4, 30, True)
        growing.observe()
        return otlp.request([
            otlp.metric("temperature", "gauge", [{**at, "asDouble": value} for value in (-1.5,)], unit="Cel"),
            otlp.metric("odd", "gauge", [{"timeUnixNano": nanoseconds(k), "asDouble": value}
                                         for k, value in enumerate((math.inf, -math.inf, 1e300, 5e-324, -0.0))]),
            otlp.metric("hits", "sum", [{**at, "asInt": (1 << 63) - 1}], unit="1"),
            otlp.metric("gone", "sum", [{**at, "asInt": 5, "flags": 1}], monotonic=False),
            otlp.metric("took", "histogram", [{"timeUnixNano": nanoseconds(0), "attributes": [lists], "count": 6, "sum": 1.25,
                                               "bucketCounts": [1, 2, 3], "explicitBounds": [0.5, 1]}], unit="ms"),
            otlp.metric("native", "exponentialHistogram", [growing.point(0, n=1)]),
            otlp.metric("wait", "summary", [{**at, "count": 3, "sum": 0.5, "quantileValues": [{"quantile": 0.9, "value": 7}]}]),
        ], service_name="shop", host_name="h")

    def test_1_the_same_is_stored(self):
        request = self.all_kinds()
        answer = self.apis[0].request("POST", PATH, body=otlp.protobuf(request), headers={"Content-Type": PROTOBUF})
        self.assertEqual((answer.status, answer.body), (200, b""))
        packed = gzip.compress(otlp.as_json(request))
        answer = self.post(packed, "application/json; charset=utf-8", **{"Content-Encoding": "gzip"})
        self.assertEqual((answer.status, answer.body, answer.headers["Content-Type"]), (200, b"{}", self.JSON))
        theirs, ours = self.stored()
        self.assertEqual(ours, theirs)
        self.assertEqual((len(ours[0][0]), len(ours[1])), (14, 1))

    def test_2_what_is_not_stored_is_told_in_json(self):
        good = otlp.metric("good", "gauge", [{"timeUnixNano": nanoseconds(1), "asInt": 1}])
        delta = otlp.metric("delta", "sum", [{"timeUnixNano": nanoseconds(1), "asInt": 1}], temporality=otlp.DELTA)
        answer = self.post(otlp.as_json(otlp.request([good, delta])))
        self.assertEqual(answer.status, 200, answer)
        partial = answer.json()["partialSuccess"]
        self.assertEqual(partial["rejectedDataPoints"], "1")
        self.assertIn('only cumulative is stored) for metric "delta"', partial["errorMessage"])

    def test_3_bad_json_and_other_types_are_refused(self):
        answer = self.post(b'{"resourceMetrics": [{"resource": 5}]}')
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.body, b"OTLP request is not valid JSON: resourceMetrics.resource: an object is expected at byte 34 of 38\n")
        for media in ("text/plain", "", "application/jsonx"):
            answer = self.post(b"{}", media)
            self.assertEqual(answer.status, 415, answer)
            self.assertIn(b"supported: [application/json, application/x-protobuf]", answer.body)
        answer = self.post(gzip.compress(b" " * (33 << 20)), **{"Content-Encoding": "gzip"})
        self.assertEqual(answer.status, 413, answer)


class Exemplars(ServiceCase):
    """Those of data points and of text, beside a Prometheus that was sent what its own receiver makes of them."""

    version = "3.5"

    @classmethod
    def prepare(cls):
        cls.peer = cls.stage.prometheus("peer", cls.prometheus, flags=("--enable-feature=exemplar-storage",))
        cls.promsplit = cls.stage.promsplit("promsplit", 1, flags=("--storage.out-of-order-window=1h",))
        cls.api = cls.promsplit.api

    def both(self, query, end=T0_S + 3600):
        found = [api.get("/api/v1/query_exemplars", query=query, start=T0_S - 60, end=end).json()["data"]
                 for api in (self.peer.api, self.api)]
        return [sorted(data, key=lambda s: sorted(s["seriesLabels"].items())) for data in found]

    def fate(self, result):
        return self.api.metric("promsplit_write_exemplars_total", f'{{result="{result}"}}') or 0

    def test_1_of_data_points(self):
        trace, span = "0123456789abcdef" * 2, "fedcba9876543210"
        exemplar = lambda k, value, **more: {"timeUnixNano": nanoseconds(0) + k * 1_000_000, "asDouble": value, **more}  # noqa: E731
        made = [exemplar(1, 0.25, traceId=trace, spanId=span, filteredAttributes=otlp.attributes(user_id=7, ok=True)),
                exemplar(2, 1.0, traceId=trace, filteredAttributes=otlp.attributes(path="/" * 90)), exemplar(3, 7.0)]
        at = {"timeUnixNano": nanoseconds(0), "exemplars": made}
        answer = self.api.request("POST", PATH, headers={"Content-Type": PROTOBUF}, body=otlp.protobuf(otlp.request([
            otlp.metric("hits", "sum", [{**at, "asInt": 5}]),
            otlp.metric("level", "gauge", [{**at, "asInt": 5}]),
            otlp.metric("took", "histogram", [{**at, "count": 6, "bucketCounts": [1, 2, 3], "explicitBounds": [0.5, 1]}]),
            otlp.metric("native", "exponentialHistogram", [{**at, "count": 1, "zeroCount": 1}]),
        ], service_name="shop")))
        self.assertEqual((answer.status, answer.body), (200, b""))
        labels = [{"trace_id": trace, "span_id": span, "user.id": "7", "ok": "true"}, {"trace_id": trace}, {}]
        sent = [(own, T0 + k + 1, wire.float_bits(value)) for k, (own, value) in enumerate(zip(labels, (0.25, 1.0, 7.0)))]
        series = lambda name, exemplars, **more: ({"__name__": name, "job": "shop", **more}, [(T0, wire.float_bits(1.0))], exemplars)  # noqa: E731
        written = [series("hits_total", sent), series("native", sent),
                   *(series("took_bucket", [one], le=le) for one, le in zip(sent, ("0.5", "1", "+Inf")))]
        self.assertEqual(self.peer.api.write(written).status, 204)
        theirs, ours = self.both('{job="shop"}')
        self.assertEqual(len(theirs), 5)
        self.assertEqual(ours, theirs)
        self.assertEqual((self.fate("written"), self.fate("of_gauge"), self.fate("invalid")), (9, 3, 0))

    OPENMETRICS = f"""# TYPE seen counter
seen_total{{path="/1"}} 5 {T0_S} # {{trace_id="x"}} 0.5 {T0_S}.789
seen_total{{path="/1"}} 6 {T0_S + 15} # {{trace_id="y",span_id="z"}} 0.25
seen_total{{path="/2"}} 1 {T0_S}
# TYPE span_seconds histogram
span_seconds_bucket{{le="0.1"}} 8 {T0_S + 1} # {{}} 0.067
span_seconds_bucket{{le="+Inf"}} 17 {T0_S + 1} # {{trace_id="KOO5S4vxi0o"}} 9.8 {T0_S}.5
# EOF
"""

    def import_text(self, text):
        return self.api.request("POST", "/api/v1/import", body=text.encode(), headers={"Content-Type": "application/openmetrics-text"})

    def expect_of_text(self):
        one = wire.float_bits(1.0)
        exemplar = lambda at, value, **own: (own, T0 + at, wire.float_bits(value))  # noqa: E731
        self.assertIn(self.peer.api.write([
            ({"__name__": "seen_total", "path": "/1"}, [(T0 + 20_000, one)],
             [exemplar(789, 0.5, trace_id="x"), exemplar(15_000, 0.25, trace_id="y", span_id="z")]),
            ({"__name__": "span_seconds_bucket", "le": "0.1"}, [(T0 + 20_000, one)], [exemplar(1000, 0.067)]),
            ({"__name__": "span_seconds_bucket", "le": "+Inf"}, [(T0 + 20_000, one)], [exemplar(500, 9.8, trace_id="KOO5S4vxi0o")]),
        ]).status, (200, 204))
        theirs, ours = self.both('{__name__=~"se.*|span.*"}')
        self.assertEqual(len(theirs), 3)
        self.assertEqual(ours, theirs)

    def test_2_of_text(self):
        self.assertEqual(self.import_text(self.OPENMETRICS).status, 204)
        self.expect_of_text()
        known = self.fate("duplicate")
        self.assertEqual(self.import_text(self.OPENMETRICS).status, 204)
        self.assertEqual(self.fate("duplicate"), known + 4)
        before = self.fate("too_long"), self.fate("out_of_order"), self.fate("invalid")
        answer = self.import_text(f'seen_total{{path="/1"}} 7 {T0_S + 30} # {{a="{"x" * 128}"}} 1\n'
                                  f'seen_total{{path="/1"}} 8 {T0_S + 45} # {{a="x"}} 1 {T0_S}.1\n'
                                  f'seen_total{{path="/1"}} 9 {T0_S + 60} # {{a="1",a="2"}} 1\nbroken 1 {T0_S} # 5\n# EOF\n')
        self.assertEqual(answer.status, 400)
        self.assertIn(b"line 4: an exemplar without labels (samples: 3 stored", answer.body)
        self.assertIn(b"exemplars not stored: 3)", answer.body)
        self.assertEqual((self.fate("too_long"), self.fate("out_of_order"), self.fate("invalid")), tuple(n + 1 for n in before))
        self.expect_of_text()

    def test_3_of_a_file_that_is_imported(self):
        path = self.promsplit.directory + "/text.om"
        with open(path, "w") as file:
            file.write(self.OPENMETRICS.replace("# EOF", f'seen_total{{path="/3"}} 1 {T0_S} # {{a="1",a="2"}} 1\n# EOF'))
        self.promsplit.stop()
        command = [PROMSPLIT, "import", f"--storage.path={self.promsplit.directory}/other", path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("6 stored, 1 exemplars not stored", done.stderr)
        other = self.stage.promsplit("other", 1, storage=self.promsplit.directory + "/other")
        self.api = other.api
        self.expect_of_text()
