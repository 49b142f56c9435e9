"""LSTD, least-squares temporal differences on state-action pairs: the value of the policy that recorded the data.

Bradtke and Barto 1996, "Linear least-squares algorithms for temporal difference learning"; Boyan 1999, "Least-squares
temporal difference learning"; Lagoudakis and Parr 2003, "Least-squares policy iteration", for Q in place of V. Nothing
is maximised while learning, so nothing is overestimated; acting greedily on it is one step of policy improvement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from learners.base.closed_form import LeastSquares, LeastSquaresConfig
from learners.base.inputs import Inputs
from replay.batch import Request


@dataclass(frozen=True)
class LSTDConfig(LeastSquaresConfig):
    def request(self) -> Request:
        return replace(super().request(), columns=("next_action", "has_next_action"))


class LSTD(LeastSquares):
    """After one pass over a dataset (`Dataset.scan`) and `solve`, w is the exact solution for all of it, in whatever
    batches it came. Where an episode was cut off, its last transition is left out: its next action is not known."""

    Config = LSTDConfig
    has_targets = False

    def next_action(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The logged one."""
        return self.normaliser.action(inputs.extras["next_action"]), inputs.extras["has_next_action"] > 0
