"""What TD3 and its descendants share: two critics, a deterministic policy, target policy smoothing and delayed updates
(Fujimoto, van Hoof and Meger 2018, arXiv 1802.09477). They differ in what the policy makes small."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import Polyak, Spread
from learners.base.online import Online
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import smoothed
from learners.networks.encoders import Features
from replay.batch import Batch
from replay.ranges import Steps


@dataclass(frozen=True)
class DeterministicConfig(CommonConfig):
    """Actions are in [-1, 1] wherever a knob speaks of them."""

    target_noise: Spread = 0.2  # Standard deviation of the noise on the target policy's actions.
    target_noise_clip: Spread = 0.5  # Largest size of the noise on the target policy's actions.
    policy_delay: Steps = 2  # The policy and the target networks move at every so many steps.
    exploration_noise: Spread = 0.1  # Standard deviation of the noise on sampled actions; scored ones have none.
    polyak: Polyak = 0.005  # Rate at which the target networks follow the trained ones.


class DeterministicActorCritic(TorchAlgorithm):
    """A subclass writes `policy_loss`, and `bootstrap` where its targets are not TD3's.

    Where `weighs_q`, the policy weighs Q against something else, and Q is brought to a magnitude of 1 first: by
    `self.averages["q_magnitude"]`, the mean of |Q| in the step before, a metric of `policy_loss`. The authors of these
    methods divide by the batch's own; that of the step before is the same in every learner of a run. It is infinite
    before the first step, in which Q therefore does not count.
    """

    Config: ClassVar[type] = DeterministicConfig
    config: Any
    target_modules = ("target_policy", "target_critic")
    weighs_q: ClassVar[bool] = False
    online = Online(stochastic=False, noise=0.1)  # TD3's; the policy has no spread of its own.

    def build(self) -> None:
        config = self.config
        self.critic = self.networks.continuous_critic(2)
        self.policy = self.networks.deterministic_policy()
        self.train(
            {"critic": self.critic, "policy": self.policy},
            every={"policy": config.policy_delay},
            averages={"q_magnitude": math.inf} if self.weighs_q else None,
        )
        self.target_critic = self.follow("target_critic", "critic", config.polyak, every=config.policy_delay)
        self.target_policy = self.follow("target_policy", "policy", config.polyak, every=config.policy_delay)

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"target_policy": self.normal(batch, "targets")}

    def next_action(self, inputs: Inputs) -> Tensor:
        """What the target policy does next, smoothed, (B, A)."""
        config = self.config
        action = self.target_policy(inputs.next_observation)
        return smoothed(action, inputs.noise["target_policy"], config.target_noise, config.target_noise_clip)

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·min_i Q̄_i(s', π̄(s') + ε), (B,)."""
        next_value = self.target_critic(inputs.next_observation, self.next_action(inputs)).amin(0)
        return {"q": inputs.reward + inputs.discount * next_value}

    # --- Losses ---

    @abstractmethod
    def policy_loss(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """What the policy makes small, a scalar, and its metrics."""

    def q_scale(self) -> Tensor:
        """1 / mean |Q|, ()."""
        return 1.0 / self.averages["q_magnitude"].clamp(min=1e-6)

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the policy and the critic. (The authors move the critic before the policy.)"""
        policy_loss, metrics = self.policy_loss(inputs)
        # --- Critic: both members regress on the same target ---
        q = self.critic(inputs.observation, inputs.action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), inputs.weight)
        return policy_loss + critic_loss, {
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            **metrics,
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        action = self.policy(observation)
        return action if noise is None else (action + self.config.exploration_noise * noise).clamp(-1.0, 1.0)
