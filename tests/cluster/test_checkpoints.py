"""What a checkpoint holds is what was written, to the last bit, or it is refused by name and another one offered."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cluster import checkpoint, process
from cluster.checkpoint_record import sealed
from cluster.errors import RunError
from cluster.options import Cadence
from cluster.policy import load_policy
from cluster.train import train
from tests.cluster.online_runs import ONLINE, beginning_of, online_recipe, run_online
from tests.cluster.runs import QUIET, SERIAL, assert_same_parameters, recipe, run_once

NEWEST, BEFORE = "step-000000024", "step-000000016"
OFTEN = Cadence(log_every=4, validate_every=0, checkpoint_every=8, keep=3)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at steps 8, 16 and 24."""
    where = tmp_path_factory.mktemp("trained") / "run"
    run_once(where, recipe(dataset), cadence=OFTEN)
    return where


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def resumed(dataset: Path, run: Path, **options: Any) -> None:
    train(recipe(dataset, steps=48), SERIAL, OFTEN, run=run, resume=True, **options)


def change_record(path: Path, change: Callable[[dict[str, Any]], Any], *, seal: bool = False) -> None:
    """Change `checkpoint.json`; with `seal`, as somebody would who knows how."""
    record = json.loads((path / "checkpoint.json").read_text())
    change(record)
    if seal:
        del record["sha256"]
        record = sealed(record)
    (path / "checkpoint.json").write_text(json.dumps(record))


# --- Damage ---


