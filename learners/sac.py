"""Soft actor-critic, SAC (Haarnoja et al. 2018, arXiv 1812.05905), with two critics and a temperature that it learns.

The policy is as random as its target entropy asks for and otherwise climbs the smaller critic. Nothing keeps it to the
actions of the data: it is a method for fresh data, and the control of those that are meant for a fixed log.
"""

from __future__ import annotations

from dataclasses import dataclass

from learners.base.ensemble import EnsembleActorCritic, EnsembleConfig
from learners.base.knobs import Members


@dataclass(frozen=True)
class SACConfig(EnsembleConfig):
    """Defaults are the authors'."""

    members: Members = 2  # Number of critics, N, of which targets and the policy trust the smaller.


class SAC(EnsembleActorCritic):
    """With more critics than two it is SAC-N, as which `EnsembleActorCritic` is written."""

    Config = SACConfig
    config: SACConfig
