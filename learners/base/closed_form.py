"""What LSTD and LSPI share: sums over the data in place of gradients, and a system of linear equations at their end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from learners.algorithm import Metrics
from learners.base.averages import scalars, with_scalars
from learners.base.config import RewardConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import Bandwidth, Width
from learners.base.online import Online
from learners.base.optimisation import Reduce
from learners.base.torch_algorithm import TorchAlgorithm
from learners.errors import LearnerError
from learners.networks.encoders import Features
from learners.networks.linear_features import ContinuousLinearCritic, DiscreteLinearCritic, LinearCritic
from learners.networks.policies import chosen_log_prob, one_hot_choice
from replay.batch import Batch
from replay.ranges import Range, Steps
from replay.spaces import Box, Discrete, Image, Spaces, observation_columns

EXPLORATION = 0.1
"""Of sampled actions: the spread around the best one, in [-1, 1], or the temperature of softmax(Q / temperature)."""


@dataclass(frozen=True)
class LeastSquaresConfig(RewardConfig):
    """It has no networks: no rates, no widths, no images."""

    # Number of random Fourier features, of state and action, or of the state for each discrete action.
    features: Width = 512
    bandwidth: Bandwidth = 0.5  # Distance over which values change; 1 is that between two normalised inputs.
    # Added to the diagonal of the mean of φ(φ − γφ')ᵀ, so that it can be solved.
    ridge: Annotated[float, Range(1e-12, 10**6)] = 1e-4
    solve_every: Steps = 100  # Batches between two solutions.
    # Actions in the box among which the best is looked for (continuous only).
    candidates: Annotated[int, Range(1, 100_000)] = 512


# --- Equations ---


def mean_equations(
    feature: Tensor, next_feature: Tensor, reward: Tensor, discount: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A = mean of φ(φ − γφ')ᵀ, (K, K), and b = mean of φ·r, (K,), over B rows that count by their weight.

    Features are float64 (B, K), the others (B,). Aw = b says that the Bellman error has no share in any feature: LSTD
    (Bradtke and Barto 1996), on state-action pairs as in LSTDQ (Lagoudakis and Parr 2003).
    """
    left = feature if weight is None else weight.double().unsqueeze(-1) * feature
    difference = feature - discount.double().unsqueeze(-1) * next_feature
    return left.T @ difference / len(feature), left.T @ reward.double() / len(feature)


