"""OTLP, sent to promsplit; what Prometheus's receiver makes of it, written to a Prometheus: both have the same."""
import gzip
import math
import random

from fixture import T0, T0_S, ServiceCase
from lib import otlp, wire
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
