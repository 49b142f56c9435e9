"""LSPI, least-squares policy iteration (Lagoudakis and Parr 2003, Journal of Machine Learning Research 4).

The value of a policy in closed form, then the greedy policy of that value, and again. It is the baseline that shows
what a maximum over all actions does to a fixed log (`tests/learners/test_lspi.py`): where the log is silent, features
extrapolate, the maximum finds where they do so upwards, and the next iteration believes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learners.algorithm import Targets
from learners.base.closed_form import LeastSquares, LeastSquaresConfig
from learners.base.inputs import Inputs


@dataclass(frozen=True)
class LSPIConfig(LeastSquaresConfig):
    """Every `solve_every` batches are one iteration, of which nothing is kept but w.

    The paper goes over all of the data in each; many batches of a large log are nearly that. The policy evaluated is
    that of the published weights: in the first chunks of an iteration it may be an earlier one.
    """


class LSPI(LeastSquares):
    Config = LSPIConfig
    target_modules = ("critic",)

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`next_action`: argmax_a Q(s', a) over the candidates, (B, A)."""
        return {"next_action": self.critic.best(inputs.next_observation)}

    def next_action(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """That of the greedy policy, which always has one."""
        return inputs.labels["next_action"], torch.ones_like(inputs.discount, dtype=torch.bool)

    def after_solution(self) -> None:
        """The next policy is evaluated anew."""
        self.optimiser.clear()
