"""Whatever is sent: a 4xx that says what is wrong, and a process that goes on."""
import http.client
import random
import socket
import time
import unittest

from fixture import PROMETHEUS_3, T0, T0_S, ServiceCase
from lib import wire
from lib.wire import float_bits

GOOD_SERIES = [({"__name__": "good", "a": "b"}, [(T0, float_bits(1.0))])]
PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
MIB = 1 << 20


class BadInput(ServiceCase):
    @classmethod
    def prepare(cls):
        cls.promsplit, cls.upstream = cls.loaded_pair()
        cls.api = cls.promsplit.api

    def tearDown(self):
        self.assertTrue(self.promsplit.alive, self.promsplit.log_tail(40))
        self.assert_answers(self.api)

    def assert_refused(self, answer, codes=(400,), *words):
        self.assertIn(answer.status, codes, answer)
        self.assertGreater(len(answer.body.strip()), 8, "a refusal says why")
        for word in words:
            self.assertIn(word, answer.body.decode(errors="replace").lower())

    # --- bodies of remote write and remote read ---

    def test_bad_snappy(self):
        good = wire.snappy(wire.write_request(GOOD_SERIES))
        bombs = (b"", b"\xff" * 20, good[:-3], good + b"\0", b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                 b"\x05\x01\x00", wire.varint(1 << 31) + good[1:], b"not snappy at all")
        for body in bombs:
            with self.subTest(body):
                for post in (self.api.write_bytes, self.api.read_bytes):
                    if body:  # an empty body of a write is refused as well, but need not speak of snappy
                        self.assert_refused(post(body), (400, 413))
                    else:
                        self.assertIn(post(body).status, (400, 411, 413))

    def test_bad_protobuf(self):
        good = wire.write_request(GOOD_SERIES)
        for message in (b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", good[:-1], b"\x0a\x05\x0a\x03\x0a\x05a", b"\x0b"):
            with self.subTest(message):
                for post in (self.api.write_bytes, self.api.read_bytes):
                    self.assert_refused(post(wire.snappy(message)))

    def test_bad_content_types(self):
        body = wire.snappy(wire.write_request(GOOD_SERIES))
        for headers in ({"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"},
                        {"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
            with self.subTest(headers):
                self.assert_refused(self.api.write_bytes(body, **headers), (415,))

    def test_bad_series(self):
        def one(fields, samples=((T0, 0),)):
            body = b"".join(wire.field_bytes(1, wire.field_bytes(1, n) + wire.field_bytes(2, v)) for n, v in fields)
            body += b"".join(wire.field_bytes(2, wire.field_fixed64(1, b) + wire.field_int(2, t)) for t, b in samples)
            return wire.snappy(wire.field_bytes(1, body))

        named = ("__name__", "bad")
        cases = {
            "no labels": one([]),
            "no name": one([("a", "b")]),
            "empty label name": one([named, ("", "b")]),
            "label twice": one([named, ("a", "b"), ("a", "c")]),
            "labels not sorted": one([("b", "1"), named, ("a", "1")]),
            "not UTF-8": one([named, ("a", b"\xff\xfe")]),
            "label too long": one([named, ("a", "x" * 5000)]),
            "name too long": one([named, ("a" * 2000, "x")]),
            "too many labels": one([named] + [(f"l{n:04d}", "x") for n in range(100)]),
            "our own labels": one([named, ("__task_id__", "x"), ("__task_kind__", "fragment")]),
        }
        for name, body in cases.items():
            with self.subTest(name):
                answer = self.api.write_bytes(body)
                if name == "labels not sorted" and answer.status in (200, 204):
                    continue  # sorting them is right too
                self.assert_refused(answer)
        self.assertEqual(self.api.get("/api/v1/series", match='{__name__="bad",a!~"1"}').json()["data"], [])

    def test_a_bad_sample_leaves_the_good_ones(self):
        far = int(time.time() * 1000) + 86_400_000 * 400
        answer = self.api.write(GOOD_SERIES + [({"__name__": "future"}, [(far, 0)])])
        self.assert_refused(answer)
        self.assertEqual(len(self.api.query("good", T0_S + 1).json()["data"]["result"]), 1)

    def test_same_timestamp(self):
        series = lambda v: [({"__name__": "twice"}, [(T0, float_bits(v))])]  # noqa: E731
        self.assertIn(self.api.write(series(1.0)).status, (200, 204))
        self.assertIn(self.api.write(series(1.0)).status, (200, 204), "the same value again is quiet")
        self.assert_refused(self.api.write(series(2.0)))
        self.assertEqual(self.api.query("twice", T0_S + 1).json()["data"]["result"][0]["value"][1], "1")

    # --- sizes ---

    def raw(self, head, body=b"", read_answer=True):
        """A request written by hand; returns the status code of the answer, or None if the connection was closed."""
        with socket.create_connection(("127.0.0.1", self.promsplit.port), timeout=20) as client:
            try:
                client.sendall(head.encode() + b"\r\n\r\n" + body)
            except OSError:
                pass  # closed while we still sent: the answer may be there
            if not read_answer:
                return None
            answer = http.client.HTTPResponse(client)
            try:
                answer.begin()
            except (OSError, http.client.HTTPException):
                return None
            return answer.status

    def test_oversized_declared(self):
        for path in ("/api/v1/write", "/api/v1/read", "/api/v1/query"):
            kind = "application/x-www-form-urlencoded" if path.endswith("query") else "application/x-protobuf"
            for length in (10**10, 2**63, 10**30):
                with self.subTest(f"{path} {length}"):
                    status = self.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Encoding: snappy\r\n"
                                      f"Content-Length: {length}")
                    self.assertIn(status, (400, 413, None))

    def test_oversized_real(self):
        big = b"x" * (40 * MIB)
        for path in ("/api/v1/write", "/api/v1/read"):
            with self.subTest(path):
                status = self.raw(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                                  f"Content-Encoding: snappy\r\nContent-Length: {len(big)}", big)
                self.assertIn(status, (413, None))
        status = self.raw("POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                          f"Content-Length: {len(big)}", b"query=" + big[6:])
        self.assertIn(status, (413, None))

    def test_oversized_chunked(self):
        chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        status = self.raw("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                          "Content-Encoding: snappy\r\nTransfer-Encoding: chunked", chunk * 40 + b"0\r\n\r\n")
        self.assertIn(status, (413, None))

    def test_decompressed_size_is_limited(self):
        # 33 MiB of zeroes in a few kilobytes: copies of 64 bytes
        bomb = bytearray(wire.varint(48 * MIB) + b"\0\0")
        bomb += b"\xfe\x01\x00" * (48 * MIB // 64)
        for post in (self.api.write_bytes, self.api.read_bytes):
            self.assert_refused(post(bytes(bomb)), (400, 413))

    def test_half_a_request(self):
        self.raw("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
                 "Content-Length: 1000", b"abc", read_answer=False)
        self.raw("GARBAGE\r\n\x00\xff", read_answer=False)

    # --- queries and parameters ---

    def test_bad_parameters(self):
        query, around = "/api/v1/query", {"query": "up", "start": T0_S, "end": T0_S + 60, "step": 15}
        cases = [
            (query, {}, "query"),
            (query, {"query": ""}, ""),
            (query, {"query": "up", "time": "yesterday"}, "time"),
            (query, {"query": "up", "time": "1e400"}, "time"),
            (query, {"query": "up", "timeout": "-1s"}, "timeout"),
            (query, {"query": "up", "timeout": "soon"}, "timeout"),
            (query, {"query": "up", "lookback_delta": "x"}, "lookback delta"),
            (query, {"query": "up", "limit": "-1"}, "limit"),
            (query, {"query": 'up{__task_id__="x"}'}, "__task_id__"),
            (query, {"query": '{__task_kind__="fragment"}'}, "__task_kind__"),
            (query, {"query": 'sum by (a) (up{b=~"(((("})'}, "regexp"),
        ]
        for change, word in (({"step": "0"}, "step"), ({"step": "-1"}, "step"), ({"step": "NaN"}, "step"),
                             ({"end": T0_S - 1}, "end"), ({"start": "x"}, "start"), ({"step": "0.001"}, "11,000"),
                             ({"start": None}, "start"), ({"end": None}, "end"), ({"step": None}, "step"),
                             ({"query": None}, "query"), ({"query": "up[5m]"}, "")):
            cases.append(("/api/v1/query_range", {**around, **change}, word))
        cases += [("/api/v1/series", {}, "match[]"), ("/api/v1/series", {"match": "{"}, "match[]"),
                  ("/api/v1/series", {"match": '{a=~".*"}'}, "match[]"), ("/api/v1/labels", {"match": "sum(up)"}, "parse error"),
                  ("/api/v1/labels", {"start": "x"}, "start"), ("/api/v1/format_query", {"query": "sum("}, "parse error")]
        for path, params, word in cases:
            with self.subTest(f"{path} {params}"):
                for ask in (self.api.post, self.api.get):
                    answer = ask(path, **params)
                    self.assert_api_error(answer, 400, "bad_data", word)

    @unittest.skipIf(PROMETHEUS_3 is None, "no Prometheus 3.5 here")
    def test_refusals_read_as_those_of_prometheus(self):
        real = self.stage.prometheus("real", PROMETHEUS_3).api
        query, over = "/api/v1/query", {"query": "up", "start": T0_S, "end": T0_S + 60, "step": 15}
        cases = [(query, {"query": q}) for q in ("", "sum(", "up[5m]]", "foo bar", 'up{a="b', "rate(up)", "1 == 1", "sum by (1) (up)")]
        cases += [(query, {"query": "up", name: value}) for name, value in (
            ("time", "x"), ("time", "1e400"), ("timeout", "soon"), ("timeout", "-1s"), ("limit", "-1"), ("limit", "x"), ("lookback_delta", "x"))]
        cases += [("/api/v1/query_range", {**over, name: value}) for name, value in (
            ("step", "0"), ("step", "-1"), ("step", "x"), ("end", T0_S - 1), ("start", "x"), ("end", "x"), ("step", "0.001"), ("query", "up[5m]"),
            ("query", '"text"'), ("step", None), ("start", None), ("end", None))]
        cases += [("/api/v1/series", {}), ("/api/v1/series", {"match": "{"}), ("/api/v1/series", {"match": '{a=~".*"}'}),
                  ("/api/v1/series", {"match": "up", "start": "x"}), ("/api/v1/labels", {"match": "sum(up)"}), ("/api/v1/labels", {"limit": "-1"}),
                  ("/api/v1/label/job/values", {"match": "("}), ("/api/v1/label/job/values", {"end": "x"}), ("/api/v1/metadata", {"limit": "x"}),
                  ("/api/v1/format_query", {"query": "sum("}), ("/api/v1/query_exemplars", {"query": "("})]
        for path, params in cases:
            with self.subTest(f"{path} {params}"):
                want, got = real.get(path, **params), self.api.get(path, **params)
                self.assertEqual((got.status, got.json()), (want.status, want.json()))

    def test_hostile_queries(self):
        for query in ("(" * 100_000, "-" * 100_000 + "1", "sum(" * 5000 + "up" + ")" * 5000, "up[" * 1000, "\0", "up\0down",
                      "up{a=" + '"' * 3, "1" * 100_000 + "x", "up" + " offset 1m" * 10_000, "(1+" * 3000 + "1" + ")" * 3000 + ")",
                      "{" + "a!='b'," * 20_000 + "}", "'" + "\\" * 10_001 + "'", "up{a=~'" + "(a*)*" * 1000 + "('}"):
            with self.subTest(query[:40]):
                answer = self.api.post("/api/v1/query", query=query, time=T0_S)
                self.assertIn(answer.status, (400, 422), answer)
        answer = self.api.request("POST", "/api/v1/query", b"query=%ff%fe&time=4",
                                  {"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(answer.status, 400, answer)

    def test_unknown_paths_and_methods(self):
        self.assertEqual(self.api.get("/api/v1/nothing").status, 404)
        self.assertEqual(self.api.get("/api/v1/label//values").status in (400, 404), True)
        self.assertEqual(self.api.get("/../../etc/passwd").status, 404)
        for method, path in (("DELETE", "/api/v1/query"), ("GET", "/api/v1/write"), ("GET", "/api/v1/read"), ("PUT", "/-/healthy")):
            self.assertEqual(self.api.request(method, path).status, 405, f"{method} {path}")

    def test_random_bodies(self):
        """Good requests with bytes changed, cut and doubled: nothing but 2xx and 4xx."""
        chance = random.Random(7)
        writes = wire.write_request(GOOD_SERIES * 3, metadata=[(1, "good", "help", "unit")])
        reads = wire.read_request([(T0, T0 + 1000, [(2, "__name__", "go.*")])] * 2, accepted=(1, 0))
        for n in range(600):
            message, post = ((writes, self.api.write_bytes), (reads, self.api.read_bytes))[n % 2]
            data = bytearray(message if n % 4 < 2 else wire.snappy(message))
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(data) + 1)
                kind = chance.randrange(4)
                if kind == 0 and at < len(data):
                    data[at] = chance.randrange(256)
                elif kind == 1:
                    del data[at : at + chance.randrange(8)]
                elif kind == 2:
                    data[at:at] = chance.randbytes(chance.randrange(8))
                else:
                    data[at:at] = data[at : at + chance.randrange(32)]
                data = data or bytearray(b"\0")
            body = wire.snappy(bytes(data)) if n % 4 < 2 else bytes(data)
            answer = post(body)
            self.assertTrue(200 <= answer.status < 500, f"{answer} for {body.hex()}")
