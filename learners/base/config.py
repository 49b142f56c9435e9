"""The knobs that every algorithm has."""

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
class CommonConfig:
    """Knobs that every algorithm has. Each declares its range: what does not fit is refused wherever it comes from."""

    discount: Share = 0.99  # γ.
    n_step: Annotated[int, Range(1, MOST_N_STEP)] = 1  # Rewards summed before bootstrapping.
    reward_scale: Reward = 1.0  # Rewards are scaled first,
    reward_shift: Reward = 0.0  # then shifted.
    normalise_reward: bool = False  # Scale rewards by 1000 / (highest − lowest episode return), too, as IQL's authors.
    learning_rate: LearningRate = 3e-4  # Of Adam, for every network.
    cosine_steps: StepsOrNone = 0  # Steps in which learning rates fall to nothing, along half a cosine; 0 keeps them.
    gradient_clip: GradientClip = None  # Largest norm of each network's gradient.
    hidden: Widths = (256, 256)  # Widths of the hidden layers.
    layer_norm: bool = False  # LayerNorm before each activation of the value networks.
    dropout: DropRate = 0.0  # Share of the hidden units of policies dropped while training.
    value_dropout: DropRate = 0.0  # The same of the value networks.
    normalise_observation: bool = True  # Zero mean and unit spread, by the dataset's statistics.
    encoder: Literal["separate", "shared"] = "separate"  # Images: each network's own, or one that the values train.
    encoder_width: Width = 512  # Size of the embedding of an image.
    # Images: pixels by which they are moved at random while training; 0 leaves them.
    random_crop: Annotated[int, Range(0, 1_000)] = 4
    mixed_precision: bool = False  # bfloat16 in the products on a GPU; elsewhere it changes nothing.

    def __post_init__(self) -> None:
        """Raises `LearnerError` for a value that its knob's type and range do not hold; subclasses add what must be so
        between knobs. A list stands for a tuple, as in JSON."""
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check_fields(self, LearnerError)

    def request(self) -> Request:
        return Request(
            n_step=self.n_step,
            discount=self.discount,
            reward_scale=self.reward_scale,
            reward_shift=self.reward_shift,
        )
