"""What the commands that run on a cluster share: where a run is, where it is evaluated, and how its options are read.

What a run is told stands in `cluster.options`, and is read from the command line as it stands there; what is said
otherwise on a command line (`--updaters auto`, `--dataset DATASET=WEIGHT`) is turned into that here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cluster import ranges
from cluster.commands.options import as_a, draft, environment, given, kind_of
from cluster.commands.options import parse as parse_options
from cluster.effects import Situation
from cluster.errors import RunError
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.settings import INIT, JSON_TEXT, NAME, PATH, RUN_FOLDER, STEP, CheckedSettings, Flag, option, real_number
from replay.ranges import Range, expected, fits, hints, shown

if TYPE_CHECKING:
    from envs import EnvSpec


@dataclass(frozen=True)
class Place(CheckedSettings):
    """Which run it is, and where it begins."""

    run: Annotated[str, RUN_FOLDER, Flag(metavar="RUN")]
    """The run's folder, with its configuration, metrics, checkpoints and report."""
    resume: bool = False
    """Go on with an interrupted run. Options that are not given stay as they were."""
    resume_from: Annotated[str | None, STEP, Flag(metavar="step-N")] = None
    """With --resume: go on from this checkpoint instead of the newest. What was recorded and saved after it is removed,
    and computed again."""
    config: Annotated[str | None, PATH, Flag(metavar="FILE")] = None
    """A ray_config.yaml whose metadata.quiver says how many actors of each role run, and on what."""
    init: Annotated[
        tuple[str, ...], Range(entries=1_000), INIT, Flag(metavar="NAME=RUN[@latest|best|step-N][:frozen]")
    ] = ()
    """Begin with a module of another run, such as its critic, by the name it has there and here, or with all that its
    checkpoint holds; frozen, it is not trained on. Give the option again for each further one."""


