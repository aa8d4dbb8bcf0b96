"""When the other Prometheus fails, is slow, or is set up wrongly: the right error in time, and the next query works."""
import concurrent.futures
import socket
import threading
import time
import urllib.parse

from fixture import DIRECT, RESIDUAL, SLOW, T0, T0_S, ServiceCase, on_each_prometheus, small_data, until
from lib import dataset
from lib.processes import free_port, remote_read_stanza
from lib.relay import Relay

AT = T0_S + 1200


@on_each_prometheus
class WrongSetup(ServiceCase):
    """Settings of upstream's remote_read: what is wrong is named by /-/ready and by the failing query."""

    def behind(self, remote_read, config=""):
        """promsplit, loaded, whose upstream has this remote_read text (or None) for it."""
        port = free_port()
        text = remote_read(f"http://127.0.0.1:{port}") if remote_read else None
        upstream = self.stage.prometheus("upstream", self.prometheus, remote_read=text, config=config)
        # its own blocks cover the query's time: without read_recent, what they cover is not asked for
        upstream.api.write([({"__name__": "own"}, [(T0 - 10 * 86_400_000, 0), (int(time.time() * 1000), 0)])])
        promsplit = self.stage.promsplit("promsplit", upstream.port, port=port)
        dataset.load(promsplit.api, small_data())
        return promsplit

    def assert_named(self, promsplit, *words):
        def named():
            answer = promsplit.api.get("/-/ready")
            return answer.status == 503 and all(word in answer.body.decode() for word in words)

        until(named, 15, f"not ready because of {words}")
        began = time.monotonic()
        answer = promsplit.api.query(RESIDUAL, AT)
        self.assertLess(time.monotonic() - began, 5 * SLOW)
        self.assertGreaterEqual(answer.status, 400, answer)
        for word in words:
            self.assertIn(word, answer.json()["error"])
        self.assert_answers(promsplit.api, DIRECT)  # what needs no upstream goes on

    def test_without_remote_read(self):
        self.assert_named(self.behind(None), "remote_read")

    def test_without_read_recent(self):
        self.assert_named(self.behind(lambda url: remote_read_stanza(url, read_recent="false")), "read_recent")

    def test_without_read_recent_and_without_own_data(self):
        port = free_port()
        upstream = self.stage.prometheus("empty", self.prometheus,
                                         remote_read=remote_read_stanza(f"http://127.0.0.1:{port}", read_recent="false"))
        promsplit = self.stage.promsplit("promsplit", upstream.port, port=port)
        until(lambda: "read_recent: true" in promsplit.api.get("/-/ready").body.decode(), 15, "not ready because of read_recent")

    def test_external_labels_filtered(self):
        config = "global: {external_labels: {cluster: c1}}\n"
        promsplit = self.behind(lambda url: remote_read_stanza(url, filter_external_labels="true"), config)
        self.assert_named(promsplit, "filter_external_labels")

    def test_external_labels_not_filtered_are_fine(self):
        config = "global: {external_labels: {cluster: c1}}\n"
        promsplit = self.behind(remote_read_stanza, config)
        promsplit.wait_for("/-/ready")
        self.assert_answers(promsplit.api)

    def test_another_required_matcher(self):
        more = "    required_matchers: {some: other}\n"
        promsplit = self.behind(lambda url: remote_read_stanza(url, required=False, more=more))
        self.assert_named(promsplit, "required_matchers")


