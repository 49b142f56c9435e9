"""`quiver finetune`: an offline policy goes on learning in an environment, or a new one begins there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cluster import checkpoint, ranges
from cluster.commands.options import draft, environment, given, told
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
from cluster.options import Cadence, OnlineRecipe, Recipe, as_json
from cluster.run_folder import RunFolder
from cluster.settings import (
    CHECKPOINT,
    EXPRESSION,
    NAME,
    PATH,
    RUN_FOLDER,
    SHARE,
    VECTORIZATION,
    Held,
    step_of,
)
from cluster.topology import read_topology

if TYPE_CHECKING:
    from cluster.finetune import Beginning
    from learners.base.online import Online

_RECIPE = Recipe(datasets=(), algorithm="")
_ONLINE = OnlineRecipe(env_steps=1)


@dataclass(frozen=True)
class What(Held):
    """What the result depends on, with the algorithm's own knobs below."""

    run: Annotated[str, RUN_FOLDER, tyro.conf.arg(metavar="RUN")]
    """The new run's folder: configuration, metrics, checkpoints, and its online store."""
    env_steps: Annotated[ranges.Steps, tyro.conf.arg(metavar="N")]
    """Environment steps to gather."""
    from_run: Annotated[str | None, PATH, tyro.conf.arg(name="from", metavar="RUN")] = None
    """An offline run: its algorithm, knobs, datasets, environment and checkpoint. Without it, all begins anew."""
    checkpoint: Annotated[str, CHECKPOINT, tyro.conf.arg(metavar="latest|best|step-N")] = "latest"
    """Of that run."""
    dataset: tyro.conf.UseAppendAction[
        Annotated[tuple[str, ...], ranges.DATASETS, PATH, tyro.conf.arg(metavar="DATASET[=WEIGHT]")]
    ] = ()
    """Logs to learn from besides, instead of those of --from; again for each further one."""
    algo: Annotated[str | None, NAME, tyro.conf.arg(metavar="NAME")] = None
    """The algorithm, where there is no --from. Its knobs are options, too."""
    seed: ranges.Seed = _RECIPE.seed
    """Of everything random."""
    batch_size: ranges.BatchSize = _RECIPE.batch_size
    """Transitions of one gradient step, logged and fresh, over all learners."""
    split: Annotated[str, NAME] = _RECIPE.split
    """Which episodes of the logs to train on."""
    where: Annotated[str | None, EXPRESSION, tyro.conf.arg(metavar="EXPR")] = _RECIPE.where
    """Only logged episodes for which this holds."""


@dataclass(frozen=True)
class Interaction(Held):
    """How fresh data is gathered and mixed. The defaults are the algorithm's, where it is known."""

    share: Annotated[str, SHARE, tyro.conf.arg(metavar="P|all")] = "all"
    """Of fresh transitions in each batch. all: every transition, logged or fresh, is equally likely."""
    final_share: Annotated[ranges.ShareOrNone, tyro.conf.arg(metavar="P")] = None
    """The share moves there over the run."""
    updates_per_step: Annotated[ranges.UpdatesPerStep, tyro.conf.arg(metavar="U")] = _ONLINE.updates_per_step
    """Gradient steps for each environment step."""
    learning_starts: ranges.StepsOrNone = _ONLINE.learning_starts
    """Environment steps before the first gradient step."""
    slack: Annotated[ranges.Slack, tyro.conf.arg(metavar="N")] = None
    """Environment steps by which learning and interaction may run apart before one waits for the other; by default,
    twice the least that works."""
    stochastic: bool = _ONLINE.stochastic
    """Draw actions from the policy, instead of taking its mode."""
    noise: ranges.Noise = _ONLINE.noise
    """Standard deviation of Gaussian noise on the actions, in halves of their range."""
    random_probability: ranges.Share = _ONLINE.random_probability
    """Share of uniformly random actions."""
    runners: ranges.SomeActors = 1
    """Environment runners."""
    envs_per_runner: ranges.EnvironmentsPerRunner = _ONLINE.envs_per_runner
    """Environments that each of them steps together."""
    vectorization: Annotated[str, VECTORIZATION, tyro.conf.arg(metavar="sync|async|native")] = _ONLINE.vectorization
    """In the runner's process, in a process each, or as the vector environment that the id is registered with."""
    rollout_steps: ranges.RolloutSteps = _ONLINE.rollout_steps
    """Steps of each environment between two looks at newer weights."""
    stalled_seconds: ranges.Seconds = 60.0
    """After which a runner that has not answered is no longer counted on."""
    capacity: Annotated[ranges.StepsOrAll, tyro.conf.arg(metavar="N")] = None
    """Fresh transitions that are sampled from at most; the oldest episodes go first. All of them stay on the disk."""
    max_age: Annotated[ranges.StepsOrAll, tyro.conf.arg(metavar="N")] = None
    """Environment steps after which an episode is no longer sampled from."""
    min_return: Annotated[ranges.Return, tyro.conf.arg(metavar="R")] = None
    """Episodes of a lower return are not sampled from."""


