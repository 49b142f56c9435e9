"""The record of what each chunk may see survives being torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import RunError
from cluster.snapshots import Snapshots


def test_a_record_is_read_again(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots.jsonl")
    snapshots.record(0, 3)
    snapshots.record(1, 3)
    snapshots.record(2, 7)
    snapshots.sync()
    snapshots.close()
    again = Snapshots(tmp_path / "snapshots.jsonl")
    assert {chunk: again[chunk] for chunk in again} == {0: 3, 1: 3, 2: 7}
    assert 3 not in again


def test_a_torn_line_is_cut_off_and_the_next_one_stands_whole(tmp_path: Path) -> None:
    path = tmp_path / "snapshots.jsonl"
    whole = b'{"chunk": 0, "snapshot": 3}\n'
    for torn in range(len(whole)):
        path.write_bytes(whole + whole[:torn])
        snapshots = Snapshots(path)
        assert list(snapshots) == [0]
        snapshots.record(1, 5)
        snapshots.close()
        assert Snapshots(path)[1] == 5


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "snapshots.jsonl"
    path.write_bytes(b'{"chunk": 0, "snapshot": 3}\n{"chunk": 1}\n{"chunk": 2, "snapshot": 3}\n')
    with pytest.raises(RunError, match=r"snapshots\.jsonl, line 2"):
        Snapshots(path)
