"""The API as clients use it: Grafana's calls, forms, gzip, limits; the command line."""
import gzip
import json
import re
import subprocess
import unittest

from fixture import DIRECT, RESIDUAL, T0_S, ServiceCase, on_each_prometheus
from lib.processes import PROMSPLIT


@on_each_prometheus
class Grafana(ServiceCase):
    """The calls a Prometheus data source of Grafana makes, as it makes them."""

    @classmethod
    def prepare(cls):
        cls.promsplit, cls.upstream = cls.loaded_pair()
        cls.api = cls.promsplit.api
        cls.window = {"start": T0_S, "end": T0_S + 1800}

    def data(self, answer):
        self.assertEqual(answer.status, 200, answer)
        body = answer.json()
        self.assertEqual(body["status"], "success", answer)
        return body["data"]

    def test_save_and_test(self):
        answer = self.api.post("/api/v1/query", query="1+1", time="4")
        self.assertEqual(self.data(answer), {"resultType": "scalar", "result": [4, "2"]})
        self.assertLess(answer.body.index(b'"resultType"'), answer.body.index(b'"result":'))

    def test_version(self):
        data = self.data(self.api.get("/api/v1/status/buildinfo"))
        self.assertTrue(data["version"].startswith(self.version + "."), data)
        self.assertFalse(data.get("features"), "a features map makes Grafana believe it talks to Mimir")

    def test_panel_by_post_and_get(self):
        params = dict(query=DIRECT, start=T0_S + 600, end=T0_S + 1200, step="15", timeout="30s")
        by_post = self.data(self.api.post("/api/v1/query_range", **params))
        by_get = self.data(self.api.get("/api/v1/query_range", **params))
        self.assertEqual(by_post, by_get)
        self.assertEqual(by_post["resultType"], "matrix")
        self.assertEqual([len(s["values"]) for s in by_post["result"]], [41, 41])

    def test_custom_parameters_in_url_of_a_post(self):
        answer = self.api.request("POST", "/api/v1/query?time=4", body="query=1%2B1",
                                  headers={"Content-Type": "application/x-www-form-urlencoded", "X-Grafana-Org-Id": "1"})
        self.assertEqual(self.data(answer)["result"], [4, "2"])

    def test_no_exemplars_came(self):
        self.assertFalse(self.data(self.api.post("/api/v1/query_exemplars", query=DIRECT, **self.window)))
        probe = {"query": "test", "start": T0_S * 1000, "end": T0_S * 1000 + 1}  # Grafana's probe sends milliseconds
        self.assertFalse(self.data(self.api.post("/api/v1/query_exemplars", **probe)))

    def test_metric_list(self):
        data = self.data(self.api.get("/api/v1/label/__name__/values", limit=40000, **self.window))
        self.assertEqual(data, ["hits_total"])

    def test_label_names_and_values(self):
        names = ["__name__", "instance", "job"]
        self.assertEqual(self.data(self.api.post("/api/v1/labels", limit=40000, **self.window)), names)
        self.assertEqual(self.data(self.api.post("/api/v1/labels", match='{__name__=~".+",}')), names)
        self.assertEqual(self.data(self.api.get("/api/v1/label/job/values", match="hits_total")), ["j0", "j1"])
        self.assertEqual(self.data(self.api.get("/api/v1/label/job/values", match='hits_total{instance="i3"}')), ["j1"])
        self.assertEqual(self.data(self.api.get("/api/v1/label/job/values", match="other")), [])
        self.assertEqual(self.data(self.api.get("/api/v1/label/U__job/values")), ["j0", "j1"])

    def test_limit_truncates_and_says_so(self):
        body = self.api.get("/api/v1/label/instance/values", limit=3).json()
        self.assertEqual(len(body["data"]), 3)
        self.assertEqual(body["warnings"], ["results truncated due to limit"])
        self.assertEqual(len(self.data(self.api.get("/api/v1/label/instance/values", limit=0))), 20)

    def test_series(self):
        everything = self.data(self.api.post("/api/v1/series", match='{__name__!=""}', **self.window))
        self.assertEqual(len(everything), 20)
        some = self.data(self.api.get("/api/v1/series", match=['{instance="i1"}', 'hits_total{instance="i2"}']))
        self.assertEqual(sorted(s["instance"] for s in some), ["i1", "i2"])

    def test_quiet_endpoints(self):
        for path in ("/api/v1/rules", "/api/v1/alerts", "/api/v1/metadata?limit=40000", "/api/v1/status/config",
                     "/api/v1/status/flags", "/api/v1/status/runtimeinfo", "/api/v1/status/tsdb?limit=3"):
            with self.subTest(path):
                self.data(self.api.get(path))

    def test_metadata(self):
        answer = self.api.write([], metadata=[(1, "hits_total", "Number of hits.", "")])
        self.assertIn(answer.status, (200, 204), answer)
        data = self.data(self.api.get("/api/v1/metadata", limit=40000))
        self.assertEqual(data, {"hits_total": [{"type": "counter", "help": "Number of hits.", "unit": ""}]})

    def test_format_and_parse_query(self):
        self.assertEqual(self.data(self.api.post("/api/v1/format_query", query="sum( up )by(job)")), "sum by (job) (up)")
        self.assertEqual(self.data(self.api.post("/api/v1/parse_query", query="sum(up)"))["type"], "aggregation")

    def test_explain_analyze_counts_what_is_looked_at(self):
        answer = self.data(self.api.get("/api/v1/explain", query=DIRECT, time=T0_S + 1800, analyze="true"))
        scans = answer["tasks"][0]["scans"]
        self.assertEqual(scans["recent"] + scans["chunks"] > 0, True, scans)
        self.assertLessEqual(scans["chunksNeeded"], scans["chunksScanned"])
        text = self.api.get("/api/v1/explain", query=DIRECT, time=T0_S + 1800, analyze="true", format="text").body.decode()
        self.assertRegex(text, r"scans +\d+ of \d+ chunks, of which it needs \d+; \d+ recent samples")
        self.assertNotIn("scans", self.data(self.api.get("/api/v1/explain", query=DIRECT))["tasks"][0])
        self.assertEqual(self.api.get("/api/v1/explain", query=DIRECT, analyze="yes").status, 400)

    def test_gzip(self):
        params = dict(query="hits_total", start=T0_S, end=T0_S + 1800, step="15")
        plain = self.api.post("/api/v1/query_range", **params)
        packed = self.api.post("/api/v1/query_range", headers={"Accept-Encoding": "gzip"}, **params)
        self.assertEqual(packed.headers["Content-Encoding"], "gzip")
        self.assertIsNone(plain.headers["Content-Encoding"])
        self.assertLess(len(packed.body), len(plain.body) / 4)
        self.assertEqual(json.loads(gzip.decompress(packed.body))["data"], plain.json()["data"])

    def test_stats_lookback_and_limit_parameters(self):
        self.assertIn("stats", self.data(self.api.query(RESIDUAL, T0_S + 1200, stats="all")))
        late = T0_S + 1800 + 120
        self.assertEqual(len(self.data(self.api.query("hits_total", late))["result"]), 20)
        self.assertEqual(len(self.data(self.api.query("hits_total", late, lookback_delta="1m"))["result"]), 0)
        self.assertEqual(len(self.data(self.api.query("hits_total", T0_S + 600, limit=5))["result"]), 5)

    def test_health_and_own_metrics(self):
        for path in ("/-/healthy", "/-/ready"):
            self.assertEqual(self.api.get(path).status, 200)
        before = self.api.metric("promsplit_queries_direct_total")
        self.assert_answers(self.api, DIRECT)
        self.assertEqual(self.api.metric("promsplit_queries_direct_total"), before + 1)
        self.assertEqual(self.api.metric("promsplit_tasks"), 0)
        self.assertEqual(self.api.metric("promsplit_upstream_ready"), 1)