@dataclass(frozen=True)
class Environment(CheckedSettings):
    """Where the policy acts."""

    env: Annotated[str | None, NAME, Flag(metavar="ENV")] = None
    """The environment. Without it, it is where the data was recorded, if the data says so."""
    env_kwargs: Annotated[str | None, JSON_TEXT, Flag(metavar="JSON")] = None
    """The environment's arguments, as a JSON object."""
    reset_options: Annotated[str | None, JSON_TEXT, Flag(metavar="JSON")] = None
    """Options of every reset, such as a fixed goal, as a JSON object."""
    observation_key: Annotated[str | None, NAME, Flag(metavar="KEY")] = None
    """The part of a dictionary observation that the policy sees."""
    trust_env: bool = False
    """Make the environment that a dataset or a run names whatever it is: it may run code, and open files, of whoever
    wrote that. Without it, what only data names must be built in, and its arguments must not be text."""

    def named(self, recorded: Mapping[str, str]) -> EnvSpec | None:
        """The `EnvSpec` that these options describe, or None without one. `recorded` has those of them that data has
        named, and where. Raises `RunError` as `options.environment` does."""
        by_data = {} if self.trust_env else recorded
        return environment(self.env, self.env_kwargs, self.reset_options, self.observation_key, by_data)

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> Environment:
        """That which a run's configuration names."""
        record = record or {}
        resets = record.get("reset_options")
        return cls(
            record.get("id"),
            json.dumps(record["kwargs"]) if record.get("kwargs") else None,
            None if resets is None else json.dumps(resets),
            record.get("observation_key"),
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a command, in the groups that its help shows; a command adds its own."""

    place: Place
    environment: Environment
    recipe: Recipe
    topology: Topology
    cadence: Cadence
    knobs: Any = None
    """The algorithm's own configuration."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """The options of `RECORDED` that a run's configuration has set, and no person; each with that file."""
    given: Mapping[str, str] = field(default_factory=dict)
    """The fields that a person has set at the command line, each with the name of its option."""

    def situation(self, *, evaluates: bool) -> Situation:
        """What decides which of them have an effect. `evaluates` where there is an environment."""
        return Situation(
            self.recipe,
            self.topology,
            self.cadence,
            getattr(self, "online", None),
            evaluates,
            self.place.resume,
            getattr(self.place, "from_run", None) is not None,
            "env" in self.given and not self.recorded,
        )


RECORDED = ("env", "env_kwargs", "reset_options", "address", "stage")
"""Options that may run code, or write outside the run's folder: a run of somebody else must not set them unseen."""

_HARMLESS: dict[str, tuple[str | None, ...]] = {"address": (None, "auto", "local"), "stage": (None,)}
"""Values that it may set all the same."""


def read_options(
    titles: Mapping[str, str],
    default: Any,
    unshown: Mapping[str, frozenset[str]],
    command: str,
    arguments: Sequence[str],
) -> dict[str, Any]:
    """The groups of options by name, over those of `default`, which need not be whole: it may lack what must be given.

    `titles` are the groups that the command has, as its help calls them. The knobs, where the algorithm is known, are a
    group named as it. `unshown` are fields of a group that are no options of this command.
    """
    parts = {name: getattr(default, name) for name in titles}
    # Datasets that are given take the place of these, and do not join them.
    parts["recipe"] = replace(parts["recipe"], datasets=())
    if default.knobs is not None:
        parts["knobs"], titles = default.knobs, {**titles, "knobs": parts["recipe"].algorithm}
    drafts = {
        titles[name]: as_a(draft(kind_of(part), unshown.get(name, frozenset())), part) for name, part in parts.items()
    }
    kind = make_dataclass("Options", [(title, type(part)) for title, part in drafts.items()], frozen=True)
    kind.__doc__ = type(default).__doc__
    try:
        parsed = parse_options(kind, command, arguments, kind(**drafts))
    except SystemExit as end:
        if not end.code and default.knobs is None:  # help was asked for
            print(f"algorithms, each with knobs of its own (quiver {command} --algo NAME --help):\n\n{_algorithms()}")
        raise
    read = {name: getattr(parsed, titles[name]) for name in parts}
    known = {name: option(name, hint) for part in drafts.values() for name, hint in hints(kind_of(part)).items()}
    set_by_hand = {name: called for name, called in known.items() if given(arguments, called[2:])}
    recipe = read["recipe"]
    if not recipe.algorithm:
        raise RunError("--from: is missing; name an offline run, or give --algo to begin anew.")
    knobs = as_a(kind_of(default.knobs), read["knobs"])
    found = {
        name: as_a(kind_of(part), read[name]) for name, part in parts.items() if name not in ("recipe", "topology")
    }
    topology = _topology(read["topology"], default.topology, recipe.threads)
    topology, fused = _fused(topology, recipe.algorithm, "config" in set_by_hand)
    datasets = weighted_datasets(recipe.datasets) if "datasets" in set_by_hand else default.recipe.datasets
    values = {**vars(recipe), "datasets": datasets, "knobs": asdict(knobs), "fused": fused}
    recorded = {name: where for name, where in default.recorded.items() if name not in set_by_hand}
    return {
        **found,
        "recipe": Recipe(**values),
        "topology": topology,
        "knobs": knobs,
        "recorded": recorded,
        "given": set_by_hand,
    }


def _algorithms() -> str:
    """All of them, grouped, a line each."""
    from learners.catalogue import CATALOGUE, GROUPS

    width = max(map(len, CATALOGUE))
    lines = []
    for group in GROUPS:
        lines.append(f"{group}:")
        lines += [f"  {name:<{width}}  {entry.line}" for name, entry in CATALOGUE.items() if entry.group == group]
    return "\n".join(lines)


def partly(kind: type[Any], **values: Any) -> Any:
    """A record of options of which some are still to be given: nothing of it is checked."""
    return draft(kind)(**values)


def as_recorded(run_folder: Path) -> dict[str, Any]:
    """The groups of options of a run that began earlier, and `config.json` as `config`. Raises `RunError` where none
    did."""
    from cluster.run_folder import RunFolder
    from cluster.run_record import read_knobs, read_recipe, read_topology

    where = str(run_folder / "config.json")
    config = RunFolder(run_folder).read_config()
    recipe, topology = read_recipe(config["recipe"], where), read_topology(config["topology"], where)
    if recipe.fused:
        topology = replace(topology, bellman_updaters=replace(topology.bellman_updaters, count=0))
    return {
        "config": config,
        "recipe": recipe,
        "topology": topology,
        "cadence": Cadence(**config["cadence"]),
        "environment": Environment.of(config["environment"]),
        "knobs": read_knobs(recipe, where),
        "recorded": dict.fromkeys(RECORDED, where),
    }


def resume_command(command: str, options: RunOptions) -> str:
    """What goes on with an interrupted run: with the options that its configuration is not to set by itself."""
    words = ["quiver", command, "--run", options.place.run, "--resume"]
    if options.place.config is not None:
        words += ["--config", options.place.config]
    if options.topology.address not in _HARMLESS["address"] and not options.topology.serial:
        words += ["--address", str(options.topology.address)]
    if options.topology.stage is not None and options.place.config is None:
        words += ["--stage", options.topology.stage]
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
        from cluster.run_folder import RunFolder
        from cluster.runner_pool import NoRunnerError
        from envs import EnvFailedError

        begun = RunFolder(Path(options.place.run)).config.is_file()
        if not begun or not isinstance(error, ActorEndedError | NoRunnerError | EnvFailedError):
            raise
        raise type(error)(f"{error} Go on with: {resume_command(command, options)}") from error


def _environment_again(options: RunOptions) -> list[str]:
    where = options.environment
    if where.env is None or where.trust_env:
        return ["--trust-env"] if where.trust_env else []
    from envs import EnvError
    from envs.trust import check

    try:
        spec = where.named(dict.fromkeys(RECORDED, "config.json"))
        assert spec is not None
        check(spec)
    except EnvError:
        words = {"--env": where.env, "--env-kwargs": where.env_kwargs, "--reset-options": where.reset_options}
        return [word for option, text in words.items() if text is not None for word in (option, text)]
    return []


# --- Datasets ---


Weight = Annotated[float, ranges.DATASETS]


def weighted_datasets(entries: Sequence[str]) -> tuple[tuple[str, float | None], ...]:
    """`DATASET` or `DATASET=WEIGHT` as (absolute path, weight). Raises `RunError` unless all or none have weights."""
    found: list[tuple[str, float | None]] = []
    for entry in entries:
        PATH.check(entry, "--dataset")
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


def _topology(read: Any, default: Topology, threads: int) -> Topology:
    """What was read, in which a role may be a number of actors, or auto: the rest of the role is as in `default`.

    Raises `RunError` for auto where it says nothing."""
    values = dict(vars(read))
    for name, value in values.items():
        role = getattr(default, name)
        if isinstance(role, Role) and not isinstance(value, Role):
            if value == "auto":
                learners = values["learners"]
                value = _processors_left(read, learners if isinstance(learners, int) else learners.count, threads)
            values[name] = replace(role, count=value)
    if values["serial"]:
        values["address"] = None
    return Topology(**values)


def _processors_left(read: Any, learners: int, threads: int) -> int:
    if read.address:
        raise RunError(
            "--updaters auto: counts the processors of this machine, which says nothing about a cluster; "
            "give a number, or a --config with one."
        )
    from os import sched_getaffinity

    return max(1, int((len(sched_getaffinity(0)) - learners * threads) / threads))


def _fused(topology: Topology, algorithm: str, from_file: bool) -> tuple[Topology, bool]:
    """The topology, and whether the learner computes its own targets: as asked, or since the algorithm has none."""
    import learners

    fused = topology.bellman_updaters.count == 0
    if not fused and from_file and not learners.algorithm_class(algorithm).has_targets:
        # The file speaks of the cluster, not of the algorithm.
        return replace(topology, bellman_updaters=replace(topology.bellman_updaters, count=0)), True
    return topology, fused


def refuse_recorded_places(options: RunOptions) -> None:
    """Raises `RunError` for a cluster to join, or a folder to write to, that only a run's configuration names.

    Whoever holds a cluster can run code in its drivers, and Ray imports a module that an address names.
    """
    if options.place.config is not None:
        return  # the file is named by the person, and its places are those that count
    for name, harmless in _HARMLESS.items():
        value = getattr(options.topology, name)
        if name in options.recorded and value not in harmless:
            raise RunError(
                f"{options.recorded[name]}: topology.{name} is {value!r}; a run's configuration does not choose the "
                f"cluster that is joined, nor folders that are written to. If it is yours, add --{name} {value}."
            )
