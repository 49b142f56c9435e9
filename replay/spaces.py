"""Spaces of observations and actions: small types of our own, so that no environment library is needed to read data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.errors import DataError


@dataclass(frozen=True)
class Box:
    """An array of numbers. Bounds are flat, in C order, one per element, or a single one for all; ±inf where open."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: tuple[float, ...] = (-np.inf,)
    high: tuple[float, ...] = (np.inf,)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bounded(self) -> bool:
        return bool(np.all(np.isfinite(self.low)) and np.all(np.isfinite(self.high)))


@dataclass(frozen=True)
class Discrete:
    """Integers start, …, start + n − 1, stored as int64 scalars."""

    n: int
    start: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    dtype = "int64"


@dataclass(frozen=True)
class Image:
    """uint8 pixels (height, width, channels), kept encoded on disk and decoded where they are sampled."""

    shape: tuple[int, ...]
    encoding: str = "png"

    dtype = "uint8"


@dataclass(frozen=True)
class Dict:
    """Named parts, in the order of their names."""

    spaces: tuple[tuple[str, Box | Discrete | Image], ...]

    @staticmethod
    def of(spaces: dict[str, Box | Discrete | Image]) -> Dict:
        return Dict(tuple(sorted(spaces.items())))

    def items(self) -> tuple[tuple[str, Box | Discrete | Image], ...]:
        return self.spaces


Leaf = Box | Discrete | Image
Space = Leaf | Dict


@dataclass(frozen=True)
class Spaces:
    """The two spaces of a dataset, and of every policy trained on it."""

    observation: Space
    action: Box | Discrete


def observation_columns(space: Space) -> dict[str, Leaf]:
    """Column name to space: `observation`, or `observation.<key>` for each part of a dictionary."""
    if isinstance(space, Dict):
        return {f"observation.{key}": leaf for key, leaf in space.items()}
    return {"observation": space}


# --- What looks like a picture ---

CHANNELS = (1, 3, 4)
"""Of a picture: grey, RGB, RGBA."""
SMALLEST_PICTURE = 32
"""Sides of what is taken for a picture where only its shape tells: below are grids of symbols."""


def picture_shape(shape: Iterable[int], dtype: Any, *, smallest: int = SMALLEST_PICTURE) -> tuple[int, int, int] | None:
    """(height, width, channels) where arrays of this shape and type are pictures, else None.

    That is bytes (H, W, C), or (C, H, W) with the channels first, with C of 1, 3 or 4 and sides of at least `smallest`.
    Datasets hold channels last: `channels_last` turns arrays.
    """
    shape = tuple(int(n) for n in shape)
    if np.dtype(dtype) != np.uint8 or len(shape) != 3:
        return None
    for height, width, channels in (shape, (shape[1], shape[2], shape[0])):
        if channels in CHANNELS and min(height, width) >= max(smallest, max(CHANNELS) + 1):
            return height, width, channels
    return None


def channels_last(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures (…, C, H, W) as (…, H, W, C), a view; others as they are. `shape` is (H, W, C)."""
    found = pixels.shape[-3:]
    if len(shape) == 3 and found != tuple(shape) and found == (shape[2], *shape[:2]):
        return np.moveaxis(pixels, -3, -1)
    return pixels


# --- In JSON ---


def to_json(space: Space) -> dict[str, Any]:
    match space:
        case Box():
            return {
                "type": "box",
                "shape": list(space.shape),
                "dtype": space.dtype,
                "low": [_finite_or_none(x) for x in space.low],
                "high": [_finite_or_none(x) for x in space.high],
            }
        case Discrete():
            return {"type": "discrete", "n": space.n, "start": space.start}
        case Image():
            return {"type": "image", "shape": list(space.shape), "encoding": space.encoding}
        case Dict():
            return {"type": "dict", "spaces": {key: to_json(leaf) for key, leaf in space.items()}}


def from_json(record: dict[str, Any], where: str) -> Space:
    """Raises `DataError`, naming `where`, for a record that is no space."""
    try:
        match record["type"]:
            case "box":
                box = Box(
                    tuple(int(n) for n in record["shape"]),
                    str(record["dtype"]),
                    tuple(-np.inf if x is None else float(x) for x in record["low"]),
                    tuple(np.inf if x is None else float(x) for x in record["high"]),
                )
                if any(len(bounds) not in (1, box.size) for bounds in (box.low, box.high)):
                    raise DataError(f"{where}: found {len(box.low)} and {len(box.high)} bounds, expected {box.size}.")
                return box
            case "discrete":
                return Discrete(int(record["n"]), int(record.get("start", 0)))
            case "image":
                return Image(tuple(int(n) for n in record["shape"]), str(record["encoding"]))
            case "dict":
                parts = {key: from_json(part, f"{where}.{key}") for key, part in record["spaces"].items()}
                return Dict.of(parts)  # type: ignore[arg-type]
            case other:
                raise DataError(f"{where}.type: found {other!r}, expected box, discrete, image or dict.")
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: not a space ({error!r} in {record!r}); was dataset.json edited by hand?") from error


def _finite_or_none(bound: float) -> float | None:
    return float(bound) if np.isfinite(bound) else None
