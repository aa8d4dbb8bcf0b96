"""The other ways in and out: import over HTTP, the commands import, export and store, imports that are killed."""
import glob
import gzip
import json
import os
import signal
import struct
import subprocess
import time

from fixture import T0, T0_S, ServiceCase
from lib import dataset, wire
from lib.processes import PROMSPLIT
from lib.wire import NAN_BITS, STALE_BITS, float_bits

OPENMETRICS = b"""# TYPE hits counter
# HELP hits how often
hits_total{job="a"} 1 %d
hits_total{job="a"} 16 %d.25 # {trace_id="x"} 1
hits_total{job="b"} 2 %d
# EOF
""" % (T0_S, T0_S + 15, T0_S)


def promsplit(*arguments, storage, good=True):
    command = [PROMSPLIT, arguments[0], f"--storage.path={storage}", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, timeout=120)
    if good and done.returncode != 0:
        raise AssertionError((command, done.returncode, done.stderr[-2000:]))
    return done


def bits_of(value):
    if value is None:
        return NAN_BITS
    if isinstance(value, str):
        words = {"stale": STALE_BITS, "Infinity": float_bits(float("inf")), "-Infinity": float_bits(float("-inf"))}
        return words[value] if value in words else int(value[4:-1], 16)
    return float_bits(float(value))


def read_json_lines(text):
    """{labels: samples} of an export."""
    found = {}
    for line in text.splitlines():
        series = json.loads(line, parse_int=float)
        samples = list(zip(map(int, series["timestamps"]), map(bits_of, series["values"])))
        found.setdefault(tuple(sorted(series["metric"].items())), []).extend(samples)
    return found


def as_found(data):
    return {tuple(sorted((k, v) for k, v in labels.items() if v)): samples for labels, samples in data}


