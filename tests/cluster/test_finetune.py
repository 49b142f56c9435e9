"""Fine-tuning in one process: what is gathered, what is learned from, and what is left behind."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import replay
from cluster.errors import RunError
from cluster.finetune import finetune
from cluster.options import Cadence, OnlineRecipe
from cluster.roles.env_runner import next_sequence
from cluster.run_folder import RunFolder
from cluster.train import train
from envs import EnvError, EnvSpec
from replay import DataError
from tests.cluster.online_runs import ONLINE, QUIET, REACH, beginning_of, online_recipe, run_online
from tests.cluster.runs import KNOBS, SERIAL, assert_same_parameters, parameters, recipe, run_once


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def episodes(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


# --- What is gathered ---


def test_the_budget_is_met_to_the_step_and_the_store_is_a_dataset(dataset: Path, tmp_path: Path) -> None:
    result = run_online(tmp_path / "run", online_recipe(dataset))
    assert result.summary["env_steps"] == 120
    assert result.steps == 120
    gathered = replay.open(tmp_path / "run" / "online", verify=True)
    assert gathered.num_transitions == 120
    assert gathered.num_episodes == result.summary["fresh_episodes"]
    told = episodes(tmp_path / "run")
    assert [episode["length"] for episode in told] == gathered.episodes["length"].tolist()
    assert told[-1]["env_steps"] == 120
    assert len({episode["id"] for episode in told}) == len(told)
    # The last episode was cut by the budget: one bootstraps from its end.
    assert gathered.episodes["truncated"][-1] == 1
    provenance = gathered.provenance
    assert provenance["env_spec"] == {"id": REACH.id}
    assert provenance["collected_by"] == "policy"
    assert provenance["stochastic"] is True


def test_every_gradient_step_is_worth_its_environment_steps(dataset: Path, tmp_path: Path) -> None:
    online = replace(ONLINE, updates_per_step=0.5, learning_starts=40)
    assert run_online(tmp_path / "run", online_recipe(dataset), online).steps == 40


def test_learning_and_interaction_stay_within_their_bounds(dataset: Path, tmp_path: Path) -> None:
    online = replace(ONLINE, env_steps=200, slack=20.0)
    run_online(tmp_path / "run", online_recipe(dataset), online, cadence=replace(QUIET, log_every=4))
    told = records(tmp_path / "run", "train")
    apart = [record["env_steps"] - record["step"] for record in told]
    # An episode under way, of up to 12 steps, is not stored yet.
    assert min(apart) >= -20
    assert max(apart) <= 20 + 12


def test_two_runs_of_one_recipe_are_the_same(dataset: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        run_online(tmp_path / name, online_recipe(dataset), replace(ONLINE, envs_per_runner=2))
    assert_same_parameters(tmp_path / "one", tmp_path / "other")
    one, other = (replay.open(tmp_path / name / "online") for name in ("one", "other"))
    batches = [data.sample(seed=0, sequence=0, count=64) for data in (one, other)]
    np.testing.assert_array_equal(batches[0].observation, batches[1].observation)


# --- Where it begins ---


def test_it_begins_with_the_offline_policy_and_its_normalisation(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "offline", recipe(dataset, fused=True))
    before = parameters(tmp_path / "offline")
    start = beginning_of(tmp_path / "offline")
    online = replace(ONLINE, env_steps=8, rollout_steps=4, learning_starts=4, updates_per_step=1.0)
    run_online(tmp_path / "run", online_recipe(dataset, chunk_steps=4), online, init=start)
    after = parameters(tmp_path / "run")
    assert after["step"] == before["step"] + 4
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["statistics"] == RunFolder(tmp_path / "offline").read_config()["statistics"]
    (stage,) = config["init"]
    assert (stage["name"], stage["run"], stage["checkpoint"]) == ("all", str(tmp_path / "offline"), "step-000000024")
    file = tmp_path / "offline" / "checkpoints" / "step-000000024" / "learner.safetensors"
    assert stage["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    moved = [name for name in before if name.startswith("policy") and not np.array_equal(before[name], after[name])]
    assert moved


@pytest.mark.parametrize("algorithm", ["sac", "td3", "iql"])
def test_without_logs_it_learns_from_fresh_data_alone(algorithm: str, tmp_path: Path) -> None:
    online = replace(ONLINE, env_steps=60, learning_starts=30, noise=0.1)
    result = run_online(tmp_path / "run", online_recipe(None, algorithm), online)
    assert result.summary["env_steps"] == 60
    assert {record["fresh_share"] for record in records(tmp_path / "run", "train")} == {1.0}


@pytest.mark.parametrize("algorithm", ["rlpd", "awr", "calql", "qtopt", "awac"])
def test_methods_learn_from_logs_and_fresh_data(algorithm: str, dataset: Path, tmp_path: Path) -> None:
    online = replace(ONLINE, env_steps=60, share=0.5)
    knobs = KNOBS[algorithm] | ({"batch_episodes": 4} if "batch_episodes" in KNOBS[algorithm] else {})
    run_online(tmp_path / "run", online_recipe(dataset, algorithm, knobs=knobs), online)
    assert records(tmp_path / "run", "train")[-1]["fresh_share"] == 0.5


def test_a_share_that_moves_is_told(dataset: Path, tmp_path: Path) -> None:
    online = replace(ONLINE, share=0.1, final_share=0.6)
    run_online(tmp_path / "run", online_recipe(dataset), online, cadence=replace(QUIET, log_every=4))
    shares = [record["fresh_share"] for record in records(tmp_path / "run", "train")]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.1 + 0.5 * 119 / 120)


# --- Eviction and going on ---


def test_what_is_evicted_is_not_sampled_and_not_lost(dataset: Path, tmp_path: Path) -> None:
    result = run_online(tmp_path / "run", online_recipe(dataset), replace(ONLINE, capacity=40))
    left = replay.open(tmp_path / "run" / "online")
    assert left.num_transitions <= 40
    assert result.summary["env_steps"] == 120
    assert sum(episode["length"] for episode in episodes(tmp_path / "run")) == 120


def test_fresh_data_goes_into_the_next_offline_round(dataset: Path, tmp_path: Path) -> None:
    run_online(tmp_path / "run", online_recipe(dataset))
    both = ((str(dataset), None), (str(tmp_path / "run" / "online"), None))
    result = run_once(tmp_path / "next", replace(recipe(dataset), datasets=both))
    assert result.steps == 24


def test_a_run_is_prolonged(dataset: Path, tmp_path: Path) -> None:
    run_online(tmp_path / "run", online_recipe(dataset), replace(ONLINE, env_steps=60))
    result = run_online(tmp_path / "run", online_recipe(dataset), ONLINE, resume=True)
    assert result.summary["env_steps"] == 120
    assert result.summary["duplicates"] == 0
    assert result.steps == 120
    told = episodes(tmp_path / "run")
    assert told[-1]["env_steps"] == 120
    assert len({episode["id"] for episode in told}) == len(told)


def test_a_driver_that_goes_on_names_no_episode_again() -> None:
    # Runner 1 was started anew at call 50, long before there were 50 episodes.
    assert next_sequence(["0-0-1", "1-1-1", "1-50-1", "0-0-2"]) == 51
    assert next_sequence([]) == 0


def test_evaluations_know_their_environment_steps(dataset: Path, tmp_path: Path) -> None:
    cadence = Cadence(log_every=20, validate_every=20, checkpoint_every=0, eval_every=40, eval_episodes=2)
    run_online(tmp_path / "run", online_recipe(dataset), cadence=cadence)
    told = records(tmp_path / "run", "evaluation")
    assert [record["step"] for record in told] == [0, 40, 80, 120]
    assert told[0]["env_steps"] == 0
    assert told[-1]["env_steps"] == 120


# --- Refusals ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slack": 2.0}, r"--slack: found 2, expected at least 4\.5"),
        ({"learning_starts": 120}, r"--learning-starts: found 120, but the run ends after 120"),
        ({"updates_per_step": 0.0}, r"--updates-per-step: found 0"),
        ({"env_steps": 0}, r"--env-steps: found 0"),
        ({"share": 1.5}, r"share: found 1\.5"),
        ({"vectorization": "threads"}, r"vectorization: found 'threads'"),
        ({"noise": -1.0}, r"noise: found -1\.0"),
        ({"capacity": 0}, r"--capacity: found 0, expected a whole number"),
    ],
)
def test_bounds_that_are_impossible_are_refused(
    change: dict[str, Any], message: str, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises((RunError, DataError, EnvError), match=message):
        run_online(tmp_path / "run", online_recipe(dataset), OnlineRecipe(**{**vars(ONLINE), **change}))
    assert not (tmp_path / "run").exists()


def test_an_environment_with_other_spaces_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--env Pendulum-v1: observes"):
        finetune(
            online_recipe(dataset), ONLINE, SERIAL, QUIET, run=tmp_path / "run", environment=EnvSpec("Pendulum-v1")
        )
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_recipe(dataset: Path, tmp_path: Path) -> None:
    run_online(tmp_path / "run", online_recipe(dataset), replace(ONLINE, env_steps=40))
    with pytest.raises(RunError, match=r"began with noise = 0\.0, now it is 0\.5"):
        run_online(tmp_path / "run", online_recipe(dataset), replace(ONLINE, env_steps=40, noise=0.5), resume=True)
    with pytest.raises(RunError, match=r"go on with this run by `quiver finetune"):
        train(recipe(dataset), SERIAL, QUIET, run=tmp_path / "run", resume=True)
