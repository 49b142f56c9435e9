"""A training run as a process of its own, to be killed: `long_run.py DATASET RUN VARIANT [--ray] [--resume]`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from cluster.options import Cadence, Recipe  # noqa: E402
from cluster.train import train  # noqa: E402
from tests.cluster.runs import SERIAL, on_ray, recipe  # noqa: E402

STEPS = 600
CADENCE = Cadence(log_every=4, validate_every=40, checkpoint_every=40, keep=2)


def variant(name: str, dataset: Path) -> Recipe:
    """Long enough to be killed in the middle."""
    return {
        "fused": recipe(dataset, fused=True, steps=STEPS),
        "pipelined": recipe(dataset, "cql", steps=STEPS),
        "prioritised": recipe(dataset, steps=STEPS, priority_exponent=0.6),
        "reused": recipe(dataset, "qtopt", steps=STEPS, label_reuse=2),
    }[name]


if __name__ == "__main__":
    dataset, run, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    topology = on_ray(updaters=2, shards=2) if "--ray" in sys.argv else SERIAL
    train(variant(name, dataset), topology, CADENCE, run=run, resume="--resume" in sys.argv)
