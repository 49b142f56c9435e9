"""What a checkpoint holds of the pipeline must be what the run goes on with, however well its record fits it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import replay
from cluster import checkpoint
from cluster.checkpoint_pipeline import _buffer, _check
from cluster.errors import RunError
from cluster.options import Cadence
from cluster.roles.bellman_updater import LabelledChunk
from cluster.roles.train_buffer import chunk_to_arrays
from cluster.schedule import Schedule
from cluster.snapshots import check_snapshots
from cluster.train import train
from replay import Request, Store, draw
from tests.cluster.online_runs import ONLINE, online_recipe, run_online
from tests.cluster.runs import SERIAL, assert_same_parameters, make_dataset, recipe, run_once

OFTEN = Cadence(log_every=8, validate_every=0, checkpoint_every=8, keep=9)
KINDS: dict[str, dict[str, Any]] = {
    "priorities": {"priority_exponent": 0.5},
    "buffer": {"label_reuse": 2},
    "episodes": {"algorithm": "awr", "label_reuse": 2},
}
Array = NDArray[Any]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("logs") / "logs", episodes=8)


@pytest.fixture(scope="module")
def trained(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    for kind, changes in KINDS.items():
        run_once(folder / kind, recipe(logs, **changes), cadence=OFTEN)
    return {kind: folder / kind for kind in KINDS}


def twice(array: Array) -> Array:
    return np.concatenate([array, array])


CHANGES: list[tuple[str, str, Callable[[Array], Array | None], str]] = [
    ("priorities", "weights.2", lambda array: None, "weights.2 is missing"),
    ("priorities", "weights.1", twice, "weights.1 is float32"),
    ("priorities", "weights.0", lambda array: array * np.nan, "weights.0 holds what is no finite number"),
    ("priorities", "weights.x", lambda array: array, "weights.x is none that the run takes"),
    ("priorities", "evaluation.8", lambda array: array, "evaluation.8 is float64 (1,), expected float32"),
    ("priorities", "priorities.powers", twice, "priorities.powers is float64"),
    ("priorities", "priorities.powers", np.negative, "priorities.powers holds a number below 0"),
    ("priorities", "priorities.highest", lambda array: array.astype("f4"), "priorities.highest is float32 ()"),
    ("priorities", "priorities.fresh", lambda array: None, "priorities.fresh is missing"),
    ("priorities", "rows.2.000.index", lambda array: array * 0 - 1, "rows.2.000.index is of no transitions"),
    ("priorities", "rows.2.001.index", lambda array: None, "rows.2.001.index is missing"),
    ("priorities", "rows.2.000.row", lambda array: array + 1, "rows.2.000.row is not that of its index"),
    ("priorities", "rows.2.000.shard", lambda array: array + 1, "rows.2.000.shard is not that of its index"),
    ("priorities", "rows.2.000.weight", lambda array: array + 1, "rows.2.000.weight holds a weight that is not from 0"),
    ("priorities", "rows.2.003.remaining", lambda array: array[None], "rows.2.003.remaining is int64 (1, 16)"),
    ("buffer", "buffer.000.batch.reward", lambda array: None, "buffer.000.batch.reward is missing"),
    (
        "buffer",
        "buffer.001.batch.action",
        twice,
        "buffer.001.batch.action is float32 (64, 2), expected float32 (32, 2)",
    ),
    (
        "buffer",
        "buffer.001.batch.discount",
        lambda array: array + 1e30,
        "buffer.001.batch.discount holds a number that",
    ),
    ("buffer", "buffer.001.batch.colour", lambda array: array, "buffer.001.batch.colour is none that the run takes"),
    ("buffer", "buffer.000.targets.q", lambda array: None, "buffer.000.targets.q is missing"),
    ("buffer", "buffer.000.targets.q", lambda array: array[:, None], "buffer.000.targets.q is float32 (32, 1)"),
    ("buffer", "buffer.000.targets.v", lambda array: np.zeros(32, "f4"), "buffer.000.targets.v is none that the run"),
]


@pytest.mark.parametrize(
    ("kind", "name", "change", "message"), CHANGES, ids=lambda value: value[:40] if isinstance(value, str) else "change"
)
def test_an_array_that_the_run_does_not_take_is_named(
    kind: str,
    name: str,
    change: Callable[[Array], Array | None],
    message: str,
    logs: Path,
    trained: dict[str, Path],
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(trained[kind], tmp_path / "run"))
    saved = checkpoint.load(run / "checkpoints" / "step-000000008")
    changed = change(saved.pipeline.pop(name, np.zeros(1)))
    pipeline = saved.pipeline if changed is None else {**saved.pipeline, name: changed}
    checkpoint.save(run / "checkpoints", replace(saved, pipeline=pipeline))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError) as refusal:
        train(recipe(logs, **KINDS[kind]), SERIAL, OFTEN, run=run, resume=True, resume_from="step-8")
    where = run / "checkpoints" / "step-000000008"
    assert str(refusal.value).startswith(f"{where}: pipeline.safetensors: {message}")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_saved_is_taken(kind: str, logs: Path, trained: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained[kind], tmp_path / "run"))
    for step in (16, 8):
        train(recipe(logs, **KINDS[kind]), SERIAL, OFTEN, run=run, resume=True, resume_from=f"step-{step}")
        assert_same_parameters(run, trained[kind])


@pytest.mark.parametrize("fields", [{}, {"history": 2}, {"action_chunk": 3}, {"history": 2, "action_chunk": 3}])
def test_rows_with_histories_and_chunks_of_actions_are_those_of_the_request(logs: Path, fields: dict[str, Any]) -> None:
    what, request, view = recipe(logs, label_reuse=2), Request(**fields), replay.open(logs).view()
    schedule = Schedule(what.steps, what.chunk_steps, what.depth, what.label_reuse)
    rows = draw(view, seed=0, sequence=0, count=len(schedule.draws_of(0)) * what.batch_size)
    arrays = chunk_to_arrays(LabelledChunk(Store(view).gather(rows, request), None), "buffer.000.")
    _check(logs, arrays, _buffer(arrays, schedule, 1, what, view.spaces, request))
    if fields:
        with pytest.raises(RunError, match=r"buffer\.000\.batch\.(action|history_mask|mask) is"):
            _check(logs, arrays, _buffer(arrays, schedule, 1, what, view.spaces, Request()))


# --- Snapshots beside them ---


def test_a_run_whose_snapshots_are_lost_is_refused_and_does_not_wait(tmp_path: Path) -> None:
    """Learner and runners would wait for each other, each ahead of the other."""
    data, run = make_dataset(tmp_path / "logs", episodes=8), tmp_path / "run"
    short = replace(ONLINE, env_steps=40)
    run_online(run, online_recipe(data), short)
    lines = (run / "snapshots.jsonl").read_bytes().splitlines(keepends=True)
    for left in (0, 5):
        (run / "snapshots.jsonl").write_bytes(b"".join(lines[:left]))
        with pytest.raises(RunError, match=rf"snapshots\.jsonl: has {left} snapshots, and the checkpoint .* after 10"):
            run_online(run, online_recipe(data), replace(short, env_steps=60), resume=True)
    (run / "snapshots.jsonl").write_bytes(b"".join(lines))
    shutil.rmtree(run / "online")
    with pytest.raises(
        RunError, match=r"snapshots\.jsonl: chunk 9 sees \d+ records of the online store, whose journal"
    ):
        run_online(run, online_recipe(data), replace(short, env_steps=60), resume=True)
    assert not (run / "online").exists()


def test_a_run_that_has_no_checkpoint_yet_needs_no_snapshots(tmp_path: Path) -> None:
    check_snapshots(tmp_path / "snapshots.jsonl", 0, 0)
    (tmp_path / "snapshots.jsonl").write_text('{"chunk": 0, "snapshot": 3}\n{"chunk"')
    check_snapshots(tmp_path / "snapshots.jsonl", 1, 3)
