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


# An instant vector's order is that of a hash map, except under sort, sort_desc, topk and bottomk at the root. Equal values
# may stand in any order, so the values are compared in order and the label sets as a set. With by (…) or without (…),
# the choices of one group follow each other; in which order groups come is open.
_ORDERED = re.compile(
    r"^\s*(?:sort|sort_desc|(?:topk|bottomk)\s*(?P<before>(?:by|without)\s*\([^)]*\))?)\s*\("
    r"(?P<inside>.*)\)\s*(?P<behind>(?:by|without)\s*\([^)]*\))?\s*$",
    re.IGNORECASE | re.DOTALL,
)


def _closed(text):
    """Whether no parenthesis closes in it that opened before it: it may stand alone inside a pair."""
    depth = 0
    for c in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        depth += (c == "(") - (c == ")")
        if depth < 0:
            return False
    return depth == 0


def ordered_groups(query):
    """None if the order of an instant vector is open, else what gives a label set's group."""
    found = _ORDERED.match(query)
    if not found or not _closed(found["inside"]):
        return None
    clause = found["before"] or found["behind"]
    if not clause:
        return lambda labels: ()
    kind, names = re.match(r"(\w+)\s*\((.*)\)", clause, re.DOTALL).groups()
    names = {name.strip().strip('"') for name in names.split(",")}
    if kind.lower() == "by":
        return lambda labels: tuple(sorted((n, v) for n, v in labels.items() if n in names))
    return lambda labels: tuple(sorted((n, v) for n, v in labels.items() if n not in names and n != "__name__"))


# What is left of a difference of two nearly equal numbers depends on the last bit of each, and so on the order of
# additions and on how a mean is taken (Prometheus 2.42: incrementally; 3.x: a compensated sum, divided). Such a remainder
# is compared against 1e-9 of what was subtracted: (pattern of the query, absolute tolerance).
CANCELLATION = ((r"^sum\(memory_bytes\) by \(instance\) / count\(.* - avg\(memory_bytes\)", 2e9 * RELATIVE),)


def absolute_tolerance(query):
    return max((tolerance for pattern, tolerance in CANCELLATION if re.search(pattern, query)), default=0.0)


# Errors of matching name two of the series that collide; which two, and in which order, depends on the order of storage.
_COLLIDING = re.compile(r"match group \{.*?\} on the (left|right) hand-side of the operation: \[.*\];", re.DOTALL)


# Prometheus 3.5 takes the place of this one from the closing parenthesis that its lexer saw last, which need not be the
# operand's own.
_MISPLACED = re.compile(r"\d+:\d+(: parse error: label .* must not occur in ON and GROUP clause at once)")


def error_text(text):
    text = _MISPLACED.sub(r"\1", text)
    return _COLLIDING.sub(r"match group on the \1 hand-side of the operation;", text)


# promsplit's parser speaks as Prometheus 3's does. Paired with an older Prometheus, refusals of the language (bad_data)
# are compared by their type.
def texts_compared(peer, error_type):
    return not (peer.startswith("2.") and error_type == "bad_data")


# Of more than ten, Prometheus shows those that its map gives first; how many there are is the same. A number in a text is
# a result like any other: sin and exp come from two libraries.
_LONG_NUMBER = re.compile(r"-?\d+\.\d{11,}(?:e[+-]\d+)?")


def annotations(texts):
    texts = sorted(_LONG_NUMBER.sub(lambda number: f"{float(number[0]):.9e}", text) for text in texts or [])
    omitted = [text for text in texts if text.endswith("annotations omitted")]
    return [f"{len(texts)} texts", *omitted] if omitted else texts


# The control (run.py --control) reads through the remote read of the Prometheus that has the samples: 2.x leaves values
# equal to zero out of its SAMPLES messages, and minus zero with them.
def control_differs(peer, query):
    return peer.startswith("2.") and query == 'count_values("v", odd)'


# info() asks its storage while it evaluates. Prometheus 3.5 refuses that of any remote read (an execution error that
# speaks of secondaryQuerier), so promsplit computes it, or refuses it where it cannot.
_NO_INFO = re.compile(r"secondaryQuerier|info\(\) cannot be answered here")


def impossible_over_remote_read(query, error):
    return re.search(r"\binfo\s*\(", query) is not None and _NO_INFO.search(error) is not None


# --- random queries (campaign.py) ---
#
# Which parts of a query leave the last bits open: sums depend on the order of series, 2.x adds without compensation and
# averages incrementally, and exp, sin, pow … come from two libraries. What such bits grow into (a difference of nearly
# equal numbers, a comparison, a floor, a label of count_values) is found out by asking the real Prometheus for the same
# query with those parts moved by a few units in the last place of what they add up: `moved` gives such queries. Where
# Prometheus contradicts itself, promsplit is not held to one of its answers.

