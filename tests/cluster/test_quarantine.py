"""Fine-tuning with a robot that measures what is no number: its episode is left out, and the run goes on."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import replay
from cluster.build import AlgorithmSpec
from cluster.errors import RunError
from cluster.roles.env_runner import EnvRunner, RunnerSpec
from envs import EnvError, EnvSpec, Exploration
from tests.cluster import online_runs
from tests.cluster.online_runs import ONLINE, online_recipe
from tests.cluster.runs import SMALL, SPACES, assert_same_parameters
from tests.damaged_reach import ID


def robot(what: str, first: int = 1, every: int = 3) -> EnvSpec:
    return EnvSpec(ID, kwargs={"what": what, "first": first, "every": every})


def run(where: Path, dataset: Path, environment: EnvSpec, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(online_runs, "REACH", environment)
    return online_runs.run_online(where, online_recipe(dataset), replace(ONLINE, env_steps=60)).summary


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("observation", r"observation: NaN or infinite in 1 of 5 rows, first at step 2"),
        ("reward", r"reward: NaN or infinite in 1 of 4 rows, first at step 1"),
        ("large reward", r"reward: NaN or infinite in 1 of 4 rows, first at step 1"),
    ],
)
def test_a_damaged_episode_is_left_out_and_the_run_goes_on(
    what: str,
    reason: str,
    dataset: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with caplog.at_level(logging.WARNING):
        summary = run(tmp_path / "run", dataset, robot(what), monkeypatch)
    assert caplog.text.count("the policy is shown 0 in their place") == (what == "observation")
    # Of four steps each; episodes 1, 4, 7, … are damaged, fifteen whole ones are wanted.
    assert (summary["env_steps"], summary["fresh_episodes"], summary["quarantined"]) == (60, 15, 7)
    (runner,) = summary["runners"]
    assert (runner["steps"], runner["episodes"], runner["quarantined"]) == (88, 15, 7)
    assert (runner["failures"], runner["dropped"]) == (0, False)
    stored = replay.open(tmp_path / "run" / "online", verify=True)
    assert (stored.num_transitions, stored.num_episodes) == (60, 15)
    ids = [json.loads(line)["id"] for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert ids[:5] == ["0-0-1", "0-0-3", "0-0-4", "0-0-6", "0-0-7"]
    warnings = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(warnings) == 7
    assert warnings[0].startswith(f"env_runner-0: episode 0-0-2, {reason}")
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["quarantined"] for record in metrics if record["kind"] == "train"][-1] == 7


def test_two_runs_of_one_recipe_are_the_same(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        run(tmp_path / name, dataset, robot("observation"), monkeypatch)
    assert_same_parameters(tmp_path / "one", tmp_path / "other")


def test_a_robot_that_measures_nothing_else_is_left_out(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = (
        r"no environment runner is left: the last one gave 5 damaged episodes in a row in each of its environments, "
        r"with episode 0-0-7, observation: NaN .* go on with --resume"
    )
    with pytest.raises(RunError, match=message):
        run(tmp_path / "run", dataset, robot("observation", first=2, every=1), monkeypatch)
    assert replay.open(tmp_path / "run" / "online").num_episodes == 2


def runner(environment: EnvSpec, num_envs: int) -> EnvRunner:
    algorithm = AlgorithmSpec("iql", {**SMALL}, SPACES, None, 0)
    return EnvRunner(0, RunnerSpec(algorithm, environment, num_envs, "sync", True, Exploration(), 0, 1))


def test_the_other_episodes_of_a_rollout_are_handed_over_and_counted() -> None:
    sound = runner(robot("observation", first=0, every=2), num_envs=3)
    report, episodes = sound.collect(0, 0, sound._algorithm.policy_weights(), 9)
    assert [fresh.id for fresh in episodes] == ["0-0-4", "0-0-5", "0-0-6"]
    assert (report.taken, report.pending, report.episodes, report.ended) == (27, 3, 3, 12)
    assert len(report.quarantined) == 3
    assert report.damaged_in_a_row == 0
    report, episodes = sound.cut()
    assert (report.episodes, report.ended, report.pending, len(episodes)) == (3, 3, 0, 3)


def test_an_episode_tells_all_versions_of_the_weights_that_acted_in_it() -> None:
    # Two environments, episodes of four steps: the second of each is half way when the weights change.
    whole = runner(robot("observation", first=1000, every=1000), num_envs=2)
    weights = whole._algorithm.policy_weights()
    first, second = (whole.collect(0, version, weights, steps) for version, steps in ((0, 6), (8, 6)))
    assert [fresh.versions for fresh in (*first[1], *second[1])] == [(0,), (0,), (0, 8), (0, 8), (8,), (8,)]
    assert (first[0].version, second[0].version) == (0, 8)


def test_one_broken_environment_among_others_is_no_reason_to_leave_the_runner_out() -> None:
    broken = runner(robot("reward", first=0, every=1), num_envs=2)
    weights = broken._algorithm.policy_weights()
    assert broken.collect(0, 0, weights, 20)[0].damaged_in_a_row == 5
    assert broken._rollout is not None
    envs = broken._rollout._vector.envs  # type: ignore[union-attr]
    envs[0].unwrapped._every = 1000
    report, episodes = broken.collect(1, 0, weights, 8)
    assert (len(episodes), len(report.quarantined), report.damaged_in_a_row) == (2, 2, 0)


def test_an_action_that_is_no_number_does_not_reach_the_robot() -> None:
    odd = runner(EnvSpec("tests.point_reach:PointReach-v0"), num_envs=1)
    weights = odd._algorithm.policy_weights()
    with pytest.raises(EnvError, match=r"PointReach-v0: the policy gave nan in its actions, expected finite numbers"):
        odd.collect(0, 0, np.full_like(weights, np.nan), 12)
    report, episodes = odd.collect(1, 1, weights, 12)
    assert (len(episodes), report.taken) == (1, 12)
