"""The smallest model of the world: it counts the transitions of a discrete problem, and imagines from its table.

It stands for methods that imagine (MOPO, COMBO) wherever a run of one is tested: exact, and seen through at a glance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learners.algorithm import Metrics
from learners.base.averages import scalars, with_scalars
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs
from learners.base.optimisation import Reduce
from learners.base.torch_algorithm import TorchAlgorithm
from learners.networks.encoders import Features
from learners.networks.policies import chosen_log_prob, one_hot_choice
from replay.batch import Batch
from replay.spaces import Discrete


@dataclass(frozen=True)
class TabularModelConfig(CommonConfig):
    """None of its own."""


class Table(nn.Module):
    """For S states and A actions: how often each next state was seen, (S, A, S), how often it was an end, and the sum
    of the rewards on the way to it. Parameters without gradients, so that they travel as weights do."""

    def __init__(self, states: int, actions: int) -> None:
        super().__init__()
        shape = (states, actions, states)
        self.count, self.ends, self.reward = (nn.Parameter(torch.zeros(shape), False) for _ in range(3))

    def sums(self, inputs: Inputs, terminated: Tensor) -> Tensor:
        """What a batch adds, flat: (3·S·A·S,)."""
        joint = torch.einsum("bs,ba,bt->bsat", inputs.observation, inputs.action, inputs.next_observation)
        parts = [joint, joint * terminated.view(-1, 1, 1, 1), joint * inputs.reward.view(-1, 1, 1, 1)]
        return torch.cat([part.sum(0).reshape(-1) for part in parts])

    def add(self, sums: Tensor) -> None:
        for parameter, part in zip((self.count, self.ends, self.reward), sums.tensor_split(3), strict=True):
            parameter.add_(part.view_as(parameter))


class Counter:
    """Takes the place of an optimiser: the table itself is all that moves."""

    def __init__(self) -> None:
        self.reduce: Reduce | None = None
        self.groups: dict[str, slice] = {}
        self.vector = torch.zeros(0)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        return


class TabularModel(TorchAlgorithm):
    """It acts by the data's own frequencies."""

    Config = TabularModelConfig
    config: TabularModelConfig
    action_spaces = (Discrete,)
    has_targets = False
    imagines = True
    imagine_modules = ("table",)
    policy_modules = ("table",)
    loss_reads = ("observation", "next_observation")
    optimiser: Counter  # type: ignore[assignment]

    def build(self) -> None:
        self.table = Table(self.normaliser.vector_size, self.action_size).to(self.device)
        self.modules = {"table": self.table}
        self.optimiser = Counter()

    # --- A step ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """The share of next states that the table does not expect, before it has counted them."""
        count = torch.einsum("bs,ba,sat->bt", inputs.observation, inputs.action, self.table.count)
        expected = count / count.sum(-1, keepdim=True).clamp(min=1.0)
        missed = 1.0 - (expected * inputs.next_observation).sum(-1)
        return missed.mean(), {"model_loss": missed.mean(), "priority": missed + 1e-6}

    @torch.no_grad()
    def rehearse(self, batch: Batch[Any]) -> tuple[Inputs, list[Tensor]]:
        inputs = self._loss_inputs(batch, {})
        return inputs, [self.losses(inputs)[0]]

    @torch.no_grad()
    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        inputs = self._loss_inputs(batch, {})
        _, metrics = self.losses(inputs)
        sums, logged = self.table.sums(inputs, self._encoding.tensor(batch.terminated).float()), scalars(metrics)
        travelling = torch.cat([sums, logged])
        if self.optimiser.reduce is not None:
            self.optimiser.reduce(travelling)
        # What arrives is the mean over the learners.
        self.table.add(self.world * travelling[: len(sums)])
        self.step += 1
        return with_scalars(metrics, travelling[len(sums) :])

    # --- Imagining ---

    @torch.no_grad()
    def imagine(self, batch: Batch[Any]) -> Batch[Any]:
        """From each logged state an action that the table has seen there, each as likely, and what came of it, as often
        as it did: a next state, the mean reward on the way to it, and whether it was always an end. Where the table has
        not seen the state, the row stays the logged one."""
        uniform = self.uniform(batch, "imagine", width=2).cpu().numpy()
        count, ends, reward = (part.numpy() for part in (self.table.count, self.table.ends, self.table.reward))
        first_state, first_action = self.spaces.observation.start, self.spaces.action.start  # type: ignore[union-attr]
        columns = {name: np.array(array) for name, array in batch.columns()}
        for row, state in enumerate(np.asarray(batch.observation).astype(np.int64) - first_state):
            seen = np.flatnonzero(count[state].sum(-1))
            if not len(seen):
                continue
            action = seen[int(uniform[row, 0] * len(seen))]
            share = np.cumsum(count[state, action], dtype=np.float64)
            after = int(np.searchsorted(share, uniform[row, 1] * share[-1], side="right"))
            times = count[state, action, after]
            end = ends[state, action, after] == times
            columns["action"][row] = first_action + action
            columns["next_observation"][row] = first_state + after
            columns["reward"][row] = reward[state, action, after] / times  # which is scaled already
            columns["discount"][row] = 0.0 if end else self.config.discount
            columns["terminated"][row] = end
            columns["truncated"][row] = 0
        return Batch.of(columns, batch.key)

    # --- Policy ---

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        return one_hot_choice(self._log_shares(observation), noise)

    def policy_log_prob(self, observation: Features, action: Tensor) -> Tensor | None:
        return chosen_log_prob(self._log_shares(observation), action)

    def _log_shares(self, observation: Features) -> Tensor:
        assert isinstance(observation, Tensor)
        return torch.log(torch.einsum("bs,sat->ba", observation, self.table.count) + 1e-6)
