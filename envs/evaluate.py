"""Scoring a policy: returns and successes over episodes with known seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.errors import EnvError
from envs.make import EnvSpec, make

Act = Callable[[Any, Any], tuple[Any, Any]]
"""`act(observation, state) -> (action, state)`: observation (B, ...) or a dictionary of such arrays, action
(B, ...). The state is the policy's own; None begins B new episodes."""

Progress = Callable[[int, int], None]
"""Called with (episodes finished, episodes in all)."""

MAX_STEPS = 100_000

SUCCESS = ("success", "is_success")
"""Names under which infos tell of success; the first one that is there counts."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found. Episode i, the one reset with seed + i, is entry i of each tuple."""

    episodes: int
    return_mean: float
    return_std: float
    """Of the episodes as they are (divided by their number)."""
    discounted_return_mean: float
    """The mean over episodes of Σ γ^t r_t, t from 0, with the environment's rewards and `run`'s discount γ."""
    success_rate: float | None
    """Share of episodes that succeeded; None where the environment does not tell."""
    normalized_score: float | None
    """100 (return_mean - lowest) / (highest - lowest), where there are reference scores."""
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    successes: tuple[bool, ...] | None

    def to_json(self) -> dict[str, Any]:
        """Every field that is not None, in JSON's types."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {name: value for name, value in found.items() if value is not None}


class Evaluator:
    """Keeps the environments of repeated evaluations: some take a second to build.

    `num_envs` episodes run side by side and `act` always sees exactly that many rows (those of episodes
    that have ended, or were never needed, repeat an observation): matrix products of other sizes round
    differently. So the outcome depends on the spec, the policy, the seed and, in the last bits,
    `num_envs`; not on timing, nor on what was evaluated before.
    """

    def __init__(self, spec: EnvSpec, *, num_envs: int = 10, max_steps: int = MAX_STEPS) -> None:
        if num_envs < 1:
            raise EnvError(f"num_envs: found {num_envs}, expected at least 1.")
        self.spec = spec
        self._num_envs = num_envs
        self._max_steps = max_steps
        # One is made at once, so that a bad spec is refused here; the others when they are needed.
        self._envs: list[gym.Env[Any, Any]] = [make(spec)]
        self._space = self._envs[0].action_space

    def run(
        self,
        act: Act,
        *,
        episodes: int,
        seed: int,
        discount: float = 1.0,
        reference_scores: tuple[float, float] | None = None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Runs episode i from `reset(seed=seed + i)` to its end: terminated, or truncated by the environment's limit.

        Box actions are clipped to their bounds. An episode succeeded if `info["success"]` or
        `info["is_success"]` was true at any of its steps. `discount` is for the discounted return alone.
        `reference_scores` is (lowest, highest).
        Raises `EnvError` for an episode longer than `max_steps`, a reward that is not finite, actions
        of the wrong shape, a discount outside [0, 1], and reference scores that are equal.
        """
        if episodes < 1:
            raise EnvError(f"episodes: found {episodes}, expected at least 1.")
        if not 0.0 <= discount <= 1.0:
            raise EnvError(f"discount: found {discount}, expected a number in [0, 1].")
        if reference_scores is not None and not reference_scores[1] > reference_scores[0]:
            raise EnvError(f"reference scores: found {reference_scores}, expected (lowest, highest), not equal.")
        returns, discounted, lengths, successes = [], [], [], []
        for first in range(0, episodes, self._num_envs):
            seeds = [seed + i for i in range(first, min(first + self._num_envs, episodes))]
            for outcome in self._wave(act, seeds, discount, first, episodes, progress):
                returns.append(outcome.total)
                discounted.append(outcome.discounted)
                lengths.append(outcome.steps)
                successes.append(outcome.success)
        told = [success for success in successes if success is not None]
        mean = float(np.mean(returns))
        score = None
        if reference_scores is not None:
            lowest, highest = reference_scores
            score = 100.0 * (mean - lowest) / (highest - lowest)
        return Evaluation(
            episodes=episodes,
            return_mean=mean,
            return_std=float(np.std(returns)),
            discounted_return_mean=float(np.mean(discounted)),
            success_rate=sum(told) / episodes if told else None,
            normalized_score=score,
            returns=tuple(returns),
            lengths=tuple(lengths),
            successes=tuple(bool(success) for success in successes) if told else None,
        )

    def _wave(
        self, act: Act, seeds: list[int], discount: float, done: int, episodes: int, progress: Progress | None
    ) -> list[_Outcome]:
        """Episodes that begin together. A recurrent policy's state then never mixes old rows and new."""
        while len(self._envs) < len(seeds):
            self._envs.append(make(self.spec))
        outcomes = [_Outcome(discount) for _ in seeds]
        latest = [env.reset(seed=seed)[0] for env, seed in zip(self._envs, seeds, strict=False)]
        latest += [latest[0]] * (self._num_envs - len(seeds))
        running = list(range(len(seeds)))
        state = None
        while running:
            actions, state = act(stack(latest), state)
            actions = as_actions(actions, self._space, self._num_envs, self.spec.id)
            for i in running:
                latest[i], reward, terminated, truncated, info = self._envs[i].step(actions[i])
                where = f"environment {self.spec.id}, seed {seeds[i]}"
                outcomes[i].add(float(reward), bool(terminated or truncated), told_success(info, where))
                if not math.isfinite(outcomes[i].total):
                    raise EnvError(f"{where}: reward {reward} at step {outcomes[i].steps}.")
            ended = [i for i in running if outcomes[i].ended]
            running = [i for i in running if not outcomes[i].ended]
            if running and outcomes[running[0]].steps >= self._max_steps:
                raise EnvError(endless(self.spec.id, seeds[running[0]], self._max_steps))
            if ended and progress is not None:
                done += len(ended)
                progress(done, episodes)
        return outcomes

    def close(self) -> None:
        for env in self._envs:
            env.close()
        self._envs.clear()

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def evaluate(
    spec: EnvSpec,
    act: Act,
    *,
    episodes: int,
    seed: int,
    num_envs: int = 10,
    discount: float = 1.0,
    reference_scores: tuple[float, float] | None = None,
    progress: Progress | None = None,
    max_steps: int = MAX_STEPS,
) -> Evaluation:
    """Scores `act` once; see `Evaluator`, which keeps its environments for the next time."""
    with Evaluator(spec, num_envs=num_envs, max_steps=max_steps) as evaluator:
        return evaluator.run(
            act,
            episodes=episodes,
            seed=seed,
            discount=discount,
            reference_scores=reference_scores,
            progress=progress,
        )