@dataclass(frozen=True, kw_only=True)
class Finetune(RunOptions, Interaction, What):
    """Go on with an offline policy in an environment, on its logs and on fresh data; or begin a new one there.

    Every acknowledged episode is on the disk, in RUN/online, which is a dataset like any other. Interrupted or killed,
    a run resumes.
    """


SECTIONS: dict[str, type[Any]] = {"finetuning": What, "interaction": Interaction, **SHARED}


def parse(arguments: Sequence[str]) -> Finetune:
    """The options. What `--from`, `--algo`, `--config` and, on a resume, the run's own configuration say is read first:
    it gives the further options and the defaults of the rest."""
    import learners

    algo, config, run, from_run = (
        told(arguments, name, kind)
        for name, kind in (("algo", NAME), ("config", PATH), ("run", RUN_FOLDER), ("from", PATH))
    )
    default = draft(Finetune)(run=tyro.MISSING, env_steps=tyro.MISSING)
    if given(arguments, "resume") and run:
        default = as_it_was(Path(run))
    elif from_run:
        default = _as_offline(Path(from_run), default)
    if algo and algo != default.algo:
        online = learners.algorithm_class(algo).online
        knobs = learners.config_class(algo)(**online.knobs)
        default = replace(default, algo=algo, knobs=knobs, **_way_of(online))
    if given(arguments, "dataset"):
        default = replace(default, dataset=())  # those that are given take their place, and do not join them
    if config:
        topology = read_topology(Path(config))
        default = replace(with_topology(default, topology), runners=topology.env_runners.count)
    values = parse_sections(SECTIONS, default, default.algo or "", "finetune", arguments, Finetune.__doc__)
    return Finetune(**values)


def run(options: Finetune) -> None:
    """Fine-tune, showing how it goes, and say where everything is."""
    import learners
    from cluster.finetune import finetune

    if options.algo is None:
        raise RunError("--from: is missing; name an offline run, or give --algo to begin anew.")
    where = environment(
        options.env, options.env_kwargs, options.reset_options, options.observation_key, of_data(options)
    )
    if where is None:
        raise RunError("--env: is missing, and no environment is recorded in the run of --from; name one.")
    console = error_console()
    topology, fused = topology_for(options, learners.algorithm_class(options.algo))
    topology = replace(topology, env_runners=replace(topology.env_runners, count=options.runners))
    names = {entry.name for entry in fields(Recipe)} & {entry.name for entry in fields(Finetune)}
    values: dict[str, Any] = {name: getattr(options, name) for name in names}
    recipe = Recipe(
        **values
        | {
            "datasets": weighted_datasets(options.dataset),
            "algorithm": options.algo,
            "knobs": asdict(options.knobs),
            "fused": fused,
        }
    )
    cadence = Cadence(**{entry.name: getattr(options, entry.name) for entry in fields(Cadence)})
    with how_to_go_on("finetune", options):
        result = finetune(
            recipe,
            online_recipe(options),
            topology,
            cadence,
            run=Path(options.run),
            environment=where,
            beginning=_beginning(options),
            resume=options.resume,
            resume_from=options.resume_from,
            stalled_seconds=options.stalled_seconds,
            console=console,
        )
    told = result.summary
    console.print(
        plain_text(
            f"{options.run}: {told['env_steps']:,} environment steps in {told['fresh_episodes']:,} episodes, "
            f"{result.steps:,} gradient steps; `quiver report {options.run}` draws its curves",
            keep="",
        )
    )


def online_recipe(options: Finetune) -> OnlineRecipe:
    """What the options say of interaction. Raises `RunError` for what does not go together."""
    values = {entry.name: getattr(options, entry.name) for entry in fields(OnlineRecipe)}
    values["share"] = None if options.share == "all" else float(options.share)
    return OnlineRecipe(**values)


def _beginning(options: Finetune) -> Beginning | None:
    """The checkpoint that --from names. A run that goes on keeps the one it began with; once it has a checkpoint of its
    own, it needs no more than its configuration.

    Raises `RunError` where it is another algorithm's, damaged, or not that which the run began with.
    """
    from cluster.finetune import Beginning

    own = RunFolder(Path(options.run))
    config = own.read_config() if options.resume else None
    if config is not None:
        begun = config.get("from")
        _check_begun(options, begun)
        if begun is None:
            return None
        if checkpoint.available(own.checkpoints):
            scores = config["reference_scores"]
            return Beginning(begun["run"], begun["checkpoint"], None, config["statistics"], scores)
        options = replace(options, from_run=begun["run"], checkpoint=begun["checkpoint"])
    if options.from_run is None:
        return None
    folder = RunFolder(Path(options.from_run))
    config = folder.read_config()
    theirs = config["recipe"]["algorithm"]
    if theirs != options.algo:
        raise RunError(
            f"--algo {options.algo}: the run of --from trained {theirs}, whose networks are others; leave --algo out, "
            "or begin anew with --dataset instead of --from."
        )
    path, saved = checkpoint.read(folder.checkpoints, options.checkpoint)
    run = str(folder.path.absolute())
    return Beginning(run, path.name, saved.learner, config["statistics"], config["reference_scores"])


