"""Native histograms: written, kept, read back by real Prometheuses, with their own answers; sent by real senders."""
import math
import subprocess
import time

from fixture import T0, T0_S, ServiceCase, until
from lib import wire
from lib.processes import PROMSPLIT, free_port
from lib.target import Target, native_histograms
from lib.wire import STALE_BITS, float_bits
from test_8_senders import lost, scrape_config

STEP_MS = 15_000
COUNT = 240  # an hour
V2 = {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}


def counter(k, n, reset=100):
    """A counter of observations that begins anew now and then, and gets buckets as time goes on."""
    since = k % reset
    counts = [since * (n + 1), since * 2, *([since - 30] if since >= 30 else [])]
    negative = [since] if n % 2 else []
    deltas = [b - a for a, b in zip([0, *counts], counts)]
    return wire.histogram(T0 + k * STEP_MS, sum(counts) + sum(negative) + since, since * 1.5 + n, schema=n % 4 - 1,
                          zero=(0.001, since), positive=(((-1, 2), *(((3, 1),) if len(counts) > 2 else ())), deltas),
                          negative=((((0, 1),), negative) if negative else ((), ())))


def floats(k, n):
    counts = [k * 0.5, k * 0.25 + n, 3.125]
    return wire.histogram(T0 + k * STEP_MS, sum(counts) + 1.5, k * 0.7, schema=2, zero=(0.25, 1.5),
                          positive=(((n, 3),), counts), floats=True)


def gauge(k, n):
    counts = [k * 7 % 13 + n, k * 5 % 11]
    return wire.histogram(T0 + k * STEP_MS, sum(counts), k * 0.5, positive=(((0, 2),), [counts[0], counts[1] - counts[0]]),
                          hint=3)


def custom(k, n):
    counts = [k * (n + 1), k, 2 * k]
    return wire.histogram(T0 + k * STEP_MS, sum(counts), k * 1.25, schema=-53, zero=(0, 0), bounds=(0.5, 1, 2.125),
                          positive=(((0, 2), (1, 1)), [counts[0], counts[1] - counts[0], counts[2] - counts[1]]))


def stale(k):
    return wire.histogram(T0 + k * STEP_MS, 0, STALE_BITS, zero=(0, 0))


def data():
    """Requests of series as wire.write_request takes them."""
    out = []
    named = lambda name, n, **more: {"__name__": name, "job": f"j{n % 2}", "instance": f"i{n}", **more}  # noqa: E731
    for n in range(4):
        out.append((named("h", n), [], [], [counter(k, n) for k in range(COUNT) if n != 3 or k % 60 < 40]))
        out.append((named("hf", n), [], [], [floats(k, n) for k in range(COUNT)]))
        out.append((named("hg", n), [], [], [gauge(k, n) for k in range(COUNT)]))
        out.append((named("plain", n), [(T0 + k * STEP_MS, float_bits(k * 15.0 + n)) for k in range(COUNT)]))
        out.append((named("hc", n), [], [], [custom(k, n) for k in range(COUNT)]))
    out.append((named("ends", 0), [], [], [*(counter(k, 0) for k in range(100)), stale(100)]))
    return [out, *mixed(named("mixed", 0))]


def mixed(labels):
    """Floats and histograms of one series in turns, each turn a request: Prometheus commits the floats of one first."""
    for begin in range(0, COUNT, 10):
        turn = range(begin, begin + 10)
        if begin % 20:
            yield [(labels, [(T0 + k * STEP_MS, float_bits(float(k))) for k in turn])]
        else:
            yield [(labels, [], [], [counter(k, 0) for k in turn])]


