"""A small client of the Prometheus HTTP API and of remote read and write. Connections are kept, one per thread."""
import http.client
import json
import threading
import urllib.parse

from lib import wire


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Api:
    """Any number of threads; errors of the connection are OSError or http.client.HTTPException."""

    def __init__(self, port, host="127.0.0.1", timeout_s=60):
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self._local = threading.local()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def request(self, method, path, body=None, headers=None):
        """One request; a kept connection that the server closed meanwhile is opened again, once."""
        for attempt in (0, 1):
            connection = getattr(self._local, "connection", None)
            fresh = connection is None
            if fresh:
                connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
                self._local.connection = connection
            try:
                connection.request(method, path, body=body, headers=headers or {})
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if fresh or attempt:
                    raise

    def get(self, path, headers=None, **params):
        return self.request("GET", path + ("?" + _encode(params) if params else ""), headers=headers)

    def post(self, path, headers=None, **params):
        head = {"Content-Type": "application/x-www-form-urlencoded"}
        head.update(headers or {})
        return self.request("POST", path, body=_encode(params), headers=head)

    def query(self, query, time, **params):
        return self.post("/api/v1/query", query=query, time=time, **params)

    def query_range(self, query, start, end, step, **params):
        return self.post("/api/v1/query_range", query=query, start=start, end=end, step=step, **params)

    def write(self, series, metadata=()):
        return self.write_bytes(wire.snappy(wire.write_request(series, metadata)))

    def write_bytes(self, body, **headers):
        head = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        head.update(headers)
        return self.request("POST", "/api/v1/write", body=body, headers=head)

    def read_bytes(self, body, **headers):
        head = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Read-Version": "0.1.0",
        }
        head.update(headers)
        return self.request("POST", "/api/v1/read", body=body, headers=head)

    def read(self, queries, accepted=()):
        return self.read_bytes(wire.snappy(wire.read_request(queries, accepted)))

    def metric(self, name, labels=""):
        """The value of one line of /metrics, or None: metric("promsplit_tasks")."""
        for line in self.get("/metrics").body.decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head == name + labels:
                return float(value)
        return None


def _encode(params):
    """match= stands for match[]=; None values are left out; lists repeat the name."""
    pairs = []
    for name, value in params.items():
        name = "match[]" if name == "match" else name
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None:
                pairs.append((name, one))
    return urllib.parse.urlencode(pairs)
