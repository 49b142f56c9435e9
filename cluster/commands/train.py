"""`quiver train`: a policy from datasets, in one process or on a Ray cluster."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from cluster.commands.options import environment, recorded_environment
from cluster.commands.options import parse as parse_options
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Role, Topology, recipe_from_json
from cluster.run_folder import RunFolder
from cluster.topology import read_topology

_RECIPE = Recipe(datasets=(), algorithm="")
_CADENCE = Cadence()
_TOPOLOGY = Topology()


@dataclass(frozen=True)
class What:
    """What the result depends on, with the algorithm's own knobs below."""

    dataset: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATASET[=WEIGHT]")]]
    """A dataset folder; again for each further one. Weights are relative shares of every batch (all or none)."""
    algo: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """The algorithm. Its knobs are options, too: `quiver train --algo NAME --help` shows them."""
    run: Annotated[str, tyro.conf.arg(metavar="RUN")]
    """The run's folder: configuration, metrics, checkpoints, report."""
    steps: int = _RECIPE.steps
    """Gradient steps."""
    seed: int = _RECIPE.seed
    """Of everything random."""
    batch_size: int = _RECIPE.batch_size
    """Transitions of one gradient step, over all learners."""
    split: str = _RECIPE.split
    """Which episodes to train on: train, validation, all, or a name the dataset has."""
    where: Annotated[str | None, tyro.conf.arg(metavar="EXPR")] = _RECIPE.where
    """Only episodes for which this holds, such as "return > 100 and success == 1"."""
    priority_exponent: float = _RECIPE.priority_exponent
    """Above 0: sample by temporal-difference error to this power."""
    importance_exponent: float = _RECIPE.importance_exponent
    """How far importance weights make up for prioritised sampling: 0 not at all, 1 fully."""


@dataclass(frozen=True)
class Evaluation:
    """Where and when the policy is scored."""

    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """The environment. Without it, where the data was recorded, if the data says so."""
    env_kwargs: Annotated[str | None, tyro.conf.arg(metavar="JSON")] = None
    """Its arguments, as a JSON object."""
    reset_options: Annotated[str | None, tyro.conf.arg(metavar="JSON")] = None
    """Options of every reset, such as a fixed goal, as a JSON object."""
    observation_key: Annotated[str | None, tyro.conf.arg(metavar="KEY")] = None
    """Of a dictionary observation, the part that the policy sees."""
    eval_every: int = _CADENCE.eval_every
    """Evaluate every so many steps; 0: before the first and after the last."""
    eval_episodes: int = _CADENCE.eval_episodes
    """Episodes of an evaluation; 0 leaves evaluation out."""
    eval_stochastic: bool = _CADENCE.eval_stochastic
    """Draw actions from the policy instead of taking its mode."""


@dataclass(frozen=True)
class Records:
    """What is written while it trains. None of it changes the result."""

    resume: bool = False
    """Go on with an interrupted run. Options that are not given stay as they were."""
    checkpoint_every: int = _CADENCE.checkpoint_every
    """Save every so many steps."""
    keep: int = _CADENCE.keep
    """Newest checkpoints to keep; the best one is always kept."""
    log_every: int = _CADENCE.log_every
    """Record training metrics every so many steps."""
    validate_every: int = _CADENCE.validate_every
    """Record losses on the validation episodes, and values on a fixed probe, every so many steps."""


@dataclass(frozen=True)
class Machines:
    """Who runs where. It changes speed, not results, but for having updaters at all."""

    serial: bool = False
    """Everything in this process, without Ray: the same result, easier to debug."""
    address: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """A running Ray cluster to join: auto, or its address. Without it, Ray starts on this machine."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A ray_config.yaml whose metadata.quiver says how many actors of each role run, and on what."""
    shards: int = _TOPOLOGY.replay_shards.count
    """Replay shard actors, which hold the data."""
    updaters: Annotated[str, tyro.conf.arg(metavar="N|auto")] = str(_TOPOLOGY.bellman_updaters.count)
    """Bellman updaters, which label batches with targets. 0: the learner does it. auto: what processors are left."""
    learners: int = _TOPOLOGY.learners.count
    """Data-parallel learners."""
    stage: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """A folder on each node's own disk to which shards are copied, and verified, first."""
    allow_mixed: bool = _TOPOLOGY.allow_mixed
    """Accept updaters on another kind of processor than the learner's: results then differ in the last bits."""
    max_restarts: int = _TOPOLOGY.max_restarts
    """How often a learner that died is started again from the last checkpoint."""
    late_chunk_seconds: float = _TOPOLOGY.late_chunk_seconds
    """A chunk later than this is given to a second updater, too."""


