"""Curves as inline SVG: no scripts, no fonts, and the colours of the page's style, which has light and dark ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from cluster.report.html import render

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


def line_chart(
    title: str, curves: Sequence[Curve], *, floor: float | None = None, ceiling: float | None = None
) -> Markup:
    """A figure with one line for each curve; `floor` and `ceiling` are values that the axis shows in any case."""
    drawn = [curve for curve in (thinned(curve) for curve in curves) if any(map(math.isfinite, curve.values))]
    if not drawn:
        return render("chart.html", title=title, curves=[])
    steps = axis(step for curve in drawn for step in curve.steps)
    bounds = [bound for bound in (floor, ceiling) if bound is not None]
    values = axis([*bounds, *(end for curve in drawn for end in _ends(curve))])
    x0, x1, y0, y1 = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP

    def point(step: float, value: float) -> str:
        return f"{steps.place(step, x0, x1):.1f},{values.place(value, y0, y1):.1f}"

    rows = [(values.place(tick, y0, y1), number(tick)) for tick in values.ticks]
    columns = [(steps.place(tick, x0, x1), number(tick)) for tick in steps.ticks]
    return render(
        "chart.html",
        title=title,
        summary=_summary(title, drawn),
        width=WIDTH,
        height=HEIGHT,
        left=x0,
        right=x1,
        rows=[{"at": f"{y:.1f}", "text_at": f"{y + 4:.1f}", "label": label} for y, label in rows],
        columns=[{"at": f"{x:.1f}", "label": label} for x, label in columns],
        curves=[_shapes(curve, f"c{colour % 4}", point) for colour, curve in enumerate(drawn)],
    )


def _shapes(curve: Curve, colour: str, point: Callable[[float, float], str]) -> dict[str, Any]:
    """What a curve is drawn with: points as `x,y x,y …`."""
    runs = _runs(curve)
    band = ""
    if curve.spread is not None:
        upper = [point(s, v + d) for s, v, d in zip(curve.steps, curve.values, curve.spread, strict=True)]
        lower = [point(s, v - d) for s, v, d in zip(curve.steps, curve.values, curve.spread, strict=True)]
        band = " ".join([*upper, *reversed(lower)])
    # One point makes no line: it needs its mark.
    marked = [place for run in runs if len(curve.values) <= MARKED or len(run) == 1 for place in run]
    marks = []
    for step, value in marked:
        x, y = point(step, value).split(",")
        marks.append({"x": x, "y": y, "told": f"{curve.name}: {value:.4g} at step {step:,.0f}"})
    lines = [" ".join(point(step, value) for step, value in run) for run in runs]
    return {"name": curve.name, "colour": colour, "band": band, "lines": lines, "marks": marks}


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
    """The chart in words, for screen readers."""
    ends = []
    for curve in curves:
        finite = [value for value in curve.values if math.isfinite(value)]
        ends.append(f"{curve.name} from {finite[0]:.4g} to {finite[-1]:.4g}")
    return f"{title}: {'; '.join(ends)}"
