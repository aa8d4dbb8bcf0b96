"""Times queries, cold and warm, and holds the answers against each other.

Cold: the first query after a start of the server, the operating system's page cache warm. Warm: the same query again.
"""
import math
import statistics
import time

from compare import Comparison, Outcome
from harness.data import BenchError, settle

LOOSE = 0.25  # of a sum, see loose_difference
START_S = 600  # a start may replay a log
STOP_S = 300


def start(server):
    server.start(START_S)
    settle(server, quiet_s=0.5, tick_s=0.25)  # what a start sets off is over


def restart(server):
    server.stop(STOP_S)
    start(server)


def timed(contender, server, ask):
    began = time.monotonic()
    answer = contender.ask(server, ask)
    took = time.monotonic() - began
    if answer.status != 200:
        raise BenchError(f"{contender.title}: {ask.query}: {answer}\n{server.log_tail()}")
    return took, answer


class Times:
    """Of one query on one server; seconds and bytes. `work`: the server's processor time of the warm runs, which a busy
    machine blurs less than the clock."""

    def __init__(self):
        self.cold, self.warm, self.work, self.peaks, self.outcome = [], [], [], [], None

    def __str__(self):
        cold, warm, work = (statistics.median(values) for values in (self.cold, self.warm, self.work))
        return f"cold {cold:.3f} s, warm {warm:.3f} s, of which processors {work:.2f} s"


def take(contender, server, ask, times):
    """One run, cold and warm, of a server that was just started."""
    took, answer = timed(contender, server, ask)
    times.cold.append(took)
    before = server.processor_s()
    times.warm.append(timed(contender, server, ask)[0])
    times.work.append(server.processor_s() - before)
    times.peaks.append(server.memory_peak_bytes())
    times.outcome = Outcome(answer)


def warm(contender, server, ask, runs):
    return [timed(contender, server, ask)[0] for _ in range(runs)]


def difference(ask, version, want, got):
    """None, or how promsplit's outcome differs from that of Prometheus `version`."""
    return Comparison(ask.query, version).difference(want, got)


def _total(outcome):
    values = [point[1] for s in outcome.result for point in s.get("values") or [s["value"]]]
    return sum(v for v in map(float, values) if math.isfinite(v))


def loose_difference(want, got):
    """VictoriaMetrics's windows reach back to the sample before them, so that only sums come near: None or what is far off."""
    if not got.ok or len(got.result) != len(want.result):
        return f"{got.brief()} instead of {want.brief()}"
    a, b = _total(want), _total(got)
    return None if abs(a - b) <= LOOSE * abs(a) else f"the sum of all values is {b:.6g} instead of {a:.6g}"


def read_body(server, body):
    """One remote read of raw samples: seconds and the answer's bytes."""
    began = time.monotonic()
    answer = server.api.read_bytes(body)
    took = time.monotonic() - began
    if answer.status != 200:
        raise BenchError(f"{server.name}: remote read: {answer}\n{server.log_tail()}")
    return took, answer.body


def fragment_seconds(server):
    """How long the engine worked on fragments so far."""
    return server.api.metric("promsplit_fragment_duration_seconds_sum")