class TaskLog(ServiceCase):
    """At the debug level each task's line tells what ran under its TaskID, and the query's what was sent upstream."""

    PART = 'sum by (job) (rate(hits_total{instance!="a \\"b\\"\\n= c"}[5m]))'
    QUERY = f'label_replace({PART}, "x", "$1", "job", "(.*)")'

    def lines(self, form, query):
        """The log's lines about tasks and queries after asking `query`, as maps."""
        promsplit, _ = self.loaded_pair(form, flags=("--log.level=debug", f"--log.format={form}"))
        self.assert_answers(promsplit.api, query)
        with open(promsplit.log_path, encoding="utf-8") as log:
            return [line for line in map(self.parsers[form], log) if line["msg"] in ("task", "query")]

    def from_logfmt(line):
        pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)
        return {name: json.loads(value) if value.startswith('"') or value.isdigit() else value for name, value in pairs}

    parsers = {"json": json.loads, "logfmt": from_logfmt}

    def test_both_forms(self):
        for form in self.parsers:
            with self.subTest(form):
                query, task = self.lines(form, self.QUERY)
                self.assertEqual((query["msg"], query["query"]), ("query", self.QUERY))
                self.assertEqual((task["msg"], task["kind"], task["part"]), ("task", "grid", self.PART))
                self.assertIn(f'__task_id__="{task["task_id"]}"', query["residual"])
                self.assertEqual((task["query_id"], task["rows"], task["reads"]), (query["query_id"], 2, 1))
                self.assertTrue(task["sql"].startswith("SELECT") and "prom_rate(" in task["sql"], task["sql"])
                self.assertIn('instance!="a \\"b\\"\\n= c"', task["sql"])
                self.assertGreaterEqual(task["took_ms"], 0)

    def test_a_raw_task(self):
        raw = "sum by (job) (quantile_over_time(time() * 0, hits_total[1h])) * 0 + 10"
        _, task = self.lines("json", raw)
        self.assertEqual((task["kind"], task["part"], task["reads"]), ("raw", "hits_total", 1))
        self.assertNotIn("sql", task)
        self.assertGreaterEqual(task["rows"], 20)


