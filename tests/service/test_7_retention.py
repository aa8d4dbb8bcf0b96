"""What is taken out: retention at its edge, with the answers of before for what stays; the calls that delete series."""
import os

from fixture import DIRECT, RESIDUAL, ServiceCase, T0, T0_S, until
from lib import dataset, wire
from lib.wire import float_bits

HOURS, STEP_S = 14, 30
HOUR_MS = 3_600_000
KEPT_FROM = T0 + 8 * HOUR_MS  # 5 h before the newest sample, then down to a multiple of two hours
DROPPED = 'promsplit_store_dropped_samples_total'
OLDEST = "promsplit_store_oldest_sample_timestamp_seconds"
EVERYTHING = (wire.NOT_EQUAL, "__name__", "")
ADMIN = "/api/v1/admin/tsdb/"


def counters():
    """Counters that grow by 1 a second for 14 hours, and one series of the first hour alone."""
    def of(labels, n):
        return {"__name__": "hits_total", **labels}, [(T0 + k * STEP_S * 1000, float_bits(1.0 * STEP_S * k)) for k in range(n)]

    per_hour = 3600 // STEP_S
    series = [of({"job": f"j{i % 2}", "instance": f"i{i}"}, HOURS * per_hour) for i in range(10)]
    return series + [of({"job": "old", "instance": "gone"}, per_hour)]


