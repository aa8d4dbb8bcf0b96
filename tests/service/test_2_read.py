"""Remote read for others: a plain Prometheus on our store, both answer types, several queries in one request."""
import unittest

from fixture import PROMETHEUS_2, PROMETHEUS_3, T0, T0_S, ServiceCase
from lib import dataset, wire
from lib.processes import remote_read_stanza


class PlainReads(ServiceCase):
    @classmethod
    def prepare(cls):
        cls.promsplit, cls.upstream = cls.stage.pair("promsplit", cls.prometheus)
        cls.api = cls.promsplit.api
        cls.series = dataset.build(utf8_names=False)
        dataset.load(cls.api, cls.series)
        cls.end = T0 + dataset.SPAN

    def stored(self, name, start, end):
        """What was written, by label set: {labels: [(t, bits)]}, series without samples in the window left out."""
        out = {}
        for labels, samples in self.series:
            inside = [s for s in samples if start <= s[0] <= end]
            if labels["__name__"] == name and inside:
                out[tuple(sorted(labels.items()))] = inside
        return out

    def by_name(self, name):
        return [(wire.EQUAL, "__name__", name)]

    def assert_sorted(self, label_sets):
        keys = [sorted((n.encode(), v.encode()) for n, v in labels.items()) for labels in label_sets]
        self.assertEqual(keys, sorted(keys), "series not sorted by labels")

    def test_samples_answer_keeps_every_bit(self):
        for name in ("odd", "vanishing", "http_requests_total", "text"):
            answer = self.api.read([(T0, self.end, self.by_name(name))])
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.headers["Content-Type"], "application/x-protobuf")
            self.assertEqual(answer.headers["Content-Encoding"], "snappy")
            (series,) = wire.read_response(wire.unsnappy(answer.body))
            self.assert_sorted([labels for labels, _ in series])
            got = {tuple(sorted(labels.items())): samples for labels, samples in series}
            self.assertEqual(got, self.stored(name, T0, self.end))

    def test_streamed_answer_keeps_every_bit(self):
        for name in ("odd", "http_request_duration_seconds_bucket"):
            answer = self.api.read([(T0 + 60_000, self.end - 60_000, self.by_name(name))],
                                   accepted=(wire.STREAMED_XOR_CHUNKS, wire.SAMPLES))
            self.assertEqual(answer.headers["Content-Type"],
                             "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse")
            frames = wire.chunked_response(answer.body)
            self.assert_sorted([labels for _, labels, _, _ in frames])
            got = {tuple(sorted(labels.items())): samples for _, labels, samples, _ in frames}
            self.assertEqual(len(got), len(frames), "a series came in two frames")
            self.assertEqual(got, self.stored(name, T0 + 60_000, self.end - 60_000))
            self.assertLessEqual(max(size for *_, sizes in frames for size in sizes), 120)

    def test_several_queries_in_one_request(self):
        queries = [(T0, self.end, self.by_name("up")), (T0, self.end, self.by_name("nothing")),
                   (T0, T0 + 60_000, self.by_name("memory_bytes"))]
        results = wire.read_response(wire.unsnappy(self.api.read(queries).body))
        self.assertEqual([len(series) for series in results],
                         [len(self.stored("up", T0, self.end)), 0, len(self.stored("memory_bytes", T0, T0 + 60_000))])
        frames = wire.chunked_response(self.api.read(queries, accepted=(1,)).body)
        self.assertEqual(sorted({index for index, *_ in frames}), [0, 2])

    def test_matchers_and_extreme_times(self):
        whole = (-(1 << 63), (1 << 63) - 1)
        for matchers, count in (
            ([(wire.MATCHES, "__name__", "up|late")], 4),
            ([(wire.EQUAL, "__name__", "http_requests_total"), (wire.EQUAL, "code", "")], 2),
            ([(wire.EQUAL, "__name__", "http_requests_total"), (wire.NOT_EQUAL, "code", "200")], 6),
            ([(wire.EQUAL, "__name__", "http_requests_total"), (wire.NOT_MATCHES, "code", "2..|")], 4),
            ([(wire.MATCHES, "instance", "a")], 0),
        ):
            (series,) = wire.read_response(wire.unsnappy(self.api.read([(*whole, matchers)]).body))
            self.assertEqual(len(series), count, matchers)

    def compare_through(self, binary):
        oracle = self.stage.prometheus("holder", binary)
        dataset.load(oracle.api, self.series)
        reader = self.stage.prometheus("reader", binary, remote_read_stanza(self.api.url, required=False))
        for query in ("vanishing", "sum by (le) (rate(http_request_duration_seconds_bucket[5m]))", "memory_bytes[2m]",
                      'topk(3, {job="web"})', "count_over_time(slow[20m])"):
            want = oracle.api.query(query, T0_S + 3000).json()["data"]
            got = reader.api.query(query, T0_S + 3000).json()
            self.assertNotIn("warnings", got)
            key = lambda series: sorted(series["metric"].items())  # noqa: E731
            self.assertTrue(want["result"], query)
            self.assertEqual(sorted(got["data"]["result"], key=key), sorted(want["result"], key=key), query)

    def test_a_plain_prometheus_2_reads_stored_samples(self):
        self.compare_through(PROMETHEUS_2)

    @unittest.skipIf(PROMETHEUS_3 is None, "no Prometheus 3.5 here")
    def test_a_plain_prometheus_3_reads_stored_samples(self):
        self.compare_through(PROMETHEUS_3)
