"""`quiver evaluate`: the score of a trained policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from cluster import ranges
from cluster.commands import options as shared
from cluster.commands.output import print_lines, progress
from cluster.errors import RunError
from cluster.settings import CHECKPOINT, JSON_TEXT, NAME, PATH, POLICY_DEVICE, CheckedSettings, check_seeds


@dataclass(frozen=True)
class Evaluate(CheckedSettings):
    """Score a trained policy in an environment. The same seed gives the same episodes."""

    positional = "run"

    run: tyro.conf.Positional[Annotated[str, PATH, tyro.conf.arg(metavar="RUN")]]
    """The folder of the run whose policy is scored."""
    env: Annotated[str | None, NAME, tyro.conf.arg(metavar="ENV")] = None
    """The environment to play in; without it, the one in which the run evaluated."""
    episodes: Annotated[ranges.Episodes, tyro.conf.arg(metavar="N")] = 20
    """How many episodes to play."""
    seed: ranges.Seed = 0
    """Episode i begins with seed + i."""
    checkpoint: Annotated[str, CHECKPOINT, tyro.conf.arg(metavar="latest|best|step-N")] = "latest"
    """Which checkpoint's parameters to score."""
    stochastic: bool = False
    """Draw actions from the policy instead of taking its mode."""
    task: Annotated[str | None, NAME, tyro.conf.arg(metavar="NAME")] = None
    """Which task a policy does that was trained on several."""
    env_kwargs: Annotated[str | None, JSON_TEXT, tyro.conf.arg(metavar="JSON")] = None
    """Arguments of the environment, as a JSON object."""
    reset_options: Annotated[str | None, JSON_TEXT, tyro.conf.arg(metavar="JSON")] = None
    """Options of every reset, such as a fixed goal, as a JSON object."""
    observation_key: Annotated[str | None, NAME, tyro.conf.arg(metavar="KEY")] = None
    """The part of a dictionary observation that the policy sees."""
    trust_env: bool = False
    """Make the environment that the run names whatever it is: it may run code, and open files, of whoever wrote that.
    Without it, what only the run names must be built in, and its arguments must not be text."""
    device: Annotated[str, POLICY_DEVICE, tyro.conf.arg(metavar="cpu|cuda")] = "cpu"
    """Where the policy computes its actions."""
    env_timeout: Annotated[ranges.EnvTimeout, tyro.conf.arg(metavar="SECONDS")] = 600.0
    """How long one call of the environment, such as a step, may take; with 0, for ever. After a minute a note says
    where it hangs."""
    json: bool = False
    """Print one JSON object instead of a line."""


def parse(arguments: Sequence[str]) -> Evaluate:
    return shared.parse(Evaluate, "evaluate", arguments)


def run(options: Evaluate) -> dict[str, Any]:
    check_seeds(options.seed, options.episodes)
    import envs
    from cluster import process
    from cluster.checks import check_environment
    from cluster.policy import acting, load_policy
    from cluster.reporter import describe
    from cluster.roles.evaluator import headline

    asked = shared.environment(options.env, options.env_kwargs, options.reset_options, options.observation_key)
    device = process.device_of(options.device, "quiver evaluate")
    algorithm, config = load_policy(Path(options.run), options.checkpoint, device=device)
    process.prepare(config["recipe"]["threads"], options.device)
    recorded = config["environment"]
    if asked is None and recorded is None:
        raise RunError("--env: is missing, and the run was not evaluated anywhere itself; name an environment.")
    where = str(Path(options.run) / "config.json")
    spec = asked if asked is not None else envs.EnvSpec.from_json(recorded, where)
    spec = spec.trusted() if options.trust_env else spec
    check_environment(spec, algorithm.spaces)
    act = acting(algorithm, seed=options.seed, deterministic=not options.stochastic, task=options.task)
    scores = config["reference_scores"]
    with progress("evaluate") as show:
        result = envs.evaluate(
            spec,
            act,
            episodes=options.episodes,
            seed=options.seed,
            discount=algorithm.requires.discount,
            reference_scores=None if scores is None else (scores[0], scores[1]),
            progress=show,
            patience=envs.Patience(options.env_timeout),
        )
    found = headline(result, algorithm.requires)
    if not options.json:
        print_lines(f"{options.run} in {spec.id}, {result.episodes} episodes: {describe(found)}")
    return {name: value for name, value in found.items() if value is not None}
