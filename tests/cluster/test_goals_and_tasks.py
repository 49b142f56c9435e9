"""Runs that learn goals or tasks: from any checkpoint they go on bit for bit, and what cannot be is refused first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import RunError
from cluster.options import Cadence
from cluster.policy import acting, load_policy
from cluster.train import train
from envs import EnvSpec
from replay import Box, DataError, DatasetWriter, Episode, Spaces
from tests.cluster.runs import KNOBS, SERIAL, assert_same_parameters, recipe, run_once

OFTEN = Cadence(log_every=8, validate_every=8, checkpoint_every=8, keep=9)
TASKS = {**KNOBS["iql"], "tasks": ("push", "pull"), "impersonation": 0.5}
GOALS = {**KNOBS["gcbc"], "goal_future": 0.5, "goal_random": 0.5, "goal_discount": 0.9}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random episodes of two tasks, each with the reward of both."""
    path = tmp_path_factory.mktemp("logs") / "tasks"
    rng = np.random.default_rng(0)
    spaces = Spaces(Box((4,)), Box((2,), low=(-1.0,), high=(1.0,)))
    extras = {name: Box((), "float32") for name in ("reward.push", "reward.pull")}
    with DatasetWriter(path, spaces, provenance={"by": "a test"}, extras=extras, shard_bytes=4_000) as writer:
        for number in range(24):
            last = (np.arange(12) == 11).astype(np.uint8)
            seen = rng.standard_normal((13, 4)).astype(np.float32)
            action, reward = rng.uniform(-1, 1, (12, 2)).astype(np.float32), rng.random(12).astype(np.float32)
            rewards = {"reward.push": reward, "reward.pull": -reward}
            task = ("push", "pull")[number % 2]
            success = None if number == 5 else number % 4 < 2
            writer.add(Episode(seen, action, reward, 0 * last, last, task=task, success=success, extras=rewards))
        writer.finish()
    return path


KINDS: dict[str, dict[str, Any]] = {
    "goals": {"algorithm": "gcbc", "knobs": GOALS, "fused": True},
    "goals by priority": {"algorithm": "gcbc", "knobs": GOALS, "fused": True, "priority_exponent": 0.6},
    "tasks": {"knobs": TASKS},
    "tasks by priority": {"knobs": TASKS, "priority_exponent": 0.6},
    "tasks, labels reused": {"knobs": TASKS, "label_reuse": 2},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(logs: Path, tmp_path: Path, kind: str) -> None:
    asked = recipe(logs, **KINDS[kind])
    run_once(tmp_path / "whole", asked, cadence=OFTEN)
    run_once(tmp_path / "again", asked, cadence=OFTEN)
    train(asked, SERIAL, OFTEN, run=tmp_path / "again", resume=True, resume_from="step-8")
    assert_same_parameters(tmp_path / "whole", tmp_path / "again")


def test_updaters_label_what_a_fused_run_computes(logs: Path, tmp_path: Path) -> None:
    near: dict[str, Any] = {"knobs": TASKS, "depth": 0, "chunk_steps": 1}
    run_once(tmp_path / "labelled", recipe(logs, **near))
    run_once(tmp_path / "fused", recipe(logs, **near, fused=True))
    assert_same_parameters(tmp_path / "labelled", tmp_path / "fused")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"knobs": {**TASKS, "tasks": ("push", "lift")}}, DataError, "no column 'reward.lift' for the reward of task"),
        (
            {"knobs": {**TASKS, "tasks": ("push",), "impersonation": 0.0}},
            DataError,
            "tagged with task 'pull'",
        ),
        ({"knobs": {**TASKS, "balance_tasks": True}}, DataError, "the success of episode 5 is not known"),
        (
            {"knobs": {**TASKS, "balance_tasks": True}, "where": "success >= 0", "shards_per_draw": 1},
            RunError,
            "--balance-tasks: found with --priority-exponent or --shards-per-draw",
        ),
    ],
)
def test_what_the_data_cannot_give_is_refused_before_work(
    logs: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_once(tmp_path / "run", recipe(logs, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "reason"), [("goals", "towards a goal"), ("tasks", "one of several tasks .push, pull")]
)
def test_a_run_that_no_environment_can_instruct_is_not_evaluated(
    logs: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    with pytest.raises(RunError, match=f"--env Pendulum-v1: .*{reason}"):
        train(recipe(logs, **KINDS[kind]), SERIAL, OFTEN, run=tmp_path / "run", environment=EnvSpec("Pendulum-v1"))


def test_a_policy_acts_in_the_task_that_it_is_told(logs: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(logs, knobs=TASKS))
    policy, _ = load_policy(tmp_path / "run")
    seen, first = np.zeros((1, 4), np.float32), np.ones(1, bool)
    pushed, pulled = (acting(policy, seed=0, task=task)(seen, None, first)[0] for task in ("push", "pull"))
    assert not np.array_equal(pushed, pulled)
    with pytest.raises(RunError, match="--task: is missing, expected one of push, pull"):
        acting(policy, seed=0)
    with pytest.raises(RunError, match="--task: found 'lift', expected one of push, pull"):
        acting(policy, seed=0, task="lift")


def test_a_policy_that_needs_a_goal_does_not_act_in_environments(logs: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(logs, **KINDS["goals"]))
    policy, _ = load_policy(tmp_path / "run")
    with pytest.raises(RunError, match="acts towards a goal, and environments give it none yet"):
        acting(policy, seed=0)
