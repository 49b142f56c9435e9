"""A fine-tuning run as a process of its own, to be killed: `long_finetune.py DATASET RUN [--resume]`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from cluster.options import OnlineRecipe, Role  # noqa: E402
from tests.cluster.online_runs import QUIET, online_recipe, run_online  # noqa: E402
from tests.cluster.runs import on_ray  # noqa: E402

ONLINE = OnlineRecipe(env_steps=600, rollout_steps=10, slack=50.0)

if __name__ == "__main__":
    dataset, run = Path(sys.argv[1]), Path(sys.argv[2])
    topology = replace(on_ray(updaters=0, shards=1), env_runners=Role(2, num_cpus=0.1))
    cadence = replace(QUIET, checkpoint_every=40)
    run_online(run, online_recipe(dataset), ONLINE, topology, cadence, resume="--resume" in sys.argv)
