"""`quiver collect`: whose actions they are, and that the dataset says so. Without Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import envs
from cluster import cli
from cluster.commands import collect
from cluster.errors import RunError
from cluster.recording import episode_of
from envs import EnvSpec
from replay import Dataset
from tests.cluster.runs import recipe, run_once

LIMIT = '{"max_episode_steps": 15}'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of IQL on 16 random episodes of Pendulum, hardly trained: its policy is wide."""
    where = tmp_path_factory.mktemp("collect")
    gather(where / "logs", "--policy", "random", "--episodes", "16")
    run_once(where / "run", recipe(where / "logs", steps=4))
    return where / "run"


def gather(out: Path, *arguments: str, env: str = "Pendulum-v1") -> Dataset:
    asked = ["collect", "--env", env, "--env-kwargs", LIMIT, "--out", str(out), "--episodes", "3", *arguments]
    assert cli.main(asked) == 0
    return Dataset.open(out)


def actions(dataset: Dataset) -> list[np.ndarray]:
    return [dataset.episode(number).action for number in range(dataset.num_episodes)]


def told(dataset: Dataset) -> dict[str, Any]:
    names = ("collected_by", "stochastic", "noise", "random_probability")
    return {name: dataset.provenance[name] for name in names}


def test_a_trained_policy_takes_its_mode_or_draws(run: Path, tmp_path: Path) -> None:
    mode = gather(tmp_path / "mode", "--policy", str(run))
    drawn = gather(tmp_path / "drawn", "--policy", str(run), "--stochastic")
    again = gather(tmp_path / "again", "--policy", str(run), "--stochastic")
    by = {"collected_by": "policy", "noise": 0.0, "random_probability": 0.0}
    assert told(mode) == {**by, "stochastic": False}
    assert told(drawn) == {**by, "stochastic": True}
    for one, other, repeated in zip(actions(mode), actions(drawn), actions(again), strict=True):
        np.testing.assert_array_equal(other, repeated)
        # A policy begins with a standard deviation of 1, half of this range of 4; the mode hardly moves.
        assert np.abs(np.diff(one, axis=0)).max() < 0.5 < np.abs(np.diff(other, axis=0)).max()


def test_what_is_added_is_recorded_besides(run: Path, tmp_path: Path) -> None:
    noisy = gather(
        tmp_path / "n", "--policy", str(run), "--stochastic", "--noise", "0.5", "--random-probability", "0.1"
    )
    assert told(noisy) == {"collected_by": "policy", "stochastic": True, "noise": 0.5, "random_probability": 0.1}
    assert noisy.provenance["random_steps"] == 10


def test_random_actions_and_controllers_say_how_random_they_are(tmp_path: Path) -> None:
    found = gather(tmp_path / "random", "--policy", "random")
    assert told(found) == {"collected_by": "random", "stochastic": True, "noise": 0.0, "random_probability": 0.0}
    found = gather(tmp_path / "scripted", "--policy", "scripted", env="PointMaze_UMaze-v3")
    assert told(found) == {"collected_by": "scripted", "stochastic": False, "noise": 0.5, "random_probability": 0.0}


def test_an_oracle_tells_the_noise_of_its_plan_from_that_of_its_actions() -> None:
    found = envs.scripted(EnvSpec("cube-single-v0"), noise=0.3).description
    settings = {"plan_noise": 0.3, "noise": 0.0, "random_probability": 0.0}
    assert found == {"collected_by": "scripted", "policy": "ogbench plan oracle", "stochastic": True, **settings}


@pytest.mark.parametrize("policy", ["random", "scripted"])
def test_only_a_trained_policy_is_drawn_from(policy: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["--env", "PointMaze_UMaze-v3", "--episodes", "1", "--out", str(out), "--policy", policy, "--stochastic"]
    with pytest.raises(RunError, match=f"--stochastic: found with --policy {policy}, expected with a run's folder"):
        collect.run(collect.parse(asked))
    assert not out.exists()


def test_help_tells_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        collect.parse(["--help"])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--stochastic" in said
    assert "Draw a run's actions from its policy instead of taking its mode" in said


def test_an_episode_says_where_it_comes_from(tmp_path: Path) -> None:
    dataset = gather(tmp_path / "random", "--policy", "random", "--seed", "40")
    assert dataset.episodes["source"].tolist() == [f"Pendulum-v1 seed {seed}" for seed in (40, 41, 42)]
    # Of one that a runner gathered, the reset had no seed of its own.
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 2})
    (recorded,) = envs.collect(spec, envs.RandomPolicy(), episodes=1, seed=0)
    assert (
        episode_of(replace(recorded, seed=None), dataset.spaces, source="Pendulum-v1 runner 3").source
        == "Pendulum-v1 runner 3"
    )
