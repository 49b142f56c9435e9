"""Curves of a report, and which records of `metrics.jsonl` they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cluster.report.svg import Curve, line_chart

Record = Mapping[str, Any]

LARGEST = 1e300

SCORES = (
    ("success_rate", "success", "%"),
    ("normalized_score", "normalised score", ""),
    ("return_mean", "mean return", ""),
)
"""The scores of an evaluation: their key, their name, their unit."""

INTERACTION = (
    "env_steps",
    "fresh_episodes",
    "quarantined",
    "fresh_return",
    "fresh_success",
    "fresh_share",
    "policy_staleness",
    "updates_per_step",
    "waited_for_data",
    "runners_busy",
)
"""Of fine-tuning: what the runners gather, and how learning keeps up with it."""


def evaluation_charts(evaluations: Sequence[Record]) -> list[Markup]:
    charts = []
    for key, name, unit in SCORES:
        if any(record.get(key) is not None for record in evaluations):
            curve = curve_of(name, evaluations, key)
            if key == "return_mean":
                returns = [record for record in evaluations if key in record]
                spread = [0.0 if math.isnan(width := number_or_gap(r.get("return_std"))) else width for r in returns]
                curve = Curve("mean return ± standard deviation", curve.steps, curve.values, spread)
            ceiling = 1.0 if unit == "%" else None
            charts.append(line_chart(name.capitalize(), [curve], floor=0.0 if unit == "%" else None, ceiling=ceiling))
    return charts


def metric_charts(metrics: Sequence[Record], chosen: Callable[[str], bool]) -> list[Markup]:
    """One chart for each metric, its value in training and on validation episodes together."""
    kinds = {kind: [record for record in metrics if record["kind"] == kind] for kind in ("train", "validation")}
    names = dict.fromkeys(name for records in kinds.values() for record in records for name in record if chosen(name))
    charts = []
    for name in names:
        curves = [curve_of(kind, records, name) for kind, records in kinds.items() if recorded(records, name)]
        if curves:
            charts.append(line_chart(name.replace("_", " ").capitalize(), curves))
    return charts


def speed_charts(metrics: Sequence[Record]) -> list[Markup]:
    train = [record for record in metrics if record["kind"] == "train"]
    charts = []
    for name, title in (
        ("steps_per_second", "Gradient steps a second"),
        ("staleness", "Age of the weights behind the labels, in steps"),
    ):
        if recorded(train, name):
            charts.append(line_chart(title, [curve_of(name.replace("_", " "), train, name)], floor=0.0))
    return charts


def recorded(records: Sequence[Record], name: str) -> bool:
    return any(is_number(record.get(name)) for record in records)


def curve_of(name: str, records: Sequence[Record], key: str) -> Curve:
    records = [record for record in records if key in record]
    return Curve(name, [record["step"] for record in records], [number_or_gap(record[key]) for record in records])


def number_or_gap(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def is_number(value: Any) -> bool:
    """Whether it is a number that can be drawn: finite, and far enough from the largest of floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
