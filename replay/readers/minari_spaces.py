"""Gymnasium's spaces, as minari records them in JSON and stores what is in them: nested parts by their keys.

Dictionaries become groups or structs; so do tuples, whose parts are called `_index_0`, … in HDF5 and `0`, … in Arrow. A
MultiDiscrete is one array of choices, of which each becomes a part of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.readers.source import box
from replay.spaces import Box, Dict, Discrete, Image, Leaf, Space, flattened, part_named, picture_shape

MOST_PARTS = 256
"""Entries of a MultiDiscrete that become a part each; larger ones are grids."""
SERVED = "Box, Discrete, MultiDiscrete, MultiBinary, or dictionaries and tuples of those"


@dataclass(frozen=True)
class Declared:
    """A part that can be kept."""

    leaf: Leaf
    shape: tuple[int, ...]
    """As it is stored, which differs from the leaf's where pictures have their channels first."""
    dtype: str


@dataclass(frozen=True)
class Unsupported:
    """A part that cannot be kept."""

    kind: str
    where: str

    def error(self, expected: str) -> DataError:
        return DataError(f"{self.where}: {self.kind} is not supported; expected {expected}.")


@dataclass(frozen=True)
class Choices:
    """A MultiDiscrete: one array of several parts."""

    parts: dict[str, Declared]


Tree = Declared | Unsupported | Choices | dict[str, Any]
"""A dictionary holds trees."""


def tree(record: Any, where: str, jpeg: bool) -> Tree:
    """What minari's JSON record of a space declares. Raises what a record that is none makes of it."""
    kind = record.get("type")
    match kind:
        case "Box":
            return _box(record, jpeg)
        case "Discrete":
            n, start = int(record["n"]), int(record.get("start", 0))
            if n < 1 or start < -(2**63) or start + n > 2**63:
                raise DataError(f"{where}: found {n} choices from {start}, expected at least one, all of 64 bits.")
            return Declared(Discrete(n, start), (), "int64")
        case "MultiBinary":
            shape = _lengths(record["n"])
            return Declared(box(shape, np.int8, 0, 1), shape, "int8")
        case "MultiDiscrete":
            sizes = np.asarray(record["nvec"], np.int64).ravel()
            starts = np.asarray(record.get("start", np.zeros(len(sizes))), np.int64).ravel()
            if not 0 < len(sizes) <= MOST_PARTS:
                return Unsupported(f"MultiDiscrete of {len(sizes)} entries", where)
            both = zip(sizes.tolist(), starts.tolist(), strict=True)
            return Choices({str(i): Declared(Discrete(n, start), (), "int64") for i, (n, start) in enumerate(both)})
        case "Dict":
            return {str(key): tree(part, f"{where}.{key}", jpeg) for key, part in record["subspaces"].items()}
        case "Tuple":
            return {str(i): tree(part, f"{where}.{i}", jpeg) for i, part in enumerate(record["subspaces"])}
        case other:
            return Unsupported(str(other), where)


def parts_of(declared: Tree, where: str, key: str | None) -> dict[str, Declared]:
    """The parts of an observation by name, `""` for one that is no dictionary. Parts that are not supported are left
    out where they are no part of `key`, the one that is kept; else they raise `DataError`, naming `where`."""
    if isinstance(declared, Declared):
        return {"": declared}
    if isinstance(declared, Unsupported):
        raise declared.error(SERVED)
    flat = flattened(_nested(declared), where)
    wanted = {"": flat} if key is None else {key: part_named(flat, key)}
    for part in wanted.values():
        for leaf in part.values() if isinstance(part, dict) else [part]:
            if isinstance(leaf, Unsupported):
                raise leaf.error(f"{SERVED}. Another part can be ingested alone, with --observation KEY")
    if not flat:
        raise DataError(f"{where}: declares a dictionary without parts, expected at least one.")
    return {name: part for name, part in flat.items() if isinstance(part, Declared)}


