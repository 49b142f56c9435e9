"""What soft actor-critics share: SAC's losses of the policy and the temperature (Haarnoja et al. 2018, 1812.05905)."""

from __future__ import annotations

from torch import Tensor


def soft_policy_loss(temperature: Tensor, log_prob: Tensor, q: Tensor) -> Tensor:
    """α·log π(a∣s) − Q(s, a) at the policy's own actions, (B,) (equation 7); the temperature is not moved by it."""
    return temperature.detach() * log_prob - q


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """−log α·(log π(a∣s) + H̄), (B,): α rises where the entropy is below H̄ (equation 18, on log α as the authors do)."""
    return -log_temperature * (log_prob.detach() + target_entropy)
