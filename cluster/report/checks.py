"""Checks of a run's metrics and summary before a report is made of them: numbers where it formats
numbers, text where it writes text. The configuration has been checked when it was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.report.charts import SCORES, is_number
from cluster.run_record import refusal

Record = Mapping[str, Any]
Kind = tuple[str, Callable[[Any], bool]]

LIST: Kind = ("a list", lambda value: isinstance(value, list))
TEXT: Kind = ("text", lambda value: isinstance(value, str))
COUNT: Kind = (
    "a whole number from 0 up",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63,
)
NUMBER: Kind = ("a finite number", is_number)


def optional(kind: Kind) -> Kind:
    told, holds = kind
    return f"{told} or null", lambda value: value is None or holds(value)


def check_metrics(metrics: Sequence[Any], where: str) -> None:
    """The records of `metrics.jsonl`, one a line. What else a record holds is a curve where it is a number, and a gap
    elsewhere. Raises `RunError`, naming the file `where`, line and field."""
    for number, record in enumerate(metrics, start=1):
        line = f"{where}, line {number}"
        _check(record, line, {"step": COUNT, "kind": TEXT})
        fields = {"seconds": optional(NUMBER), "steps_per_second": optional(NUMBER)}
        if record["kind"] == "evaluation":
            fields |= {"episodes": COUNT, **{score: optional(NUMBER) for score, _, _ in SCORES}}
        _check(record, line, fields)


def check_summary(summary: Any, where: str) -> None:
    """`summary.json`. Raises `RunError`, naming the file `where` and the field."""
    _check(summary, where, {"steps": COUNT, "seconds": NUMBER})
    served = {"shards": "rows", "updaters": "chunks", "evaluators": "evaluations"}
    _check(summary, where, {"learner_restarts": optional(COUNT), **dict.fromkeys(served, optional(LIST))})
    for key, unit in served.items():
        for number, entry in enumerate(summary.get(key) or ()):
            _check(entry, where, {"name": TEXT, unit: COUNT}, f"{key}[{number}].")


def _check(record: Any, where: str, fields: Mapping[str, Kind], prefix: str = "") -> None:
    """Raises `RunError` for the first of `fields` that is not of its kind; `prefix` is where `record` stands."""
    if not isinstance(record, dict):
        raise refusal(where, prefix.rstrip("."), record, "an object")
    for name, (told, holds) in fields.items():
        if not holds(record.get(name)):
            raise refusal(where, prefix + name, record.get(name), told)