@dataclass(frozen=True)
class Pipeline:
    """How the work is cut. With updaters, K and D are part of the result; the others touch its last bits at most."""

    chunk_steps: int = _RECIPE.chunk_steps
    """K: gradient steps that are labelled with one version of the weights."""
    depth: int = _RECIPE.depth
    """D: a chunk is labelled with the weights of D chunks before it."""
    label_reuse: int = _RECIPE.label_reuse
    """Gradient steps that each labelled batch is used in."""
    shards_per_draw: Annotated[int | None, tyro.conf.arg(metavar="N")] = _RECIPE.shards_per_draw
    """At most so many shards serve one batch; for large clusters. Part of the result."""
    device: Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda")] = "auto"
    """Where the learner computes. auto: on a GPU where there is one."""
    compile: bool = _RECIPE.compile
    """Compile the training step with torch.compile: slow to start, then faster."""
    threads: int = _RECIPE.threads
    """Threads of each process."""


@dataclass(frozen=True, kw_only=True)
class Train(Pipeline, Machines, Records, Evaluation, What):
    """Train a policy on datasets, in one process or on a Ray cluster.

    Interrupted, killed or moved to other machines, a run resumes and ends as if nothing had happened.
    """

    knobs: Any = None
    """The algorithm's own configuration."""


SECTIONS: dict[str, type[Any]] = {
    "training": What,
    "evaluation": Evaluation,
    "records": Records,
    "machines": Machines,
    "pipeline": Pipeline,
}
"""The options as `--help` groups them, the algorithm's knobs apart."""


def parse(arguments: Sequence[str]) -> Train:
    """The options. What `--algo`, `--config` and, on a resume, the run's own configuration say is read first: it
    gives the further options and the defaults of the rest."""
    import learners

    first = _look_ahead(arguments)
    # What tyro finds missing it asks for.
    default = Train(dataset=tyro.MISSING, algo=tyro.MISSING, run=tyro.MISSING)
    if first.resume and first.run:
        default = as_it_was(Path(first.run))
    if first.algo and first.algo != default.algo:
        default = replace(default, knobs=learners.config_class(first.algo)())
    if first.config:
        default = _with_topology(default, read_topology(Path(first.config)))
    sections = {title: _part(default, kind) for title, kind in SECTIONS.items()}
    if default.knobs is not None:
        sections[first.algo or default.algo] = default.knobs
    kind = make_dataclass("Sections", [(title, type(section)) for title, section in sections.items()], frozen=True)
    kind.__doc__ = Train.__doc__
    parsed = parse_options(kind, "train", arguments, kind(**sections))
    found = {f.name: getattr(getattr(parsed, title), f.name) for title, kind in SECTIONS.items() for f in fields(kind)}
    return Train(**found, knobs=getattr(parsed, found["algo"]))


def _part(options: Train, kind: type[Any]) -> Any:
    return kind(**{entry.name: getattr(options, entry.name) for entry in fields(kind)})


