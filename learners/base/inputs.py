"""What the losses of every algorithm are functions of, besides its parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Inputs(NamedTuple):
    """A batch as `bootstrap` and `losses` see it: on the device, normalised, with the noise its key addresses."""

    observation: Any
    """`Features`: (B, D), or a dictionary where there are images. Networks take it; algorithms only pass it on."""
    action: Tensor
    """(B, A): in [-1, 1], or one-hot. A chunk of h actions is one vector (B, h·A), 0 where a step does not exist."""
    reward: Tensor
    discount: Tensor
    next_observation: Any
    """`Features`, without gradients."""
    weight: Tensor | None
    mask: Tensor | None
    labels: dict[str, Tensor]
    """What `bootstrap` returned, perhaps in another process (`losses` only)."""
    noise: dict[str, Tensor]
    extras: dict[str, Tensor]
    present: Tensor | None = None
    """(B, h·A): 1 for each element of a chunk's actions that exist, else 0; None where actions are single ones."""


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over a batch, with importance weights where sampling is prioritised."""
    return loss.mean() if weight is None else (weight * loss).mean()
