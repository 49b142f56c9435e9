"""A run's folder has one driver at a time, and what is refused or interrupted leaves it as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import cli, execute, process
from cluster.claim import Claim
from cluster.errors import RunError
from cluster.options import Cadence, Topology
from cluster.roles.bellman_updater import BellmanUpdater
from cluster.train import train
from replay.errors import DataError
from replay.locks import LockedError
from tests.cluster.online_runs import ONLINE, online_recipe, run_online
from tests.cluster.online_runs import QUIET as QUIET_ONLINE
from tests.cluster.run_folders import write_run
from tests.cluster.runs import QUIET, SERIAL, assert_same_parameters, recipe, run_once


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- One driver ---


PAUSING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from cluster.roles.learner import Learner
from cluster.options import Cadence
from tests.cluster.runs import recipe, run_once
train_fused = Learner.train_fused
def pausing(self, chunk, *arguments):
    if chunk == 4:
        os.kill(os.getpid(), signal.SIGSTOP)
    return train_fused(self, chunk, *arguments)
Learner.train_fused = pausing
run_once(Path({run!r}), recipe(Path({dataset!r}), fused=True), cadence=Cadence(log_every=4, checkpoint_every=8))
"""
"""A run that stops after its first checkpoint, and three records."""


@pytest.mark.slow
def test_a_run_that_is_going_on_is_not_resumed_beside_itself_and_killed_it_resumes(
    dataset: Path, tmp_path: Path
) -> None:
    run, often = tmp_path / "run", Cadence(log_every=4, checkpoint_every=8)
    program = PAUSING.format(root=str(Path(__file__).parents[2]), run=str(run), dataset=str(dataset))
    first = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        assert os.WIFSTOPPED(os.waitpid(first.pid, os.WUNTRACED)[1])
        before = content(run)
        assert "checkpoints/LATEST" in before
        for resume in (True, False):
            with pytest.raises(LockedError, match=rf"run: is in use by process {first.pid} on .*, since 20"):
                train(recipe(dataset, fused=True), SERIAL, often, run=run, resume=resume)
        assert content(run) == before
    finally:
        first.kill()
        first.wait()
    train(recipe(dataset, fused=True), SERIAL, often, run=run, resume=True)
    run_once(tmp_path / "whole", recipe(dataset, fused=True), cadence=often)
    assert_same_parameters(run, tmp_path / "whole")
    told = [[json.loads(line) for line in (path / "metrics.jsonl").open()] for path in (run, tmp_path / "whole")]
    assert [record["step"] for record in told[0]] == [record["step"] for record in told[1]]
    assert not (run / "run.lock").exists()


def test_a_second_driver_of_fine_tuning_touches_nothing(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    short = replace(ONLINE, env_steps=40)
    run_online(run, online_recipe(dataset), short)
    with Claim(run, resume=True):
        before = content(run)
        with pytest.raises(LockedError, match="run: is in use by process"):
            run_online(run, online_recipe(dataset), short, resume=True)
        assert content(run) == before


def test_a_folder_made_for_the_lock_goes_with_it(tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    with pytest.raises(RunError, match=r"config\.json: not found"), Claim(run, resume=True):
        pass
    assert list(tmp_path.iterdir()) == []
    run.mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"config\.json: not found"), Claim(run, resume=True):
        pass
    assert content(run) == {"notes.txt": b"mine"}


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for run in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="file is no folder; name another"), Claim(run, resume=False):
            pass


def test_checkpoints_without_a_configuration_are_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    run_once(tmp_path / "run", recipe(dataset))
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(RunError, match=r"holds checkpoints, metrics\.jsonl, tensorboard of a run whose config"):
        run_once(tmp_path / "run", recipe(dataset))


# --- Nothing is written through a link ---


