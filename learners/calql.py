"""Calibrated Q-learning, Cal-QL (Nakamoto et al. 2023, arXiv 2303.05479).

CQL that stops pushing down where the critic is already below what the data achieved: values keep the scale of returns,
so that fine-tuning on fresh experience does not begin by unlearning them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from learners.base.inputs import Inputs
from learners.base.knobs import LearningRate, LossWeight, Widths
from learners.base.online import Online
from learners.cql import CQL, CQLConfig
from learners.losses import calibrated, conservative_gap
from replay.batch import Request


@dataclass(frozen=True)
class CalQLConfig(CQLConfig):
    """Defaults are the authors' for the ant mazes, except for the policy, which they make of two layers.

    There they also use reward_scale 10, reward_shift -5 and a Lagrange threshold of .8 in the convention
    α'·α·(gap − τ), which is lagrange_threshold 5 · .8 = 4 here; on Adroit there is no multiplier, and α is 1.
    """

    hidden: Widths = (256, 256, 256, 256)  # Widths of the hidden layers.
    policy_learning_rate: LearningRate = 1e-4  # Learning rate of the policy and the temperature.
    conservative_weight: LossWeight = 5.0  # How hard the critic is pushed down, α.
    max_target_backup: bool = True  # Bootstrap from the best of `sampled_actions` actions instead of one.

    def request(self) -> Request:
        """Also what each transition's episode returned from there on."""
        return replace(super().request(), columns=("return_to_go",))


class CalQL(CQL):
    """The reference value V^μ(s) is `return_to_go`: what the row's own episode returned from s, with the batch's
    discount and scale of rewards. It ends with the recorded rewards and does not bootstrap, not even where the episode
    was truncated. So in the last steps of a truncated episode it is too low where rewards are positive, which only
    calibrates less, and too high where they are negative, which lets optimism pass: shift rewards to be 0 or more.
    (For the failed episodes of sparse tasks the authors put r/(1 − γ) instead.)

    Bounded terms take their share of the logsumexp but push nothing down, while the data's Q is still raised by α. So α
    must be small beside the returns, or rewards be scaled up as the authors do, else values drift above the data's.
    """

    Config = CalQLConfig
    config: CalQLConfig
    discrete = None
    online = Online(share=0.5)  # The mixing ratio of the authors' runs.

    def gap(self, inputs: Inputs, q_data: Tensor, q_sampled: Tensor, log_density: Tensor) -> Tensor:
        q_sampled = calibrated(q_sampled, inputs.extras["return_to_go"], self.config.sampled_actions)
        return conservative_gap(q_data, q_sampled, log_density)
