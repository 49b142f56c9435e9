"""`quiver train`: a policy from datasets, in one process or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from cluster.commands.options import given, recorded_environment, told
from cluster.commands.output import error_console, plain_text
from cluster.commands.run_options import (
    Environment,
    Place,
    RunOptions,
    as_recorded,
    how_to_go_on,
    partly,
    read_options,
    refuse_recorded_places,
)
from cluster.effects import refuse_idle
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Topology
from cluster.settings import NAME, PATH, RUN_FOLDER


@dataclass(frozen=True, kw_only=True)
class Train(RunOptions):
    """Train a policy on datasets, in one process or on a Ray cluster.

    Interrupted, killed or moved to other machines, a run resumes and ends as if nothing had happened.
    """


TITLES = {
    "place": "run",
    "recipe": "recipe",
    "environment": "environment",
    "cadence": "cadence",
    "topology": "topology",
}
"""The groups of options as `--help` calls them, the algorithm's knobs apart."""
UNSHOWN = {"topology": frozenset({"env_runners"})}
"""Options of fine-tuning alone."""


def parse(arguments: Sequence[str]) -> Train:
    """The options. What `--algo`, `--config` and, on a resume, the run's own configuration say is read first: it
    gives the further options and the defaults of the rest."""
    algo, config, run = (
        told(arguments, name, kind) for name, kind in (("algo", NAME), ("config", PATH), ("run", RUN_FOLDER))
    )
    # What tyro finds missing it asks for.
    default = partly(
        Train,
        place=partly(Place, run=tyro.MISSING),
        environment=Environment(),
        recipe=partly(Recipe, datasets=(), algorithm=tyro.MISSING, device="auto"),
        topology=Topology(),
        cadence=Cadence(),
    )
    if given(arguments, "resume") and run:
        default = as_it_was(Path(run))
    if algo and algo != default.recipe.algorithm:
        import learners

        recipe = partly(Recipe, **{**vars(default.recipe), "algorithm": algo})
        default = replace(default, recipe=recipe, knobs=learners.config_class(algo)())
    if config:
        from cluster.topology import read_topology

        default = replace(default, topology=read_topology(Path(config)))
    return Train(**read_options(TITLES, default, UNSHOWN, "train", arguments))


def run(options: Train) -> None:
    """Train, showing how it goes, and say where everything is."""
    console = error_console()
    recipe, topology, cadence = settle(options)
    environment_ = evaluation_environment(options, recipe, console)
    refuse_idle(options.given, options.situation(evaluates=environment_ is not None))
    from cluster.stages import asked
    from cluster.train import train

    where = Path(options.place.run)
    with how_to_go_on("train", options):
        result = train(
            recipe,
            topology,
            cadence,
            run=where,
            environment=environment_,
            resume=options.place.resume,
            resume_from=options.place.resume_from,
            init=asked(options.place.init),
            console=console,
        )
    console.print(
        plain_text(f"{where}: {result.steps:,} steps; `quiver report {options.place.run}` draws its curves", keep="")
    )


def settle(options: Train) -> tuple[Recipe, Topology, Cadence]:
    """What the options mean. Raises `RunError` for what does not go together."""
    if not options.recipe.datasets:
        raise RunError("--dataset: is missing; name a folder that `quiver ingest` or `quiver collect` made.")
    refuse_recorded_places(options)
    return options.recipe, options.topology, options.cadence


def evaluation_environment(options: Train, recipe: Recipe, console: Console) -> Any | None:
    """The environment to evaluate in: as asked, or else the one the data was recorded in, if it can be made here."""
    asked = options.environment.named(options.recorded)
    if options.cadence.eval_episodes == 0 or options.topology.evaluators.count == 0:
        return None
    if asked is not None or options.place.resume:
        return asked
    import replay
    from cluster.checks import acts_towards, check_environment
    from envs import EnvError
    from replay.view import View

    datasets = [(replay.open(path), weight) for path, weight in recipe.datasets]
    try:
        specs = [recorded_environment(dataset.provenance, str(dataset.path)) for dataset, _ in datasets]
    except EnvError as error:
        console.print(plain_text(f"note: no evaluation: {error}", keep=""))
        return None
    found = [spec.trusted() if options.environment.trust_env else spec for spec in specs if spec]
    if not found:
        return None
    if reason := acts_towards(options.knobs.request()):
        console.print(plain_text(f"note: no evaluation: {recipe.algorithm} {reason}.", keep=""))
        return None
    if any(spec != found[0] for spec in found):
        console.print("note: the datasets come from different environments; name one with --env to evaluate.")
        return None
    try:
        check_environment(found[0], View.of(datasets, split=recipe.split, where=recipe.where).spaces, warn=False)
    except (EnvError, RunError) as error:
        console.print(plain_text(f"note: no evaluation in {found[0].id}, where the data comes from: {error}", keep=""))
        return None
    console.print(plain_text(f"evaluating in {found[0].id}, where the data comes from (--env names another)", keep=""))
    return found[0]


def as_it_was(run_folder: Path) -> Any:
    """The options of a run that began earlier. Raises `RunError` where none did."""
    found = as_recorded(run_folder)
    del found["config"]
    return partly(Train, place=Place(str(run_folder), resume=True), **found)
