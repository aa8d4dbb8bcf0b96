"""Figures and the bounds they must keep, as one table in Markdown.

A figure has for each contender the values of all runs; medians are shown and compared. A bound that is missed says so.
"""
import statistics

from harness.contenders import OWN

UNITS = {  # unit: factor, digits, text
    "s": (1, 3, "s"),
    "ms": (1e3, 1, "ms"),
    "MB": (1e-6, 0, "MB"),
    "B": (1, 2, "B"),
    "M/s": (1e-6, 2, "M/s"),
    "MB/s": (1e-6, 1, "MB/s"),
    "×": (1, 2, "×"),
}


def text(value, unit):
    factor, digits, name = UNITS[unit]
    return f"{value * factor:.{digits}f} {name}"


class Figure:
    """One row. `values`: {contender's key: list of runs}. `marks`: {key: words that replace or follow its value}."""

    def __init__(self, part, title, unit, more_is_better=False):
        self.part, self.title, self.unit, self.more_is_better = part, title, unit, more_is_better
        self.values, self.marks, self.bounds = {}, {}, []

    def add(self, key, values):
        if values:
            self.values[key] = list(values)

    def median(self, key):
        return statistics.median(self.values[key]) if key in self.values else None

    def gain(self, key):
        """How many times better promsplit is than `key`, or None."""
        own, other = self.median(OWN), self.median(key)
        if own is None or other is None:
            return None
        over, under = (own, other) if self.more_is_better else (other, own)
        return over / under if under else None

    # --- bounds: each appends (wanted, measured, holds) ---

    def want(self, wanted, measured, holds):
        self.bounds.append((wanted, measured, holds))

    def want_gain(self, factor, family, peers):
        """At least `factor` times better than the best of the family."""
        gains = [(self.gain(peer.key), peer) for peer in peers if peer.family == family and self.gain(peer.key) is not None]
        wanted = f"≥ {factor:g}× {family}"
        if not gains:
            self.want(wanted, "not measured", None)
            return
        gain, peer = min(gains, key=lambda pair: pair[0])
        self.want(wanted, f"{gain:.2f}× ({peer.version})", gain >= factor)

    def want_at_most(self, most):
        own = self.median(OWN)
        wanted = f"≤ {text(most, self.unit)}"
        self.want(wanted, "not measured", None) if own is None else self.want(wanted, text(own, self.unit), own <= most)

    def want_ratio(self, most, value, reference, name):
        """value / reference is at most `most`; either may be None."""
        wanted = f"≤ {most:g}× {name}"
        if value is None or not reference:
            self.want(wanted, "not measured", None)
        else:
            self.want(wanted, f"{value / reference:.2f}×", value / reference <= most)

    # --- cells ---

    def cell(self, contender):
        key = contender.key
        if contender.absent:
            return "absent"
        mark = self.marks.get(key)
        if key not in self.values:
            return mark or "–"
        value = text(self.median(key), self.unit)
        gain = self.gain(key)
        if key != OWN and gain is not None:
            value += f" ({gain:.2g}×)" if gain < 10 else f" ({gain:.0f}×)"
        return f"{value} {mark}" if mark else value

    def verdicts(self):
        words = {True: "holds", False: "**misses**", None: ""}
        return "<br>".join(f"{wanted}: {measured} {words[holds]}".rstrip() for wanted, measured, holds in self.bounds)


def table(figures, contenders):
    """Markdown. In brackets: how many times better promsplit is."""
    order = sorted(contenders, key=lambda c: c.key != OWN)
    rows = ["| | | " + " | ".join(c.title for c in order) + " | wanted: measured |",
            "|---|---|" + "---|" * len(order) + "---|"]
    last = None
    for figure in figures:
        part = figure.part if figure.part != last else ""
        last = figure.part
        rows.append(f"| {part} | {figure.title} | " + " | ".join(figure.cell(c) for c in order) + f" | {figure.verdicts()} |")
    return "\n".join(rows)


def spreads(figures):
    """All runs, for JSON."""
    return [{"part": f.part, "what": f.title, "unit": f.unit, "values": f.values, "marks": f.marks,
             "bounds": [{"wanted": w, "measured": m, "holds": h} for w, m, h in f.bounds]} for f in figures]
