"""What is fuzzed: a good input, the ways to change it, and the door it goes in by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

Mutation = Callable[[Path, Random], str]
"""Changes the input in a folder; returns what it did, in words."""


class UnchangedError(Exception):
    """A mutation did not apply to this input: nothing was changed."""


@dataclass(frozen=True)
class Target:
    name: str
    make: Callable[[Path], None]
    """Writes the good input into an empty folder. Targets of one maker share what it wrote."""
    mutations: tuple[Mutation, ...]
    """One of them is applied."""
    open: Callable[[Path], Any]
    """The real door. Returns what was read, to be compared, or raises."""
    guarded: bool = False
    """A hash covers all of the input, so that other content must not be read."""
    names: str = ""
    """What each line of a refusal must match; by default, the path of the folder."""
    writes: bool = False
    """The door goes on with a run, whose folder holds what it had done when damage was found."""
    share: float = 1.0
    """Mutations of it among those of all targets."""
    modules: tuple[str, ...] = ()
    """Imported before processes are forked."""
    by_name: bool = False
    """Only if it is named: not one of ours, but a proof that the fuzzer can fail."""
