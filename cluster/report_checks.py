"""Whether a run's files hold what a report draws: a number where it formats one, text where it writes text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.errors import RunError
from cluster.report_charts import SCORES, is_number

Record = Mapping[str, Any]
Kind = tuple[str, Callable[[Any], bool]]

ALWAYS = ("replay_shards", "bellman_updaters", "learners")
ROLES = (*ALWAYS, "evaluators", "env_runners", "online_writers")
"""Roles of a topology; runs of earlier versions lack those that not every run has."""
LONGEST = 80
"""Characters of what was found that a message shows."""

OBJECT: Kind = ("an object", lambda value: isinstance(value, dict))
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


def check_config(config: Any, where: str) -> None:
    """`config.json`. Raises `RunError`, as the others do, naming the file `where` and the field."""
    _check(config, where, {"recipe": OBJECT, "topology": OBJECT, "cadence": OBJECT, "datasets": LIST})
    _check(config["recipe"], where, {"algorithm": TEXT, "steps": COUNT, "knobs": OBJECT, "datasets": LIST}, "recipe.")
    for number, entry in enumerate(config["recipe"]["datasets"]):
        if not (isinstance(entry, list) and len(entry) == 2 and TEXT[1](entry[0]) and optional(NUMBER)[1](entry[1])):
            raise _refusal(where, f"recipe.datasets[{number}]", entry, "a path, and a weight or null")
    for number, dataset in enumerate(config["datasets"]):
        fields = {"path": TEXT, "transitions": COUNT, "episodes": COUNT, "provenance": optional(OBJECT)}
        _check(dataset, where, fields, f"datasets[{number}].")
    topology = config["topology"]
    for role in ROLES:
        if role in topology or role in ALWAYS:
            _check(topology, where, {role: OBJECT}, "topology.")
            _check(topology[role], where, {"count": COUNT}, f"topology.{role}.")
    _check(config, where, {name: optional(OBJECT) for name in ("environment", "online", "from", "machine")})
    environment, begun = config.get("environment"), config.get("from")
    if environment:
        _check(environment, where, {"id": TEXT, "observation_key": optional(TEXT)}, "environment.")
        _check(config["cadence"], where, {"eval_episodes": COUNT}, "cadence.")
    if begun:
        _check(begun, where, {"run": TEXT, "checkpoint": TEXT}, "from.")
    if config.get("online") is not None:
        _check(config, where, {"environment": OBJECT})


def check_metrics(metrics: Sequence[Any], where: str) -> None:
    """The records of `metrics.jsonl`. What else a record holds is a curve where it is a number, and a gap elsewhere."""
    for number, record in enumerate(metrics, start=1):
        line = f"{where}, line {number}"
        _check(record, line, {"step": COUNT, "kind": TEXT})
        fields = {"seconds": optional(NUMBER), "steps_per_second": optional(NUMBER)}
        if record["kind"] == "evaluation":
            fields |= {"episodes": COUNT, **{score: optional(NUMBER) for score, _, _ in SCORES}}
        _check(record, line, fields)


def check_summary(summary: Any, where: str) -> None:
    """`summary.json`."""
    _check(summary, where, {"steps": COUNT, "seconds": NUMBER})
    served = {"shards": "rows", "updaters": "chunks", "evaluators": "evaluations"}
    _check(summary, where, {"learner_restarts": optional(COUNT), **dict.fromkeys(served, optional(LIST))})
    for key, unit in served.items():
        for number, entry in enumerate(summary.get(key) or ()):
            _check(entry, where, {"name": TEXT, unit: COUNT}, f"{key}[{number}].")


def _check(record: Any, where: str, fields: Mapping[str, Kind], prefix: str = "") -> None:
    """Raises `RunError` for the first of `fields` that is not of its kind; `prefix` is where `record` stands."""
    if not isinstance(record, dict):
        raise _refusal(where, prefix.rstrip("."), record, OBJECT[0])
    for name, (told, holds) in fields.items():
        if not holds(record.get(name)):
            raise _refusal(where, prefix + name, record.get(name), told)


def _refusal(where: str, field: str, found: Any, expected: str) -> RunError:
    shown = repr(found)
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} …"
    at = f"{where}: {field}" if field else where
    return RunError(f"{at}: found {shown}, expected {expected}. No run writes that; restore the file.")