def solve(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    """w = (A + ridge·I)⁻¹b, (K,), in the type of its arguments. Raises `LearnerError` where there is no inverse."""
    try:
        return torch.linalg.solve(a + ridge * torch.eye(len(b), dtype=a.dtype, device=a.device), b)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # documented, but in no stub
        raise LearnerError(
            f"ridge: found {ridge}, with which the equations have no solution ({error}); raise it."
        ) from error


class Accumulator:
    """Takes the place of an optimiser: `gradient` is a batch's share of the equations, `vector` what was added up."""

    def __init__(self, size: int, device: torch.device) -> None:
        """For `size` features."""
        self.size = size
        self.vector = torch.zeros(size * (size + 1), dtype=torch.float64, device=device)
        self.gradient = torch.zeros_like(self.vector)
        self.rows = torch.zeros((), dtype=torch.float64, device=device)
        self.reduce: Reduce | None = None
        self.groups: dict[str, slice] = {}

    def add(self, a: Tensor, b: Tensor, rows: int, averages: Tensor | None = None) -> Tensor:
        """The means over a learner's part of a batch, which has so many rows in all learners. Returns the mean of
        `averages` over the learners, which travel behind the sums."""
        averages = self.vector.new_zeros(0) if averages is None else averages
        if averages.numel() != self.gradient.numel() - self.vector.numel():
            self.gradient = self.vector.new_zeros(self.vector.numel() + averages.numel())
        torch.cat([a.reshape(-1), b, averages.double()], out=self.gradient)
        if self.reduce is not None:
            self.reduce(self.gradient)
        self.vector.add_(self.gradient[: self.vector.numel()], alpha=rows)
        self.rows += rows
        return self.gradient[self.vector.numel() :].float()

    def solve(self, ridge: float) -> Tensor:
        """w of the mean over all rows since the beginning or `clear`; at least one batch was added."""
        a, b = (self.vector / self.rows).tensor_split([self.size * self.size])
        return solve(a.view(self.size, self.size), b, ridge)

    def clear(self) -> None:
        self.vector.zero_()
        self.rows.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        return {"vector": self.vector, "rows": self.rows}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        found = tuple(state["vector"].shape) if "vector" in state else "none"
        if found != tuple(self.vector.shape):
            raise LearnerError(
                f"optimiser.vector: found {found}, expected {tuple(self.vector.shape)}. "
                "Was the checkpoint made with another number of features?"
            )
        self.vector.copy_(state["vector"])
        self.rows.copy_(state["rows"])


class LeastSquares(TorchAlgorithm):
    """A subclass says in `next_action` whose value is learned, and in `after_solution` what becomes of the sums.

    A step adds one batch to the equations; every `solve_every` steps they are solved.
    """

    config: LeastSquaresConfig
    action_spaces = (Box, Discrete)
    policy_modules = ("critic",)
    loss_reads = ("observation", "next_observation")
    online = Online(knobs={})
    optimiser: Accumulator  # type: ignore[assignment]

    @classmethod
    def refuse_unserved(cls, spaces: Spaces) -> None:
        super().refuse_unserved(spaces)
        columns = observation_columns(spaces.observation)
        if names := ", ".join(name for name, leaf in columns.items() if isinstance(leaf, Image)):
            raise LearnerError(
                f"observation space: found images ({names}), but the fixed features of {cls.__name__} are of numbers; "
                "use an algorithm with networks, such as iql."
            )

    def build(self) -> None:
        config, normaliser = self.config, self.normaliser
        sizes = normaliser.vector_size, self.action_size
        knobs: dict[str, Any] = {"count": config.features, "bandwidth": config.bandwidth}
        critic: LinearCritic = (
            DiscreteLinearCritic(*sizes, **knobs)
            if isinstance(self.spaces.action, Discrete)
            else ContinuousLinearCritic(*sizes, **knobs, candidates=config.candidates)
        )
        self.critic = critic.to(self.device)
        self.modules = {"critic": self.critic}
        self.optimiser = Accumulator(self.critic.size, self.device)

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        idle = super().without_effect(spaces, config)
        if isinstance(spaces.action, Discrete):
            idle["candidates"] = "every discrete action is tried"
        return idle

    # --- What a subclass writes ---

    @abstractmethod
    def next_action(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The action in s' whose value counts, (B, A), and which rows have one, (B,)."""

    def after_solution(self) -> None:
        """What becomes of the sums; by default they grow on."""
        return

    # --- Losses ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """The mean square of the Bellman error, which is reported but never descended."""
        return self._measured(*self._equations(inputs))

    def _equations(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """φ, φ', r, γ and weights."""
        action, valid = self.next_action(inputs)
        # A row that goes on, but of which nobody knows how, says nothing.
        weight = torch.where((inputs.discount > 0) & ~valid, 0.0, 1.0)
        return (
            self.critic.features(inputs.observation, inputs.action),
            self.critic.features(inputs.next_observation, action),
            inputs.reward,
            inputs.discount,
            weight if inputs.weight is None else weight * inputs.weight,
        )

    def _measured(
        self, feature: Tensor, next_feature: Tensor, reward: Tensor, discount: Tensor, weight: Tensor
    ) -> tuple[Tensor, Metrics]:
        q, next_q = ((part @ self.critic.weight.double()).float() for part in (feature, next_feature))
        error = q - (reward + discount * next_q)
        loss = weighted_mean(error.square(), weight)
        return loss, {"bellman_error": loss, "q_data": q.mean(), "priority": error.abs()}

    # --- A step ---

    @torch.no_grad()
    def rehearse(self, batch: Batch[Any]) -> tuple[Inputs, list[Tensor]]:
        inputs = self._loss_inputs(batch, self.targets(batch))
        equations = self._equations(inputs)
        made = [*equations, *mean_equations(*equations)]
        if isinstance(self.spaces.action, Box):
            # The angles of all candidates and their cosines, where the best is looked for.
            made.append(self.critic.candidates.new_empty(2, len(self.critic.candidates), self.config.features))
        return inputs, made

    @torch.no_grad()
    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        """Adds a batch to the equations. The metrics are of the parameters before the step."""
        equations = self._equations(self._loss_inputs(batch, self.targets(batch) if targets is None else targets))
        _, metrics = self._measured(*equations)
        rows = len(batch) * self.world
        metrics = with_scalars(metrics, self.optimiser.add(*mean_equations(*equations), rows, scalars(metrics)))
        self.step += 1
        if self.step % self.config.solve_every == 0:
            self.solve()
        return metrics

    @torch.no_grad()
    def solve(self) -> None:
        """Sets w from all that was added; `update` calls it at every `solve_every` steps."""
        self.critic.weight.copy_(self.optimiser.solve(self.config.ridge))
        self.after_solution()

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """The best candidate; with `noise` an action near it, or a draw from softmax(Q / `EXPLORATION`)."""
        assert isinstance(observation, Tensor)
        if isinstance(self.spaces.action, Discrete):
            return one_hot_choice(self.critic.scores(observation) / EXPLORATION, noise)
        best = self.critic.best(observation)
        return best if noise is None else (best + EXPLORATION * noise).clamp(-1.0, 1.0)

    def policy_log_prob(self, observation: Features, action: Tensor) -> Tensor | None:
        assert isinstance(observation, Tensor)
        if isinstance(self.spaces.action, Discrete):
            return chosen_log_prob(self.critic.scores(observation) / EXPLORATION, action)
        return None