class Case(ServiceCase):
    def restart(self, promsplit, *flags):
        self.assertEqual(promsplit.stop(), 0)
        promsplit.command.extend(flags)
        promsplit.start()
        promsplit.wait_for("/-/ready")

    def wait_for_drop(self, api):
        """Of all that is older than KEPT_FROM: it may go in several rounds."""
        until(lambda: api.metric(OLDEST) == KEPT_FROM // 1000, 40, "a drop of all that is too old")

    def raw(self, api):
        """All samples by their labels, as text."""
        answer = api.read([(0, T0 * 2, [EVERYTHING])])
        self.assertEqual(answer.status, 200, answer)
        (series,) = wire.read_response(wire.unsnappy(answer.body))
        return {str(sorted(labels.items())): samples for labels, samples in series}

    def values(self, api, name, **params):
        return api.get(f"/api/v1/label/{name}/values", **params).json()["data"]

    def answers(self, api):
        """Of queries whose windows begin after the edge."""
        start, end = KEPT_FROM // 1000 + 600, T0_S + HOURS * 3600
        asked = [api.query_range(query, start, end, 300) for query in (DIRECT, RESIDUAL, "hits_total", "count(hits_total offset 5m)")]
        asked.append(api.get("/api/v1/series", match="hits_total", start=start, end=end))
        for answer in asked:
            self.assertEqual(answer.status, 200, answer)
        return [answer.json()["data"] for answer in asked]


class Retention(Case):
    def test_what_stays_is_answered_as_before(self):
        promsplit, _ = self.stage.pair("promsplit", self.prometheus)
        api = promsplit.api
        count = dataset.load(api, counters())
        before, raw = self.answers(api), self.raw(api)
        self.assertIn("old", self.values(api, "job"))
        self.restart(promsplit, "--storage.retention.time=5h")
        self.wait_for_drop(api)
        self.assertEqual(self.answers(api), before)
        kept = {name: [s for s in samples if s[0] >= KEPT_FROM] for name, samples in raw.items()}
        kept = {name: samples for name, samples in kept.items() if samples}
        self.assertEqual(self.raw(api), kept)
        self.assertEqual(self.values(api, "job"), ["j0", "j1"])
        left = sum(map(len, kept.values()))
        self.assertEqual(api.metric(DROPPED), count - left)
        self.assertEqual(api.metric("promsplit_store_samples"), left)
        self.assertEqual(api.metric("promsplit_store_dropped_series_total"), 1)
        self.assertEqual(api.metric("promsplit_store_dropped_partitions_total"), 4)
        self.assertEqual(api.metric("promsplit_store_retention_failures_total"), 0)
        self.assertEqual(api.get("/api/v1/status/runtimeinfo").json()["data"]["storageRetention"], "5h")
        self.refuses_what_is_older(api)
        self.restart(promsplit, "--no-web.page")
        self.assertEqual(self.answers(api), before)
        self.drops_while_it_runs(api, before)

    def refuses_what_is_older(self, api):
        old, new = T0 + 9 * HOUR_MS - STEP_S * 1000 - 1, T0 + 9 * HOUR_MS - STEP_S * 1000
        answer = api.write([({"__name__": "late", "job": "late"}, [(old, 1), (new, 2)])])
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"out of bounds", answer.body)
        self.assertIn(b"1 stored", answer.body)
        self.assertIn(b"1 older than the retention", answer.body)
        self.assertEqual(api.metric("promsplit_write_samples_total", '{result="beyond_retention"}'), 1)

    def drops_while_it_runs(self, api, before):
        """The newest sample moves on by two hours: one partition more is beyond."""
        sample = (T0 + (HOURS + 2) * HOUR_MS, float_bits(1.0))
        self.assertEqual(api.write([({"__name__": "other"}, [sample])]).status, 204)
        until(lambda: api.metric("promsplit_store_dropped_partitions_total"), 10, "a drop without waiting")
        self.assertEqual(api.metric(OLDEST), KEPT_FROM // 1000 + 7200)
        start, end = KEPT_FROM // 1000 + 7800, T0_S + HOURS * 3600
        answer = api.query_range(DIRECT, start, end, 300).json()["data"]["result"]
        wanted = [[v for v in series["values"] if v[0] >= start] for series in before[0]["result"]]
        self.assertEqual([series["values"] for series in answer], wanted)

    def test_rules_by_label_set(self):
        promsplit, _ = self.stage.pair("rules", self.prometheus)
        dataset.load(promsplit.api, counters())
        raw = self.raw(promsplit.api)
        path = os.path.join(promsplit.directory, "rules.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("storage:\n  retention:\n    time: 5h\n    rules:\n"
                       "      - {match: 'hits_total{job=\"old\"}', time: 0}\n"
                       "      - {match: '{instance=~\"i[0-3]\"}', time: 1h}\n")
        self.restart(promsplit, f"--config.file={path}")

        def since(name):
            short = any(f"'i{n}'" in name for n in range(4))
            return T0 + 12 * HOUR_MS if short else T0 if "'old'" in name else KEPT_FROM

        kept = {name: [s for s in samples if s[0] >= since(name)] for name, samples in raw.items()}
        gone = sum(map(len, raw.values())) - sum(map(len, kept.values()))
        until(lambda: promsplit.api.metric(DROPPED) == gone, 30, "a drop")
        self.assertEqual(self.raw(promsplit.api), kept)
        self.assertIn("retention.rules", promsplit.api.get("/api/v1/status/config").json()["data"]["yaml"])
        self.assertEqual(promsplit.stop(), 0)

    def test_by_size(self):
        upstream = self.stage.prometheus("upstream", self.prometheus)
        promsplit = self.stage.promsplit("size", upstream.port, flags=("--storage.compact-rows=3000",))
        count = dataset.load(promsplit.api, counters())
        used = promsplit.api.metric("promsplit_store_used_bytes")
        self.assertGreater(used, 0)
        self.assertEqual(promsplit.stop(), 0)
        promsplit.command.append("--storage.retention.size=300KB")
        promsplit.start()
        until(lambda: promsplit.api.metric(DROPPED), 30, "a drop")
        self.assertLess(promsplit.api.metric("promsplit_store_samples"), count)
        newest = {samples[-1][0] for samples in self.raw(promsplit.api).values()}
        self.assertEqual(newest, {T0 + HOURS * HOUR_MS - STEP_S * 1000})  # the newest partition stays

    def test_wrong_rules_stop_the_start(self):
        upstream = self.stage.prometheus("upstream-2", self.prometheus)
        promsplit = self.stage.promsplit("wrong", upstream.port, start=False)
        path = os.path.join(promsplit.directory, "rules.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("storage.retention.rules: [{match: '{a=~\"(\"}', time: 1h}]\n")
        promsplit.command.append(f"--config.file={path}")
        with self.assertRaisesRegex(Exception, "retention rule 1: error parsing regexp"):
            promsplit.start()


class Admin(Case):
    """delete_series and its neighbours."""

    def test_off_unless_asked_for(self):
        upstream = self.stage.prometheus("off-upstream", self.prometheus)
        promsplit = self.stage.promsplit("off", upstream.port)
        for call in ("delete_series", "clean_tombstones", "snapshot"):
            self.assert_api_error(promsplit.api.post(ADMIN + call, match="up"), 503, "unavailable", "admin APIs disabled")
        answer = promsplit.api.get(ADMIN + "delete_series", match="up")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "POST, PUT, OPTIONS"), answer)

    def test_delete_series(self):
        promsplit, _ = self.stage.pair("promsplit", self.prometheus, flags=("--web.enable-admin-api",))
        api = promsplit.api
        dataset.load(api, counters())
        raw = self.raw(api)
        self.assertEqual(api.post(ADMIN + "clean_tombstones").status, 204)
        self.assert_api_error(api.post(ADMIN + "snapshot"), 422, "execution", "snapshots are not made here")
        self.assert_api_error(api.post(ADMIN + "delete_series"), 400, "bad_data", "no match[] parameter provided")
        self.assert_api_error(api.post(ADMIN + "delete_series", match="sum("), 400, "bad_data", 'invalid parameter "match[]"')
        # a piece of some series, across the ends of partitions, and another series as a whole
        begin, end = T0_S + 2 * 3600 + 45, T0_S + 4 * 3600 + 15
        self.assertEqual(api.post(ADMIN + "delete_series", match=['hits_total{job="j0"}', "none"], start=begin, end=end).status, 204)
        self.assertEqual(api.request("PUT", ADMIN + "delete_series?match[]=%7Bjob%3D%22old%22%7D").status, 204)

        def stays(name, time_ms):
            return "'old'" not in name and not ("'j0'" in name and begin * 1000 <= time_ms <= end * 1000)

        kept = {name: [s for s in samples if stays(name, s[0])] for name, samples in raw.items()}
        kept = {name: samples for name, samples in kept.items() if samples}
        self.assertEqual(self.raw(api), kept)
        self.assertEqual(self.values(api, "instance"), [f"i{n}" for n in range(10)])
        self.assertEqual(self.values(api, "job", start=begin, end=end), ["j1"])
        counts = api.query_range("count by (job) (hits_total)", begin + 300, end, 300).json()["data"]["result"]
        self.assertEqual([series["metric"]["job"] for series in counts], ["j1"])
        self.restart(promsplit)
        self.assertEqual(self.raw(api), kept)
        # what was deleted may be written again as far as nothing newer is left
        self.assertEqual(api.write([({"__name__": "hits_total", "job": "old", "instance": "gone"}, [(T0, 1)])]).status, 204)
        answer = api.write([({"__name__": "hits_total", "job": "j0", "instance": "i0"}, [(begin * 1000, 1)])])
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"out of order sample", answer.body)
        self.assertEqual(api.post(ADMIN + "delete_series", match='{__name__=~".+"}').status, 204)
        self.assertEqual(self.raw(api), {})
        self.assertEqual(api.metric("promsplit_store_series"), 0)
