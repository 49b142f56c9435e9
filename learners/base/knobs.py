"""The ranges of knobs that several algorithms have. They are far wider than what anybody uses, and finite: within them
no number overflows by itself, and how much memory a request takes is known (`learners.base.footprint`)."""

from __future__ import annotations

from typing import Annotated

from replay.ranges import Range

MOST_N_STEP = 10_000
"""Rewards summed before bootstrapping."""

LARGEST = 10**9
"""Of weights, bounds and temperatures: a float32 holds the square of their product with values of as many digits."""

# --- Networks and their optimiser ---

Width = Annotated[int, Range(1, 65_536)]
"""Units of a layer, or numbers of an embedding."""
Widths = Annotated[tuple[int, ...], Range(1, 65_536, entries=64)]
"""Of hidden layers, one after the other; none is a linear function."""
Members = Annotated[int, Range(1, 10_000)]
"""Critics of an ensemble."""
LearningRate = Annotated[float, Range(0, 100, above=True)]
WeightDecay = Annotated[float, Range(0, 100)]
GradientClip = Annotated[float | None, Range(0, LARGEST, above=True)]
Polyak = Annotated[float, Range(0, 1, above=True)]
"""1 copies; above 1 a target network would run away from what it follows."""
DropRate = Annotated[float, Range(0, 1, below=True)]
"""1 leaves nothing."""

# --- Losses ---

Reward = Annotated[float, Range(-1e30, 1e30)]
"""What rewards are multiplied by, or moved by."""
LossWeight = Annotated[float, Range(0, LARGEST)]
"""Of one term of a loss against the others."""
Temperature = Annotated[float, Range(1e-9, LARGEST)]
"""Of advantages, which are divided by it."""
AdvantageClip = Annotated[float, Range(0, LARGEST, above=True)]
Bandwidth = Annotated[float, Range(1e-6, 10**6)]
"""Of a kernel, whose distances are divided by it."""
TargetEntropy = Annotated[float | None, Range(-(10**6), 10**6)]
"""In nats."""

# --- Actions ---

ActionChunk = Annotated[int, Range(0, 1_000)]
"""Actions that a policy plans at once, and plays out one after the other; 0 for one at a time."""
History = Annotated[int, Range(0, 1_000)]
"""Observations before the present one that networks read beside it."""

Samples = Annotated[int, Range(1, 10_000)]
"""Actions tried in each state."""
Spread = Annotated[float, Range(0, 100)]
"""Standard deviation of noise on actions in [-1, 1], or its bound."""
PolicySpread = Annotated[float | None, Range(0.007, 7)]
"""A fixed one, within the bounds that learned ones have (`policies.LOG_STD_MIN`, `LOG_STD_MAX`)."""
