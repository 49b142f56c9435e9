"""Evaluator: runs a published policy in its environment. An evaluation that is lost is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import envs
from cluster import process
from cluster.build import AlgorithmSpec
from cluster.policy import acting
from cluster.settings import check_seeds
from envs import EnvSpec, Patience
from learners.algorithm import Weights
from replay.batch import Request


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated where; the same seeds at every evaluation of a run."""

    environment: EnvSpec
    episodes: int
    seed: int
    reference_scores: tuple[float, float] | None = None
    stochastic: bool = False
    """Draw actions from the policy instead of taking its mode: the same noise at every evaluation of a run."""
    patience: Patience | None = None
    """With one call of the environment."""

    def __post_init__(self) -> None:
        """Raises `RunError` where the seeds of its episodes are too large."""
        check_seeds(self.seed, self.episodes)


class Evaluator:
    retries = 2
    """Of an evaluation in whose course the process ended, as an environment may end it."""

    def __init__(self, spec: AlgorithmSpec, evaluation: EvaluationSpec, threads: int) -> None:
        process.prepare(threads, "cpu")
        self._algorithm = spec.create("cpu")
        self._evaluation = evaluation
        self._environments = envs.Evaluator(evaluation.environment, patience=evaluation.patience)

    def ready(self) -> None:
        """Answers once it is made: what could not be made is known before a run begins."""

    def close(self) -> None:
        self._environments.close()

    def evaluate(self, weights: Weights) -> dict[str, Any]:
        """What `headline` says of the policy with these weights: the same weights, the same figures.

        Raises `EnvError` for what the environment, or the policy, does wrong.
        """
        evaluation = self._evaluation
        self._algorithm.load_policy_weights(weights)
        result = self._environments.run(
            acting(self._algorithm, seed=evaluation.seed, deterministic=not evaluation.stochastic),
            episodes=evaluation.episodes,
            seed=evaluation.seed,
            discount=self._algorithm.requires.discount,
            reference_scores=evaluation.reference_scores,
        )
        return headline(result, self._algorithm.requires)


def headline(result: envs.Evaluation, request: Request) -> dict[str, Any]:
    """The figures of an evaluation that go into metrics and on standard output; None for what is not known.

    `result` must have been discounted by the request's discount. `discounted_return` is in the units of Q.
    """
    return {
        "episodes": result.episodes,
        "return_mean": result.return_mean,
        "return_std": result.return_std,
        "success_rate": result.success_rate,
        "normalized_score": result.normalized_score,
        "discounted_return": in_units_of_q(result, request),
    }


def in_units_of_q(result: envs.Evaluation, request: Request) -> float:
    """The mean over episodes of Σ γ^t (scale·r_t + shift), the rewards as the algorithm saw them in its batches.

    That is scale·Σ γ^t r_t + shift·Σ γ^t for each episode; the first sum is in the result, the second is a matter
    of the episode's length.
    """
    weights = [float(np.power(request.discount, np.arange(length)).sum()) for length in result.lengths]
    return request.reward_scale * result.discounted_return_mean + request.reward_shift * float(np.mean(weights))
