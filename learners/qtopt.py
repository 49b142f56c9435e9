"""QT-Opt (Kalashnikov et al. 2018, arXiv 1806.10293): one Q-network, maximised by the cross-entropy method.

There is no policy network, and nothing keeps the maximisation to the actions of the data: fed by fresh robot data
the method learns from its mistakes, on a fixed log it overestimates (`tests/learners/test_tabular.py` shows it).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners import cem, randomness
from learners.algorithm import Metrics, Targets
from learners.base import CommonConfig, TorchAlgorithm, weighted_mean
from learners.errors import LearnerError
from learners.normaliser import Statistics
from learners.optimisation import Optimiser, adam, flatten_, polyak_
from replay.batch import Batch
from replay.spaces import Spaces

SNAPSHOTS = 8
"""Copies of the target network kept on the way to the lagged one."""

CPU_ROWS = 4096
"""State-action pairs scored at a time on a CPU: activations then stay in its cache: 1.5 times as fast as at once."""


@dataclass(frozen=True)
class QTOptConfig(CommonConfig):
    """Defaults are the authors', except for the optimiser, and for the discount, which was .9 for their short grasps.

    The authors trained a convolutional network for millions of steps by SGD with momentum .9, learning rate 1e-4 and
    weight decay 7e-5; small perceptrons on vector observations are trained by Adam at 3e-4 everywhere else in the
    field, and do not get far in a usual budget of steps with the authors' rate.
    """

    loss: Literal["cross_entropy", "squared"] = "cross_entropy"  # The first needs returns in [0, 1].
    polyak: float = 1e-4  # Rate of the target network, for millions of steps: .005 suits runs of less than 100,000.
    lag_steps: int = 6_000  # How far the second target network is behind the first: shorten it with the run, too.
    iterations: int = 2  # Of the cross-entropy method.
    samples: int = 64  # Actions tried for each state in each iteration.
    elites: int = 6  # The best of them, to which the next iteration is fitted.
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD is with momentum.
    momentum: float = 0.9  # Of SGD.
    weight_decay: float = 0.0  # L2 regularisation.

    def __post_init__(self) -> None:
        for name, choices in (("loss", ("cross_entropy", "squared")), ("optimiser", ("adam", "sgd"))):
            if getattr(self, name) not in choices:
                raise LearnerError(f"{name}: found {getattr(self, name)!r}, expected {' or '.join(choices)}.")
        if self.iterations < 1 or not 1 <= self.elites <= self.samples:
            raise LearnerError(
                f"iterations, samples, elites: found {self.iterations}, {self.samples}, {self.elites}, "
                "expected at least one iteration and 1 <= elites <= samples."
            )
        if self.lag_steps < 1:
            raise LearnerError(f"lag_steps: found {self.lag_steps}, expected at least 1.")
        if not self.hidden:
            raise LearnerError("hidden: found no layers, expected at least one, where state and action meet.")


# --- Network ---


class EmbeddingCritic(nn.Module):
    """Q(s, a) whose first layer is split, so that a state is embedded once however many actions are tried in it.

    (The authors tile the embedding of the image over the samples; this is the same thing for vectors.)
    """

    def __init__(self, observation: int, action: int, hidden: tuple[int, ...], *, layer_norm: bool = False) -> None:
        super().__init__()
        self.observation_size = observation
        self.first = nn.Linear(observation + action, hidden[0])
        layers: list[nn.Module] = []
        for width, following in zip(hidden, (*hidden[1:], 1), strict=True):
            if layer_norm:
                layers.append(nn.LayerNorm(width))
            # In place: no layer here keeps its output, and these are the largest tensors of a label.
            layers += [nn.ReLU(inplace=True), nn.Linear(width, following)]
        self.rest = nn.Sequential(*layers)

    def embed(self, observation: Tensor) -> Tensor:
        """The state's share of the first layer, (B, H)."""
        return F.linear(observation, self.first.weight[:, : self.observation_size], self.first.bias)

    def score(self, embedding: Tensor, action: Tensor) -> Tensor:
        """Embeddings (B, H) and actions (…, B, A) → the output before any sigmoid, (…, B)."""
        hidden = F.linear(action, self.first.weight[:, self.observation_size :]) + embedding
        return self.rest(hidden).squeeze(-1)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.score(self.embed(observation), action)


