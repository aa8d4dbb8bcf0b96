"""OTLP's metrics messages: one request, as the dictionaries of OTLP/JSON, written as protobuf or as JSON.

Numbers are Python's: 64-bit ones become texts in JSON, as its mapping wants them, ids are hex texts, bytes base64.
Source: opentelemetry-proto, collector/metrics/v1, metrics/v1, common/v1.
"""
import base64
import json
import math
import struct

from . import wire
from .wire import field_bytes, field_fixed64, field_int, float_bits

DELTA, CUMULATIVE = 1, 2

ANY = {"stringValue": (1, "text"), "boolValue": (2, "bool"), "intValue": (3, "int64"), "doubleValue": (4, "double"),
       "bytesValue": (7, "bytes")}
KEY_VALUE = {"key": (1, "text"), "value": (2, ANY)}
ANY.update({"arrayValue": (5, {"values": (1, [ANY])}), "kvlistValue": (6, {"values": (1, [KEY_VALUE])})})
EXEMPLAR = {"filteredAttributes": (7, [KEY_VALUE]), "timeUnixNano": (2, "fixed64"), "asDouble": (3, "double"),
            "asInt": (6, "fixed64"), "spanId": (4, "id"), "traceId": (5, "id")}
TIMES = {"startTimeUnixNano": (2, "fixed64"), "timeUnixNano": (3, "fixed64")}
NUMBER = {**TIMES, "attributes": (7, [KEY_VALUE]), "asDouble": (4, "double"), "asInt": (6, "fixed64"),
          "exemplars": (5, [EXEMPLAR]), "flags": (8, "int64")}
HISTOGRAM = {**TIMES, "attributes": (9, [KEY_VALUE]), "count": (4, "fixed64"), "sum": (5, "double"),
             "bucketCounts": (6, ["fixed64"]), "explicitBounds": (7, ["double"]), "exemplars": (8, [EXEMPLAR]),
             "flags": (10, "int64"), "min": (11, "double"), "max": (12, "double")}
BUCKETS = {"offset": (1, "sint"), "bucketCounts": (2, ["int64"])}
EXPONENTIAL = {**TIMES, "attributes": (1, [KEY_VALUE]), "count": (4, "fixed64"), "sum": (5, "double"),
               "scale": (6, "sint"), "zeroCount": (7, "fixed64"), "positive": (8, BUCKETS), "negative": (9, BUCKETS),
               "flags": (10, "int64"), "exemplars": (11, [EXEMPLAR]), "zeroThreshold": (14, "double")}
SUMMARY = {**TIMES, "attributes": (7, [KEY_VALUE]), "count": (4, "fixed64"), "sum": (5, "double"),
           "quantileValues": (6, [{"quantile": (1, "double"), "value": (2, "double")}]), "flags": (8, "int64")}


def _data(number, point):
    return number, {"dataPoints": (1, [point]), "aggregationTemporality": (2, "enum"), "isMonotonic": (3, "bool")}


METRIC = {"name": (1, "text"), "description": (2, "text"), "unit": (3, "text"), "gauge": _data(5, NUMBER),
          "sum": _data(7, NUMBER), "histogram": _data(9, HISTOGRAM), "exponentialHistogram": _data(10, EXPONENTIAL),
          "summary": _data(11, SUMMARY)}
REQUEST = {"resourceMetrics": (1, [{
    "resource": (1, {"attributes": (1, [KEY_VALUE])}),
    "scopeMetrics": (2, [{"scope": (1, {"name": (1, "text"), "version": (2, "text")}), "metrics": (2, [METRIC])}])}])}

_SCALARS = {
    "text": field_bytes, "bytes": field_bytes, "id": lambda n, v: field_bytes(n, bytes.fromhex(v)), "bool": field_int,
    "int64": field_int, "enum": field_int, "sint": lambda n, v: field_int(n, wire.zigzag(v)),
    "fixed64": lambda n, v: field_fixed64(n, v & (1 << 64) - 1),
    "double": lambda n, v: field_fixed64(n, float_bits(v)),
}
_PACKED = {"int64": wire.varint, "fixed64": lambda v: struct.pack("<Q", v), "double": lambda v: struct.pack("<d", v)}


