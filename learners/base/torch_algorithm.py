"""What the algorithms share: building, one gradient step, moving weights in and out, acting. The losses are theirs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.algorithm import Metrics, Observation, Targets, Weights
from learners.base import randomness
from learners.base.averages import Averages
from learners.base.checks import LARGEST, check_batch, check_labels
from learners.base.compilation import compiled
from learners.base.config import CommonConfig
from learners.base.inputs import Inputs
from learners.base.observations import ObservationCheck
from learners.base.online import Online
from learners.base.optimisation import Optimiser, Reduce, adam, flatten_, half_cosine, polyak_
from learners.base.state import flat_weights, load_flat_weights, load_named_state, named_state, part
from learners.errors import LearnerError
from learners.networks.dropout import dropouts_of
from learners.networks.encoders import Features, random_crop, rows_of
from learners.networks.factory import NetworkFactory
from learners.networks.normaliser import Normaliser, Statistics
from replay.batch import Batch, Request
from replay.spaces import Box, Discrete, Spaces

Network = TypeVar("Network", bound=nn.Module)


class TorchAlgorithm(ABC):
    """An `Algorithm` made of PyTorch modules.

    A subclass writes `build`, `bootstrap` and `losses`, each a pure function of parameters and inputs, and perhaps
    the noise they need; encoding of images, moving parameters, target networks and acting follow from its names.
    """

    Config: ClassVar[type]
    has_targets: ClassVar[bool] = True
    action_spaces: ClassVar[tuple[type, ...]] = (Box,)
    """The kinds of actions that it serves."""
    discrete: ClassVar[str | None] = None
    """`module:Class` of the same method for discrete actions, where that is another class."""
    target_reads: ClassVar[tuple[str, ...]] = ("next_observation",)
    loss_reads: ClassVar[tuple[str, ...]] = ("observation",)
    """Which observations `bootstrap` and `losses` read: only those are normalised and encoded; the other is None."""
    decayed: ClassVar[tuple[str, ...] | None] = None
    """Which groups' learning rates `cosine_steps` lets fall; None is all."""
    online: ClassVar[Online] = Online()
    """How it goes on with fresh data."""

    modules: dict[str, nn.Module]
    """Every network by name, targets too; the names are those of checkpoints."""
    target_vectors: dict[str, Tensor]
    """The parameters of each target network, as one vector."""
    target_modules: tuple[str, ...] = ()
    """Which of them `bootstrap` reads."""
    policy_modules: tuple[str, ...] = ("policy",)
    """Which of them `policy_action` reads."""
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
        self.refuse_unserved(spaces)
        self.spaces = spaces
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self.rank, self.world = 0, 1
        self.step = 0
        self._checked: set[str] = set()
        """Of batches and labels, which have been looked at: the first."""
        self.normaliser = Normaliser(
            spaces,
            statistics,
            normalise_observation=config.normalise_observation,
            normalise_reward=config.normalise_reward,
        )
        self.requires: Request = self._scaled(config.request())
        self.normaliser.to(self.device)
        self.action_size = self.normaliser.action_size
        self._check_observation = ObservationCheck(self.normaliser.columns)
        self.target_vectors = {}
        self._followers: list[tuple[str, str, float, int]] = []
        with randomness.initialisation(seed, self.device):
            self.networks = NetworkFactory(self.normaliser, config, discrete=isinstance(spaces.action, Discrete))
            self.build()
        self._dropouts = dropouts_of([self.modules[name] for name in self.optimiser.groups])
        self._losses = compiled(self._losses_of, self.device) if compile else self._losses_of
        self._bootstrap = compiled(self._bootstrap_of, self.device) if compile else self._bootstrap_of

    @classmethod
    def refuse_unserved(cls, spaces: Spaces) -> None:
        """Raises `LearnerError` for a kind of actions that the method is not for."""
        if not isinstance(spaces.action, cls.action_spaces):
            raise LearnerError(_unserved(cls.__name__, cls.action_spaces, spaces.action))

    # --- What a subclass writes ---

    @abstractmethod
    def build(self) -> None:
        """Make the networks and call `train`, then `follow` for each target network.

        Parameters drawn here depend on the seed only.
        """

    def target_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """What `bootstrap` finds in `inputs.noise`."""
        return {}

    def bootstrap(self, inputs: Inputs) -> Targets:
        """Labels with leading dimension B, from target networks; nothing where nothing is bootstrapped."""
        return {}

    def loss_noise(self, batch: Batch[Any]) -> dict[str, Tensor]:
        """What `losses` finds in `inputs.noise`."""
        return {}

    @abstractmethod
    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        """The sum of the losses, in which every trained parameter takes part, and what is logged.

        All losses are taken at the parameters before the step. Metrics hold `priority` (B,).
        """

    def q(self, observation: Features, action: Tensor) -> Tensor | None:
        """Q(s, a) as diagnostics report it, of any shape; None for methods that have none."""
        critic = getattr(self, "critic", None)
        return None if critic is None else critic(observation, action)

    def policy_action(self, observation: Features, noise: Tensor | None) -> Tensor:
        """Actions (B, A), in [-1, 1] or one-hot; the mode where `noise`, standard normal (B, A), is None."""
        return self.policy.act(observation, noise)  # type: ignore[attr-defined]

    def after_step(self) -> None:
        """What moves besides the parameters; `step` has been counted."""
        return

    # --- What it calls ---

    def train(
        self,
        trained: Mapping[str, nn.Module],
        *,
        learning_rates: Mapping[str, float] | None = None,
        weight_decay: float | Mapping[str, float] = 0.0,
        every: Mapping[str, int] | None = None,
        make: Callable[..., torch.optim.Optimizer] | None = None,
        averages: Mapping[str, float] | None = None,
    ) -> None:
        """Set `modules` and `optimiser`: Adam, unless `make` builds another, on one group for each network.

        `learning_rates` are of groups that differ from the configuration's, `weight_decay` of all or of those named;
        groups in `every` move at every so many steps only. `averages` are metrics that the next step's losses read in
        `self.averages`, with what stands there before the first step.
        """
        config: CommonConfig = self.config
        modules = {name: module.to(self.device) for name, module in trained.items()}
        if self.networks.shared is not None:
            modules["encoder"] = self.networks.shared.to(self.device)
            self.target_modules = (*self.target_modules, "encoder") if self.has_targets else ()
            self.policy_modules = (*self.policy_modules, "encoder")
        decays = weight_decay if isinstance(weight_decay, Mapping) else dict.fromkeys(modules, weight_decay)
        options: dict[str, dict[str, float]] = {name: {"weight_decay": decay} for name, decay in decays.items()}
        for name, rate in (learning_rates or {}).items():
            options.setdefault(name, {})["lr"] = rate
        make = make or adam(config.learning_rate, device=self.device)
        self.optimiser = Optimiser(
            modules, make, options=options, clip=config.gradient_clip, every=every, averages=len(averages or {})
        )
        self.averages = Averages(averages or {}).to(self.device)
        self.modules = {**modules, "averages": self.averages} if averages else dict(modules)

    def follow(self, name: str, source: str, rate: float, *, every: int = 1) -> Any:
        """A target network: a copy of a trained one that moves towards it by Polyak averaging, every so many steps."""
        target = frozen_copy(self.modules[source])
        self.modules[name] = target
        self.target_vectors[name] = flatten_([target])
        self._followers.append((name, source, rate, every))
        return target

    def normal(self, batch: Batch[Any], purpose: str, *shape: int) -> Tensor:
        """Normal noise (*shape, B, A) for the rows of this learner: drawn for the global batch, then sliced."""
        return self._noise(randomness.normal, batch, purpose, shape, self.action_size)

    def uniform(self, batch: Batch[Any], purpose: str, *shape: int, width: int | None = None) -> Tensor:
        """Uniform noise in [0, 1), (*shape, B, A), or (*shape, B, width), likewise."""
        return self._noise(randomness.uniform, batch, purpose, shape, self.action_size if width is None else width)

    def uniform_of_batch(self, batch: Batch[Any], purpose: str, *shape: int) -> Tensor:
        """Uniform noise in [0, 1), of that very shape: the same for every row and in every learner."""
        return randomness.uniform(batch.key, purpose, shape, self.device)

    def _noise(
        self, draw: Callable[..., Tensor], batch: Batch[Any], purpose: str, shape: tuple[int, ...], width: int
    ) -> Tensor:
        count = len(batch)
        noise = draw(batch.key, purpose, (*shape, count * self.world, width), self.device)
        return noise.narrow(-2, self.rank * count, count) if self.world > 1 else noise

    # --- A step ---

    @torch.no_grad()
    def targets(self, batch: Batch[Any]) -> Targets:
        if not self.has_targets:
            return {}
        return dict(self._bootstrap(self._target_inputs(batch)))

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        inputs = self._loss_inputs(batch, self.targets(batch) if targets is None else self._as_labels(targets, batch))
        self._drop(batch)
        loss, metrics = self._losses(inputs)
        for dropout in self._dropouts:
            dropout.active = False
        if self.config.cosine_steps:
            self.optimiser.scale_learning_rates(self._factors())
        self.optimiser.step(loss, self.step, self.averages.of(metrics))
        self.averages.value.copy_(self.optimiser.averages)
        self.step += 1
        for name, source, rate, every in self._followers:
            if self.step % every == 0:
                polyak_(self.target_vectors[name], self.optimiser.segment(source), rate)
        self.after_step()
        return metrics

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        inputs = self._loss_inputs(batch, self.targets(batch), augment=False)
        _, metrics = self._losses_of(inputs)
        metrics = {name: metric for name, metric in metrics.items() if name != "priority"}
        observation = self._encoded(inputs.observation)
        q_policy = self.q(observation, self.policy_action(observation, None))
        return metrics if q_policy is None else metrics | {"q_policy": q_policy.mean()}

    def _as_labels(self, found: Mapping[str, Any], batch: Batch[Any]) -> Mapping[str, Any]:
        """Labels that another process made. Raises `LearnerError` where the first are not what this one would make."""
        if "labels" not in self._checked:
            with torch.no_grad():
                wanted = self._bootstrap_of(self._target_inputs(batch)) if self.has_targets else {}
            check_labels(found, wanted)
            self._checked.add("labels")
        return found

    def rehearse(self, batch: Batch[Any]) -> tuple[Inputs, list[Tensor]]:
        """What a step has read, and what it has made when it asks for the gradient: `footprint` looks at the shapes."""
        with torch.no_grad():
            labels = self._bootstrap_of(self._target_inputs(batch)) if self.has_targets else {}
        inputs = self._loss_inputs(batch, labels)
        self._drop(batch)
        loss, _ = self._losses_of(inputs)
        return inputs, [loss, *(dropout.mask for dropout in self._dropouts)]

    def _target_inputs(self, batch: Batch[Any]) -> Inputs:
        return self._inputs(batch, self.target_reads, "targets", self.target_noise(batch))

    def _loss_inputs(self, batch: Batch[Any], labels: Mapping[str, Any], *, augment: bool = True) -> Inputs:
        inputs = self._inputs(batch, self.loss_reads, "losses" if augment else None, self.loss_noise(batch))
        return inputs._replace(labels={name: self._tensor(label) for name, label in labels.items()})

    def _losses_of(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        with self._autocast():
            observation = self._encoded(inputs.observation)
            with torch.no_grad():
                next_observation = self._encoded(inputs.next_observation)
            loss, metrics = self.losses(inputs._replace(observation=observation, next_observation=next_observation))
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def _bootstrap_of(self, inputs: Inputs) -> Targets:
        with self._autocast():
            observation, next_observation = map(self._encoded, (inputs.observation, inputs.next_observation))
            labels = self.bootstrap(inputs._replace(observation=observation, next_observation=next_observation))
        return {name: label.float() for name, label in labels.items()}

    def _encoded(self, observation: Features | None) -> Any:
        """By the shared encoder, where there is one."""
        shared = self.networks.shared
        return observation if shared is None or observation is None else shared(observation)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.device.type == "meta":
            return nullcontext()
        active = self.config.mixed_precision and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=active)

    def _inputs(self, batch: Batch[Any], reads: tuple[str, ...], crop: str | None, noise: dict[str, Tensor]) -> Inputs:
        for name in reads:
            if name not in self._checked:
                check_batch(batch, self.spaces, self.requires, reads)
                self._checked.update(reads)
        observation, next_observation = (
            self._cropped(self._features(getattr(batch, name)), batch, crop and f"{crop}/{name}")
            if name in reads
            else None
            for name in ("observation", "next_observation")
        )
        return Inputs(
            observation=observation,
            action=self.normaliser.action(self._tensor(batch.action)),
            reward=self._tensor(batch.reward),
            discount=self._tensor(batch.discount),
            next_observation=next_observation,
            weight=None if batch.weight is None else self._tensor(batch.weight),
            mask=None if batch.mask is None else self._tensor(batch.mask),
            labels={},
            noise=noise,
            extras={name: self._tensor(extra) for name, extra in batch.extras.items()},
        )

    def _features(self, observation: Any) -> Features:
        """An observation as it is in a batch, on the device and normalised."""
        return self.normaliser.observation(
            {name: self._tensor(part) for name, part in observation.items()}
            if isinstance(observation, Mapping)
            else self._tensor(observation)
        )

    def _cropped(self, observation: Features, batch: Batch[Any], purpose: str | None) -> Features:
        padding = self.config.random_crop
        if purpose is None or not padding or not isinstance(observation, dict):
            return observation
        changed = {
            name: random_crop(observation[name], self.uniform(batch, f"crop/{purpose}/{name}", width=2), padding)
            for name in self.normaliser.images
        }
        return observation | changed

    def _drop(self, batch: Batch[Any]) -> None:
        for number, dropout in enumerate(self._dropouts):

            def noise(width: int, purpose: str = f"dropout/{number}") -> Tensor:
                return self.uniform(batch, purpose, width=width)

            dropout.refill(noise)
            dropout.active = True

    def _factors(self) -> dict[str, float]:
        factor = half_cosine(self.step, self.config.cosine_steps)
        return {name: factor for name in self.optimiser.groups if self.decayed is None or name in self.decayed}

    def _tensor(self, array: Any) -> Tensor:
        if isinstance(array, Tensor):
            return array.to(self.device, non_blocking=True)
        array = np.ascontiguousarray(array)
        # What Ray hands over is read-only, which PyTorch cannot express: copy those.
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self.device, non_blocking=True)

    def _scaled(self, request: Request) -> Request:
        scale = request.reward_scale * float(self.normaliser.reward_scale)
        if not abs(scale) <= LARGEST:
            raise LearnerError(f"reward_scale: found {scale:g}, by which no float32 can be multiplied; lower it.")
        return replace(request, reward_scale=scale)

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
        batch, single = self._check_observation(observation)
        inputs = self._encoded(self._features(batch))
        noise = None
        if not deterministic:
            if key is None:
                raise LearnerError("act: deterministic=False needs key=(seed, sequence) to draw its noise from.")
            noise = randomness.normal(key, "act", (rows_of(inputs), self.action_size), self.device)
        action = self.normaliser.environment_action(self.policy_action(inputs, noise))
        array = action.cpu().numpy().reshape(-1, *self.spaces.action.shape).astype(self.spaces.action.dtype)
        return (array[0] if single else array), state

    # --- Parts of others ---

    def module_names(self) -> set[str]:
        """The modules that are trained, target networks apart."""
        return set(self.optimiser.groups)

    @torch.no_grad()
    def load_modules(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Begin with other parameters of some modules: their targets are copies of them. Moments stay as they are.

        Raises `LearnerError` where a name is missing or a shape differs.
        """
        for name, state in parts.items():
            load_named_state({name: self.modules[name]}, {f"{name}.{key}": value for key, value in state.items()})
            for target, source, _, _ in self._followers:
                if source == name:
                    self.target_vectors[target].copy_(self.optimiser.segment(source))

    def freeze(self, names: Collection[str]) -> None:
        """Leave these modules as they are in every step from now on. Raises `LearnerError` where there are none of that
        name, and where nothing else is trained."""
        known = self.module_names()
        if unknown := sorted(set(names) - known):
            raise LearnerError(f"freeze: found {', '.join(unknown)}, expected some of {', '.join(sorted(known))}.")
        if names and set(names) >= known:
            raise LearnerError(f"freeze: found {', '.join(sorted(names))}, all that is trained; leave one out.")
        self.optimiser.frozen = frozenset(names)

    # --- Weights ---

    def target_weights(self) -> Weights:
        return flat_weights(self.modules, self.target_modules)

    def load_target_weights(self, weights: Weights) -> None:
        load_flat_weights(self.modules, self.target_modules, self._tensor(weights))

    def policy_weights(self) -> Weights:
        return flat_weights(self.modules, self.policy_modules)

    def load_policy_weights(self, weights: Weights) -> None:
        load_flat_weights(self.modules, self.policy_modules, self._tensor(weights))

    def state_dict(self) -> dict[str, Tensor]:
        state = named_state({**self.modules, "normaliser": self.normaliser})
        state |= {f"optimiser.{key}": value for key, value in self.optimiser.state_dict().items()}
        return state | {"step": torch.tensor(self.step)}

    def state_layout(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        moments = {f"optimiser.{name}": shape for name, shape in self.optimiser.state_shapes().items()}
        found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in self.state_dict().items()}
        return {name: (torch.float32, shape) for name, shape in moments.items()} | found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises `LearnerError` where a name is missing or a shape differs."""
        load_named_state({**self.modules, "normaliser": self.normaliser}, state)
        self.optimiser.load_state_dict(part(state, "optimiser"))
        self.step = int(state["step"])
        # The scale of rewards is part of what was learned.
        self.requires = self._scaled(self.config.request())


def frozen_copy(network: Network) -> Network:
    """A target network: it moves, but not by gradients."""
    return copy.deepcopy(network).requires_grad_(False)


def _unserved(name: str, served: tuple[type, ...], found: Any) -> str:
    kinds = {Box: "continuous (a Box)", Discrete: "discrete"}
    return f"action space: {found} found, but {name} is for {' or '.join(kinds[kind] for kind in served)} actions."
