"""Fine-tuning on Ray while its processes are killed: what was acknowledged is there once, what was learned the same."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import replay
from cluster import runner_pool
from cluster.finetune import finetune
from cluster.online_source import OnlineSource
from cluster.options import OnlineRecipe, Role, Topology
from envs import EnvSpec
from replay.online.store import OnlineReader
from tests.cluster.online_runs import QUIET, online_recipe, run_online
from tests.cluster.processes import actor_processes, kill, wait_until
from tests.cluster.runs import SERIAL, assert_same_parameters, on_ray
from tests.damaged_reach import BLIND
from tests.point_reach import FRAGILE, STALLING

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("online_faults")]

pytest.importorskip("ray")

ONLINE = OnlineRecipe(env_steps=1_200, rollout_steps=10, envs_per_runner=2, slack=200.0)
CADENCE = replace(QUIET, checkpoint_every=40)
VICTIMS = ("EnvRunner", "OnlineWriter", "ReplayShard", "BellmanUpdater", "Learner", "EnvRunner", "OnlineWriter")
SEED = 0
"""Of the order in which they die, and of when."""


def topology(**changes: Any) -> Topology:
    roles = {"env_runners": Role(2, num_cpus=0.1), "online_writers": Role(1, num_cpus=0.1)}
    return replace(on_ray(updaters=1, shards=2), **roles, max_restarts=20, **changes)


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids that the writer answered for, as the driver heard it."""
    heard: list[str] = []
    original = OnlineSource._acknowledged

    def listening(source: OnlineSource, insert: Any) -> None:
        answer = source._backend.get(insert.acknowledgement)
        heard.extend((*answer.accepted, *answer.duplicates))
        original(source, insert)

    monkeypatch.setattr(OnlineSource, "_acknowledged", listening)
    return heard


def replayed(run: Path, where: Path) -> Path:
    """The same run again from its record: configuration, store and snapshots, without runners that do anything."""
    where.mkdir()
    for name in ("config.json", "snapshots.jsonl"):
        shutil.copy(run / name, where / name)
    shutil.copytree(run / "online", where / "online")
    return where