@pytest.mark.parametrize("name", ["checkpoints", "metrics.jsonl", "tensorboard", "online", "config.json", "run.lock"])
def test_links_in_a_run_folder_are_refused(name: str, dataset: Path, tmp_path: Path) -> None:
    run, target = tmp_path / "run", tmp_path / "target"
    run_once(run, recipe(dataset))
    if (run / name).exists():
        (run / name).rename(target)
    (run / name).symlink_to(target)
    before = content(tmp_path)
    with pytest.raises((RunError, DataError), match=rf"{name}: is a link"):
        train(recipe(dataset, steps=48), SERIAL, QUIET, run=run, resume=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["snapshots.jsonl", "episodes.jsonl"])
def test_links_in_a_fine_tuning_runs_folder_are_refused(name: str, dataset: Path, tmp_path: Path) -> None:
    run, target = tmp_path / "run", tmp_path / "target"
    short = replace(ONLINE, env_steps=40)
    run_online(run, online_recipe(dataset), short)
    (run / name).rename(target)
    (run / name).symlink_to(target)
    before = target.read_bytes()
    with pytest.raises(RunError, match=rf"{name}: is a link"):
        run_online(run, online_recipe(dataset), short, resume=True)
    assert target.read_bytes() == before


def test_what_is_replaced_as_a_whole_replaces_the_link_and_not_its_target(dataset: Path, tmp_path: Path) -> None:
    """LATEST, BEST and reports are renamed into place."""
    run, target = tmp_path / "run", tmp_path / "target"
    run_once(run, recipe(dataset))
    target.write_text("mine")
    for path in (run / "checkpoints" / "LATEST", run / "report.html", run / ".report.html.partial"):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    train(recipe(dataset, steps=48), SERIAL, QUIET, run=run, resume=True)
    assert cli.main(["report", str(run)]) == 0
    assert target.read_text() == "mine"
    assert not (run / "checkpoints" / "LATEST").is_symlink()


# --- What is refused late, or interrupted ---


