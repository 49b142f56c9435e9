"""Logs that cannot be ingested: arrays of wrong kinds, archives that lie, files that are none."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_inputs.rows import Material, Prepare, Row
from tests.fuzz.targets import logs as good

_ROWS = good.ROWS
Arrays = dict[str, Any]


def _npz(**changes: Any) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        arrays = {**good.columns(), **changes}
        np.savez(folder / "log.npz", **{name: array for name, array in arrays.items() if array is not None})

    return prepare


def _npz_member(content: bytes) -> Prepare:
    """`observations` is these bytes."""

    def prepare(folder: Path, material: Material) -> None:
        good.make_stored_npz(folder)
        with zipfile.ZipFile(folder / "log.npz") as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(folder / "log.npz", "w") as new:
            for name, old_content in members.items():
                new.writestr(name, content if name == "observations.npy" else old_content)

    return prepare


def _header(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _objects() -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([{}] * _ROWS), allow_pickle=True)
    return buffer.getvalue()


def _hdf5(make: Callable[[Path], None], change: Callable[[Any], Any]) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        import h5py

        make(folder)
        with h5py.File(folder / "log.hdf5", "r+") as file:
            change(file)

    return prepare


def _put(name: str, value: Any, **options: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        if options:
            file.create_dataset(name, **options)
        elif value is not None:
            file[name] = value

    return change


def _parquet(**changes: Any) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: Arrays = {
            "observation": [[float(row), 0.5] for row in range(_ROWS)],
            "action": [[0.5]] * _ROWS,
            "reward": [1.0] * _ROWS,
            "terminated": [row % 4 == 3 for row in range(_ROWS)],
            **changes,
        }
        pq.write_table(pa.table({name: c for name, c in columns.items() if c is not None}), folder / "log.parquet")

    return prepare


def _minari(**changes: Any) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        (folder / "log").mkdir()
        good.make_minari(folder / "log")
        path = folder / "log" / "metadata.json"
        record = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({name: value for name, value in record.items() if value is not ...}))

    return prepare


def _special(name: str, kind: str) -> Prepare:
    def prepare(folder: Path, material: Material) -> None:
        path = folder / name
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a folder":
            path.mkdir()
        elif kind == "a device":
            path.symlink_to("/dev/zero")
        elif kind == "nothing":
            path.write_bytes(b"")
        elif kind == "text":
            path.write_text("text\n" * 100)
        elif kind == "a terabyte of zeros":
            path.write_bytes(b"")
            os.truncate(path, 1 << 40)

    return prepare


_N = np.zeros
_RECORD = _N(_ROWS, [("a", "f4"), ("b", "S2")])
_ARRAYS: dict[str, Any] = {
    "text": np.full(_ROWS, "x"),
    "bytes": np.full(_ROWS, b"x"),
    "records": _RECORD,
    "complex numbers": _N((_ROWS, 2), "c8"),
    "days": _N(_ROWS, "M8[D]"),
    "raw bytes": _N(_ROWS, "V8"),
    "no columns": _N((_ROWS, 0), "f4"),
    "a row too few": _N((_ROWS - 1, 3), "f4"),
    "no rows": _N((0, 3), "f4"),
    "one number": np.float32(1),
}

_METADATA: Mapping[str, tuple[Any, ...]] = {
    "total_episodes": (..., None, "x", -1, 10**30, [], 1.5, 99),
    "total_steps": (..., None, "x", [], {}, -7),
    "observation_space": (..., None, 1, "", "{", "{}", {"type": "nosuch"}, {"type": "Box"}),
    "action_space": (..., None, 1, "", "{", {"type": "Dict", "subspaces": {}}, {"type": "Text"}),
    "data_format": (None, 1, "csv", [], {}),
}

ROWS: list[Row] = [
    *(
        Row(
            f"npz: {name} of {kind}",
            "ingest ogbench:log.npz --out new",
            rf"log\.npz.*({name}|length)",
            _npz(**{name: array}),
        )
        for name in ("observations", "actions", "terminals")
        for kind, array in _ARRAYS.items()
        if not (name == "terminals" and kind in ("a row too few", "no columns"))
    ),
    *(
        Row(f"npz: no {name}", "ingest ogbench:log.npz --out new", rf"log\.npz: lacks {name}", _npz(**{name: None}))
        for name in ("observations", "actions", "terminals")
    ),
    *(
        Row(f"npz: {name}", "ingest ogbench:log.npz --out new", r"log\.npz", _npz_member(content))
        for name, content in {
            "no header": b"",
            "another file": b"another file",
            "objects": _objects(),
            "a header of 10^12 rows": _header("(1000000000000, 3)"),
            "a header of rows below zero": _header("(-1, 3)"),
            "a header of a row of 10^9": _header(f"({_ROWS}, 1000000000)"),
            "a header of 2^63 rows": _header("(9223372036854775808, 3)"),
            "a header that is no literal": _header("f()"),
            "a header of text": _header("'x'"),
            "a header of another type": _header(f"({_ROWS}, 3)", "3"),
            "a header of a type that is none": _header(f"({_ROWS}, 3)", "'<q9'"),
            "a header of parentheses": _header("(" * 5000),
            "Fortran's order": _header(f"({_ROWS}, 3)", order="True") + bytes(12 * _ROWS),
            "fewer bytes than it says": _header(f"({_ROWS}, 3)") + bytes(12),
        }.items()
    ),
    *(
        Row(f"{source}{name}: {kind}", f"ingest {source}{name} --out new", rf"{name}", _special(name, kind))
        for source, name in (
            ("ogbench:", "log.npz"),
            ("hdf5:", "log.hdf5"),
            ("parquet:", "log.parquet"),
            ("", "log"),
            ("minari:", "log"),
        )
        for kind in ("a pipe", "a folder", "a device", "nothing", "text", "a terabyte of zeros")
        if not (source == "parquet:" and kind == "a folder")
    ),
    *(
        Row(
            f"hdf5: {name} of {kind}",
            "ingest hdf5:log.hdf5 --out new",
            r"log\.hdf5",
            _hdf5(good.make_d4rl, _put(name, array)),
        )
        for name in ("observations", "actions", "rewards", "terminals", "next_observations")
        for kind, array in _ARRAYS.items()
        if kind not in ("text", "days") and not (name == "next_observations" and kind == "no columns")
    ),
    *(
        Row(
            f"hdf5: {name} of 10^11 rows that were never written",
            "ingest hdf5:log.hdf5 --out new",
            r"log\.hdf5",
            _hdf5(good.make_d4rl, _put(name, None, shape=(10**11, 3), dtype="f4", chunks=(4096, 3))),
        )
        for name in ("observations", "actions", "rewards", "terminals")
    ),
    *(
        Row(
            f"robomimic: {name} of {kind}",
            "ingest hdf5:log.hdf5 --out new",
            r"log\.hdf5",
            _hdf5(good.make_robomimic, _put(f"data/demo_0/{name}", array)),
        )
        for name in ("actions", "rewards", "dones", "obs/joints")
        for kind, array in _ARRAYS.items()
        if kind not in ("text", "days")
    ),
    *(
        Row(
            f"robomimic: {name} of 10^11 rows that were never written",
            "ingest hdf5:log.hdf5 --out new",
            r"log\.hdf5",
            _hdf5(
                good.make_robomimic, _put(f"data/demo_0/{name}", None, shape=(10**11, 2), dtype="f4", chunks=(4096, 2))
            ),
        )
        for name in ("actions", "rewards", "dones", "obs/joints")
    ),
    *(
        Row(
            f"parquet: {name} of {kind}",
            "ingest parquet:log.parquet --out new",
            rf"log\.parquet.*{name}",
            _parquet(**{name: column}),
        )
        for name in ("observation", "action", "reward", "terminated")
        for kind, column in {
            "text": ["x"] * _ROWS,
            "nothing": [None] * _ROWS,
            "some nothing": [None, *[1.0] * (_ROWS - 1)],
            "lists of other lengths": [[1.0] * (row % 3) for row in range(_ROWS)],
            "empty lists": [[]] * _ROWS,
            "lists of text": [["x"]] * _ROWS,
            "structs": [{"a": 1}] * _ROWS,
            "lists of nothing": [[None]] * _ROWS,
            "NaN": [float("nan")] * _ROWS,
            "bytes": [b"xyz"] * _ROWS,
        }.items()
    ),
    *(
        Row(
            f"minari: {name}: {value!r:.40}", "ingest minari:log --out new", r"metadata\.json", _minari(**{name: value})
        )
        for name, values in _METADATA.items()
        for value in values
    ),
]