QUERIES = [
    "h", "hf", "hg", "ends", "mixed", 'h{job="j0"}', "h offset 10m", "h[1m]", "mixed[10m]", "hf[1m]",
    "rate(h[5m])", "increase(hf[5m])", "delta(hg[5m])", "sum(rate(h[5m]))", "sum by (job) (rate(h[5m]))",
    "histogram_quantile(0.9, sum(rate(h[5m])))", "histogram_quantile(0.5, rate(hf[10m]))",
    "histogram_count(h)", "histogram_sum(rate(h[5m]))", "histogram_fraction(0, 1, h)", "histogram_quantile(0.9, h offset 7m)",
    "avg(hf)", "count(h)", "sum(hg)", "avg_over_time(hf[3m])", "sum_over_time(h[2m])", "count_over_time(mixed[10m])",
    "last_over_time(h[5m])", "resets(h[1h])", "changes(h[10m])", "present_over_time(h[5m])", "absent(h)", "absent(nothing)",
    "timestamp(h)", "h * 2", "h / 4", "-hf", "h + h", "hf - hf", "h == h", "sum(h) + sum(plain)", "h and plain", "count(h or plain)",
    "sum(rate(plain[5m]))", "plain", "count(mixed)", "rate(mixed[5m])", 'count({__name__=~"h|plain"})', "topk(2, plain)",
    "max_over_time(histogram_count(h)[10m:1m])", "rate(h[5m] offset 3m)", "h @ 1795202000", "irate(h[5m])", "group(h)",
    "count_values(\"v\", histogram_count(h))", "label_replace(h, \"x\", \"$1\", \"job\", \"(.*)\")", "stddev(plain)",
    "hc", "histogram_quantile(0.9, sum(rate(hc[5m])))", "sum(hc)", "histogram_sum(hc)", "rate(hc[5m])", "hc[1m]",
]  # fmt: skip


