"""Killed at any moment and resumed, a run ends with the parameters of one never killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import checkpoint
from cluster.errors import RunError
from cluster.train import train
from tests.cluster.long_run import CADENCE, variant
from tests.cluster.processes import actor_processes, records, wait_until
from tests.cluster.runs import QUIET, SERIAL, assert_same_parameters, recipe, run_once

PROGRAM = Path(__file__).with_name("long_run.py")


def start(dataset: Path, run: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), str(dataset), str(run), name, *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lines"),
    [("fused", [3, 90]), ("pipelined", [40]), ("prioritised", [70]), ("reused", [55])],
)
def test_killed_and_resumed_ends_the_same(dataset: Path, tmp_path: Path, name: str, lines: list[int]) -> None:
    """`lines` of metrics are written when each kill falls: before the first checkpoint, and between two."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for attempt, count in enumerate(lines):
        process = start(dataset, killed, name, *(["--resume"] if attempt else []))
        wait_until(
            lambda count=count, process=process: records(killed) >= count or process.poll() is not None, "metrics"
        )
        process.kill()
        assert process.wait() == -9, "the run ended before it could be killed"
    last = start(dataset, killed, name, "--resume")
    assert last.wait(timeout=120) == 0
    run_once(whole, variant(name, dataset), SERIAL, CADENCE)
    assert_same_parameters(killed, whole)
    assert steps_logged(killed) == steps_logged(whole)


@pytest.mark.slow
def test_a_killed_driver_takes_nothing_with_it(dataset: Path, tmp_path: Path) -> None:
    """Its actors end with it; resumed, serially this time, the run ends as one never killed."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(dataset, killed, "pipelined", "--ray")
    wait_until(lambda: records(killed) >= 40 or process.poll() is not None, "metrics")
    process.kill()
    assert process.wait() == -9
    wait_until(lambda: not actor_processes("Learner"), "the actors to end")
    assert start(dataset, killed, "pipelined", "--resume").wait(timeout=120) == 0
    run_once(whole, variant("pipelined", dataset), SERIAL, CADENCE)
    assert_same_parameters(killed, whole)


def steps_logged(run: Path) -> list[tuple[str, int]]:
    """Every record once, in the order of the steps, however often the run was cut back."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [(record["kind"], record["step"]) for record in map(json.loads, lines)]


def test_a_finished_run_resumes_to_itself(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "once", recipe(dataset))
    run_once(tmp_path / "again", recipe(dataset))
    train(recipe(dataset), SERIAL, QUIET, run=tmp_path / "again", resume=True)
    assert_same_parameters(tmp_path / "once", tmp_path / "again")


def test_a_run_can_be_made_longer(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "long", recipe(dataset, steps=48))
    run_once(tmp_path / "grown", recipe(dataset, steps=24))
    train(recipe(dataset, steps=48), SERIAL, QUIET, run=tmp_path / "grown", resume=True)
    assert_same_parameters(tmp_path / "long", tmp_path / "grown")


def test_a_resumed_run_keeps_its_recipe(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset))
    with pytest.raises(RunError, match=r"config\.json: the run began with depth = 2, now it is 1"):
        train(recipe(dataset, depth=1), SERIAL, QUIET, run=tmp_path / "run", resume=True)


def test_a_folder_with_a_run_is_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset))
    with pytest.raises(RunError, match="--resume"):
        run_once(tmp_path / "run", recipe(dataset))


def test_an_interrupted_checkpoint_is_not_taken_for_one(dataset: Path, tmp_path: Path) -> None:
    """What a kill between writing and renaming leaves: a partial folder beside the complete ones."""
    run_once(tmp_path / "run", recipe(dataset))
    folder = tmp_path / "run" / "checkpoints"
    partial = folder / ".step-000000032.partial"
    partial.mkdir()
    (partial / "learner.safetensors").write_bytes(b"half")
    newest = checkpoint.latest(folder)
    assert newest is not None
    assert newest.step == 24


def test_a_damaged_checkpoint_is_named(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset))
    folder = tmp_path / "run" / "checkpoints"
    file = folder / "step-000000024" / "learner.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match="step-000000024: not a whole checkpoint"):
        checkpoint.latest(folder)
