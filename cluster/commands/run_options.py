"""What the commands that run on a cluster share: options of evaluation, records, machines and pipeline."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from cluster import ranges
from cluster.commands.options import as_a, draft, environment, given
from cluster.commands.options import parse as parse_options
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.run_folder import RunFolder
from cluster.settings import ADDRESS, DEVICE, JSON_TEXT, NAME, PATH, RUN_FOLDER, STEP, UPDATERS, Held, real_number
from cluster.topology import read_topology
from replay.ranges import expected, fits, shown

_RECIPE = Recipe(datasets=(), algorithm="")
_CADENCE = Cadence()
_TOPOLOGY = Topology()

Options = TypeVar("Options", bound="RunOptions")


@dataclass(frozen=True)
class Evaluation(Held):
    """Where and when the policy is scored."""

    env: Annotated[str | None, NAME, tyro.conf.arg(metavar="ENV")] = None
    """The environment. Without it, where the data was recorded, if the data says so."""
    env_kwargs: Annotated[str | None, JSON_TEXT, tyro.conf.arg(metavar="JSON")] = None
    """Its arguments, as a JSON object."""
    reset_options: Annotated[str | None, JSON_TEXT, tyro.conf.arg(metavar="JSON")] = None
    """Options of every reset, such as a fixed goal, as a JSON object."""
    observation_key: Annotated[str | None, NAME, tyro.conf.arg(metavar="KEY")] = None
    """Of a dictionary observation, the part that the policy sees."""
    trust_env: bool = False
    """Make the environment that a dataset or a run names whatever it is: it may run code, and open files, of whoever
    wrote that. Without it, what only data names must be built in, and its arguments must not be text."""
    eval_every: ranges.StepsOrNone = _CADENCE.eval_every
    """Evaluate every so many steps; 0: before the first and after the last."""
    eval_episodes: ranges.EpisodesOrNone = _CADENCE.eval_episodes
    """Episodes of an evaluation; 0 leaves evaluation out."""
    eval_stochastic: bool = _CADENCE.eval_stochastic
    """Draw actions from the policy instead of taking its mode."""


@dataclass(frozen=True)
class Records(Held):
    """What is written while it trains. None of it changes the result."""

    resume: bool = False
    """Go on with an interrupted run. Options that are not given stay as they were."""
    resume_from: Annotated[str | None, STEP, tyro.conf.arg(metavar="step-N")] = None
    """With --resume: go on from this checkpoint instead of the newest. What was recorded and saved after it is removed,
    and computed again."""
    checkpoint_every: ranges.StepsOrNone = _CADENCE.checkpoint_every
    """Save every so many steps."""
    keep: ranges.Keep = _CADENCE.keep
    """Newest checkpoints to keep; the best one is always kept."""
    log_every: ranges.StepsOrNone = _CADENCE.log_every
    """Record training metrics every so many steps."""
    validate_every: ranges.StepsOrNone = _CADENCE.validate_every
    """Record losses on the validation episodes, and values on a fixed probe, every so many steps."""


@dataclass(frozen=True)
class Machines(Held):
    """Who runs where. It changes speed, not results, but for having updaters at all."""

    serial: bool = False
    """Everything in this process, without Ray: the same result, easier to debug."""
    address: Annotated[str | None, ADDRESS, tyro.conf.arg(metavar="ADDRESS")] = None
    """A running Ray cluster to join: auto, or its address. Without it, Ray starts on this machine."""
    config: Annotated[str | None, PATH, tyro.conf.arg(metavar="FILE")] = None
    """A ray_config.yaml whose metadata.quiver says how many actors of each role run, and on what."""
    shards: ranges.SomeActors = _TOPOLOGY.replay_shards.count
    """Replay shard actors, which hold the data."""
    updaters: Annotated[str, UPDATERS, tyro.conf.arg(metavar="N|auto")] = str(_TOPOLOGY.bellman_updaters.count)
    """Bellman updaters, which label batches with targets. 0: the learner does it. auto: what processors are left."""
    learners: ranges.SomeActors = _TOPOLOGY.learners.count
    """Data-parallel learners."""
    evaluators: ranges.Actors = _TOPOLOGY.evaluators.count
    """Evaluators: with several, that many evaluations run side by side. 0 leaves evaluation out."""
    stage: Annotated[str | None, PATH, tyro.conf.arg(metavar="DIR")] = None
    """A folder on each node's own disk to which shards are copied, and verified, first."""
    allow_mixed: bool = _TOPOLOGY.allow_mixed
    """Accept updaters on another kind of processor than the learner's, and a run that goes on on another kind of
    machine than it began on: results then differ in the last bits."""
    max_restarts: ranges.Restarts = _TOPOLOGY.max_restarts
    """How often a learner that died is started again from the last checkpoint."""
    late_chunk_seconds: ranges.Seconds = _TOPOLOGY.late_chunk_seconds
    """A chunk later than this is given to a second updater, too."""
    env_timeout: Annotated[ranges.EnvTimeout, tyro.conf.arg(metavar="SECONDS")] = _TOPOLOGY.env_timeout
    """For one call of an environment, such as a step; 0: for ever. A call that takes longer counts as failed. After a
    minute a note says where it hangs."""