def run(options: Train) -> None:
    """Train, showing how it goes, and say where everything is."""
    console = Console(stderr=True, soft_wrap=True)
    recipe, topology, cadence = settle(options)
    environment_ = evaluation_environment(options, recipe, console)
    from cluster.train import train

    where = Path(options.run)
    try:
        result = train(
            recipe, topology, cadence, run=where, environment=environment_, resume=options.resume, console=console
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on with: quiver train --run {options.run} --resume") from None
    console.print(f"{where}: {result.steps:,} steps; `quiver report {options.run}` draws its curves", highlight=False)


def settle(options: Train) -> tuple[Recipe, Topology, Cadence]:
    """What the options mean. Raises `RunError` for what does not go together."""
    import learners

    if not options.dataset:
        raise RunError("--dataset: is missing; name a folder that `quiver ingest` or `quiver collect` made.")
    topology = _topology(options)
    algorithm = learners.algorithm_class(options.algo)
    fused = topology.bellman_updaters.count == 0
    if not fused and not algorithm.has_targets and options.config:
        # The file speaks of the cluster, not of the algorithm.
        topology, fused = replace(topology, bellman_updaters=replace(topology.bellman_updaters, count=0)), True
    names = {entry.name for entry in fields(Recipe)} & {entry.name for entry in fields(Train)}
    values: dict[str, Any] = {name: getattr(options, name) for name in names}
    values |= {"algorithm": options.algo, "knobs": asdict(options.knobs), "fused": fused}
    recipe = Recipe(datasets=weighted_datasets(options.dataset), **values)
    cadence = Cadence(**{entry.name: getattr(options, entry.name) for entry in fields(Cadence)})
    return recipe, topology, cadence


def weighted_datasets(entries: Sequence[str]) -> tuple[tuple[str, float | None], ...]:
    """`DATASET` or `DATASET=WEIGHT` as (absolute path, weight). Raises `RunError` unless all or none have weights."""
    found: list[tuple[str, float | None]] = []
    for entry in entries:
        path, equals, text = entry.rpartition("=")
        if not equals or Path(entry).exists():
            found.append((str(Path(entry).absolute()), None))
            continue
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        if not 0.0 < weight < float("inf"):
            raise RunError(f"--dataset {entry}: the weight is {text!r}, expected a number above 0.")
        found.append((str(Path(path).absolute()), weight))
    if len({weight is None for _, weight in found}) > 1:
        raise RunError("--dataset: some have a weight and some have none; give all of them one, or none.")
    return tuple(found)


def evaluation_environment(options: Train, recipe: Recipe, console: Console) -> Any | None:
    """The environment to evaluate in: as asked, or else the one the data was recorded in, if it can be made here."""
    asked = environment(options.env, options.env_kwargs, options.reset_options, options.observation_key)
    if options.eval_episodes == 0:
        return None
    if asked is not None or options.resume:
        return asked
    import replay
    from cluster.checks import check_environment
    from envs import EnvError
    from replay.view import View

    datasets = [(replay.open(path), weight) for path, weight in recipe.datasets]
    found = [spec for spec in (recorded_environment(dataset.provenance) for dataset, _ in datasets) if spec]
    if not found:
        return None
    if any(spec != found[0] for spec in found):
        console.print("note: the datasets come from different environments; name one with --env to evaluate.")
        return None
    try:
        check_environment(found[0], View.of(datasets, split=recipe.split, where=recipe.where))
    except (EnvError, RunError) as error:
        console.print(f"note: no evaluation in {found[0].id}, where the data comes from: {error}", highlight=False)
        return None
    console.print(f"evaluating in {found[0].id}, where the data comes from (--env names another)", highlight=False)
    return found[0]


# --- Topology ---


def _topology(options: Train) -> Topology:
    """The topology of --config, of the run that goes on, or the default one, with what the options say."""
    base = _base(options)
    own = {
        name: getattr(options, name)
        for name in ("serial", "stage", "allow_mixed", "max_restarts", "late_chunk_seconds")
    }
    return replace(
        base,
        **own,
        address=None if options.serial else options.address,
        replay_shards=replace(base.replay_shards, count=options.shards),
        learners=replace(base.learners, count=options.learners),
        bellman_updaters=replace(base.bellman_updaters, count=_updaters(options)),
    )


def _base(options: Train) -> Topology:
    if options.config:
        return read_topology(Path(options.config))
    return _recorded(RunFolder(Path(options.run)).read_config()) if options.resume else _TOPOLOGY


def _recorded(config: Mapping[str, Any]) -> Topology:
    """The topology in a run's `config.json`."""
    values: dict[str, Any] = dict(config["topology"])
    for role in ("replay_shards", "bellman_updaters", "learners", "evaluators"):
        values[role] = Role(**values[role])
    return Topology(**values)


def _updaters(options: Train) -> int:
    if options.updaters == "auto":
        if options.address:
            raise RunError(
                "--updaters auto: counts the processors of this machine, which says nothing about a cluster; "
                "give a number, or a --config with one."
            )
        from os import sched_getaffinity

        left = (len(sched_getaffinity(0)) - options.learners * options.threads) / options.threads
        return max(1, int(left))
    if not options.updaters.isdigit():
        raise RunError(f"--updaters: found {options.updaters!r}, expected 0 or more, or auto.")
    return int(options.updaters)


def _with_topology(options: Train, topology: Topology) -> Train:
    """The options' defaults as a topology has them."""
    return replace(
        options,
        serial=topology.serial,
        address=topology.address,
        shards=topology.replay_shards.count,
        updaters=str(topology.bellman_updaters.count),
        learners=topology.learners.count,
        stage=topology.stage,
        allow_mixed=topology.allow_mixed,
        max_restarts=topology.max_restarts,
        late_chunk_seconds=topology.late_chunk_seconds,
    )


# --- Defaults that come first ---


def _look_ahead(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--algo", "--config", "--run"):
        parser.add_argument(name, nargs="?")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_known_args(list(arguments))[0]


def as_it_was(run_folder: Path) -> Train:
    """The options of a run that began earlier. Raises `RunError` where none did."""
    import learners

    config = RunFolder(run_folder).read_config()
    recipe = recipe_from_json(config["recipe"], str(run_folder / "config.json"))
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
        knobs=learners.config_class(recipe.algorithm)(**recipe.knobs),
        **{name: getattr(recipe, name) for name in names},
        **config["cadence"],
    )
    options = _with_topology(options, _recorded(config))
    return replace(options, updaters="0") if recipe.fused else options
