#!/usr/bin/env python3
"""The running program among real peers: every test starts promsplit and Prometheus as processes on free ports.

usage: run.py [PART…]    only the tests whose names contain one of the parts
Environment: PROMSPLIT=PATH tests another build (a sanitizer's).
"""
import glob
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)

from lib.processes import PROMSPLIT, ROOT  # noqa: E402
from lib.report import Report  # noqa: E402


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        print(f"{time.monotonic() - self.started:6.1f} s  {test.id()}", flush=True)


def cases(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def main():
    if "-h" in sys.argv[1:] or "--help" in sys.argv[1:]:
        print(__doc__)
        return
    if not os.access(PROMSPLIT, os.X_OK):
        sys.exit(f"{PROMSPLIT} is not built: run scripts/build")
    os.environ.setdefault("TSAN_OPTIONS", f"suppressions={ROOT}/tests/tsan.supp")
    report = Report("service")
    names = [os.path.basename(path)[:-3] for path in sorted(glob.glob(os.path.join(HERE, "test_*.py")))]
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    if sys.argv[1:]:
        suite = unittest.TestSuite(c for c in cases(suite) if any(part in c.id() for part in sys.argv[1:]))
    result = unittest.TextTestRunner(resultclass=Result, verbosity=0, stream=sys.stdout).run(suite)
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    report.failed = bad
    for test, why in result.skipped:
        report.skip(test.id().removeprefix("setUpClass ").strip("()"), why)
    report.ok(result.passed)
    report.finish()


if __name__ == "__main__":
    main()
