"""Rollups through their life: made, read, followed by late samples, lost to kill -9 never, thrown away with their settings."""
import os
import subprocess
import threading

from fixture import T0, T0_S, until
from lib import dataset
from lib.processes import PROMSPLIT
from lib.wire import float_bits
from test_7_retention import HOUR_MS, HOURS, Case, counters

ROWS, ROUNDS = "promsplit_store_rollup_rows", "promsplit_store_rollup_rounds_total"
LEVELS = "--storage.rollups.levels=1m,5m,1h"
QUERIES = ("sum by (job) (rate(hits_total[1h]))", "sum(increase(hits_total[10m]))", "max_over_time(hits_total[1h])",
           "avg(avg_over_time(hits_total[1h]))", "count_over_time(hits_total[5m])", "resets(hits_total[2h])")


class Rollups(Case):
    def answers(self, api):
        """On grids of whole hours, of five minutes, and on one that no rollup can answer."""
        asked = [api.query_range(query, T0_S + 3600 + shift, T0_S + HOURS * 3600, step)
                 for query in QUERIES for step, shift in ((3600, 0), (300, 300), (420, 77))]
        for answer in asked:
            self.assertEqual(answer.status, 200, answer)
        return [sorted(answer.json()["data"]["result"], key=lambda s: str(s["metric"])) for answer in asked]

    def near(self, a, b):
        """The same, but for the last bits of averages."""
        for x, y in zip(a, b, strict=True):
            self.assertEqual([s["metric"] for s in x], [s["metric"] for s in y])
            for s, t in zip(x, y):
                self.assertEqual([p[0] for p in s["values"]], [p[0] for p in t["values"]])
                for p, q in zip(s["values"], t["values"]):
                    self.assertAlmostEqual(float(p[1]), float(q[1]), delta=1e-12 * abs(float(p[1])))

    def verify(self, promsplit):
        """By the stopped store's own rules; the server runs again afterwards."""
        promsplit.stop()
        path = f"--storage.path={os.path.join(promsplit.directory, 'data')}"
        said = subprocess.run([PROMSPLIT, "store", "verify", path], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        promsplit.start()
        promsplit.wait_for("/-/ready")

    def kinds(self, api):
        return api.metric("promsplit_fragments_total", '{kind="rollup"}')

    def test_made_read_and_followed(self):
        promsplit, _ = self.stage.pair("promsplit", self.prometheus, flags=("--storage.out-of-order-window=15h",))
        api = promsplit.api
        dataset.load(api, counters())
        before = self.answers(api)
        self.assertEqual((self.kinds(api), api.metric(ROWS)), (0, 0))
        self.restart(promsplit, LEVELS)
        until(lambda: api.metric(ROUNDS), 40, "rollups")
        self.near(self.answers(api), before)
        self.assertEqual(self.kinds(api), 2 * (len(QUERIES) - 1))  # two grids; averages of closed windows read samples
        self.verify(promsplit)

    def test_explain_names_the_level(self):
        promsplit, _ = self.stage.pair("explained", self.prometheus, flags=(LEVELS,))
        ask = dict(query=QUERIES[0], start=T0_S, end=T0_S + 7200, step=3600)
        text = promsplit.api.get("/api/v1/explain", format="text", **ask).body.decode()
        self.assertRegex(text, r"rollups +buckets of 1h")
        self.assertIn("rolled_edges_of('hits_total', 3600000)", text)
        (task,) = promsplit.api.get("/api/v1/explain", **ask).json()["data"]["tasks"]
        self.assertEqual(task["rollupMs"], 3_600_000)

    def test_late_samples_and_kill(self):
        flags = ("--storage.out-of-order-window=15h", LEVELS)
        promsplit, _ = self.stage.pair("late", self.prometheus, flags=flags)
        plain, _ = self.stage.pair("plain", self.prometheus, flags=flags[:1])
        labels = {"__name__": "hits_total", "job": "late", "instance": "x"}
        samples = [(T0 + k * 17_000, float_bits(k * 37 % 101 / 7)) for k in range(HOURS * 3600 // 17)]
        on_time, late = samples[::2] + samples[-1:], samples[1:-1:2]
        on_time = sorted(set(on_time))
        for server in (promsplit, plain):
            dataset.load(server.api, counters())
            dataset.load(server.api, [(labels, on_time)])
        until(lambda: promsplit.api.metric(ROUNDS), 40, "rollups")
        dataset.load(plain.api, [(labels, late)])
        for part in range(3):
            cut = late[part::3]
            dataset.load(promsplit.api, [(labels, cut[: len(cut) // 2])])
            killer = threading.Timer(0.05 * part, promsplit.kill)
            killer.start()
            try:
                dataset.load(promsplit.api, [(labels, cut[len(cut) // 2 :])])
            except (OSError, RuntimeError):
                pass
            killer.join()
            promsplit.start()
            promsplit.wait_for("/-/ready")
            dataset.load(promsplit.api, [(labels, cut[len(cut) // 2 :])])  # what was stored already is no conflict
        self.near(self.answers(promsplit.api), self.answers(plain.api))
        self.verify(promsplit)
        self.near(self.answers(promsplit.api), self.answers(plain.api))
