"""The rules of ingest: late samples and a Prometheus's answer to the same ones, limits, and a disk that is full."""
import os
import random
import resource
import subprocess
import time

from fixture import T0, T0_S, ServiceCase, small_data, until
from lib import wire
from lib.dataset import late_batches
from lib.wire import float_bits

MINUTE = 60_000
RESULT = "promsplit_write_samples_total"
EVERYTHING = [(wire.EQUAL, "__name__", "hits_total")]


def stored(api, matchers=EVERYTHING):
    """{labels: samples} of a remote read."""
    answer = api.read([(0, T0 * 2, matchers)])
    if answer.status != 200:
        raise AssertionError(answer)
    (series,) = wire.read_response(wire.unsnappy(answer.body))
    return {tuple(sorted(labels.items())): samples for labels, samples in series}


def one(name, samples, **labels):
    return [({"__name__": name, **labels}, [(t, float_bits(v)) for t, v in samples])]


class Late(ServiceCase):
    version = "3.5"

    @classmethod
    def prepare(cls):
        flags = ("--storage.out-of-order-window=30m",)
        cls.promsplit, cls.upstream = cls.stage.pair("promsplit", cls.prometheus, flags=flags)
        config = "storage: {tsdb: {out_of_order_time_window: 30m}}\n"
        cls.oracle = cls.stage.prometheus("oracle", cls.prometheus, config=config)
        cls.api = cls.promsplit.api

    def test_1_shuffled_samples_give_the_same_answers(self):
        data = small_data(series=60)
        sent = 0
        for batch in late_batches(data, random.Random(4)):
            for api in (self.api, self.oracle.api):
                self.assertIn(api.write(batch).status, (200, 204))
            sent += sum(len(samples) for _, samples in batch)
        self.assertEqual(sent, sum(len(samples) for _, samples in data))
        self.assertGreater(self.api.metric(RESULT, '{result="written_late"}'), sent // 4)
        until(lambda: self.api.metric("promsplit_store_moves_total") > 0, 10, "a move")
        for query in ("sum by (job) (rate(hits_total[5m]))", "count_over_time(hits_total[7m])", "deriv(hits_total[3m])"):
            for grid in ((T0_S, T0_S + 1800, 60), (T0_S + 7, T0_S + 1700, 13)):
                ours, theirs = (api.query_range(query, *grid).json()["data"]["result"] for api in (self.api, self.oracle.api))
                key = lambda series: sorted(series["metric"].items())  # noqa: E731
                self.assertEqual(len(theirs), len(ours), query)
                for a, b in zip(sorted(ours, key=key), sorted(theirs, key=key)):
                    self.assertEqual((a["metric"], len(a["values"])), (b["metric"], len(b["values"])))
                    for (t, v), (u, w) in zip(a["values"], b["values"]):
                        self.assertEqual(t, u)
                        self.assertAlmostEqual(float(v), float(w), delta=1e-9 * max(1, abs(float(w))))
        expected = {tuple(sorted(labels.items())): samples for labels, samples in data}
        self.assertEqual(stored(self.api), expected)
        self.promsplit.stop()
        self.promsplit.start()
        self.assertEqual(stored(self.api), expected)
        self.promsplit.wait_for("/-/ready")

    def test_2_what_is_refused_has_the_words_of_prometheus(self):
        at = T0 + 60 * MINUTE
        for api in (self.api, self.oracle.api):
            self.assertIn(api.write(one("edge", [(at, 1.0)])).status, (200, 204))
            self.assertIn(api.write(one("edge", [(at - 30 * MINUTE, 2.0)])).status, (200, 204))
            answer = api.write(one("edge", [(at - 30 * MINUTE - 1, 3.0)]))
            self.assertEqual(answer.status, 400, answer)
            self.assertIn(b"too old sample", answer.body)
        answer = self.api.write(one("edge", [(at - 30 * MINUTE, 9.0), (at - 1, 5.0), (at - 30 * MINUTE, 2.0), (0, 1.0)]))
        self.assertEqual(answer.status, 400)
        self.assertIn(b"samples: 1 stored, 1 known, 0 out of order, 1 too old, 1 with another value than stored, 0 too far", answer.body)
        kept = stored(self.api, [(wire.EQUAL, "__name__", "edge")])
        self.assertEqual(kept[(("__name__", "edge"),)],
                         [(at - 30 * MINUTE, float_bits(2.0)), (at - 1, float_bits(5.0)), (at, float_bits(1.0))])

    def test_3_too_far_ahead(self):
        answer = self.api.write(one("ahead", [(int(time.time() * 1000) + 3_600_000, 1.0), (T0, 1.0)]))
        self.assertEqual(answer.status, 400)
        self.assertIn(b"out of bounds: timestamp is too far in the future: series ahead{}", answer.body)
        self.assertIn(b"ms ahead of this clock, 600000 ms allowed", answer.body)
        self.assertEqual(self.api.metric(RESULT, '{result="too_far_ahead"}'), 1)
        self.assertEqual(len(stored(self.api, [(wire.EQUAL, "__name__", "ahead")])), 1)


class Priority(ServiceCase):
    def test_who_writes_steps_behind_who_answers(self):
        promsplit, _ = self.stage.pair("promsplit", self.prometheus)
        nice = promsplit.niceness()
        own = os.getpriority(os.PRIO_PROCESS, 0)
        behind = {name: nice.pop(name) for name in ("writes", "commit", "compact")}
        self.assertEqual(behind, {"writes": {own + 10}, "commit": {own + 10}, "compact": {own + 5}})
        self.assertEqual(set().union(*nice.values()), {own}, nice)


class Limits(ServiceCase):
    def test_each_limit_names_itself_and_spares_the_rest(self):
        upstream = self.stage.prometheus("upstream", self.prometheus)
        flags = ("--remote-write.max-labels=5", "--remote-write.max-label-name=10", "--remote-write.max-label-value=20")
        api = self.stage.promsplit("promsplit", upstream.port, flags=flags).api
        cases = (
            ("too_many_labels", {f"l{n}": "x" for n in range(5)}, b'labels of a series: 6 exceeds limit 5, series {__name__="bad"'),
            ("label_name_too_long", {"n" * 11: "x"}, b"bytes of label name nnnnnnnnnnn: 11 exceeds limit 10, series {"),
            ("label_value_too_long", {"l": "v" * 21}, b"bytes of the value of label l: 21 exceeds limit 20, series {"),
            ("invalid_labels", {"": "x"}, b"invalid metric name or labels"),
        )
        for n, (result, labels, words) in enumerate(cases):
            with self.subTest(result):
                bad = one("bad", [(T0, 1.0), (T0 + 1, 1.0)], **labels) + one("good", [(T0 + n, 1.0)])
                answer = api.write(bad)
                self.assertEqual(answer.status, 400)
                self.assertRegex(answer.body, words)
                self.assertIn(b"samples: 1 stored", answer.body)
                self.assertIn(b"series with invalid labels: 1;", answer.body)
                self.assertEqual(api.metric(RESULT, f'{{result="{result}"}}'), 2)
        self.assertEqual(api.metric(RESULT, '{result="written"}'), len(cases))
        self.assertEqual(set(stored(api, [(wire.MATCHES, "__name__", ".+")])), {(("__name__", "good"),)})

    def test_no_limits(self):
        upstream = self.stage.prometheus("upstream", self.prometheus)
        flags = ("--remote-write.max-labels=0", "--remote-write.max-label-name=0", "--remote-write.max-label-value=0",
                 "--storage.future-window=0")
        api = self.stage.promsplit("promsplit", upstream.port, flags=flags).api
        labels = {f"l{n}": "x" for n in range(200)} | {"n" * 5000: "v" * 9000}
        self.assertEqual(api.write(one("wide", [(T0 * 2, 1.0)], **labels)).status, 204)


class FullDisk(ServiceCase):
    """Two kinds: a file system that is nearly full, and one that fails every write beyond some size."""

    def send(self, promsplit, acknowledged, samples_n=20):
        """One more write; adds its samples if they are acknowledged."""
        first = acknowledged[-1][0] + 1 if acknowledged else T0
        samples = [(first + k, float_bits(random.random())) for k in range(samples_n)]
        answer = promsplit.api.write([({"__name__": "full", "i": str(i)}, samples) for i in range(200)])
        if answer.status == 204:
            acknowledged += samples
        else:
            self.assertEqual(answer.status, 503, answer)
            self.assertEqual(answer.headers["Retry-After"], "1")
        return answer

    def fill(self, promsplit, acknowledged):
        """Writes until it is refused."""
        for _ in range(2000):
            answer = self.send(promsplit, acknowledged)
            if answer.status != 204:
                return answer
        self.fail("the disk was never full")

    def check(self, api, acknowledged):
        for i in (0, 199):
            matchers = [(wire.EQUAL, "__name__", "full"), (wire.EQUAL, "i", str(i))]
            (samples,) = stored(api, matchers).values()
            self.assertEqual(samples, acknowledged)
        answer = api.query("count(last_over_time(full[1d]))", T0_S + 3600)
        self.assertEqual(answer.json()["data"]["result"][0]["value"][1], "200", answer)

    def recovers(self, promsplit, acknowledged):
        """Writes are stored again without help; the log says both in few lines."""
        until(lambda: self.send(promsplit, acknowledged).status == 204, 60, "a write that is stored again")
        self.check(promsplit.api, acknowledged)
        with open(promsplit.log_path) as log:
            text = log.read()
        self.assertIn('msg="writes are stored again"', text)
        self.assertLess(text.count('msg="writes were not stored"'), 5)
        self.assertGreater(text.count('msg="writes were not stored"'), 0)
        self.assertEqual(promsplit.stop(), 0)
        promsplit.start()
        self.check(promsplit.api, acknowledged)

    def test_a_limit_on_the_size_of_files(self):
        """What the log needs is asked for ahead, so that no commit fails; without, the engine is opened again."""
        unlimited = resource.RLIM_INFINITY
        for name, flags, words, opened_again in (
            ("asked for ahead", (), b"more are asked for: File too large", False),
            ("to the end", ("--storage.min-free=0",), b"the store cannot be written|no space to open the store again", True),
        ):
            with self.subTest(name):
                promsplit, _ = self.stage.pair("promsplit", self.prometheus, flags=flags)
                pid = promsplit.process.pid
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (6_000_000, unlimited))
                acknowledged = []
                answer = self.fill(promsplit, acknowledged)
                self.assertRegex(answer.body, words)
                refused = sum(self.send(promsplit, acknowledged).status == 503 for _ in range(60))  # senders come again and again
                self.assertGreater(refused, 30)
                self.check(promsplit.api, acknowledged)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
                until(lambda: self.send(promsplit, acknowledged).status == 204, 60, "a write that is stored again")
                self.assertEqual(promsplit.api.metric("promsplit_store_reopens_total") > 0, opened_again)
                self.recovers(promsplit, acknowledged)
                self.assertEqual(promsplit.stop(), 0)

    def test_a_file_system_that_is_nearly_full(self):
        place = os.path.join(self.stage.directory, "small")
        os.mkdir(place)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", place], capture_output=True).returncode != 0:
            self.skipTest("this user may not mount a file system")
        self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
        for name, flags in (("kept free", ("--storage.min-free=16MB",)), ("to the end", ("--storage.min-free=0",))):
            with self.subTest(name):
                path = os.path.join(place, name.replace(" ", "-"))
                upstream = self.stage.prometheus("upstream", self.prometheus)
                promsplit = self.stage.promsplit("promsplit", upstream.port, flags=flags, storage=path)
                ballast = os.path.join(place, "ballast")
                with open(ballast, "wb") as file:
                    file.write(b"x" * 14_000_000)
                acknowledged = []
                answer = self.fill(promsplit, acknowledged)
                self.assertIn(b"16777216 must stay free" if name == "kept free" else b"No space left on device", answer.body)
                self.check(promsplit.api, acknowledged)
                os.remove(ballast)
                self.recovers(promsplit, acknowledged)
                reopened = promsplit.api.metric("promsplit_store_reopens_total")
                self.assertEqual(promsplit.stop(), 0)
                print(f"   {name}: {len(acknowledged)} samples a series, opened again {reopened:.0f} times")
                for file in os.listdir(path):
                    os.remove(os.path.join(path, file))
