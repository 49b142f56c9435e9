"""What the algorithms share: building, moving weights in and out, acting. The losses are theirs."""

from __future__ import annotations

import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners import randomness
from learners.algorithm import Metrics, Observation, Targets, Weights
from learners.errors import LearnerError
from learners.normaliser import Normaliser, Statistics
from learners.optimisation import Optimiser, Reduce
from replay.batch import Batch, Request
from replay.spaces import Spaces

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class CommonConfig:
    """Knobs that every algorithm has."""

    discount: float = 0.99  # γ.
    n_step: int = 1  # Rewards summed before bootstrapping.
    reward_scale: float = 1.0  # Rewards are scaled first,
    reward_shift: float = 0.0  # then shifted.
    learning_rate: float = 3e-4  # Of Adam, for every network.
    hidden: tuple[int, ...] = (256, 256)  # Widths of the hidden layers.
    layer_norm: bool = False  # LayerNorm before each activation of the value networks.
    normalise_observation: bool = True  # Zero mean and unit spread, by the dataset's statistics.

    def request(self) -> Request:
        return Request(
            n_step=self.n_step,
            discount=self.discount,
            reward_scale=self.reward_scale,
            reward_shift=self.reward_shift,
        )


class TorchAlgorithm(ABC):
    """An `Algorithm` made of PyTorch modules. A subclass names its modules; the rest follows from the names."""

    Config: ClassVar[type]
    has_targets: ClassVar[bool] = True

    modules: dict[str, nn.Module]
    """Every network by name, targets too; the names are those of checkpoints."""
    target_modules: tuple[str, ...] = ()
    """Which of them `targets` reads."""
    policy_modules: tuple[str, ...] = ("policy",)
    """Which of them `act` reads."""
    optimiser: Optimiser

    def __init__(
        self,
        spaces: Spaces,
        config: Any,
        *,
        seed: int,
        statistics: Statistics | None = None,
        device: str = "cpu",
        compile: bool = False,
    ) -> None:
        self.spaces = spaces
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self.requires: Request = config.request()
        self.rank, self.world = 0, 1
        self.step = 0
        self._compile = compile
        self.normaliser = Normaliser(spaces, statistics, normalise_observation=config.normalise_observation).to(
            self.device
        )
        self.observation_size = self.normaliser.observation_size
        self.action_size = self.normaliser.action_size
        with randomness.initialisation(seed):
            self.build()

    @abstractmethod
    def build(self) -> None:
        """Set `modules` and `optimiser`; parameters drawn here depend on the seed only."""

    @abstractmethod
    def targets(self, batch: Batch[Any]) -> Targets: ...

    @abstractmethod
    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics: ...

    @abstractmethod
    def diagnostics(self, batch: Batch[Any]) -> Metrics: ...

    @abstractmethod
    def policy_action(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        """Actions in [-1, 1] for normalised observations (B, D); the mode where `noise` (B, A) is None."""

    # --- Batches ---

    def tensors(self, batch: Batch[Any]) -> Batch[Tensor]:
        """The batch on the learner's device."""
        return batch.map(self._tensor)

    def targets_or(self, given: Mapping[str, Any] | None, batch: Batch[Any]) -> dict[str, Tensor]:
        """The labels an updater computed, or the algorithm's own."""
        labels = self.targets(batch) if given is None else given
        return {name: self._tensor(label) for name, label in labels.items()}

    def _tensor(self, array: Any) -> Tensor:
        if isinstance(array, Tensor):
            return array.to(self.device, non_blocking=True)
        array = np.ascontiguousarray(array)
        # What Ray hands over is read-only, which PyTorch cannot express: copy those.
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self.device, non_blocking=True)

    def normal(self, batch: Batch[Any], purpose: str, *shape: int) -> Tensor:
        """Normal noise (*shape, B, A) for the rows of this learner: drawn for the global batch, then sliced."""
        return self._noise(randomness.normal, batch, purpose, shape)

    def uniform(self, batch: Batch[Any], purpose: str, *shape: int) -> Tensor:
        """Uniform noise in [0, 1), likewise."""
        return self._noise(randomness.uniform, batch, purpose, shape)

    def _noise(self, draw: Callable[..., Tensor], batch: Batch[Any], purpose: str, shape: tuple[int, ...]) -> Tensor:
        count = len(batch)
        noise = draw(batch.key, purpose, (*shape, count * self.world, self.action_size), self.device)
        return noise.narrow(-2, self.rank * count, count) if self.world > 1 else noise

    def compiled(self, function: Function) -> Function:
        """`function` compiled once, where that was asked for and a compiler is there."""
        if not self._compile:
            return function
        if self.device.type == "cpu" and not _compiler_found():
            logger.warning("compile: no C++ compiler found on this machine; running eagerly instead.")
            return function
        mode = "reduce-overhead" if self.device.type == "cuda" else None
        return cast(Function, torch.compile(function, mode=mode))

    def distribute(self, rank: int, world: int, reduce: Reduce) -> None:
        """Make this one of `world` learners, each with an equal slice of every batch."""
        self.rank, self.world = rank, world
        self.optimiser.reduce = reduce

    # --- Acting ---

    @torch.no_grad()
    def act(
        self,
        observation: Observation,
        state: Any = None,
        *,
        key: tuple[int, int] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], Any]:
        columns = self.normaliser.columns
        first = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
        single = np.ndim(first) == len(next(iter(columns.values())).shape)
        tensors = (
            {name: self._stacked(part, single) for name, part in observation.items()}
            if isinstance(observation, Mapping)
            else self._stacked(observation, single)
        )
        inputs = self.normaliser.observation(tensors)
        noise = None
        if not deterministic:
            if key is None:
                raise LearnerError("act: deterministic=False needs key=(seed, sequence) to draw its noise from.")
            noise = randomness.normal(key, "act", (len(inputs), self.action_size), self.device)
        action = self.normaliser.environment_action(self.policy_action(inputs, noise))
        array = action.cpu().numpy().reshape(-1, *self.spaces.action.shape).astype(self.spaces.action.dtype)
        return (array[0] if single else array), state

    def _stacked(self, part: Any, single: bool) -> Tensor:
        array = np.asarray(part)
        return self._tensor(array[None] if single else array)

    # --- Weights ---

    def target_weights(self) -> Weights:
        return self._weights(self.target_modules)

    def load_target_weights(self, weights: Weights) -> None:
        self._load_weights(self.target_modules, weights)

    def policy_weights(self) -> Weights:
        return self._weights(self.policy_modules)

    def load_policy_weights(self, weights: Weights) -> None:
        self._load_weights(self.policy_modules, weights)

    def state_dict(self) -> dict[str, Tensor]:
        state = {
            f"{name}.{key}": value
            for name, module in {**self.modules, "normaliser": self.normaliser}.items()
            for key, value in module.state_dict().items()
        }
        state |= {f"optimiser.{key}": value for key, value in self.optimiser.state_dict().items()}
        return state | {"step": torch.tensor(self.step)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises `LearnerError` where a name is missing or a shape differs."""
        for name, module in {**self.modules, "normaliser": self.normaliser}.items():
            prefix = f"{name}."
            part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            try:
                module.load_state_dict(part)
            except RuntimeError as error:
                raise LearnerError(
                    f"state of {name!r} does not fit: {error}. Was the checkpoint made with other knobs?"
                ) from error
        prefix = "optimiser."
        self.optimiser.load_state_dict(
            {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        )
        self.step = int(state["step"])

    def _parameters_of(self, names: tuple[str, ...]) -> list[nn.Parameter]:
        return [parameter for name in names for parameter in self.modules[name].parameters()]

    @torch.no_grad()
    def _weights(self, names: tuple[str, ...]) -> Weights:
        parameters = self._parameters_of(names)
        if not parameters:
            return np.zeros(0, np.float32)
        return torch.cat([parameter.reshape(-1) for parameter in parameters]).cpu().numpy()

    @torch.no_grad()
    def _load_weights(self, names: tuple[str, ...], weights: Weights) -> None:
        parameters = self._parameters_of(names)
        expected = sum(parameter.numel() for parameter in parameters)
        if weights.size != expected:
            raise LearnerError(f"weights of {names}: {weights.size} numbers, expected {expected}.")
        vector = self._tensor(weights)
        offset = 0
        for parameter in parameters:
            parameter.copy_(vector[offset : offset + parameter.numel()].view_as(parameter))
            offset += parameter.numel()


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over a batch, with importance weights where sampling is prioritised."""
    return loss.mean() if weight is None else (weight * loss).mean()


def _compiler_found() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++") if name)
