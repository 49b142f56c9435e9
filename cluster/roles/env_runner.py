"""EnvRunner: steps environments with a published policy and hands over whole episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cluster import process
from cluster.build import AlgorithmSpec
from cluster.policy import acting
from cluster.recording import episode_of
from cluster.roles.fresh_episode import FreshEpisode
from envs import EnvSpec, Exploration, Patience, RecordedEpisode, Rollout, explore, make_vector
from learners.algorithm import Algorithm, Weights
from replay.errors import DataError


@dataclass(frozen=True)
class RunnerSpec:
    """What every runner of a run does."""

    algorithm: AlgorithmSpec
    environment: EnvSpec
    num_envs: int
    vectorization: str
    stochastic: bool
    """Actions are drawn from the policy; else they are its mode."""
    exploration: Exploration
    """What is added to them."""
    seed: int
    threads: int
    patience: Patience | None = None
    """With one call of the environments."""


@dataclass(frozen=True)
class RolloutReport:
    """What the driver learns of a rollout; the episodes themselves go to the store."""

    runner: int
    version: int
    """Gradient steps behind the weights it acted with last."""
    taken: int
    """Environment steps."""
    pending: int
    """Those taken so far in episodes that are still under way."""
    episodes: int
    """That ended and are handed over, and"""
    ended: int
    """the steps that they have."""
    quarantined: tuple[str, ...] = ()
    """Why, for each episode that ended and is left out: the store would not take it, and refuse the others with it."""
    damaged_in_a_row: int = 0
    """Such episodes that every one of its environments has had since its last whole one."""


def next_sequence(ids: Iterable[str]) -> int:
    """The first sequence number for calls of a driver that finds episodes of these ids: none of them is named again."""
    return 1 + max((int(id.split("-")[1]) for id in ids), default=-1)


class EnvRunner:
    """Holds environments and a policy. Where it dies, the episodes under way are lost, and nothing else.

    What it draws depends on its number and on the sequence number of its first call, so that one that was restarted
    does not repeat what it did before, and ids never clash.
    """

    retries = 1
    """Of a call in whose course the process ended, as an environment may end it; then the call has failed."""

    def __init__(self, number: int, spec: RunnerSpec) -> None:
        process.prepare(spec.threads, "cpu")
        self._number, self._spec = number, spec
        self._algorithm: Algorithm = spec.algorithm.create("cpu")
        self._version = -1
        self._rollout: Rollout | None = None
        self._first = self._named = 0
        self._damaged: Counter[int] = Counter()
        """By environment: episodes left out since its last whole one."""

    def ready(self) -> None:
        """Answers once it is made: what could not be made is known before a run begins."""

    def collect(
        self, sequence: int, version: int, weights: Weights, steps: int
    ) -> tuple[RolloutReport, list[FreshEpisode]]:
        """`steps` of each environment with these weights: a report, and the episodes that ended.

        An episode that does not fit the spaces, as one with NaN in an observation, an action or a reward, is reported
        and left out. Raises `EnvError` for what the environment, or the policy, does wrong; the next call begins anew.
        """
        if version != self._version:
            self._algorithm.load_policy_weights(weights)
            self._version = version
        if self._rollout is None:
            self._begin(sequence)
        assert self._rollout is not None
        before = self._rollout.steps_taken
        ended = self._rollout.run(self._act, steps, version=version)
        return self._hand_over(ended, self._rollout.steps_taken - before)

    def cut(self) -> tuple[RolloutReport, list[FreshEpisode]]:
        """The episodes under way, truncated where they are."""
        return self._hand_over([] if self._rollout is None else self._rollout.cut(), 0)

    def close(self) -> None:
        if self._rollout is not None:
            self._rollout.close()

    def _begin(self, sequence: int) -> None:
        spec = self._spec
        draws = np.random.SeedSequence([spec.seed, self._number, sequence])
        environments, policy, exploration = (int(child.generate_state(1)[0] >> 1) for child in draws.spawn(3))
        self._rollout = Rollout(
            spec.environment,
            seed=environments,
            vector=lambda: make_vector(spec.environment, spec.num_envs, spec.vectorization),
            patience=spec.patience,
        )
        act = acting(self._algorithm, seed=policy, deterministic=not spec.stochastic)
        self._act = explore(act, self._rollout.action_space, spec.exploration, np.random.default_rng(exploration))
        self._first = sequence

    def _hand_over(self, ended: list[RecordedEpisode], taken: int) -> tuple[RolloutReport, list[FreshEpisode]]:
        source = f"{self._spec.environment.id} runner {self._number}"
        episodes: list[FreshEpisode] = []
        quarantined = []
        origins = [] if self._rollout is None else self._rollout.origins
        for origin, recorded in zip(origins, ended, strict=True):
            self._named += 1
            id = f"{self._number}-{self._first}-{self._named}"
            episode = episode_of(recorded, self._spec.algorithm.spaces, source=source)
            try:
                episode.validate(self._spec.algorithm.spaces, f"episode {id}")
            except DataError as error:
                quarantined.append(str(error))
                self._damaged[origin] += 1
            else:
                episodes.append(FreshEpisode(id, episode, recorded.versions))
                self._damaged[origin] = 0
        pending, in_a_row = 0, 0
        if self._rollout is not None:
            pending = self._rollout.steps_under_way
            in_a_row = min(self._damaged[i] for i in range(self._rollout.num_envs))
        return (
            RolloutReport(
                self._number,
                self._version,
                taken,
                pending,
                len(episodes),
                sum(len(fresh.episode) for fresh in episodes),
                tuple(quarantined),
                in_a_row,
            ),
            episodes,
        )
