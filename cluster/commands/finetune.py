"""`quiver finetune`: an offline policy goes on learning in an environment, or a new one begins there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cluster import ranges
from cluster.commands.options import given, told
from cluster.commands.output import error_console, plain_text
from cluster.commands.run_options import (
    RECORDED,
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
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology
from cluster.settings import CHECKPOINT, NAME, PATH, RUN_FOLDER, WHOLE, Flag

if TYPE_CHECKING:
    from cluster.stages import Stage
    from learners.base.online import Online


@dataclass(frozen=True)
class Start(Place):
    """Which run it is, and where it begins."""

    from_run: Annotated[str | None, PATH, Flag(name="from", metavar="RUN")] = None
    """An offline run: its algorithm, knobs, datasets, environment and checkpoint. Without it, all begins anew."""
    checkpoint: Annotated[str, CHECKPOINT, Flag(metavar="latest|best|step-N")] = "latest"
    """The checkpoint of that run to begin with."""
    stalled_seconds: ranges.Seconds = 60.0
    """Seconds after which a runner that has not answered is no longer counted on."""

    def stages(self) -> tuple[Stage, ...]:
        """What the run is to begin with. Raises `RunError` where all of two runs is asked for."""
        from cluster.stages import Stage, asked

        found = asked(self.init)
        if self.from_run is None:
            return found
        if any(stage.name == WHOLE for stage in found):
            raise RunError(f"--init {WHOLE}: is what --from says, which is given, too; leave one of them out.")
        return (Stage(WHOLE, str(Path(self.from_run).absolute()), self.checkpoint), *found)


@dataclass(frozen=True, kw_only=True)
class Finetune(RunOptions):
    """Go on with an offline policy in an environment, on its logs and on fresh data; or begin a new one there.

    Every acknowledged episode is on the disk, in RUN/online, which is a dataset like any other. Interrupted or killed,
    a run resumes.
    """

    place: Start
    online: OnlineRecipe = field(default_factory=lambda: OnlineRecipe(1))


TITLES = {
    "place": "run",
    "recipe": "recipe",
    "online": "interaction",
    "environment": "environment",
    "cadence": "cadence",
    "topology": "topology",
}
UNSHOWN = {"recipe": frozenset({"steps", "priority_exponent", "importance_exponent", "shards_per_draw"})}
"""The environment steps say how many gradient steps there are; draws of fine-tuning are uniform, from all shards."""


def parse(arguments: Sequence[str]) -> Finetune:
    """The options. What `--from`, `--algo`, `--config` and, on a resume, the run's own configuration say is read first:
    it gives the further options and the defaults of the rest."""
    algo, config, run, from_run = (
        told(arguments, name, kind)
        for name, kind in (("algo", NAME), ("config", PATH), ("run", RUN_FOLDER), ("from", PATH))
    )
    default = partly(
        Finetune,
        place=partly(Start, run=tyro.MISSING),
        environment=Environment(),
        recipe=partly(Recipe, datasets=(), algorithm="", device="auto"),
        online=partly(OnlineRecipe, env_steps=tyro.MISSING),
        topology=Topology(),
        cadence=Cadence(),
    )
    if given(arguments, "resume") and run:
        default = as_it_was(Path(run))
    elif from_run:
        default = _as_offline(Path(from_run), default)
    if algo and algo != default.recipe.algorithm:
        import learners

        online = learners.algorithm_class(algo).online
        default = replace(
            default,
            recipe=partly(Recipe, **{**vars(default.recipe), "algorithm": algo}),
            online=_way_of(online, default.online),
            knobs=learners.config_class(algo)(**online.knobs),
        )
    if config:
        from cluster.topology import read_topology

        default = replace(default, topology=read_topology(Path(config)))
    return Finetune(**read_options(TITLES, default, UNSHOWN, "finetune", arguments))


def run(options: Finetune) -> None:
    """Fine-tune, showing how it goes, and say where everything is."""
    where = options.environment.named(options.recorded)
    if where is None:
        raise RunError("--env: is missing, and no environment is recorded in the run of --from; name one.")
    refuse_recorded_places(options)
    refuse_idle(options.given, options.situation(evaluates=True))
    from cluster.finetune import finetune

    place, console = options.place, error_console()
    with how_to_go_on("finetune", options):
        result = finetune(
            options.recipe,
            options.online,
            options.topology,
            options.cadence,
            run=Path(place.run),
            environment=where,
            init=place.stages(),
            resume=place.resume,
            resume_from=place.resume_from,
            stalled_seconds=place.stalled_seconds,
            console=console,
        )
    told = result.summary
    console.print(
        plain_text(
            f"{place.run}: {told['env_steps']:,} environment steps in {told['fresh_episodes']:,} episodes, "
            f"{result.steps:,} gradient steps; `quiver report {place.run}` draws its curves",
            keep="",
        )
    )


# --- Defaults that come first ---


def _as_offline(run_folder: Path, default: Any) -> Any:
    """Over the options of an offline run: its data, algorithm and environment, with the knobs that change online."""
    import learners

    offline = as_recorded(run_folder)
    recipe, cadence = offline["recipe"], offline["cadence"]
    algorithm = learners.algorithm_class(recipe.algorithm)
    kept = ("datasets", "algorithm", "seed", "batch_size", "split", "where", "device", "threads", "compile")
    return replace(
        default,
        recipe=partly(Recipe, **{name: getattr(recipe, name) for name in kept}),
        online=_way_of(algorithm.online, default.online),
        environment=offline["environment"],
        cadence=Cadence(eval_episodes=cadence.eval_episodes, eval_stochastic=cadence.eval_stochastic),
        knobs=algorithm.Config(**{**recipe.knobs, **algorithm.online.knobs}),
        recorded=dict.fromkeys(RECORDED, str(run_folder / "config.json")),
    )


def as_it_was(run_folder: Path) -> Any:
    """The options of a fine-tuning run that began earlier. Raises `RunError` where none did."""
    found = as_recorded(run_folder)
    config = found.pop("config")
    if "online" not in config:
        raise RunError(f"{run_folder}: is no fine-tuning run; go on with `quiver train --run {run_folder} --resume`.")
    return partly(Finetune, place=Start(str(run_folder), resume=True), online=OnlineRecipe(**config["online"]), **found)


def _way_of(online: Online, default: Any) -> Any:
    """How the algorithm goes online, as options."""
    names = ("share", "final_share", "updates_per_step", "stochastic", "noise", "random_probability")
    return replace(default, **{name: getattr(online, name) for name in names})
