"""Counts for scripts/test: each harness ends with one line that says what passed, failed and was skipped, by name."""
import sys


class Report:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, []

    def ok(self, count=1):
        self.passed += count

    def fail(self, text):
        self.failed += 1
        print(text, flush=True)

    def skip(self, what, why):
        self.skipped.append(what)
        print(f"SKIPPED {what}: {why}", flush=True)

    def finish(self):
        """Prints the line scripts/test reads and ends the program."""
        skipped = ", ".join(self.skipped)
        print(f"== {self.name}: {self.passed} passed, {self.failed} failed, {len(self.skipped)} skipped"
              + (f" ({skipped})" if skipped else ""), flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)
