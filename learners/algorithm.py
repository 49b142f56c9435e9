"""The contract of every algorithm: what Bellman updaters, learners, evaluators and checkpoints may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from learners.base.online import Online
from replay.batch import Batch, Request
from replay.spaces import Spaces

Targets = Mapping[str, torch.Tensor]
"""Named labels with leading dimension B (an ensemble with independent targets has (B, E))."""

Metrics = dict[str, torch.Tensor]
"""Scalars, still on the device: nothing calls `.item()` between updates. The one exception is `priority`, (B,)."""

Weights = NDArray[np.float32]
"""Parameters as one flat vector: what travels between processes."""

Observation = NDArray[Any] | dict[str, NDArray[Any]]


class Algorithm(Protocol):
    """One learner's parameters and how they move.

    `update(b)` means `update(b, targets(b))`: targets are computed before any parameter moves. All randomness
    is keyed by `batch.key`, so the same batch and the same parameters give the same result in any process.
    """

    spaces: Spaces
    """Of the data, and of every environment that it acts in."""
    requires: Request
    """What every batch must hold."""
    has_targets: bool
    """Whether Bellman updaters have anything to compute (behaviour cloning has no targets)."""
    imagines: ClassVar[bool]
    """Whether updaters may ask it to `imagine`."""
    online: ClassVar[Online]
    """How it is fine-tuned on fresh data unless a run says otherwise: the share of it, who explores and how."""

    def targets(self, batch: Batch[Any]) -> Targets:
        """What a Bellman updater runs: no gradients, published weights, rows exactly as in `batch`."""

    def update(self, batch: Batch[Any], targets: Mapping[str, Any] | None = None) -> Metrics:
        """One gradient step."""

    def diagnostics(self, batch: Batch[Any]) -> Metrics:
        """The losses, and mean values on data and at the policy's actions, moving nothing."""

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
        """Actions in the environment's units, for one observation or for a stack of B, and the state for the next call.

        The state is the algorithm's own, of these B rows: the caller hands it back with the next observations of the
        same rows, and does not look into it. It is None at the first call, and stays None where nothing is remembered.
        `first`, bool (B,), marks the rows in which an episode begins: the algorithm makes its own initial state for
        them, so that environments side by side may begin at different times. Without a state every row begins;
        `first` may be left out where no other episode begins.

        Nested dictionaries are flattened by their keys, and pictures with their channels first turned, as they are in
        data. `key` (seed, sequence) addresses the sampling noise and is needed unless `deterministic`. `goal`, an
        observation or one for each, is what a policy acts towards that was trained towards goals (`requires.goals`),
        `task` the name of what one does that was trained on tasks (`requires.tasks`); others have neither.

        Raises `LearnerError`, naming the part, what was found and what expected, for another shape, type or set of
        keys than the data has, for NaN and infinities, and for values outside a `Discrete` space; for a state of other
        rows, and a `first` that is not one boolean a row.
        """

    def log_prob(self, observation: Observation, action: Any) -> NDArray[np.float32] | None:
        """log π(a∣s) of the distribution that `act(deterministic=False)` draws from, float32: (B,) for stacks of B
        observations and actions, () for one of each, in the forms of `act`.

        Over continuous actions it is the logarithm of a density per unit of volume in the environment's units: that of
        the network's actions in [-1, 1], less Σ log((high − low) / 2), the Jacobian of the scaling. Where the draw of a
        normal distribution is clipped to the bounds, it is the density before the clipping, as in the losses. The
        density of a squashed normal distribution is taken a millionth inside the bounds, so that it is finite on them.
        Over discrete actions it is the logarithm of a probability, and −∞ for an action that is never drawn.

        None where the policy has no density: where its actions have no spread but noise that is added to them, are the
        best of several draws, or come out of a search or a flow; and where they are planned in chunks, or depend on
        observations before.

        Raises `LearnerError` for observations as `act` does, and for actions of another shape, type or number than the
        space has, and for NaN and infinities.
        """

    def target_weights(self) -> Weights:
        """Exactly what `targets` needs."""

    def load_target_weights(self, weights: Weights) -> None: ...

    def policy_weights(self) -> Weights:
        """Exactly what `act` needs."""

    def load_policy_weights(self, weights: Weights) -> None: ...

    # --- Imagining ---

    def imagine(self, batch: Batch[Any]) -> Batch[Any]:
        """What an updater may run besides `targets`: logged starts in, synthetic transitions out, in the units and with
        the columns of `batch`, with the weights that were loaded last, and with noise that the batch's key addresses.

        Raises `LearnerError` where `imagines` is False.
        """

    def imagine_weights(self) -> Weights:
        """Exactly what `imagine` needs."""

    def load_imagine_weights(self, weights: Weights) -> None: ...

    # --- Several learners ---

    def distribute(self, rank: int, world: int, reduce: Callable[[torch.Tensor], None]) -> None:
        """Become one of `world` learners.

        From now on `update` is given this learner's own rows, the `rank`-th of equal parts of a batch, with the key of
        the whole batch; noise is addressed by row. `reduce` averages a vector over the learners, in place, and is
        called once for each `update`: gradients and metrics travel together. So what `update` returns is the mean over
        the learners, but for `priority`, which is of the learner's own rows.
        """

    # --- State ---

    def load_modules(self, modules: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Begin from parts of another run: module to its tensors by name, as `state_dict` has them below the module's
        name. A target network that is not given itself becomes a copy of what it follows.

        Raises `LearnerError`, naming the module and the tensor, for what does not fit; then nothing is loaded.
        """

    def freeze(self, names: Iterable[str]) -> None:
        """Modules that no step moves from now on. Call it before the first step, and after every construction: it is no
        part of the state.

        Raises `LearnerError` for names of no trained module, and where nothing would be left to train.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a bit-exact resume needs, by name."""

    def state_layout(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of all that `state_dict` may hold, by name. Before the first step, moments are missing."""

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None: ...
