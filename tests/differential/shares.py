"""How much of random queries is pushed, in all and by function: counted from what promsplit explains.

Counted are the queries that Prometheus answers. Of each two things are asked: is every selector inside a grid fragment, so
that no samples cross to Prometheus (`inside`), and is one fragment the whole answer, so that Prometheus is not asked
(`direct`). `write_table` puts the figures into docs/semantics.md, between its markers.
"""
import collections
import os

import generate
from grids import seconds

ALL = ""
BEGIN, END = "<!-- shares: generated -->\n", "<!-- shares: end -->\n"
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "semantics.md")

OPERATORS = generate.ARITHMETIC + generate.COMPARISONS + ("and", "or", "unless")
AGGREGATIONS = tuple(dict.fromkeys(generate.AGGREGATIONS)) + ("topk", "bottomk", "quantile", "count_values")


class Shares:
    def __init__(self):
        self.queries, self.inside, self.direct = (collections.Counter() for _ in range(3))

    def count(self, api, node, grid):
        """Asks promsplit how it would split this query."""
        times = {"time": seconds(grid.start)}
        if grid.step:
            times = {"start": seconds(grid.start), "end": seconds(grid.end), "step": seconds(grid.step)}
        plan = api.post("/api/v1/explain", query=node.text(), format="json", **times).json()["data"]
        inside = all(task["kind"] == "grid" for task in plan["tasks"])
        for name in {ALL} | {part.what for part in node.walk() if part.what}:
            self.queries[name] += 1
            self.inside[name] += inside
            self.direct[name] += plan["direct"]

    def add(self, other):
        self.queries += other.queries
        self.inside += other.inside
        self.direct += other.direct

    def _percent(self, counter, name):
        return f"{100 * counter[name] / self.queries[name]:.1f} %" if self.queries[name] else "-"

    def summary(self):
        return (f"{self._percent(self.inside, ALL)} of {self.queries[ALL]} answered queries have every selector in a fragment, "
                f"{self._percent(self.direct, ALL)} need no Prometheus")

    def _rows(self):
        kinds = {name: "operator" for name in OPERATORS} | {name: "aggregation" for name in AGGREGATIONS}
        order = ("", "function", "aggregation", "operator")
        names = sorted(self.queries, key=lambda name: (order.index(kinds.get(name, "function" if name else "")), name))
        for name in names:
            kind = kinds.get(name, "function" if name else "all queries")
            yield (f"| {kind} | {f'`{name}`' if name else ''} | {self.queries[name]} | {self._percent(self.inside, name)} | "
                   f"{self._percent(self.direct, name)} |\n")

    def table(self, measured):
        return (f"Measured on {measured}.\n\n| | in the query | queries | every selector in a fragment | no Prometheus needed |\n"
                "|---|---|---|---|---|\n" + "".join(self._rows()))


def write_table(shares, measured):
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + shares.table(measured) + END + after)
