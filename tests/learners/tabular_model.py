"""A model-based method small enough to follow by hand: tables of counts and values, for tests of imagining.

`dynamics` holds, for each state and action, the logits of the next state, fitted by cross-entropy; `critic` the values,
learned from logged and imagined transitions alike. Imagining takes logged states, draws actions uniformly and next
states from the model. Reaching the last state is worth 1, and ends the episode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cluster.build import AlgorithmSpec
from learners.algorithm import Algorithm, Metrics, Targets
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs
from learners.base.torch_algorithm import TorchAlgorithm
from learners.catalogue import CATALOGUE, Entry
from replay.batch import Batch
from replay.spaces import Discrete

NAME, ENTRY = "tabular_model", Entry("tests.learners.tabular_model:TabularModel", "tests", "Tables.")


@dataclass(frozen=True)
class TabularModelConfig(CommonConfig):
    normalise_observation: bool = False
    learning_rate: float = 0.1


class Table(nn.Module):
    """A row for each state and action, both one-hot."""

    def __init__(self, states: int, actions: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(states, actions, width))

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        return torch.einsum("bs,ba,saw->bw", state, action, self.weight)


class TabularModel(TorchAlgorithm):
    Config = TabularModelConfig
    action_spaces = (Discrete,)
    imagines = True
    loss_reads = ("observation", "next_observation")
    policy_modules = ("critic",)
    imagine_modules = ("dynamics",)

    def build(self) -> None:
        states, actions = self.spaces.observation.shape[0], self.spaces.action.n
        self.dynamics, self.critic = Table(states, actions, states), Table(states, actions, 1)
        self.train({"dynamics": self.dynamics, "critic": self.critic})
        self.target = self.follow("target_critic", "critic", 0.1)
        self.target_modules = ("target_critic",)

    def bootstrap(self, inputs: Inputs) -> Targets:
        best = (inputs.next_observation @ self.target.weight[..., 0]).amax(-1)
        return {"q": inputs.reward + inputs.discount * best}

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        error = self.critic(inputs.observation, inputs.action)[:, 0] - inputs.labels["q"]
        logits = self.dynamics(inputs.observation, inputs.action)
        model_loss = F.cross_entropy(logits, inputs.next_observation.argmax(-1))
        critic_loss = error.square().mean()
        metrics = {"critic_loss": critic_loss, "model_loss": model_loss, "priority": error.abs()}
        return critic_loss + model_loss, metrics

    def policy_action(self, observation: Any, noise: Tensor | None) -> Tensor:
        return F.one_hot((observation @ self.critic.weight[..., 0]).argmax(-1), self.spaces.action.n).float()

    @torch.no_grad()
    def imagine(self, batch: Batch[Any]) -> Batch[Any]:
        state = torch.from_numpy(np.array(batch.observation))
        states, actions = self.dynamics.weight.shape[:2]
        chance = self.uniform(batch, "imagine", width=2)
        action = (chance[:, 0] * actions).long()
        likely = F.softmax(self.dynamics(state, F.one_hot(action, actions).float()), -1)
        after = (likely.cumsum(-1) < chance[:, 1:]).sum(-1).clamp(max=states - 1)
        ended = (after == states - 1).numpy()
        return replace(
            batch,
            action=(action.numpy() + self.spaces.action.start).astype(batch.action.dtype),
            reward=ended.astype(np.float32),
            discount=(self.config.discount * ~ended).astype(np.float32),
            next_observation=F.one_hot(after, states).float().numpy(),
            terminated=ended.astype(np.uint8),
            truncated=np.zeros(len(batch), np.uint8),
        )


@dataclass(frozen=True)
class RegisteredSpec(AlgorithmSpec):
    """Knows the method in any process, Ray's actors too, where no test has registered it."""

    def create(self, device: str, *, rows: int = 0) -> Algorithm:
        CATALOGUE.setdefault(NAME, ENTRY)
        return super().create(device, rows=rows)
