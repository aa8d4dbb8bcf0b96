"""A target to scrape: an HTTP server on a thread of the test, whose metrics follow from the time alone."""
import http.server
import threading
import time

from lib import wire

# family: (type, help, unit in the text of OpenMetrics: none here)
FAMILIES = {
    "target_hits_total": ("counter", "Requests that came in."),
    "target_temperature": ("gauge", "How warm it is, in \"degrees\"."),
    "target_took_seconds": ("histogram", "How long they took."),
    "target_size_bytes": ("summary", "How large they were."),
}


def text(now_s):
    """The exposition of one moment: counters grow by one each millisecond, as other values do."""
    ticks = int(now_s * 1000) % 10_000_000
    out = []
    for family, (kind, words) in FAMILIES.items():
        out += [f"# HELP {family} {words}", f"# TYPE {family} {kind}"]
        if kind == "counter":
            out += [f'{family}{{path="/{n}"}} {ticks * (n + 1)}' for n in range(5)]
        elif kind == "gauge":
            out.append(f"{family} {ticks % 977 / 10}")
        elif kind == "histogram":
            out += [f'{family}_bucket{{le="{le}"}} {ticks // part}' for le, part in (("0.1", 4), ("1", 2), ("+Inf", 1))]
            out += [f"{family}_sum {ticks * 0.25}", f"{family}_count {ticks}"]
        else:
            out += [f'{family}{{quantile="0.5"}} {ticks % 331}', f"{family}_sum {ticks * 3}", f"{family}_count {ticks}"]
    return "\n".join(out) + "\n"


def open_metrics(now_s):
    """Two counters and a histogram of one moment, each with an exemplar that has a time or has none."""
    ticks = int(now_s * 1000) % 10_000_000
    return f"""# TYPE target_hits counter
target_hits_total{{path="/1"}} {ticks} # {{trace_id="t{ticks}"}} {ticks % 7} {now_s:.3f}
target_hits_total{{path="/2"}} {ticks} # {{trace_id="u{ticks // 1000}"}} {ticks % 5}
# TYPE target_took_seconds histogram
target_took_seconds_bucket{{le="0.1"}} {ticks // 2} # {{span_id="s{ticks}",trace_id="t{ticks}"}} 0.05 {now_s:.3f}
target_took_seconds_bucket{{le="+Inf"}} {ticks} # {{}} 3 {now_s:.3f}
target_took_seconds_sum {ticks * 0.25}
target_took_seconds_count {ticks}
# EOF
"""


def native_histograms(now_s):
    """A histogram, whose buckets become more as time goes on, and a gauge histogram, as Prometheus's own protobuf."""
    ticks = int(now_s * 1000) % 10_000_000
    out = b""
    for family, kind in (("target_native_seconds", 4), ("target_native_load", 5)):
        counts = [ticks // 2, ticks // 3, 7 + ticks % 5, *([ticks // 1000] if ticks % 4000 > 2000 and kind == 5 else [])]
        deltas = [b - a for a, b in zip([0, *counts], counts)]
        histogram = wire.field_int(1, sum(counts) + 3) + wire.field_fixed64(2, wire.float_bits(ticks * 0.25))
        histogram += wire.field_int(5, wire.zigzag(3)) + wire.field_fixed64(6, wire.float_bits(0.001)) + wire.field_int(7, 3)
        histogram += wire.field_bytes(12, wire.field_int(1, wire.zigzag(-2)) + wire.field_int(2, len(counts)))
        histogram += b"".join(wire.field_int(13, wire.zigzag(delta)) for delta in deltas)
        metrics = b""
        for path in ("/1", "/2"):
            label = wire.field_bytes(1, wire.field_bytes(1, "path") + wire.field_bytes(2, path))
            metrics += wire.field_bytes(4, label + wire.field_bytes(7, histogram))
        message = wire.field_bytes(1, family) + wire.field_bytes(2, "How long.") + wire.field_int(3, kind) + metrics
        out += wire.varint(len(message)) + message
    return out


class Target:
    """Listens on a free port until close()."""

    def __init__(self, make=text, kind="text/plain; version=0.0.4"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = make(time.time())
                body = body if isinstance(body, bytes) else body.encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
