"""The papers' losses and what they are made of: pure functions of tensors, each with its source (numbers are arXiv's).

Shapes are (B,) for a loss of each row, (E, B) for E members of an ensemble, and (…, A) for actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.base.inputs import weighted_mean
from learners.networks.policies import normal_log_prob, standard_log_prob

Kernel = Literal["laplacian", "gaussian"]

# --- Imitation: BC, TD3+BC (2106.06860), ReBRAC (2305.09836), FQL (2502.02538) ---


def squared_error(prediction: Tensor, action: Tensor, present: Tensor | None = None) -> Tensor:
    """The mean over the action's elements of the squared error, (B,).

    Of a chunk of actions, elements that are not `present` (`Inputs.present`) count as no error and are divided by all
    the same, so that each action of the data weighs the same.
    """
    error = (prediction - action).square()
    return (error if present is None else error * present).mean(-1)


def cloning_policy_loss(q: Tensor, policy_action: Tensor, action: Tensor, scale: Tensor) -> Tensor:
    """−λ·Q(s, π(s)) + ∥π(s) − a∥² / A, (B,), for λ = `scale`; the mean over the action's A elements is that of the
    authors' code."""
    return squared_error(policy_action, action) - scale * q


def squared_distance(policy_action: Tensor, action: Tensor) -> Tensor:
    """∥π(s) − a∥², (B,): a sum over the action's elements, where TD3+BC takes their mean."""
    return (policy_action - action).square().sum(-1)


