"""The knobs that algorithms share, in groups: a method's configuration has those groups that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from learners.base.knobs import MOST_N_STEP, DropRate, GradientClip, LearningRate, Reward, Width, Widths
from learners.errors import LearnerError
from replay.batch import Request
from replay.ranges import Range, Share, StepsOrNone, check_fields


def check_chunk(action_chunk: int, n_step: int) -> None:
    """Raises `LearnerError` where rewards are to be summed over other steps than those of a chunk of actions."""
    if action_chunk and n_step not in (1, action_chunk):
        raise LearnerError(
            f"n_step: found {n_step} with action_chunk {action_chunk}, whose rewards are summed over its steps; leave "
            "n_step out."
        )


@dataclass(frozen=True)
class AlgorithmConfig:
    """What every configuration has. Each knob declares its range: what does not fit is refused wherever it comes from.

    The comment of a knob is the help of its option, and a whole sentence.
    """

    normalise_observation: bool = True  # Bring observations to zero mean and unit spread, by the dataset's statistics.

    def __post_init__(self) -> None:
        """Raises `LearnerError` for a value that its knob's type and range do not hold; subclasses add what must be so
        between knobs. A list stands for a tuple, as in JSON."""
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check_fields(self, LearnerError)

    def request(self) -> Request:
        return Request()


@dataclass(frozen=True)
class RewardConfig(AlgorithmConfig):
    """Knobs of methods that read rewards."""

    discount: Share = 0.99  # Discount γ of rewards, for each step.
    n_step: Annotated[int, Range(1, MOST_N_STEP)] = 1  # Rewards that are summed before bootstrapping.
    reward_scale: Reward = 1.0  # Rewards are multiplied by this first.
    reward_shift: Reward = 0.0  # This is added to the scaled rewards.
    # Scale rewards by 1000 / (highest − lowest episode return) as well, as IQL's authors do.
    normalise_reward: bool = False

    def request(self) -> Request:
        return Request(
            n_step=self.n_step,
            discount=self.discount,
            reward_scale=self.reward_scale,
            reward_shift=self.reward_shift,
        )


@dataclass(frozen=True)
class NetworkConfig(AlgorithmConfig):
    """Knobs of methods that train networks."""

    learning_rate: LearningRate = 3e-4  # Learning rate of Adam, for every network.
    # Steps in which learning rates fall to nothing, along half a cosine; 0 keeps them as they are.
    cosine_steps: StepsOrNone = 0
    gradient_clip: GradientClip = None  # Largest norm of each network's gradient; any size where not given.
    hidden: Widths = (256, 256)  # Widths of the hidden layers.
    # Each network has an encoder of images of its own (separate), or all read one that the values train (shared).
    encoder: Literal["separate", "shared"] = "separate"
    encoder_width: Width = 512  # Size of the embedding of an image.
    # Pixels by which images are moved at random while training; 0 leaves them where they are.
    random_crop: Annotated[int, Range(0, 1_000)] = 4
    mixed_precision: bool = False  # Compute products in bfloat16; this is for a GPU only.


@dataclass(frozen=True)
class PolicyNetworkConfig(NetworkConfig):
    """Knobs of methods with a policy network."""

    dropout: DropRate = 0.0  # Share of the hidden units of policies that is dropped while training.


@dataclass(frozen=True)
class ValueNetworkConfig(NetworkConfig):
    """Knobs of methods with value networks."""

    layer_norm: bool = False  # Use LayerNorm before each activation of the value networks.
    value_dropout: DropRate = 0.0  # Share of the hidden units of value networks that is dropped while training.


@dataclass(frozen=True)
class CommonConfig(ValueNetworkConfig, PolicyNetworkConfig, RewardConfig):
    """Knobs of methods that train a policy and values on rewards, which are most of them."""
