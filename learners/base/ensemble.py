"""What soft actor-critics with several critics share: SAC, SAC-N, EDAC, REDQ, RLPD and MSG change a few lines of it.

They differ in what the targets and the policy believe of the members' values, and in what else is asked of the
critics beside a small error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import Members, Polyak, TargetEntropy
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import soft_policy_loss, temperature_loss
from learners.networks.critics import PositiveScalar
from replay.batch import Batch
from replay.ranges import Steps


@dataclass(frozen=True)
class EnsembleConfig(CommonConfig):
    members: Members = 10  # Number of critics in the ensemble, N.
    # Target entropy H̄ of the policy; minus the number of action elements where not given.
    target_entropy: TargetEntropy = None
    polyak: Polyak = 0.005  # Rate at which the target critics follow the critics.
    policy_every: Steps = 1  # The policy and the temperature move at every so many steps.


class EnsembleActorCritic(TorchAlgorithm):
    """As it is here, it is SAC-N (An, Moon, Kim and Song 2021, arXiv 2110.01548): all trust the smallest member."""

    Config: ClassVar[type] = EnsembleConfig
    config: Any
    target_modules: tuple[str, ...] = ("policy", "temperature", "target_critic")
    log_std_min: ClassVar[float] = -20.0
    """Of the policy."""

    def build(self) -> None:
        config = self.config
        self.critic = self.networks.continuous_critic(config.members)
        self.policy = self.networks.tanh_gaussian_policy(log_std_min=self.log_std_min)
        self.temperature = PositiveScalar(1.0)
        self.train(
            {"critic": self.critic, "policy": self.policy, "temperature": self.temperature},
            every={"policy": config.policy_every, "temperature": config.policy_every},
        )
        self.target_critic = self.follow("target_critic", "critic", config.polyak)
        self.target_entropy = -float(self.action_size) if config.target_entropy is None else config.target_entropy

    # --- What the variants change ---

    def next_value(self, q: Tensor, noise: dict[str, Tensor]) -> Tensor:
        """What targets believe, (B,), of the target critics' Q̄(s', a'), (E, B)."""
        return q.amin(0)

    def policy_value(self, q: Tensor) -> Tensor:
        """What the policy maximises, (B,), of the critics' Q(s, a), (E, B)."""
        return q.amin(0)

    def regularised(self, inputs: Inputs) -> tuple[Tensor, Tensor, Metrics]:
        """Q(s, a) on the data, (E, B), what else is made small, a scalar, and its metrics."""
        q = self.critic(inputs.observation, inputs.action)
        return q, q.new_zeros(()), {}

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"policy": self.normal(batch, "targets")}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ(Q̄(s', a') − α·log π(a'∣s')), (B,), with `next_value` for Q̄."""
        action, log_prob = self.policy.sample(inputs.next_observation, inputs.noise["policy"])
        next_value = self.next_value(self.target_critic(inputs.next_observation, action), inputs.noise)
        return {"q": inputs.reward + inputs.discount * (next_value - self.temperature() * log_prob)}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"policy": self.normal(batch, "policy")}

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the policy, the temperature and the critic. (The authors of SAC-N move the temperature first.)

        The label `q` is the same for every member, (B,), or each has its own, (E, B).
        """
        observation, weight = inputs.observation, inputs.weight
        # --- Policy and temperature: SAC ---
        sampled, log_prob = self.policy.sample(observation, inputs.noise["policy"])
        q_policy = self.critic(observation, sampled, frozen=True)
        policy_loss = soft_policy_loss(self.temperature(), log_prob, self.policy_value(q_policy))
        policy_loss = weighted_mean(policy_loss, weight)
        alpha_loss = weighted_mean(temperature_loss(self.temperature.log, log_prob, self.target_entropy), weight)
        # --- Critic ---
        q, regulariser, metrics = self.regularised(inputs)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        return policy_loss + alpha_loss + critic_loss + regulariser, {
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            **metrics,
            "temperature": self.temperature(),
            "entropy": -log_prob.mean(),
            "q_data": q.mean(),
            "q_spread": q_policy.std(0, correction=0).mean(),
            "priority": error.abs().mean(0),
        }