def between(noise: Tensor, action: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """x_t = (1 − t)·x₀ + t·a on the straight way from noise to an action, and a − x₀, the velocity on it.

    Both are (B, A), for `time` (B, 1) in [0, 1]; flow matching regresses on the velocity (Lipman et al. 2022,
    arXiv 2210.02747).
    """
    return torch.lerp(noise, action, time), action - noise


def flow_action(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Where the flow carries the noise from time 0 to 1, (…, B, A) in [-1, 1], by the Euler method.

    `velocity` maps (x, t) of shapes (…, B, A) and (…, B, 1) to (…, B, A).
    """
    x = noise
    for step in range(steps):
        time = torch.full_like(x[..., :1], step / steps)
        x = x + velocity(x, time) / steps
    return x.clamp(-1.0, 1.0)


def distilled_policy_loss(q: Tensor, action: Tensor, behaviour: Tensor, scale: Tensor | float, weight: float) -> Tensor:
    """−λ·Q(s, μ(s, z)) + α·∥μ(s, z) − flow(s, z)∥² / A, (B,), for λ = `scale` and α = `weight` (the mean
    over the action's A elements is that of the authors' code)."""
    return weight * squared_error(action, behaviour) - scale * q


# --- Regression by advantage: IQL (2110.06169), AWAC (2006.09359), AWR (1910.00177) ---


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """∣τ − 1(u < 0)∣·u² for u = `difference`, elementwise (IQL, equation 5)."""
    return torch.where(difference < 0, 1.0 - expectile, expectile) * difference.square()


def advantage_weight(advantage: Tensor, temperature: float, clip: float) -> Tensor:
    """min(exp(β·A), clip), (B,): the weight of each action of the data in the policy's regression (IQL,
    equation 7)."""
    return torch.exp(temperature * advantage).clamp(max=clip)


def td_lambda_returns(reward: Tensor, discount: Tensor, next_value: Tensor, mask: Tensor, td_lambda: float) -> Tensor:
    """R_t = r_t + γ_t·((1 − λ)·V(s_{t+1}) + λ·R_{t+1}), (B, T), where R stands for V behind the last step.

    A terminated step has γ_t = 0; an episode that was cut off, by a time limit or where its record ends, is
    bootstrapped from V of the observation behind it. `mask` (B, T) is 1 for real steps; padding returns 0.

    The recursion is a composition of linear functions, and those of 1, 2, 4, … steps are composed of two halves:
    log₂ T operations instead of T.
    """
    steps = reward.shape[1]
    carried = td_lambda * discount * F.pad(mask[:, 1:], (0, 1))
    returns = reward + (discount - carried) * next_value
    reach = 1
    while reach < steps:
        returns = returns + carried * F.pad(returns[:, reach:], (0, reach))
        carried = carried * F.pad(carried[:, reach:], (0, reach))
        reach *= 2
    return returns


def per_step(loss: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    """(T, B) → (B,): the sum over each episode's own steps, over the mean number of `steps` of an episode.

    Its mean over a batch is that over all steps, whatever its episodes' lengths.
    """
    return (mask * loss).sum(0) / steps


# --- Soft actor-critics: SAC (1812.05905), EDAC (2110.01548), MSG (2205.13703) ---


def soft_policy_loss(temperature: Tensor, log_prob: Tensor, q: Tensor) -> Tensor:
    """α·log π(a∣s) − Q(s, a) at the policy's own actions, (B,) (SAC, equation 7); it does not move the temperature."""
    return temperature.detach() * log_prob - q


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """−log α·(log π(a∣s) + H̄), (B,): α rises where the entropy is below H̄ (SAC, equation 18, on log α as
    the authors do)."""
    return -log_temperature * (log_prob.detach() + target_entropy)


def gradient_similarity(gradient: Tensor) -> Tensor:
    """Σ_{i≠j} ⟨g_i, g_j⟩ / (N − 1), (B,), for the directions g of `gradient`, (N, B, A) (EDAC, section 4).

    Over all members, as in the paper; the authors' code draws min(N, A) of them. The pairs are never formed: their
    sum is ∥Σ_i g_i∥² − Σ_i ∥g_i∥².
    """
    direction = gradient / (torch.linalg.vector_norm(gradient, dim=-1, keepdim=True) + 1e-10)
    pairs = direction.sum(0).square().sum(-1) - direction.square().sum((0, 2))
    return pairs / (len(gradient) - 1)


def lower_confidence_bound(q: Tensor, beta: float) -> Tensor:
    """mean_i Q_i + β·std_i Q_i, (B,), of `q` (E, B): the variance is Σ(Q_i − mean)²/N, as in the authors' code.

    Its gradient is finite where members agree exactly, as they do on constants.
    """
    variance = q.var(0, correction=0)
    return q.mean(0) + beta * (variance + 1e-12).sqrt()


# --- Deterministic actor-critics: TD3 (1802.09477) and its descendants ---


def smoothed(action: Tensor, noise: Tensor, std: float, clip: float) -> Tensor:
    """An action near the target policy's, (B, A) in [-1, 1], so that a sharp peak of the critic cannot be exploited
    (TD3, algorithm 1); `noise` (B, A) is standard normal."""
    return (action + (std * noise).clamp(-clip, clip)).clamp(-1.0, 1.0)


def q_magnitude(q: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of |Q| over a batch, (), in which rows count by their weight."""
    mean = weighted_mean(q.detach().abs(), weight)
    return mean if weight is None else mean / weight.mean()


# --- Conservative values: CQL (2006.04779), Cal-QL (2303.05479) ---


def conservative_gap(q_data: Tensor, q_sampled: Tensor, log_density: Tensor) -> Tensor:
    """log Σ_n exp(Q(s, a_n) − log p(a_n)) − Q(s, a), (E, B): what CQL(H) makes small (CQL, equation 4 and appendix F).

    `q_data` (E, B) is at the data's actions, `q_sampled` (E, N, B) at N sampled ones of density exp(`log_density`),
    (N, B). As in the authors' code the sum is not divided by N, so even a constant critic has a gap.
    """
    return torch.logsumexp(q_sampled - log_density, dim=1) - q_data


def lagrange_loss(multiplier: Tensor, weighted_gap: Tensor, threshold: float) -> Tensor:
    """−α'·(α·gap − τ), a scalar: α' rises where the gap is above the threshold (CQL, appendix F)."""
    return -multiplier * (weighted_gap.detach() - threshold)


def exact_gap(q: Tensor, action: Tensor) -> Tensor:
    """log Σ_a' exp Q(s, a') − Q(s, a), (E, B), of `q` (E, B, n) and one-hot `action` (B, n) (CQL, equation 4).

    It is −log softmax(Q)(a): alone it would make softmax(Q) an imitation of the data.
    """
    return torch.logsumexp(q, dim=-1) - (q * action).sum(-1)


def calibrated(q_sampled: Tensor, return_to_go: Tensor, uniform: int) -> Tensor:
    """max(Q(s, a), V^μ(s)) at the actions of the policy, (E, N, B), where V^μ is the return-to-go (B,).

    Where the maximum is the return, no gradient pushes Q down. The first `uniform` of the N actions are uniform ones,
    and stay as they are, as in the authors' code.
    """
    return torch.cat([q_sampled[:, :uniform], torch.maximum(q_sampled[:, uniform:], return_to_go)], dim=1)


# --- Policies near the data: BCQ (1812.02900, 1910.01708), BEAR (1906.00949), BRAC (1911.11361) ---


def soft_clipped_q(q: Tensor, minimum_weight: float) -> Tensor:
    """λ·min_i Q_i + (1 − λ)·max_i Q_i over members, (E, …) → (…)."""
    return minimum_weight * q.amin(0) + (1.0 - minimum_weight) * q.amax(0)


def supported(log_probs: Tensor, threshold: float) -> Tensor:
    """Which actions (…, n) have G(a∣s) / max_a' G(a'∣s) > τ: always the likeliest."""
    return (log_probs - log_probs.amax(-1, keepdim=True)).exp() > threshold


def imitation_loss(logits: Tensor, action: Tensor, penalty: float) -> Tensor:
    """−log G(a∣s) + w·mean(logits²), (B,), of outputs and one-hot actions (B, n). The penalty is the authors'."""
    return -(F.log_softmax(logits, dim=-1) * action).sum(-1) + penalty * logits.square().mean(-1)


