"""Advantage-weighted regression, AWR (Peng, Kumar, Zhang and Levine 2019, arXiv 1910.00177).

Two regressions on whole episodes: a value function on their TD(λ) returns, and the policy on their actions, each as
much as its return is above that value. There is no Q, so nothing is ever asked about an action outside the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import AdvantageClip, PolicySpread, Temperature
from learners.base.torch_algorithm import TorchAlgorithm
from learners.errors import LearnerError
from learners.losses import advantage_weight, per_step, td_lambda_returns
from learners.networks.encoders import Features
from replay.batch import Batch, Request
from replay.ranges import Share
from replay.spaces import Box, Discrete

STD_FLOOR = 1e-5
"""Added to the spread of advantages, as the authors do."""


@dataclass(frozen=True)
class AWRConfig(CommonConfig):
    """λ, β, the clip and the spread are the authors'. A batch is of episodes: 16 of 100 steps are as many steps as
    1,600 transitions.

    The authors move the value function for 200 steps and then the policy for 1,000, by SGD with momentum, on networks
    of 128 and 64 units; here both move at every step, by Adam.
    """

    td_lambda: Share = 0.95  # How far returns look, λ: 0 regresses on r + γV(s'), 1 on the whole of what was recorded.
    temperature: Temperature = 1.0  # How much advantage makes an action e times as good, β; large is cloning.
    # Bring advantages to zero mean and unit spread, as the authors' code does, so that β has no unit.
    normalise_advantage: bool = True
    advantage_clip: AdvantageClip = 20.0  # Upper bound of exp(advantage/β).
    policy_std: PolicySpread = 0.2  # Fixed spread of the policy, learned where it is none; the authors use .2 and .4.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_step != 1:
            raise LearnerError(
                f"n_step: found {self.n_step}, expected 1: returns are over whole episodes; td_lambda says how far "
                "they look."
            )

    def request(self) -> Request:
        return replace(super().request(), kind="episodes")


# --- Returns and losses ---


class AWR(TorchAlgorithm):
    """Every transition of a batch counts the same, however long its episode is.

    The number of steps in an episode and the mean and spread of the advantages are those of the step before
    (`self.averages`), so that they are the same in every learner of a run; the authors take the advantages' over all
    the data. Before the first step an episode counts as infinitely long: that step only measures.
    """

    Config = AWRConfig
    config: AWRConfig
    action_spaces = (Box, Discrete)
    target_modules = ("value",)

    def build(self) -> None:
        self.value = self.networks.value()
        self.policy = self.networks.likelihood_policy(std=self.config.policy_std)
        self.train(
            {"value": self.value, "policy": self.policy},
            averages={"episode_steps": math.inf, "advantage_sum": 0.0, "advantage_square_sum": 0.0},
        )

    # --- Targets ---

    def targets(self, batch: Batch[Any]) -> Targets:
        labels = super().targets(shortened(batch))
        steps = batch.reward.shape[1]
        return {name: F.pad(label, (0, steps - label.shape[1])) for name, label in labels.items()}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`returns`: TD(λ) returns, (B, T)."""
        assert inputs.mask is not None
        next_value, mask = self.value(inputs.next_observation), inputs.mask.float()
        return {"returns": td_lambda_returns(inputs.reward, inputs.discount, next_value, mask, self.config.td_lambda)}

    # --- Losses ---

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        return super().update(shortened(batch), targets)

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the value and the policy. (The authors move the value function before the policy.)"""
        config, weight = self.config, inputs.weight
        assert inputs.mask is not None
        # Time first, since dropout keeps one mask for each row.
        observation = _time_first(inputs.observation)
        action, mask = inputs.action.transpose(0, 1), inputs.mask.float().transpose(0, 1)
        steps = self.averages["episode_steps"]
        # --- Value: regression on the returns ---
        value = self.value(observation)
        error = inputs.labels["returns"].transpose(0, 1)[: len(mask)] - value
        value_loss = weighted_mean(per_step(error.square(), mask, steps), weight)
        # --- Policy: advantage-weighted regression ---
        advantage = error.detach()
        standardised = self.standardised(advantage) if config.normalise_advantage else advantage
        policy_weight = advantage_weight(standardised, 1.0 / config.temperature, config.advantage_clip)
        log_prob = self.policy.log_prob(observation, action)
        policy_loss = -weighted_mean(per_step(policy_weight * log_prob, mask, steps), weight)
        return value_loss + policy_loss, {
            "value_loss": value_loss,
            "policy_loss": policy_loss,
            "value": (mask * value).sum() / mask.sum(),
            "advantage": (mask * advantage).sum() / mask.sum(),
            "episode_steps": weighted_mean(mask.sum(0), weight),
            "advantage_sum": weighted_mean((mask * advantage).sum(0), weight),
            "advantage_square_sum": weighted_mean((mask * advantage.square()).sum(0), weight),
            "priority": (mask * error.abs()).sum(0) / mask.sum(0),
        }

    def standardised(self, advantage: Tensor) -> Tensor:
        """By the mean and spread of the step before."""
        averages = self.averages
        mean = averages["advantage_sum"] / averages["episode_steps"]
        variance = averages["advantage_square_sum"] / averages["episode_steps"] - mean.square()
        return (advantage - mean) / (variance.clamp(min=0.0).sqrt() + STD_FLOOR)


def shortened(batch: Batch[Any]) -> Batch[Any]:
    """Without the padding that all its episodes have.

    Batches that are gathered together are as long as the longest episode of them all, and matrix products of other
    sizes round differently: what a step computes must not depend on the steps around it.
    """
    assert batch.mask is not None
    longest = int(batch.mask.sum(1).max())
    return batch.map(lambda array: array[:, :longest] if array.ndim > 1 else array)


def _time_first(observation: Features) -> Features:
    """(B, T, …) → (T, B, …)."""
    if isinstance(observation, dict):
        return {name: part.transpose(0, 1) for name, part in observation.items()}
    return observation.transpose(0, 1)
