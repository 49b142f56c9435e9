"""Curves as inline SVG: no scripts, no fonts, and the page's own colours, so that they suit light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 12, 30
POINTS = 800
"""Longer curves are drawn as the means of so many equal parts."""
MARKED = 60
"""Curves of at most so many points show each, with its numbers as a tooltip."""


@dataclass(frozen=True)
class Curve:
    """Values over steps, in the order of the steps. NaN is a gap."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    spread: Sequence[float] | None = None
    """Half the width of the band around each value."""


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float, start: float, end: float) -> float:
        """Where `value` lies between the pixels `start` (for low) and `end` (for high)."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def line_chart(title: str, curves: Sequence[Curve], *, floor: float | None = None, ceiling: float | None = None) -> str:
    """A figure with one line for each curve; `floor` and `ceiling` are values that the axis shows in any case."""
    drawn = [curve for curve in (thinned(curve) for curve in curves) if any(map(math.isfinite, curve.values))]
    heading = f"<figcaption>{escape(title)}</figcaption>"
    if not drawn:
        return f'<figure>{heading}<p class="none">nothing recorded</p></figure>'
    steps = axis(step for curve in drawn for step in curve.steps)
    bounds = [bound for bound in (floor, ceiling) if bound is not None]
    values = axis([*bounds, *(end for curve in drawn for end in _ends(curve))])
    x0, x1, y0, y1 = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP

    def point(step: float, value: float) -> str:
        return f"{steps.place(step, x0, x1):.1f},{values.place(value, y0, y1):.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_summary(title, drawn))}">']
    for tick in values.ticks:
        y = values.place(tick, y0, y1)
        parts.append(f'<line class="grid" x1="{x0}" x2="{x1}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="y" x="{x0 - 8}" y="{y + 4:.1f}">{number(tick)}</text>')
    for tick in steps.ticks:
        x = steps.place(tick, x0, x1)
        parts.append(f'<text class="x" x="{x:.1f}" y="{HEIGHT - 8}">{number(tick)}</text>')
    for colour, curve in enumerate(drawn):
        kind = f"c{colour % 4}"
        if curve.spread is not None:
            upper = [point(s, v + d) for s, v, d in zip(curve.steps, curve.values, curve.spread, strict=True)]
            lower = [point(s, v - d) for s, v, d in zip(curve.steps, curve.values, curve.spread, strict=True)]
            parts.append(f'<polygon class="band {kind}" points="{" ".join([*upper, *reversed(lower)])}"/>')
        for run in _runs(curve):
            parts.append(f'<polyline class="{kind}" points="{" ".join(point(s, v) for s, v in run)}"/>')
            # One point makes no line: it needs its mark.
            if len(curve.values) <= MARKED or len(run) == 1:
                for step, value in run:
                    cx, cy = point(step, value).split(",")
                    told = escape(f"{curve.name}: {value:.4g} at step {step:,.0f}")
                    parts.append(f'<circle class="{kind}" cx="{cx}" cy="{cy}" r="2.6"><title>{told}</title></circle>')
    parts.append("</svg>")
    legend = "".join(f'<span class="c{i % 4}">{escape(curve.name)}</span>' for i, curve in enumerate(drawn))
    return f'<figure>{heading}{"".join(parts)}<div class="legend">{legend}</div></figure>'


def axis(numbers: Iterable[float], count: int = 4) -> Axis:
    """An axis over all finite numbers, its ends and ticks at round numbers (1, 2 or 5 times a power of ten)."""
    finite = [value for value in numbers if math.isfinite(value)]
    low, high = min(finite), max(finite)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple(i * step for i in range(first, last + 1)))


def thinned(curve: Curve, limit: int = POINTS) -> Curve:
    """The curve itself, or the means of `limit` parts of it, equal within one point."""
    count = len(curve.values)
    if count <= limit:
        return curve
    edges = [i * count // limit for i in range(limit + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    spread = None if curve.spread is None else [_mean(curve.spread[part]) for part in parts]
    return Curve(curve.name, [_mean(curve.steps[p]) for p in parts], [_mean(curve.values[p]) for p in parts], spread)


def number(value: float) -> str:
    """A tick in few characters: 0.25, 1.5k, 2M, 3e-06."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e9):
        return f"{value:.3g}"
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{value / limit:.4g}{unit}"
    return f"{value:.4g}"


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _ends(curve: Curve) -> list[float]:
    if curve.spread is None:
        return list(curve.values)
    pairs = list(zip(curve.values, curve.spread, strict=True))
    return [value + spread for value, spread in pairs] + [value - spread for value, spread in pairs]


def _runs(curve: Curve) -> list[list[tuple[float, float]]]:
    """The stretches between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for step, value in zip(curve.steps, curve.values, strict=True):
        if math.isfinite(value):
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _summary(title: str, curves: Sequence[Curve]) -> str:
    """The chart in words, for who cannot see it."""
    ends = []
    for curve in curves:
        finite = [value for value in curve.values if math.isfinite(value)]
        ends.append(f"{curve.name} from {finite[0]:.4g} to {finite[-1]:.4g}")
    return f"{title}: {'; '.join(ends)}"
