"""`quiver train`: a policy from datasets, in one process or on a Ray cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from cluster import ranges
from cluster.commands.options import draft, environment, given, recorded_environment, told
from cluster.commands.output import error_console, plain_text
from cluster.commands.run_options import (
    RECORDED,
    SHARED,
    RunOptions,
    how_to_go_on,
    of_data,
    parse_sections,
    recorded_topology,
    topology_for,
    weighted_datasets,
    with_topology,
)
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Topology
from cluster.run_folder import RunFolder
from cluster.settings import EXPRESSION, NAME, PATH, RUN_FOLDER, Held
from cluster.topology import read_topology

_RECIPE = Recipe(datasets=(), algorithm="")


@dataclass(frozen=True)
class What(Held):
    """What the result depends on, with the algorithm's own knobs below."""

    dataset: tyro.conf.UseAppendAction[
        Annotated[tuple[str, ...], ranges.DATASETS, PATH, tyro.conf.arg(metavar="DATASET[=WEIGHT]")]
    ]
    """A dataset folder; again for each further one. Weights are relative shares of every batch (all or none)."""
    algo: Annotated[str, NAME, tyro.conf.arg(metavar="NAME")]
    """The algorithm. Its knobs are options, too: `quiver train --algo NAME --help` shows them."""
    run: Annotated[str, RUN_FOLDER, tyro.conf.arg(metavar="RUN")]
    """The run's folder: configuration, metrics, checkpoints, report."""
    steps: ranges.Steps = _RECIPE.steps
    """Gradient steps."""
    seed: ranges.Seed = _RECIPE.seed
    """Of everything random."""
    batch_size: ranges.BatchSize = _RECIPE.batch_size
    """Transitions of one gradient step, over all learners."""
    split: Annotated[str, NAME] = _RECIPE.split
    """Which episodes to train on: train, validation, all, or a name the dataset has."""
    where: Annotated[str | None, EXPRESSION, tyro.conf.arg(metavar="EXPR")] = _RECIPE.where
    """Only episodes for which this holds, such as "return > 100 and success == 1"."""
    priority_exponent: ranges.PriorityExponent = _RECIPE.priority_exponent
    """Above 0: sample by temporal-difference error to this power."""
    importance_exponent: ranges.ImportanceExponent = _RECIPE.importance_exponent
    """How far importance weights make up for prioritised sampling: 0 not at all, 1 fully."""


@dataclass(frozen=True, kw_only=True)
class Train(RunOptions, What):
    """Train a policy on datasets, in one process or on a Ray cluster.

    Interrupted, killed or moved to other machines, a run resumes and ends as if nothing had happened.
    """


SECTIONS: dict[str, type[Any]] = {
    "training": What,
    **SHARED,
}
"""The options as `--help` groups them, the algorithm's knobs apart."""


def parse(arguments: Sequence[str]) -> Train:
    """The options. What `--algo`, `--config` and, on a resume, the run's own configuration say is read first: it
    gives the further options and the defaults of the rest."""
    import learners

    algo, config, run = (
        told(arguments, name, kind) for name, kind in (("algo", NAME), ("config", PATH), ("run", RUN_FOLDER))
    )
    # What tyro finds missing it asks for.
    default = draft(Train)(dataset=tyro.MISSING, algo=tyro.MISSING, run=tyro.MISSING)
    if given(arguments, "resume") and run:
        default = as_it_was(Path(run))
    if algo and algo != default.algo:
        default = replace(default, knobs=learners.config_class(algo)())
    if given(arguments, "dataset"):
        default = replace(default, dataset=())  # those that are given take their place, and do not join them
    if config:
        default = with_topology(default, read_topology(Path(config)))
    values = parse_sections(SECTIONS, default, algo or default.algo, "train", arguments, Train.__doc__)
    return Train(**values)


def run(options: Train) -> None:
    """Train, showing how it goes, and say where everything is."""
    console = error_console()
    recipe, topology, cadence = settle(options)
    environment_ = evaluation_environment(options, recipe, console)
    from cluster.train import train

    where = Path(options.run)
    with how_to_go_on("train", options):
        result = train(
            recipe,
            topology,
            cadence,
            run=where,
            environment=environment_,
            resume=options.resume,
            resume_from=options.resume_from,
            console=console,
        )
    console.print(
        plain_text(f"{where}: {result.steps:,} steps; `quiver report {options.run}` draws its curves", keep="")
    )


def settle(options: Train) -> tuple[Recipe, Topology, Cadence]:
    """What the options mean. Raises `RunError` for what does not go together."""
    import learners

    if not options.dataset:
        raise RunError("--dataset: is missing; name a folder that `quiver ingest` or `quiver collect` made.")
    topology, fused = topology_for(options, learners.algorithm_class(options.algo))
    names = {entry.name for entry in fields(Recipe)} & {entry.name for entry in fields(Train)}
    values: dict[str, Any] = {name: getattr(options, name) for name in names}
    values |= {"algorithm": options.algo, "knobs": asdict(options.knobs), "fused": fused}
    recipe = Recipe(datasets=weighted_datasets(options.dataset), **values)
    cadence = Cadence(**{entry.name: getattr(options, entry.name) for entry in fields(Cadence)})
    return recipe, topology, cadence


def evaluation_environment(options: Train, recipe: Recipe, console: Console) -> Any | None:
    """The environment to evaluate in: as asked, or else the one the data was recorded in, if it can be made here."""
    asked = environment(
        options.env, options.env_kwargs, options.reset_options, options.observation_key, of_data(options)
    )
    if options.eval_episodes == 0 or options.evaluators == 0:
        return None
    if asked is not None or options.resume:
        return asked
    import replay
    from cluster.checks import check_environment
    from envs import EnvError
    from replay.view import View

    datasets = [(replay.open(path), weight) for path, weight in recipe.datasets]
    try:
        specs = [recorded_environment(dataset.provenance, str(dataset.path)) for dataset, _ in datasets]
    except EnvError as error:
        console.print(plain_text(f"note: no evaluation: {error}", keep=""))
        return None
    found = [spec.trusted() if options.trust_env else spec for spec in specs if spec]
    if not found:
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


# --- Defaults that come first ---


def as_it_was(run_folder: Path) -> Train:
    """The options of a run that began earlier. Raises `RunError` where none did."""
    from cluster.run_record import read_knobs, read_recipe

    where = str(run_folder / "config.json")
    config = RunFolder(run_folder).read_config()
    recipe = read_recipe(config["recipe"], where)
    env = config["environment"] or {}
    names = {entry.name for entry in fields(Recipe)} & {entry.name for entry in fields(Train)} - {"knobs"}
    options = Train(
        dataset=tuple(path if weight is None else f"{path}={weight}" for path, weight in recipe.datasets),
        algo=recipe.algorithm,
        run=str(run_folder),
        env=env.get("id"),
        env_kwargs=json.dumps(env["kwargs"]) if env.get("kwargs") else None,
        reset_options=json.dumps(env["reset_options"]) if env.get("reset_options") is not None else None,
        observation_key=env.get("observation_key"),
        resume=True,
        knobs=read_knobs(recipe, where),
        recorded=dict.fromkeys(RECORDED, where),
        **{name: getattr(recipe, name) for name in names},
        **config["cadence"],
    )
    options = with_topology(options, recorded_topology(config))
    return replace(options, updaters="0") if recipe.fused else options
