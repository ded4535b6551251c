"""Draws bars and lines as SVG, readable in light and dark mode."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 800
LEFT, RIGHT, TOP = 225, 100, 56  # margins of the plot, for labels, values, title and legend
ROW, BAR_GAP, BOTTOM = 14, 10, 46
LINES_HEIGHT, LINES_LEFT = 300, 80
SPAN_ROW, SPAN_HEIGHT, SPAN_RIGHT = 22, 12, 150
STYLE = """
  .ground { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif }
  .title { font-size: 15px; font-weight: 600 } .soft { fill: #59636e }
  .grid { stroke: #d1d9e0 } .mark { stroke: #1f2328; stroke-width: 1.5 }
  .f0 { fill: #2a6fdb } .f1 { fill: #d9730d } .f2 { fill: #2e8b57 } .f3 { fill: #9b51b8 }
  .s0 { stroke: #2a6fdb } .s1 { stroke: #d9730d } .s2 { stroke: #2e8b57 } .s3 { stroke: #9b51b8 }
  .s4 { stroke: #b8a000 } .f4 { fill: #b8a000 } .line { fill: none; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .soft { fill: #9198a1 }
    .grid { stroke: #30363d } .mark { stroke: #e6edf3 }
    .f0 { fill: #5b9bf5 } .f1 { fill: #f0a050 } .f2 { fill: #56c08a } .f3 { fill: #c58be0 }
    .s0 { stroke: #5b9bf5 } .s1 { stroke: #f0a050 } .s2 { stroke: #56c08a } .s3 { stroke: #c58be0 }
    .s4 { stroke: #e0cc50 } .f4 { fill: #e0cc50 }
  }
"""
SPAN_STYLE = """
  .other { fill: #8c959f } .strong { font-weight: 600 }
  @media (prefers-color-scheme: dark) { .other { fill: #6e7681 } }
"""


@dataclass(frozen=True)
class Row:
    """A group of bars: a value for each series (None for no bar), optionally with a mark."""

    label: str
    values: Sequence[float | None]
    marks: Sequence[float | None] = field(default=())


@dataclass(frozen=True)
class Span:
    """The shortest and the longest time in milliseconds; one span may be highlighted."""

    label: str
    low: float
    high: float
    stands_out: bool = False


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels, linearly or logarithmically."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        value = max(value, self.low)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if self.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = _step(self.high)
        return [step * number for number in range(int(self.high / step + 0.001) + 1)]


def scale(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    """Return a scale that covers all values."""
    high = max(values)
    if not log:
        step = _step(high)
        return Scale(0, step * math.ceil(high / step), start, end, log=False)
    low = 10.0 ** math.floor(math.log10(min(value for value in values if value > 0)))
    return Scale(low, max(10 * low, 10.0 ** math.ceil(math.log10(high))), start, end, log=True)


def _step(high: float) -> float:
    """Return a round step that divides the whole into about five."""
    rough = high / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)


def bars(
    title: str, axis: str, series: Sequence[str], rows: Sequence[Row], log: bool = False
) -> str:
    """Draw horizontal bars in groups; a mark is a stroke, which the axis label must explain."""
    group = len(series) * ROW + BAR_GAP
    bottom = TOP + len(rows) * group
    found = [one for row in rows for one in (*row.values, *row.marks) if one is not None]
    along = scale(found, LEFT, WIDTH - RIGHT, log)
    parts = _legend(series)
    for tick in along.ticks():
        x = along.at(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(_text(x, bottom + 16, number(tick), "soft", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, bottom + 36, axis, "soft", "middle"))
    for place, row in enumerate(rows):
        top = TOP + place * group + BAR_GAP / 2
        parts.append(_text(LEFT - 8, top + len(series) * ROW / 2 + 4, row.label, "", "end"))
        parts += _bars_of(row, top, along)
    return _document(title, bottom + BOTTOM, parts)


def _bars_of(row: Row, top: float, along: Scale) -> list[str]:
    parts = []
    marks = row.marks or [None] * len(row.values)
    for index, (value, mark) in enumerate(zip(row.values, marks, strict=True)):
        if value is None:
            continue
        y, x, said = top + index * ROW, along.at(value), number(value)
        shape = f'x="{LEFT}" y="{y:.1f}" width="{x - LEFT:.1f}" height="{ROW - 2}"'
        parts.append(f'<rect class="f{index}" {shape}/>')
        if mark is not None:
            parts.append(f'<path class="mark" d="M{along.at(mark):.1f} {y:.1f}v{ROW - 2}"/>')
            x, said = max(x, along.at(mark)), f"{said} / {number(mark)}"
        parts.append(_text(x + 5, y + ROW - 4, said, "", "start"))
    return parts


def spans(title: str, axis: str, groups: Mapping[str, Sequence[Span]]) -> str:
    """Draw spans of time on one logarithmic axis, in groups with a heading each."""
    right = WIDTH - SPAN_RIGHT
    found = [one for group in groups.values() for span in group for one in (span.low, span.high)]
    along = scale(found, LEFT, right, log=True)
    top, parts = TOP - 12.0, list[str]()
    for heading, group in groups.items():
        end = top + 32 + len(group) * SPAN_ROW
        parts.append(_text(16, top + 18, heading, "strong", "start"))
        for tick in along.ticks():
            parts.append(f'<path class="grid" d="M{along.at(tick):.1f} {top + 26:.0f}V{end:.0f}"/>')
        for place, span in enumerate(group):
            parts += _span(span, top + 32 + place * SPAN_ROW, along)
        top = end + 16
    for tick in along.ticks():
        parts.append(_text(along.at(tick), top, duration(tick), "soft", "middle"))
    parts.append(_text(16, top + 26, axis, "soft", "start"))
    return _document(title, top + 40, [f"<style>{SPAN_STYLE}</style>", *parts])


def _span(span: Span, y: float, along: Scale) -> list[str]:
    """Draw a bar with round ends, at least as wide as it is high, and its label."""
    start, end = along.at(span.low), along.at(span.high)
    middle, width = (start + end) / 2, max(end - start, SPAN_HEIGHT)
    kind, strong = ("f0", "strong") if span.stands_out else ("other", "")
    said = duration(span.high)
    if duration(span.low) != said:
        said = f"{duration(span.low)} – {said}"
    shape = f'x="{middle - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{SPAN_HEIGHT}"'
    return [
        _text(LEFT - 16, y + 10, span.label, strong, "end"),
        f'<rect class="{kind}" {shape} rx="{SPAN_HEIGHT / 2:.0f}"/>',
        _text(middle + width / 2 + 8, y + 10, said, strong, "start"),
    ]


def lines(
    title: str,
    axes: tuple[str, str],
    ticks: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    log: bool = False,
) -> str:
    """Draw lines over evenly spaced ticks, with the axis names below and on the left."""
    bottom, right = TOP + LINES_HEIGHT, WIDTH - 40
    found = [one for values in series.values() for one in values if one is not None]
    up = scale(found, bottom, TOP + 8, log)
    xs = [
        LINES_LEFT + (place + 0.5) * (right - LINES_LEFT) / len(ticks)
        for place in range(len(ticks))
    ]
    parts = _legend(list(series))
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<path class="grid" d="M{LINES_LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(LINES_LEFT - 8, y + 4, number(tick), "soft", "end"))
    for x, value in zip(xs, ticks, strict=True):
        parts.append(_text(x, bottom + 18, number(value), "soft", "middle"))
    parts.append(_text((LINES_LEFT + right) / 2, bottom + 38, axes[0], "soft", "middle"))
    turned = f'transform="rotate(-90 16 {(TOP + bottom) / 2})"'
    parts.append(_text(16, (TOP + bottom) / 2, axes[1], "soft", "middle", turned))
    for index, values in enumerate(series.values()):
        points = [(x, up.at(one)) for x, one in zip(xs, values, strict=True) if one is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line s{index}" points="{path}"/>')
        parts += [f'<circle class="f{index}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points]
    return _document(title, bottom + BOTTOM + 4, parts)


def number(value: float) -> str:
    """Format a value with three digits and separated thousands."""
    if value and abs(value) < 1000:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:,.0f}"


def duration(ms: float) -> str:
    """Format a time with two digits, in milliseconds or seconds."""
    return f"{rounded(ms)} ms" if ms < 1000 else f"{rounded(ms / 1000)} s"


def rounded(value: float) -> str:
    """Format a value with two digits."""
    return number(float(f"{value:.2g}"))


def _legend(series: Sequence[str]) -> list[str]:
    if len(series) < 2:
        return []
    parts, x = [], 16.0
    for index, name in enumerate(series):
        parts.append(f'<rect class="f{index}" x="{x:.0f}" y="36" width="10" height="10"/>')
        parts.append(_text(x + 15, 45, name, "", "start"))
        x += 34 + 6.6 * len(name)
    return parts


def _text(x: float, y: float, words: str, kind: str, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    extras = " ".join(one for one in (f'class="{kind}"' if kind else "", more) if one)
    return f"<text {place}{' ' + extras if extras else ''}>{escape(words)}</text>"


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img">'
    )
    ground = f'<rect class="ground" width="{WIDTH}" height="{height:.0f}"/>'
    heading = _text(16, 24, title, "title", "start")
    name = f"<title>{escape(title)}</title>"
    return "\n".join([head, name, f"<style>{STYLE}</style>", ground, heading, *parts, "</svg>\n"])
