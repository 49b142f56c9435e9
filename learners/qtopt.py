"""QT-Opt (Kalashnikov et al. 2018, arXiv 1806.10293): one Q-network, maximised by the cross-entropy method.

There is no policy network, and nothing keeps the maximisation to the actions of the data: fed by fresh robot data
the method learns from its mistakes, on a fixed log it overestimates (`tests/learners/test_tabular.py` shows it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.algorithm import Metrics, Targets
from learners.base import randomness
from learners.base.config import RewardConfig, ValueNetworkConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import Polyak, Samples, WeightDecay
from learners.base.online import Online
from learners.base.optimisation import flatten_
from learners.base.target_networks import frozen_copy
from learners.base.torch_algorithm import TorchAlgorithm
from learners.errors import LearnerError
from learners.networks.critics import as_encoder
from learners.networks.dropout import Dropout
from learners.networks.encoders import Encoder, Features, rows_of
from learners.networks.normaliser import Statistics
from learners.networks.policies import DISCRETE_TEMPERATURE, chosen_log_prob, one_hot_choice
from learners.planning import cem
from replay.batch import Batch
from replay.ranges import Range, Steps
from replay.spaces import Box, Discrete, Spaces

SNAPSHOTS = 8
"""Copies of the target network kept on the way to the lagged one."""

CPU_ROWS = 4096
"""State-action pairs scored at a time on a CPU: activations then stay in its cache: 1.5 times as fast as at once."""


@dataclass(frozen=True)
class QTOptConfig(ValueNetworkConfig, RewardConfig):
    """Defaults are the authors', except for the optimiser, and for the discount, which was .9 for their short grasps.

    The authors trained a convolutional network for millions of steps by SGD with momentum .9, learning rate 1e-4 and
    weight decay 7e-5; small perceptrons on vector observations are trained by Adam at 3e-4 everywhere else in the
    field, and do not get far in a usual budget of steps with the authors' rate.
    """

    # Loss of the Q-network; cross_entropy needs returns in [0, 1].
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"
    # Rate at which the target network follows, for millions of steps: .005 suits runs of less than 100,000.
    polyak: Polyak = 1e-4
    lag_steps: Steps = 6_000  # How far the second target network is behind the first: shorten it with the run, too.
    iterations: Annotated[int, Range(1, 100)] = 2  # Iterations of the cross-entropy method.
    samples: Samples = 64  # Actions tried for each state in each iteration.
    elites: Samples = 6  # Number of the best samples, to which the next iteration is fitted.
    optimiser: Literal["adam", "sgd"] = "adam"  # Optimiser of the Q-network; sgd is with momentum.
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9  # Momentum of SGD.
    weight_decay: WeightDecay = 0.0  # Weight of the L2 regularisation.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.elites > self.samples:
            raise LearnerError(f"elites: found {self.elites} of {self.samples} samples, expected 1 to {self.samples}.")
        if not self.hidden:
            raise LearnerError("hidden: found no layers, expected at least one, where state and action meet.")


# --- Network ---


class EmbeddingCritic(nn.Module):
    """Q(s, a) whose first layer is split, so that a state is embedded once however many actions are tried in it.

    As the authors do with images, what is tiled over the samples is the embedding, never the observation.
    """

    def __init__(
        self,
        observation: int | Encoder,
        action: int,
        hidden: tuple[int, ...],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = as_encoder(observation)
        self.first = nn.Linear(self.encoder.size + action, hidden[0])
        layers: list[nn.Module] = []
        for width, following in zip(hidden, (*hidden[1:], 1), strict=True):
            if layer_norm:
                layers.append(nn.LayerNorm(width))
            # In place: no layer here keeps its output, and these are the largest tensors of a label.
            layers.append(nn.ReLU(inplace=True))
            if dropout:
                layers.append(Dropout(dropout, width))
            layers.append(nn.Linear(width, following))
        self.rest = nn.Sequential(*layers)

    def embed(self, observation: Features) -> Tensor:
        """The state's share of the first layer, (B, H)."""
        return F.linear(self.encoder(observation), self.first.weight[:, : self.encoder.size], self.first.bias)

    def score(self, embedding: Tensor, action: Tensor) -> Tensor:
        """Embeddings (B, H) and actions (…, B, A) → the output before any sigmoid, (…, B)."""
        hidden = F.linear(action, self.first.weight[:, self.encoder.size :]) + embedding
        return self.rest(hidden).squeeze(-1)

    def forward(self, observation: Features, action: Tensor) -> Tensor:
        return self.score(self.embed(observation), action)


