"""The knobs that every algorithm has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from learners.errors import LearnerError
from replay.batch import Request
from replay.ranges import Range, check_fields

MOST_N_STEP = 10_000
"""Rewards summed before bootstrapping."""


@dataclass(frozen=True)
class CommonConfig:
    """Knobs that every algorithm has."""

    discount: Annotated[float, Range(0, 1)] = 0.99  # γ.
    n_step: Annotated[int, Range(1, MOST_N_STEP)] = 1  # Rewards summed before bootstrapping.
    reward_scale: float = 1.0  # Rewards are scaled first,
    reward_shift: float = 0.0  # then shifted.
    normalise_reward: bool = False  # Scale rewards by 1000 / (highest − lowest episode return), too, as IQL's authors.
    learning_rate: Annotated[float, Range(0, 100, above=True)] = 3e-4  # Of Adam, for every network.
    cosine_steps: int = 0  # Steps in which learning rates fall to nothing, along half a cosine; 0 keeps them.
    gradient_clip: float | None = None  # Largest norm of each network's gradient.
    hidden: Annotated[tuple[int, ...], Range(1, 65_536)] = (256, 256)  # Widths of the hidden layers.
    layer_norm: bool = False  # LayerNorm before each activation of the value networks.
    dropout: Annotated[float, Range(0, 1, below=True)] = (
        0.0  # Share of the hidden units of policies dropped while training.
    )
    value_dropout: Annotated[float, Range(0, 1, below=True)] = 0.0  # The same of the value networks.
    normalise_observation: bool = True  # Zero mean and unit spread, by the dataset's statistics.
    encoder: Literal["separate", "shared"] = "separate"  # Images: each network's own, or one that the values train.
    encoder_width: int = 512  # Size of the embedding of an image.
    random_crop: int = 4  # Images: pixels by which they are moved at random while training; 0 leaves them.
    mixed_precision: bool = False  # bfloat16 in the products on a GPU; elsewhere it changes nothing.

    def __post_init__(self) -> None:
        """Raises `LearnerError` for values that no algorithm can work with; subclasses add theirs."""
        check_fields(self, LearnerError)
        for name in ("cosine_steps", "random_crop"):
            if getattr(self, name) < 0:
                raise LearnerError(f"{name}: found {getattr(self, name)}, expected 0 or more.")
        if self.gradient_clip is not None and not self.gradient_clip > 0.0:
            raise LearnerError(f"gradient_clip: found {self.gradient_clip}, expected a positive norm, or none.")
        if self.encoder not in ("shared", "separate"):
            raise LearnerError(f"encoder: found {self.encoder!r}, expected 'shared' or 'separate'.")
        if self.encoder_width < 1:
            raise LearnerError(f"encoder_width: found {self.encoder_width}, expected at least 1.")

    def request(self) -> Request:
        return Request(
            n_step=self.n_step,
            discount=self.discount,
            reward_scale=self.reward_scale,
            reward_shift=self.reward_shift,
        )
