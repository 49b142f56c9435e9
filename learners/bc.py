"""Behaviour cloning: the policy imitates the data. The control that every offline method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from learners.algorithm import Metrics
from learners.base.config import PolicyNetworkConfig
from learners.base.inputs import Inputs, weighted_mean
from learners.base.knobs import PolicySpread
from learners.base.torch_algorithm import TorchAlgorithm
from learners.errors import LearnerError
from learners.losses import squared_error
from learners.networks.policies import DeterministicPolicy, LikelihoodPolicy
from replay.spaces import Box, Discrete


@dataclass(frozen=True)
class BCConfig(PolicyNetworkConfig):
    """It reads no rewards."""

    # The policy is a distribution of actions and fits its likelihood, or one action and fits its squared error.
    loss: Literal["log_likelihood", "mse"] = "log_likelihood"
    policy_std: PolicySpread = None  # Fixed spread of the policy; it is learned where not given.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "mse" and self.policy_std is not None:
            raise LearnerError(
                f"policy_std: found {self.policy_std} with loss 'mse', which is of the mean alone; leave it out, or "
                "use loss 'log_likelihood'."
            )


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
            loss = squared_error(self.policy(inputs.observation), inputs.action)
        else:
            loss = -self.policy.log_prob(inputs.observation, inputs.action)
        policy_loss = weighted_mean(loss, inputs.weight)
        # A priority is positive, and a density above 1 makes the loss negative.
        return policy_loss, {"policy_loss": policy_loss, "priority": F.softplus(loss)}
