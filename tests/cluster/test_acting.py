"""A policy that plans chunks of actions, played by whoever acts: evaluator, runner and collector play just these."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import envs
from cluster.build import AlgorithmSpec
from cluster.policy import acting, load_policy
from cluster.roles.env_runner import EnvRunner, RunnerSpec
from cluster.roles.evaluator import EvaluationSpec, Evaluator
from cluster.train import train
from envs import EnvSpec, Exploration
from replay.spaces import Box, Spaces
from tests.cluster.online_runs import ONLINE, online_recipe, run_online
from tests.cluster.runs import QUIET, SERIAL, SMALL, assert_same_parameters, recipe, run_once
from tests.taped_env import ID, TAPES

SPEC = AlgorithmSpec(
    "bc",
    {"action_chunk": 3, "hidden": (), "normalise_observation": False},
    Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,))),
    None,
    0,
)
LENGTHS = [2 + 3 * number % 7 for number in range(7)]


@pytest.fixture
def planner() -> Any:
    """Plans tanh(0.02 s), tanh(0.02 s + 0.1) and tanh(0.02 s + 0.2) where it observes step s: every action tells at
    which step it was planned, and its place in the chunk."""
    algorithm: Any = SPEC.create("cpu")
    with torch.no_grad():
        (layer,) = algorithm.policy.net.layers
        layer.weight.fill_(0.02)
        layer.bias.copy_(torch.tensor([0.0, 0.1, 0.2]))
    TAPES.clear()
    return algorithm


def planned(length: int) -> list[float]:
    """The actions of an episode: of chunks that are planned at its steps 0, 3, 6, …"""
    steps = np.arange(length)
    return np.tanh(0.02 * (steps - steps % 3) + 0.1 * (steps % 3)).tolist()


def assert_played(tapes: list[list[float]], lengths: list[int]) -> None:
    assert [len(tape) for tape in tapes] == lengths
    for tape in tapes:
        np.testing.assert_allclose(tape, planned(len(tape)), atol=1e-6)


def test_an_evaluator_plays_the_chunks(planner: Any) -> None:
    evaluator = Evaluator(SPEC, EvaluationSpec(EnvSpec(ID), episodes=7, seed=0), threads=1)
    found = evaluator.evaluate(planner.policy_weights())
    assert found["return_mean"] == np.mean(LENGTHS)
    assert_played(TAPES, LENGTHS)


def test_a_collector_plays_the_chunks(planner: Any) -> None:
    policy = envs.ActPolicy(acting(planner, seed=0), "the planner")
    episodes = list(envs.collect(EnvSpec(ID), policy, episodes=4, seed=2))
    assert_played(TAPES, LENGTHS[2:6])
    assert_played([episode.action[:, 0].tolist() for episode in episodes], LENGTHS[2:6])


def runner(exploration: Exploration | None = None) -> EnvRunner:
    """Two environments side by side."""
    return EnvRunner(0, RunnerSpec(SPEC, EnvSpec(ID), 2, "sync", False, exploration or Exploration(), 0, 1))


def test_a_runner_plays_the_chunks_of_episodes_that_begin_at_different_times(planner: Any) -> None:
    stepping, weights = runner(), planner.policy_weights()
    # Calls end in the middle of chunks, which go on in the next.
    fresh = [one for steps in (4, 7, 9) for one in stepping.collect(0, 0, weights, steps)[1]]
    whole = [tape for tape in TAPES if tape]
    assert len(fresh) >= 6
    assert len({len(tape) for tape in whole}) >= 4
    for tape in whole:
        np.testing.assert_allclose(tape, planned(len(tape)), atol=1e-6)
    for one in fresh:
        np.testing.assert_allclose(one.episode.action[:, 0], planned(len(one.episode)), atol=1e-6)


def test_new_weights_plan_the_next_chunk(planner: Any) -> None:
    stepping, weights = runner(), planner.policy_weights()
    stepping.collect(0, 0, weights, 1)
    still = np.zeros_like(weights)
    fresh = stepping.collect(0, 5, still, 12)[1]
    assert any(len(one.episode) > 3 and one.versions == (0, 5) for one in fresh)
    for one in fresh:
        if one.versions == (0, 5):  # the first chunk was planned before
            expected = [*planned(3), *[0.0] * len(one.episode)][: len(one.episode)]
            np.testing.assert_allclose(one.episode.action[:, 0], expected, atol=1e-6)


def test_noise_is_on_each_action_of_a_chunk(planner: Any) -> None:
    fresh = runner(Exploration(noise=0.05)).collect(0, 0, planner.policy_weights(), 200)[1]
    noise = np.concatenate([one.episode.action[:, 0] - planned(len(one.episode)) for one in fresh])
    # Within four standard errors of the spread.
    assert abs(noise.std() - 0.05) < 4 * 0.05 / np.sqrt(2 * len(noise))
    assert len(np.unique(noise)) == len(noise)


# --- Whole runs ---


@pytest.mark.parametrize(("algorithm", "fused"), [("iql", False), ("bc", True)])
def test_a_run_with_chunks_and_a_history_is_trained_resumed_and_loaded(
    algorithm: str, fused: bool, dataset: Path, tmp_path: Path
) -> None:
    knobs = {**SMALL, "action_chunk": 3, "history": 2}
    asked = recipe(dataset, algorithm, knobs=knobs, fused=fused)
    run_once(tmp_path / "whole", asked)
    run_once(tmp_path / "parts", replace(asked, steps=12))
    train(asked, SERIAL, QUIET, run=tmp_path / "parts", resume=True)
    assert_same_parameters(tmp_path / "whole", tmp_path / "parts")
    act = acting(load_policy(tmp_path / "whole")[0], seed=0)
    state: Any = None
    seen = np.random.default_rng(0).normal(size=(4, 2, 4))
    played = []
    for step, observation in enumerate(seen):
        action, state = act(observation, state, np.full(2, step == 0))
        played.append(action)
    assert np.isfinite(played).all()
    assert np.shape(played) == (4, 2, 2)


def test_fine_tuning_with_chunks_and_histories(dataset: Path, tmp_path: Path) -> None:
    asked = online_recipe(dataset, knobs={**SMALL, "action_chunk": 3, "history": 1})
    summary = run_online(tmp_path / "run", asked, replace(ONLINE, env_steps=60)).summary
    assert summary["env_steps"] == 60
    told = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert sum(episode["length"] for episode in told) == 60
    assert all(episode["versions"] == sorted(set(episode["versions"])) != [] for episode in told)
    # Weights come every four steps, and an episode may last longer.
    assert any(len(episode["versions"]) > 1 for episode in told)
