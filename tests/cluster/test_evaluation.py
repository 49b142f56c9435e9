"""Policies are scored while they train, by the same seeds everywhere, and the best one is kept."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs
from cluster.build import AlgorithmSpec
from cluster.commands import train as command
from cluster.options import Cadence, Recipe, Role
from cluster.policy import acting, load_policy
from cluster.report import reproduce
from cluster.roles.evaluator import EvaluationSpec, Evaluator, headline
from cluster.train import train
from envs import EnvSpec, RandomPolicy
from replay.episode import Episode
from replay.spaces import Box, Spaces
from replay.writer import DatasetWriter
from tests.cluster.run_folders import config, write_run
from tests.cluster.runs import SERIAL, assert_same_parameters

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


@pytest.mark.parametrize(("evaluators", "shares"), [(2, [2, 2]), (3, [2, 1, 1])])
def test_several_evaluators_take_turns_and_find_the_same(
    pendulum: Path, serial_run: Path, tmp_path: Path, evaluators: int, shares: list[int]
) -> None:
    topology = replace(SERIAL, evaluators=Role(evaluators))
    result = train(recipe(pendulum), topology, CADENCE, run=tmp_path / "run", environment=PENDULUM)
    assert [found["evaluations"] for found in result.summary["evaluators"]] == shares
    assert evaluations(tmp_path / "run") == evaluations(serial_run)
    assert_same_parameters(tmp_path / "run", serial_run)


def test_no_evaluator_no_evaluation(pendulum: Path, serial_run: Path, tmp_path: Path) -> None:
    topology = replace(SERIAL, evaluators=Role(0))
    result = train(recipe(pendulum), topology, CADENCE, run=tmp_path / "run", environment=PENDULUM)
    assert result.summary["evaluators"] == result.evaluations == []
    assert_same_parameters(tmp_path / "run", serial_run)


# --- Discounted returns ---

DOUBLING = "quiver-tests/Doubling-v0"


class Doubling(gym.Env[Any, Any]):
    """Rewards 1, 2, 4 for an even seed and 1, 2 for an odd one, whatever is done."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None
        self.done, self.length = 0, 2 if seed % 2 else 3
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.done += 1
        return np.zeros(1, np.float32), 2.0 ** (self.done - 1), self.done == self.length, False, {}


def test_the_discounted_return_is_in_the_units_of_q() -> None:
    if DOUBLING not in gym.registry:
        gym.register(DOUBLING, entry_point=lambda: Doubling())
    knobs = {"hidden": (4,), "discount": 0.5, "reward_scale": 3.0, "reward_shift": -1.0}
    algorithm = AlgorithmSpec("iql", knobs, Spaces(Box((1,)), Box((1,), low=(-1.0,), high=(1.0,))), None, seed=0)
    evaluator = Evaluator(algorithm, EvaluationSpec(EnvSpec(DOUBLING), episodes=3, seed=0), threads=1)
    found = evaluator.evaluate(algorithm.create("cpu").policy_weights())
    # As the algorithm sees them the rewards are 2, 5, 11 (seeds 0 and 2) and 2, 5 (seed 1).
    even, odd = 2 + 5 / 2 + 11 / 4, 2 + 5 / 2
    assert found["discounted_return"] == pytest.approx((even + odd + even) / 3, rel=1e-12)
    assert found["return_mean"] == pytest.approx((7 + 3 + 7) / 3, rel=1e-12)  # as the environment gave them


def test_a_run_records_it(serial_run: Path) -> None:
    algorithm, _ = load_policy(serial_run)
    gamma = algorithm.requires.discount
    again = envs.evaluate(PENDULUM, acting(algorithm, seed=0), episodes=3, seed=0, discount=gamma)
    last = evaluations(serial_run)[-1]
    assert (
        last["discounted_return"]
        == again.discounted_return_mean
        == headline(again, algorithm.requires)["discounted_return"]
    )
    # Pendulum's rewards are all below zero: discounting brings the sum nearer to it.
    assert last["return_mean"] < last["discounted_return"] < 0


# --- Stochastic evaluation ---


@pytest.fixture(scope="module")
def stochastic_run(pendulum: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stochastic") / "run"
    train(recipe(pendulum), SERIAL, replace(CADENCE, eval_stochastic=True), run=run, environment=PENDULUM)
    return run


def test_drawn_actions_score_otherwise_and_train_the_same(serial_run: Path, stochastic_run: Path) -> None:
    modes, draws = evaluations(serial_run), evaluations(stochastic_run)
    assert [record["step"] for record in draws] == [record["step"] for record in modes]
    assert all(a["return_mean"] != b["return_mean"] for a, b in zip(modes, draws, strict=True))
    assert_same_parameters(serial_run, stochastic_run)


def test_drawn_actions_are_drawn_again_from_the_seed(stochastic_run: Path) -> None:
    algorithm, kept = load_policy(stochastic_run)
    assert kept["cadence"]["eval_stochastic"] is True
    spec = AlgorithmSpec("iql", {"hidden": (16, 16)}, algorithm.spaces, kept["statistics"], seed=0)
    evaluator = Evaluator(spec, EvaluationSpec(PENDULUM, 3, 0, (-200.0, 0.0), stochastic=True), threads=1)
    weights = algorithm.policy_weights()
    first = evaluator.evaluate(weights)
    assert evaluator.evaluate(weights) == first == _scores(evaluations(stochastic_run)[-1])
    act = acting(algorithm, seed=0, deterministic=False)
    assert envs.evaluate(PENDULUM, act, episodes=3, seed=0).return_mean == first["return_mean"]


def _scores(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "step"}


def test_the_option_is_recorded_and_said_again() -> None:
    options = command.parse(["--dataset", "logs", "--run", "run", "--algo", "iql", "--eval-stochastic"])
    cadence = command.settle(options)[2]
    assert cadence.eval_stochastic
    drawn = config(cadence=vars(cadence))
    assert "--eval-stochastic" in shlex.split(reproduce.train_command(drawn, "again"))
    assert shlex.split(str(reproduce.evaluate_command(drawn, "again")))[-3:] == ["--episodes", "20", "--stochastic"]
    assert "stochastic" not in reproduce.train_command(config(), "again")
    assert "stochastic" not in str(reproduce.evaluate_command(config(), "again"))


def test_runs_from_before_the_option_still_open(tmp_path: Path) -> None:
    old = config()
    del old["cadence"]["eval_stochastic"]
    run = write_run(tmp_path / "run", cadence=old["cadence"])
    options = command.parse(["--run", str(run), "--resume"])
    assert command.settle(options)[2] == Cadence(eval_every=2_000, eval_stochastic=False)
    assert "stochastic" not in str(reproduce.evaluate_command(old, "again"))
