"""Real senders: Prometheus by remote write 1.0 and 2.0, vmagent, and pairs of replicas of which one is stored."""
import os
import time

from fixture import T0, T0_S, ServiceCase, until
from lib import wire
from lib.processes import ROOT, Server, free_port
from lib.target import FAMILIES, Target, open_metrics
from lib.wire import float_bits

V2 = {
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
VMAGENT = os.path.join(ROOT, ".deps", "victoria-metrics-sid", "usr", "bin", "vmagent")
OF_TARGET = '{__name__=~"target_.*"}'
LOSSES = (  # of a sender; labels differ by version, so all lines of a name count
    "prometheus_remote_storage_samples_failed_total",
    "prometheus_remote_storage_samples_dropped_total",
    "prometheus_remote_storage_metadata_failed_total",
)


def scrape_config(target, write_url, write="", labels="", interval="200ms"):
    return f"""
global: {{scrape_interval: {interval}, evaluation_interval: 1m, external_labels: {{{labels}}}}}
scrape_configs:
- job_name: t
  static_configs: [{{targets: ["127.0.0.1:{target.port}"], labels: {{instance: one}}}}]
remote_write:
- url: {write_url}/api/v1/write
  queue_config: {{batch_send_deadline: 100ms, min_shards: 1, max_shards: 2}}
  {write}
"""


def vmagent(stage, target, promsplit, interval):
    """One that scrapes the target and sends to promsplit."""
    directory = os.path.join(stage.directory, "vmagent")
    os.mkdir(directory)
    with open(os.path.join(directory, "scrape.yml"), "w") as file:
        file.write(f"global: {{scrape_interval: {interval}}}\nscrape_configs:\n- job_name: t\n  static_configs:\n"
                   f"  - {{targets: ['127.0.0.1:{target.port}'], labels: {{instance: one}}}}\n")
    port = free_port()
    return Server("vmagent", [VMAGENT, f"-promscrape.config={directory}/scrape.yml", f"-httpListenAddr=127.0.0.1:{port}",
                              f"-remoteWrite.tmpDataPath={directory}/data", "-remoteWrite.flushInterval=200ms",
                              "-enableMetadata", f"-remoteWrite.url={promsplit.api.url}/api/v1/write"],
                  directory, port, health="/health").start()


def samples_of(api, window="1m", at=None):
    """{labels without those of senders: {time in ms: value}} of the target, as that server has them."""
    answer = api.query(f"{OF_TARGET}[{window}]", at or time.time())
    if answer.status != 200:
        raise AssertionError(answer)
    out = {}
    for series in answer.json()["data"]["result"]:
        labels = {n: v for n, v in series["metric"].items() if n not in ("cluster", "__replica__")}
        out[tuple(sorted(labels.items()))] = {round(t * 1000): v for t, v in series["values"]}
    return out


def lost(api, *names):
    """What the sender says it lost: of those metrics, or of samples and metadata."""
    lines = api.get("/metrics").body.decode().splitlines()
    return {line for line in lines if line.startswith(names or LOSSES) and float(line.rpartition(" ")[2]) > 0}


class Sender(ServiceCase):
    """One Prometheus scrapes, sends here, and is our upstream."""

    write = "metadata_config: {send_interval: 1s}"
    features = ()
    is_2_0 = False

    @classmethod
    def prepare(cls):
        cls.target = Target()
        cls.addClassCleanup(cls.target.close)
        port = free_port()
        config = scrape_config(cls.target, f"http://127.0.0.1:{port}", cls.write)
        cls.upstream = cls.stage.prometheus("upstream", cls.prometheus, remote_read=f"http://127.0.0.1:{port}",
                                            config=config, flags=cls.features, start=False)
        cls.promsplit = cls.stage.promsplit("promsplit", cls.upstream.port, port=port)
        cls.upstream.start()
        cls.addClassCleanup(cls.upstream.kill)  # else it waits for us, who are stopped first
        cls.promsplit.wait_for("/-/ready")
        cls.api = cls.promsplit.api

    def has_all(self, since_ms=0):
        """Whether everything the sender has, later than that and but for the last second, is here; nothing else is."""
        until_ms = time.time() * 1000 - 1000
        theirs, ours = samples_of(self.upstream.api), samples_of(self.api)
        cut = lambda all_: {k: {t: v for t, v in s.items() if since_ms < t < until_ms} for k, s in all_.items()}  # noqa: E731
        return len(theirs) == len(ours) > 10 and cut(theirs) == cut(ours) and min(map(len, cut(ours).values())) > 8

    def test_1_every_sample_arrives(self):
        until(self.has_all, 10, "what the sender has")
        self.assertEqual(lost(self.upstream.api), set())
        self.assertEqual(self.api.metric("promsplit_write_requests_total", '{code="400"}'), 0)

    def expected_metadata(self):
        return {name: [{"type": kind, "unit": "", "help": words}] for name, (kind, words) in FAMILIES.items()}

    def metadata(self, **params):
        answer = self.api.get("/api/v1/metadata", **params)
        self.assertEqual(answer.status, 200, answer)
        return answer.json()["data"]

    def test_2_metadata_arrives_and_stays(self):
        expected = self.expected_metadata()
        known = lambda: {n: v for n, v in self.metadata().items() if n.startswith("target_")}  # noqa: E731
        until(lambda: known() == expected, 10, "metadata")
        theirs = self.upstream.api.get("/api/v1/metadata").json()["data"]
        self.assertEqual({n: v for n, v in theirs.items() if n.startswith("target_")}, expected)
        self.assertEqual(self.metadata(metric="target_temperature"),
                         {"target_temperature": expected["target_temperature"]})
        self.assertEqual(self.metadata(metric="nobody"), {})
        self.assertEqual(len(self.metadata(limit=2)), 2)
        self.assertEqual(len(self.metadata(limit=0)), 0)
        self.assertEqual(self.metadata(limit_per_metric=1, metric="target_temperature")["target_temperature"],
                         expected["target_temperature"])
        self.assertEqual(self.api.metric("promsplit_write_metadata_total", '{result="invalid"}'), 0)
        for version, is_used in (("1.0", not self.is_2_0), ("2.0", self.is_2_0)):
            n = self.api.metric("promsplit_write_versions_total", f'{{version="{version}"}}')
            self.assertEqual(n > 0, is_used, version)
        self.promsplit.kill()
        self.promsplit.start()
        self.assertEqual(known(), expected)

    def test_3_metadata_of_targets(self):
        params = {"metric": "target_hits_total", "match_target": '{job="t"}'}
        answer = self.api.get("/api/v1/targets/metadata", **params)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()["data"],
                         [{"target": {"instance": "one", "job": "t"}, "type": "counter", "help": "Requests that came in.", "unit": ""}])
        self.assertEqual(len(self.api.get("/api/v1/targets/metadata", match_target='{job="t"}').json()["data"]), len(FAMILIES))
        self.assertEqual(self.api.get("/api/v1/targets/metadata", match_target='{job="x"}').json()["data"], [])

    def test_4_a_sender_that_was_killed_leaves_no_doubles(self):
        self.promsplit.wait_for("/-/ready")
        until(self.has_all, 10, "what the sender has after our restart")
        self.upstream.kill()
        self.upstream.start()
        begun_ms = time.time() * 1000
        self.promsplit.wait_for("/-/ready")
        until(lambda: self.has_all(begun_ms), 15, "what the sender has after its restart")
        self.assertEqual(lost(self.upstream.api), set())
        for result in ("conflicting", "out_of_order"):
            self.assertEqual(self.api.metric("promsplit_write_samples_total", f'{{result="{result}"}}'), 0)


