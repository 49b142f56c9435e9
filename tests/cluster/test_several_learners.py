"""Several learners: each is given its own rows, all move as one, and what dies or stops changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.backends.serial_backend import SerialBackend
from cluster.loop import rows_of_rank
from cluster.options import Cadence, Role, Topology
from cluster.roles.bellman_updater import LabelledChunk, part_of_rank
from cluster.train import train
from replay.batch import Batch
from replay.rows import Rows
from tests.cluster.processes import actor_processes, kill, wait_until
from tests.cluster.runs import QUIET, assert_same_parameters, on_ray, parameters, recipe, run_once

SAVING = Cadence(log_every=4, validate_every=0, checkpoint_every=40)


def numbered(*numbers: int) -> Rows:
    index = np.array(numbers)
    zeros = np.zeros_like(index)
    return Rows(index, zeros, index, zeros + 1, zeros)


# --- Whose rows are whose ---


def test_each_learner_asks_for_its_part_of_every_draw() -> None:
    drawn = [numbered(0, 1, 2, 3), numbered(4, 5, 6, 7)]
    assert [part.index.tolist() for part in rows_of_rank(drawn, 0, 2)] == [[0, 1], [4, 5]]
    assert [part.index.tolist() for part in rows_of_rank(drawn, 1, 2)] == [[2, 3], [6, 7]]
    assert rows_of_rank(drawn, 0, 1) is drawn


def test_labelled_chunks_are_divided_in_the_same_way() -> None:
    numbers = np.arange(8, dtype=np.float32)
    ends = np.zeros(8, np.uint8)
    batch = Batch(numbers[:, None], numbers, numbers, numbers, numbers, ends, ends, np.arange(8))
    chunk = LabelledChunk(batch, {"q": 10 * numbers})
    parts = [part_of_rank(chunk, rank, 2, draws=2) for rank in range(2)]
    assert [part.batch.index.tolist() for part in parts] == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert [part.targets["q"].tolist() for part in parts if part.targets] == [[0, 10, 40, 50], [20, 30, 60, 70]]
    assert part_of_rank(LabelledChunk(batch, None), 0, 2, draws=2).targets is None


# --- Which weights travel ---


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of methods whose answers or arguments are weights, in their order."""
    calls: list[str] = []
    call = SerialBackend.call

    def recording(self: SerialBackend, actor: Any, method: str, *arguments: Any, returns: int = 1) -> Any:
        answer = call(self, actor, method, *arguments, returns=returns)
        if "weights" in method or method in ("label", "evaluate", "collect"):
            calls.append(method)
        if method == "train":
            calls.append("train, which publishes" if answer[1] is not None else "train")
        return answer

    monkeypatch.setattr(SerialBackend, "call", recording)
    return calls


def test_a_fused_run_publishes_no_weights(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    run_once(tmp_path / "run", recipe(dataset, fused=True))
    assert calls == []


def test_a_labelled_run_publishes_a_version_for_each_chunk(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    run_once(tmp_path / "run", recipe(dataset))
    assert calls.count("target_weights") == 1
    assert calls.count("train, which publishes") == calls.count("label") == 6
    assert len(calls) == 13


# --- Over Ray ---


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def two_learners(updaters: int = 1) -> Topology:
    return replace(on_ray(updaters=updaters, shards=1), learners=Role(2, num_cpus=0.1))


@pytest.mark.slow
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("changes", [{"label_reuse": 2}, {"fused": True}], ids=["reused", "fused"])
def test_they_agree_with_one(dataset: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Averaged gradients round differently: so to a tolerance, and over few steps."""
    short = recipe(dataset, **changes)
    run_once(tmp_path / "one", short)
    train(short, two_learners(), QUIET, run=tmp_path / "two")
    one, other = parameters(tmp_path / "one"), parameters(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("session")
def test_stopped_and_resumed_or_with_a_rank_killed_they_end_the_same(dataset: Path, tmp_path: Path) -> None:
    """Labels of two updaters, reused: stopped half way, with one updater then, and with the second rank killed."""
    steps = 240
    whole = recipe(dataset, steps=steps, label_reuse=2)
    train(whole, two_learners(), SAVING, run=tmp_path / "whole")

    train(replace(whole, steps=steps // 2), two_learners(2), SAVING, run=tmp_path / "stopped")
    train(whole, two_learners(), SAVING, run=tmp_path / "stopped", resume=True)
    assert_same_parameters(tmp_path / "whole", tmp_path / "stopped")

    killed: list[int] = []

    def kill_a_rank() -> None:
        wait_until(lambda: (tmp_path / "killed" / "checkpoints" / "LATEST").exists(), "a checkpoint")
        killed.append(actor_processes("Learner")[-1])
        kill(killed[0])

    thread = threading.Thread(target=kill_a_rank)
    thread.start()
    result = train(whole, two_learners(2), SAVING, run=tmp_path / "killed")
    thread.join()
    assert len(killed) == 1
    assert result.summary["learner_restarts"] == 1
    assert_same_parameters(tmp_path / "whole", tmp_path / "killed")
