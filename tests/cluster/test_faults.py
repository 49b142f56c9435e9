"""Real processes killed in the middle of a run: it ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import RunError
from cluster.options import Cadence, Role
from cluster.train import RunResult, train
from tests.cluster.processes import actor_processes, kill, records, wait_until
from tests.cluster.runs import assert_all_worked, assert_same_parameters, on_ray, parameters, recipe, run_once

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("faults")]

pytest.importorskip("ray")

STEPS = 1_200
CADENCE = Cadence(log_every=4, validate_every=0, checkpoint_every=200)


@pytest.fixture(scope="module")
def unharmed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("unharmed") / "run"
    run_once(where, recipe(dataset, steps=STEPS))
    return where


def during(run: Path, lines: int, harm: Callable[[], None]) -> threading.Thread:
    """A thread that does harm once a run has written so many lines of metrics."""

    def wait_and_harm() -> None:
        wait_until(lambda: records(run) >= lines, f"{lines} lines of metrics")
        harm()

    thread = threading.Thread(target=wait_and_harm)
    thread.start()
    return thread


def kill_one(role: str, killed: list[int]) -> Callable[[], None]:
    def harm() -> None:
        killed.append(actor_processes(role)[0])
        kill(killed[-1])

    return harm


def harmed_run(dataset: Path, run: Path, harm: Callable[[], None], lines: int = 60) -> RunResult:
    thread = during(run, lines, harm)
    result = train(recipe(dataset, steps=STEPS), on_ray(updaters=2, shards=2), CADENCE, run=run)
    thread.join()
    return result


def test_an_updater_and_a_shard_actor_killed_change_nothing(dataset: Path, unharmed: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def harm() -> None:
        kill_one("BellmanUpdater", killed)()
        kill_one("ReplayShard", killed)()

    result = harmed_run(dataset, tmp_path / "run", harm)
    assert len(killed) == 2
    assert_all_worked(result, updaters=2, shards=2)
    assert result.summary["learner_restarts"] == 0
    assert_same_parameters(unharmed, tmp_path / "run")


def test_a_learner_that_dies_is_restarted_from_the_last_checkpoint(
    dataset: Path, unharmed: Path, tmp_path: Path
) -> None:
    killed: list[int] = []
    result = harmed_run(dataset, tmp_path / "run", kill_one("Learner", killed), lines=120)
    assert len(killed) == 1
    assert result.summary["learner_restarts"] == 1
    assert_same_parameters(unharmed, tmp_path / "run")


def test_a_learner_that_dies_before_the_first_checkpoint_begins_again(
    dataset: Path, unharmed: Path, tmp_path: Path
) -> None:
    result = harmed_run(dataset, tmp_path / "run", kill_one("Learner", []), lines=5)
    assert result.summary["learner_restarts"] == 1
    assert_same_parameters(unharmed, tmp_path / "run")


def test_a_learner_that_keeps_dying_is_given_up_and_can_be_resumed(
    dataset: Path, unharmed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = threading.Event()

    def keep_killing() -> None:
        wait_until(lambda: records(run) >= 80, "80 lines of metrics")
        while not done.is_set():
            for process in actor_processes("Learner"):
                kill(process)
            time.sleep(0.2)

    thread = threading.Thread(target=keep_killing)
    thread.start()
    try:
        with pytest.raises(RunError, match="the learner died 4 times"):
            train(recipe(dataset, steps=STEPS), on_ray(updaters=1, shards=1), CADENCE, run=run)
    finally:
        done.set()
        thread.join()
    train(recipe(dataset, steps=STEPS), on_ray(updaters=1, shards=1), CADENCE, run=run, resume=True)
    assert_same_parameters(unharmed, run)


def test_a_late_chunk_is_given_to_a_second_updater(dataset: Path, unharmed: Path, tmp_path: Path) -> None:
    """A stopped process is neither dead nor answering, as on a machine that swaps."""
    stopped: list[int] = []

    def harm() -> None:
        stopped.append(actor_processes("BellmanUpdater")[0])
        os.kill(stopped[0], signal.SIGSTOP)

    thread = during(tmp_path / "run", 60, harm)
    topology = replace(on_ray(updaters=2, shards=1), late_chunk_seconds=0.5)
    train(recipe(dataset, steps=STEPS), topology, CADENCE, run=tmp_path / "run")
    thread.join()
    assert len(stopped) == 1
    assert_same_parameters(unharmed, tmp_path / "run")


def test_two_learners_agree_with_one(dataset: Path, unharmed: Path, tmp_path: Path) -> None:
    """Each takes half of every batch; averaged gradients round differently, so to a tolerance and over few steps."""
    short = recipe(dataset, steps=24)
    run_once(tmp_path / "one", short)
    two = replace(on_ray(updaters=1, shards=1), learners=Role(2, num_cpus=0.1))
    train(short, two, CADENCE, run=tmp_path / "two")
    one, other = parameters(tmp_path / "one"), parameters(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)
