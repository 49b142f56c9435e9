"""Flow Q-learning, FQL (Park, Li and Levine 2025, arXiv 2502.02538).

A flow learns to turn noise into the actions of the data, in many small steps. A policy that takes one step climbs the
critic and is drawn to where the flow would have carried the same noise: so no gradient passes through the many steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from learners.algorithm import Metrics, Targets
from learners.base import randomness
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import LossWeight, Polyak, Samples
from learners.base.torch_algorithm import TorchAlgorithm
from learners.losses import between, distilled_policy_loss, flow_action, q_magnitude, squared_error
from learners.networks.critics import MLP, as_encoder
from learners.networks.encoders import Encoder, Features, rows_of
from learners.planning import cem
from replay.batch import Batch
from replay.ranges import Range


@dataclass(frozen=True)
class FQLConfig(CommonConfig):
    """Defaults are the authors', but for `acting_candidates`, which they do not have, and for the networks: theirs have
    four hidden layers of 512 units, with GELU where ours have ReLU. On OGBench's cubes and scenes their α is 300."""

    layer_norm: bool = True  # Use LayerNorm before each activation of the value networks.
    # How strongly the policy keeps to the flow, α. Of all knobs it is the one to tune.
    distillation_weight: LossWeight = 10.0
    flow_steps: Annotated[int, Range(1, 1_000)] = 10  # Euler steps in which the flow carries noise to an action.
    # Targets take the mean of the two critics, or the smaller; the policy climbs their mean.
    aggregation: Literal["mean", "min"] = "mean"
    normalise_q: bool = False  # Divide the policy's Q by its mean size, so that α does not depend on rewards.
    acting_candidates: Samples = 4  # Latents from which the critic chooses where actions are deterministic.
    polyak: Polyak = 0.005  # Rate at which the target critic follows the critic.


# --- Network ---


class NoisyNetwork(nn.Module):
    """What turns noise into something of its size, given the observation: one step of a flow, or a whole action."""

    def __init__(
        self, observation: int | Encoder, noise: int, hidden: Sequence[int], *, timed: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.net = MLP(self.encoder.size + noise + int(timed), hidden, noise, dropout=dropout)

    def forward(self, observation: Features, noise: Tensor, time: Tensor | None = None) -> Tensor:
        """`noise` (…, B, A), and for a flow `time` (…, B, 1) → (…, B, A), unbounded."""
        return self.from_embedding(self.encoder(observation), noise, time)

    def from_embedding(self, embedding: Tensor, noise: Tensor, time: Tensor | None = None) -> Tensor:
        """The same for an observation that is encoded already, (B, size)."""
        parts = [embedding.expand(*noise.shape[:-1], -1), noise]
        return self.net(torch.cat(parts if time is None else [*parts, time], dim=-1))


class FQL(TorchAlgorithm):
    """With `normalise_q`, λ = 1 / mean |Q(s, μ(s, z))| is that of the step before, which is the same in every learner
    of a run; the authors take the batch's own. Before the first step it is 0: Q does not count."""

    Config = FQLConfig
    config: FQLConfig
    target_modules = ("policy", "target_critic")
    policy_modules = ("policy", "critic")

    def build(self) -> None:
        config = self.config
        self.critic = self.networks.continuous_critic(2)
        self.flow = self._network(timed=True)
        self.policy = self._network(timed=False)
        self.train(
            {"critic": self.critic, "flow": self.flow, "policy": self.policy},
            averages={"q_magnitude": float("inf")} if config.normalise_q else None,
        )
        self.target_critic = self.follow("target_critic", "critic", config.polyak)

    def _network(self, *, timed: bool) -> NoisyNetwork:
        encoder, config = self.networks.encoder(trains_encoder=False), self.config
        return NoisyNetwork(encoder, self.action_size, config.hidden, timed=timed, dropout=config.dropout)

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        return {"latent": self.normal(batch, "targets")}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·Q̄(s', μ(s', z)), (B,), of the mean or the smaller of the critics."""
        action = self.policy(inputs.next_observation, inputs.noise["latent"]).clamp(-1.0, 1.0)
        q = self.target_critic(inputs.next_observation, action)
        return {"q": inputs.reward + inputs.discount * (q.mean(0) if self.config.aggregation == "mean" else q.amin(0))}

    # --- Losses ---

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """`start` of the way to the data's actions and `latent` of the policy, (B, A); `time`, (B, 1)."""
        return {
            "start": self.normal(batch, "start"),
            "latent": self.normal(batch, "latent"),
            "time": self.uniform(batch, "time", width=1),
        }

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """Of the flow, the policy and the critic."""
        config, observation, noise, weight = self.config, inputs.observation, inputs.noise, inputs.weight
        # --- Flow: imitation only ---
        embedding = self.flow.encoder(observation)
        x, velocity = between(noise["start"], inputs.action, noise["time"])
        flow_error = squared_error(self.flow.from_embedding(embedding, x, noise["time"]), velocity)
        flow_loss = weighted_mean(flow_error, weight)
        # --- Policy: up the critics, and to where the flow carries the same noise ---
        with torch.no_grad():
            behaviour = flow_action(
                lambda x, time: self.flow.from_embedding(embedding, x, time), noise["latent"], config.flow_steps
            )
        action = self.policy(observation, noise["latent"])
        # The critic sees what the robot does; the distance is of the raw action, so that it returns from outside.
        q_policy = self.critic(observation, action.clamp(-1.0, 1.0), frozen=True).mean(0)
        scale = 1.0 / self.averages["q_magnitude"].clamp(min=1e-6) if config.normalise_q else 1.0
        one_step_loss = weighted_mean(
            distilled_policy_loss(q_policy, action, behaviour, scale, config.distillation_weight), weight
        )
        # --- Critic: both members regress on the same target ---
        q = self.critic(observation, inputs.action)
        error = q - inputs.labels["q"]
        critic_loss = weighted_mean(error.square().sum(0), weight)
        return flow_loss + one_step_loss + critic_loss, {
            "flow_loss": flow_loss,
            "policy_loss": one_step_loss,
            "critic_loss": critic_loss,
            "distillation_error": weighted_mean(squared_error(action, behaviour), weight),
            "q_magnitude": q_magnitude(q_policy, weight),
            "q_data": q.mean(),
            "priority": error.abs().mean(0),
        }

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The action that `noise` stands for, as the authors act also when they evaluate.

        Without noise there is no natural one: the centre of the noise may lie between two modes of the data. So the
        critics choose, by their mean, among the actions of `acting_candidates` latents: the centre, and others that
        are the same in every state and process, so that an action does not depend on its place in a stack.
        """
        if noise is not None:
            return self.policy(observation, noise).clamp(-1.0, 1.0)
        latent = randomness.normal(
            (0, 0), "act/latent", (self.config.acting_candidates, 1, self.action_size), self.device
        )
        latent[0] = 0.0
        action = self.policy(observation, latent.expand(-1, rows_of(observation), -1)).clamp(-1.0, 1.0)
        return cem.best_of(action, self.critic(observation, action).mean(0)).action