def no_actors(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def fresh(dataset: Path, run: Path) -> None:
    run_once(run, recipe(dataset, fused=False))


def online(dataset: Path, run: Path) -> None:
    run_online(run, online_recipe(dataset), replace(ONLINE, env_steps=40))


@pytest.mark.parametrize("begin", [fresh, online])
def test_interrupted_while_it_waits_for_resources_it_leaves_nothing(
    begin: Callable[[Path, Path], None], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(execute, "make_backend", no_actors)
        with pytest.raises(KeyboardInterrupt, match=r"Nothing had begun.*give the same command again"):
            begin(dataset, run)
    assert not run.exists()
    begin(dataset, run)
    with monkeypatch.context() as patched:
        patched.setattr(execute, "make_backend", no_actors)
        before = content(run)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            train(recipe(dataset), SERIAL, QUIET, run=run, resume=True) if begin is fresh else run_online(
                run, online_recipe(dataset), replace(ONLINE, env_steps=40), resume=True
            )
    assert content(run) == before


@pytest.mark.parametrize("role", ["ReplayShard", "Learner", "Evaluator", "EnvRunner", "OnlineWriter"])
def test_an_actor_that_cannot_be_made_leaves_the_folder_free(
    role: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster import actor_plan

    def impossible(*_: Any, **__: Any) -> None:
        raise DataError(f"{role}: cannot be made")

    run = tmp_path / "run"
    short = replace(ONLINE, env_steps=40)
    cadence = replace(QUIET_ONLINE, eval_episodes=1)
    with monkeypatch.context() as patched:
        patched.setattr(actor_plan, role, impossible)
        with pytest.raises(DataError, match=f"{role}: cannot be made"):
            run_online(run, online_recipe(dataset), short, cadence=cadence)
    assert not run.exists()
    assert run_online(run, online_recipe(dataset), short, cadence=cadence).summary["env_steps"] == 40


def test_staging_that_is_refused_leaves_the_folder_free(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    topology = Topology(serial=True, stage=str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file/.*\.arrow: cannot stage .*logs/shards/.* there \(File exists\)"):
        run_once(tmp_path / "run", recipe(dataset), topology)
    assert not (tmp_path / "run").exists()


def test_updaters_of_another_kind_leave_the_folder_free(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**process.fingerprint("cpu"), "capability": "NEON"}
    monkeypatch.setattr(BellmanUpdater, "fingerprint", lambda _: other)
    with pytest.raises(RunError, match="bellman_updater-0 runs on another kind of processor"):
        run_once(tmp_path / "run", recipe(dataset))
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_before_its_first_record_leaves_the_folder_free(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the run diverged"):
        run_once(tmp_path / "run", recipe(dataset, knobs={"reward_scale": 1e30}))
    assert not (tmp_path / "run").exists()
    run_once(tmp_path / "run", recipe(dataset))


def test_a_run_records_the_learners_machine_and_not_the_drivers(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of a cluster need not have the device at all."""
    from cluster.roles.learner import Learner
    from cluster.run_folder import RunFolder

    def nothing_here(device: str) -> dict[str, str]:
        raise AssertionError(f"the driver has no {device}")

    theirs = {**process.fingerprint("cpu"), "capability": "H100"}
    monkeypatch.setattr(process, "fingerprint", nothing_here)
    monkeypatch.setattr(Learner, "fingerprint", lambda _: theirs)
    run_once(tmp_path / "run", recipe(dataset, fused=True))
    config = RunFolder(tmp_path / "run").read_config()
    assert config["machine"] == theirs
    assert config["machines"] == [{"step": 0, "machine": theirs}]


def test_a_learner_that_comes_back_on_another_machine_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.backends.backend import LearnerDiedError
    from cluster.roles.learner import Learner

    died: list[int] = []
    train_fused = Learner.train_fused

    def dying(self: Learner, chunk: int, *arguments: Any) -> Any:
        if chunk == 3 and not died:
            died.append(chunk)
            monkeypatch.setattr(Learner, "fingerprint", lambda _: {**ours, "capability": "NEON"})
            raise LearnerDiedError("killed")
        return train_fused(self, chunk, *arguments)

    ours = process.fingerprint("cpu")
    monkeypatch.setattr(Learner, "train_fused", dying)
    with pytest.raises(RunError, match=r"the learner was started again on another kind of machine.*NEON"):
        run_once(tmp_path / "run", recipe(dataset, fused=True))


def test_the_writer_of_a_driver_that_was_killed_is_given_time_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.roles import online_writer

    tried: list[Path] = []

    def opening(folder: Path) -> str:
        tried.append(folder)
        if len(tried) < 3:
            raise LockedError(f"{folder}: process 1 is writing to it already")
        return "the store"

    monkeypatch.setattr(online_writer, "OnlineStore", opening)
    assert online_writer._opened(tmp_path) == "the store"
    monkeypatch.setattr(online_writer, "ENDING", 0.0)
    tried.clear()
    with pytest.raises(LockedError, match="process 1 is writing"):
        online_writer._opened(tmp_path)


# --- A folder of its own ---


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("where", "message"),
    [
        (".", "holds the folder that you are in"),
        ("..", "holds the folder that you are in"),
        ("/", "holds the folder that you are in"),
        ("logs", r"holds a dataset \(dataset.json\)"),
        ("online", r"holds a dataset \(store.json\)"),
        ("file", "file is no folder"),
        ("file/run", "file is no folder"),
        ("/proc", "no file can be made in it"),
        ("/proc/run", "cannot be written"),
        ("a\0b", "found .*, expected a path"),
        ("x" * 300, "found .*, expected a path"),
    ],
)
def test_a_run_has_a_folder_of_its_own(
    where: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, file in (("logs", "dataset.json"), ("online", "store.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("{}")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=f"--run.*{message}"), Claim(Path(where), resume=False):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_there_goes_on_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    monkeypatch.chdir(run)
    with Claim(Path("."), resume=True) as claim:
        assert claim.before is not None