class QTOpt(TorchAlgorithm):
    """With `loss="cross_entropy"` Q is a sigmoid, so returns must lie in [0, 1].

    Rewards outside [0, 1] are refused at construction, where `statistics` tell their range. Rewards inside do not yet
    bound the returns (a success rewarded at every step until the end adds up), so labels are clamped to [0, 1],
    and the metric `clipped` is the fraction that had to be: if it is not about zero, use `loss="squared"`, whose Q is
    unbounded. Over discrete actions the maximum is exact, and nothing is sampled.

    Online the share of fresh data rises from 1% to 50%, as in the authors' joint fine-tuning. A tenth of the actions is
    random: that serves both kinds of actions, and finds out about maxima of Q far from the best one, which noise around
    it does not. (This tenth is not the authors'.)
    """

    Config = QTOptConfig
    config: QTOptConfig
    action_spaces = (Box, Discrete)
    target_modules = ("target_critic", "lagged_critic")
    policy_modules = ("target_critic",)
    online = Online(share=0.01, final_share=0.5, stochastic=False, random_probability=0.1)

    def __init__(
        self, spaces: Spaces, config: QTOptConfig, *, statistics: Statistics | None = None, **options: Any
    ) -> None:
        super().__init__(spaces, config, statistics=statistics, **options)
        self._refuse_rewards(statistics)

    def build(self) -> None:
        config = self.config
        self.discrete_actions = isinstance(self.spaces.action, Discrete)
        self.critic = EmbeddingCritic(
            self.networks.encoder(trains_encoder=True),
            self.action_size,
            config.hidden,
            layer_norm=config.layer_norm,
            dropout=config.value_dropout,
        )
        self.train({"critic": self.critic}, weight_decay=config.weight_decay, make=self._sgd())
        self.target_critic = self.follow("target_critic", "critic", config.polyak)
        self.target_vector = self.target_vectors["target_critic"]
        self.modules["lagged_critic"] = self.lagged_critic = frozen_copy(self.critic)
        self.lagged_vector = flatten_([self.lagged_critic])
        # A lag of exactly `lag_steps` would need as many copies: take one every `interval` steps instead.
        self.interval = max(1, config.lag_steps // SNAPSHOTS)
        self.snapshots = self.target_vector.repeat(math.ceil(config.lag_steps / self.interval), 1)

    def _sgd(self) -> Callable[..., torch.optim.Optimizer] | None:
        config = self.config
        if config.optimiser == "adam":
            return None
        return lambda groups: torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)

    def value(self, output: Tensor) -> Tensor:
        """Q from the output of the network."""
        return torch.sigmoid(output) if self.config.loss == "cross_entropy" else output

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        idle = super().without_effect(spaces, config)
        if isinstance(spaces.action, Discrete):
            idle |= dict.fromkeys(("iterations", "samples", "elites"), "over discrete actions the maximum is exact")
        if config.optimiser == "adam":
            idle["momentum"] = "it is of SGD, and the optimiser is adam"
        return idle

    # --- Targets ---

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        if self.discrete_actions:
            return {}
        return {"cem": self.normal(batch, "cem", self.config.iterations, self.config.samples)}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ·min_i Q̄ᵢ(s', argmax_a Q̄₁(s', a)), (B,), not yet clamped."""
        best = self.search(inputs.next_observation, inputs.noise.get("cem"))
        lagged = self.lagged_critic(inputs.next_observation, best.action)
        return {"q": inputs.reward + inputs.discount * self.value(torch.minimum(best.score, lagged))}

    def search(self, observation: Features, noise: Tensor | None) -> cem.Maximum:
        """The best action by the first target network: of all discrete ones, or, with `noise` (iterations, samples,
        B, A), by the cross-entropy method."""
        embedding = self.target_critic.embed(observation)
        rows = len(embedding)
        block = max(1, CPU_ROWS // rows) if self.device.type == "cpu" else self.config.samples

        def score(action: Tensor) -> Tensor:
            return torch.cat([self.target_critic.score(embedding, part) for part in torch.split(action, block)])

        if noise is None:
            every = torch.eye(self.action_size, device=self.device)[:, None].expand(-1, rows, -1)
            return cem.best_of(every, score(every))
        return cem.maximise(score, noise, elites=self.config.elites)

    # --- Losses ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        target = inputs.labels["q"]
        output = self.critic(inputs.observation, inputs.action)
        q = self.value(output)
        if self.config.loss == "cross_entropy":
            label = target.clamp(0.0, 1.0)
            loss = weighted_mean(F.binary_cross_entropy_with_logits(output, label, reduction="none"), inputs.weight)
        else:
            label = target
            loss = weighted_mean((q - label).square(), inputs.weight)
        return loss, {
            "critic_loss": loss,
            "q_data": q.mean(),
            "target": label.mean(),
            "clipped": (label != target).float().mean(),
            "priority": (q - label).abs(),
        }

    def q(self, observation: Features, action: Tensor) -> Tensor:
        return self.value(self.critic(observation, action))

    @torch.no_grad()
    def after_step(self) -> None:
        """Every `interval` steps the oldest snapshot becomes the lagged network, and a new one takes its place.

        With S snapshots the lag is S·interval steps right after, and grows by interval − 1 until the next time:
        6,000 to 6,749 by default, exact for less than 16. Before the first step the network was what it began as.
        """
        if self.step % self.interval == 0:
            oldest = self.snapshots[self.step // self.interval % len(self.snapshots)]
            self.lagged_vector.copy_(oldest)
            oldest.copy_(self.target_vector)

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The best sample of a search; with `noise`, a draw from the distribution the search ended with.

        Every state is searched with the same samples, so that an action does not depend on its place in a stack, and
        with the same in every process, whatever its seed: the published weights decide. Over discrete actions a draw
        is from softmax(Q / `DISCRETE_TEMPERATURE`).
        """
        if self.discrete_actions:
            return one_hot_choice(self.scores(observation) / DISCRETE_TEMPERATURE, noise)
        shape = (self.config.iterations, self.config.samples, 1, self.action_size)
        samples = randomness.normal((0, 0), "act/cem", shape, self.device)
        found = self.search(observation, samples.expand(-1, -1, rows_of(observation), -1))
        return found.action if noise is None else (found.mean + found.std * noise).clamp(-1.0, 1.0)

    def policy_log_prob(self, observation: Features, action: Tensor) -> Tensor | None:
        return (
            chosen_log_prob(self.scores(observation) / DISCRETE_TEMPERATURE, action) if self.discrete_actions else None
        )

    def scores(self, observation: Features) -> Tensor:
        """The network's output for every discrete action, (B, n)."""
        every = torch.eye(self.action_size, device=self.device)[:, None]
        return self.target_critic.score(self.target_critic.embed(observation), every).T

    # --- State ---

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {"snapshots": self.snapshots}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        found = tuple(state["snapshots"].shape) if "snapshots" in state else "none"
        if found != tuple(self.snapshots.shape):
            raise LearnerError(
                f"snapshots: found {found}, expected {tuple(self.snapshots.shape)}. "
                "Was the checkpoint made with another lag_steps?"
            )
        super().load_state_dict(state)
        self.snapshots.copy_(state["snapshots"])

    def _refuse_rewards(self, statistics: Statistics | None) -> None:
        """Raises `LearnerError` where the data has rewards, as scaled and shifted, that no Q in [0, 1] stands for."""
        if self.config.loss != "cross_entropy" or statistics is None or "reward" not in statistics:
            return
        scale, shift = self.requires.reward_scale, self.requires.reward_shift
        ends = [
            scale * float(torch.as_tensor(statistics["reward"][end]).reshape(-1)[0]) + shift for end in ("min", "max")
        ]
        if min(ends) < 0.0 or max(ends) > 1.0:
            raise LearnerError(
                f"reward: found {min(ends):g} to {max(ends):g} (scaled and shifted), but the cross-entropy loss needs "
                "returns in [0, 1]; scale them there with --reward-scale and --reward-shift, or use --loss squared."
            )
