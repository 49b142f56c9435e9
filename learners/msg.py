"""Model standard-deviation gradients, MSG (Ghasemipour, Gu and Nachum 2022, arXiv 2205.13703).

Every member of an ensemble of critics is trained towards its own target, so that the members are independent opinions
of the policy's value; the policy maximises a lower confidence bound of them, mean + β·std with a negative β.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.ensemble import EnsembleActorCritic, EnsembleConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LARGEST, LossWeight, Members, Samples
from learners.losses import conservative_gap, lower_confidence_bound
from replay.batch import Batch
from replay.ranges import Range
from replay.spaces import Spaces


@dataclass(frozen=True)
class MSGConfig(EnsembleConfig):
    """Defaults are the authors' for the ant mazes."""

    members: Members = 64  # Number of critics in the ensemble, N; 8 to 16 are usual on a CPU.
    # Weight β of the members' standard deviation in what the policy maximises; above 0 it would prefer the unknown.
    beta: Annotated[float, Range(-LARGEST, 0)] = -8.0
    # Weight α of CQL's regulariser of every member; 0 leaves it to the ensemble alone.
    conservative_weight: LossWeight = 0.1
    sampled_actions: Samples = 1  # Actions of each of two kinds in that regulariser: uniform and π(·∣s).


class MSG(EnsembleActorCritic):
    """The regulariser is CQL(H)'s with importance-sampled actions, as in the authors' code, which also has the plain
    difference of Q at the policy's action and at the data's. Their squared errors are halved: in this loss, where they
    are not, α counts twice.

    Of the authors' code two things are left out: 50,000 steps of cloning before the policy begins to maximise, and
    random weights on the errors of each member, which they say do not matter.
    """

    Config = MSGConfig
    config: MSGConfig
    target_modules = ("policy", "target_critic")

    def policy_value(self, q: Tensor) -> Tensor:
        return lower_confidence_bound(q, self.config.beta)

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        idle = super().without_effect(spaces, config)
        if config.conservative_weight == 0.0:
            idle["sampled_actions"] = "they are for the regulariser, and conservative_weight is 0"
        return idle

    # --- Targets ---

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γQ̄_i(s', a'), (B, E), each member's own; without entropy, as the authors have it."""
        action, _ = self.policy.sample(inputs.next_observation, inputs.noise["policy"])
        next_value = self.target_critic(inputs.next_observation, action)
        return {"q": (inputs.reward + inputs.discount * next_value).T}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`policy` (B, A), and for the regulariser `sampled` and `uniform` (N, B, A)."""
        noise = super().loss_noise(batch)
        if self.config.conservative_weight == 0.0:
            return noise
        count = self.config.sampled_actions
        return noise | {
            "sampled": self.normal(batch, "sampled", count),
            "uniform": self.uniform(batch, "uniform", count),
        }

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        return super().losses(inputs._replace(labels={"q": inputs.labels["q"].T}))

    def regularised(self, inputs: Inputs) -> tuple[Tensor, Tensor, Metrics]:
        """Every member is pushed down at actions that the policy or chance would choose."""
        weight = self.config.conservative_weight
        if weight == 0.0:
            return super().regularised(inputs)
        with torch.no_grad():
            sampled, log_prob = self.policy.sample(inputs.observation, inputs.noise["sampled"])
            actions = torch.cat([inputs.action[None], 2.0 * inputs.noise["uniform"] - 1.0, sampled])
            log_density = torch.cat([torch.full_like(log_prob, math.log(0.5) * self.action_size), log_prob])
        q_all = self.critic(inputs.observation, actions)
        q, q_sampled = q_all[:, 0], q_all[:, 1:]
        gap = weighted_mean(conservative_gap(q, q_sampled, log_density).sum(0), inputs.weight)
        return q, 2.0 * weight * gap, {"conservative_gap": gap / len(q)}
