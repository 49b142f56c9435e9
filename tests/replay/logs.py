"""Small valid logs of each format, and what might be wrong with them."""

import io
import struct
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay.errors import DataError
from replay.ingest import ingest

N = 6
"""Rows: two episodes of three."""


def columns():
    return {
        "observations": np.arange(2 * N, dtype=np.float32).reshape(N, 2),
        "actions": np.linspace(-1, 1, 2 * N, dtype=np.float32).reshape(N, 2),
        "terminals": np.array([0, 0, 1] * 2, bool),
    }


def there(found):
    return {name: value for name, value in found.items() if value is not None}


def npz(path, **changes):
    np.savez_compressed(path / "log.npz", **there({**columns(), **changes}))
    return f"ogbench:{path / 'log.npz'}"


def npy(array):
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def npy_header(shape, dtype="<f4"):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(path, members=(), compression=zipfile.ZIP_DEFLATED, **changes):
    """An archive with other bytes for some arrays, and further members."""
    arrays = {name: npy(array) for name, array in columns().items()}
    with zipfile.ZipFile(path / "log.npz", "w", compression) as archive:
        for name, data in there({**arrays, **changes}).items():
            archive.writestr(f"{name}.npy", data)
        for name, data in members:
            archive.writestr(name, data)
    return f"ogbench:{path / 'log.npz'}"


def hdf5(path, make=None, **changes):
    """D4RL's layout; `make` gets the open file."""
    with h5py.File(path / "log.hdf5", "w") as file:
        for name, column in there({**columns(), "rewards": np.arange(N, dtype=np.float32), **changes}).items():
            file[name] = column
        if make:
            make(file)
    return f"hdf5:{path / 'log.hdf5'}"


def chunked(name, *chunks, rows=N, width=2, **how):
    """A `make` that puts an array of chunks in the place of one; `chunks` are their bytes as stored."""

    def make(file):
        if name in file:
            del file[name]
        shape = (rows, width) if width else (rows,)
        data = file.create_dataset(name, shape, "f4", chunks=(min(rows, N), *shape[1:]), **how)
        for number, chunk in enumerate(chunks):
            data.id.write_direct_chunk((number * N, *(0,) * (len(shape) - 1)), chunk)

    return make


def robomimic(path, make=None, **changes):
    """Two demos of three steps; `changes` by the name in a demo, with `__` for a slash, `make` gets the open file."""
    demo = {
        "actions": np.zeros((3, 2), np.float32),
        "rewards": np.zeros(3),
        "dones": np.array([0, 0, 1]),
        "obs/x": np.zeros((3, 2), np.float32),
        **{name.replace("__", "/"): value for name, value in changes.items()},
    }
    with h5py.File(path / "log.hdf5", "w") as file:
        for number in range(2):
            for name, value in there(demo).items():
                file[f"data/demo_{number}/{name}"] = value
        if make:
            make(file)
    return f"hdf5:{path / 'log.hdf5'}"


def table(**changes):
    found = {
        "observation": [[float(i), 0.0] for i in range(N)],
        "action": [[0.1 * i] for i in range(N)],
        "reward": [float(i) for i in range(N)],
        "terminated": [False, False, True] * 2,
        "episode_index": [0, 0, 0, 1, 1, 1],
        **changes,
    }
    return pa.table(there(found))


def parquet(path, name="log.parquet", how=None, **changes):
    pq.write_table(table(**changes), path / name, **(how or {}))
    return f"parquet:{path / name}"


def parquet_pair(path, **changes):
    """Two files, of which the second has other columns."""
    parquet(path, "a.parquet")
    parquet(path, "b.parquet", **changes)
    return f"parquet:{path}/*.parquet"


def refused(tmp_path, case, **options):
    """That ingest refuses what a case makes, in one line with its message, and that nothing stays behind."""
    (tmp_path / "logs").mkdir()
    make, message = case
    source = make(tmp_path / "logs")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message) as told:
        ingest(source, tmp_path / "out", **options)
    assert "\n" not in str(told.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
