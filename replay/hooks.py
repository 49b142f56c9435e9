"""Functions that a person gives, from an episode to an episode: what they raise or return is told as theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replay.episode import Episode
from replay.errors import DataError

Hook = Callable[[Episode], Episode]
"""Gives an episode its reward (and whatever else it changes); pure, called once per episode."""


def applied(function: Hook, episode: Episode, where: str) -> Episode:
    """What the function makes of an episode. Raises `DataError`, with the function's file, name and own words, where it
    raises, ends the process, or returns something else than an episode."""
    try:
        made: Any = function(episode)
    # Whatever it raises is its own, SystemExit too; Ctrl-C is the person's.
    except (Exception, SystemExit, GeneratorExit) as error:
        raise DataError(f"{where}: {described(function)} raised {_words(error)}. Mend the function.") from error
    if not isinstance(made, Episode):
        raise DataError(
            f"{where}: {described(function)} returned {type(made).__name__}, expected an Episode; use "
            "dataclasses.replace(episode, reward=...)."
        )
    return made


def described(function: Callable[..., Any]) -> str:
    """`the reward function NAME of FILE`, as far as it tells."""
    name = getattr(function, "__name__", None) or type(function).__name__
    code = getattr(function, "__code__", None)
    return f"the reward function {name}" + (f" of {code.co_filename}" if code is not None else "")


def _words(error: BaseException) -> str:
    try:
        words = " ".join(str(error).split())  # in one line
    except Exception:  # an exception that cannot say what it is
        words = ""
    return type(error).__name__ + (f": {words[:1000]}" if words else "")