def protobuf(value, fields=None):
    out = b""
    for name, inner in value.items():
        number, kind = (fields or REQUEST)[name]
        if isinstance(kind, list) and isinstance(kind[0], str):
            out += field_bytes(number, b"".join(map(_PACKED[kind[0]], inner)))
        elif isinstance(kind, list):
            out += b"".join(field_bytes(number, protobuf(one, kind[0])) for one in inner)
        elif isinstance(kind, dict):
            out += field_bytes(number, protobuf(inner, kind))
        else:
            out += _SCALARS[kind](number, inner)
    return out


def _json_scalar(kind, value):
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind == "double" and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value) if kind in ("int64", "fixed64") else value


def _json_tree(value, fields):
    out = {}
    for name, inner in value.items():
        _, kind = fields[name]
        if isinstance(kind, list):
            out[name] = [_json_scalar(kind[0], x) if isinstance(kind[0], str) else _json_tree(x, kind[0]) for x in inner]
        else:
            out[name] = _json_tree(inner, kind) if isinstance(kind, dict) else _json_scalar(kind, inner)
    return out


def as_json(value):
    return json.dumps(_json_tree(value, REQUEST)).encode()


# --- making some --------------------------------------------------------------------------------------------------


def attributes(**values):
    """Texts, whole numbers, fractions; a_b stands for a.b."""
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue", bytes: "bytesValue"}
    return [{"key": key.replace("_", "."), "value": {kinds[type(value)]: value}} for key, value in values.items()]


def metric(name, kind, points, temporality=CUMULATIVE, monotonic=True, unit=""):
    data = {"dataPoints": points}
    if kind not in ("gauge", "summary"):
        data["aggregationTemporality"] = temporality
    if kind == "sum":
        data["isMonotonic"] = monotonic
    return {"name": name, "description": f"help of {name}", "unit": unit, kind: data}


def request(metrics, **resource):
    return {"resourceMetrics": [{"resource": {"attributes": attributes(**resource)},
                                 "scopeMetrics": [{"scope": {"name": "tests"}, "metrics": metrics}]}]}


# --- what becomes of them -----------------------------------------------------------------------------------------


def _sparse(counts, first):
    """Spans and deltas of dense buckets: the empty ones in a row are left out if they are more than two."""
    kept = [k for k, count in enumerate(counts) if count or k == len(counts) - 1]
    spans, deltas, at, last = [[first, 0]] if counts else [], [], 0, 0
    for k in kept:
        if k - at > 2:
            spans = spans + [[k - at, 0]] if spans[-1][1] else [[spans[0][0] + k - at, 0]]
            at = k
        spans[-1][1] += k - at + 1
        for count in [0] * (k - at) + [counts[k]]:
            deltas.append(count - last)
            last = count
        at = k + 1
    return spans, deltas


def _scaled(side, down):
    """Buckets 2^down of which are put together, and the first one's number; Prometheus's numbers are higher by one."""
    counts, offset = side.get("bucketCounts", []), side.get("offset", 0)
    out = [0] * ((len(counts) + offset - 1 >> down) - (offset >> down) + 1) if counts else []
    for k, count in enumerate(counts):
        out[(k + offset >> down) - (offset >> down)] += count
    return out, (offset >> down) + 1


def native_histogram(point):
    """The message for remote write that an exponential histogram becomes. Buckets that are put together should not be
    empty: Prometheus then goes its own way."""
    time_ms = point["timeUnixNano"] // 1_000_000
    if point.get("flags"):
        return wire.histogram(time_ms, 0, wire.STALE_BITS, zero=(0, 0))
    scale = point.get("scale", 0)
    sides = [_sparse(*_scaled(point.get(side, {}), max(0, scale - 8))) for side in ("positive", "negative")]
    return wire.histogram(time_ms, point.get("count", 0), point.get("sum", 0.0), schema=min(scale, 8),
                          zero=(1e-128, point.get("zeroCount", 0)), positive=sides[0], negative=sides[1])
