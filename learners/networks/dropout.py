"""Dropout with an address: the masks are drawn outside compiled code, from the batch's key."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Drops each of `width` units with probability `rate` while a loss is computed, and does nothing at other times.

    One mask for each row (and ensemble member) serves a whole step, however often the network runs in it.
    """

    mask: Tensor

    def __init__(self, rate: float, width: int, *, members: int | None = None) -> None:
        super().__init__()
        self.rate = rate
        self.shape = (width,) if members is None else (members, width)
        self.active = False
        self.register_buffer("mask", torch.zeros(0), persistent=False)

    def refill(self, uniform: Callable[[int], Tensor]) -> None:
        """`uniform(n)` gives numbers in [0, 1), (B, n)."""
        *members, width = self.shape
        noise = uniform(width * (members[0] if members else 1))
        kept = (noise >= self.rate).to(torch.float32) / (1.0 - self.rate)
        if members:
            kept = kept.view(len(noise), members[0], width).transpose(0, 1)
        # In place where that is possible: a captured CUDA graph reads from this address.
        if self.mask.shape == kept.shape:
            self.mask.copy_(kept)
        else:
            self.mask = kept.contiguous()

    def forward(self, x: Tensor, member: int | None = None) -> Tensor:
        """`x`: (…, N·B, width), of one ensemble member or, where `member` is None, of all."""
        if not self.active:
            return x
        mask = self.mask if member is None else self.mask[member]
        rows = mask.shape[-2]
        if x.shape[-2] == rows:
            return x * mask
        return (x.reshape(*x.shape[:-2], -1, rows, x.shape[-1]) * mask.unsqueeze(-3)).flatten(-3, -2)


def dropouts_of(modules: Iterable[nn.Module]) -> list[Dropout]:
    """The layers that drop units, in the order of the modules."""
    return [layer for module in modules for layer in module.modules() if isinstance(layer, Dropout)]
