"""Rollups through their life: made, read, followed by late samples, lost to kill -9 never, thrown away with their settings; and
kept longer than their samples."""
import os
import subprocess
import threading

from fixture import T0, T0_S, until
from lib import dataset
from lib.processes import PROMSPLIT
from lib.wire import float_bits
from test_7_retention import HOUR_MS, HOURS, KEPT_FROM, OLDEST, Case, counters

ROWS, ROUNDS = "promsplit_store_rollup_rows", "promsplit_store_rollup_rounds_total"
LEVELS = "--storage.rollups.levels=1m,5m,1h"
QUERIES = ("sum by (job) (rate(hits_total[1h]))", "sum(increase(hits_total[10m]))", "max_over_time(hits_total[1h])",
           "avg(avg_over_time(hits_total[1h]))", "count_over_time(hits_total[5m])", "resets(hits_total[2h])")


def sorted_results(case, answers):
    """Of answers that are all good."""
    for answer in answers:
        case.assertEqual(answer.status, 200, answer)
    return [sorted(answer.json()["data"]["result"], key=lambda s: str(s["metric"])) for answer in answers]


def near(case, a, b):
    """The same, but for the last bits of averages."""
    for x, y in zip(a, b, strict=True):
        case.assertEqual([s["metric"] for s in x], [s["metric"] for s in y])
        for s, t in zip(x, y):
            case.assertEqual([p[0] for p in s["values"]], [p[0] for p in t["values"]])
            for p, q in zip(s["values"], t["values"]):
                case.assertAlmostEqual(float(p[1]), float(q[1]), delta=1e-12 * abs(float(p[1])))


class Rollups(Case):
    def answers(self, api):
        """On grids of whole hours, of five minutes, and on one that no rollup can answer."""
        asked = [api.query_range(query, T0_S + 3600 + shift, T0_S + HOURS * 3600, step)
                 for query in QUERIES for step, shift in ((3600, 0), (300, 300), (420, 77))]
        return sorted_results(self, asked)

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
        near(self, self.answers(api), before)
        self.assertEqual(self.kinds(api), 2 * (len(QUERIES) - 1))  # two grids; averages of closed windows read samples
        self.verify(promsplit)

    def test_explain_names_the_level(self):
        promsplit, _ = self.stage.pair("explained", self.prometheus, flags=(LEVELS,))
        ask = dict(query=QUERIES[0], start=T0_S, end=T0_S + 7200, step=3600)
        text = promsplit.api.get("/api/v1/explain", format="text", **ask).body.decode()
        self.assertRegex(text, r"rollups +buckets of 1h")
        self.assertIn("rolled_edges('hits_total', 3600000)", text)
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
        near(self, self.answers(promsplit.api), self.answers(plain.api))
        self.verify(promsplit)
        near(self, self.answers(promsplit.api), self.answers(plain.api))


