"""Acknowledged means on disk: the process is killed in the midst of writes, three times over the same store."""
import http.client
import random
import threading
import time

from fixture import ServiceCase, T0, until
from lib import wire
from lib.api import Api
from lib.wire import float_bits

WRITERS, SERIES, ROUNDS = 4, 50, 3


class Writer(threading.Thread):
    """Sends requests of SERIES samples until the server is gone; remembers what was acknowledged."""

    def __init__(self, port, number, first):
        super().__init__()
        self.api, self.number, self.first = Api(port, timeout_s=20), number, first
        self.acknowledged, self.refused = first, None

    def run(self):
        n = self.first
        try:
            while True:
                answer = self.api.write([(labels(self.number, s), [(T0 + n * 1000, value(n, s))]) for s in range(SERIES)])
                if answer.status not in (200, 204):
                    self.refused = answer
                    return
                n += 1
                self.acknowledged = n
        except (OSError, http.client.HTTPException):
            pass


def labels(writer, series):
    return {"__name__": "durable", "writer": str(writer), "series": str(series)}


def value(n, series):
    return float_bits(n * 1000.0 + series)


class Kill(ServiceCase):
    def test_kill_9_during_ingest_loses_nothing_acknowledged(self):
        upstream = self.stage.prometheus("upstream", self.prometheus)
        promsplit = self.stage.promsplit("promsplit", upstream.port)
        first = [0] * WRITERS
        for round_number in range(ROUNDS):
            writers = [Writer(promsplit.port, n, first[n]) for n in range(WRITERS)]
            for writer in writers:
                writer.start()
            until(lambda: all(w.acknowledged > w.first for w in writers), 20, "a first acknowledged write of each sender")
            time.sleep(0.5 + random.random())
            promsplit.kill()
            for writer in writers:
                writer.join()
                self.assertIsNone(writer.refused)
            promsplit.start(wait_s=60)
            self.check(promsplit.api, writers)
            print(f"   round {round_number + 1}: {sum((w.acknowledged - w.first) * SERIES for w in writers)} samples acknowledged, all there")
            # what was sent but not acknowledged may be there or not: send later timestamps from now on
            first = [w.acknowledged + 2 for w in writers]
        self.assertEqual(promsplit.stop(), 0)

    def check(self, api, writers):
        answer = api.read([(0, T0 * 2, [(wire.EQUAL, "__name__", "durable")])])
        self.assertEqual(answer.status, 200, answer)
        (series,) = wire.read_response(wire.unsnappy(answer.body))
        stored = {(int(l["writer"]), int(l["series"])): samples for l, samples in series}
        self.assertEqual(len(stored), len(series), "a label set came twice")
        for writer in writers:
            for s in range(SERIES):
                samples = stored[writer.number, s]
                times = [t for t, _ in samples]
                self.assertEqual(times, sorted(set(times)), "samples doubled or out of order")
                for n in range(writer.first, writer.acknowledged):
                    self.assertIn(T0 + n * 1000, times[n - 3 * ROUNDS if n > 3 * ROUNDS else 0 :])
                for t, bits in samples:
                    self.assertEqual(bits, value((t - T0) // 1000, s))

    def test_a_clean_end_and_a_new_start_keep_everything(self):
        upstream = self.stage.prometheus("upstream", self.prometheus)
        promsplit = self.stage.promsplit("promsplit", upstream.port)
        bits = [wire.STALE_BITS, wire.NAN_BITS, float_bits(-0.0), float_bits(1.5)]
        samples = [(T0 + n, b) for n, b in enumerate(bits)]
        self.assertIn(promsplit.api.write([(labels(0, 0), samples)]).status, (200, 204))
        self.assertEqual(promsplit.stop(), 0)
        promsplit.start()
        answer = promsplit.api.read([(0, T0 * 2, [(wire.EQUAL, "__name__", "durable")])])
        self.assertEqual(wire.read_response(wire.unsnappy(answer.body)), [[(labels(0, 0), samples)]])
