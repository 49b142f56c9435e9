"""Environments that end their process, or never come back, on Ray: a runner is left out, a run says why it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import runner_pool
from cluster.backends.backend import ActorEndedError
from cluster.finetune import finetune
from cluster.options import Cadence, OnlineRecipe, Role, Topology
from cluster.roles.env_runner import EnvRunner
from cluster.roles.evaluator import Evaluator
from cluster.runner_pool import NoRunnerError
from cluster.train import train
from envs import EnvSpec, EnvStalledError
from tests.cluster.online_runs import QUIET, online_recipe
from tests.cluster.runs import on_ray, recipe
from tests.nonsense_envs import SHORT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("nonsense_on_ray")]

pytest.importorskip("ray")

ONLINE = OnlineRecipe(env_steps=60, rollout_steps=5)
EVALUATING = Cadence(log_every=8, validate_every=0, checkpoint_every=8, eval_every=8, eval_episodes=2)


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process takes seconds to start again, and need do so but once here."""
    monkeypatch.setattr(runner_pool, "FAILURES", 1)
    monkeypatch.setattr(EnvRunner, "retries", 0)
    monkeypatch.setattr(Evaluator, "retries", 0)


def topology(seconds: float = 600.0) -> Topology:
    roles = {"env_runners": Role(1, num_cpus=0.1), "online_writers": Role(1, num_cpus=0.1)}
    return replace(on_ray(updaters=0, shards=1), **roles, env_timeout=seconds)


@pytest.mark.parametrize(
    ("what", "seconds", "message"),
    [
        (
            "raises SystemExit",
            600.0,
            rf"failed 1 times in a row, with environment {SHORT}, .*: raised SystemExit: 3 at",
        ),
        ("raises exit", 600.0, r"failed 1 times in a row, with env_runner-0: its process ended in the same call"),
        ("raises hang", 5.0, rf"hangs in its environment, with environment {SHORT}, 1 side by side .*: step 2 has"),
    ],
)
def test_the_last_runner_is_left_out_and_the_run_says_why(
    what: str, seconds: float, message: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(NoRunnerError, match=f"no environment runner is left: the last one {message}"):
        finetune(
            online_recipe(dataset),
            ONLINE,
            topology(seconds),
            QUIET,
            run=tmp_path / "run",
            environment=EnvSpec(SHORT, {"what": what}),
        )


@pytest.mark.parametrize(
    ("what", "seconds", "error", "message"),
    [
        ("raises exit", 600.0, ActorEndedError, r"evaluator-0: its process ended in the same call each time"),
        ("raises hang", 0.5, EnvStalledError, r"seed 0: step 2 has not come back for 0.5 s"),
    ],
)
def test_an_evaluation_that_cannot_be_made_ends_the_run(
    what: str, seconds: float, error: type[Exception], message: str, dataset: Path, tmp_path: Path
) -> None:
    environment: Any = EnvSpec(SHORT, {"what": what})
    with pytest.raises(error, match=message):
        train(recipe(dataset, fused=True), topology(seconds), EVALUATING, run=tmp_path / "run", environment=environment)
