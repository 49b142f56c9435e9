"""What the algorithms share: building, and one gradient step from a batch to new parameters. The losses are theirs.

What an algorithm's file writes stands in `method`. What a step is made of has files of its own: `encoding` (batches to
`Inputs`), `noise`, `augmentation` (crops, dropout), `optimisation`, `target_networks`, `acting`, and `state` (weights
and checkpoints).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.algorithm import Metrics, Observation, Targets, Weights
from learners.base import randomness
from learners.base.acting import Acting
from learners.base.augmentation import Crops, DropoutMasks
from learners.base.averages import Averages, scalars, with_scalars
from learners.base.checks import LARGEST, check_chunks, check_labels
from learners.base.compilation import autocast, compiled
from learners.base.config import CommonConfig
from learners.base.density import Density
from learners.base.encoding import Encoding
from learners.base.inputs import Inputs
from learners.base.method import Method
from learners.base.noise import BatchNoise
from learners.base.optimisation import Optimiser, Reduce, adam, half_cosine
from learners.base.state import (
    check_frozen,
    check_modules,
    flat_weights,
    load_flat_weights,
    load_named_state,
    named_state,
    part,
)
from learners.base.target_networks import TargetNetworks
from learners.errors import LearnerError
from learners.networks.conditioning import Conditioning
from learners.networks.factory import NetworkFactory
from learners.networks.normaliser import Normaliser, Statistics
from replay.batch import Batch, Request
from replay.spaces import Discrete, Spaces


class TorchAlgorithm(Method):
    """An `Algorithm` made of PyTorch modules.

    A subclass writes what `Method` asks for; encoding of images, moving parameters, target networks and acting follow
    from its names.
    """

    modules: dict[str, nn.Module]
    """Every network by name, targets too; the names are those of checkpoints."""
    target_vectors: dict[str, Tensor]
    """The parameters of each target network, as one vector."""
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
        self._mixed_precision = getattr(config, "mixed_precision", False)
        self.step = 0
        self.world = 1
        self._alone = True
        """Until `distribute`."""
        self._labels_checked = False
        self.normaliser = Normaliser(
            spaces,
            statistics,
            normalise_observation=config.normalise_observation,
            normalise_reward=getattr(config, "normalise_reward", False),
        )
        self.requires: Request = self._scaled(config.request())
        self.normaliser.to(self.device)
        history, chunk = self.requires.history, self.requires.action_chunk
        check_chunks(chunk, spaces)
        self.action_size = self.normaliser.action_size * max(1, chunk)
        """Numbers of an action, or of a chunk of them, as networks read and write it."""
        self._noise = BatchNoise(self.device)
        goals, tasks = self.requires.goals is not None, self.requires.tasks
        beside = Conditioning(self.normaliser, history=history, goals=goals, tasks=() if tasks is None else tasks.names)
        self._targets = TargetNetworks()
        self.target_vectors = self._targets.vectors
        with randomness.initialisation(seed, self.device):
            self.networks = NetworkFactory(
                self.normaliser, beside, config, discrete=isinstance(spaces.action, Discrete), action_chunk=chunk
            )
            self.build()
        self._encoding = Encoding(spaces, self.normaliser, beside, self.networks.shared, self.device, history=history)
        self._crops = Crops(self._noise, self.normaliser.images, getattr(config, "random_crop", 0))
        self._dropout = DropoutMasks(self._noise, [self.modules[name] for name in self.optimiser.groups])
        self._density = Density(spaces, self.normaliser, self._encoding)
        self._acting = Acting(
            spaces, self.normaliser, beside, self._encoding, self.device, history=history, action_chunk=chunk
        )
        self._losses = compiled(self._losses_of, self.device) if compile else self._losses_of
        self._bootstrap = compiled(self._bootstrap_of, self.device) if compile else self._bootstrap_of

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
        self.optimiser = Optimiser(modules, make, options=options, clip=config.gradient_clip, every=every)
        self.averages = Averages(averages or {}).to(self.device)
        self.modules = {**modules, "averages": self.averages} if averages else dict(modules)

    def follow(self, name: str, source: str, rate: float, *, every: int = 1) -> Any:
        """A target network: a copy of a trained one that moves towards it by Polyak averaging, every so many steps."""
        self.modules[name] = self._targets.add(name, source, self.modules[source], rate, every)
        return self.modules[name]

    def normal(self, batch: Batch[Any], purpose: str, *shape: int) -> Tensor:
        """Standard normal noise (*shape, B, A) for the rows of this learner, addressed by the batch's key."""
        return self._noise.normal(batch, purpose, shape, self.action_size)

    def uniform(self, batch: Batch[Any], purpose: str, *shape: int, width: int | None = None) -> Tensor:
        """Uniform noise in [0, 1), (*shape, B, A), or (*shape, B, width), likewise."""
        return self._noise.uniform(batch, purpose, shape, self.action_size if width is None else width)

    def uniform_of_batch(self, batch: Batch[Any], purpose: str, *shape: int) -> Tensor:
        """Uniform noise in [0, 1), of that very shape: the same for every row and in every learner."""
        return self._noise.uniform_of_batch(batch, purpose, shape)

    # --- A step ---

    @torch.no_grad()
    def targets(self, batch: Batch[Any]) -> Targets:
        if not self.has_targets:
            return {}
        return dict(self._bootstrap(self._target_inputs(batch)))

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        labels = self.targets(batch) if targets is None else self._as_labels(targets, batch)
        inputs = self._loss_inputs(batch, labels)
        self._dropout.begin(batch)
        loss, metrics = self._losses(inputs)
        self._dropout.end()
        if self.config.cosine_steps:
            self.optimiser.scale_learning_rates(self._learning_rate_factors())
        self.optimiser.step(loss, self.step, self._travelling(metrics))
        metrics = self._arrived(metrics)
        self.step += 1
        self._targets.move(self.optimiser, self.step)
        self.after_step()
        return metrics

    @torch.no_grad()
    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        inputs = self._loss_inputs(batch, self.targets(batch), augment=False)
        _, metrics = self._losses_of(inputs)
        metrics = {name: metric for name, metric in metrics.items() if name != "priority"}
        observation = self._encoding.embedded(inputs.observation)
        q_policy = self.q(observation, self.policy_action(observation, None))
        return metrics if q_policy is None else metrics | {"q_policy": q_policy.mean()}

    def rehearse(self, batch: Batch[Any]) -> tuple[Inputs, list[Tensor]]:
        """What a step has read, and what it has made when it asks for the gradient: `footprint` looks at the shapes."""
        with torch.no_grad():
            labels = self._bootstrap_of(self._target_inputs(batch)) if self.has_targets else {}
        inputs = self._loss_inputs(batch, labels)
        self._dropout.begin(batch)
        loss, _ = self._losses_of(inputs)
        return inputs, [loss, *self._dropout.masks()]

    def _as_labels(self, found: Mapping[str, Any], batch: Batch[Any]) -> Mapping[str, Any]:
        """Labels that another process made. Raises `LearnerError` where the first are not what this one would make."""
        if not self._labels_checked:
            with torch.no_grad():
                wanted = self._bootstrap_of(self._target_inputs(batch)) if self.has_targets else {}
            check_labels(found, wanted)
            self._labels_checked = True
        return found

    def _target_inputs(self, batch: Batch[Any]) -> Inputs:
        noise = self.target_noise(batch)
        return self._encoding.inputs(
            batch, self.requires, self.target_reads, noise, crops=self._crops, purpose="targets"
        )

    def _loss_inputs(self, batch: Batch[Any], labels: Mapping[str, Any], *, augment: bool = True) -> Inputs:
        noise, crops = self.loss_noise(batch), self._crops if augment else None
        inputs = self._encoding.inputs(batch, self.requires, self.loss_reads, noise, crops=crops, purpose="losses")
        return inputs._replace(labels={name: self._encoding.tensor(label) for name, label in labels.items()})

    def _losses_of(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        with autocast(self.device, self._mixed_precision):
            observation = self._encoding.embedded(inputs.observation)
            with torch.no_grad():
                next_observation = self._encoding.embedded(inputs.next_observation)
            loss, metrics = self.losses(inputs._replace(observation=observation, next_observation=next_observation))
        return loss, {name: metric.detach() for name, metric in metrics.items()}

    def _bootstrap_of(self, inputs: Inputs) -> Targets:
        with autocast(self.device, self._mixed_precision):
            observation = self._encoding.embedded(inputs.observation)
            next_observation = self._encoding.embedded(inputs.next_observation)
            labels = self.bootstrap(inputs._replace(observation=observation, next_observation=next_observation))
        return {name: label.float() for name, label in labels.items()}

    def _travelling(self, metrics: Metrics) -> Tensor:
        """What is averaged over the learners together with the gradient: what the next step's losses read and, where
        there are several learners, all that is logged."""
        read = self.averages.of(metrics)
        return read if self._alone else torch.cat([read, scalars(metrics)])

    def _arrived(self, metrics: Metrics) -> Metrics:
        """The metrics as they are logged, and `averages` as the next step's losses read them."""
        size = self.averages.value.numel()
        self.averages.value.copy_(self.optimiser.averages[:size])
        return metrics if self._alone else with_scalars(metrics, self.optimiser.averages[size:])

    def _learning_rate_factors(self) -> dict[str, float]:
        factor = half_cosine(self.step, self.config.cosine_steps)
        return {name: factor for name in self.optimiser.groups if self.decayed is None or name in self.decayed}

    def _scaled(self, request: Request) -> Request:
        scale = request.reward_scale * float(self.normaliser.reward_scale)
        if not abs(scale) <= LARGEST:
            raise LearnerError(f"reward_scale: found {scale:g}, by which no float32 can be multiplied; lower it.")
        return replace(request, reward_scale=scale)

    def distribute(self, rank: int, world: int, reduce: Reduce) -> None:
        """Make this one of `world` learners, each of which is given an equal part of every batch."""
        self.world = world
        self._alone = False
        self._noise.distribute(rank)
        self.optimiser.reduce = reduce

    # --- Acting ---

    @torch.no_grad()
    def act(
        self,
        observation: Observation,
        state: Any = None,
        first: Any = None,
        *,
        key: tuple[int, int] | None = None,
        deterministic: bool = True,
        goal: Observation | None = None,
        task: str | None = None,
    ) -> tuple[NDArray[Any], Any]:
        return self._acting(
            self.policy_action, observation, state, first, key=key, deterministic=deterministic, goal=goal, task=task
        )

    @torch.no_grad()
    def log_prob(self, observation: Observation, action: Any) -> NDArray[np.float32] | None:
        # One action beside one observation has none where it is planned with others, or depends on what was before, on
        # a goal or on a task.
        request = self.requires
        if request.action_chunk or request.history or request.goals is not None or request.tasks is not None:
            return None
        return self._density(self.policy_log_prob, observation, action)

    # --- Imagining ---

    def imagine(self, batch: Batch[Any]) -> Batch[Any]:
        raise LearnerError(f"imagine: {type(self).__name__} has no model of the world; use an algorithm that imagines.")

    # --- Weights ---

    def target_weights(self) -> Weights:
        return flat_weights(self.modules, self.target_modules)

    def load_target_weights(self, weights: Weights) -> None:
        load_flat_weights(self.modules, self.target_modules, self._encoding.tensor(weights))

    def policy_weights(self) -> Weights:
        return flat_weights(self.modules, self.policy_modules)

    def load_policy_weights(self, weights: Weights) -> None:
        load_flat_weights(self.modules, self.policy_modules, self._encoding.tensor(weights))

    def imagine_weights(self) -> Weights:
        return flat_weights(self.modules, self.imagine_modules)

    def load_imagine_weights(self, weights: Weights) -> None:
        load_flat_weights(self.modules, self.imagine_modules, self._encoding.tensor(weights))

    # --- State ---

    def state_dict(self) -> dict[str, Tensor]:
        named = named_state({**self.modules, "normaliser": self.normaliser})
        named |= {f"optimiser.{key}": value for key, value in self.optimiser.state_dict().items()}
        return named | {"step": torch.tensor(self.step)}

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

    def load_modules(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        check_modules(self.modules, modules)
        for name, tensors in modules.items():
            self.modules[name].load_state_dict(dict(tensors))
            for target in self._targets.followers(name):
                if target not in modules:
                    self.modules[target].load_state_dict(self.modules[name].state_dict())

    def freeze(self, names: Iterable[str]) -> None:
        check_frozen(self.optimiser.groups, names := list(names))
        self.optimiser.freeze(names)
