"""What a reader takes and gives."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from replay.episode import Episode
from replay.errors import DataError
from replay.readers.segment import Counts
from replay.spaces import MOST_CHOICES, SMALLEST_PICTURE, Box, Discrete, Image, Spaces, picture_shape

BLOCK_ROWS = 32_768
"""Rows of a flat log that are read at a time, at most."""


@dataclass(frozen=True)
class Options:
    """What the user may say about a source. A reader refuses what it has no use for (`refuse`)."""

    env: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    """Name in the source to standard name."""
    success_timing: str | None = None
    """OGBench only: `pre` or `post`."""
    block_rows: int = BLOCK_ROWS
    observation: str | None = None
    """The one part of a dictionary observation that is wanted, or None for all: a reader need not look at others."""


@dataclass(frozen=True)
class Source:
    """An opened source: everything that is known before the first episode is read, and the episodes."""

    spaces: Spaces
    episodes: Iterator[tuple[str, Episode | DataError]]
    """Label (for messages) and episode, in the order of the source; read once. A damaged episode, of which the reader
    knows where it ends, is the error that says why."""
    provenance: dict[str, Any]
    files: list[Path]
    expected_rows: int | None = None
    """Rows (T + 1 per episode) that the episodes will hold, about."""
    expected_transitions: int | None = None
    extras: dict[str, Box] = field(default_factory=dict)
    reference_scores: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


def refuse(options: Options, scheme: str, *names: str) -> None:
    """Raises `DataError` for options that mean nothing to this kind of source."""
    for name in names:
        if getattr(options, name):
            raise DataError(f"{scheme}: does not use the option {name}; leave it out.")


def existing(location: str, scheme: str) -> Path:
    """The file at `location`; raises `DataError` where there is none."""
    where = f"{scheme}:{location}"
    return regular(expanded(location, where), where, "Check the path.")


def expanded(location: str, where: str) -> Path:
    """The path that a person wrote; raises `DataError`, naming `where`, for what can be none."""
    try:
        os.fsencode(location)
        if "\0" not in location:
            return Path(location).expanduser()
    except (RuntimeError, UnicodeEncodeError):
        pass
    raise DataError(f"{where}: is no path. Check it.")


def regular(path: Path, where: str, remedy: str) -> Path:
    """The path itself; raises `DataError`, naming `where`, unless it is a regular file, or a link to one. Asked
    before it is opened: opening a pipe waits for whoever writes to it, and a device may do anything."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise DataError(f"{where}: found nothing there, expected a file. {remedy}") from None
    except OSError as error:
        raise DataError(f"{where}: cannot be looked at ({error.strerror}), expected a file. {remedy}") from None
    if not stat.S_ISREG(mode):
        what = next((name for kind, name in _KINDS.items() if stat.S_IFMT(mode) == kind), "something else")
        raise DataError(f"{where}: found {what} there, expected a file. {remedy}")
    if not os.access(path, os.R_OK):
        raise DataError(f"{where}: may not be read by this user, expected a file to read. Change its permissions.")
    return path


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def told(error: BaseException) -> str:
    """What a library says of a file, in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}…"


_LONGEST_WORDS = 400


def inside(path: Path, folder: Path, remedy: str) -> Path:
    """The path itself; raises `DataError` unless it is a regular file that lies in `folder`, whatever links say."""
    regular(path, str(path), remedy)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{path}: is a link to {path.resolve()}, outside {folder}; expected a file of its own. Put the file itself "
            "there."
        )
    return path


def env_spec(env: str | None) -> dict[str, Any]:
    """What provenance says of the environment that a person named."""
    return {"env_spec": {"id": env, "kwargs": {}, "max_episode_steps": None}} if env else {}


def one_each(values: Any, where: str) -> np.ndarray:
    """(n,) for (n,) or (n, 1) values; raises `DataError`, naming `where`, for any other shape."""
    array = np.asarray(values)
    if array.shape not in ((array.size,), (array.size, 1)):
        raise DataError(f"{where}: found shape {array.shape}, expected one value for each row.")
    return array.reshape(-1)


def box(shape: Iterable[int], dtype: Any, low: Any = -np.inf, high: Any = np.inf) -> Box:
    """A `Box` as it is stored: floating point as float32, bounds that are all equal as one number."""
    kind = np.dtype(dtype)
    stored = "float32" if kind.kind == "f" else "uint8" if kind.kind == "b" else kind.name
    return Box(tuple(int(n) for n in shape), stored, _bounds(low), _bounds(high))


def array_space(shape: Iterable[int], dtype: Any, *, smallest: int = SMALLEST_PICTURE) -> Box | Image:
    """The space of a column that nothing declares: pictures if it looks like them, else an open box.

    Pictures are bytes (H, W, C), C of 1, 3 or 4, with sides of at least `smallest`: below are grids of symbols.
    """
    shape = tuple(int(n) for n in shape)
    return Image(shape) if picture_shape(shape, dtype, smallest=smallest) == shape else box(shape, dtype)


def action_space(
    low: Any, high: Any, shape: Iterable[int], dtype: Any, notes: list[str], *, where: str
) -> Box | Discrete:
    """The space of actions that nothing declares, from their smallest and largest values. Raises `DataError`, naming
    `where`, for whole numbers that are no choices."""
    shape = tuple(shape)
    if np.dtype(dtype).kind in "iu" and shape == ():
        if np.isnan(low):
            raise DataError(f"{where}: has no rows, expected one for each step. Fetch the file again.")
        if not 0 <= int(low) <= int(high) < MOST_CHOICES:
            raise DataError(
                f"{where}: found integers from {int(low)} to {int(high)}, expected choices, 0 to at most "
                f"{MOST_CHOICES - 1:,}. Number the choices from 0, or store a quantity as floating point."
            )
        notes.append(f"action: integers up to {int(high)} in the source; taken as that many choices and one")
        return Discrete(int(high) + 1)
    if np.all(np.asarray(low) >= -1) and np.all(np.asarray(high) <= 1):
        notes.append("action: no bounds in the source; all lie within [-1, 1], taken as the bounds")
        return box(shape, dtype, -1.0, 1.0)
    notes.append(
        f"action: no bounds in the source; from {float(np.min(low)):.4g} to {float(np.max(high)):.4g}, "
        "outside [-1, 1]: left without bounds"
    )
    return box(shape, dtype)


def conversion_notes(dtypes: Mapping[str, Any]) -> list[str]:
    """One note per column whose numbers are stored in another type."""
    return [
        f"{name}: {np.dtype(dtype).name} stored as float32"
        for name, dtype in dtypes.items()
        if np.dtype(dtype).kind == "f" and np.dtype(dtype) != np.float32
    ]


def minimum_and_maximum(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Per-element bounds over all rows of blocks (n, ...), of their type; NaN without rows. NaN among the rows is left
    to the validation of episodes."""
    low: Any = None
    high: Any = None
    for block in blocks:
        if len(block):
            lowest, highest = np.fmin.reduce(block), np.fmax.reduce(block)
            low = lowest if low is None else np.fmin(low, lowest)
            high = highest if high is None else np.fmax(high, highest)
    return np.asarray(np.nan if low is None else low), np.asarray(np.nan if high is None else high)


def _bounds(values: Any) -> tuple[float, ...]:
    flat = np.asarray(values, np.float64).reshape(-1)
    return (float(flat[0]),) if np.all(flat == flat[0]) else tuple(float(x) for x in flat)
