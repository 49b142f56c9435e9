"""Policies are scored while they train, by the same seeds everywhere, and the best one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import envs
from cluster.options import Cadence, Recipe
from cluster.policy import acting, load_policy
from cluster.train import train
from envs import EnvSpec, RandomPolicy
from replay.episode import Episode
from replay.spaces import Box, Spaces
from replay.writer import DatasetWriter
from tests.cluster.runs import SERIAL, on_ray

PENDULUM = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 20})
CADENCE = Cadence(log_every=8, validate_every=0, checkpoint_every=8, keep=1, eval_every=8, eval_episodes=3)


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pendulum") / "logs"
    spaces = Spaces(Box((3,)), Box((1,), low=(-2.0,), high=(2.0,)))
    with DatasetWriter(path, spaces, provenance={}, reference_scores=(-200.0, 0.0)) as writer:
        for recorded in envs.collect(PENDULUM, RandomPolicy(), episodes=20, seed=0):
            writer.add(
                Episode(
                    np.asarray(recorded.observation, np.float32),
                    np.asarray(recorded.action, np.float32),
                    np.asarray(recorded.reward, np.float32),
                    np.asarray(recorded.terminated, np.uint8),
                    np.asarray(recorded.truncated, np.uint8),
                )
            )
        writer.finish()
    return path


def recipe(dataset: Path) -> Recipe:
    knobs = {"hidden": (16, 16)}
    return Recipe(((str(dataset), None),), "iql", knobs, batch_size=16, steps=24, chunk_steps=4, depth=1)


def evaluations(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in ("kind", "seconds")}
        for record in records
        if record["kind"] == "evaluation"
    ]


@pytest.fixture(scope="module")
def serial_run(pendulum: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("serial") / "run"
    train(recipe(pendulum), SERIAL, CADENCE, run=run, environment=PENDULUM)
    return run


def test_before_the_first_step_in_between_and_after_the_last(serial_run: Path) -> None:
    found = evaluations(serial_run)
    assert [record["step"] for record in found] == [0, 8, 16, 24]
    assert all(record["episodes"] == 3 and record["success_rate"] is None for record in found)
    for record in found:
        assert record["normalized_score"] == pytest.approx(100 * (record["return_mean"] + 200) / 200)


def test_the_best_evaluated_checkpoint_is_kept(serial_run: Path) -> None:
    found = {record["step"]: record["return_mean"] for record in evaluations(serial_run) if record["step"]}
    best = max(found, key=lambda step: found[step])
    checkpoints = serial_run / "checkpoints"
    assert (checkpoints / "BEST").read_text().strip() == f"step-{best:09d}"
    assert (checkpoints / f"step-{best:09d}").is_dir()


def test_a_loaded_policy_scores_what_the_run_recorded(serial_run: Path) -> None:
    algorithm, config = load_policy(serial_run)
    again = envs.evaluate(
        EnvSpec.from_json(config["environment"]), acting(algorithm, seed=0), episodes=3, seed=config["recipe"]["seed"]
    )
    assert again.return_mean == evaluations(serial_run)[-1]["return_mean"]


@pytest.mark.slow
def test_on_ray_the_scores_are_the_same(pendulum: Path, serial_run: Path, tmp_path: Path) -> None:
    topology = on_ray(updaters=1, shards=1)
    train(recipe(pendulum), topology, CADENCE, run=tmp_path / "run", environment=PENDULUM)
    assert evaluations(tmp_path / "run") == evaluations(serial_run)
