"""The section of a report that compares Q with the return that the policy achieves.

Offline, nothing corrects a Q that is too high at actions the data does not hold, and the policy seeks just those
(Fujimoto, Meger and Precup 2019, arXiv 1812.02900).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cluster.report.charts import curve_of, is_number, recorded
from cluster.report.html import render, table
from cluster.report.svg import line_chart

Record = Mapping[str, Any]

VALUES = {"q_data": "Q at the data's actions", "q_policy": "Q at the policy's actions", "value": "V"}
"""What algorithms record of their values, by the name in `metrics.jsonl`; means over logged states."""
ACHIEVED = "achieved discounted return"

_SOURCES = {"probe": "a fixed probe", "validation": "validation episodes", "train": "training batches"}
"""The kinds of records that hold values, best first: the probe's states stay the same."""
_READING = (
    "How to read it: Q at the policy's actions far above both Q at the data's actions and the achieved return is "
    "overestimation, below both it is conservative; but Q is a mean over logged states and the achieved return "
    "begins at start states (and ends at a time limit, where Q looks further), so small gaps mean little."
)


def overestimation(config: Record, metrics: Sequence[Record], evaluations: Sequence[Record]) -> list[Markup]:
    """The chart, the table of the last values, and sentences on how to read them. `evaluations` in the order of their
    steps."""
    kind, records = _valued(metrics)
    curves = [curve_of(label, records, name) for name, label in VALUES.items() if recorded(records, name)]
    title = f"Mean values on {_SOURCES[kind]}" if curves else ""
    if recorded(evaluations, "discounted_return"):
        curves.append(curve_of(ACHIEVED, evaluations, "discounted_return"))
        title = f"{title} and {ACHIEVED}" if title else ACHIEVED.capitalize()
    said = [_READING] if recorded(records, "q_data") or recorded(records, "q_policy") else []
    said += _missing(config, records, evaluations) + _other_rewards(config, evaluations)
    rows = _last_values(records, evaluations)
    values = table(("last values", "mean", "at step"), rows, numeric=(1, 2)) if rows else Markup()
    chart = line_chart(title, curves) if curves else Markup()
    return [chart, render("table_and_sentences.html", table=values, sentences=said)]


def _valued(metrics: Sequence[Record]) -> tuple[str, list[Record]]:
    """The best kind of records that hold values, and these records; none where no kind does."""
    for kind in _SOURCES:
        records = [record for record in metrics if record["kind"] == kind]
        if any(recorded(records, name) for name in VALUES):
            return kind, records
    return "train", []


def _last_values(records: Sequence[Record], evaluations: Sequence[Record]) -> list[list[str]]:
    """Values and achieved return, and the gap between them where the values are of the evaluation's time."""
    achieved = _last(evaluations, "discounted_return")
    # Of a run that goes on, the values of the last evaluation's time: those of another say nothing of its gap.
    before = [] if achieved is None else [record for record in records if record["step"] <= achieved[0]]
    compared = recorded(before, "q_policy")
    found = {label: _last(before if compared else records, name) for name, label in VALUES.items()}
    policy = found[VALUES["q_policy"]]
    rows = [[label, *_cells(entry)] for label, entry in {**found, ACHIEVED: achieved}.items() if entry is not None]
    if compared and policy is not None and achieved is not None:
        rows.append([f"gap: {VALUES['q_policy']} − achieved", *_cells((achieved[0], policy[1] - achieved[1]))])
    return rows


def _last(records: Sequence[Record], key: str) -> tuple[int, float] | None:
    """(step, value) of the last record that has a number there."""
    for record in reversed(records):
        if is_number(record.get(key)):
            return record["step"], float(record[key])
    return None


def _cells(entry: tuple[int, float]) -> tuple[str, str]:
    return f"{entry[1]:,.4g}", f"{entry[0]:,}"


def _missing(config: Record, records: Sequence[Record], evaluations: Sequence[Record]) -> list[str]:
    """Why something is not in the chart."""
    said = []
    if not recorded(records, "q_data") and not recorded(records, "q_policy"):
        name = config["recipe"]["algorithm"]
        said.append(f"{name} has recorded no Q, so there is none to overestimate.")
    elif not recorded(records, "q_policy"):
        said.append("Q at the policy's actions was not recorded (--validate-every 0 leaves it out): no gap is known.")
    if not evaluations:
        said.append("The run was not evaluated, so what its policy achieves is not known.")
    elif not recorded(evaluations, "discounted_return"):
        said.append(
            "The evaluations hold no discounted return: an earlier version recorded them. "
            "`quiver evaluate RUN --json` gives it."
        )
    return said


def _other_rewards(config: Record, evaluations: Sequence[Record]) -> list[str]:
    """A warning where the data's rewards were made by a function: the environment gives its own."""
    if not recorded(evaluations, "discounted_return"):
        return []
    made = []
    for dataset in config["datasets"]:
        reward = (dataset.get("provenance") or {}).get("reward")
        if isinstance(reward, Mapping) and str(reward.get("from", "")).startswith("function "):
            made.append(str(reward["from"]))
    if not made:
        return []
    return [
        f"The data's rewards were made by {' and '.join(dict.fromkeys(made))}, the achieved return is of the "
        "environment's own: compare them only where the two agree."
    ]
