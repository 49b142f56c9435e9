"""From pictures to a policy, by way of everything: shards on disk, the loop, the evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.options import Cadence, Recipe, Topology
from cluster.train import train
from tests import pixel_reach

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("algorithm", "discrete", "steps", "knobs"),
    [
        ("bc", False, 200, {"encoder": "shared"}),
        ("iql", True, 250, {"temperature": 10.0, "expectile": 0.8}),
    ],
)
def test_a_target_that_only_the_picture_shows_is_reached(
    algorithm: str, discrete: bool, steps: int, knobs: dict[str, Any], tmp_path: Path
) -> None:
    data = pixel_reach.collect(tmp_path / "data", 300, discrete=discrete, size=16)
    recipe = Recipe(
        datasets=((str(data), None),),
        algorithm=algorithm,
        knobs={"hidden": (128, 128), "encoder_width": 64, "random_crop": 1, "learning_rate": 1e-3, **knobs},
        batch_size=64,
        steps=steps,
        fused=True,
    )
    cadence = Cadence(log_every=100, validate_every=0, checkpoint_every=0, eval_every=steps, eval_episodes=40)
    environment = pixel_reach.spec(discrete=discrete, size=16)
    train(recipe, Topology(serial=True), cadence, run=tmp_path / "run", environment=environment)

    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    untrained, trained = (record["success_rate"] for record in records if record["kind"] == "evaluation")
    assert untrained < 0.2
    assert trained > 0.6
