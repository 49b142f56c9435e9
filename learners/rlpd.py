"""Reinforcement learning with prior data, RLPD (Ball, Smith, Kostrikov and Levine 2023, arXiv 2302.02948).

REDQ from scratch on batches of which one half is logs and the other half fresh. LayerNorm bounds what critics can
believe of actions that nothing was seen of, so that it needs neither cloning nor conservatism; the many critics bear
that they are trained twenty times for each step of the robot.
"""

from __future__ import annotations

from dataclasses import dataclass

from learners.algorithm import Targets
from learners.base.inputs import Inputs
from learners.base.knobs import TargetEntropy
from learners.base.online import Online
from learners.redq import REDQ, REDQConfig
from replay.ranges import Steps


@dataclass(frozen=True)
class RLPDConfig(REDQConfig):
    """Defaults are the authors' for locomotion, in their code.

    For Adroit they have no entropy in targets and three hidden layers; for the ant mazes these, and subset 1.
    """

    layer_norm: bool = True  # Use LayerNorm before each activation of the value networks.
    backup_entropy: bool = True  # Subtract α·log π from the bootstrapped value, as SAC does.
    # Target entropy H̄ of the policy; minus half the number of action elements where not given.
    target_entropy: TargetEntropy = None
    # The policy and the temperature move at every so many steps: those of one environment step.
    policy_every: Steps = 20


class RLPD(REDQ):
    """Which half of a batch is fresh is for the loop to see to (`online`).

    The authors move the policy after the last critic step of every twenty, here it moves with it.
    """

    Config = RLPDConfig
    config: RLPDConfig
    online = Online(share=0.5, updates_per_step=20.0)

    def build(self) -> None:
        super().build()
        if not self.config.backup_entropy:
            self.target_modules = tuple(name for name in self.target_modules if name != "temperature")
        if self.config.target_entropy is None:
            self.target_entropy = -0.5 * self.action_size

    def bootstrap(self, inputs: Inputs) -> Targets:
        """`q`: r + γ(Q̄(s', a') − α·log π(a'∣s')), (B,), or without the logarithm."""
        if self.config.backup_entropy:
            return super().bootstrap(inputs)
        action, _ = self.policy.sample(inputs.next_observation, inputs.noise["policy"])
        next_value = self.next_value(self.target_critic(inputs.next_observation, action), inputs.noise)
        return {"q": inputs.reward + inputs.discount * next_value}
