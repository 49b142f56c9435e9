"""Gradient steps per second on a CPU, beside a hand-written loop and d3rlpy.

Claims, for IQL: at least 1.5 times d3rlpy's steps, both for the update alone and with each library sampling its own
batches; and no slower, within 5%, than the fastest loop written by hand (`_plain.py`: twin Qs as two networks or as one
batched product), eager against eager and compiled against compiled.

All take the same batches, sampled beforehand as NumPy arrays: 256 transitions of 11-d observations and 3-d actions; two
hidden layers of 256, float32, one thread, in turns. A step is all of `update(batch)`: arrays to tensors, label, losses,
gradients, optimiser and target network. d3rlpy goes through its own `update(TransitionMiniBatch)`, which compiles on
CUDA only. Not measured here: metrics and publishing. "With sampling", batches come from each library's own dataset of
the same 20,000 transitions: memory-mapped Arrow shards here, episodes in memory there.

`make bench` runs it, in an environment of the peers; `make bench BENCHMARKS=benchmarks/learner_steps.py
ARGS="--steps 50"` runs it alone.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import _common as bench
import numpy as np
import torch
from _plain import PlainBC, PlainIQL

import learners
import replay
from replay import Batch, Box, Dataset, DatasetWriter, Episode, Spaces

PEER_CLAIM, PLAIN_CLAIM = 1.5, 0.95
EPISODES, LENGTH = 20, 1_000
OWN = ", with sampling"
OBSERVATION, ACTION, BATCH, WIDTH = 11, 3, 256, 256
SPACES = Spaces(Box((OBSERVATION,)), Box((ACTION,), low=(-1.0,), high=(1.0,)))
OURS = ("Quiver", "Quiver, compiled")
Arrays = dict[str, np.ndarray]
Step = Callable[[int], Any]
"""One gradient step, on the batch of that number."""


def main() -> int:
    options = _options()
    bench.needs("d3rlpy")
    bench.quiet()
    torch.set_num_threads(options.threads)
    found = bench.machine()
    print(bench.machine_line(found))
    batches = [arrays(seed) for seed in range(32)]
    figures: dict[str, Any] = {}
    held = True
    with bench.data_folder(options.data) as folder:
        own = episodes()
        dataset = write(folder / "learner-steps", own)
        for algorithm in options.algorithm:
            rounds = measure(contestants(algorithm, batches, own, dataset), options.steps, options.rounds)
            figures[algorithm] = {name: bench.summary(values) for name, values in rounds.items()}
            show(algorithm, rounds)
            if algorithm == "iql":
                held = judge(rounds, figures[algorithm])
    claim = f"IQL: {PEER_CLAIM:g} times d3rlpy's steps, {PLAIN_CLAIM:g} times those of a hand-written loop"
    bench.store(options.json, claim, found, options, figures)
    return 0 if held else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--algorithm", nargs="+", choices=("iql", "bc", "cql"), default=["iql", "bc", "cql"])
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--steps", type=int, default=200, help="of each contestant in each round")
    made.add_argument("--threads", type=int, default=1)
    return made.parse_args()


def arrays(seed: int) -> Arrays:
    """One batch. The observations are normal already."""
    rng = np.random.default_rng(seed)
    terminated = (rng.random(BATCH) < 0.01).astype(np.uint8)
    return {
        "observation": rng.standard_normal((BATCH, OBSERVATION), np.float32),
        "action": rng.uniform(-1.0, 1.0, (BATCH, ACTION)).astype(np.float32),
        "reward": rng.random(BATCH, np.float32),
        "discount": (0.99 * (1.0 - terminated)).astype(np.float32),
        "next_observation": rng.standard_normal((BATCH, OBSERVATION), np.float32),
        "terminated": terminated,
    }


def episodes() -> list[Arrays]:
    """The steps that the datasets of both libraries hold."""
    rng = np.random.default_rng(1)
    return [
        {
            "observation": rng.standard_normal((LENGTH + 1, OBSERVATION), np.float32),
            "action": rng.uniform(-1.0, 1.0, (LENGTH, ACTION)).astype(np.float32),
            "reward": rng.random(LENGTH, np.float32),
        }
        for _ in range(EPISODES)
    ]


def write(path: Path, steps: list[Arrays]) -> Dataset:
    if not path.exists():
        flags = np.zeros(LENGTH, np.uint8)
        with DatasetWriter(path, SPACES, provenance={"source": "made up"}, validation_fraction=0.0) as writer:
            for entry in steps:
                rows = entry["observation"], entry["action"], entry["reward"]
                writer.add(Episode(*rows, terminated=flags, truncated=flags))
            writer.finish()
    return replay.open(path)


# --- Contestants ---


def contestants(algorithm: str, batches: list[Arrays], own: list[Arrays], dataset: Dataset) -> dict[str, Step]:
    made = {name: ours(algorithm, batches, compile=name != OURS[0]) for name in OURS}
    sizes = {"observation": OBSERVATION, "action": ACTION, "width": WIDTH}
    for mode in ("", ", compiled"):
        if algorithm == "iql":
            for twins in ("two networks", "batched"):
                made[f"by hand, {twins}{mode}"] = by_hand(
                    PlainIQL(**sizes, batched=twins == "batched", compile=bool(mode)), batches
                )
        if algorithm == "bc":
            made[f"by hand{mode}"] = by_hand(PlainBC(**sizes, compile=bool(mode)), batches)
    made |= {"d3rlpy": d3rlpys(algorithm, batches)}
    learner = learners.create(algorithm, SPACES, hidden=(WIDTH, WIDTH))
    made[OURS[0] + OWN] = lambda number: learner.update(
        dataset.sample(seed=0, sequence=number, count=BATCH, request=learner.requires)
    )
    return made | {"d3rlpy" + OWN: d3rlpys(algorithm, batches, own)}


def ours(algorithm: str, batches: list[Arrays], *, compile: bool) -> Step:
    learner = learners.create(algorithm, SPACES, compile=compile, hidden=(WIDTH, WIDTH))
    truncated, index = np.zeros(BATCH, np.uint8), np.arange(BATCH)
    made = [
        Batch[np.ndarray](**cast("dict[str, Any]", batch), truncated=truncated, index=index, key=(0, n))
        for n, batch in enumerate(batches)
    ]
    return lambda number: learner.update(made[number % len(made)])


def by_hand(loop: PlainIQL | PlainBC, batches: list[Arrays]) -> Step:
    return lambda number: loop.update(batches[number % len(batches)])


def d3rlpys(algorithm: str, batches: list[Arrays], own: list[Arrays] | None = None) -> Step:
    with contextlib.redirect_stderr(io.StringIO()):  # what gym has to say when it is imported
        import d3rlpy
        from d3rlpy.dataset import MDPDataset, TransitionMiniBatch
    configs = {
        "iql": d3rlpy.algos.IQLConfig,
        "bc": lambda **options: d3rlpy.algos.BCConfig(policy_type="stochastic", **options),
        # Without Lagrange, and with an entropy bonus only for the policy, as ours by default.
        "cql": lambda **options: d3rlpy.algos.CQLConfig(
            alpha_learning_rate=0.0, conservative_weight=10.0, n_action_samples=10, **options
        ),
    }
    learner = configs[algorithm](batch_size=BATCH).create(device="cpu:0")
    learner.create_impl((OBSERVATION,), ACTION)
    if own is not None:
        joined = {name: np.concatenate([entry[name][:LENGTH] for entry in own]) for name in own[0]}
        ends = np.tile(np.arange(LENGTH) == LENGTH - 1, len(own)).astype(np.float32)
        with contextlib.redirect_stdout(io.StringIO()):
            held = MDPDataset(
                joined["observation"], joined["action"], joined["reward"], np.zeros_like(ends), timeouts=ends
            )
        return lambda _: learner.update(held.sample_transition_batch(BATCH))
    made = [
        TransitionMiniBatch(
            observations=batch["observation"],
            actions=batch["action"],
            rewards=batch["reward"][:, None],
            next_observations=batch["next_observation"],
            next_actions=batch["action"],
            terminals=batch["terminated"][:, None].astype(np.float32),
            intervals=np.ones((BATCH, 1), np.float32),
            transitions=[],
        )
        for batch in batches
    ]
    return lambda number: learner.update(made[number % len(made)])


# --- Measuring and showing ---


def measure(steps: dict[str, Step], count: int, rounds: int) -> dict[str, list[float]]:
    """Steps per second of each contestant in each round."""
    for step in steps.values():
        for number in range(5):  # compilation among them
            step(number)

    def timed(step: Step) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            for number in range(count):
                step(number)
            return count / (time.perf_counter() - began)

        return run

    return bench.interleave({name: timed(step) for name, step in steps.items()}, rounds)


def ratio(rounds: dict[str, list[float]], name: str, other: str) -> float:
    """Of each round on its own, so that a slow minute is slow for both."""
    return bench.median([a / b for a, b in zip(rounds[name], rounds[other], strict=True)])


def fastest(rounds: dict[str, list[float]], *, start: str) -> str:
    return max((name for name in rounds if name.startswith(start)), key=lambda name: bench.median(rounds[name]))


def show(algorithm: str, rounds: dict[str, list[float]]) -> None:
    count = len(next(iter(rounds.values())))
    print(f"\n{algorithm}: gradient steps per second, batch {BATCH}; median of {count} rounds")
    lines = [
        [name, f"{bench.median(values):.1f}", *(f"{ratio(rounds, mine, name):.2f}" for mine in OURS)]
        for name, values in rounds.items()
    ]
    bench.table(["", "steps/s", *(f"{mine} is so many times" for mine in OURS)], lines)


def judge(rounds: dict[str, list[float]], figures: dict[str, Any]) -> bool:
    compiled = {name: values for name, values in rounds.items() if name.endswith("compiled")}
    eager = {name: values for name, values in rounds.items() if name not in compiled}
    pairs = [
        (OURS[0], "d3rlpy", PEER_CLAIM),
        (OURS[1], "d3rlpy", PEER_CLAIM),
        (OURS[0] + OWN, "d3rlpy" + OWN, PEER_CLAIM),
        (OURS[0], fastest(eager, start="by hand"), PLAIN_CLAIM),
        (OURS[1], fastest(compiled, start="by hand"), PLAIN_CLAIM),
    ]
    found = {(mine, other): (least, ratio(rounds, mine, other)) for mine, other, least in pairs}
    for (mine, other), (least, value) in found.items():
        bench.verdict(f"{mine}: at least {least:g} times the steps of {other}: {value:.2f}", value >= least)
        figures[f"ratio of {mine} to {other}"] = value
    return all(value >= least for least, value in found.values())


if __name__ == "__main__":
    sys.exit(main())