class Sender_1_0_of_2_42(Sender):
    version = "2.42"


class Sender_1_0_of_3_5(Sender):
    version = "3.5"


class Sender_2_0_of_3_5(Sender):
    version = "3.5"
    write = "protobuf_message: io.prometheus.write.v2.Request"
    features = ("--enable-feature=metadata-wal-records,promql-experimental-functions",)
    is_2_0 = True


del Sender


class ExemplarSender(ServiceCase):
    """One Prometheus scrapes exemplars, sends them here, and has the same."""

    version = "3.5"
    write = "send_exemplars: true"

    @classmethod
    def prepare(cls):
        cls.target = Target(open_metrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        cls.addClassCleanup(cls.target.close)
        port = free_port()
        cls.upstream = cls.stage.prometheus(
            "upstream", cls.prometheus, remote_read=f"http://127.0.0.1:{port}", start=False,
            config=scrape_config(cls.target, f"http://127.0.0.1:{port}", cls.write),
            flags=("--enable-feature=exemplar-storage,promql-experimental-functions",))
        cls.promsplit = cls.stage.promsplit("promsplit", cls.upstream.port, port=port)
        cls.upstream.start()
        cls.addClassCleanup(cls.upstream.kill)
        cls.promsplit.wait_for("/-/ready")
        cls.api = cls.promsplit.api

    def exemplars_of(self, api, query, end):
        answer = api.get("/api/v1/query_exemplars", query=query, start=end - 60, end=end)
        self.assertEqual(answer.status, 200, answer)
        return answer.json()["data"]

    def has_all(self):
        end = time.time() - 1
        queries = ("rate(target_hits_total[5m])", '{__name__=~"target_.*", le!="0.1"}', "target_hits_total + on() target_none")
        theirs, ours = ([self.exemplars_of(api, query, end) for query in queries] for api in (self.upstream.api, self.api))
        return theirs == ours and [len(found) for found in ours] == [2, 3, 2] and len(ours[0][0]["exemplars"]) > 8

    def test_all_exemplars_arrive(self):
        until(self.has_all, 30, "what the sender has")
        self.assertEqual(lost(self.upstream.api, "prometheus_remote_storage_exemplars_failed_total",
                              "prometheus_remote_storage_exemplars_dropped_total"), set())
        self.promsplit.kill()
        self.promsplit.start()
        until(self.has_all, 30, "what the sender has, after kill -9")


class ExemplarSender_1_0(ExemplarSender):
    pass


class ExemplarSender_2_0(ExemplarSender):
    write = "protobuf_message: io.prometheus.write.v2.Request\n  send_exemplars: true"


del ExemplarSender


class ExemplarPeer(ServiceCase):
    """The same requests here and to a Prometheus: the same answers. Prometheus 2 takes none of equal time."""

    version = "3.5"

    @classmethod
    def prepare(cls):
        cls.promsplit, cls.upstream = cls.stage.pair("promsplit", cls.prometheus)
        cls.peer = cls.stage.prometheus("peer", cls.prometheus, flags=("--enable-feature=exemplar-storage",))
        cls.apis = (cls.peer.api, cls.promsplit.api)

    def both(self, query, **params):
        theirs, ours = (api.get("/api/v1/query_exemplars", query=query, **params) for api in self.apis)
        self.assertEqual(theirs.status, ours.status, (theirs, ours))
        if ours.status == 204:
            self.assertEqual((theirs.body, ours.body), (b"", b""))
            return None
        self.assertEqual(theirs.json(), ours.json(), query)
        return ours.json().get("data")

    def test_same_answers(self):
        one = float_bits(1)
        exemplars = {
            "1": [({"t": "b"}, T0, one), ({"t": "b"}, T0, one), ({"t": "b"}, T0 - 1, one), ({"t": "c"}, T0, float_bits(0.5)),
                  ({"t": "a"}, T0, float_bits(2)), ({"t": "b"}, T0 + 1500, float_bits(float("inf")))],
            "2": [({"t": "\u20ac" * 127}, T0, one), ({"t": "\u20ac" * 128}, T0 + 1, one), ({}, T0 + 2, float_bits(-0.0)),
                  ({"a b": "\"\n", "c": ""}, T0 + 3, float_bits(1e-9)), ({"x": "1"}, int((time.time() + 3600) * 1000), one)],
            "3": [({"t": "1"}, T0 + k, float_bits(k / 3)) for k in range(50)],
        }
        for again in range(2):
            body = [({"__name__": "peer", "n": n}, [(T0 + again, one)], made[again:]) for n, made in exemplars.items()]
            for api in self.apis:
                self.assertEqual(api.write(body).status, 204)
        for api in self.apis:  # series without a sample
            self.assertEqual(api.write([({"__name__": "alone"}, [], [({"t": "1"}, T0, one)])]).status, 204)
        self.assertEqual([len(s["exemplars"]) for s in self.both("peer")], [3, 3, 50])
        for query in ("alone", 'peer{n="1"} / on() sum(rate(peer{n=~"2|3"}[5m] offset 1h))', '{n!~"2|3"}', "1", 'peer{n=~"("}', "peer @ 1", "sum("):
            self.both(query)
        for start, end in ((T0_S, T0_S), (T0_S, T0_S + 0.02), (T0_S + 1, T0_S + 9), (T0_S, T0_S - 1), ("x", T0_S)):
            self.both("peer", start=start, end=end)


class HandMade(ServiceCase):
    """Requests of 2.0 that a well-behaved sender does not send, and metadata in labels."""

    @classmethod
    def prepare(cls):
        cls.promsplit, cls.upstream = cls.stage.pair("promsplit", cls.prometheus)
        cls.api = cls.promsplit.api

    def expect(self, answer, status, samples, words=b"", exemplars=0):
        self.assertEqual(answer.status, status, answer)
        self.assertIn(words, answer.body)
        for kind, n in (("Samples", samples), ("Histograms", 0), ("Exemplars", exemplars)):
            self.assertEqual(answer.headers[f"X-Prometheus-Remote-Write-{kind}-Written"], str(n), answer)

    def write_2(self, series, **options):
        return self.api.write_bytes(wire.snappy(wire.write_request_2(series, **options)), **V2)

    def test_counts_are_true_and_the_good_is_kept(self):
        series = lambda n, *samples: ({"__name__": "made", "n": n}, [(t, float_bits(v)) for t, v in samples])  # noqa: E731
        self.expect(self.write_2([series("1", (T0, 1), (T0 + 1, 2)), series("2", (T0, 1))]), 204, 3)
        self.expect(self.write_2([series("1", (T0 + 1, 2), (T0 + 2, 3))]), 204, 2)  # one of them again
        mixed = [series("1", (T0 + 2, 4), (T0 + 3, 5)), ({"n": "3"}, [(T0, float_bits(1))]), series("2", (T0 + 1, 1)), series("4")]
        self.expect(self.write_2(mixed), 400, 2, b"duplicate sample for timestamp")
        self.expect(self.write_2([series("4")]), 400, 0, b"TimeSeries must contain at least one sample or histogram")
        self.expect(self.write_2([series("4", (T0, 1))], symbols=("first",)), 400, 0, b"the first symbol is not the empty text")
        self.expect(self.write_2([series("4", (T0, 1))], extra_refs=(99999,)), 400, 0, b"invalid labelRefs length 5")
        self.expect(self.write_2([series("4", (T0, 1))], extra_refs=(99999, 0)), 400, 0, b"labelRefs 99999 outside of symbols table")
        self.expect(self.api.write_bytes(b"nonsense", **V2), 400, 0, b"snappy")
        self.expect(self.api.write_bytes(wire.snappy(b"\x22\x05"), **V2), 400, 0, b"is not valid protobuf")
        found = self.api.query("made", T0_S + 1).json()["data"]["result"]
        self.assertEqual({s["metric"]["n"]: s["value"][1] for s in found}, {"1": "5", "2": "1"})

    def test_exemplars_are_counted(self):
        one = float_bits(1)
        series = lambda n, *exemplars: ({"__name__": "shown", "n": n}, [(T0, one)], [({"t": "1"}, T0 + at, one) for at in exemplars])  # noqa: E731
        self.expect(self.write_2([series("1", 0, 5), series("2")]), 204, 2, exemplars=2)
        self.expect(self.write_2([series("1", 0, 5, 6), series("2", 1)]), 204, 2, exemplars=4)  # two of them again
        self.expect(self.write_2([series("1", 4, 7)]), 400, 1, b"out of order exemplar: series shown", exemplars=1)
        long = ({"__name__": "shown", "n": "3"}, [(T0, one)], [({"t": "x" * 128}, T0, one), ({"t": ""}, T0 + 1, one), ({"t": "2"}, T0 + 10**15, one)])
        self.expect(self.write_2([long]), 204, 1, exemplars=1)
        found = self.api.get("/api/v1/query_exemplars", query='shown{n!="2"}').json()["data"]
        self.assertEqual([len(s["exemplars"]) for s in found], [4, 1])
        self.assertEqual(found[1]["exemplars"], [{"labels": {}, "value": "1", "timestamp": (T0 + 1) / 1000}])
        for result, n in (("written", 6), ("duplicate", 2), ("out_of_order", 1), ("too_long", 1), ("too_far_ahead", 1)):
            self.assertEqual(self.api.metric("promsplit_write_exemplars_total", f'{{result="{result}"}}'), n, result)
        self.assertEqual(self.api.metric("promsplit_store_exemplars"), 6)

    def test_start_timestamps(self):
        """Skipped; or zeros, which show a counter's first increase, and those after it began anew."""
        series = [({"__name__": "begun_total"}, [(T0 + 60_000, float_bits(30)), (T0 + 120_000, float_bits(60)), (T0 + 240_000, float_bits(20))])]
        starts = [T0 + 1, T0 + 1, T0 + 200_000]
        other, _ = self.stage.pair("zeros", self.prometheus, flags=("--remote-write.start-zeros",))
        for api, times, zeros in ((self.api, [60_000, 120_000, 240_000], 0), (other.api, [1, 60_000, 120_000, 200_000, 240_000], 2)):
            for again in range(2):
                answer = api.write_bytes(wire.snappy(wire.write_request_2(series, starts=starts)), **V2)
                self.assertEqual(answer.headers["X-Prometheus-Remote-Write-Samples-Written"], str(1 if again else 3), answer)
            found = api.query("begun_total[1h]", T0_S + 240).json()["data"]["result"][0]["values"]
            self.assertEqual([round(t * 1000) - T0 for t, _ in found], times)
            self.assertEqual(api.metric("promsplit_write_samples_total", '{result="start_zero"}'), zeros)

    def test_what_it_does_not_speak(self):
        for head in ({"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"}, {"Content-Encoding": "zstd"},
                     {"Content-Type": "application/json"}):
            answer = self.api.write_bytes(wire.snappy(b""), **head)
            self.assertEqual(answer.status, 415, head)
        answer = self.api.write_bytes(wire.snappy(wire.write_request([({"__name__": "old"}, [(T0, 0)])])))
        self.assertEqual(answer.status, 204)
        self.assertNotIn("X-Prometheus-Remote-Write-Samples-Written", answer.headers)

    def test_metadata_in_labels(self):
        said = {"__metric_type__": "counter", "__metric_help__": "Requests.", "__metric_unit__": "requests"}
        self.assertEqual(self.api.write([({"__name__": "labelled_total", **said}, [(T0, float_bits(1))])]).status, 204)
        known = lambda: self.api.get("/api/v1/metadata", metric="labelled_total").json()["data"]["labelled_total"]  # noqa: E731
        self.assertEqual(known(), [{"type": "counter", "unit": "requests", "help": "Requests."}])
        self.expect(self.write_2([({"__name__": "labelled_total", **said, "__metric_help__": "Newer."}, [(T0 + 1, 0)])]), 204, 1)
        self.assertEqual(known(), [{"type": "counter", "unit": "requests", "help": "Newer."}])
        series = self.api.get("/api/v1/series", match="labelled_total").json()["data"]
        self.assertEqual(series, [{"__name__": "labelled_total"}])


class Replicas(ServiceCase):
    """Two Prometheuses of one target."""

    def pair_of(self, flags):
        self.target = Target()
        self.addCleanup(self.target.close)
        promsplit, _ = self.stage.pair("promsplit", self.prometheus, flags=flags)
        senders = {}
        for name in ("a", "b"):
            labels = f"cluster: c, __replica__: {name}"
            config = scrape_config(self.target, promsplit.api.url, "metadata_config: {send_interval: 1s}", labels)
            senders[name] = self.stage.prometheus(f"replica-{name}", self.prometheus, config=config)
            self.addCleanup(senders[name].kill)
        return promsplit, senders

    def rates(self, api, at):
        answer = api.query(f"sum by (path) (rate({OF_TARGET[:-1]},path!=''}}[1s]))", at)
        self.assertEqual(answer.status, 200, answer)
        return {series["metric"]["path"]: float(series["value"][1]) for series in answer.json()["data"]["result"]}

    def assert_same_rates(self, ours, theirs):
        self.assertEqual(set(ours), set(theirs))
        for path, rate in theirs.items():
            self.assertAlmostEqual(ours[path], rate, delta=1e-9 * rate)

    def elected(self, api):
        """The one whose samples are stored."""
        return next(n for n, sender in self.senders.items() if self.is_part(samples_of(api), samples_of(sender.api)))

    def is_part(self, some, all_):
        return bool(some) and all(all_.get(k, {}).get(t) == v for k, s in some.items() for t, v in s.items())

    def test_one_is_stored_through_a_failover(self):
        promsplit, self.senders = self.pair_of(("--ha.enabled", "--ha.failover-time=1500ms"))
        api = promsplit.api
        other_replica = lambda: api.metric("promsplit_write_samples_total", '{result="other_replica"}')  # noqa: E731
        until(lambda: other_replica() > 50 and len(samples_of(api, "3s")) > 10, 10, "samples of both")
        time.sleep(1.5)
        now = time.time() - 1
        first = self.elected(api)
        second = {"a": "b", "b": "a"}[first]
        self.assert_same_rates(self.rates(api, now), self.rates(self.senders[first].api, now))
        before = samples_of(self.senders[first].api)
        self.senders[first].kill()
        until(lambda: api.metric("promsplit_ha_elections_total", '{event="failover"}') == 1, 10, "a failover")
        time.sleep(2.5)
        now = time.time() - 1
        self.assert_same_rates(self.rates(api, now), self.rates(self.senders[second].api, now))
        self.assertEqual(api.metric("promsplit_ha_clusters"), 1)
        ours = samples_of(api)
        after = samples_of(self.senders[second].api)  # asked later, so that it has all of ours
        self.assertEqual(set(ours), set(before))
        for labels, samples in ours.items():
            taken_over = min(t for t, v in samples.items() if t not in before[labels] and after[labels].get(t) == v)
            for t, v in samples.items():
                if t < max(before[labels]):  # what the first sent in its last moment cannot be asked for any more
                    self.assertEqual(before[labels][t], v)
                if t >= taken_over:
                    self.assertEqual(after[labels][t], v)
            missing = set(after[labels]) - set(samples)
            self.assertEqual({t for t in missing if taken_over < t < now * 1000}, set())
        names = api.get("/api/v1/labels").json()["data"]
        self.assertIn("cluster", names)
        self.assertNotIn("__replica__", names)
        self.assertEqual(lost(self.senders[second].api), set())

    def test_a_restart_loses_nothing(self):
        promsplit, self.senders = self.pair_of(("--ha.enabled", "--ha.failover-time=10s"))
        api = promsplit.api
        until(lambda: len(samples_of(api, "3s")) > 10, 10, "samples")
        first = self.elected(api)
        time.sleep(1)
        promsplit.kill()
        time.sleep(1)
        promsplit.start()
        begun_ms = time.time() * 1000

        def all_there():
            ours, theirs = samples_of(api), samples_of(self.senders[first].api)
            until_ms = time.time() * 1000 - 800
            return until_ms > begun_ms and all(
                [t for t in theirs[k] if min(s) <= t < until_ms] == [t for t in s if t < until_ms] for k, s in ours.items())

        until(all_there, 10, "all samples of the elected one")
        for event in ("first", "failover"):
            self.assertEqual(api.metric("promsplit_ha_elections_total", f'{{event="{event}"}}'), 0)

    def test_both_are_visible_without(self):
        promsplit, _ = self.pair_of(())
        api = promsplit.api
        count = lambda: api.query('count by (__replica__) (up{job="t"})', time.time()).json()["data"]["result"]  # noqa: E731
        until(lambda: [(s["metric"], s["value"][1]) for s in count()] == [({"__replica__": n}, "1") for n in "ab"], 10, "both")
        self.assertEqual(api.metric("promsplit_write_samples_total", '{result="other_replica"}'), 0)


class Vmagent(ServiceCase):
    """It begins with a protocol of its own, which is refused, and goes on with remote write 1.0."""

    def test_every_sample_arrives(self):
        if not os.access(VMAGENT, os.X_OK):
            self.skipTest("no vmagent in .deps/victoria-metrics-sid")
        target = Target()
        self.addCleanup(target.close)
        promsplit, _ = self.stage.pair("promsplit", self.prometheus)
        agent = vmagent(self.stage, target, promsplit, "200ms")
        self.addCleanup(agent.kill)
        api = promsplit.api
        until(lambda: min(map(len, samples_of(api).values()), default=0) > 15, 12, "samples")
        for labels, samples in samples_of(api).items():
            times = sorted(samples)
            gaps = [b - a for a, b in zip(times, times[1:])]
            self.assertLess(max(gaps), 600, labels)  # none is missing
        until(lambda: set(FAMILIES) <= set(api.get("/api/v1/metadata").json()["data"]), 10, "metadata")
        for name, (kind, words) in FAMILIES.items():
            entry = api.get("/api/v1/metadata", metric=name).json()["data"][name]
            self.assertEqual(entry, [{"type": kind, "unit": "", "help": words}])
        self.assertEqual(api.metric("promsplit_write_requests_total", '{code="400"}'), 0)
        self.assertGreater(api.metric("promsplit_write_requests_total", '{code="415"}'), 0)
        page = agent.api.get("/metrics").body.decode().splitlines()
        dropped = [line for line in page if line.startswith("vmagent_remotewrite_packets_dropped_total")]
        self.assertTrue(dropped and all(line.endswith(" 0") for line in dropped), dropped)
