"""Changes of NumPy archives and HDF5 files: arrays of other types, ranks and lengths, and files that lie about them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.target import Mutation, UnchangedError

Array = np.ndarray[Any, Any]

_DTYPES = ("float16", "float64", "int8", "int64", "uint64", "bool", "complex64", "S3", "U2", ">f4", "M8[s]", "V4")


def changed(arrays: dict[str, Array], random: Random) -> tuple[dict[str, Array], str]:
    """Arrays by name, with one of them changed; what was done."""
    arrays = dict(arrays)
    name = random.choice(sorted(arrays))
    array = arrays[name]
    way = random.choice(
        ("dtype", "dtype", "rank", "rank", "rows", "value", "value", "drop", "rename", "extra", "compound")
    )
    done = way
    if way == "dtype":
        dtype = random.choice(_DTYPES)
        try:
            arrays[name] = array.astype(dtype)
        except (TypeError, ValueError) as error:
            raise UnchangedError from error
        done = f"is {dtype}"
    elif way == "rank":
        shapes = [
            array.reshape(-1),
            array[..., None],
            array[None],
            array.reshape(len(array), -1).T,
            array[:, ..., None],
        ]
        shapes += [np.zeros((len(array), *shape), array.dtype) for shape in ((0,), (1, 2, 3), (4000,), (1,) * 20)]
        shapes.append(np.asarray(array.reshape(-1)[0]))
        arrays[name] = random.choice(shapes)
        done = f"has shape {arrays[name].shape}"
    elif way == "rows":
        arrays[name] = random.choice((array[:0], array[:1], array[:-1], np.concatenate([array, array])))
        done = f"has {len(arrays[name])} rows"
    elif way == "value":
        flat = array.copy().reshape(-1)
        value = random.choice((np.nan, np.inf, -np.inf, 1e38, -1, 2, 255, 0))
        with np.errstate(all="ignore"):
            flat[random.randrange(flat.size)] = np.asarray(value).astype(array.dtype)
        arrays[name] = flat.reshape(array.shape)
        done = f"has a {value}"
    elif way == "drop":
        del arrays[name]
    elif way == "rename":
        new = random.choice((f"{name}s", "\u202e", "../x", random.choice(sorted(arrays)), "a" * 300))
        arrays[new] = arrays.pop(name)
        done = f"is called {new[:20]!r}"
    elif way == "extra":
        arrays[random.choice(("goal", "more", "qpos", "next_observations"))] = np.full(len(array), "x")
    else:
        arrays[name] = np.zeros(len(array), [("a", "f4"), ("b", "S2")])
    return arrays, f"{name} {done}"


# --- .npz ---


def in_npz(pattern: str) -> Mutation:
    def mutate(folder: Path, random: Random) -> str:
        path = random.choice(sorted(folder.glob(pattern)))
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        form = random.choice(
            ("plain",) * 6 + ("stored", "object", "fortran", "header", "header", "bomb", "twice", "bzip")
        )
        name = random.choice(sorted(arrays))
        if form in ("plain", "stored"):
            arrays, done = changed(arrays, random)
            (np.savez if form == "stored" else np.savez_compressed)(path, **arrays)  # type: ignore[arg-type]
            return f"{path.name}: {done}"
        members = {name: _npy(array) for name, array in arrays.items()}
        if form == "object":
            members[name] = _npy(np.array([{"a": 1}] * len(arrays[name]), object))
        elif form == "fortran":
            members[name] = _npy(np.asfortranarray(np.stack([arrays[name]] * 2, -1)))
        elif form in ("header", "bomb"):
            members[name], form = _lying(arrays[name], members[name], random, bomb=form == "bomb")
        compression = zipfile.ZIP_BZIP2 if form == "bzip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", compression) as archive:
            for member, content in members.items():
                archive.writestr(zipfile.ZipInfo(f"{member}.npy"), content, compression)
                if form == "twice" and member == name:
                    archive.writestr(zipfile.ZipInfo(f"{member}.npy"), content[:-8], compression)
        return f"{path.name}: {name} {form}"

    return mutate


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _lying(array: Array, content: bytes, random: Random, *, bomb: bool) -> tuple[bytes, str]:
    """A header that says what is not so; `bomb`: and gigabytes of zeros behind it, which compress to nothing."""
    shape = random.choice(
        (
            (10**12, *array.shape[1:]),
            (-1, *array.shape[1:]),
            (len(array) + 1, *array.shape[1:]),
            (len(array), 10**9),
            (0, *array.shape[1:]),
            (2**63, 2),
            (),
            (1,) * 70,
        )
    )
    if bomb:
        rows = 50_000_000 // max(1, array.dtype.itemsize)
        shape, body = (rows,), bytes(rows * array.dtype.itemsize)
    else:
        body = content[len(content) - array.nbytes :]
    header = f"{{'descr': {array.dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    if random.random() < 0.2:
        header = random.choice((header.replace("False", "None"), header.replace("'descr'", "'desc'"), "(" * 3000, "{}"))
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + body, f"says {header[:100]}"


# --- HDF5 ---


def in_hdf5(pattern: str) -> Mutation:
    def mutate(folder: Path, random: Random) -> str:
        import h5py

        path = random.choice(sorted(folder.glob(pattern)))
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
            name = random.choice(names)
            way = random.choice(tuple(_HDF5))
            try:
                done = _HDF5[way](file, name, random)
            except (ValueError, TypeError, KeyError, OSError) as error:  # what h5py does not write
                raise UnchangedError from error
        return f"{path.relative_to(folder)}: {name} {way} {done}"

    return mutate


def _array(file: Any, name: str, random: Random) -> str:
    """One of the changes that any array may have."""
    arrays, done = changed({name: file[name][()]}, random)
    del file[name]
    for other, array in arrays.items():
        safe = other.replace("/..", "")
        if safe in file:
            raise UnchangedError
        file[safe] = array.astype("S32") if array.dtype.kind in "UM" else array
    return done


def _kind(file: Any, name: str, random: Random) -> str:
    """An array of a type that HDF5 has and NumPy has not."""
    import h5py

    rows = len(file[name])
    del file[name]
    kind = random.choice(("text", "ragged", "reference", "enum", "empty", "scalar text", "object"))
    if kind == "text":
        file.create_dataset(name, data=["x"] * rows, dtype=h5py.string_dtype())
    elif kind == "ragged":
        made = file.create_dataset(name, (rows,), dtype=h5py.vlen_dtype(np.float32))
        made[0] = [1.0, 2.0]
    elif kind == "reference":
        file.create_dataset(name, (rows,), dtype=h5py.ref_dtype)
    elif kind == "enum":
        file.create_dataset(name, (rows,), dtype=h5py.enum_dtype({"NO": 0, "YES": 1}, basetype="i1"))
    elif kind == "empty":
        file[name] = h5py.Empty("f4")
    elif kind == "scalar text":
        file[name] = "text"
    else:
        file.create_dataset(name, data=[b"\0\xff"] * rows, dtype=h5py.string_dtype("ascii"))
    return kind


def _sparse(file: Any, name: str, random: Random) -> str:
    """Rows that were never written, and take no room on the disk."""
    old = file[name]
    shape, dtype = (random.choice((10**6, 10**9, 10**11)), *old.shape[1:]), old.dtype
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=(min(shape[0], 1 << 16), *shape[1:]))
    return str(shape)


def _chunked(file: Any, name: str, random: Random) -> str:
    data = file[name][()]
    del file[name]
    options: dict[str, Any] = random.choice(
        ({"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 2}, {"shuffle": True})
    )
    if not data.ndim:
        raise UnchangedError
    file.create_dataset(name, data=data, **options)
    return str(options)


def _group(file: Any, name: str, random: Random) -> str:
    del file[name]
    file.create_group(name)
    return "a group"


def _link(file: Any, name: str, random: Random) -> str:
    import h5py

    del file[name]
    kind = random.choice(("soft", "cycle", "external", "other", "broken"))
    targets = {
        "soft": lambda: h5py.SoftLink("/"),
        "cycle": lambda: h5py.SoftLink(f"/{name}"),
        "external": lambda: h5py.ExternalLink("/etc/passwd", "/"),
        "other": lambda: file["/"],
        "broken": lambda: h5py.SoftLink("/nowhere"),
    }
    file[name] = targets[kind]()
    return kind


def _attribute(file: Any, name: str, random: Random) -> str:
    """Attributes are strings of JSON, or numbers, in the layouts that are read."""
    nodes = [file, file[name], *(file[part] for part in ("data", "mask") if part in file)]
    nodes = [node for node in nodes if node.attrs] or nodes
    node = random.choice(nodes)
    key = random.choice([*node.attrs, "env_args", "total", "num_samples", "env"])
    value = random.choice(("", "text", "{", "[]", "null", '{"env_name": 3}', -1, 10**18, np.nan, np.zeros(3), b"\xff"))
    node.attrs[key] = np.bytes_(value) if isinstance(value, bytes) else value
    return f"attribute {key} is {value!r}"


def _more(file: Any, name: str, random: Random) -> str:
    key = random.choice(
        ("data/demo_99", "data/demo_x", "mask/train", "mask/valid", "episode_99", "next_observations", "x/y")
    )
    if key in file:
        del file[key]
    file[key] = random.choice((np.zeros(3, "f4"), np.array([b"demo_0", b"demo_77"]), np.float32(1), np.zeros((2, 2))))
    return f"besides {key}"


_HDF5: dict[str, Callable[[Any, str, Random], str]] = {
    "": _array,
    "array": _array,
    "values": _array,
    "kind": _kind,
    "sparse": _sparse,
    "chunked": _chunked,
    "becomes": _group,
    "link": _link,
    "with": _attribute,
    "and": _more,
}
