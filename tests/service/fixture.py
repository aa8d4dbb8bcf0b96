"""What service tests share: a stage per class, a small data set, and a few ways to wait."""
import math
import os
import sys
import time
import unittest

from lib import dataset
from lib.processes import Stage, prometheus_binary
from lib.wire import float_bits

VERSIONS = ("2.42", "3.5")  # the Prometheuses a split must work with; scripts/setup unpacks them
PROMETHEUS_2, PROMETHEUS_3 = (prometheus_binary(version) for version in VERSIONS)
T0 = dataset.T0
T0_S = T0 // 1000
SLOW = 4 if "build-asan" in os.environ.get("PROMSPLIT", "") or "build-tsan" in os.environ.get("PROMSPLIT", "") else 1

# A residual (label_replace stays with Prometheus) over one fragment, and a query that is a fragment as a whole.
RESIDUAL = 'label_replace(sum by (job) (rate(hits_total[5m])), "x", "$1", "job", "(.*)")'
DIRECT = "sum by (job) (rate(hits_total[5m]))"


def small_data(series=20, minutes=30):
    """Counters that grow by 15 every 15 s: each rate is exactly 1."""
    return [
        (
            {"__name__": "hits_total", "job": f"j{n % 2}", "instance": f"i{n}"},
            [(T0 + k * 15_000, float_bits(15.0 * k)) for k in range(minutes * 4)],
        )
        for n in range(series)
    ]


def until(condition, wait_s=10.0, what="condition"):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + wait_s * SLOW
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} not seen within {wait_s * SLOW} s")


def on_each_prometheus(case):
    """Class decorator: instead of the class, its module gets one per version of upstream (Name_2_42, Name_3_5)."""
    module = sys.modules[case.__module__]
    for version in VERSIONS:
        name = f"{case.__name__}_{version.replace('.', '_')}"
        setattr(module, name, type(name, (case,), {"version": version, "__module__": case.__module__, "__doc__": case.__doc__}))
    return None


class ServiceCase(unittest.TestCase):
    """A fresh stage per test class. `version` is that of upstream; without it here, the class is skipped."""

    version = "2.42"

    @classmethod
    def setUpClass(cls):
        cls.prometheus = prometheus_binary(cls.version)
        if cls.prometheus is None:
            raise unittest.SkipTest(f"no Prometheus {cls.version}: scripts/setup unpacks it")
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)
        cls.addClassCleanup(cls.check_logs)  # before that: last in, first out
        cls.prepare()

    @classmethod
    def check_logs(cls):
        """What a sanitizer found fails the class, even if every answer was right."""
        for server in reversed(cls.stage.servers):
            server.stop(20)
            with open(server.log_path, errors="replace") as log:
                text = log.read()
            at = text.find("Sanitizer: ")
            if at >= 0:
                raise AssertionError(f"{server.name} wrote: {text[max(0, at - 200):at + 6000]}")

    @classmethod
    def prepare(cls):
        """Starts what all tests of the class use."""

    @classmethod
    def loaded_pair(cls, name="promsplit", **options):
        """promsplit with small_data() before its own upstream, both ready."""
        promsplit, upstream = cls.stage.pair(name, cls.prometheus, **options)
        dataset.load(promsplit.api, small_data())
        return promsplit, upstream

    def assert_answers(self, api, query=RESIDUAL, at=T0_S + 1200):
        """`query` gives 10 for each of the two jobs: the service is well."""
        answer = api.query(query, at)
        self.assertEqual(answer.status, 200, answer)
        values = [float(series["value"][1]) for series in answer.json()["data"]["result"]]
        self.assertEqual(len(values), 2, answer)
        for value in values:
            self.assertTrue(math.isclose(value, 10, rel_tol=1e-9), answer)

    def assert_api_error(self, answer, http, error_type, *words):
        """The API's error envelope, with these words (any case) in its text."""
        self.assertEqual(answer.status, http, answer)
        body = answer.json()
        self.assertEqual((body["status"], body["errorType"]), ("error", error_type), answer)
        for word in words:
            self.assertIn(word.lower(), body["error"].lower())
