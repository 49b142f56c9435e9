"""Every number that an option or a knob does not hold is refused by name, from words and from Python."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import pytest

import learners
from cluster.commands import collect, evaluate, ingest
from cluster.commands.finetune import Start
from cluster.commands.run_options import Environment, Place
from cluster.errors import RunError
from cluster.options import Cadence, OnlineRecipe, Recipe, Role, Topology
from cluster.settings import flag_of
from learners import LearnerError
from tests.bad_inputs.numbers import from_python, from_words, settings, undeclared

GROUPS = {kind.__name__: kind for kind in (Place, Start, Environment, Recipe, OnlineRecipe, Topology, Cadence)}
COMMANDS = {kind.__name__: kind for kind in (collect.Collect, evaluate.Evaluate, ingest.Ingest)}
RECORDS = {Role.__name__: Role}
ERRORS = (RunError, LearnerError)


def needed(owner: type[Any]) -> dict[str, Any]:
    """Values of the fields that have no default."""
    given: dict[str, Any] = {"dataset": ("data",), "datasets": (("/data", None),), "env_steps": 100, "episodes": 1}
    missing = [entry.name for entry in fields(owner) if entry.default is MISSING and entry.default_factory is MISSING]
    return {name: given.get(name, "text") for name in missing}


def told(found: list[tuple[str, Any, str]]) -> str:
    """The settings that are wrong, each with all values, for whoever mends them."""
    lines: dict[tuple[str, str], list[str]] = {}
    for name, value, wrong in found:
        shown = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "10**400"
        lines.setdefault((name, wrong), []).append(shown)
    return "\n".join(f"{name} = {', '.join(values)}: {wrong}" for (name, wrong), values in lines.items())


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
def test_words_of_options(name: str) -> None:
    owner = (GROUPS | COMMANDS)[name]
    found = [
        (setting.name, word, wrong)
        for setting in settings(owner)
        # Words of datasets are names of folders: test_settings.py.
        if setting.name != "datasets" and flag_of(setting.kind).shown
        for word in setting.bad_words()
        if (wrong := from_words(setting, word, ERRORS, **needed(owner)))
    ]
    assert not found, told(found)


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS, *RECORDS])
def test_values_of_options(name: str) -> None:
    owner = (GROUPS | COMMANDS | RECORDS)[name]
    found = [
        (setting.name, value, wrong)
        for setting in settings(owner)
        for value in setting.bad_values()
        if (wrong := from_python(owner, setting, value, RunError, **needed(owner)))
    ]
    assert not found, told(found)


@pytest.mark.parametrize("algorithm", learners.names())
def test_values_of_knobs(algorithm: str) -> None:
    owner = learners.config_class(algorithm)
    found = [
        (setting.name, value, wrong)
        for setting in settings(owner)
        for value in setting.bad_values()
        if (wrong := from_python(owner, setting, value, LearnerError))
    ]
    assert not found, told(found)


def test_words_of_knobs() -> None:
    """Each once, of however many algorithms it is a knob."""
    every = [setting for name in learners.names() for setting in settings(learners.config_class(name))]
    knobs = {(setting.name, repr(setting.kind)): setting for setting in every}
    found = [
        (f"{setting.owner.__name__}.{setting.name}", word, wrong)
        for setting in knobs.values()
        for word in setting.bad_words()
        if (wrong := from_words(setting, word, ERRORS))
    ]
    assert not found, told(found)


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS, *RECORDS])
def test_every_number_declares_its_range(name: str) -> None:
    assert not undeclared((GROUPS | COMMANDS | RECORDS)[name])


@pytest.mark.parametrize("algorithm", learners.names())
def test_every_knob_declares_its_range(algorithm: str) -> None:
    assert not undeclared(learners.config_class(algorithm))
