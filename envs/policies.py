"""What can act while episodes are recorded: one policy per run, one actor per episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.actions import Act, ask_for_one
from envs.errors import EnvError
from envs.evaluate import stack
from envs.spec import EnvSpec

Env = gym.Env[Any, Any]


@dataclass(frozen=True)
class Actor:
    """Acts through one episode."""

    act: Callable[[Any, dict[str, Any]], Any]
    """`act(observation, info) -> action`, with what the last reset or step gave."""
    reset_options: Mapping[str, Any] | None = None
    """For the reset that begins the episode, such as a start and a goal of its own choice."""


class Policy(ABC):
    """Makes an actor for each episode, before the environment is reset."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """For provenance, in JSON's types: `collected_by` (scripted, random or policy), `stochastic` (whether it draws
        its actions, before anything is added to them) and every setting."""

    @abstractmethod
    def __call__(self, env: Env, rng: np.random.Generator) -> Actor:
        """An actor for one episode of `env`, all of its randomness drawn from `rng`."""

    def prepare(self, spec: EnvSpec) -> EnvSpec:
        """The environment to record in. A controller fills in what it needs and the spec leaves open."""
        return spec


@dataclass(frozen=True)
class RandomPolicy(Policy):
    """Uniform over a bounded action space."""

    @property
    def description(self) -> dict[str, Any]:
        return {"collected_by": "random", "stochastic": True}

    def __call__(self, env: Env, rng: np.random.Generator) -> Actor:
        draw = uniform(env.action_space, rng)
        return Actor(lambda observation, info: draw())


@dataclass(frozen=True)
class ActPolicy(Policy):
    """A trained policy: the `act` that `evaluate` takes, with batches of one."""

    act: Act
    name: str
    """Where it comes from, for provenance: a run and its step."""
    stochastic: bool = False
    """Whether `act` draws its actions instead of taking the policy's mode, for provenance."""

    @property
    def description(self) -> dict[str, Any]:
        return {"collected_by": "policy", "policy": self.name, "stochastic": self.stochastic}

    def __call__(self, env: Env, rng: np.random.Generator) -> Actor:
        state: Any = None
        first = True

        def act(observation: Any, info: dict[str, Any]) -> Any:
            nonlocal state, first
            action, state = ask_for_one(self.act, stack([observation]), state, first, f"policy {self.name}")
            first = False
            return action

        return Actor(act)


@dataclass(frozen=True)
class Perturbed(Policy):
    """Another policy, its actions with Gaussian noise, or now and then replaced by a run of random ones."""

    policy: Policy
    noise: float = 0.0
    """Standard deviation, in units of the action."""
    random_probability: float = 0.0
    """Of a random segment beginning at a step outside one."""
    random_steps: int = 10
    """Length of a random segment."""

    def __post_init__(self) -> None:
        if not self.noise >= 0.0 or not 0.0 <= self.random_probability <= 1.0 or self.random_steps < 1:
            raise EnvError(
                f"noise {self.noise}, random_probability {self.random_probability}, random_steps "
                f"{self.random_steps}: expected at least 0, a probability, at least 1."
            )

    @property
    def description(self) -> dict[str, Any]:
        settings = {"noise": self.noise, "random_probability": self.random_probability}
        if self.random_probability:
            settings["random_steps"] = self.random_steps
        return {**self.policy.description, **settings}

    def prepare(self, spec: EnvSpec) -> EnvSpec:
        return self.policy.prepare(spec)

    def __call__(self, env: Env, rng: np.random.Generator) -> Actor:
        actor = self.policy(env, rng)
        draw = uniform(env.action_space, rng) if self.random_probability else None
        if self.noise and not isinstance(env.action_space, spaces.Box):
            raise EnvError(f"noise {self.noise}: the action space {env.action_space} has no room for Gaussian noise.")
        left = 0

        def act(observation: Any, info: dict[str, Any]) -> Any:
            nonlocal left
            # The inner policy acts in any case: it may count steps, or hold a recurrent state.
            action = actor.act(observation, info)
            if draw is not None and left == 0 and rng.random() < self.random_probability:
                left = self.random_steps
            if draw is not None and left > 0:
                left -= 1
                return draw()
            if self.noise:
                action = action + self.noise * rng.standard_normal(np.shape(action))
            return action

        return Actor(act, actor.reset_options)


def uniform(space: spaces.Space[Any], rng: np.random.Generator) -> Callable[[], Any]:
    """A function that draws uniform actions; raises `EnvError` for a space without bounds."""
    if isinstance(space, spaces.Discrete):
        return lambda: rng.integers(space.start, space.start + space.n)
    if isinstance(space, spaces.Box) and space.is_bounded() and np.issubdtype(space.dtype, np.floating):
        return lambda: rng.uniform(space.low, space.high)
    raise EnvError(f"random actions: the action space {space} is neither Discrete nor a bounded Box of floats.")
