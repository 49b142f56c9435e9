"""All targets, by kind of input."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from tests.fuzz.target import Target

KINDS = ("failing", "datasets", "logs", "runs", "commands")


def find(names: Sequence[str]) -> list[Target]:
    """The targets of these names; all that are not for proof where there are none. A name may end in `*`.

    Raises `LookupError`, listing what there is.
    """
    from fnmatch import fnmatchcase

    every = [target for kind in _kinds(names) for target in import_module(f"{__name__}.{kind}").TARGETS]
    if not names:
        return [target for target in every if not target.by_name]
    found = [target for target in every if any(fnmatchcase(target.name, name) for name in names)]
    missing = [name for name in names if not any(fnmatchcase(target.name, name) for target in every)]
    if missing:
        raise LookupError(f"--target {missing[0]}: there are {', '.join(target.name for target in every)}.")
    return found


def _kinds(names: Sequence[str]) -> Sequence[str]:
    """What is to be imported: for proofs, nothing of ours."""
    return ("failing",) if names and all(name.startswith("failing.") for name in names) else KINDS
