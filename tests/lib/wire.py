"""Prometheus's remote-write and remote-read messages, written and read by hand, so that the tests share no code with
the program: protobuf fields (prometheus/prompb types.proto, remote.proto), snappy's block format, samples as bits.

A series is (labels, samples): labels a dict, samples a list of (timestamp in ms, 64 value bits). Bits, not floats,
because staleness markers and NaN payloads must arrive as they were sent.
"""
import struct

STALE_BITS = 0x7FF0000000000002
NAN_BITS = 0x7FF8000000000001

EQUAL, NOT_EQUAL, MATCHES, NOT_MATCHES = 0, 1, 2, 3  # matcher types
SAMPLES, STREAMED_XOR_CHUNKS = 0, 1  # accepted response types


class WireError(Exception):
    pass


def float_bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def bits_float(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


# --- protobuf -----------------------------------------------------------------------------------------------------


def varint(n):
    n &= (1 << 64) - 1  # negative int64 take ten bytes
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("varint cut off or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def field_int(number, value):
    return varint(number << 3) + varint(value)


def field_fixed64(number, bits):
    return varint(number << 3 | 1) + struct.pack("<Q", bits)


def field_bytes(number, data):
    if isinstance(data, str):
        data = data.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """Yields (number, value) of a message: ints for varints and fixed numbers, bytes for the rest."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif kind == 2:
            length, at = read_varint(data, at)
            if at + length > len(data):
                raise WireError("field cut off")
            value, at = data[at : at + length], at + length
        elif kind == 5:
            value, at = struct.unpack_from("<I", data, at)[0], at + 4
        else:
            raise WireError(f"wire type {kind}")
        yield key >> 3, value


def signed(n):
    return n - (1 << 64) if n >= 1 << 63 else n


def zigzag(n):
    return n << 1 ^ n >> 63


def histogram(timestamp, count, total, schema=0, zero=(0.001, 0), positive=((), ()), negative=((), ()), bounds=(),
              hint=0, floats=False):
    """A native histogram's message. count, and that of zero (its width, its count), are integers or, of `floats`,
    floats; each side is (spans as (offset, length), deltas between buckets or counts of them); total: its sum."""
    number = lambda field, n: field_fixed64(field + 1, float_bits(n)) if floats else field_int(field, n)  # noqa: E731
    out = number(1, count) + field_fixed64(3, total if isinstance(total, int) else float_bits(total))
    out += field_int(4, zigzag(schema)) + field_fixed64(5, float_bits(zero[0])) + number(6, zero[1])
    for field, (spans, buckets) in ((8, negative), (11, positive)):
        for offset, length in spans:
            out += field_bytes(field, field_int(1, zigzag(offset)) + field_int(2, length))
        if floats:
            out += field_bytes(field + 2, b"".join(struct.pack("<d", n) for n in buckets))
        else:
            out += field_bytes(field + 1, b"".join(varint(zigzag(n)) for n in buckets))
    out += field_int(14, hint) + field_int(15, timestamp)
    return out + (field_bytes(16, b"".join(struct.pack("<d", n) for n in bounds)) if bounds else b"")


def write_request(series, metadata=()):
    """series: iterable of (labels, samples), (labels, samples, exemplars) or (labels, samples, exemplars, histograms),
    exemplars a list of (labels, timestamp, bits), histograms of messages; metadata: iterable of (type number, family,
    help, unit)."""
    out = bytearray()
    for labels, samples, *more in series:
        body = bytearray()
        for name, value in sorted(labels.items()):
            body += field_bytes(1, field_bytes(1, name) + field_bytes(2, value))
        for timestamp, bits in samples:
            body += field_bytes(2, field_fixed64(1, bits) + field_int(2, timestamp))
        for own, timestamp, bits in more[0] if more else ():
            own = b"".join(field_bytes(1, field_bytes(1, name) + field_bytes(2, value)) for name, value in own.items())
            body += field_bytes(3, own + field_fixed64(2, bits) + field_int(3, timestamp))
        for message in more[1] if len(more) > 1 else ():
            body += field_bytes(4, message)
        out += field_bytes(1, bytes(body))
    for kind, family, text, unit in metadata:
        row = field_int(1, kind) + field_bytes(2, family) + field_bytes(4, text) + field_bytes(5, unit)
        out += field_bytes(3, row)
    return bytes(out)


def write_request_2(series, symbols=("",), extra_refs=(), starts=()):
    """Of remote write 2.0; series as above. `symbols`: what the table begins with; `extra_refs`: behind each series' labels; `starts`: of
    the samples of each series, in ms."""
    numbers = {text: n for n, text in enumerate(symbols)}
    ref = lambda text: numbers.setdefault(text, len(numbers))  # noqa: E731
    out = bytearray()
    for labels, samples, *more in series:
        refs = [ref(text) for pair in sorted(labels.items()) for text in pair] + list(extra_refs)
        body = field_bytes(1, b"".join(map(varint, refs)))
        for n, (timestamp, bits) in enumerate(samples):
            start = field_int(3, starts[n]) if n < len(starts) else b""
            body += field_bytes(2, field_fixed64(1, bits) + field_int(2, timestamp) + start)
        for own, timestamp, bits in more[0] if more else ():
            own = b"".join(varint(ref(text)) for pair in own.items() for text in pair)
            body += field_bytes(4, field_bytes(1, own) + field_fixed64(2, bits) + field_int(3, timestamp))
        for message in more[1] if len(more) > 1 else ():
            body += field_bytes(3, message)
        out += field_bytes(5, body + field_bytes(5, b""))
    return b"".join(field_bytes(4, text) for text in numbers) + bytes(out)


def read_request(queries, accepted=()):
    """queries: iterable of (start_ms, end_ms, [(type, name, value)])."""
    out = bytearray()
    for start, end, matchers in queries:
        body = field_int(1, start) + field_int(2, end)
        for kind, name, value in matchers:
            body += field_bytes(3, field_int(1, kind) + field_bytes(2, name) + field_bytes(3, value))
        out += field_bytes(1, body)
    for kind in accepted:
        out += field_int(2, kind)
    return bytes(out)


def _labels(data):
    pair = {1: b"", 2: b""}
    for number, value in fields(data):
        pair[number] = value
    return pair[1].decode(), pair[2].decode()


def read_response(data):
    """A decoded SAMPLES answer: one list of (labels, samples) per query, in the order sent."""
    results = []
    for number, result in fields(data):
        if number != 1:
            continue
        series = []
        for _, body in fields(result):
            labels, samples = [], []
            for kind, value in fields(body):
                if kind == 1:
                    labels.append(_labels(value))
                elif kind == 2:
                    sample = {1: 0, 2: 0}
                    sample.update(fields(value))
                    samples.append((signed(sample[2]), sample[1]))
            names = [name for name, _ in labels]
            if names != sorted(set(names)):
                raise WireError(f"labels not sorted or not unique: {labels}")
            series.append((dict(labels), samples))
        results.append(series)
    return results


def read_histograms(data):
    """Native histograms of a decoded SAMPLES answer to one query: {labels: [fields of a message]}.

    Buckets as {number: count}, without empty ones: a Prometheus writes some into all histograms of a chunk. A field is
    left out if it is zero, as is the hint on counter resets, which depends on chunks."""
    found = {}
    for _, body in fields(dict(fields(data))[1]):
        labels, histograms = {}, []
        for kind, value in fields(body):
            if kind == 1:
                labels.update([_labels(value)])
            elif kind == 4:
                histograms.append(_histogram_fields(value))
        if histograms:
            found[tuple(sorted(labels.items()))] = histograms
    return found


def _unzigzag(n):
    return n >> 1 ^ -(n & 1)


def _histogram_fields(data):
    spans, deltas, one = {9: [], 12: []}, {9: [], 12: []}, {}
    for number, value in fields(data):
        if number + 1 in spans:
            span = dict(fields(value))
            spans[number + 1].append((_unzigzag(span.get(1, 0)), span.get(2, 0)))
        elif number in deltas:
            at = 0
            while at < len(value):
                n, at = read_varint(value, at)
                deltas[number].append(_unzigzag(n))
        elif value and number != 14:
            one[number] = value
    for number in spans:
        at, count, left, buckets = 0, 0, iter(deltas[number]), {}
        for offset, length in spans[number]:
            at += offset
            for at in range(at, at + length):
                count += next(left)
                if count:
                    buckets[at] = count
            at += bool(length)
        if buckets:
            one[number] = buckets
    return one


# --- streamed chunks ----------------------------------------------------------------------------------------------


def _crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_CRC = _crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class _Bits:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        value = 0
        for _ in range(n):
            if self.at >= 8 * len(self.data):
                raise WireError("chunk cut off")
            value = value << 1 | self.data[self.at >> 3] >> 7 - (self.at & 7) & 1
            self.at += 1
        return value

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(8)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def xor_chunk(data):
    """Samples of one XOR chunk (tsdb/chunkenc/xor.go)."""
    count = struct.unpack_from(">H", data)[0]
    bits = _Bits(data[2:])
    samples, delta, leading, width = [], 0, 0, 0
    for n in range(count):
        if n == 0:
            raw = bits.uvarint()
            timestamp = raw >> 1 ^ -(raw & 1)
            value = bits.take(64)
        else:
            if n == 1:
                delta = bits.uvarint()
            else:
                size = 0
                for size in (0, 14, 17, 20, 64):
                    if size == 64 or not bits.take(1):
                        break
                change = bits.take(size)
                if size == 64:
                    change = signed(change)
                elif size and change > 1 << size - 1:
                    change -= 1 << size
                delta += change
            timestamp = samples[-1][0] + delta
            value = samples[-1][1]
            if bits.take(1):
                if bits.take(1):
                    leading = bits.take(5)
                    width = bits.take(6) or 64
                value ^= bits.take(width) << 64 - leading - width
        samples.append((timestamp, value))
    return samples


def chunked_response(data):
    """A STREAMED_XOR_CHUNKS answer: list of (query index, labels, samples, samples per chunk), one per frame."""
    out, at = [], 0
    while at < len(data):
        length, at = read_varint(data, at)
        crc = struct.unpack_from(">I", data, at)[0]
        message = data[at + 4 : at + 4 + length]
        at += 4 + length
        if len(message) != length or crc32c(message) != crc:
            raise WireError("frame cut off or checksum wrong")
        index, series = 0, []
        for number, value in fields(message):
            if number == 1:
                series.append(value)
            elif number == 2:
                index = value
        if len(series) != 1:
            raise WireError(f"{len(series)} series in one frame")
        labels, samples, sizes = {}, [], []
        for number, value in fields(series[0]):
            if number == 1:
                name, text = _labels(value)
                labels[name] = text
            else:
                chunk = dict(fields(value))
                part = xor_chunk(chunk[4])
                if (signed(chunk.get(1, 0)), signed(chunk.get(2, 0))) != (part[0][0], part[-1][0]):
                    raise WireError("chunk's time bounds are not those of its samples")
                samples += part
                sizes.append(len(part))
        out.append((index, labels, samples, sizes))
    return out


# --- snappy, block format -----------------------------------------------------------------------------------------


def snappy(data):
    """Literals only: valid, and never smaller than its input."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        part = data[at : at + 65536]
        n = len(part) - 1
        if n < 60:
            out.append(n << 2)
        elif n < 256:
            out += bytes((60 << 2, n))
        else:
            out += bytes((61 << 2, n & 0xFF, n >> 8))
        out += part
    return bytes(out)


def unsnappy(data):
    length, at = read_varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            size = tag >> 2
            if size >= 60:
                extra = size - 59
                size = int.from_bytes(data[at : at + extra], "little")
                at += extra
            out += data[at : at + size + 1]
            at += size + 1
            continue
        if tag & 3 == 1:
            size, offset, at = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at], at + 1
        else:
            extra = 2 if tag & 3 == 2 else 4
            size, offset, at = (tag >> 2) + 1, int.from_bytes(data[at : at + extra], "little"), at + extra
        if not 0 < offset <= len(out):
            raise WireError("copy from before the start")
        for _ in range(size):
            out.append(out[-offset])
    if len(out) != length:
        raise WireError(f"{len(out)} bytes where {length} were declared")
    return bytes(out)
