"""`quiver inspect`: what is in a dataset, and whether it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from cluster.commands import options as shared
from cluster.settings import PATH, CheckedSettings


@dataclass(frozen=True)
class Inspect(CheckedSettings):
    """Show what is in a dataset, and check that it is whole."""

    positional = "dataset"

    dataset: tyro.conf.Positional[Annotated[str, PATH, tyro.conf.arg(metavar="DATASET")]]
    """The folder of the dataset."""
    verify: bool = False
    """Read every byte, compare its hash, and look at every value but pictures, too."""
    json: bool = False
    """Print one JSON object instead of tables."""


def parse(arguments: Sequence[str]) -> Inspect:
    return shared.parse(Inspect, "inspect", arguments)


def run(options: Inspect) -> dict[str, Any]:
    import replay

    record = describe(replay.open(options.dataset, verify=options.verify), verified=options.verify)
    if not options.json:
        show(record)
    return record


def describe(dataset: Any, *, verified: bool) -> dict[str, Any]:
    """Everything about a dataset that fits on a page, in JSON's types (and NumPy's)."""
    import numpy as np

    from replay.spaces import to_json

    episodes = dataset.episodes
    lengths, success = episodes["length"], episodes["success"]
    splits, counts = np.unique(episodes["split"].astype(str), return_counts=True)
    tasks = np.unique(episodes["task"].astype(str))
    known = success >= 0
    return {
        "path": str(dataset.path),
        "transitions": dataset.num_transitions,
        "episodes": dataset.num_episodes,
        "rows": dataset.num_rows,
        "shards": len(dataset.shards),
        "bytes": sum(file.bytes for files in dataset.shards for file in files.values()),
        "verified": verified,
        "splits": dict(zip(splits.tolist(), counts.tolist(), strict=True)),
        "tasks": [task for task in tasks.tolist() if task],
        "episode_length": {"min": lengths.min(), "mean": lengths.mean(), "max": lengths.max()},
        "return": {name: dataset.statistics["return"][name] for name in ("min", "mean", "max", "std")},
        "terminated_episodes": int(np.sum(episodes["terminated"])),
        "success_rate": float(success[known].mean()) if known.any() else None,
        "reference_scores": dataset.reference_scores,
        "spaces": {"observation": to_json(dataset.spaces.observation), "action": to_json(dataset.spaces.action)},
        "columns": [
            {
                "name": column.name,
                "dtype": str(column.dtype),
                "shape": list(column.shape),
                "kind": column.kind,
                **{key: dataset.statistics.get(column.name, {}).get(key) for key in ("mean", "std", "min", "max")},
            }
            for column in dataset.columns
        ],
        "provenance": dataset.provenance,
    }


def show(record: dict[str, Any]) -> None:
    """The same for people."""
    from rich.table import Table

    from cluster.commands.output import table_console

    console = table_console()
    checked = "every hash and value is right", "sizes and schema are right; --verify reads every byte"
    whole = checked[0] if record["verified"] else checked[1]
    returns, lengths = record["return"], record["episode_length"]
    splits = ", ".join(f"{name} {count:,}" for name, count in record["splits"].items())
    facts = {
        "transitions": f"{record['transitions']:,}",
        "episodes": f"{record['episodes']:,} ({splits}), {record['terminated_episodes']:,} end terminated",
        "lengths": f"{lengths['min']:,} to {lengths['max']:,}, mean {lengths['mean']:.1f}",
        "returns": f"{_short(returns['min'])} to {_short(returns['max'])}, mean {_short(returns['mean'])}",
        "success": "not recorded" if record["success_rate"] is None else f"{100 * record['success_rate']:.1f}%",
        "files": f"{record['shards']} shards, {_size(record['bytes'])}: {whole}",
    }
    if record["tasks"]:
        shown = ", ".join(record["tasks"][:8])
        facts["tasks"] = f"{len(record['tasks']):,}: {shown}{', …' if len(record['tasks']) > 8 else ''}"
    if record["reference_scores"]:
        facts["reference"] = "random {:.4g}, expert {:.4g}".format(*record["reference_scores"])
    console.print(_text(record["path"]), style="bold")
    table = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        table.add_row(name, _text(fact))
    console.print(table)
    columns = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    for head in ("column", "type", "shape", "mean", "spread", "range"):
        columns.add_column(head, justify="right" if head in ("mean", "spread", "range") else "left", overflow="fold")
    for column in record["columns"]:
        shape = "×".join(map(str, column["shape"])) or "–"
        kind = column["dtype"] if column["kind"] == "tensor" else column["kind"]
        reach = _span(column["min"], column["max"])
        columns.add_row(_text(column["name"]), kind, shape, _span(column["mean"]), _span(column["std"]), reach)
    console.print()
    console.print(columns)
    console.print()
    provenance = Table.grid(padding=(0, 2))
    for name, value in record["provenance"].items():
        if value not in (None, [], {}, ""):
            provenance.add_row(_text(name), _words(value))
    console.print(provenance)


def _span(*values: Any) -> str:
    """From the least to the greatest element of a column's statistics."""
    import numpy as np

    if any(value is None for value in values):
        return "–"
    flat = np.concatenate([np.asarray(value, np.float64).reshape(-1) for value in values])
    low, high = f"{flat.min():.3g}", f"{flat.max():.3g}"
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    return f"{value:.4g}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _text(value: Any) -> str:
    """On one line, whatever characters the dataset holds."""
    from cluster.plain_text import plain_text

    return plain_text(value, keep="")


def _words(value: Any) -> str:
    import json

    text = _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 400 else f"{text[:400]} … (--json shows all)"
