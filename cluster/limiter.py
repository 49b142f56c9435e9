"""Samples to inserts: how far learning and interaction may run apart, as in Reverb's rate limiter (arXiv 2102.04736).

Gradient steps are counted against environment steps: a learner that is ahead waits for data, runners that are ahead
wait for the learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cluster import ranges
from cluster.errors import RunError
from cluster.settings import check_settings, option
from replay.ranges import Range

_ROUNDING = 1e-6
"""Of an environment step: at the narrowest bounds that are accepted, the last bit must not stop both."""


@dataclass(frozen=True)
class SamplesToInserts:
    """`updates_per_step` gradient steps for each environment step, give or take `slack` environment steps.

    With s gradient steps asked for and n environment steps stored, the difference d = (n − start) − s / U is kept in
    [−slack, slack], as far as chunks and rollouts, which are not cut, allow.
    """

    updates_per_step: ranges.UpdatesPerStep
    """U."""
    start: ranges.StepsOrNone
    """Environment steps stored before the first gradient step."""
    slack: Annotated[float, Range(0, above=True)]
    """Environment steps by which either may be ahead."""

    def __post_init__(self) -> None:
        check_settings(self, lambda name: option("learning_starts" if name == "start" else name))

    def check(self, chunk_steps: int, rollout_steps: int) -> None:
        """Raises `RunError` for bounds between which both could wait for each other, for ever.

        `rollout_steps` is what all runners take at once. Neither can move where a chunk is too much for the learner
        and a rollout too much for the runners: the interval must be wider than both together.
        """
        needed = chunk_steps / self.updates_per_step + rollout_steps
        if 2.0 * self.slack < needed:
            raise RunError(
                f"--slack: found {self.slack:g}, expected at least {needed / 2:g}: with chunks of {chunk_steps} steps "
                f"at {self.updates_per_step:g} for each environment step, and rollouts of {rollout_steps} "
                "environment steps, learner and runners could wait for each other for ever. Raise it, or lower "
                "--chunk-steps or --rollout-steps."
            )

    def may_learn(self, asked: int, chunk_steps: int, stored: int) -> bool:
        """Whether `chunk_steps` more gradient steps may follow the `asked` ones."""
        if stored < self.start:
            return False
        return (stored - self.start) - (asked + chunk_steps) / self.updates_per_step >= -self.slack - _ROUNDING

    def may_act(self, asked: int, stored: int, under_way: int, rollout_steps: int) -> bool:
        """Whether a rollout may begin, beside `under_way` environment steps that runners have been asked for."""
        ahead = stored + under_way + rollout_steps - self.start
        return ahead <= 0 or ahead - asked / self.updates_per_step <= self.slack + _ROUNDING

    def updates(self, env_steps: int) -> int:
        """Gradient steps that so many environment steps are worth."""
        return gradient_steps(env_steps, self.start, self.updates_per_step)


def gradient_steps(env_steps: int, start: int, updates_per_step: float) -> int:
    """That so many environment steps are worth, of which those before `start` are worth none."""
    return int((env_steps - start) * updates_per_step + 1e-9)