@on_each_prometheus
class Failing(ServiceCase):
    @classmethod
    def prepare(cls):
        cls.port = free_port()
        cls.relay = Relay(cls.port)  # the way back from upstream
        cls.upstream = cls.stage.prometheus("upstream", cls.prometheus, remote_read=f"http://127.0.0.1:{cls.relay.port}")
        cls.promsplit = cls.stage.promsplit("promsplit", cls.upstream.port, port=cls.port)
        cls.promsplit.wait_for("/-/ready")
        cls.api = cls.promsplit.api
        dataset.load(cls.api, small_data())

    def setUp(self):
        self.relay.delay_s, self.relay.cut_after_bytes = 0, None
        self.assert_answers(self.api)

    def tearDown(self):
        self.relay.delay_s, self.relay.cut_after_bytes = 0, None
        if not self.upstream.alive:
            self.upstream.start()
        self.assert_answers(self.api)
        until(lambda: self.api.metric("promsplit_tasks") == 0, 10, "no task left")

    def test_upstream_stopped(self):
        self.upstream.stop()
        began = time.monotonic()
        answer = self.api.query(RESIDUAL, AT)
        self.assertLess(time.monotonic() - began, 5 * SLOW)
        self.assertIn(answer.status, (500, 502, 503), answer)
        self.assertIn("upstream", answer.json()["error"])
        self.assert_answers(self.api, DIRECT)

    def test_first_query_before_any_word_of_upstream(self):
        self.promsplit.stop()
        self.upstream.stop()
        self.promsplit.start()
        answer = self.api.query(RESIDUAL, AT)
        self.assert_api_error(answer, 502, "unavailable", "--upstream.version=2", "failed to connect")
        self.upstream.start()
        self.promsplit.stop()
        self.promsplit.start()
        self.assert_answers(self.api)  # waits for upstream's version

    def test_callback_late(self):
        self.relay.delay_s = 3
        began = time.monotonic()
        answer = self.api.query(RESIDUAL, AT, timeout="1s")
        self.assertLess(time.monotonic() - began, 2.5 * SLOW)
        self.assert_api_error(answer, 503, "timeout")

    def test_callback_late_but_in_time(self):
        self.relay.delay_s = 0.5
        self.assert_answers(self.api)

    def test_callback_cut_off_is_an_error_not_a_wrong_success(self):
        self.relay.cut_after_bytes = 40
        answer = self.api.query(f"{RESIDUAL} or vector(1)", AT)
        self.assertGreaterEqual(answer.status, 400, answer)
        self.assertEqual(answer.json()["status"], "error")

    def test_client_gone(self):
        self.relay.delay_s = 2
        before = self.api.metric("promsplit_queries_running")
        with socket.create_connection(("127.0.0.1", self.promsplit.port)) as client:
            query = urllib.parse.urlencode({"query": RESIDUAL, "time": AT})
            client.sendall(f"GET /api/v1/query?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            until(lambda: self.api.metric("promsplit_tasks") >= 1, 5, "the query's task")
        until(lambda: self.api.metric("promsplit_tasks") == 0, 10, "the task gone with its client")
        until(lambda: self.api.metric("promsplit_queries_running") == before, 10, "the query gone with its client")

    def test_engine_query_cancelled(self):
        slow = "sum(" + "max_over_time(" * 3 + "rate(hits_total[10m])" + "[30m:1s])" * 3 + ")"
        began = time.monotonic()
        answer = self.api.query_range(slow, T0_S, T0_S + 1800, 1, timeout="100ms")
        self.assertLess(time.monotonic() - began, 3 * SLOW)
        self.assert_api_error(answer, 503, "timeout")


@on_each_prometheus
class Flood(ServiceCase):
    """The two-pool rule: callbacks are answered while every query slot is taken."""

    def flood(self, name, **options):
        promsplit, _ = self.loaded_pair(name, **options)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: promsplit.api.query(RESIDUAL, AT), range(50)))
        self.assertEqual({a.status for a in answers}, {200}, [a for a in answers if a.status != 200][:1])
        results = {a.body for a in answers}
        self.assertEqual(len({str(sorted(map(str, a.json()["data"]["result"]))) for a in answers}), 1, list(results)[:2])
        until(lambda: promsplit.api.metric("promsplit_tasks") == 0, 10, "no task left")

    def test_50_split_queries_with_one_slot(self):
        self.flood("eager", flags=("--query.max-concurrency=1", "--remote-read.threads=1"))

    def test_50_split_queries_with_one_slot_dispatched_on_read(self):
        self.flood("on-read", flags=("--query.max-concurrency=1", "--task.dispatch=on-read"))

    def test_queries_and_writes_at_once(self):
        promsplit, _ = self.loaded_pair("mixed")
        refused, stop = [], threading.Event()

        def write(sender):
            n = 0
            while not stop.is_set():
                labels = {"__name__": "other", "sender": str(sender)}
                answer = promsplit.api.write([({**labels, "n": str(k)}, [(T0 + n * 1000, n)]) for k in range(100)])
                n += 1
                if answer.status not in (200, 204):
                    refused.append(answer)

        senders = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        for sender in senders:
            sender.start()
        try:
            for n in range(60):
                self.assert_answers(promsplit.api, RESIDUAL if n % 2 else DIRECT)
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        self.assertEqual(refused, [])