@dataclass(frozen=True)
class Pipeline(Held):
    """How the work is cut. With updaters, K and D are part of the result; the others touch its last bits at most."""

    chunk_steps: ranges.ChunkSteps = _RECIPE.chunk_steps
    """K: gradient steps that are labelled with one version of the weights."""
    depth: ranges.Depth = _RECIPE.depth
    """D: a chunk is labelled with the weights of D chunks before it."""
    label_reuse: ranges.LabelReuse = _RECIPE.label_reuse
    """Gradient steps that each labelled batch is used in."""
    shards_per_draw: Annotated[ranges.ShardsPerDraw, tyro.conf.arg(metavar="N")] = _RECIPE.shards_per_draw
    """At most so many shards serve one batch; for large clusters. Part of the result."""
    device: Annotated[str, DEVICE, tyro.conf.arg(metavar="auto|cpu|cuda")] = "auto"
    """Where every role computes. cpu: no role asks for a GPU. cuda: learners and updaters do. auto: as the --config
    says; where it says nothing, on this machine's GPU if it has one, and on the CPU of a cluster."""
    compile: bool = _RECIPE.compile
    """Compile the training step with torch.compile: slow to start, then faster."""
    threads: ranges.Threads = _RECIPE.threads
    """Threads of each process."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(Pipeline, Machines, Records, Evaluation):
    """All of them; a command adds its own."""

    run: Annotated[str, RUN_FOLDER]
    knobs: Any = None
    """The algorithm's own configuration."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """The options of `RECORDED` that a run's configuration has set, and no person; each with that file."""


RECORDED = ("env", "env_kwargs", "reset_options", "address", "stage")
"""Options that may run code, or write outside the run's folder: a run of somebody else must not set them unseen."""

_HARMLESS: dict[str, tuple[str | None, ...]] = {"address": (None, "auto", "local"), "stage": (None,)}
"""Values that it may set all the same."""

SHARED: dict[str, type[Any]] = {
    "evaluation": Evaluation,
    "records": Records,
    "machines": Machines,
    "pipeline": Pipeline,
}
"""As `--help` groups them."""


def parse_sections(
    kinds: Mapping[str, type[Any]],
    default: RunOptions,
    algorithm: str,
    command: str,
    arguments: Sequence[str],
    about: str | None,
) -> dict[str, Any]:
    """The options of all sections by name, over those of `default`; its knobs are a section named as the algorithm."""
    sections = {title: _part(default, kind) for title, kind in kinds.items()}
    if default.knobs is not None:
        sections[algorithm] = default.knobs
    sections = {title: as_a(draft(type(section)), section) for title, section in sections.items()}
    kind = make_dataclass("Sections", [(title, type(section)) for title, section in sections.items()], frozen=True)
    kind.__doc__ = about
    parsed = parse_options(kind, command, arguments, kind(**sections))
    found = {f.name: getattr(getattr(parsed, title), f.name) for title, kind in kinds.items() for f in fields(kind)}
    found["knobs"] = as_a(type(default.knobs), getattr(parsed, algorithm)) if default.knobs is not None else None
    found["recorded"] = {name: where for name, where in default.recorded.items() if not given(arguments, name)}
    return found


def of_data(options: RunOptions) -> Mapping[str, str]:
    """Which options of the environment data has named, and where: those that nobody has given, or trusts."""
    return {} if options.trust_env else options.recorded


def _part(options: RunOptions, kind: type[Any]) -> Any:
    return draft(kind)(**{entry.name: getattr(options, entry.name) for entry in fields(kind)})


def resume_command(command: str, options: RunOptions) -> str:
    """What goes on with an interrupted run: with the options that its configuration is not to set by itself."""
    words = ["quiver", command, "--run", options.run, "--resume"]
    if options.config is not None:
        words += ["--config", options.config]
    if options.address not in _HARMLESS["address"] and not options.serial:
        words += ["--address", str(options.address)]
    if options.stage is not None and options.config is None:
        words += ["--stage", options.stage]
    return shlex.join([*words, *_environment_again(options)])


