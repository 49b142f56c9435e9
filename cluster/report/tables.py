"""Tables of a report: the datasets, the work of each actor, the configuration; and the commands that repeat the run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cluster.report import reproduce
from cluster.report.html import render, table

Record = Mapping[str, Any]


def datasets_table(datasets: Sequence[Record]) -> Markup:
    rows = []
    for dataset in datasets:
        provenance = dataset.get("provenance") or {}
        rows.append(
            [
                dataset_name(dataset),
                f"{dataset['transitions']:,}",
                f"{dataset['episodes']:,}",
                provenance.get("collected_by", "not recorded"),
                provenance.get("source", ""),
                _reward(provenance.get("reward")),
                provenance.get("licence") or provenance.get("license") or "not recorded",
            ]
        )
    heads = ("dataset", "transitions", "episodes", "collected by", "source", "reward", "licence")
    provenances = [
        (dataset_name(dataset), json.dumps(dataset.get("provenance") or {}, indent=1, ensure_ascii=False))
        for dataset in datasets
    ]
    return render("datasets.html", table=table(heads, rows, numeric=(1, 2)), provenances=provenances)


def _reward(reward: Any) -> str:
    if isinstance(reward, Mapping):
        return str(reward.get("from", "")) or json.dumps(reward)
    return "as in the source" if reward is None else str(reward)


def roles_tables(summary: Record) -> list[Markup]:
    parts = []
    for key, role, unit, name in (
        ("shards", "replay shard", "rows", "rows served"),
        ("updaters", "Bellman updater", "chunks", "chunks labelled"),
        ("evaluators", "evaluator", "evaluations", "evaluations"),
    ):
        if summary.get(key):
            rows = [[entry["name"], f"{entry[unit]:,}"] for entry in summary[key]]
            parts.append(table((role, name), rows, numeric=(1,)))
    sentence = f"Restarts of the learner: {summary.get('learner_restarts', 0)}."
    return [*parts, render("paragraph.html", sentence=sentence)]


def configuration_tables(config: Record) -> list[Markup]:
    recipe = {key: value for key, value in config["recipe"].items() if key not in ("knobs", "datasets")}
    topology = {
        # A role is its count and what each of its actors takes.
        key: ", ".join(f"{part} {_plain(amount)}" for part, amount in value.items() if amount)
        if isinstance(value, dict)
        else value
        for key, value in config["topology"].items()
    }
    tables = {
        "Recipe (decides the result)": recipe,
        "Knobs of the algorithm": config["recipe"]["knobs"],
        "Topology (decides the speed)": topology,
        "Cadence": config["cadence"],
        "Environment": config.get("environment") or {},
        "Machine": config.get("machine") or {},
    }
    return [
        render(
            "subsection.html", title=name, content=table((), [[key, _plain(value)] for key, value in values.items()])
        )
        for name, values in tables.items()
        if values
    ]


def commands_again(config: Record, run: Path) -> Markup:
    target = f"{run.resolve().name}-again"
    if target.startswith("-"):
        target = f"./{target}"  # no option
    commands = [reproduce.train_command(config, target), reproduce.evaluate_command(config, target)]
    commands.append(f"quiver report {shlex.quote(target)}")
    return render("commands.html", commands=[command for command in commands if command])


# --- Words ---


def dataset_name(dataset: Record) -> str:
    return Path(dataset["path"]).name


def _plain(value: Any) -> str:
    """A JSON value as a person would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " ".join(_plain(item) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
