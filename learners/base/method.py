"""What an algorithm's file writes: its networks, its labels and its losses, and what is to be known of them.

`torch_algorithm` does the rest of a step with these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from learners.algorithm import Metrics, Targets
from learners.base.inputs import Inputs
from learners.base.online import Online
from learners.errors import LearnerError
from learners.networks.encoders import Features
from replay.batch import Batch
from replay.spaces import Box, Discrete, Image, Spaces, observation_columns


class Method(ABC):
    """`build`, `bootstrap` and `losses` are a method, each a pure function of parameters and inputs, and perhaps the
    noise they need."""

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

    target_modules: tuple[str, ...] = ()
    """Which modules, by name, `bootstrap` reads: published to updaters."""
    policy_modules: tuple[str, ...] = ("policy",)
    """Which `policy_action` reads: published to whoever acts."""
    imagines: ClassVar[bool] = False
    imagine_modules: tuple[str, ...] = ()
    """Which `imagine` reads."""

    @classmethod
    def refuse_unserved(cls, spaces: Spaces) -> None:
        """Raises `LearnerError` for a kind of actions that the method is not for."""
        if not isinstance(spaces.action, cls.action_spaces):
            raise LearnerError(_unserved(cls.__name__, cls.action_spaces, spaces.action))

    @classmethod
    def without_effect(cls, spaces: Spaces, config: Any) -> dict[str, str]:
        """The knobs that do nothing with these spaces and the other knobs, and why; subclasses add theirs."""
        columns = observation_columns(spaces.observation)
        idle: dict[str, str] = {}
        if not any(isinstance(leaf, Image) for leaf in columns.values()):
            idle |= dict.fromkeys(("encoder", "encoder_width", "random_crop"), "the observations hold no images")
        if not any(isinstance(leaf, Box) for leaf in columns.values()):
            idle["normalise_observation"] = "the observations hold no numbers but choices and images"
        if isinstance(spaces.action, Discrete):
            idle["policy_std"] = "discrete actions have no spread"
        return idle

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

    def policy_log_prob(self, observation: Features, action: Tensor) -> Tensor | None:
        """log π(a∣s), (B,), of actions (B, A), in [-1, 1] or one-hot, under what `policy_action` draws from by noise;
        None where that has no density. Whoever writes another `policy_action` has none, unless it says which."""
        own = type(self).policy_action is Method.policy_action
        density = getattr(getattr(self, "policy", None), "log_prob", None)
        return density(observation, action) if own and density is not None else None

    def after_step(self) -> None:
        """What moves besides the parameters; `step` has been counted."""
        return


def _unserved(name: str, served: tuple[type, ...], found: Any) -> str:
    kinds = {Box: "continuous (a Box)", Discrete: "discrete"}
    return f"action space: {found} found, but {name} is for {' or '.join(kinds[kind] for kind in served)} actions."