class Outliving(Case):
    """Samples of 5 h, rollups of 9 h and longer, against a server that keeps all samples and one that dropped its own."""
    AGES = ("--storage.retention.time=5h", "--storage.rollups.retention=1000h")

    def asked(self, api, start, steps, queries=QUERIES):
        answers = [api.query_range(query, T0_S + start, T0_S + HOURS * 3600, step) for query in queries for step in steps]
        return sorted_results(self, answers)

    def store(self, promsplit, *words):
        path = f"--storage.path={os.path.join(promsplit.directory, 'data')}"
        return subprocess.run([PROMSPLIT, "store", path, *words], capture_output=True, text=True)

    def fresh(self, name, *flags):
        promsplit, _ = self.stage.pair(name, self.prometheus, flags=flags)
        dataset.load(promsplit.api, counters())
        return promsplit

    def outlived(self, name):
        """With series that have rollups alone: of the first hour."""
        promsplit = self.fresh(name, LEVELS, "--web.enable-admin-api")
        until(lambda: promsplit.api.metric(ROUNDS), 40, "rollups")
        self.restart(promsplit, *self.AGES)
        self.wait_for_drop(promsplit.api)
        return promsplit

    def series(self, api, start_s, end_s):
        found = api.get("/api/v1/series", match='hits_total{job="old"}', start=start_s, end=end_s).json()["data"]
        return len(found)

    def by_buckets(self, api):
        """Averages of closed windows are none of these."""
        return self.asked(api, 3600, (3600, 300), [query for query in QUERIES if "avg" not in query])

    def by_samples(self, api):
        return self.asked(api, 77, (420,)) + self.asked(api, 3600, (3600, 300), [query for query in QUERIES if "avg" in query])

    def check(self, api, all_samples, dropped):
        near(self, self.by_buckets(api), all_samples)
        near(self, self.by_samples(api), dropped[0])
        self.assertEqual(api.metric("promsplit_store_series"), 11)
        self.assertEqual(self.series(api, T0_S, T0_S + 3600), 1)
        self.assertEqual(self.series(api, T0_S + 7200, T0_S + HOURS * 3600), 0)
        self.assertEqual(self.values(api, "job"), ["j0", "j1", "old"])
        self.assertEqual(self.raw(api), dropped[1])
        self.assertEqual(api.metric(OLDEST), KEPT_FROM // 1000)
        self.assertEqual(api.metric("promsplit_store_rollup_oldest_timestamp_seconds"), T0_S)

    def test_whole_buckets_are_answered_as_before(self):
        plain = self.fresh("all")
        all_samples = self.by_buckets(plain.api)
        gone = self.fresh("gone")
        self.restart(gone, self.AGES[0])
        self.wait_for_drop(gone.api)
        dropped = (self.by_samples(gone.api), self.raw(gone.api))
        promsplit = self.outlived("outlived")
        api = promsplit.api
        self.check(api, all_samples, dropped)
        promsplit.kill()
        promsplit.start()
        promsplit.wait_for("/-/ready")
        self.check(api, all_samples, dropped)
        self.refuses_what_is_behind(promsplit)
        self.explains(api)
        self.assertEqual(promsplit.stop(), 0)
        said = self.store(promsplit, "verify")
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertIn("oldest in rollups", self.store(promsplit, "stats").stdout)
        promsplit.start()
        promsplit.wait_for("/-/ready")
        self.check(api, all_samples, dropped)

    def refuses_what_is_behind(self, promsplit):
        api, labels = promsplit.api, {"__name__": "hits_total", "job": "old", "instance": "gone"}
        answer = api.write([(labels, [(T0 + 5 * HOUR_MS, float_bits(7.0))])])
        self.assertEqual(answer.status, 400, answer)
        self.assertIn(b"out of bounds", answer.body)
        self.assertEqual(promsplit.stop(), 0)
        path = os.path.join(promsplit.directory, "late.om")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'hits_total{{job="old",instance="gone"}} 7 {T0_S + 5 * 3600}\n# EOF\n')
        said = subprocess.run([PROMSPLIT, "import", f"--storage.path={os.path.join(promsplit.directory, 'data')}", path],
                              capture_output=True, text=True)
        self.assertEqual(said.returncode, 1, said)
        self.assertIn("0 stored, 1 refused: rollups alone are kept of their time", said.stderr)
        self.assertIn("out of bounds", said.stderr)
        promsplit.start()
        promsplit.wait_for("/-/ready")

    def explains(self, api):
        ask = dict(start=T0_S, end=T0_S + HOURS * 3600, step=3600)
        text = api.get("/api/v1/explain", format="text", query=QUERIES[0], **ask).body.decode()
        self.assertRegex(text, r"behind +samples before \S+ are gone: buckets of 1h answer there")
        text = api.get("/api/v1/explain", format="text", query="hits_total", **ask).body.decode()
        self.assertIn("this task reads no rollups, and finds nothing there", text)
        (task,) = api.get("/api/v1/explain", query=QUERIES[0], **ask).json()["data"]["tasks"]
        self.assertEqual(task["goneBeforeMs"], KEPT_FROM)

    def test_deletion_takes_buckets(self):
        promsplit = self.outlived("deleted")
        ask = ('count_over_time(hits_total{instance="i0"}[1h])', T0_S + 3600, T0_S + 5 * 3600, 3600)

        def counts():
            (series,) = promsplit.api.query_range(*ask).json()["data"]["result"]
            return [int(value[1]) for value in series["values"]]

        full = counts()
        self.assertEqual(len(full), 5)
        begin = T0_S + 2 * 3600 + 600
        answer = promsplit.api.post("/api/v1/admin/tsdb/delete_series", match='{instance="i0"}', start=begin, end=begin + 60)
        self.assertEqual(answer.status, 204)
        # closed windows: a bucket's last sample is the next window's first, too
        self.assertEqual(counts(), [full[0], full[1], 1, full[3] - 1, full[4]])
        self.assertEqual(promsplit.api.post("/api/v1/admin/tsdb/delete_series", match='{job="old"}').status, 204)
        self.assertEqual(self.values(promsplit.api, "job"), ["j0", "j1"])
        self.verify(promsplit)

    def verify(self, promsplit):
        self.assertEqual(promsplit.stop(), 0)
        said = self.store(promsplit, "verify")
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_other_settings_do_not_lose_them(self):
        promsplit = self.outlived("settings")
        self.assertEqual(promsplit.stop(), 0)
        command = list(promsplit.command)

        def refused(words, taken, *flags):
            promsplit.command[:] = [flag for flag in command if flag not in taken] + list(flags)
            with self.assertRaisesRegex(Exception, words):
                promsplit.start()

        refused("ask for 1h of all series", (LEVELS,), "--storage.rollups.levels=1h")
        refused("ask for 1h and 5m and 1m of series that match .job=.j1..", (), '--storage.rollups.match={job="j1"}')
        refused("ask for none", (LEVELS, self.AGES[1]))
        refused("would be dropped without --storage.rollups.retention", (self.AGES[1],))
        self.assertEqual(self.store(promsplit, "compact").returncode, 0)
        promsplit.command[:] = command
        promsplit.start()
        promsplit.wait_for("/-/ready")
        self.assertEqual(self.values(promsplit.api, "job"), ["j0", "j1", "old"])
        self.assertEqual(promsplit.stop(), 0)
        self.assertEqual(self.store(promsplit, "forget-rollups").returncode, 0)
        promsplit.command[:] = [flag for flag in command if flag not in (LEVELS, self.AGES[1])]
        promsplit.start()
        promsplit.wait_for("/-/ready")
        self.assertEqual(self.values(promsplit.api, "job"), ["j0", "j1"])

    def test_rollups_have_an_age_of_their_own(self):
        promsplit = self.outlived("aged")
        self.assertEqual(promsplit.stop(), 0)
        promsplit.command[promsplit.command.index(self.AGES[1])] = "--storage.rollups.retention=9h"
        promsplit.start()
        promsplit.wait_for("/-/ready")
        until(lambda: promsplit.api.metric("promsplit_store_dropped_series_total"), 40, "a series without rollups")
        self.assertEqual(promsplit.api.metric("promsplit_store_rollup_oldest_timestamp_seconds"), T0_S + 4 * 3600)
        self.assertEqual(self.values(promsplit.api, "job"), ["j0", "j1"])
        self.verify(promsplit)