class CommandLine(unittest.TestCase):
    def run_it(self, *arguments):
        return subprocess.run([PROMSPLIT, *arguments], capture_output=True, text=True, timeout=20)

    def test_explain_shows_the_split(self):
        query = "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[10m])))"
        out = self.run_it("explain", "--start", "1700000000", "--end", "1700003600", "--step", "1m", query)
        self.assertEqual(out.returncode, 0, out.stderr)
        for word in ("prom_rate", "prom_sum", "GROUP BY", "ORDER BY", "le", "1699999400", "1700003600",
                     "histogram_quantile(0.9, {", "__task_kind__"):
            self.assertIn(word, out.stdout)

    def test_explain_formats(self):
        out = self.run_it("explain", "--format", "json", "sum(up)")
        self.assertTrue(json.loads(out.stdout))
        self.assertTrue(self.run_it("explain", "--format", "dot", "sum(up)").stdout.startswith("digraph"))

    def test_explain_points_at_an_error(self):
        out = self.run_it("explain", "sum(up")
        self.assertNotEqual(out.returncode, 0)
        self.assertIn("unclosed left parenthesis", out.stderr)

    def test_version_and_help(self):
        self.assertRegex(self.run_it("--version").stdout, r"promsplit.* \d+\.\d+\.\d+")
        self.assertIn("--storage.path", self.run_it("serve", "--help").stdout)
        self.assertEqual(self.run_it("--help").returncode, 0)

    def test_wrong_flag_names_the_nearest(self):
        out = self.run_it("serve", "--query.timout=1s")
        self.assertNotEqual(out.returncode, 0)
        self.assertIn("query.timeout", out.stderr)

    def test_query_calls_an_unreachable_server_a_server(self):
        out = self.run_it("query", "--server=http://127.0.0.1:1", "up")
        self.assertEqual(out.returncode, 1)
        self.assertIn("server http://127.0.0.1:1", out.stderr)
        self.assertNotIn("upstream", out.stderr)
