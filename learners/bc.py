"""Behaviour cloning: the policy imitates the data. The control that every offline method has to beat.

With `action_chunk` h it imitates the next h actions at once, as ACT does (Zhao et al. 2023, arXiv 2304.13705), and
plays them out open loop, without that paper's averaging of chunks that overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from learners.algorithm import Metrics
from learners.base.config import PolicyNetworkConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import ActionChunk, History, PolicySpread
from learners.base.torch_algorithm import TorchAlgorithm
from learners.errors import LearnerError
from learners.losses import squared_error
from learners.networks.policies import DeterministicPolicy, LikelihoodPolicy, log_likelihood
from replay.batch import Request
from replay.spaces import Box, Discrete


@dataclass(frozen=True)
class BCConfig(PolicyNetworkConfig):
    """It reads no rewards."""

    # The policy is a distribution of actions and fits its likelihood, or one action and fits its squared error.
    loss: Literal["log_likelihood", "mse"] = "log_likelihood"
    policy_std: PolicySpread = None  # Fixed spread of the policy; it is learned where not given.
    # So many actions are planned at once and played out one after the other; 0 plans single actions.
    action_chunk: ActionChunk = 0
    history: History = 0  # The policy reads so many observations before the present one, too.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "mse" and self.policy_std is not None:
            raise LearnerError(
                f"policy_std: found {self.policy_std} with loss 'mse', which is of the mean alone; leave it out, or "
                "use loss 'log_likelihood'."
            )

    def request(self) -> Request:
        return replace(super().request(), action_chunk=self.action_chunk, history=self.history)


class BC(TorchAlgorithm):
    Config = BCConfig
    config: BCConfig
    action_spaces = (Box, Discrete)
    has_targets = False

    def build(self) -> None:
        config, networks = self.config, self.networks
        if config.loss == "mse" and isinstance(self.spaces.action, Discrete):
            raise LearnerError(f"loss: 'mse' is for continuous actions, found {self.spaces.action}.")
        self.policy: LikelihoodPolicy | DeterministicPolicy = (
            networks.likelihood_policy(std=config.policy_std, trains_encoder=True)
            if config.loss == "log_likelihood"
            else networks.deterministic_policy(trains_encoder=True)
        )
        self.train({"policy": self.policy})

    # --- Losses ---

    def losses(self, inputs: Inputs) -> tuple[Tensor, Metrics]:
        if isinstance(self.policy, DeterministicPolicy):
            loss = squared_error(self.policy(inputs.observation), inputs.action, inputs.present)
        else:
            loss = -log_likelihood(self.policy, inputs.observation, inputs.action, inputs.present)
        policy_loss = weighted_mean(loss, inputs.weight)
        # A priority is positive, and a density above 1 makes the loss negative.
        return policy_loss, {"policy_loss": policy_loss, "priority": F.softplus(loss)}