def unsupported(declared: Tree, where: str) -> dict[str, str]:
    """Name to kind of the parts that cannot be kept."""
    if isinstance(declared, Declared | Unsupported):
        return {}
    return {
        name: part.kind for name, part in flattened(_nested(declared), where).items() if isinstance(part, Unsupported)
    }


def space_of(parts: Mapping[str, Declared]) -> Space:
    """Of the observation."""
    if "" in parts and len(parts) == 1:
        return parts[""].leaf
    return Dict.of({name: part.leaf for name, part in parts.items()})


def values_of(stored: Any, declared: Tree, where: str) -> dict[str, Any]:
    """Name to rows, as `parts_of` names them, of what was stored: an array, or dictionaries of arrays. Raises
    `DataError`, naming `where`, for one that has other parts than are declared."""
    if isinstance(declared, Declared | Unsupported):
        return {"": stored}
    return flattened(_along(stored, declared, where), where)


def _along(stored: Any, declared: Tree, where: str) -> Any:
    if isinstance(declared, Choices):
        array = np.asarray(stored)
        if isinstance(stored, Mapping) or array.ndim < 1 or array.size != len(array) * len(declared.parts):
            raise DataError(f"{where}: found {_shown(stored)}, expected rows of {len(declared.parts)} choices.")
        array = array.reshape(len(array), -1)
        return {name: array[:, i] for i, name in enumerate(declared.parts)}
    if not isinstance(declared, dict):
        return stored if not isinstance(stored, Mapping) else _refuse(stored, where)
    if not isinstance(stored, Mapping):
        raise DataError(f"{where}: found one array, expected a group as declared.")
    found = {key.removeprefix("_index_"): part for key, part in stored.items()}
    if found.keys() != declared.keys():
        raise DataError(
            f"{where}: found the parts {', '.join(sorted(found)) or 'none'}; expected "
            f"{', '.join(sorted(declared))} as declared."
        )
    return {key: _along(found[key], part, f"{where}/{key}") for key, part in declared.items()}


def _refuse(stored: Mapping[str, Any], where: str) -> Any:
    raise DataError(f"{where}: found the group of {', '.join(map(str, stored))}, expected one array as declared.")


def _nested(declared: Tree) -> Any:
    """With the parts of choices as a dictionary."""
    if isinstance(declared, Choices):
        return declared.parts
    return {key: _nested(part) for key, part in declared.items()} if isinstance(declared, dict) else declared


def _box(record: Any, jpeg: bool) -> Declared:
    shape, dtype = _lengths(record["shape"]), np.dtype(record["dtype"])
    low, high = np.asarray(record["low"], np.float64), np.asarray(record["high"], np.float64)
    if any(bounds.size not in (1, math.prod(shape)) for bounds in (low, high)):
        raise ValueError(f"bounds of shape {low.shape} and {high.shape} for a Box of {shape}")
    if _is_image(shape, dtype, low, high) and len(shape) == 3 and (jpeg or shape[2] in (1, 3, 4)):
        return Declared(Image(shape, "jpeg" if jpeg else "png"), shape, dtype.name)
    turned = picture_shape(shape, dtype)
    if turned and turned != shape:
        return Declared(Image(turned), shape, dtype.name)
    return Declared(box(shape, dtype, low, high), shape, dtype.name)


def _is_image(shape: tuple[int, ...], dtype: np.dtype[Any], low: np.ndarray, high: np.ndarray) -> bool:
    """The boxes that minari takes for pictures, and stores as JPEG where `jpeg_encoding` is set."""
    large = len(shape) in (2, 3) and min(shape[:2]) >= 32
    return large and dtype == np.uint8 and bool(np.all(low == 0) and np.all(high == 255))


def _lengths(record: Any) -> tuple[int, ...]:
    """Of each axis: a number stands for a list of one."""
    return tuple(int(n) for n in (record if isinstance(record, list | tuple) else [record]))


def _shown(stored: Any) -> str:
    return "a group" if isinstance(stored, Mapping) else f"shape {np.shape(stored)}"


__all__ = ["Box", "Declared", "Tree", "Unsupported", "parts_of", "space_of", "tree", "unsupported", "values_of"]
