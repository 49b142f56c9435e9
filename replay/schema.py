"""Columns of a dataset: what each step records, and in which file of a shard it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from replay.errors import DataError
from replay.ranges import shown
from replay.records import listing, mapping, reason, text, whole
from replay.spaces import Box, Discrete, Image, Leaf, Spaces, from_json, observation_columns, to_json

CORE = "core"
"""The group of the small fixed-width columns; each image column has a group of its own."""

DTYPES = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)
"""What a tensor column may hold. Booleans are left out because Arrow packs them into bits, which no
NumPy view can read: they are kept as uint8."""

RETURN_TO_GO = "return_to_go"
NEXT_ACTION = "next_action"
FOLLOWING = (NEXT_ACTION, "has_next_action")
COMPUTED = (RETURN_TO_GO, *FOLLOWING)
"""What a request may name among its columns though no file holds it: `Store.gather` says what each is."""

RESERVED = ("action", "reward", "terminated", "truncated", *COMPUTED, "observation", "index", "mask", "weight")

_MOST_ITEMS = (1 << 31) - 1
"""Arrow counts the numbers of a row in 32 bits."""


@dataclass(frozen=True)
class Column:
    """One value per row. `shape` and `dtype` are what a batch receives, without the leading dimension."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Literal["tensor", "image"] = "tensor"
    group: str = CORE

    @property
    def items(self) -> int:
        """Numbers per row."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def width(self) -> int:
        """Bytes per row of a tensor column."""
        return self.items * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "kind": self.kind,
            "group": self.group,
        }

    @staticmethod
    def from_json(record: Any, where: str) -> Column:
        """Raises `DataError`, naming `where`, for a record that is no column."""
        try:
            record = mapping(record, "column")
            column = Column(
                text(record["name"], "name"),
                text(record["dtype"], "dtype"),
                tuple(whole(n, "shape") for n in listing(record["shape"], "shape")),
                record["kind"],
                text(record["group"], "group"),
            )
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{where}: not a column ({reason(error)}); restore it from a copy or ingest the dataset again."
            ) from error
        if column.kind not in ("tensor", "image"):
            raise DataError(f"{where}.kind: found {shown(column.kind)}, expected tensor or image.")
        return check_column(column, where)


def check_column(column: Column, where: str) -> Column:
    """The column itself, or `DataError` where its dtype cannot be mapped or its shape has no elements."""
    if column.dtype not in DTYPES:
        remedy = "store booleans as uint8" if column.dtype == "bool" else "cast it"
        known = ", ".join(DTYPES)
        raise DataError(
            f"{where}: column {shown(column.name)} has dtype {shown(column.dtype)}; {remedy}; known: {known}."
        )
    shape = shown(column.shape)
    if min(column.shape, default=1) < 1:
        raise DataError(
            f"{where}: column {shown(column.name)} has shape {shape}, which holds no numbers; leave the column out."
        )
    if math.prod(column.shape) > _MOST_ITEMS:
        raise DataError(
            f"{where}: column {shown(column.name)} has shape {shape}, expected at most {_MOST_ITEMS} numbers a row."
        )
    return column


def columns_of(spaces: Spaces, extras: Mapping[str, Box]) -> tuple[Column, ...]:
    """The columns of a dataset with these spaces: observations, action, reward, flags, then the extras by name.

    Raises `DataError` for an extra whose name is taken, for a dtype that cannot be mapped, and for spaces that no
    dataset can hold.
    """
    columns = [_observation(name, space) for name, space in observation_columns(spaces.observation).items()]
    columns.append(Column("action", spaces.action.dtype, spaces.action.shape))
    columns.append(Column("reward", "float32", ()))
    columns.append(Column("terminated", "uint8", ()))
    columns.append(Column("truncated", "uint8", ()))
    for name in sorted(extras):
        if name in RESERVED or is_observation(name):
            raise DataError(f"extras: the name {shown(name)} belongs to a standard column; rename the extra.")
        columns.append(Column(name, extras[name].dtype, extras[name].shape))
    checked = tuple(check_column(column, "spaces") for column in columns)
    for name, space in (("observation", spaces.observation), ("action", spaces.action)):
        from_json(to_json(space), f"spaces.{name}")  # What is written must be read back.
    return checked


def is_observation(name: str) -> bool:
    """Whether a column has a value in the last row of an episode, too."""
    return name == "observation" or name.startswith("observation.")


def filler(spaces: Spaces, column: Column) -> int:
    """What the last row of an episode holds in a column that is no observation: zero, or a discrete action's first."""
    if column.name == "action" and isinstance(spaces.action, Discrete):
        return spaces.action.start
    return 0


def _observation(name: str, space: Leaf) -> Column:
    if isinstance(space, Image):
        return Column(name, "uint8", space.shape, "image", f"image.{name.removeprefix('observation.')}")
    return Column(name, space.dtype, space.shape)
