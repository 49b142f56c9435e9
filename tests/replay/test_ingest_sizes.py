"""What reading would take is known before it is taken; what fits is read, in pieces where it is large."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import replay
from cluster.cli import main
from replay import memory
from replay.errors import DataError
from replay.ingest import ingest
from replay.readers import columns
from replay.statistics import Moments
from tests.replay import logs


def pictures(path: Path, number: int) -> str:
    """One picture with a tail of zeros, named by `number` rows of one dictionary."""
    from PIL import Image

    target = io.BytesIO()
    Image.new("RGB", (8, 8)).save(target, "PNG")
    word = target.getvalue() + b"\0" * (1 << 16)
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(number, np.int32)), pa.array([word]))
    found = {
        "observation.eye": rows,
        "action": pa.array(np.zeros((number, 1)).tolist()),
        "terminated": np.arange(number) == number - 1,
    }
    pq.write_table(pa.table(found), path / "log.parquet", compression="zstd", store_schema=False)
    return f"parquet:{path / 'log.parquet'}"


def test_what_one_word_unpacks_to_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary's word costs its row two bits, and its reader all of the word."""
    monkeypatch.setattr(columns, "SMALL", 1 << 20)
    logs.refused(
        tmp_path, (lambda p: pictures(p, 200), r"log.parquet: says that it holds 13.1 MB in a file of \d+ bytes")
    )


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 18)
    wide = np.random.default_rng(0).random((6, 1 << 14))
    cases = {
        "h": (
            lambda p: logs.hdf5(p, observations=wide),
            r"log.hdf5: reading 1 rows takes .* kB of memory, and 262 kB are left",
        ),
        "r": (
            lambda p: logs.robomimic(p, obs__x=wide[:3]),
            r"data/demo_0: an episode takes 1.6 MB of memory, and 262 kB are left; cut it into shorter ones",
        ),
        "p": (lambda p: logs.parquet(p, observation=wide.tolist()), r"log.parquet: reading 1 rows takes .* of memory"),
        "n": (
            lambda p: logs.npz(p, observations=wide[:, :9000], terminals=np.zeros(6, bool)),
            r"ogbench:log: episode 0 \(from row 0\): the episode takes .* of memory, .* say where episodes end",
        ),
    }
    for name, case in cases.items():
        (tmp_path / name).mkdir()
        logs.refused(tmp_path / name, case)


def test_memory_that_is_taken_by_others_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: Any, rows: np.ndarray) -> None:
        raise MemoryError("Unable to allocate 37.4 MiB")

    monkeypatch.setattr(Moments, "add", none_left)
    logs.refused(tmp_path, (logs.hdf5, r"log.hdf5: memory does not suffice \(Unable to allocate 37.4 MiB; .* are left"))


def test_a_long_log_of_large_rows_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK_BYTES", 4096)
    rows = 600
    ends = np.arange(rows) % 20 == 19
    numbers = np.arange(rows * 64, dtype=np.float32).reshape(rows, 64)
    changes = {"observations": numbers, "actions": np.zeros((rows, 2), np.float32), "terminals": ends}
    flat = {"observation": numbers.tolist(), "action": [[0.0]] * rows, "terminated": ends, "reward": [0.0] * rows}
    sources = [
        logs.npz(tmp_path, **changes),
        logs.hdf5(tmp_path, rewards=np.zeros(rows), **changes),
        logs.parquet(tmp_path, episode_index=np.arange(rows) // 20, **flat),
    ]
    for number, source in enumerate(sources):
        assert ingest(source, tmp_path / f"out{number}").episodes == 30
        dataset = replay.open(tmp_path / f"out{number}")
        assert (dataset.episode(29).observation[:20] == numbers[-20:]).all() or number == 0
        assert (dataset.episode(7).observation[:19] == numbers[140:159]).all()


def test_a_dataset_that_says_much_and_holds_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed as well as it can be, and every filter that is known."""
    made = {"gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True}, "lzf": {"compression": "lzf"}}
    for name, how in made.items():

        def pack(file: h5py.File, how: dict[str, Any] = how) -> None:
            for column in list(file):
                values = file[column][()]
                del file[column]
                file.create_dataset(column, data=values, chunks=(4, *values.shape[1:]), **how)

        assert ingest(logs.hdf5(tmp_path, pack), tmp_path / name).transitions == 6
        assert replay.open(tmp_path / name).episode(1).observation.tolist() == [[6, 7], [8, 9], [10, 11], [10, 11]]


def test_the_command_ends_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = logs.npz(tmp_path, actions=np.array(["a"] * 6))
    for words in (
        ["--validation-fraction", "nan"],
        ["--split-seed", "-1"],
        ["--env", " "],
        ["--licence", ""],
        ["--collected-by", "\udcff"],
        ["--reward", ""],
        ["--env", "a", "--env=b"],
        [],
    ):
        assert main(["ingest", source, "--out", str(tmp_path / "out"), *words]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: ")
        assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", r"SOURCE: found nothing"),
        ("  ", r"SOURCE: found nothing"),
        ("s3://bucket/log", r"'s3' is no kind of source; expected minari:, ogbench:"),
        ("https://example.org/log.hdf5", r"'https' is no kind of source"),
        ("hdf5:", r"names no data"),
        ("hdf5:a\0b", r"is no path"),
        ("ogbench:\udcff", r"found nothing there|is no path"),
        ("parquet:a\0b", r"is no path"),
        ("a\0b", r"is no path"),
        (f"hdf5:{'a' * 5000}", r"cannot be looked at \(File name too long\)"),
        ("hdf5:~nobody-of-this-name/log", r"found nothing there|is no path"),
    ],
)
def test_a_source_that_is_none(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(source, tmp_path / "out")
