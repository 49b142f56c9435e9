"""Scoring a policy: returns and successes over episodes with known seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import gymnasium as gym
import numpy as np

from envs.actions import Act, as_actions, ask
from envs.errors import (
    MOST_ENVS,
    MOST_EPISODES,
    MOST_STEPS,
    EnvError,
    EnvFailedError,
    is_number,
    seeds,
    share,
    shown,
    whole,
)
from envs.guard import told_success
from envs.make import EnvSpec, make
from envs.watch import Patience, Watch
from envs.watcher import CONSTRUCTION, RESET

Progress = Callable[[int, int], None]
"""Called with (episodes finished, episodes in all)."""

MAX_STEPS = 100_000


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

    With `patience`, a call of an environment that takes longer raises `EnvStalledError`.
    """

    def __init__(
        self, spec: EnvSpec, *, num_envs: int = 10, max_steps: int = MAX_STEPS, patience: Patience | None = None
    ) -> None:
        whole("num_envs", num_envs, 1, MOST_ENVS)
        whole("max_steps", max_steps, 1, MOST_STEPS)
        self.spec = spec
        self._num_envs = num_envs
        self._max_steps = max_steps
        self._watch = Watch(patience)
        # One is made at once, so that a bad spec is refused here; the others when they are needed.
        self._envs: list[gym.Env[Any, Any]] = []
        try:
            with self._watch:
                self._make()
        except BaseException:
            self._watch.close()
            raise
        self._space = self._envs[0].action_space

    def _make(self) -> None:
        self._watch.begin(f"environment {self.spec.id}", CONSTRUCTION)
        self._envs.append(make(self.spec, finite=True))
        self._watch.end()

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
        Raises `EnvError` for an episode longer than `max_steps`, for actions that are none of the environment's, for
        seeds below 0 or above 2³² - 1, a discount outside [0, 1], and reference scores that are equal; and
        `EnvFailedError` for an environment that raises, or gives what is no observation, reward, end or info, NaN
        included.
        """
        whole("episodes", episodes, 1, MOST_EPISODES)
        seeds(seed, episodes)
        share("discount", discount)
        if reference_scores is not None:
            _check_scores(reference_scores)
        with self._watch:
            return self._run(act, episodes, int(seed), float(discount), reference_scores, progress)

    def _run(
        self,
        act: Act,
        episodes: int,
        seed: int,
        discount: float,
        reference_scores: tuple[float, float] | None,
        progress: Progress | None,
    ) -> Evaluation:
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
        """Episodes that begin together, each in a row of its own until all have ended."""
        while len(self._envs) < len(seeds):
            self._make()
        name, watch = f"environment {self.spec.id}", self._watch
        places = [f"{name}, seed {seed}" for seed in seeds]
        outcomes = [_Outcome(discount) for _ in seeds]
        latest = []
        for env, seed, place in zip(self._envs, seeds, places, strict=False):
            watch.begin(place, RESET)
            latest.append(env.reset(seed=seed)[0])
            watch.end()
        latest += [latest[0]] * (self._num_envs - len(seeds))
        running = list(range(len(seeds)))
        state, first = None, np.ones(self._num_envs, np.bool_)
        while running:
            actions, state = ask(act, stack(latest), state, first, name)
            first = np.zeros(self._num_envs, np.bool_)
            actions = as_actions(actions, self._space, self._num_envs, self.spec.id)
            for i in running:
                watch.begin(places[i], outcomes[i].steps + 1)
                latest[i], reward, terminated, truncated, info = self._envs[i].step(actions[i])
                watch.end()
                outcomes[i].add(float(reward), terminated or truncated, told_success(info, places[i]))
                if not math.isfinite(outcomes[i].total):
                    raise EnvFailedError(
                        f"{places[i]}: rewards up to step {outcomes[i].steps} add up to {outcomes[i].total}, expected "
                        "a finite return. Look at the environment's rewards."
                    )
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
        self._watch.close()

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
    patience: Patience | None = None,
) -> Evaluation:
    """Scores `act` once; see `Evaluator`, which keeps its environments for the next time."""
    with Evaluator(spec, num_envs=num_envs, max_steps=max_steps, patience=patience) as evaluator:
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


def stack(observations: list[Any]) -> Any:
    """Observations of several environments as one batch: arrays (B, ...), part by part in a dictionary."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: np.stack([item[name] for item in observations]) for name in first}
    return np.stack(observations)


def _check_scores(scores: tuple[float, float]) -> None:
    """Raises `EnvError` for anything but two finite numbers, the second above the first."""
    two = isinstance(scores, tuple | list) and len(scores) == 2 and all(map(is_number, scores))
    if not two or not scores[1] > scores[0]:
        raise EnvError(f"reference scores: found {shown(scores)}, expected (lowest, highest), not equal.")


def endless(where: str, seed: int, max_steps: int) -> str:
    return (
        f"environment {where}, seed {seed}: no end after {max_steps} steps. "
        'Give its kwargs a limit, such as {"max_episode_steps": 1000}.'
    )
