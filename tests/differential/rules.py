"""The one place for what may differ between a real Prometheus and promsplit, and why.

Everything else is compared exactly: result types, label sets, timestamps, order of matrices, NaN and infinities, error
types and texts; values to RELATIVE. A rule belongs here only if Prometheus itself gives more than one answer over the
same samples, or if two versions word the same refusal differently.
"""
import re

RELATIVE = 1e-9

# topk and bottomk keep whichever of several equal values their heap meets first. Where the label sets differ, the
# values chosen at every timestamp must still be the same.
_TIES = re.compile(r"\b(topk|bottomk)\b", re.IGNORECASE)


def ties_possible(query):
    return bool(_TIES.search(query))


# An instant vector's order is that of a hash map, except under a sorting function at the root. Equal values may stand
# in any order, so the values are compared in order and the label sets as a set.
_SORTED = re.compile(r"^\s*(sort|sort_desc)\s*\(", re.IGNORECASE)


def order_matters(query):
    return bool(_SORTED.match(query))


# What is left of a difference of two nearly equal numbers depends on the last bit of each, and so on the order of
# additions and on how a mean is taken (Prometheus 2.42: incrementally; 3.x: a compensated sum, divided). Such a remainder
# is compared against 1e-9 of what was subtracted: (pattern of the query, absolute tolerance).
CANCELLATION = ((r"^sum\(memory_bytes\) by \(instance\) / count\(.* - avg\(memory_bytes\)", 2e9 * RELATIVE),)


def absolute_tolerance(query):
    return max((tolerance for pattern, tolerance in CANCELLATION if re.search(pattern, query)), default=0.0)


# Errors of matching name two of the series that collide; which two, and in which order, depends on the order of storage.
_COLLIDING = re.compile(r"match group \{.*?\} on the (left|right) hand-side of the operation: \[.*\];", re.DOTALL)


def error_text(text):
    return _COLLIDING.sub(r"match group on the \1 hand-side of the operation;", text)


# promsplit's parser speaks as Prometheus 3's does. Paired with an older Prometheus, refusals of the language (bad_data)
# are compared by their type.
def texts_compared(peer, error_type):
    return not (peer.startswith("2.") and error_type == "bad_data")


# The control (run.py --control) reads through the remote read of the Prometheus that has the samples: 2.x leaves values
# equal to zero out of its SAMPLES messages, and minus zero with them.
def control_differs(peer, query):
    return peer.startswith("2.") and query == 'count_values("v", odd)'


# info() asks its storage while it evaluates. Prometheus 3.5 refuses that of any remote read (an execution error that
# speaks of secondaryQuerier), so its own TSDB is the only place it can run.
def impossible_over_remote_read(query):
    return re.search(r"\binfo\s*\(", query) is not None