def maximum_mean_discrepancy(x: Tensor, y: Tensor, kernel: Kernel, bandwidth: float) -> Tensor:
    """√(mean k(x, x') − 2·mean k(x, y) + mean k(y, y')), (B,), of samples (N, B, A) and (M, B, A).

    k is exp(−∣d∣₁/2σ) or exp(−∣d∣²/2σ), and σ is not squared, as in the authors' code. As there, pairs of a sample
    with itself count, and a millionth keeps the root's slope finite where both sets are the same.
    """

    def similarity(one: Tensor, other: Tensor) -> Tensor:
        difference = one.unsqueeze(1) - other
        distance = difference.abs() if kernel == "laplacian" else difference.square()
        return torch.exp(-distance.sum(-1) / (2.0 * bandwidth)).mean((0, 1))

    return (similarity(x, x) - 2.0 * similarity(x, y) + similarity(y, y) + 1e-6).sqrt()


def multiplier_loss(multiplier: Tensor, divergence: Tensor, threshold: float) -> Tensor:
    """−α·(MMD − ε), (B,): α rises where the discrepancy is above the threshold."""
    return -multiplier * (divergence.detach() - threshold)


def kl_estimate(
    noise: Tensor, mean: Tensor, log_std: Tensor, behaviour_mean: Tensor, behaviour_log_std: Tensor
) -> Tensor:
    """mean_n log π(a_n∣s) − log β(a_n∣s), (B,), at actions of π that standard normal `noise` (N, B, A) stands for.

    The primal estimate of KL(π ∥ β). Means and logarithms of spreads, (B, A), are those before tanh: its
    Jacobian is the same for both and cancels, so nothing is lost where actions are close to their bounds.
    """
    raw = mean + log_std.exp() * noise
    return (standard_log_prob(noise, log_std) - normal_log_prob(raw, behaviour_mean, behaviour_log_std)).mean(0)