def same(ours, theirs):
    """Equal, but for the last digits of numbers: sums of several series may be added in another order."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if ours == theirs:
        return True
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=1e-12)
    except (TypeError, ValueError):
        return False


def result(answer):
    body = answer.json()
    if body["status"] != "success":
        return [body["errorType"], body["error"]]
    return sorted(body["data"]["result"], key=lambda series: sorted(series["metric"].items())) if isinstance(
        body["data"]["result"], list) and body["data"]["resultType"] != "scalar" else body["data"]


class Histograms(ServiceCase):
    """The same histograms, written to a Prometheus and to promsplit: the same answers, whatever is pushed."""

    version = "3.5"

    @classmethod
    def prepare(cls):
        cls.data = data()
        cls.queries = QUERIES
        features = ("--enable-feature=native-histograms,promql-experimental-functions",)
        cls.reference = cls.stage.prometheus("reference", cls.prometheus, flags=features)
        cls.splits = {push: cls.stage.pair(f"push-{push}", cls.prometheus, push=push, flags=("--web.enable-admin-api",))[0]
                      for push in ("all", "none")}
        for server in (cls.reference, *cls.splits.values()):
            for request in cls.data:
                answer = server.api.write(request)
                if answer.status not in (200, 204):
                    raise AssertionError((server.name, answer))

    def compare(self, ask):
        wrong = []
        for query in self.queries:
            theirs = result(ask(self.reference.api, query))
            for push, server in self.splits.items():
                ours = result(ask(server.api, query))
                if not same(ours, theirs):
                    wrong.append(f"{query} (push {push}):\n  ours   {str(ours)[:600]}\n  theirs {str(theirs)[:600]}")
        self.assertFalse(wrong, "\n".join(wrong))

    def test_1_instant_queries(self):
        for minutes in (0, 7, 26, 59):
            self.compare(lambda api, query: api.query(query, T0_S + minutes * 60 + 1))

    def test_2_range_queries(self):
        for step in (15, 61):
            ask = lambda api, query: api.query_range(query, T0_S - 60, T0_S + 3700, step)  # noqa: E731
            self.queries = [query for query in type(self).queries if not query.endswith("]")]
            self.compare(ask)

    def test_3_what_goes_raw_is_told(self):
        answer = self.splits["all"].api.get("/api/v1/explain", query="sum(rate(h[5m])) + sum(plain)", time=T0_S + 600)
        self.assertEqual(answer.status, 200, answer)
        self.assertIn(b"native_histograms", answer.body)

    def test_4_remote_read_gives_them_back(self):
        api = self.splits["all"].api
        matchers = [(wire.EQUAL, "__name__", "mixed")]
        for accepted in ((), (wire.STREAMED_XOR_CHUNKS,)):
            body = wire.snappy(wire.read_request([(T0, T0 + 40 * STEP_MS, matchers)], accepted))
            answer = api.request("POST", "/api/v1/read", body=body, headers={"Content-Encoding": "snappy"})
            self.assertEqual(answer.status, 200, answer)
            kinds = []
            if accepted:
                _, at = wire.read_varint(answer.body, 0)
                for number, value in wire.fields(dict(wire.fields(answer.body[at + 4 :]))[1]):
                    if number == 2:
                        chunk = dict(wire.fields(value))
                        kinds.append((chunk[3], int.from_bytes(chunk[4][:2], "big")))
                self.assertEqual(set(kind for kind, _ in kinds), {1, 2}, kinds)
                self.assertEqual(sum(n for _, n in kinds), 41)
            else:
                series = dict(wire.fields(dict(wire.fields(wire.unsnappy(answer.body)))[1]))[1]
                kinds = [number for number, _ in wire.fields(series)]
                self.assertEqual((kinds.count(2), kinds.count(4)), (20, 21))

    def test_5_a_store_that_was_killed_has_them(self):
        server = self.splits["all"]
        before = result(server.api.query("h[2h]", T0_S + 3700))
        server.kill()
        server.start()
        server.wait_for("/-/ready")
        self.assertEqual(result(server.api.query("h[2h]", T0_S + 3700)), before)
        series = server.api.get("/api/v1/series", **{"match[]": "h", "start": T0_S, "end": T0_S + 3600}).json()["data"]
        self.assertEqual(len(series), 4)

    def test_6_delete_series(self):
        server = self.splits["none"]
        self.assertEqual(len(result(server.api.query("ends", T0_S + 600))), 1)
        answer = server.api.post("/api/v1/admin/tsdb/delete_series", **{"match[]": "ends"})
        self.assertEqual(answer.status, 204, answer)
        self.assertEqual(result(server.api.query("ends", T0_S + 600)), [])


class HistogramsOf_2_42(ServiceCase):
    """An upstream that cannot read them is not asked: it would take them for nothing."""

    version = "2.42"

    def test_queries_that_may_read_some_are_refused(self):
        for push in ("all", "none"):
            promsplit, _ = self.stage.pair(f"push-{push}", self.prometheus, push=push)
            for request in data():
                self.assertEqual(promsplit.api.write(request).status, 204)
            for query in ("h", "sum(rate(h[5m]))", "count(h or plain)", "timestamp(mixed)", '{job="j0"}'):
                self.assert_api_error(promsplit.api.query(query, T0_S + 600), 422, "execution", "native histograms",
                                      "2.42, cannot read them")
            for query in ("plain", "sum(rate(plain[5m]))", "timestamp(plain)", "h offset 1d"):
                answer = promsplit.api.query(query, T0_S + 600)
                self.assertEqual(answer.status, 200, answer)


class HistogramRules(ServiceCase):
    """What is refused, in which words, and what the answer counts."""

    version = "3.5"

    @classmethod
    def prepare(cls):
        cls.promsplit, cls.upstream = cls.stage.pair("promsplit", cls.prometheus)
        cls.api = cls.promsplit.api

    def write(self, name, messages, headers=None):
        make = wire.write_request_2 if headers else wire.write_request
        body = make([({"__name__": name}, [], [], messages)])
        return self.api.write_bytes(wire.snappy(body), **(headers or {}))

    def test_wrong_ones_are_refused_and_the_rest_is_kept(self):
        good, wrong = gauge(1, 1), wire.histogram(T0 + 30_000, 5, 1.0, positive=(((0, 1),), [1]))
        answer = self.write("rules", [good, wrong, gauge(3, 1)], V2)
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"1 observations found in buckets, but the Count field is 5: histogram's observation count should equal the "
                      b"number of observations found in the buckets (in absence of NaN) for series", answer.body)
        self.assertIn(b"2 stored", answer.body)
        self.assertIn(b"invalid native histograms: 1", answer.body)
        self.assertEqual(answer.headers["X-Prometheus-Remote-Write-Histograms-Written"], "2")
        self.assertEqual(answer.headers["X-Prometheus-Remote-Write-Samples-Written"], "0")
        answer = self.write("rules", [gauge(3, 1)], V2)
        self.assertEqual(answer.status, 204, answer)
        self.assertEqual(answer.headers["X-Prometheus-Remote-Write-Histograms-Written"], "1")
        answer = self.write("rules", [gauge(3, 2)])
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"duplicate sample for timestamp", answer.body)
        answer = self.write("rules", [gauge(2, 2)])
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"out of order sample", answer.body)
        many = wire.histogram(T0 + 90_000, 1, 1.0, positive=(((0, 20000),), [1] + [-1] + [0] * 19998))
        answer = self.write("rules", [many], V2)
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"native histogram with 20000 buckets exceeds limit 16384", answer.body)
        self.assertEqual(self.api.metric("promsplit_write_samples_total", '{result="invalid_histogram"}'), 2)

    def upstream_of_copies(self, want):
        """The URL of a Prometheus that has the same, in its own chunks."""
        features = ("--enable-feature=native-histograms",)
        server = self.stage.prometheus("copies", self.prometheus, flags=features)
        for series in (({"__name__": "moves"}, [], [], [counter(k, 1) for k in range(COUNT)]),
                       ({"__name__": "moves"}, [(T0 + COUNT * STEP_MS, float_bits(1.0))]),
                       ({"__name__": "moves"}, [], [], [counter(COUNT + 1, 1)])):
            answer = server.api.write([series])
            self.assertIn(answer.status, (200, 204), answer)
        self.assertEqual(result(server.api.query("moves[2h]", T0_S + 3900)), want)
        return server.api.url

    def test_import_of_a_store_and_of_servers(self):
        self.write("moves", [counter(k, 1) for k in range(COUNT)])
        self.api.write([({"__name__": "moves"}, [(T0 + COUNT * STEP_MS, float_bits(1.0))])])
        self.write("moves", [counter(COUNT + 1, 1)])
        want = result(self.api.query("moves[2h]", T0_S + 3900))
        self.assertEqual(len(want[0]["histograms"]), COUNT + 1)
        span = (f"--from={T0_S - 60}", f"--to={T0_S + 4000}", "--match={__name__=\"moves\"}")
        for number, source in enumerate((self.upstream_of_copies(want), self.api.url, None)):
            if source is None:
                self.promsplit.stop()
                source = self.promsplit.directory + "/data"
            other, _ = self.stage.pair(f"other{number}", self.prometheus, ready=False)
            other.stop()
            done = subprocess.run([PROMSPLIT, "import", f"--storage.path={other.directory}/data", *span, source],
                                  capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"{COUNT + 2} stored", done.stderr)
            other.start()
            other.wait_for("/-/ready")
            self.assertEqual(result(other.api.query("moves[2h]", T0_S + 3900)), want)
        self.promsplit.start()


class HistogramSender(ServiceCase):
    """One Prometheus scrapes native histograms, sends them here, and has the same."""

    version = "3.5"
    write = "send_native_histograms: true"

    @classmethod
    def prepare(cls):
        kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        cls.target = Target(native_histograms, kind)
        cls.addClassCleanup(cls.target.close)
        port = free_port()
        cls.upstream = cls.stage.prometheus(
            "upstream", cls.prometheus, remote_read=f"http://127.0.0.1:{port}", start=False,
            config=scrape_config(cls.target, f"http://127.0.0.1:{port}", cls.write),
            flags=("--enable-feature=native-histograms,metadata-wal-records",))
        cls.promsplit = cls.stage.promsplit("promsplit", cls.upstream.port, port=port)
        cls.upstream.start()
        cls.addClassCleanup(cls.upstream.kill)
        cls.promsplit.wait_for("/-/ready")
        cls.api = cls.promsplit.api

    def histograms_of(self, api, until_ms):
        found = result(api.query('{__name__=~"target_native_.*"}[1m]', time.time()))
        return {tuple(sorted(series["metric"].items())):
                [(t, value) for t, value in series.get("histograms", ()) if t * 1000 < until_ms] for series in found}

    def has_all(self):
        until_ms = time.time() * 1000 - 1000
        theirs, ours = (self.histograms_of(api, until_ms) for api in (self.upstream.api, self.api))
        return theirs == ours and len(ours) == 4 and min(map(len, ours.values())) > 8

    def test_all_histograms_arrive(self):
        until(self.has_all, 30, "what the sender has")
        self.assertEqual(lost(self.upstream.api), set())
        self.assertEqual(lost(self.upstream.api, "prometheus_remote_storage_histograms_failed_total",
                              "prometheus_remote_storage_histograms_dropped_total"), set())
        self.assertEqual(self.api.metric("promsplit_write_requests_total", '{code="400"}'), 0)
        self.promsplit.kill()
        self.promsplit.start()
        self.promsplit.wait_for("/-/ready")
        until(self.has_all, 30, "what the sender has, after kill -9")


class HistogramSender_1_0(HistogramSender):
    pass


class HistogramSender_2_0(HistogramSender):
    write = "send_native_histograms: true\n  protobuf_message: io.prometheus.write.v2.Request"


del HistogramSender
