"""Statistics of a batch that losses need, the same in every learner and in a resumed run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from learners.algorithm import Metrics


class Averages(nn.Module):
    """Some metrics of the step before, averaged over the learners of a run.

    Each learner sees a slice of a batch, so a statistic of the whole batch can only be read one step later, when it
    has travelled with the gradient: `a[name]` is a scalar without gradient. As buffers they are part of checkpoints.
    """

    value: Tensor

    def __init__(self, initial: Mapping[str, float]) -> None:
        """`initial`: metric to what it is before the first step."""
        super().__init__()
        self._places = {name: place for place, name in enumerate(initial)}
        self.register_buffer("value", torch.tensor(list(initial.values()), dtype=torch.float32))

    def __getitem__(self, name: str) -> Tensor:
        return self.value[self._places[name]]

    def of(self, metrics: Metrics) -> Tensor:
        """This step's own, float32 in the order of `value`."""
        if not self._places:
            return self.value
        return torch.stack([metrics[name].float() for name in self._places])


def scalars(metrics: Metrics) -> Tensor:
    """All but `priority`, float32 in the order of their names: what is averaged over learners."""
    return torch.stack([metrics[name].float() for name in _logged(metrics)])


def with_scalars(metrics: Metrics, values: Tensor) -> Metrics:
    """The inverse: the metrics with these values, and their own `priority`."""
    return metrics | dict(zip(_logged(metrics), values.clone().unbind(), strict=True))


def _logged(metrics: Metrics) -> list[str]:
    return sorted(name for name in metrics if name != "priority")
