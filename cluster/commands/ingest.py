"""`quiver ingest`: a dataset from logs in another format."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from cluster import ranges
from cluster.commands import options as shared
from cluster.commands.output import print_lines, progress
from cluster.errors import RunError
from cluster.settings import FUNCTION, NAME, NEW_FOLDER, SOURCE, SUCCESS_TIMING, CheckedSettings
from replay.ranges import Range


@dataclass(frozen=True)
class Ingest(CheckedSettings):
    """Make a dataset from logs in another format.

    SOURCE is minari:ID, ogbench:FILE.npz, hdf5:FILE, parquet:GLOB or a dataset folder. The dataset is whole or not
    there: whatever goes wrong, nothing half-written stays behind.
    """

    positional = "source"

    source: tyro.conf.Positional[Annotated[str, SOURCE, tyro.conf.arg(metavar="SOURCE")]]
    """Where the logs are, and in which format."""
    out: Annotated[str, NEW_FOLDER, tyro.conf.arg(metavar="DATASET")]
    """The folder to write; it must not exist."""
    env: Annotated[str | None, NAME, tyro.conf.arg(metavar="ENV")] = None
    """The environment to evaluate in; for OGBench also the task whose rewards are computed."""
    observation: Annotated[str | None, NAME, tyro.conf.arg(metavar="KEY")] = None
    """Keep this part of a dictionary observation as the observation."""
    reward: Annotated[str | None, FUNCTION, tyro.conf.arg(metavar="FILE.py:FUNCTION")] = None
    """A function from an episode to the same one with other rewards (and flags); it sees all of the source."""
    rename: Annotated[tuple[str, ...], Range(entries=10_000), NAME, tyro.conf.arg(metavar="NAME=NAME ...")] = ()
    """How a column of the source is called, and the usual name for it, such as obs=observation (hdf5 and parquet)."""
    validation_fraction: ranges.ValidationFraction = 0.05
    """The share of the episodes that is kept for validation, where the source has no split."""
    split_seed: ranges.Seed = 0
    """The seed by which the episodes for validation are chosen."""
    success_timing: Annotated[str | None, SUCCESS_TIMING, tyro.conf.arg(metavar="pre|post")] = None
    """Whether a step succeeds by the state before or after it (OGBench)."""
    collected_by: Annotated[str | None, NAME, tyro.conf.arg(metavar="WHO")] = None
    """Who acted, for the record: expert, scripted, random, an earlier policy, or logged."""
    licence: Annotated[str | None, NAME, tyro.conf.arg(metavar="NAME")] = None
    """On what terms the data may be used, for the record."""
    quarantine: bool = False
    """Leave damaged episodes out and say so, instead of stopping at the first."""


def parse(arguments: Sequence[str]) -> Ingest:
    named = [word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]
    twice = [name for name in dict.fromkeys(named) if named.count(name) > 1]
    if twice:
        raise RunError(f"{twice[0]}: is given twice; give it once.")
    return shared.parse(Ingest, "ingest", arguments)


def run(options: Ingest) -> None:
    from replay.ingest import ingest

    reward = None if options.reward is None else load_function(options.reward, "--reward")
    with progress("ingest") as show:
        report = ingest(
            options.source,
            options.out,
            env=options.env,
            reward=reward,
            observation=options.observation,
            rename=shared.pairs(options.rename, "--rename"),
            success_timing=options.success_timing,
            validation_fraction=options.validation_fraction,
            split_seed=options.split_seed,
            collected_by=options.collected_by,
            licence=options.licence,
            quarantine=options.quarantine,
            progress=show,
        )
    print_lines(*report.lines())


def load_function(where: str, option: str) -> Callable[[Any], Any]:
    """The function that `FILE.py:FUNCTION` names. Raises `RunError`, naming file, line and remedy."""
    file, colon, name = where.rpartition(":")
    path = Path(file)
    if not (colon and file and name):
        raise RunError(f"{option}: found {where!r}, expected FILE.py:FUNCTION.")
    if not path.is_file():
        raise RunError(f"{option}: {path}: no such file.")
    # A name of its own: a file called json.py must not take the place of the module json.
    spec = importlib.util.spec_from_file_location(f"_quiver_function_of_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RunError(f"{option}: {path}: is no Python file; expected one that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, among others, look their module up by its name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise RunError(f"{option}: {path}: cannot be imported ({type(error).__name__}: {error}).") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise RunError(f"{option}: {path}: has no function {name!r}; it has {', '.join(known) or 'none'}.")
    return function
