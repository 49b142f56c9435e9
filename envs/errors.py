"""What is raised for environments that cannot be used as asked, and what such a message may say of them."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


class EnvError(ValueError):
    """An environment, policy or controller that cannot be used as asked.

    The message names what was found and what was expected, and ends with the remedy; the command
    line prints it as it is, without a traceback.
    """


class EnvFailedError(EnvError):
    """An environment that raised, or gave what no environment may give, while it was used."""


class EnvStalledError(EnvFailedError):
    """An environment that did not come back from a call for as long as it was given."""


# --- What messages say ---

_LONGEST = 300


def shown(value: Any) -> str:
    """A value in a short line: an array by its shape and type, anything else as Python would write it."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape and dtype is not None:
        return f"an array {shape} of {dtype}"
    try:
        return _line(repr(value), 100)
    except Exception as error:  # of an object that cannot say what it is, or a whole number of thousands of digits
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"


def words(error: BaseException) -> str:
    """What somebody else's exception says, after its type."""
    try:
        text = _line(str(error), _LONGEST)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"


# --- Numbers that a caller gives ---

LARGEST_SEED = 2**32 - 1
"""NumPy's legacy generators, which many environments have, take no larger one."""
MOST_EPISODES = 10**9
MOST_STEPS = 10**12
MOST_ENVS = 65_536
"""Side by side."""


def whole(name: str, value: Any, least: int, most: int) -> None:
    """Raises `EnvError` for anything but a whole number from `least` to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        raise EnvError(f"{name}: found {shown(value)}, expected a whole number, {least:,} to {most:,}.")


def seeds(seed: Any, count: int) -> None:
    """Raises `EnvError` unless `seed`, `seed + 1` and so on are `count` seeds that environments take."""
    whole("seed", seed, 0, LARGEST_SEED - count + 1)


def share(name: str, value: Any) -> None:
    """Raises `EnvError` for anything but a number in [0, 1]."""
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise EnvError(f"{name}: found {shown(value)}, expected a number in [0, 1].")


def is_number(value: Any) -> bool:
    """Whether it is one finite real number, and no boolean."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
