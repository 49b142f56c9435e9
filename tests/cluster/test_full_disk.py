"""A full disk: the file is named, nothing half-written stays, and once there is room the run goes on."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cluster import cli
from cluster.durable import NoRoomError
from cluster.episode_log import EpisodeLog
from cluster.event_file import EventFile
from cluster.snapshots import Snapshots
from tests.cluster.run_folders import write_run
from tests.cluster.runs import assert_same_parameters


@pytest.fixture
def full() -> Iterator[Callable[[str], pytest.MonkeyPatch]]:
    """From when it is called, files whose path holds a word grow no more; until what it returns is undone."""
    patch = pytest.MonkeyPatch()

    def fill(word: str) -> pytest.MonkeyPatch:
        def has_room(descriptor: int) -> bool:
            return word not in os.readlink(f"/proc/self/fd/{descriptor}")

        def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(descriptor: int, *arguments: Any) -> Any:
                if has_room(descriptor):
                    return call(descriptor, *arguments)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            return called

        write, no_room = os.write, refusing(os.write)

        def write_half(descriptor: int, content: bytes) -> int:
            """As a disk takes what still fits."""
            if has_room(descriptor):
                return write(descriptor, content)
            return write(descriptor, content[: len(content) // 2]) if len(content) > 1 else no_room(descriptor, content)

        patch.setattr(os, "write", write_half)
        patch.setattr(os, "fsync", refusing(os.fsync))
        patch.setattr(os, "pwrite", refusing(os.pwrite))
        return patch

    yield fill
    patch.undo()


def training(dataset: Path, run: Path) -> list[str]:
    options = ["--algo", "bc", "--serial", "--hidden", "8", "--steps", "16", "--batch-size", "16", "--updaters", "0"]
    return [
        "train",
        "--dataset",
        str(dataset),
        "--run",
        str(run),
        *options,
        "--log-every",
        "4",
        "--checkpoint-every",
        "8",
    ]


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert cli.main(training(dataset, run)) == 0
    return run


def recorded(run: Path) -> list[dict[str, Any]]:
    """The metrics without what the clock decides."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def partial(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "metrics.jsonl",
            "run/metrics.jsonl: could not be written (No space left on device). Make room, then continue",
        ),
        (".step-", "run/checkpoints/step-000000008: could not be written (No space left on device). Make room"),
        ("LATEST", "run/checkpoints/LATEST: could not be written (No space left on device). Make room, then continue"),
        ("summary.json", "run/summary.json: could not be written (No space left on device). Make room, then continue"),
    ],
)
def test_a_run_names_the_file_and_goes_on_once_there_is_room(
    name: str,
    message: str,
    dataset: Path,
    whole: Path,
    tmp_path: Path,
    full: Callable[[str], pytest.MonkeyPatch],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    disk = full(name)
    assert cli.main(training(dataset, run)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not partial(tmp_path)
    disk.undo()
    assert cli.main(["train", "--run", str(run), "--resume"]) == 0
    assert_same_parameters(run, whole)
    assert recorded(run) == recorded(whole)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "run/config.json: No space left on device. Free some space"),
        ("run.lock", "run: cannot be written (No space left on device); name another folder."),
    ],
)
def test_a_run_that_cannot_begin_leaves_nothing(
    name: str,
    message: str,
    dataset: Path,
    tmp_path: Path,
    full: Callable[[str], pytest.MonkeyPatch],
    capsys: pytest.CaptureFixture[str],
) -> None:
    full(name)
    assert cli.main(training(dataset, tmp_path / "run")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_room_for_tensorboard_a_run_says_so_once_and_ends_alike(
    dataset: Path,
    whole: Path,
    tmp_path: Path,
    full: Callable[[str], pytest.MonkeyPatch],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = threading.active_count()
    full("tfevents")
    assert cli.main(training(dataset, tmp_path / "run")) == 0
    [note] = [record.getMessage() for record in caplog.records if "TensorBoard" in record.getMessage()]
    assert note.endswith(
        "run/tensorboard: TensorBoard's curves end here (No space left on device); the run goes on, and metrics.jsonl "
        "has all of it."
    )
    assert threading.active_count() == before
    assert_same_parameters(tmp_path / "run", whole)


def test_a_report_that_does_not_fit_leaves_the_old_one(
    tmp_path: Path, full: Callable[[str], pytest.MonkeyPatch], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    (run / "report.html").write_text("old")
    full("report.html")
    assert cli.main(["report", str(run)]) == 2
    assert f"error: {run}/report.html: No space left on device." in capsys.readouterr().err
    assert (run / "report.html").read_text() == "old"
    assert not partial(tmp_path)


def test_a_record_that_was_not_written_whole_is_not_there(
    tmp_path: Path, full: Callable[[str], pytest.MonkeyPatch]
) -> None:
    stored = {"id": "a", "length": 5, "return": 1.0, "success": -1, "runner": 0, "version": 0}
    snapshots, episodes = Snapshots(tmp_path / "snapshots.jsonl"), EpisodeLog(tmp_path / "episodes.jsonl", [stored])
    snapshots.record(0, 3)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    full("jsonl")
    with pytest.raises(NoRoomError, match=r"snapshots\.jsonl: could not be written"):
        snapshots.record(1, 5)
    with pytest.raises(NoRoomError, match=r"episodes\.jsonl: could not be written"):
        episodes.add([stored])
    with pytest.raises(NoRoomError, match=r"snapshots\.jsonl: could not be written"):
        snapshots.sync()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole
    assert 1 not in snapshots


# --- What TensorBoard reads ---


def test_tensorboard_reads_the_curves_and_drops_what_a_resumed_run_computes_again(tmp_path: Path) -> None:
    first = EventFile(tmp_path / "tensorboard")
    for step in (4, 8, 12):
        first.write(step, {"train/loss": step / 8, "train/speed": 2})
    first.close()
    again = EventFile(tmp_path / "tensorboard", purge_step=9)
    again.write(12, {"train/loss": 7.0})
    again.close()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(entry.step, entry.value) for entry in found.Scalars("train/loss")] == [(4, 0.5), (8, 1.0), (12, 7.0)]
    assert [entry.step for entry in found.Scalars("train/speed")] == [4, 8]


def test_a_link_in_the_place_of_an_event_file_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cluster.event_file._free_name", lambda folder: folder / "events")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").symlink_to(tmp_path / "mine")
    EventFile(tmp_path / "tensorboard").write(1, {"train/loss": 1.0})
    assert "events: is a link" in caplog.text
    assert not (tmp_path / "mine").exists()