class OverHttp(ServiceCase):
    @classmethod
    def prepare(cls):
        cls.server, _ = cls.stage.pair("promsplit", cls.prometheus)
        cls.api = cls.server.api

    def send(self, body, media="", path="/api/v1/import", **headers):
        return self.api.request("POST", path, body=body, headers={"Content-Type": media, **headers})

    def values(self, selector, at):
        result = self.api.query(selector, at).json()["data"]["result"]
        return sorted((series["metric"].get("job", ""), float(series["value"][1])) for series in result)

    def test_1_openmetrics(self):
        answer = self.send(OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertEqual(answer.status, 204, answer)
        self.assertEqual(self.values("hits_total", T0_S + 15), [("a", 1), ("b", 2)])
        self.assertEqual(self.values("hits_total", T0_S + 16), [("a", 16), ("b", 2)])
        metadata = self.api.get("/api/v1/metadata").json()["data"]
        self.assertEqual((metadata["hits"][0]["type"], metadata["hits"][0]["help"]), ("counter", "how often"))

    def test_2_prometheus_text_and_packed_json_lines(self):
        text = f'up{{job="a"}} 1 {T0}\nup{{job="b"}} NaN {T0}\n'.encode()
        self.assertEqual(self.send(text, "text/plain; version=0.0.4").status, 204)
        lines = json.dumps({"metric": {"__name__": "up", "job": "c"}, "values": [3, 4], "timestamps": [T0, T0 + 1000]})
        answer = self.send(gzip.compress(lines.encode()), "application/json", **{"Content-Encoding": "gzip"})
        self.assertEqual(answer.status, 204, answer)
        self.assertEqual([job for job, _ in self.values("up", T0_S)], ["a", "b", "c"])
        self.assertEqual(self.values('up{job="c"}', T0_S + 1), [("c", 4)])

    def test_3_bad_lines_are_named_and_cost_no_good_one(self):
        body = f'good 1 {T0}\nbad one {T0}\ngood{{a="b"}} 2 {T0}\n'.encode()
        answer = self.send(body, "text/plain")
        self.assertEqual(answer.status, 400)
        self.assertIn(b"line 2: its value is no number (samples: 2 stored", answer.body)
        self.assertEqual(len(self.values("good", T0_S)), 2)
        self.assertEqual(self.send(b"x", "text/csv").status, 415)
        self.assertEqual(self.api.metric("promsplit_import_requests_total", '{code="400"}'), 1)


class Commands(ServiceCase):
    """Without servers: what is exported is imported again, bit for bit, and a store in use is left alone."""

    @classmethod
    def prepare(cls):
        cls.first = os.path.join(cls.stage.directory, "first")
        cls.data = dataset.build()
        cls.source = os.path.join(cls.stage.directory, "source.jsonl")
        server = cls.stage.promsplit("source", 1, storage=cls.first)
        dataset.load(server.api, cls.data)
        cls.busy = promsplit("export", storage=cls.first, good=False)
        server.stop()

    def test_1_a_store_in_use_is_left_alone(self):
        self.assertEqual(self.busy.returncode, 1)
        self.assertIn(b"is open in another process", self.busy.stderr)

    def test_2_json_lines_come_back_bit_for_bit(self):
        promsplit("export", f"--output={self.source}", storage=self.first)
        with open(self.source) as file:
            exported = read_json_lines(file.read())
        self.assertEqual(exported, as_found(self.data))
        second = os.path.join(self.stage.directory, "second")
        promsplit("import", self.source, storage=second)
        again = promsplit("import", self.source, storage=second)
        self.assertIn(b": 0 stored, %d stored before" % sum(len(s) for s in exported.values()), again.stderr)
        self.assertEqual(read_json_lines(promsplit("export", storage=second).stdout), exported)
        self.assertNotIn(b"BROKEN", promsplit("store", "verify", storage=second).stdout)
        promsplit("store", "compact", storage=second)
        self.assertNotIn(b"BROKEN", promsplit("store", "verify", storage=second).stdout)
        self.assertEqual(read_json_lines(promsplit("export", storage=second).stdout), exported)

    def test_3_openmetrics_has_all_but_staleness_markers(self):
        path = os.path.join(self.stage.directory, "all.om.gz")
        text = promsplit("export", "--encoding=openmetrics", storage=self.first).stdout
        with gzip.open(path, "wb") as file:
            file.write(text)
        third = os.path.join(self.stage.directory, "third")
        promsplit("import", path, storage=third)
        plain = {}
        for labels, samples in as_found(self.data).items():
            kept = [(t, NAN_BITS if (b & (1 << 63) - 1) > 0x7FF0 << 48 else b) for t, b in samples if b != STALE_BITS]
            if kept:
                plain[labels] = kept
        self.assertEqual(read_json_lines(promsplit("export", storage=third).stdout), plain)

    def test_4_another_store_and_parts_of_it(self):
        fourth = os.path.join(self.stage.directory, "fourth")
        promsplit("import", self.first, storage=fourth)
        self.assertEqual(read_json_lines(promsplit("export", storage=fourth).stdout), as_found(self.data))
        fifth = os.path.join(self.stage.directory, "fifth")
        cut = ("--match={__name__=~\".+_total\"}", f"--from={T0_S + 60}", f"--to={T0_S + 300}")
        promsplit("import", *cut, self.first, storage=fifth)
        part = promsplit("export", storage=fifth).stdout
        self.assertEqual(read_json_lines(part), read_json_lines(promsplit("export", *cut, storage=self.first).stdout))
        self.assertTrue(part)
        for labels, samples in read_json_lines(part).items():
            self.assertTrue(dict(labels)["__name__"].endswith("_total"))
            self.assertTrue(all(T0 + 60_000 <= t <= T0 + 300_000 for t, _ in samples))


class Killed(ServiceCase):
    """kill -9 in the midst of an import, twice; then the same command ends it, and all is there once."""

    def interrupted(self, storage, *arguments):
        """Starts an import and kills it once it has written down how far it came; False if it was faster."""
        pattern = os.path.join(storage, "import-*.state")
        before = [open(path).read() for path in glob.glob(pattern)]
        command = [PROMSPLIT, "import", f"--storage.path={storage}", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            now = [open(path).read() for path in glob.glob(pattern)]
            if now and now != before:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        return process.wait() == -signal.SIGKILL

    def check(self, storage, expected, *arguments):
        kills = sum(self.interrupted(storage, *arguments) for _ in range(2))
        self.assertEqual(kills, 2)
        last = promsplit("import", *arguments, storage=storage)
        self.assertIn(b"going on where", last.stderr)
        self.assertEqual(glob.glob(os.path.join(storage, "import-*.state")), [])
        self.assertEqual(read_json_lines(promsplit("export", storage=storage).stdout), expected)
        self.assertNotIn(b"BROKEN", promsplit("store", "verify", storage=storage).stdout)

    def test_1_remote_read_from_prometheus(self):
        data = [
            ({"__name__": "hits_total", "job": f"j{n % 3}", "instance": f"i{n}"},
             [(T0 + k * 60_000 + n, float_bits(k * 1.1 + n)) for k in range(18 * 60)])
            for n in range(100)
        ]
        server = self.stage.prometheus("source", self.prometheus)
        dataset.load(server.api, data)
        span = (f"--from={T0_S}", f"--to={T0_S + 18 * 3600}")
        storage = os.path.join(self.stage.directory, "killed-read")
        self.check(storage, as_found(data), *span, f"http://127.0.0.1:{server.port}")

    def test_2_json_lines(self):
        path = os.path.join(self.stage.directory, "killed.jsonl")
        expected = {}
        with open(path, "w") as file:
            for n in range(800):
                metric = {"__name__": f"m{n % 5}", "n": str(n)}
                times = [T0 + k * 15_000 for k in range(960)]
                values = [k * 0.1 + n for k in range(960)]
                file.write(json.dumps({"metric": metric, "values": values, "timestamps": times}) + "\n")
                expected[tuple(sorted(metric.items()))] = list(zip(times, map(float_bits, values)))
        self.check(os.path.join(self.stage.directory, "killed-file"), expected, path)

    def test_3_a_server_that_refuses(self):
        storage = os.path.join(self.stage.directory, "refused")
        failed = promsplit("import", "http://127.0.0.1:1", storage=storage, good=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn(b"--from is missing", failed.stderr)
        server = self.stage.prometheus("other", self.prometheus)
        failed = promsplit("import", "--from=0", f"http://127.0.0.1:{server.port}/nowhere", storage=storage, good=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn(b"answers 404 to a remote read", failed.stderr)


def attribute(key, value):
    return wire.field_bytes(1, key) + wire.field_bytes(2, value)


def text_value(text):
    return wire.field_bytes(1, text)


def otlp_point(attributes_field, time_ms, rest, *attributes):
    head = wire.field_fixed64(2, 1) + wire.field_fixed64(3, time_ms * 1_000_000)
    return head + b"".join(wire.field_bytes(attributes_field, a) for a in attributes) + rest


def otlp_metric(name, kind, data, unit="", points=()):
    body = b"".join(wire.field_bytes(1, point) for point in points) + data
    return wire.field_bytes(1, name) + wire.field_bytes(2, f"help of {name}") + wire.field_bytes(3, unit) + wire.field_bytes(kind, body)


def otlp_request(resource, metrics):
    attributes = b"".join(wire.field_bytes(1, a) for a in resource)
    scope = wire.field_bytes(1, wire.field_bytes(1, "scope")) + b"".join(wire.field_bytes(2, m) for m in metrics)
    return wire.field_bytes(1, wire.field_bytes(1, attributes) + wire.field_bytes(2, scope))


GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 5, 7, 9, 10, 11
DELTA, CUMULATIVE = wire.field_int(2, 1), wire.field_int(2, 2)
MONOTONIC = wire.field_int(3, 1)


def packed_fixed64(number, bits):
    return wire.field_bytes(number, b"".join(struct.pack("<Q", b) for b in bits))


class Otlp(ServiceCase):
    """What Prometheus's own receiver would store, under the same names."""

    @classmethod
    def prepare(cls):
        cls.api = cls.stage.promsplit("promsplit", 1).api

    @staticmethod
    def send(api, body):
        return api.request("POST", "/api/v1/otlp/v1/metrics", body=body, headers={"Content-Type": "application/x-protobuf"})

    def stored(self):
        answer = self.api.read([(0, T0 * 2, [(wire.MATCHES, "__name__", ".+")])])
        (series,) = wire.read_response(wire.unsnappy(answer.body))
        for labels, _ in series:
            self.assertEqual((labels.pop("job"), labels.pop("instance")), ("web/shop", "i-1"))
        return {(labels.pop("__name__"), *sorted(labels.items())): samples for labels, samples in series}

    def number(self, value, *attributes, at=T0):
        kind = wire.field_fixed64(6, value & (1 << 64) - 1) if isinstance(value, int) else wire.field_fixed64(4, float_bits(value))
        return otlp_point(7, at, kind, *attributes)

    def test_1_the_series_that_prometheus_makes(self):
        lists = wire.field_bytes(5, wire.field_bytes(1, text_value("a\"b")) + wire.field_bytes(1, wire.field_int(3, 5)))
        resource = [
            attribute("service.name", text_value("shop")),
            attribute("service.namespace", text_value("web")),
            attribute("service.instance.id", text_value("i-1")),
            attribute("host.name", text_value("h")),
            attribute("command.args", lists),
            attribute("pid", wire.field_int(3, 42)),
            attribute("load", wire.field_fixed64(4, float_bits(0.25))),
            attribute("up", wire.field_int(2, 1)),
        ]
        histogram = (wire.field_fixed64(4, 7) + wire.field_fixed64(5, float_bits(12.5))
                     + packed_fixed64(6, [1, 2, 4]) + packed_fixed64(7, [float_bits(0.5), float_bits(10.0)]))
        quantile = wire.field_fixed64(1, float_bits(0.99)) + wire.field_fixed64(2, float_bits(3.5))
        summary = wire.field_fixed64(4, 3) + wire.field_fixed64(5, float_bits(9.0)) + wire.field_bytes(6, quantile)
        label = attribute("http.method", text_value("GET"))
        twice = (attribute("a.b", text_value("1")), attribute("a-b", text_value("2")), attribute("0x", text_value("3")))
        metrics = [
            otlp_metric("temperature", GAUGE, b"", "Cel", [self.number(21.5, label), self.number(-3, *twice)]),
            otlp_metric("disk.usage", GAUGE, b"", "1", [self.number(0.5)]),
            otlp_metric("http.server.requests", SUM, CUMULATIVE + MONOTONIC, "{request}", [self.number(5, label)]),
            otlp_metric("net.io", SUM, CUMULATIVE + MONOTONIC, "By", [self.number(7.5)]),
            otlp_metric("net.speed", SUM, CUMULATIVE, "By/s", [self.number(8)]),
            otlp_metric("total.things", SUM, CUMULATIVE + MONOTONIC, "", [self.number(9)]),
            otlp_metric("9 lives", GAUGE, b"", "", [self.number(9.0)]),
            otlp_metric("queue.seconds", GAUGE, b"", "s", [self.number(1.0)]),
            otlp_metric("latency", HISTOGRAM, CUMULATIVE, "ms", [otlp_point(9, T0, histogram, label)]),
            otlp_metric("wait", SUMMARY, b"", "s", [otlp_point(7, T0, summary, label)]),
            otlp_metric("gone", GAUGE, b"", "", [otlp_point(7, T0, wire.field_int(8, 1), label)]),
            otlp_metric("later", GAUGE, b"", "", [self.number(1.0, at=T0 + 400_000)]),
        ]
        body = otlp_request(resource, metrics)
        answer = self.send(self.api, body)
        self.assertEqual((answer.status, answer.body), (200, b""))
        get = ("http_method", "GET")
        values = {
            ("temperature_celsius", get): 21.5,
            ("temperature_celsius", ("a_b", "2;1"), ("key_0x", "3")): -3.0,
            ("disk_usage_ratio",): 0.5,
            ("http_server_requests_total", get): 5.0,
            ("net_io_bytes_total",): 7.5,
            ("net_speed_bytes_per_second",): 8.0,
            ("things_total",): 9.0,
            ("_9_lives",): 9.0,
            ("queue_seconds",): 1.0,
            ("latency_milliseconds_sum", get): 12.5,
            ("latency_milliseconds_count", get): 7.0,
            ("latency_milliseconds_bucket", get, ("le", "0.5")): 1.0,
            ("latency_milliseconds_bucket", get, ("le", "10")): 3.0,
            ("latency_milliseconds_bucket", get, ("le", "+Inf")): 7.0,
            ("wait_seconds", get, ("quantile", "0.99")): 3.5,
            ("wait_seconds_sum", get): 9.0,
            ("wait_seconds_count", get): 3.0,
        }
        expected = {series: [(T0, float_bits(value))] for series, value in values.items()}
        expected[("gone", get)] = [(T0, STALE_BITS)]
        expected[("later",)] = [(T0 + 400_000, float_bits(1.0))]
        info = (("command_args", '["a\\"b",5]'), ("host_name", "h"), ("load", "0.25"), ("pid", "42"), ("up", "true"))
        expected[("target_info", *info)] = [(T0 + k, float_bits(1.0)) for k in (0, 150_000, 300_000, 400_000)]
        self.assertEqual(self.stored(), expected)
        metadata = self.api.get("/api/v1/metadata").json()["data"]
        self.assertEqual((metadata["net_io_bytes_total"][0]["type"], metadata["net_io_bytes_total"][0]["unit"]), ("counter", "bytes"))

    def test_2_what_is_left_out_is_named(self):
        resource = [attribute("service.name", text_value("shop"))]
        delta = otlp_metric("delta", SUM, DELTA + MONOTONIC, "", [self.number(5), self.number(6)])
        good = otlp_metric("good", GAUGE, b"", "", [self.number(1.0, at=T0 + 1)])
        answer = self.send(self.api, otlp_request(resource, [delta, good]))
        self.assertEqual(answer.status, 200)
        ((_, partial),) = wire.fields(answer.body)
        self.assertEqual(dict(wire.fields(partial))[1], 2)
        self.assertIn(b'delta; only cumulative is stored) for metric "delta"', dict(wire.fields(partial))[2])
        answer = self.send(self.api, otlp_request(resource, [delta]))
        self.assertEqual(answer.status, 400)
        answer = self.send(self.api, b"\x0a\xff")
        self.assertEqual(answer.status, 400)
        self.assertIn(b"ExportMetricsServiceRequest at byte 0 of 2", answer.body)
