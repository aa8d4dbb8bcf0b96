"""The chart of docs/performance.md, as SVG text: query times as bars, and time against the number of series as lines.

Both scales of time are logarithmic, since the servers differ by more than ten.
"""
import html
import math

COLORS = {"promsplit": "#c0392b", "prometheus-2.42": "#34495e", "prometheus-3.5": "#7f8c8d", "victoria-metrics-1.79": "#2980b9",
          "victoria-metrics-sid": "#85c1e9"}
WIDTH, LEFT, RIGHT, TOP = 960, 300, 70, 58
BAR, GAP = 12, 14
CURVE_HEIGHT, CURVE_LEFT = 280, 70


class Svg:
    def __init__(self):
        self.parts = []

    def text(self, x, y, words, size=12, anchor="start", color="#222"):
        at = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
        self.parts.append(f"<text {at}>{html.escape(words)}</text>")

    def rect(self, x, y, width, height, color):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" fill="{color}"/>')

    def line(self, points, color, width=1.0):
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{at}" fill="none" stroke="{color}" stroke-width="{width}"/>')

    def dot(self, x, y, color):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')

    def finish(self, height):
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">'
        return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>', *self.parts, "</svg>", ""])


def _seconds(value):
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


class Log:
    """A logarithmic scale from whole power of ten to whole power of ten."""

    def __init__(self, values, start, end):
        self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.high = max(self.high, self.low + 1)
        self.start, self.end = start, end

    def at(self, value):
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        return [10.0**n for n in range(self.low, self.high + 1)]


def _legend(svg, contenders, y):
    x = 20
    for c in contenders:
        svg.rect(x, y - 9, 10, 10, COLORS[c.key])
        svg.text(x + 15, y, c.title)
        x += 30 + 7 * len(c.title)


def _bars(svg, figures, contenders, top):
    """Returns where it ends."""
    values = [f.median(c.key) for f in figures for c in contenders if f.median(c.key)]
    if not values:
        return top
    scale = Log(values, LEFT, WIDTH - RIGHT)
    bottom = top + sum(GAP + BAR * sum(f.median(c.key) is not None for c in contenders) for f in figures) + GAP
    for tick in scale.ticks():
        svg.line([(scale.at(tick), top), (scale.at(tick), bottom)], "#ddd")
        svg.text(scale.at(tick), bottom + 14, _seconds(tick), 11, "middle", "#666")
    y = top + GAP
    for figure in figures:
        shown = [c for c in contenders if figure.median(c.key) is not None]
        middle = y + BAR * len(shown) / 2
        svg.text(LEFT - 8, middle - 2, figure.title.replace("`", "").split(" · ")[0], 11, "end")
        svg.text(LEFT - 8, middle + 11, f"{figure.part} " + " · ".join(figure.title.split(" · ")[1:]), 10, "end", "#666")
        for c in shown:
            svg.rect(LEFT, y + 1, scale.at(figure.median(c.key)) - LEFT, BAR - 2, COLORS[c.key])
            svg.text(scale.at(figure.median(c.key)) + 4, y + BAR - 2, _seconds(figure.median(c.key)), 10)
            y += BAR
        y += GAP
    return bottom + 24


def _curve(svg, curve, contenders, top):
    """`curve`: {number of series: figure}."""
    values = [f.median(c.key) for f in curve.values() for c in contenders if f.median(c.key)]
    if not values or len(curve) < 2:
        return top
    across = Log(list(curve), CURVE_LEFT, WIDTH - RIGHT)
    down = Log(values, top + CURVE_HEIGHT, top + 24)
    svg.text(20, top + 8, "Time of sum by (le) (rate(m[5m])), warm, against the number of series", 13)
    for tick in across.ticks():
        svg.line([(across.at(tick), top + 24), (across.at(tick), top + CURVE_HEIGHT)], "#ddd")
        svg.text(across.at(tick), top + CURVE_HEIGHT + 16, f"{tick:,.0f}".replace(",", " "), 11, "middle", "#666")
    for tick in down.ticks():
        svg.line([(CURVE_LEFT, down.at(tick)), (WIDTH - RIGHT, down.at(tick))], "#ddd")
        svg.text(CURVE_LEFT - 6, down.at(tick) + 4, _seconds(tick), 11, "end", "#666")
    for c in contenders:
        points = [(across.at(n), down.at(f.median(c.key))) for n, f in sorted(curve.items()) if f.median(c.key)]
        svg.line(points, COLORS[c.key], 2)
        for x, y in points:
            svg.dot(x, y, COLORS[c.key])
    return top + CURVE_HEIGHT + 30


def draw(bars, curve, contenders):
    """bars: figures in seconds; curve: {number of series: figure}."""
    svg = Svg()
    svg.text(20, 24, "Query times, logarithmic; shorter is better", 15)
    _legend(svg, contenders, 46)
    y = _bars(svg, bars, contenders, TOP)
    y = _curve(svg, curve, contenders, y + 10)
    return svg.finish(y + 6)
