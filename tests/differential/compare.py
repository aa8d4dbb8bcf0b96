"""Two answers of the Prometheus query API: are they the same? Where not, the first difference in words."""
import json
import math

import rules


class Outcome:
    """One answer: ok with resultType and result, or an error with type and text."""

    def __init__(self, answer):
        self.http = answer.status
        try:
            body = json.loads(answer.body)
        except ValueError:
            body = {"status": "error", "errorType": "not JSON", "error": answer.body[:200].decode(errors="replace")}
        self.ok = body.get("status") == "success"
        data = body.get("data") or {}
        self.type, self.result = data.get("resultType"), data.get("result")
        self.error_type, self.error = body.get("errorType"), body.get("error", "")
        self.annotations = rules.annotations(body.get("warnings")), rules.annotations(body.get("infos"))

    def brief(self):
        if not self.ok:
            return f"{self.http} {self.error_type}: {self.error[:300]}"
        return f"{self.type} of {len(self.result)}"


def _name(labels):
    return "{" + ", ".join(f"{n}={json.dumps(v, ensure_ascii=False)}" for n, v in sorted(labels.items())) + "}"


def _key(labels):
    return tuple(sorted(labels.items()))


class Comparison:
    def __init__(self, query, peer, annotations=False):
        self.query, self.peer, self.annotations = query, peer, annotations
        self.absolute = rules.absolute_tolerance(query)

    def difference(self, want, got):
        """None, or what is wrong with `got`."""
        if want.ok != got.ok:
            return f"want {want.brief()}\n      got  {got.brief()}"
        if not want.ok:
            return self._errors(want, got)
        if want.type != got.type:
            return f"want type {want.type}, got {got.type}"
        difference = getattr(self, "_" + want.type)(want.result, got.result)
        if difference is None and self.annotations and want.annotations != got.annotations:
            return f"want annotations {want.annotations}, got {got.annotations}"
        return difference

    def _errors(self, want, got):
        same = (want.http, want.error_type) == (got.http, got.error_type)
        if same and rules.texts_compared(self.peer, want.error_type):
            same = rules.error_text(want.error) == rules.error_text(got.error)
        return None if same else f"want {want.brief()}\n      got  {got.brief()}"

    def _value(self, want, got):
        if want == got:
            return True
        try:
            a, b = float(want), float(got)
        except ValueError:
            return False
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        if math.isinf(a) or math.isinf(b):
            return a == b
        return abs(a - b) <= max(rules.RELATIVE * max(abs(a), abs(b)), self.absolute)

    def _scalar(self, want, got):
        if want[0] == got[0] and self._value(want[1], got[1]):
            return None
        return f"want {want}, got {got}"

    def _string(self, want, got):
        return None if want == got else f"want {want}, got {got}"

    def _points(self, want, got, labels):
        if [t for t, _ in want] != [t for t, _ in got]:
            missing = [t for t, _ in want if t not in {u for u, _ in got}]
            extra = [t for t, _ in got if t not in {u for u, _ in want}]
            return f"{_name(labels)}: missing at {missing[:5]}, too much at {extra[:5]}"
        for (t, a), (_, b) in zip(want, got):
            if not self._value(a, b):
                return f"{_name(labels)} at {t}: want {a}, got {b}"
        return None

    def _series(self, want, got, points):
        a, b = ({_key(s["metric"]): points(s) for s in side} for side in (want, got))
        if len(b) != len(got):
            return "the same label set twice"
        difference = None
        if a.keys() != b.keys():
            missing = [_name(dict(k)) for k in a if k not in b]
            extra = [_name(dict(k)) for k in b if k not in a]
            difference = f"missing {missing[:3]}, too much {extra[:3]}"
        else:
            for key in a:
                difference = difference or self._points(a[key], b[key], dict(key))
        if difference and rules.ties_possible(self.query) and self._same_choices(a, b):
            return None
        return difference

    def _same_choices(self, a, b):
        """At every timestamp the same values, whoever bears them."""
        sides = []
        for side in (a, b):
            at = {}
            for points in side.values():
                for t, value in points:
                    at.setdefault(t, []).append(value)
            sides.append({t: sorted(values) for t, values in at.items()})
        if sides[0].keys() != sides[1].keys():
            return False
        return all(
            len(values) == len(sides[1][t]) and all(map(self._value, values, sides[1][t]))
            for t, values in sides[0].items()
        )

    def _vector(self, want, got):
        difference = self._series(want, got, lambda s: [s["value"]])
        group_of = rules.ordered_groups(self.query)
        if difference is None and group_of:
            return self._order(*([(group_of(s["metric"]), s["value"][1]) for s in side] for side in (want, got)))
        return difference

    def _order(self, want, got):
        """Of [(group, value)]: the values of each group, and whether each comes in one piece."""
        groups = [group for n, (group, _) in enumerate(got) if n == 0 or got[n - 1][0] != group]
        if len(set(groups)) < len(groups):
            return f"order: a group in several pieces: {got}"
        for group in groups:
            orders = [[value for other, value in side if other == group] for side in (want, got)]
            if len(orders[0]) != len(orders[1]) or not all(map(self._value, *orders)):
                return f"order: want {orders[0]}, got {orders[1]}"
        return None

    def _matrix(self, want, got):
        difference = self._series(want, got, lambda s: s["values"])
        if difference is None and not rules.ties_possible(self.query):
            orders = [[_key(s["metric"]) for s in side] for side in (want, got)]
            if orders[0] != orders[1]:
                return f"order of series: want {[_name(dict(k)) for k in orders[0]][:4]}, got {[_name(dict(k)) for k in orders[1]][:4]}"
        return difference
