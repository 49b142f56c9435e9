"""A small run folder as a finished run leaves it, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.options import Cadence, Recipe, Role, Topology, as_json


def config(**changes: Any) -> dict[str, Any]:
    recipe = Recipe(
        datasets=(("/data/umaze-far", None),),
        algorithm="iql",
        knobs={"expectile": 0.9, "hidden": (256, 256)},
        seed=3,
        steps=4_000,
        depth=1,
    )
    topology = Topology(replay_shards=Role(2, 0.5), bellman_updaters=Role(1))
    box = {"type": "box", "shape": [4], "dtype": "float32", "low": [None], "high": [None]}
    return {
        "format": 1,
        "recipe": as_json(recipe),
        "topology": as_json(topology),
        "cadence": as_json(Cadence(eval_every=2_000)),
        "machine": {"torch": "2.13.0", "capability": "AVX2"},
        "spaces": {"observation": box, "action": {**box, "shape": [2], "low": [-1.0], "high": [1.0]}},
        "statistics": {},
        "environment": {"id": "PointMaze_UMaze-v3", "reset_options": {"goal_cell": [3, 1]}},
        "reference_scores": None,
        "datasets": [
            {
                "path": "/data/umaze-far",
                "transitions": 60_000,
                "episodes": 300,
                "provenance": {
                    "source": "logs/umaze <raw>",
                    "collected_by": "scripted",
                    "licence": "MIT",
                    "reward": {"from": "function reach_far_end"},
                },
            }
        ],
        **changes,
    }


def metrics() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(0, 4_001, 500):
        if step:
            lines.append(
                {
                    "step": step,
                    "kind": "train",
                    "seconds": step / 100,
                    "value_loss": 1.0 / step,
                    "critic_loss": None if step == 1_000 else 2.0 / step,
                    "q_data": step / 4_000,
                    "steps_per_second": 100.0 + step / 1_000,
                    "staleness": 11.5,
                }
            )
        if step % 1_000 == 0 and step:
            lines.append({"step": step, "kind": "validation", "seconds": step / 100, "value_loss": 1.5 / step})
            lines.append({"step": step, "kind": "probe", "seconds": 1.0, "q_data": 0.4, "q_policy": 0.5})
        if step % 2_000 == 0:
            score = {"return_mean": step / 4_000, "return_std": 0.1, "success_rate": step / 5_000}
            lines.append({"step": step, "kind": "evaluation", "seconds": 1.0, "episodes": 20, **score})
    return lines


SUMMARY: dict[str, Any] = {
    "steps": 4_000,
    "seconds": 83.0,
    "shards": [{"name": "shard 0", "rows": 700_123}, {"name": "shard 1", "rows": 324_877}],
    "updaters": [{"name": "updater 0", "chunks": 500}],
    "learner_restarts": 1,
    "evaluations": [],
}


def write_run(path: Path, *, lines: list[dict[str, Any]] | None = None, summary: bool = True, **changes: Any) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config(**changes)))
    text = "".join(json.dumps(line) + "\n" for line in (metrics() if lines is None else lines))
    (path / "metrics.jsonl").write_text(text)
    if summary:
        (path / "summary.json").write_text(json.dumps(SUMMARY))
    return path
