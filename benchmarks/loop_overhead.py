"""What the run loop costs around the learner.

Claim: feeding, metrics and publishing take less than a tenth of the step. IQL, 256 transitions of 17-d observations
and 6-d actions, two hidden layers of 256, one thread: gradient steps per second of a bare `update(batch)` on batches
sampled beforehand, and of a whole run (`cluster.train`, fused, serial: sampling, logged and validated as often as
usual, weights published after each chunk, a checkpoint at the end), in turns. Times are the run's own, from its first
request to its last checkpoint. The same over Ray with two shard actors is shown beside it; of that nothing is promised.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as bench
import torch

import learners
from cluster.options import Cadence, Recipe, Role, Topology
from replay import Dataset

CLAIM = 0.10
BATCH = 256
BATCHES = 256
"""Sampled beforehand: as many bytes as no cache holds, as a run's batches do not stay there either."""
SERIAL = Topology(serial=True)


def main() -> int:
    options = _options()
    bench.needs("rich", "ray")
    torch.set_num_threads(1)
    found = bench.machine()
    print(bench.machine_line(found))
    if not options.serial_only:
        bench.start_ray(cpus=max(4, found["cores"] or 1))
    with bench.data_folder(options.data) as folder:
        dataset = bench.make_dataset(folder / f"rows-{options.rows}", options.rows, validation=0.05)
        contestants: dict[str, Callable[[], float]] = {
            "bare update": bare(dataset, options.steps),
            "serial": run(dataset, options.steps, SERIAL, folder / "serial"),
        }
        if not options.serial_only:
            over_ray = Topology(replay_shards=Role(count=2, num_cpus=0.5))
            contestants["Ray, 2 shards"] = run(dataset, options.steps, over_ray, folder / "ray")
        rounds = bench.interleave(contestants, options.rounds)
    overhead = {
        name: bench.median([1.0 - b / a for a, b in zip(rounds["bare update"], rates, strict=True)])
        for name, rates in rounds.items()
    }
    print(f"IQL, batch {BATCH}; median of {options.rounds} rounds of {options.steps} steps")
    bench.table(
        ["", "steps/s", "of the step spent around it"],
        [[name, f"{bench.median(rates):.1f}", f"{overhead[name]:.1%}"] for name, rates in rounds.items()],
    )
    claim = f"the loop around the learner costs under {CLAIM:.0%} of the step"
    bench.verdict(claim, overhead["serial"] < CLAIM)
    figures = {
        "steps_per_second": {name: bench.summary(rates) for name, rates in rounds.items()},
        "overhead": overhead,
    }
    bench.store(options.json, claim, found, options, figures)
    return 0 if overhead["serial"] < CLAIM else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--rows", type=int, default=100_000)
    made.add_argument("--steps", type=int, default=1000, help="of each contestant in each round")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--serial-only", action="store_true", help="leave Ray out")
    return made.parse_args()


def bare(dataset: Dataset, steps: int) -> Callable[[], float]:
    """Steps per second of `update` alone."""
    algorithm = learners.create("iql", dataset.spaces, seed=0, statistics=dataset.statistics)
    batches = [
        dataset.sample(seed=0, sequence=sequence, count=BATCH, request=algorithm.requires)
        for sequence in range(BATCHES)
    ]
    step = itertools.count()

    def some(count: int) -> None:
        for _ in range(count):
            number = next(step)
            # A fresh key, and so fresh noise, as every step of a run has.
            algorithm.update(dataclasses.replace(batches[number % BATCHES], key=(0, number)))

    def measure() -> float:
        some(20)
        began = time.perf_counter()
        some(steps)
        return steps / (time.perf_counter() - began)

    return measure


def run(dataset: Dataset, steps: int, topology: Topology, folder: Path) -> Callable[[], float]:
    """Steps per second of a whole run."""
    from rich.console import Console

    from cluster.train import train

    recipe = Recipe(((str(dataset.path), None),), "iql", batch_size=BATCH, steps=steps, fused=True)

    def measure() -> float:
        with (folder.parent / "console.txt").open("a") as output:
            result = train(recipe, topology, Cadence(), run=folder, console=Console(file=output))
        shutil.rmtree(folder)
        return steps / float(result.summary["seconds"])

    return measure


if __name__ == "__main__":
    sys.exit(main())