_ADDING = ("sum", "avg")
_SPREAD = ("stddev", "stdvar")
_TWO_LIBRARIES = ("exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
                  "acosh", "atanh", "deg", "rad", "^", "atan2")  # fmt: skip
_AVERAGING = ("avg_over_time", "stddev_over_time", "stdvar_over_time")


def _moved_pieces(node, pieces, sign):
    """The text pieces of one node, moved; pieces are those of its operands already moved."""
    text = list(pieces)
    if node.what in _ADDING:
        return ["(", *text, f" {sign} 4e-16 * {text[0]}abs(", *text[1:-1], ")))"]
    if node.what in _SPREAD:
        square = "" if node.what == "stdvar" else " ^ 0.5"
        spread, mean = ["stdvar", text[0][6:], *text[1:]], ["avg", text[0][6:], "abs(", *text[1:-1], "))"]
        return ["((", *spread, " * (1 + 4e-15) + 2e-15 * ", *mean, f" ^ 2){square})"]
    if node.what in _TWO_LIBRARIES or node.what in _AVERAGING:
        # Each time by another bit: differences show. Never by so little that a sum above it moves it back.
        return ["(", *text, f" * (1 {sign} 1e-15 * (1 + time() % 13 / 13)))"]
    return text


# Equality of numbers whose last bits are open is a question of an order: not below, or above.
_EQUALITY = {("==", "+"): ">=", ("==", "-"): ">", ("!=", "+"): "<", ("!=", "-"): "<="}
_COMPARING = ("==", "!=", ">", "<", ">=", "<=")


def _moved_comparison(node, sign, other):
    """The sides of a comparison move apart, so that one of the signs turns it if any rounding can."""
    operands = iter((sign, other))
    pieces = [moved(p, next(operands)) if hasattr(p, "pieces") else p for p in node.pieces]
    by = _EQUALITY.get((node.what, sign)) if is_open(node) else None
    if by:
        at = next(i for i, p in enumerate(node.pieces) if isinstance(p, str) and node.what in p)
        pieces[at] = pieces[at].replace(node.what, by, 1)
    return pieces


def _moved_modulus(node, other):
    """A divisor that may as well be zero leaves nothing (NaN), where any other number next to zero leaves next to zero."""
    left, right = node.operands()
    either = moved(right, other)
    divisor = f"({either} * ({either} * {moved(right, '+' if other == '-' else '-')} > bool 0))"
    operands = iter((moved(left, other), divisor))
    return "".join(next(operands) if hasattr(p, "pieces") else p for p in node.pieces)


def moved(node, sign):
    """The text of a query (generate.Node) whose open roundings are moved to one side; signs alternate with depth."""
    other = "-" if sign == "+" else "+"
    if node.what in _COMPARING and len(node.operands()) == 2:
        return "".join(_moved_comparison(node, sign, other))
    if node.what == "%" and sign == "+" and is_open(node.operands()[-1]):
        return _moved_modulus(node, other)
    pieces = [moved(p, other) if hasattr(p, "pieces") else p for p in node.pieces]
    if node.metric is not None:
        return "".join(node.pieces)
    return "".join(_moved_pieces(node, pieces, sign))


# What counts how often a value differs from the one before it, or how far values lie apart, tells last bits apart that
# are open.
_COUNTING = ("resets", "changes", "stddev_over_time", "stdvar_over_time")


def counts_last_bits(node):
    return any(n.what in _COUNTING and any(is_open(operand) for operand in n.operands()) for n in node.walk())


def is_open(node):
    return any(n.what in _ADDING + _SPREAD + _TWO_LIBRARIES + _AVERAGING for n in node.walk())


# info() is never left to Prometheus, and remarks on what is in it may lack (docs/semantics.md, known differences).
def remark_may_lack(node, lacking, too_many):
    return not too_many and all("metric might not be a counter" in text for text in lacking) and any(n.what == "info" for n in node.walk())


# What topk and bottomk choose among equals is Prometheus's order of storage, which no query shows. Inside a larger query
# the choice shows in whatever is done with it, so ties are looked for in the operand itself: a query that has them
# there is not compared (a topk at the root is: see ties_possible).
def choices(node):
    """Operands of topk and bottomk, as nodes."""
    return [n.operands()[-1] for n in node.walk() if n.what in ("topk", "bottomk")]