@dataclass
class _Outcome:
    """An episode so far."""

    discount: float
    total: float = 0.0
    discounted: float = 0.0
    weight: float = 1.0
    """γ^t of the next reward."""
    steps: int = 0
    ended: bool = False
    success: bool | None = None

    def add(self, reward: float, ended: bool, success: bool | None) -> None:
        self.total += reward
        self.discounted += self.weight * reward
        self.weight *= self.discount
        self.steps += 1
        self.ended = ended
        if success is not None:
            self.success = success or bool(self.success)


def told_success(info: Mapping[str, Any], where: str) -> bool | None:
    """What a step's `info` says of success; None where it says nothing.

    Raises `EnvError`, naming `where`, for anything but one boolean, 0 or 1: NaN, 0.5 and "no" say nothing that may be
    guessed.
    """
    for name in SUCCESS:
        if name in info:
            value = np.asarray(info[name])
            if value.size != 1 or value.dtype.kind not in "biuf" or value.item() not in (0, 1):
                raise EnvError(f"{where}: info[{name!r}] is {info[name]!r}, expected one boolean, 0 or 1.")
            return bool(value.item())
    return None


def stack(observations: list[Any]) -> Any:
    """Observations of several environments as one batch: arrays (B, ...), part by part in a dictionary."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: np.stack([item[name] for item in observations]) for name in first}
    return np.stack(observations)


def as_actions(actions: Any, space: spaces.Space[Any], rows: int, where: str) -> Any:
    """A policy's (B, ...) actions as the environment takes them: of its type, clipped to the bounds of a Box."""
    if not isinstance(space, spaces.Box | spaces.Discrete):
        raise EnvError(f"environment {where}: actions are {space}; only Box and Discrete spaces are supported.")
    found = np.asarray(actions)
    if found.shape != (rows, *(space.shape or ())):
        raise EnvError(
            f"environment {where}: the policy gave actions {found.shape}, expected {(rows, *(space.shape or ()))}. "
            "Is it a policy for this environment?"
        )
    if isinstance(space, spaces.Discrete):
        return found.astype(np.int64)
    return np.clip(found, space.low, space.high).astype(space.dtype)


def endless(where: str, seed: int, max_steps: int) -> str:
    return (
        f"environment {where}, seed {seed}: no end after {max_steps} steps. "
        'Give its kwargs a limit, such as {"max_episode_steps": 1000}.'
    )
