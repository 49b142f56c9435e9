"""`quiver collect`: episodes of a random, scripted or trained policy, recorded as a dataset."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cluster import ranges
from cluster.commands import options as shared
from cluster.commands.output import print_lines, progress
from cluster.errors import RunError
from cluster.settings import CHECKPOINT, JSON_TEXT, NAME, NEW_FOLDER, PATH, CheckedSettings, check_seeds

if TYPE_CHECKING:
    from envs import EnvSpec, Policy


@dataclass(frozen=True)
class Collect(CheckedSettings):
    """Record episodes of a random, scripted or trained policy as a dataset."""

    env: Annotated[str, NAME, tyro.conf.arg(metavar="ENV")]
    """The environment: an id of gymnasium, gymnasium-robotics or OGBench, or module:id."""
    policy: Annotated[str, PATH, tyro.conf.arg(metavar="random|scripted|RUN")]
    """Who acts: uniform actions, the controller written for this environment, or a run's trained policy."""
    episodes: Annotated[ranges.Episodes, tyro.conf.arg(metavar="N")]
    """How many episodes to record."""
    out: Annotated[str, NEW_FOLDER, tyro.conf.arg(metavar="DATASET")]
    """The folder to write; it must not exist."""
    task: Annotated[str | None, NAME, tyro.conf.arg(metavar="NAME")] = None
    """Which task a run's policy does that was trained on several; episodes are tagged with it."""
    env_kwargs: Annotated[str | None, JSON_TEXT, tyro.conf.arg(metavar="JSON")] = None
    """Arguments of the environment, as a JSON object."""
    reset_options: Annotated[str | None, JSON_TEXT, tyro.conf.arg(metavar="JSON")] = None
    """Options of every reset, as a JSON object."""
    observation_key: Annotated[str | None, NAME, tyro.conf.arg(metavar="KEY")] = None
    """Record this part alone of a dictionary observation. A trained policy needs that of its data."""
    noise: ranges.NoiseOrNone = None
    """Standard deviation of Gaussian noise on the actions. A scripted policy has a default of its own."""
    random_probability: ranges.Share = 0.0
    """The probability, at each step, that ten random actions in a row begin."""
    checkpoint: Annotated[str, CHECKPOINT, tyro.conf.arg(metavar="latest|best|step-N")] = "latest"
    """Which checkpoint of a run acts."""
    stochastic: bool = False
    """Draw a run's actions from its policy instead of taking its mode."""
    seed: ranges.Seed = 0
    """Episode i begins with seed + i."""
    validation_fraction: ranges.ValidationFraction = 0.05
    """The share of the episodes that is kept for validation."""
    env_timeout: Annotated[ranges.EnvTimeout, tyro.conf.arg(metavar="SECONDS")] = 600.0
    """How long one call of the environment, such as a step, may take; with 0, for ever. After a minute a note says
    where it hangs."""
    licence: Annotated[str | None, NAME, tyro.conf.arg(metavar="NAME")] = None
    """On what terms the data may be used, for the record."""


def parse(arguments: Sequence[str]) -> Collect:
    return shared.parse(Collect, "collect", arguments)


def run(options: Collect) -> None:
    import envs
    from cluster.recording import episode_of, notes_of, spaces_of
    from replay import DatasetWriter

    spec = shared.required_environment(options.env, options.env_kwargs, options.reset_options, options.observation_key)
    check_seeds(options.seed, options.episodes)
    policy = make_policy(options, spec)
    recorded_in = policy.prepare(spec)
    patience = envs.Patience(options.env_timeout)
    with envs.watching(recorded_in.id, patience):
        env = envs.make(recorded_in)
        try:
            spaces = spaces_of(env, options.env)
            notes = notes_of(env, spaces)
        finally:
            env.close()
    provenance = {
        "source": f"quiver collect, {options.env}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **envs.provenance(spec, policy, episodes=options.episodes, seed=options.seed),
        # Where to evaluate: as it was asked for, without what the controller needed besides.
        "env_spec": {name: value for name, value in spec.to_json().items() if name != "observation_key"},
    }
    if notes:
        provenance["notes"] = notes
    if options.observation_key:
        provenance["observation_key"] = options.observation_key
    if options.licence:
        provenance["licence"] = options.licence
    with (
        progress("collect") as show,
        DatasetWriter(
            options.out, spaces, provenance=provenance, validation_fraction=options.validation_fraction
        ) as writer,
    ):
        episodes = envs.collect(
            spec,
            policy,
            episodes=options.episodes,
            seed=options.seed,
            progress=show,
            patience=patience,
            cleaning_up=writer.discard,
        )
        for episode in episodes:
            made = episode_of(episode, spaces, source=f"{options.env} seed {episode.seed}")
            writer.add(replace(made, task=options.task or ""))
        dataset = writer.finish()
    success = dataset.episodes["success"]
    told = "" if (success < 0).any() else f", {100 * success.mean():.0f}% successful"
    print_lines(
        f"{options.out}: {dataset.num_transitions:,} transitions in {dataset.num_episodes:,} episodes{told}",
        *(f"note: {note}" for note in notes),
    )


def make_policy(options: Collect, spec: EnvSpec) -> Policy:
    """The policy by name, perturbed as asked. Raises `RunError` for what is neither a name nor a run."""
    import envs

    if options.stochastic and options.policy in ("random", "scripted"):
        raise RunError(
            f"--stochastic: found with --policy {options.policy}, expected with a run's folder: it draws from a trained"
            " policy's distribution. --noise and --random-probability vary any policy's actions."
        )
    if options.task is not None and options.policy in ("random", "scripted"):
        raise RunError(f"--task: found with --policy {options.policy}, expected with a run's folder.")
    if options.policy == "scripted":
        return envs.scripted(spec, noise=options.noise, random_probability=options.random_probability)
    inner: Policy
    if options.policy == "random":
        inner = envs.RandomPolicy()
    else:
        if not (Path(options.policy) / "config.json").is_file():
            raise RunError(f"--policy: found {options.policy!r}, expected random, scripted or a run's folder.")
        from cluster.checks import check_environment
        from cluster.policy import acting, load_policy

        algorithm, _ = load_policy(Path(options.policy), options.checkpoint)
        check_environment(spec, algorithm.spaces)
        name = f"{Path(options.policy).resolve().name} ({options.checkpoint})"
        act = acting(algorithm, seed=options.seed, deterministic=not options.stochastic, task=options.task)
        inner = envs.ActPolicy(act, name, options.stochastic)
    # Also where nothing is added: the dataset shall say so.
    return envs.Perturbed(inner, options.noise or 0.0, options.random_probability)