@contextmanager
def how_to_go_on(command: str, options: RunOptions) -> Iterator[None]:
    """Adds the command that goes on with the run to what interrupted it in here, and to what its environment failed by,
    once there is a run."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        how = interruption.args or (f"Go on with: {resume_command(command, options)}",)
        raise KeyboardInterrupt(*how) from None
    except (RunError, ValueError) as error:
        from cluster.backends.backend import ActorEndedError
        from cluster.runner_pool import NoRunnerError
        from envs import EnvFailedError

        begun = RunFolder(Path(options.run)).config.is_file()
        if not begun or not isinstance(error, ActorEndedError | NoRunnerError | EnvFailedError):
            raise
        raise type(error)(f"{error} Go on with: {resume_command(command, options)}") from error


def _environment_again(options: RunOptions) -> list[str]:
    if options.env is None or options.trust_env:
        return ["--trust-env"] if options.trust_env else []
    from envs import EnvError
    from envs.trust import check

    given = {"--env-kwargs": options.env_kwargs, "--reset-options": options.reset_options}
    recorded = dict.fromkeys(("id", "kwargs", "reset_options"), "config.json")
    try:
        named = environment(options.env, options.env_kwargs, options.reset_options, options.observation_key)
        assert named is not None
        check(replace(named, recorded=recorded))
    except EnvError:
        texts = [(option, text) for option, text in given.items() if text is not None]
        return [word for pair in [("--env", options.env), *texts] for word in pair]
    return []


# --- Datasets ---


Weight = Annotated[float, ranges.DATASETS]


def weighted_datasets(entries: Sequence[str]) -> tuple[tuple[str, float | None], ...]:
    """`DATASET` or `DATASET=WEIGHT` as (absolute path, weight). Raises `RunError` unless all or none have weights."""
    found: list[tuple[str, float | None]] = []
    for entry in entries:
        path, equals, text = entry.rpartition("=")
        if not equals or Path(entry).exists():
            found.append((str(Path(entry).absolute()), None))
            continue
        weight = real_number(text)
        if weight is None or not fits(weight, Weight):
            raise RunError(f"--dataset {entry}: the weight is {shown(text)}, expected {expected(Weight)}.")
        PATH.check(path, f"--dataset {entry}")
        found.append((str(Path(path).absolute()), weight))
    if len({weight is None for _, weight in found}) > 1:
        raise RunError("--dataset: some have a weight and some have none; give all of them one, or none.")
    return tuple(found)


# --- Topology ---


def topology_for(options: RunOptions, algorithm: Any) -> tuple[Topology, bool]:
    """The topology, and whether the learner computes its own targets: as asked, or since `algorithm` has none."""
    topology = _topology(options)
    fused = topology.bellman_updaters.count == 0
    if not fused and not algorithm.has_targets and options.config:
        # The file speaks of the cluster, not of the algorithm.
        return replace(topology, bellman_updaters=replace(topology.bellman_updaters, count=0)), True
    return topology, fused


def _topology(options: RunOptions) -> Topology:
    """The topology of --config, of the run that goes on, or the default one, with what the options say."""
    _refuse_recorded_places(options)
    base = _base(options)
    own = {
        name: getattr(options, name)
        for name in ("serial", "stage", "allow_mixed", "max_restarts", "late_chunk_seconds", "env_timeout")
    }
    return replace(
        base,
        **own,
        address=None if options.serial else options.address,
        replay_shards=replace(base.replay_shards, count=options.shards),
        learners=replace(base.learners, count=options.learners),
        evaluators=replace(base.evaluators, count=options.evaluators),
        bellman_updaters=replace(base.bellman_updaters, count=_updaters(options)),
    )


def _base(options: RunOptions) -> Topology:
    if options.config:
        return read_topology(Path(options.config))
    return recorded_topology(RunFolder(Path(options.run)).read_config()) if options.resume else _TOPOLOGY


def _refuse_recorded_places(options: RunOptions) -> None:
    """Raises `RunError` for a cluster to join, or a folder to write to, that only a run's configuration names.

    Whoever holds a cluster can run code in its drivers, and Ray imports a module that an address names.
    """
    if options.config is not None:
        return  # the file is named by the person, and its places are those that count
    for name, harmless in _HARMLESS.items():
        value = getattr(options, name)
        if name in options.recorded and value not in harmless and not (name == "address" and options.serial):
            raise RunError(
                f"{options.recorded[name]}: topology.{name} is {value!r}; a run's configuration does not choose the "
                f"cluster that is joined, nor folders that are written to. If it is yours, add --{name} {value}."
            )


def recorded_topology(config: Mapping[str, Any]) -> Topology:
    """The topology in a run's `config.json`."""
    values: dict[str, Any] = dict(config["topology"])
    for entry in fields(Topology):
        if entry.name in values and isinstance(entry.default, Role):
            values[entry.name] = Role(**values[entry.name])
    return Topology(**values)


def _updaters(options: RunOptions) -> int:
    if options.updaters == "auto":
        if options.address:
            raise RunError(
                "--updaters auto: counts the processors of this machine, which says nothing about a cluster; "
                "give a number, or a --config with one."
            )
        from os import sched_getaffinity

        left = (len(sched_getaffinity(0)) - options.learners * options.threads) / options.threads
        return max(1, int(left))
    return int(options.updaters)


def with_topology(options: Options, topology: Topology) -> Options:
    """The options' defaults as a topology has them."""
    return replace(
        options,
        serial=topology.serial,
        address=topology.address,
        shards=topology.replay_shards.count,
        updaters=str(topology.bellman_updaters.count),
        learners=topology.learners.count,
        evaluators=topology.evaluators.count,
        stage=topology.stage,
        allow_mixed=topology.allow_mixed,
        max_restarts=topology.max_restarts,
        late_chunk_seconds=topology.late_chunk_seconds,
        env_timeout=topology.env_timeout,
    )
