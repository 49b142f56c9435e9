"""A run trains on no byte that is not what its record says, whoever vouched for it before."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.train import train
from replay import DataError, stamps
from tests.cluster.runs import QUIET, SERIAL, recipe, run_once


def flip(dataset: Path) -> None:
    """A byte in the middle of a shard, with the times put back."""
    path = dataset / "shards" / "00001.core.arrow"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(before.st_size // 2)
        file.write(bytes([byte ^ 0xFF]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_copy_with_a_flipped_byte_is_not_trained_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 0)
    run_once(tmp_path / "run", recipe(dataset))  # its files are vouched for now
    copy = shutil.copytree(dataset, tmp_path / "copy", copy_function=shutil.copy2)
    flip(copy)
    with pytest.raises(DataError, match=r"copy/shards/00001\.core\.arrow: found sha256 .* the content has changed"):
        run_once(tmp_path / "other", recipe(copy))


def test_a_resumed_run_verifies_what_it_reads_against_its_record(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 0)
    copy = shutil.copytree(dataset, tmp_path / "copy", copy_function=shutil.copy2)
    begun = recipe(copy)
    run_once(tmp_path / "run", begun)
    flip(copy)
    monkeypatch.setattr(stamps, "_known", set())  # as in another process
    monkeypatch.setattr(stamps, "_read", {})
    with pytest.raises(DataError, match=r"copy/shards/00001\.core\.arrow: found sha256 .* the content has changed"):
        train(replace(begun, steps=48), SERIAL, QUIET, run=tmp_path / "run", resume=True)
