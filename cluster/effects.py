"""Nothing is ignored: an option that a person gives, and that has no effect in this run, is refused, with why and what
to do. What a run's own configuration or a cluster's file says, nobody has given for this run, and it may lie idle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.errors import RunError
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology


@dataclass(frozen=True)
class Situation:
    """What decides whether an option has an effect."""

    recipe: Recipe
    topology: Topology
    cadence: Cadence
    online: OnlineRecipe | None = None
    """None but in fine-tuning."""
    evaluates: bool = True
    """Whether there is an environment to evaluate in."""
    resume: bool = False
    begins: bool = False
    """With an offline run."""
    trusted: bool = False
    """The environment is named by the person, and nothing of it by data."""

    @property
    def fused(self) -> bool:
        return self.recipe.fused

    @property
    def prioritised(self) -> bool:
        return self.recipe.priority_exponent > 0

    @property
    def serial(self) -> bool:
        return self.topology.serial

    @property
    def switched_off(self) -> bool:
        """Whether it was said that nothing is to be evaluated."""
        return self.cadence.eval_episodes == 0 or self.topology.evaluators.count == 0


@dataclass(frozen=True)
class Rule:
    fields: tuple[str, ...]
    idle: Callable[[Situation], bool]
    """Whether these fields have no effect."""
    why: str
    """With the remedy."""


_SERIAL = "everything happens in this process with --serial; leave one of them out."
_EVALUATING = ("eval_every", "eval_stochastic")
_ENVIRONMENT = ("env", "env_kwargs", "reset_options", "observation_key", "trust_env")

RULES = (
    Rule(
        ("label_reuse",),
        lambda now: now.fused,
        "a run without updaters labels nothing ahead; add --updaters 1 or more, or leave it out.",
    ),
    Rule(
        ("depth",),
        lambda now: now.fused and not now.prioritised,
        "a run without updaters labels nothing ahead; add --updaters 1 or more, or leave it out.",
    ),
    Rule(
        ("late_chunk_seconds",),
        lambda now: now.fused or now.serial or now.topology.bellman_updaters.count < 2,
        "no chunk of labels is late where there is no second updater, or --serial; add --updaters 2 or more, or leave "
        "it out.",
    ),
    Rule(
        ("importance_exponent",),
        lambda now: not now.prioritised,
        "sampling is uniform, and there is nothing to make up for; add --priority-exponent, or leave it out.",
    ),
    Rule(("address", "max_restarts", "stalled_seconds"), lambda now: now.serial, _SERIAL),
    Rule(("allow_mixed",), lambda now: now.serial and not now.resume, _SERIAL),
    Rule(
        ("evaluators",),
        lambda now: now.topology.evaluators.count > 0 and now.cadence.eval_episodes == 0,
        "nothing is evaluated with --eval-episodes 0; leave one of them out.",
    ),
    Rule(
        ("eval_episodes",),
        lambda now: now.cadence.eval_episodes > 0 and now.topology.evaluators.count == 0,
        "nothing is evaluated with --evaluators 0; leave one of them out.",
    ),
    Rule(
        _EVALUATING,
        lambda now: now.switched_off,
        "nothing is evaluated with --eval-episodes 0 or --evaluators 0; leave one of them out.",
    ),
    Rule(
        (*_ENVIRONMENT, "env_timeout"),
        lambda now: now.switched_off and now.online is None,
        "nothing is evaluated with --eval-episodes 0 or --evaluators 0; leave one of them out.",
    ),
    Rule(
        (*_EVALUATING, "env_timeout", "trust_env"),
        lambda now: not now.evaluates,
        "nothing is evaluated, as there is no environment; name one with --env, or leave it out.",
    ),
    Rule(
        ("eval_episodes", "evaluators"),
        lambda now: not now.evaluates and not now.switched_off,
        "nothing is evaluated, as there is no environment; name one with --env, or leave it out.",
    ),
    Rule(
        ("trust_env",),
        lambda now: now.trusted,
        "the environment is that of --env, and what you name yourself is trusted; leave it out.",
    ),
    Rule(
        ("checkpoint",),
        lambda now: not now.begins and not now.resume,
        "goes with --from, which is not given; name a run with it, or leave it out.",
    ),
    Rule(
        ("split", "where", "share", "final_share", "validate_every"),
        lambda now: not now.recipe.datasets,
        "there are no logs, only fresh data; name some with --dataset, or leave it out.",
    ),
)


def idle(now: Situation) -> dict[str, str]:
    """The fields that have no effect, each with why."""
    return {name: rule.why for rule in reversed(RULES) if rule.idle(now) for name in rule.fields}


def refuse_idle(given: Mapping[str, str], now: Situation) -> None:
    """Raises `RunError` for an option that was given, by its field's name, and has no effect."""
    without = idle(now)
    for name, option in given.items():
        if name in without:
            raise RunError(f"{option}: has no effect in this run: {without[name]}")