def _check_begun(options: Finetune, begun: dict[str, Any] | None) -> None:
    """Raises `RunError` for a --from, or a step of it, that is not that which the run goes on from."""
    told = "with none" if begun is None else f"from {begun['run']}, {begun['checkpoint']}"
    same_run = (options.from_run is None) == (begun is None)
    if begun is not None and options.from_run is not None:
        same_run = Path(options.from_run).resolve() == Path(begun["run"]).resolve()
    step = step_of(options.checkpoint)
    # "latest" and "best" were settled when the run began.
    same_step = begun is None or step is None or checkpoint.folder_name(step) == begun["checkpoint"]
    if not (same_run and same_step):
        raise RunError(
            f"--from {options.from_run} --checkpoint {options.checkpoint}: the run began {told}. Leave these options "
            "out, or start another run."
        )


# --- Defaults that come first ---


def _as_offline(run_folder: Path, default: Finetune) -> Finetune:
    """Over the options of an offline run: its data, algorithm and environment, with the knobs that change online."""
    import learners
    from cluster.run_record import read_recipe

    where = str(run_folder / "config.json")
    config = RunFolder(run_folder).read_config()
    recipe, cadence = read_recipe(config["recipe"], where), Cadence(**config["cadence"])
    algorithm = learners.algorithm_class(recipe.algorithm)
    return replace(
        default,
        from_run=str(run_folder),
        dataset=_datasets(recipe),
        algo=recipe.algorithm,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        split=recipe.split,
        where=recipe.where,
        device=recipe.device,
        threads=recipe.threads,
        compile=recipe.compile,
        eval_episodes=cadence.eval_episodes,
        eval_stochastic=cadence.eval_stochastic,
        knobs=algorithm.Config(**{**recipe.knobs, **algorithm.online.knobs}),
        recorded=dict.fromkeys(RECORDED, where),
        **_way_of(algorithm.online),
        **_environment(config),
    )


def as_it_was(run_folder: Path) -> Finetune:
    """The options of a fine-tuning run that began earlier. Raises `RunError` where none did."""
    from cluster.run_record import read_knobs, read_recipe

    where = str(run_folder / "config.json")
    config = RunFolder(run_folder).read_config()
    if "online" not in config:
        raise RunError(f"{run_folder}: is no fine-tuning run; go on with `quiver train --run {run_folder} --resume`.")
    recipe = read_recipe(config["recipe"], where)
    online, topology = as_json(OnlineRecipe(**config["online"])), recorded_topology(config)
    names = {entry.name for entry in fields(Recipe)} & {entry.name for entry in fields(Finetune)}
    begun = config.get("from") or {}
    options = Finetune(
        **{name: getattr(recipe, name) for name in names - {"knobs"}},
        **online | {"share": _share(online["share"])},
        **config["cadence"],
        **_environment(config),
        run=str(run_folder),
        from_run=begun.get("run"),
        checkpoint=begun.get("checkpoint", "latest"),
        dataset=_datasets(recipe),
        algo=recipe.algorithm,
        runners=topology.env_runners.count,
        resume=True,
        knobs=read_knobs(recipe, where),
        recorded=dict.fromkeys(RECORDED, where),
    )
    options = with_topology(options, topology)
    return replace(options, updaters="0") if recipe.fused else options


def _way_of(online: Online) -> dict[str, Any]:
    """How the algorithm goes online, as options."""
    names = ("final_share", "updates_per_step", "stochastic", "noise", "random_probability")
    return {"share": _share(online.share), **{name: getattr(online, name) for name in names}}


def _share(share: float | None) -> str:
    return "all" if share is None else str(share)


def _datasets(recipe: Recipe) -> tuple[str, ...]:
    return tuple(path if weight is None else f"{path}={weight}" for path, weight in recipe.datasets)


def _environment(config: dict[str, Any]) -> dict[str, Any]:
    recorded = config["environment"] or {}
    resets = recorded.get("reset_options")
    return {
        "env": recorded.get("id"),
        "env_kwargs": json.dumps(recorded["kwargs"]) if recorded.get("kwargs") else None,
        "reset_options": None if resets is None else json.dumps(resets),
        "observation_key": recorded.get("observation_key"),
    }