class RunByRun(Case):
    """Many series, whose windows are evaluated row by row once nothing lies as it came."""
    SERIES, SAMPLES = 4500, 24 * 2
    DAY = (T0_S // 86400 + 1) * 86400

    def many(self):
        return [({"__name__": "many_total", "job": f"j{i % 3}", "i": str(i)},
                 [((self.DAY + 1800 * k + 60) * 1000 + i, float_bits(float(k * i % 977))) for k in range(self.SAMPLES)])
                for i in range(self.SERIES)]

    def answers(self, api):
        """By the hour, from rollups if there are any; and inside of one partition."""
        asked = [api.query_range(query, self.DAY + 3600, self.DAY + 86400, 3600)
                 for query in ("sum by (job) (rate(many_total[1h]))", "max(count_over_time(many_total[1h]))")]
        asked += [api.query_range(query, self.DAY + 5 * 3600 - 1, self.DAY + 6 * 3600 - 1, 60)
                  for query in ("sum(increase(many_total[40m]))", "count(many_total)")]
        return sorted_results(self, asked)

    def test_answers_are_those_of_before(self):
        def taken():
            return promsplit.api.metric("promsplit_fragments_by_run_total")

        promsplit, _ = self.stage.pair("by-run", self.prometheus)
        dataset.load(promsplit.api, self.many())
        before = self.answers(promsplit.api)  # before there are rollups
        self.assertEqual(promsplit.stop(), 0)
        promsplit.command.append(LEVELS)
        path = f"--storage.path={os.path.join(promsplit.directory, 'data')}"
        said = subprocess.run([PROMSPLIT, "store", "compact", path], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        promsplit.start()
        promsplit.wait_for("/-/ready")
        until(lambda: promsplit.api.metric(ROUNDS), 60, "rollups")  # committed; ROWS counts them before
        self.assertEqual(taken(), 0)
        near(self, self.answers(promsplit.api), before)
        self.assertEqual(taken(), 4)
