"""Logs that are not what they should be: refused by file and field before they take memory, and nothing stays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.replay import logs

ZEROS = zlib.compress(b"\0" * 48)
SHORT = zlib.compress(b"\0" * 4)
LONG = zlib.compress(b"\0" * (1 << 22))


def encrypted(path: Path) -> str:
    source = logs.npz(path)
    data = bytearray((path / "log.npz").read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + place] |= 1
    (path / "log.npz").write_bytes(data)
    return source


def lying(path: Path, size: int) -> str:
    """The archive's own word about the first array's size is another."""
    source = logs.npz(path)
    data = bytearray((path / "log.npz").read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = size.to_bytes(4, "little")
    (path / "log.npz").write_bytes(data)
    return source


NPZ: dict[str, tuple[Callable[[Path], str], str]] = {
    "text": (lambda p: logs.npz(p, actions=np.array(["a"] * 6)), r"actions: found text \(<U1\), expected numbers"),
    "bytes": (lambda p: logs.npz(p, observations=np.array([b"a"] * 6)), r"observations: found text"),
    "complex": (lambda p: logs.npz(p, observations=np.zeros((6, 2), complex)), r"observations: found complex numbers"),
    "dates": (lambda p: logs.npz(p, actions=np.zeros(6, "M8[s]")), r"actions: found dates"),
    "spans": (lambda p: logs.npz(p, terminals=np.zeros(6, "m8[s]")), r"terminals: found spans of time"),
    "records": (lambda p: logs.npz(p, actions=np.zeros(6, [("a", "f4")])), r"actions: found records"),
    "objects": (lambda p: logs.npz(p, actions=np.array([{}] * 6)), r"actions: holds pickled objects"),
    "a single value": (lambda p: logs.npz(p, actions=np.float32(3)), r"actions: is a single value"),
    "five dimensions": (
        lambda p: logs.npz(p, observations=np.zeros((6, 2, 2, 2, 2), np.float32)),
        r"observations: found rows of 4 dimensions \(2, 2, 2, 2\), expected at most 3",
    ),
    "empty rows": (lambda p: logs.npz(p, observations=np.zeros((6, 0))), r"observations: found rows of shape \(0,\)"),
    "no rows": (lambda p: logs.npz(p, **{k: v[:0] for k, v in logs.columns().items()}), r"has no rows"),
    "negative choices": (
        lambda p: logs.npz(p, actions=np.array([0, -1, 2, 3, -5, 1])),
        r"actions: found integers from -5 to 3, expected choices, 0 to at most 65,535",
    ),
    "endless choices": (lambda p: logs.npz(p, actions=np.array([0, 1, 2, 3, 4, 2**62])), r"found integers from 0 to 4"),
    "8 GB in the header": (
        lambda p: logs.zipped(p, observations=logs.npy_header((6, 1 << 28)) + b"\0" * 48),
        r"observations: says that it is \(6, 268435456\) float32, 6,442,451,0.. bytes, and has",
    ),
    "2^40 rows": (
        lambda p: logs.zipped(p, observations=logs.npy_header((2**40, 2)) + b"\0" * 48),
        r"observations: says that it is \(1099511627776, 2\)",
    ),
    "numbers beyond numbers": (
        lambda p: logs.zipped(p, observations=logs.npy_header((6, 2**40, 2**40)) + b"\0" * 48),
        r"observations: says that it is",
    ),
    "negative rows": (
        lambda p: logs.zipped(p, observations=logs.npy_header((-6, 2))),
        r"observations: has the shape \(-6, 2\)",
    ),
    "a hundred dimensions": (
        lambda p: logs.zipped(p, observations=logs.npy_header((6,) + (1,) * 20) + b"\0" * 24),
        r"observations: found rows of 20 dimensions",
    ),
    "a header of 4 GB": (
        lambda p: logs.zipped(p, observations=b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100),
        r"observations: has a header of 4,294,967,295 bytes, expected at most 10,000",
    ),
    "a header that is no Python": (
        lambda p: logs.zipped(p, observations=b"\x93NUMPY\x01\x00" + b"\x04\x00" + b"((('"),
        r"observations: is no .npy array",
    ),
    "a version of its own": (
        lambda p: logs.zipped(p, observations=b"\x93NUMPY\x09\x00" + b" " * 100),
        r"observations: is no .npy array",
    ),
    "more than the header says": (
        lambda p: logs.zipped(p, observations=logs.npy(logs.columns()["observations"]) + b"x" * 1000),
        r"observations: says that it is \(6, 2\) float32, 176 bytes, and has 1,176",
    ),
    "an array twice": (
        lambda p: logs.zipped(p, [("actions.npy", logs.npy(np.zeros((6, 2))))]),
        r"holds actions twice",
    ),
    "encrypted": (encrypted, r"log.npz, \w+: is encrypted"),
    "a size that is a lie": (lambda p: lying(p, 2**31), r"log.npz, \w+: says that it is .* and has 2,147,483,648"),
    "another compression": (
        lambda p: logs.zipped(p, compression=zipfile.ZIP_LZMA),
        r"is compressed by ZIP's method 14, expected deflate",
    ),
}

HDF5: dict[str, tuple[Callable[[Path], str], str]] = {
    "text": (lambda p: logs.hdf5(p, actions=["a"] * 6), r"actions: found text or objects"),
    "records": (lambda p: logs.hdf5(p, actions=np.zeros(6, [("a", "f4")])), r"actions: found records"),
    "opaque": (lambda p: logs.hdf5(p, actions=np.zeros(6, "V8")), r"actions: found records"),
    "no value": (lambda p: logs.hdf5(p, actions=h5py.Empty("f4")), r"actions: is no array with one row per step"),
    "a single value": (lambda p: logs.hdf5(p, rewards=1.0), r"rewards: is no array with one row per step"),
    "a group": (
        lambda p: logs.hdf5(p, timeouts=None, make=lambda f: f.create_group("timeouts/x")),
        r"timeouts: is a gr",
    ),
    "five dimensions": (
        lambda p: logs.hdf5(p, observations=np.zeros((6, 1, 1, 1, 1))),
        r"observations: found rows of 4 dim",
    ),
    "10^11 rows of nothing": (
        lambda p: logs.hdf5(
            p,
            lambda f: [
                logs.chunked(n, rows=10**11, width=0 if n in ("rewards", "terminals") else 2)(f) for n in list(f)
            ],
        ),
        r"log.hdf5, \w+: says that it holds [0-9.]+ [TG]B in a file of .* kB, expected at most 500 times its size",
    ),
    "a row of 2^24 numbers": (
        lambda p: logs.hdf5(p, lambda f: logs.chunked("observations", width=1 << 24, rows=6)(f)),
        r"observations: found rows of shape \(16777216,\), expected 1 to 1,048,576 numbers a row",
    ),
    "a chunk that unpacks to less": (
        lambda p: logs.hdf5(p, logs.chunked("observations", SHORT, compression="gzip")),
        r"observations, chunk at \(0, 0\): unpacks to 4 bytes, expected 48",
    ),
    "a chunk that unpacks to more": (
        lambda p: logs.hdf5(p, logs.chunked("observations", LONG, compression="gzip")),
        r"observations, chunk at \(0, 0\): unpacks to more than 48 bytes",
    ),
    "a chunk of other bytes": (
        lambda p: logs.hdf5(p, logs.chunked("observations", b"junk" * 9, compression="gzip")),
        r"observations, chunk at \(0, 0\): cannot be unpacked",
    ),
    "a chunk that is cut": (
        lambda p: logs.hdf5(p, logs.chunked("observations", ZEROS[:-5], compression="gzip")),
        r"observations, chunk at \(0, 0\): cannot be unpacked \(it is cut short\)",
    ),
    "a chunk that is too large": (
        lambda p: logs.hdf5(p, logs.chunked("observations", b"\0" * 9000, compression="gzip")),
        r"observations, chunk at \(0, 0\): has 9000 bytes, expected at most",
    ),
    "lzf that looks back too far": (
        lambda p: logs.hdf5(p, logs.chunked("observations", b"\xff\xff\xff", compression="lzf")),
        r"observations, chunk at \(0, 0\): cannot be unpacked \(no whole LZF\)",
    ),
    "lzf that unpacks to less": (
        lambda p: logs.hdf5(p, logs.chunked("observations", b"\x03abcd", compression="lzf")),
        r"observations, chunk at \(0, 0\): unpacks to 4 bytes, expected 48",
    ),
    "two columns by one name": (
        lambda p: logs.hdf5(p, other=np.zeros(6)),
        r"rename makes both 'rewards' and 'other' goal",
    ),
}

DEMOS: dict[str, tuple[Callable[[Path], str], str]] = {
    "text": (lambda p: logs.robomimic(p, actions=["a"] * 3), r"data/demo_0/actions: found text or objects"),
    "next text": (lambda p: logs.robomimic(p, next_obs__x=["a"] * 3), r"data/demo_0/next_obs/x: found text or objects"),
    "next of another shape": (
        lambda p: logs.robomimic(p, next_obs__x=np.zeros((3, 5))),
        r"data/demo_0/next_obs/x: found shape \(3, 5\), expected \(3, 2\)",
    ),
    "rewards in four dimensions": (
        lambda p: logs.robomimic(p, rewards=np.zeros((3, 1, 1, 1))),
        r"data/demo_0/rewards: found shape",
    ),
    "a name of 5,000 digits": (
        lambda p: logs.robomimic(
            p, lambda f: (f.create_group("data/demo_" + "9" * 5000), f.__delitem__("data/demo_0/dones"))
        ),
        r"data/demo_0: lacks dones",
    ),
    "a key that only one has": (
        lambda p: logs.robomimic(p, lambda f: f.update({"data/demo_1/obs/y": np.zeros((3, 1))})),
        r"data/demo_1/obs: has y besides; expected the keys of the first episode: x",
    ),
    "deep JSON": (
        lambda p: logs.robomimic(p, lambda f: f["data"].attrs.__setitem__("env_args", "[" * 30_000)),
        r"data, env_args: is not a JSON object",
    ),
    "an object for a name": (
        lambda p: logs.robomimic(p, lambda f: f["data"].attrs.__setitem__("env_args", '{"env_name": {}}')),
        r"data, env_args: is not a JSON object with the text env_name",
    ),
    "a mask that is an array": (
        lambda p: logs.robomimic(p, lambda f: f.__setitem__("mask", np.zeros(3))),
        r"mask: is no g",
    ),
    "a mask of groups": (
        lambda p: logs.robomimic(p, lambda f: f.create_group("mask/train/x")),
        r"mask/train: is no list",
    ),
    "a mask of numbers": (
        lambda p: logs.robomimic(p, lambda f: f.__setitem__("mask/train", np.arange(3))),
        r"mask/train: is no list of text",
    ),
    "an episode in two splits": (
        lambda p: logs.robomimic(p, lambda f: f.update({"mask/train": [b"demo_0"], "mask/valid": [b"demo_0"]})),
        r"mask/valid: names 'demo_0', which is in train as well",
    ),
    "a column without a name": (
        lambda p: logs.robomimic(p, **{f"obs/{'k' * 300}": np.zeros((3, 2))}),
        r"a column is called 'kkkk.*…; expected 1 to 180 printable characters",
    ),
}


def twice(path: Path) -> str:
    found = logs.table()
    pq.write_table(found.append_column("reward", found["reward"]), path / "log.parquet")
    return f"parquet:{path / 'log.parquet'}"


def edited(path: Path, change: Callable[[bytearray], None], **how: Any) -> str:
    """The footer with other bytes."""
    source = logs.parquet(path, how=how)
    data = bytearray((path / "log.parquet").read_bytes())
    change(data)
    (path / "log.parquet").write_bytes(data)
    return source


def footer_of_4_gb(data: bytearray) -> None:
    data[-8:-4] = b"\xff\xff\xff\xff"


def pages_elsewhere(data: bytearray) -> None:
    data[4:40] = b"\xff" * 36


def nested(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return [value] * 6


PARQUET: dict[str, tuple[Callable[[Path], str], str]] = {
    "text for numbers": (lambda p: logs.parquet(p, action=["a"] * 6), r"action: found text or objects"),
    "bytes for numbers": (lambda p: logs.parquet(p, action=[b"a"] * 6), r"action: found text or objects"),
    "lists of text": (lambda p: logs.parquet(p, action=[["a"]] * 6), r"action: holds lists of text or bytes"),
    "a number for rows": (
        lambda p: logs.parquet(p, next_observation=[1.0] * 6),
        r"next_observation: found rows of shape",
    ),
    "pictures after numbers": (
        lambda p: logs.parquet(p, next_observation=[b"a"] * 6),
        r"next_observation: found rows of",
    ),
    "lists without numbers": (
        lambda p: logs.parquet(p, observation=pa.array([[]] * 6, pa.list_(pa.float32()))),
        r"observation: lists of no elements",
    ),
    "lists of one length, and another": (
        lambda p: logs.parquet(p, observation=[[[1.0], [2.0, 3.0]]] * 6),
        r"observation: lists of 1 to 2 elements",
    ),
    "structures": (lambda p: logs.parquet(p, observation=[{"bytes": 1.0}] * 6), r"observation: holds structures"),
    "no value in a list": (
        lambda p: logs.parquet(p, observation=pa.array([[None]] * 6, pa.list_(pa.float32()))),
        r"observation: 6 of 6 rows are null",
    ),
    "lists in lists in lists in lists": (
        lambda p: logs.parquet(p, observation=nested(5)),
        r"observation: nests lists 5 deep, expected at most 3",
    ),
    "an abyss": (lambda p: logs.parquet(p, other=nested(30)), r"log.parquet: nests columns more than 48 deep"),
    "a column twice": (twice, r"reward: is there 2 times, expected once"),
    "tasks that are structures": (
        lambda p: logs.parquet(p, task=[{"a": 1}] * 6),
        r"task: type struct.* is not supported",
    ),
    "tasks that are bytes": (lambda p: logs.parquet(p, task=[b"a"] * 6), r"task: found bytes at row 0, expected text"),
    "tasks that are novels": (lambda p: logs.parquet(p, task=["a" * 10_001] * 6), r"task: found 10,001 characters"),
    "half a task": (lambda p: logs.parquet(p, task=[0.5] * 6), r"task: found .*0.5.* at row 0, expected whole numbers"),
    "steps that overflow": (
        lambda p: logs.parquet(p, frame_index=[2**63 - 1, -(2**63), 0, 1, 2, 3]),
        r"frame_index: found .*9223372036854775807.* at row 0, expected whole numbers up to",
    ),
    "a step that is no number": (lambda p: logs.parquet(p, frame_index=[np.nan] * 6), r"frame_index: found .*nan.* at"),
    "another width in another file": (
        lambda p: logs.parquet_pair(p, action=[[1.0, 2.0]] * 6),
        r"b.parquet, action: found rows of shape \(2,\), expected \(1,\)",
    ),
    "another type in another file": (
        lambda p: logs.parquet_pair(p, action=["a"] * 6),
        r"b.parquet, action: holds text, and a.parquet has lists of numbers \(1 deep\) there",
    ),
    "a footer of 4 GB": (lambda p: edited(p, footer_of_4_gb), r"log.parquet: is damaged.*4,294,967,295 bytes"),
    "pages of other bytes": (lambda p: edited(p, pages_elsewhere), r"log.parquet, observation: is damaged"),
    "a name of nothing": (
        lambda p: logs.parquet(p, observation=None, **{"observation.": [1.0] * 6}),
        r"a column is called ''",
    ),
    "a name with a bell": (
        lambda p: logs.parquet(p, observation=None, **{"observation.\x07": [1.0] * 6}),
        r"a column is called '\\x07'",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", NPZ)
def test_npz(tmp_path: Path, name: str) -> None:
    logs.refused(tmp_path, NPZ[name])


@pytest.mark.parametrize("name", HDF5)
def test_hdf5(tmp_path: Path, name: str) -> None:
    renamed = {"rewards": "goal", "other": "goal"} if name == "two columns by one name" else None
    logs.refused(tmp_path, HDF5[name], rename=renamed)


@pytest.mark.parametrize("name", DEMOS)
def test_robomimic(tmp_path: Path, name: str) -> None:
    logs.refused(tmp_path, DEMOS[name])


@pytest.mark.parametrize("name", PARQUET)
def test_parquet(tmp_path: Path, name: str) -> None:
    logs.refused(tmp_path, PARQUET[name])