def flip_a_bit(file: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray((path / file).read_bytes())
        content[len(content) * 3 // 4] ^= 1
        (path / file).write_bytes(content)

    return damage


def take_another_steps(file: str) -> Callable[[Path], None]:
    return lambda path: shutil.copy(path.with_name(BEFORE) / file, path / file) and None


def record(**changes: Any) -> Callable[[Path], None]:
    return lambda path: change_record(path, lambda record: record.update(changes))


def be_another_step(path: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(path.with_name(BEFORE), path)


def round_a_tensor(path: Path) -> None:
    arrays = load_file(path / "learner.safetensors")
    save_file({name: array.astype(np.float16) for name, array in arrays.items()}, path / "learner.safetensors")


def become_a_pipe(path: Path) -> None:
    (path / "learner.safetensors").unlink()
    os.mkfifo(path / "learner.safetensors")


def become_a_link(path: Path) -> None:
    (path / "learner.safetensors").rename(path.parent / "elsewhere")
    (path / "learner.safetensors").symlink_to(path.parent / "elsewhere")


def become_endless(path: Path) -> None:
    (path / "pipeline.safetensors").unlink()
    (path / "pipeline.safetensors").symlink_to("/dev/zero")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bit of the learner": (flip_a_bit("learner.safetensors"), r"learner\.safetensors: its content does not have"),
    "a bit of the pipeline": (flip_a_bit("pipeline.safetensors"), r"pipeline\.safetensors: its content does not have"),
    "a bit of the record": (flip_a_bit("checkpoint.json"), r"checkpoint\.json"),
    "another step's learner": (take_another_steps("learner.safetensors"), r"learner\.safetensors: "),
    "another step's record": (take_another_steps("checkpoint.json"), r"checkpoint\.json: it is of step 16"),
    "another step": (be_another_step, r"checkpoint\.json: it is of step 16"),
    "float16": (round_a_tensor, r"learner\.safetensors: (has|its content)"),
    "a missing file": (lambda path: (path / "pipeline.safetensors").unlink(), r"pipeline\.safetensors: is missing"),
    "a cut file": (lambda path: os.truncate(path / "learner.safetensors", 100), r"has 100 bytes, expected"),
    "a longer file": (
        lambda path: os.truncate(path / "learner.safetensors", 2**20),
        r"learner\.safetensors: has 1,0",
    ),
    "a pipe": (become_a_pipe, r"learner\.safetensors: is no regular file"),
    "a link": (become_a_link, r"learner\.safetensors: is a link"),
    "no end": (become_endless, r"pipeline\.safetensors: is a link"),
    "format 99": (record(format=99), r"checkpoint\.json: format is 99, and this version of Quiver reads 1 and 2"),
    "format true": (record(format=True), r"checkpoint\.json: format is True"),
    "the step": (record(step=25), r"checkpoint\.json: its content does not have the sha256"),
    "the offset": (record(metrics_offset=0), r"checkpoint\.json: its content does not have the sha256"),
    "the history": (record(history={}), r"checkpoint\.json: its content does not have the sha256"),
    "a list": (
        lambda path: (path / "checkpoint.json").write_text("[]") and None,
        r"checkpoint\.json: holds no JSON o",
    ),
    "no JSON": (lambda path: (path / "checkpoint.json").write_text("{") and None, r"checkpoint\.json: not valid JSON"),
    "no record": (lambda path: (path / "checkpoint.json").unlink(), r"checkpoint\.json"),
    "one of another run": (
        lambda path: change_record(path, lambda record: record.update(run="0f"), seal=True),
        r"it was written by another run \(0f, and this one is ",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_the_checkpoint_before_it_is_offered(kind: str, run: Path) -> None:
    damage, message = DAMAGE[kind]
    damage(run / "checkpoints" / NEWEST)
    offered = f"The newest whole one before it is {BEFORE}: name it with"
    with pytest.raises(RunError, match=rf"{NEWEST}: not a whole checkpoint \(.*{message}.*{offered}") as refusal:
        checkpoint.latest(run / "checkpoints")
    assert str(refusal.value).endswith("name it with --resume --resume-from step-16.")
    with pytest.raises(RunError, match=rf"{message}.*{offered} --checkpoint step-16\.$"):
        load_policy(run)


def test_a_damaged_run_goes_on_from_the_checkpoint_that_is_offered(dataset: Path, run: Path, tmp_path: Path) -> None:
    flip_a_bit("learner.safetensors")(run / "checkpoints" / NEWEST)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"--resume --resume-from step-16"):
        resumed(dataset, run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    resumed(dataset, run, resume_from="step-16")
    run_once(tmp_path / "whole", recipe(dataset, steps=48), cadence=OFTEN)
    assert_same_parameters(run, tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [
        json.loads(line)["step"] for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]


def test_what_came_after_the_checkpoint_is_cut_off(dataset: Path, run: Path) -> None:
    (run / "checkpoints" / "BEST").write_text(f"{NEWEST}\n")
    train(recipe(dataset), SERIAL, QUIET, run=run, resume=True, resume_from="step-8")
    assert checkpoint.available(run / "checkpoints") == ["step-000000008", NEWEST]
    assert not (run / "checkpoints" / "BEST").exists()
    with pytest.raises(RunError, match=r"no checkpoint 'step-16'; found step-000000008, step-000000024"):
        train(recipe(dataset), SERIAL, QUIET, run=run, resume=True, resume_from="step-16")
    with pytest.raises(RunError, match=r"--resume-from step-8: goes with --resume"):
        train(recipe(dataset), SERIAL, QUIET, run=run / "new", resume_from="step-8")


def test_with_all_damaged_there_is_nothing_to_offer(run: Path) -> None:
    for name in checkpoint.available(run / "checkpoints"):
        flip_a_bit("learner.safetensors")(run / "checkpoints" / name)
    with pytest.raises(RunError, match=rf"{NEWEST}: .* No other checkpoint here is whole: restore"):
        checkpoint.latest(run / "checkpoints")


# --- What the algorithm expects ---


def reshaped(arrays: dict[str, Any], name: str) -> None:
    arrays[name] = arrays[name].reshape(-1)


FORGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "dtype": (
        lambda arrays: arrays.update({name: arrays[name].astype("f2") for name in arrays if name.endswith("weight")}),
        r"tensor '.*weight' is float16 \(.*\), expected float32",
    ),
    "moments": (
        lambda arrays: arrays.update({"optimiser.policy.exp_avg": arrays["optimiser.policy.exp_avg"].astype("f8")}),
        r"tensor 'optimiser\.policy\.exp_avg' is float64 \(388,\), expected float32 \(388,\)",
    ),
    "shape": (
        lambda arrays: reshaped(arrays, "optimiser.policy.step"),
        r"tensor 'optimiser\.policy\.step' is float32 \(1,\), expected float32 \(\)",
    ),
    "missing": (lambda arrays: arrays.pop("step"), r"tensor 'step' is missing"),
    "unknown": (lambda arrays: arrays.update(extra=np.zeros(1)), r"tensor 'extra' is unknown to the algorithm"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_tensors_that_the_algorithm_does_not_expect_are_refused_by_name(kind: str, dataset: Path, run: Path) -> None:
    """The record agrees with them: only the algorithm knows."""
    change, message = FORGED[kind]
    saved = checkpoint.load(run / "checkpoints" / NEWEST)
    change(saved.learner)
    checkpoint.save(run / "checkpoints", saved)
    with pytest.raises(RunError, match=rf"{NEWEST}: {message}"):
        resumed(dataset, run)
    with pytest.raises(RunError, match=rf"{NEWEST}: {message}"):
        load_policy(run)
    with pytest.raises(RunError, match=rf"{NEWEST}: {message}"):
        run_online(run / "tuned", online_recipe(dataset), ONLINE, init=beginning_of(run))
    assert not (run / "tuned").exists()


def test_a_checkpoint_of_an_earlier_version_is_read_with_a_warning(
    dataset: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def as_it_was(record: dict[str, Any]) -> None:
        record["format"] = 1
        for name in ("run", "files", "sha256"):
            del record[name]

    for name in checkpoint.available(run / "checkpoints"):
        change_record(run / "checkpoints" / name, as_it_was)
    resumed(dataset, run)
    assert f"{NEWEST}: was written by an earlier version, without checksums" in caplog.text
    run_once(tmp_path / "whole", recipe(dataset, steps=48), cadence=OFTEN)
    assert_same_parameters(run, tmp_path / "whole")


def test_the_record_says_all_there_is(run: Path) -> None:
    record = json.loads((run / "checkpoints" / NEWEST / "checkpoint.json").read_text())
    assert (record["format"], record["step"]) == (2, 24)
    entry = record["files"]["learner.safetensors"]
    file = run / "checkpoints" / NEWEST / "learner.safetensors"
    assert entry["bytes"] == file.stat().st_size
    found = {name: [array.dtype.name, list(array.shape)] for name, array in load_file(file).items()}
    assert entry["tensors"] == found


# --- LATEST and BEST ---


def lose_latest(pointer: Path) -> None:
    pointer.unlink()


def make_latest(content: bytes) -> Callable[[Path], None]:
    return lambda pointer: pointer.write_bytes(content) and None


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (lose_latest, "LATEST: is missing"),
        (make_latest(b"step-000000099\n"), "LATEST: names step-000000099, which is missing"),
        (make_latest(b"\xff\x00garbage"), "LATEST: does not hold a checkpoint's name"),
        (make_latest(b"../../run\n"), "LATEST: does not hold a checkpoint's name"),
        (make_latest(b""), "LATEST: does not hold a checkpoint's name"),
    ],
)
def test_where_latest_is_lost_the_newest_whole_checkpoint_is_found(
    lose: Callable[[Path], None], message: str, dataset: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose(run / "checkpoints" / "LATEST")
    flip_a_bit("learner.safetensors")(run / "checkpoints" / NEWEST)
    newest = checkpoint.latest(run / "checkpoints")
    assert newest is not None
    assert newest.step == 16
    assert f"{message}; {BEFORE} is the newest whole checkpoint" in caplog.text
    assert load_policy(run)[0].state_dict()["step"] == 16


def test_lost_checkpoints_are_not_begun_anew_without_a_word(dataset: Path, run: Path) -> None:
    for name in checkpoint.available(run / "checkpoints"):
        shutil.rmtree(run / "checkpoints" / name)
    with pytest.raises(RunError, match=rf"LATEST: names {NEWEST}, which is missing, and there is no other checkpoint"):
        resumed(dataset, run)


def test_the_best_checkpoint_is_one_of_those_that_are_there(run: Path) -> None:
    for content in (b"garbage\n", b"step-000000099\n", b"../checkpoints\n"):
        (run / "checkpoints" / "BEST").write_bytes(content)
        with pytest.raises(RunError, match=r"no checkpoint 'best'; found step-000000008, step-000000016, step-0000000"):
            load_policy(run, "best")
    (run / "checkpoints" / "BEST").write_text(f"{BEFORE}\n")
    assert load_policy(run, "best")[0].state_dict()["step"] == 16


def test_a_learner_that_dies_beside_a_damaged_checkpoint_says_where_to_go_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.backends.backend import LearnerDiedError
    from cluster.roles.learner import Learner

    run, trained = tmp_path / "run", Learner.train_fused

    def dying(self: Learner, chunk: int, *arguments: Any) -> Any:
        if chunk == 5:
            flip_a_bit("learner.safetensors")(run / "checkpoints" / BEFORE)
            raise LearnerDiedError("killed")
        return trained(self, chunk, *arguments)

    monkeypatch.setattr(Learner, "train_fused", dying)
    with pytest.raises(RunError, match=rf"{BEFORE}: not a whole .* --resume --resume-from step-8"):
        run_once(run, recipe(dataset, fused=True), cadence=OFTEN)


# --- Metrics ---


def test_metrics_that_were_cut_are_not_filled_with_zeros(
    dataset: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.truncate(run / "metrics.jsonl", 300)
    resumed(dataset, run)
    assert "records are missing, and the curves have a gap" in caplog.text
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 48


# --- Another machine ---


def test_another_machine_is_said_and_asks_to_be_accepted(
    dataset: Path, run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = process.fingerprint("cpu")
    other = {**ours, "capability": "NEON", "machine": "aarch64"}
    monkeypatch.setattr(process, "fingerprint", lambda _: other)
    difference = rf"capability: {ours['capability']} against NEON; machine: {ours['machine']} against aarch64"
    with pytest.raises(RunError, match=rf"steps up to 24 were computed on another kind .*{difference}.*--allow-mixed"):
        resumed(dataset, run)
    train(recipe(dataset, steps=48), replace(SERIAL, allow_mixed=True), OFTEN, run=run, resume=True)
    assert "the run's results are those of neither; config.json records both" in caplog.text
    config = json.loads((run / "config.json").read_text())
    assert config["machine"] == other
    assert config["machines"] == [{"step": 0, "machine": ours}, {"step": 24, "machine": other}]