def test_whatever_is_killed_acknowledged_episodes_are_stored_exactly_once(
    dataset: Path, tmp_path: Path, acknowledged: list[str]
) -> None:
    run, ended = tmp_path / "run", threading.Event()
    killed: list[str] = []

    def harm() -> None:
        wait_until(lambda: ended.is_set() or (run / "online" / "store.json").exists(), "the store")
        reader, chance = OnlineReader(run / "online"), random.Random(SEED)
        # Death strikes at a step of the run that has nothing to do with what its victim is doing.
        steps = sorted(chance.sample(range(ONLINE.env_steps * 4 // 5), len(VICTIMS)))
        for due, role in zip(steps, chance.sample(VICTIMS, len(VICTIMS)), strict=True):
            wait_until(partial(arrived, reader, due), f"{due} environment steps")
            wait_until(lambda role=role: bool(actor_processes(role)), f"a living {role}")
            kill(chance.choice(actor_processes(role)))
            killed.append(role)

    def arrived(reader: OnlineReader, due: int) -> bool:
        return ended.is_set() or (bool(reader.refresh()) and reader.transitions >= due)

    thread = threading.Thread(target=harm)
    thread.start()
    recipe = online_recipe(dataset, fused=False, depth=1)
    try:
        result = run_online(run, recipe, ONLINE, topology(), CADENCE)
    finally:
        ended.set()
        thread.join()
    assert sorted(killed) == sorted(VICTIMS)
    assert result.summary["learner_restarts"] >= 1
    assert result.steps == 1_200
    assert result.summary["env_steps"] >= 1_200
    stored = OnlineReader(run / "online")
    assert len(set(stored.ids)) == len(stored.ids)
    assert set(acknowledged) == set(stored.ids)
    logged = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    assert [line["id"] for line in logged] == list(stored.ids)
    whole = replay.open(run / "online", verify=True)
    assert whole.num_transitions == stored.transitions == result.summary["env_steps"]
    # Nothing that was killed changed what was learned from what was gathered.
    again = replayed(run, tmp_path / "again")
    run_online(again, recipe, ONLINE, SERIAL, CADENCE, resume=True)
    assert_same_parameters(run, again)


def test_a_run_that_was_killed_goes_on_with_all_it_had(dataset: Path, tmp_path: Path) -> None:
    """The driver and everything with it: a process of its own, ended by SIGKILL."""
    run = tmp_path / "run"
    program = Path(__file__).with_name("long_finetune.py")
    process = subprocess.Popen([sys.executable, str(program), str(dataset), str(run)])
    reader = None

    def far_enough() -> bool:
        nonlocal reader
        if not (run / "checkpoints" / "LATEST").exists():
            return False
        reader = reader or OnlineReader(run / "online")
        return bool(reader.refresh()) and reader.transitions >= 300

    wait_until(far_enough, "300 environment steps and a checkpoint")
    process.kill()
    process.wait()
    before = OnlineReader(run / "online").ids
    assert before
    subprocess.run([sys.executable, str(program), str(dataset), str(run), "--resume"], check=True, timeout=240)
    after = OnlineReader(run / "online")
    assert after.ids[: len(before)] == before
    assert len(set(after.ids)) == len(after.ids)
    assert after.transitions >= 600
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 600


def test_a_runner_that_keeps_failing_is_left_out(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two robots never gets beyond its third step."""
    monkeypatch.setattr(runner_pool, "FIRST_PAUSE", 0.01)
    online = replace(ONLINE, env_steps=400, envs_per_runner=1)
    result = finetune(
        online_recipe(dataset),
        online,
        topology(),
        QUIET,
        run=tmp_path / "run",
        environment=EnvSpec(FRAGILE, {"folder": str(tmp_path)}),
    )
    assert result.summary["env_steps"] >= 400
    dropped = [runner for runner in result.summary["runners"] if runner["dropped"]]
    assert len(dropped) == 1
    assert dropped[0]["failures"] == 5
    assert dropped[0]["episodes"] == 0


def test_a_robot_that_measures_nothing_but_nan_is_left_out(dataset: Path, tmp_path: Path) -> None:
    """One of two; the episodes of the other are all there is, and what was learned from them is learned again."""
    run, online = tmp_path / "run", replace(ONLINE, env_steps=400, envs_per_runner=1)
    environment = EnvSpec(BLIND, {"folder": str(tmp_path)})
    result = finetune(online_recipe(dataset), online, topology(), QUIET, run=run, environment=environment)
    blind, seeing = sorted(result.summary["runners"], key=lambda runner: runner["episodes"])
    # A rollout may end with more than one episode.
    assert (blind["episodes"], blind["dropped"], blind["failures"]) == (0, True, 0)
    assert blind["quarantined"] >= 5
    assert (seeing["quarantined"], seeing["dropped"]) == (0, False)
    assert result.summary["quarantined"] == blind["quarantined"]
    stored = replay.open(run / "online", verify=True)
    assert stored.num_transitions == result.summary["env_steps"] >= 200
    again = replayed(run, tmp_path / "again")
    finetune(online_recipe(dataset), online, SERIAL, QUIET, run=again, environment=environment, resume=True)
    assert_same_parameters(run, again)


def test_a_robot_that_stalls_is_not_waited_for_and_welcome_when_it_returns(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One of two does not answer for a third of the run, returns, and then hangs for good."""
    run = tmp_path / "run"

    def answer() -> None:
        wait_until(lambda: (run / "online" / "store.json").exists(), "the store")
        reader = OnlineReader(run / "online")
        wait_until(lambda: bool(reader.refresh()) and reader.transitions >= 200, "200 steps of the other robot")
        (tmp_path / "answer").touch()

    thread = threading.Thread(target=answer)
    thread.start()
    with caplog.at_level(logging.WARNING, logger=runner_pool.__name__):
        result = finetune(
            online_recipe(dataset),
            replace(ONLINE, env_steps=600, envs_per_runner=1),
            topology(),
            QUIET,
            run=run,
            environment=EnvSpec(STALLING, {"folder": str(tmp_path)}),
            stalled_seconds=0.5,
        )
    thread.join()
    assert result.steps == 600
    assert result.summary["env_steps"] >= 600
    assert "has not answered for 0 s; going on without it" in caplog.text
    few, many = sorted(runner["steps"] for runner in result.summary["runners"])
    assert 3 <= few <= 100 < many
    assert all(runner["episodes"] and not runner["failures"] for runner in result.summary["runners"])
