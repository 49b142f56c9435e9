"""Spaces of observations and actions: small types of our own, so that no environment library is needed to read data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.ranges import shown

MOST_CHOICES = 65_536
"""Of an action, or of an observation in all: each is an input or an output of a network."""


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


# --- Nested observations ---


def flattened(parts: Any, where: str) -> dict[str, Any]:
    """The leaves of nested dictionaries and tuples, by their keys joined with dots: `{"arm": {"angle": x}, "goal": (y,
    z)}` becomes `{"arm.angle": x, "goal.0": y, "goal.1": z}`. Raises `DataError`, naming `where`, for keys that clash,
    such as those of `{"arm": {"angle": x}, "arm.angle": y}`.
    """
    found: dict[str, Any] = {}
    for key, part in _items(parts):
        leaves = flattened(part, where) if is_nested(part) else {"": part}
        for rest, leaf in leaves.items():
            name = f"{key}.{rest}" if rest else key
            if name in found:
                raise DataError(f"{where}: two parts are called {name!r} once nested keys are joined; rename one.")
            found[name] = leaf
    return found


def part_named(parts: Mapping[str, Any], key: str) -> Any:
    """The part of that name, or, where it is that of a nested dictionary, a dictionary of what was in it; None where
    there is neither."""
    if key in parts:
        return parts[key]
    prefix = f"{key}."
    return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)} or None


def is_nested(part: Any) -> bool:
    """Whether this is no leaf: a dictionary or a tuple."""
    return isinstance(part, Mapping | tuple)


def _items(parts: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(parts, Mapping):
        return [(str(key), part) for key, part in parts.items()]
    return [(str(number), part) for number, part in enumerate(parts)]


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


def from_json(record: Any, where: str) -> Space:
    """Raises `DataError`, naming `where`, for a record that is no space, or of one that no array could have."""
    try:
        match record["type"]:
            case "box":
                shape = _shape(record["shape"], where)
                dtype = np.dtype(str(record["dtype"]))
                if dtype.kind not in "iuf":
                    raise DataError(f"{where}.dtype: found {dtype.name}, expected integers or floating point.")
                low, high = (_bounds(record[name], math.prod(shape), f"{where}.{name}") for name in ("low", "high"))
                if np.any(np.asarray(low) > np.asarray(high)):
                    raise DataError(f"{where}: found a lower bound above the upper one, expected it at most as high.")
                return Box(shape, str(record["dtype"]), low, high)
            case "discrete":
                n, start = _whole(record["n"], f"{where}.n"), _whole(record.get("start", 0), f"{where}.start")
                if n < 1 or start < -(2**63) or start + n > 2**63:
                    raise DataError(f"{where}: found {n} values from {start}, expected at least one, all of 64 bits.")
                return Discrete(n, start)
            case "image":
                shape = _shape(record["shape"], where)
                if len(shape) != 3 or record["encoding"] not in ("png", "jpeg"):
                    raise DataError(
                        f"{where}: found a picture {shape} as {record['encoding']!r}, expected (height, width, "
                        "channels) as png or jpeg."
                    )
                return Image(shape, record["encoding"])
            case "dict":
                parts: dict[str, Leaf] = {}
                for key, entry in record["spaces"].items():
                    part = from_json(entry, f"{where}.{key}")
                    if isinstance(part, Dict):
                        raise DataError(f"{where}.{key}: found a dictionary in a dictionary, expected a flat one.")
                    parts[key] = part
                if not parts:
                    raise DataError(f"{where}: found a dictionary without parts, expected at least one.")
                return Dict.of(parts)
            case other:
                raise DataError(f"{where}.type: found {shown(other)}, expected box, discrete, image or dict.")
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{where}: not a space ({shown(error)} in {shown(record)}); was the file edited by hand?"
        ) from error


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: found {value!r}, expected a whole number.")
    return value


def _shape(record: Any, where: str) -> tuple[int, ...]:
    if not isinstance(record, list):
        raise DataError(f"{where}.shape: found {record!r}, expected a list of whole numbers.")
    shape = tuple(_whole(n, f"{where}.shape") for n in record)
    if len(shape) > _MOST_AXES or min(shape, default=1) < 1 or math.prod(shape) > _MOST_NUMBERS:
        raise DataError(
            f"{where}.shape: found {list(shape)}, expected at most {_MOST_AXES} lengths from 1 up and "
            f"{_MOST_NUMBERS} numbers in all."
        )
    return shape


_MOST_AXES = 32
_MOST_NUMBERS = (1 << 31) - 1
"""In a row: Arrow counts them in 32 bits."""


def _bounds(record: Any, size: int, where: str) -> tuple[float, ...]:
    """None stands for a bound that is open."""
    if not isinstance(record, list) or len(record) not in (1, size):
        raise DataError(f"{where}: found {record!r:.200}, expected a list of 1 or {size} bounds.")
    open_end = -np.inf if where.endswith("low") else np.inf
    bounds = tuple(open_end if x is None else float(x) for x in record)
    if any(math.isnan(x) for x in bounds):
        raise DataError(f"{where}: found NaN, expected numbers, or null where it is open.")
    return bounds


def _finite_or_none(bound: float) -> float | None:
    return float(bound) if np.isfinite(bound) else None
