"""Evaluator: runs a published policy in its environment. An evaluation that is lost is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import envs
from cluster import process
from cluster.build import AlgorithmSpec
from cluster.policy import acting
from envs import EnvSpec
from learners.algorithm import Weights


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated where; the same seeds at every evaluation of a run."""

    environment: EnvSpec
    episodes: int
    seed: int
    reference_scores: tuple[float, float] | None = None


class Evaluator:
    def __init__(self, spec: AlgorithmSpec, evaluation: EvaluationSpec, threads: int) -> None:
        process.prepare(threads, "cpu")
        self._algorithm = spec.create("cpu")
        self._evaluation = evaluation
        self._environments = envs.Evaluator(evaluation.environment)

    def evaluate(self, weights: Weights) -> dict[str, Any]:
        """`episodes`, `return_mean`, `return_std`, `success_rate` and `normalized_score` (None where unknown)."""
        self._algorithm.load_policy_weights(weights)
        result = self._environments.run(
            acting(self._algorithm, seed=self._evaluation.seed),
            episodes=self._evaluation.episodes,
            seed=self._evaluation.seed,
            reference_scores=self._evaluation.reference_scores,
        )
        return headline(result)


def headline(result: envs.Evaluation) -> dict[str, Any]:
    """The figures of an evaluation that go into metrics and on standard output."""
    return {
        "episodes": result.episodes,
        "return_mean": result.return_mean,
        "return_std": result.return_std,
        "success_rate": result.success_rate,
        "normalized_score": result.normalized_score,
    }
