"""What a run takes of a machine is compared with what is there before it is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import replay
from cluster.actor_plan import plan_actors
from cluster.backends import placement
from cluster.backends.backend import Backend
from cluster.backends.placement import check_processes, make_backend
from cluster.backends.serial_backend import SerialBackend
from cluster.errors import RunError
from cluster.footprint import check_environments, row_bytes
from cluster.options import OnlineRecipe, Role, Topology
from cluster.roles.evaluator import EvaluationSpec
from cluster.train import train
from envs import EnvSpec
from replay import memory
from replay.batch import Request
from replay.errors import DataError
from replay.spaces import Box, Dict, Discrete, Image, Spaces
from tests.cluster.runs import QUIET, SERIAL, recipe, run_of

GIGABYTE = 10**9


@pytest.fixture(autouse=True)
def eight_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 8 * GIGABYTE)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})


@pytest.mark.parametrize(
    ("spaces", "request_", "expected"),
    [
        (Spaces(Box((4,)), Box((2,))), Request(), 2 * 16 + 8 + 10 + 8),
        (Spaces(Box((4,), "float64"), Discrete(3)), Request(), 2 * 32 + 8 + 10 + 8),
        (Spaces(Image((64, 64, 3)), Box((2,))), Request(), 2 * 64 * 64 * 3 + 8 + 10 + 8),
        (Spaces(Dict.of({"a": Box((2,)), "b": Box((3,))}), Box((1,))), Request(), 2 * 20 + 4 + 10 + 8),
        (Spaces(Box((4,)), Box((2,))), Request(kind="windows", length=10), 10 * (2 * 16 + 8 + 10) + 8),
        (Spaces(Box((4,)), Box((2,))), Request(history=3), 4 * 2 * 16 + 8 + 10 + 2 * 4 + 8),
        (Spaces(Box((4,)), Box((2,))), Request(action_chunk=5), 2 * 16 + 5 * 8 + 10 + 5 + 8),
    ],
)
def test_bytes_of_a_row(spaces: Spaces, request_: Request, expected: int) -> None:
    assert row_bytes(spaces, request_, None) == expected


def test_episodes_have_as_many_steps_as_the_data(dataset: Path) -> None:
    opened = replay.open(dataset)
    steps = row_bytes(opened.spaces, Request(kind="episodes"), opened.view("all"))
    assert steps == 20 * (2 * 16 + 8 + 10) + 8


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2**24},
        {"chunk_steps": 1_000_000, "steps": 10**6, "batch_size": 4_096},
        {"depth": 10_000, "steps": 10**6, "batch_size": 4_096},
        {"depth": 10_000, "steps": 10**6, "knobs": {"hidden": (1_024, 1_024)}},  # the weights of each chunk
        {"label_reuse": 100, "chunk_steps": 10**6, "steps": 10**6, "batch_size": 1_024},  # the train buffer
    ],
)
def test_batches_that_do_not_fit_are_refused(changes: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    message = r"--batch-size \d+, --chunk-steps \d+, --depth \d+: .* of memory, and 8.0 GB are left; lower one of them"
    with pytest.raises(DataError, match=message):
        train(recipe(dataset, **changes), SERIAL, QUIET, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_deep_pipeline_of_a_short_run_is_as_deep_as_the_run(dataset: Path, tmp_path: Path) -> None:
    assert train(recipe(dataset, depth=10_000, chunk_steps=4), SERIAL, QUIET, run=tmp_path / "run").steps == 24


def test_processes_and_threads_that_make_no_sense_are_refused() -> None:
    check_processes(16, 4)
    with pytest.raises(
        RunError, match=r"--threads 1024: 1 processes of 1024 threads .* 2 processors, expected at most 256"
    ):
        check_processes(1, 1_024)
    with pytest.raises(RunError, match=r"--threads 32: 16 processes of 32 threads each"):
        check_processes(16, 32)
    with pytest.raises(DataError, match=r"--shards, .*: 200 processes takes 13.4 GB of memory, and 8.0 GB are left"):
        check_processes(200, 1)


def test_they_are_counted_as_they_would_be_started(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def backend_of(topology: Topology, evaluation: EvaluationSpec | None = None) -> Backend:
        run = replace(run_of(recipe(dataset), topology), evaluation=evaluation)
        return make_backend(run, plan_actors(run))

    told: list[tuple[int, int]] = []
    monkeypatch.setattr(placement, "check_processes", lambda *asked: told.append(asked))
    # No more shard actors than there are shards.
    many = replace(SERIAL, replay_shards=Role(10_000))
    assert isinstance(backend_of(many), SerialBackend)
    assert told == [(1, 1)]
    with pytest.raises(RunError, match=r"--serial: 10,0\d\d actors in one process, expected at most 256"):
        backend_of(replace(SERIAL, evaluators=Role(10_000)), EvaluationSpec(EnvSpec("none"), 1, 0, None, False))


def test_environments_in_a_process_each() -> None:
    online = OnlineRecipe(env_steps=10, envs_per_runner=1_000, vectorization="async")
    with pytest.raises(DataError, match="--envs-per-runner 1000: 2,000 environments, in a process each,"):
        check_environments(online, Topology(env_runners=Role(2)))
    check_environments(replace(online, vectorization="sync"), Topology(env_runners=Role(2)))
    # What a cluster has is not known here.
    check_environments(online, Topology(env_runners=Role(2), address="auto"))