class QTOpt(TorchAlgorithm):
    """With `loss="cross_entropy"` Q is a sigmoid, so returns must lie in [0, 1].

    Rewards outside [0, 1] are refused at construction, where `statistics` tell their range. Rewards inside do not yet
    bound the returns (a success rewarded at every step until the end adds up), so labels are clamped to [0, 1],
    and the metric `clipped` is the fraction that had to be: if it is not about zero, use `loss="squared"`, whose Q is
    unbounded.
    """

    Config = QTOptConfig
    config: QTOptConfig
    target_modules = ("target_critic", "lagged_critic")
    policy_modules = ("target_critic",)

    def __init__(
        self, spaces: Spaces, config: QTOptConfig, *, statistics: Statistics | None = None, **options: Any
    ) -> None:
        refuse_rewards(config, statistics)
        super().__init__(spaces, config, statistics=statistics, **options)

    def build(self) -> None:
        config, sizes = self.config, (self.observation_size, self.action_size)
        self.critic = EmbeddingCritic(*sizes, config.hidden, layer_norm=config.layer_norm).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.lagged_critic = copy.deepcopy(self.critic).requires_grad_(False)
        trained = {"critic": self.critic}
        self.modules = {**trained, "target_critic": self.target_critic, "lagged_critic": self.lagged_critic}
        self.optimiser = Optimiser(trained, self._make_optimiser())
        self.target_vector = flatten_([self.target_critic])
        self.lagged_vector = flatten_([self.lagged_critic])
        # A lag of exactly `lag_steps` would need as many copies: take one every `interval` steps instead.
        self.interval = max(1, config.lag_steps // SNAPSHOTS)
        self.snapshots = self.target_vector.repeat(math.ceil(config.lag_steps / self.interval), 1)
        self._losses = self.compiled(self.losses)
        self._bootstrap = self.compiled(self.bootstrap)

    def _make_optimiser(self) -> Callable[..., torch.optim.Optimizer]:
        config = self.config
        if config.optimiser == "adam":
            return adam(config.learning_rate, device=self.device, weight_decay=config.weight_decay)
        return lambda groups: torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )

    def value(self, output: Tensor) -> Tensor:
        """Q from the output of the network."""
        return torch.sigmoid(output) if self.config.loss == "cross_entropy" else output

    # --- Targets ---

    def bootstrap(self, reward: Tensor, discount: Tensor, next_observation: Tensor, noise: Tensor) -> Tensor:
        """r + γ·min_i Q̄ᵢ(s', argmax_a Q̄₁(s', a)), (B,), for `noise` (iterations, samples, B, A)."""
        best = self.search(next_observation, noise)
        lagged = self.lagged_critic(next_observation, best.action)
        return reward + discount * self.value(torch.minimum(best.score, lagged))

    def search(self, observation: Tensor, noise: Tensor) -> cem.Maximum:
        """The cross-entropy method on the first target network."""
        embedding = self.target_critic.embed(observation)
        block = max(1, CPU_ROWS // len(observation)) if self.device.type == "cpu" else self.config.samples

        def score(action: Tensor) -> Tensor:
            return torch.cat([self.target_critic.score(embedding, part) for part in torch.split(action, block)])

        return cem.maximise(score, noise, elites=self.config.elites)

    @torch.no_grad()
    def targets(self, batch: Batch[Any]) -> Targets:
        """`q`: (B,), not yet clamped."""
        tensors = self.tensors(batch)
        next_observation = self.normaliser.observation(tensors.next_observation)
        noise = self.normal(batch, "cem", self.config.iterations, self.config.samples)
        return {"q": self._bootstrap(tensors.reward, tensors.discount, next_observation, noise)}

    # --- Update ---

    def losses(
        self, observation: Tensor, action: Tensor, target: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """The loss, and what is logged."""
        output = self.critic(observation, action)
        q = self.value(output)
        if self.config.loss == "cross_entropy":
            label = target.clamp(0.0, 1.0)
            loss = weighted_mean(F.binary_cross_entropy_with_logits(output, label, reduction="none"), weight)
        else:
            label = target
            loss = weighted_mean((q - label).square(), weight)
        metrics = {
            "critic_loss": loss,
            "q_data": q.mean(),
            "target": label.mean(),
            "clipped": (label != target).float().mean(),
            "priority": (q - label).abs(),
        }
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        labels = self.targets_or(targets, batch)
        tensors = self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        loss, metrics = self._losses(observation, action, labels["q"], tensors.weight)
        self.optimiser.step(loss)
        polyak_(self.target_vector, self.optimiser.segment("critic"), self.config.polyak)
        self.step += 1
        self._lag()
        return metrics

    @torch.no_grad()
    def _lag(self) -> None:
        """Every `interval` steps the oldest snapshot becomes the lagged network, and a new one takes its place.

        With S snapshots the lag is S·interval steps right after, and grows by interval − 1 until the next time:
        6,000 to 6,749 by default, exact for less than 16. Before the first step the network was what it began as.
        """
        if self.step % self.interval == 0:
            oldest = self.snapshots[self.step // self.interval % len(self.snapshots)]
            self.lagged_vector.copy_(oldest)
            oldest.copy_(self.target_vector)

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        labels, tensors = self.targets(batch), self.tensors(batch)
        observation, action = self.normaliser.observation(tensors.observation), self.normaliser.action(tensors.action)
        _, metrics = self.losses(observation, action, labels["q"], tensors.weight)
        q_policy = self.value(self.critic(observation, self.policy_action(observation, None))).mean()
        return {name: metric for name, metric in metrics.items() if name != "priority"} | {"q_policy": q_policy}

    # --- Policy ---

    def policy_action(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        """The best sample of a search; with `noise`, a draw from the distribution the search ended with.

        Every state is searched with the same samples, so that an action does not depend on its place in a stack, and
        with the same in every process, whatever its seed: the published weights decide.
        """
        shape = (self.config.iterations, self.config.samples, 1, self.action_size)
        samples = randomness.normal((0, 0), "act/cem", shape, self.device)
        found = self.search(observation, samples.expand(-1, -1, len(observation), -1))
        return found.action if noise is None else (found.mean + found.std * noise).clamp(-1.0, 1.0)

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


def refuse_rewards(config: QTOptConfig, statistics: Statistics | None) -> None:
    """Raises `LearnerError` where the data has rewards, as scaled and shifted, that no Q in [0, 1] can stand for."""
    if config.loss != "cross_entropy" or statistics is None or "reward" not in statistics:
        return
    ends = [
        config.reward_scale * float(torch.as_tensor(statistics["reward"][end]).reshape(-1)[0]) + config.reward_shift
        for end in ("min", "max")
    ]
    if min(ends) < 0.0 or max(ends) > 1.0:
        raise LearnerError(
            f"reward: found {min(ends):g} to {max(ends):g} (scaled and shifted), but the cross-entropy loss needs "
            "returns in [0, 1]; scale them there with --reward-scale and --reward-shift, or use --loss squared."
        )
