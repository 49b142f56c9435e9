"""Tables of a report: the data, who did what, the configuration, the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cluster import reproduce

Record = Mapping[str, Any]


def datasets_table(datasets: Sequence[Record]) -> str:
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
    details = "".join(
        f"<details><summary>provenance of {escape(dataset_name(dataset))}</summary>"
        f"<pre>{escape(json.dumps(dataset.get('provenance') or {}, indent=1, ensure_ascii=False))}</pre></details>"
        for dataset in datasets
    )
    return table(heads, rows, numeric=(1, 2)) + details


def _reward(reward: Any) -> str:
    if isinstance(reward, Mapping):
        return str(reward.get("from", "")) or json.dumps(reward)
    return "as in the source" if reward is None else str(reward)


def roles_tables(summary: Record) -> list[str]:
    parts = []
    for key, role, unit, name in (
        ("shards", "replay shard", "rows", "rows served"),
        ("updaters", "Bellman updater", "chunks", "chunks labelled"),
    ):
        if summary.get(key):
            rows = [[entry["name"], f"{entry[unit]:,}"] for entry in summary[key]]
            parts.append(table((role, name), rows, numeric=(1,)))
    return [*parts, f"<p>Restarts of the learner: {summary.get('learner_restarts', 0)}.</p>"]


def configuration_tables(config: Record) -> list[str]:
    recipe = {key: value for key, value in config["recipe"].items() if key not in ("knobs", "datasets")}
    topology = dict(config["topology"])
    roles = {
        role: ", ".join(f"{key} {_plain(value)}" for key, value in topology.pop(role).items() if value)
        for role in ("replay_shards", "bellman_updaters", "learners", "evaluators")
        if role in topology
    }
    tables = {
        "Recipe (decides the result)": recipe,
        "Knobs of the algorithm": config["recipe"]["knobs"],
        "Topology (decides the speed)": {**roles, **topology},
        "Cadence": config["cadence"],
        "Environment": config.get("environment") or {},
        "Machine": config.get("machine") or {},
    }
    return [
        f"<div><h3>{escape(name)}</h3>{table(('', ''), [[key, _plain(value)] for key, value in values.items()])}</div>"
        for name, values in tables.items()
        if values
    ]


def commands_again(config: Record, run: Path) -> str:
    target = f"{run.resolve().name}-again"
    commands = [reproduce.train_command(config, target), reproduce.evaluate_command(config, target)]
    commands.append(f"quiver report {target}")
    return f"<pre>{escape(chr(10).join(command for command in commands if command))}</pre>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in numeric else ''}>{escape(str(cell))}</{tag}>" for i, cell in enumerate(row)
        )

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


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
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
