"""When queries are evaluated: range grids and instants over the data of tests/lib/dataset.py."""
from lib.dataset import HOUR, MINUTE, SECOND, SPAN, T0


class Grid:
    """Evaluation timestamps in ms; step 0 means one instant, at start."""

    def __init__(self, name, start, end=None, step=0):
        self.name, self.start, self.end, self.step = name, start, start if end is None else end, step

    def ask(self, api, query, **more):
        if self.step == 0:
            return api.query(query, seconds(self.start), **more)
        return api.query_range(query, seconds(self.start), seconds(self.end), seconds(self.step), **more)

    def __repr__(self):
        if self.step == 0:
            return f"{self.name} (time={seconds(self.start)})"
        return f"{self.name} (start={seconds(self.start)} end={seconds(self.end)} step={seconds(self.step)})"


def seconds(ms):
    return f"{ms // 1000}.{ms % 1000:03d}" if ms % 1000 else str(ms // 1000)


SHORT = (
    Grid("aligned", T0 + 18 * MINUTE, T0 + 66 * MINUTE, MINUTE),
    Grid("unaligned", T0 + 30 * MINUTE + 123, T0 + 60 * MINUTE, 37 * SECOND),
    Grid("wide", T0 - 10 * MINUTE, T0 + SPAN + 20 * MINUTE, 7 * MINUTE),
    Grid("at a scrape", T0 + 51 * MINUTE),
    Grid("between scrapes", T0 + 62 * MINUTE + 7_654),
)
FULL = SHORT + (
    Grid("fine", T0 + 49 * MINUTE, T0 + 51 * MINUTE, SECOND),
    Grid("scrape interval", T0 + 28 * MINUTE, T0 + 42 * MINUTE, 15 * SECOND),
    Grid("lookback", T0, T0 + SPAN, 5 * MINUTE),
    Grid("sub-second", T0 + 35 * MINUTE, T0 + 35 * MINUTE + 10 * SECOND, 250),
    Grid("one step", T0 + HOUR, T0 + HOUR, MINUTE),
    Grid("end between steps", T0 + 58 * MINUTE, T0 + 62 * MINUTE + 1, 4 * MINUTE),
    Grid("one ms after a scrape", T0 + 51 * MINUTE + 1),
    Grid("one ms before a scrape", T0 + 51 * MINUTE - 1),
    Grid("first sample", T0),
    Grid("after the end", T0 + SPAN + 3 * MINUTE),
    Grid("long after", T0 + SPAN + HOUR),
)
