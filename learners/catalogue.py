"""Which algorithms there are, each with its group and a line about it. This is read without PyTorch or NumPy, so that a
list of them is shown at once. Adding an algorithm: its file, and its entry below."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One algorithm."""

    where: str
    """`module:Class`."""
    group: str
    """One of `GROUPS`."""
    line: str
    """What it is, with its year and the arXiv number of its paper where it has one."""


GROUPS = (
    "imitation",
    "advantage-weighted regression",
    "regularised actor-critic",
    "conservative values",
    "ensembles of critics",
    "value-based",
    "made for fresh data",
    "linear",
)
"""In the order in which they are listed."""

CATALOGUE: dict[str, Entry] = {
    "bc": Entry("learners.bc:BC", GROUPS[0], "Behaviour cloning: the policy imitates the data, and reads no rewards."),
    "gcbc": Entry(
        "learners.gcbc:GCBC", GROUPS[0], "Goal-conditioned behaviour cloning: towards what followed (2019, 1912.06088)."
    ),
    "iql": Entry(
        "learners.iql:IQL", GROUPS[1], "Implicit Q-learning: asks about no action outside the data (2021, 2110.06169)."
    ),
    "awac": Entry(
        "learners.awac:AWAC", GROUPS[1], "Advantage-weighted actor-critic: a critic of the policy (2020, 2006.09359)."
    ),
    "awr": Entry(
        "learners.awr:AWR", GROUPS[1], "Advantage-weighted regression on whole episodes, without Q (2019, 1910.00177)."
    ),
    "td3bc": Entry("learners.td3bc:TD3BC", GROUPS[2], "TD3 with a squared error to the data (2021, 2106.06860)."),
    "rebrac": Entry(
        "learners.rebrac:ReBRAC", GROUPS[2], "TD3+BC with penalties on both networks, and LayerNorm (2023, 2305.09836)."
    ),
    "brac": Entry(
        "learners.brac:BRAC", GROUPS[2], "Keeps to a cloned policy by the KL divergence from it (2019, 1911.11361)."
    ),
    "bear": Entry(
        "learners.bear:BEAR",
        GROUPS[2],
        "Keeps to the support of the data by a discrepancy of samples (2019, 1906.00949).",
    ),
    "fql": Entry(
        "learners.fql:FQL", GROUPS[2], "Flow Q-learning: a one-step policy distilled from a flow (2025, 2502.02538)."
    ),
    "cql": Entry(
        "learners.cql:CQL",
        GROUPS[3],
        "Conservative Q-learning: pushes values outside the data down (2020, 2006.04779).",
    ),
    "calql": Entry(
        "learners.calql:CalQL",
        GROUPS[3],
        "CQL calibrated by returns, to be fine-tuned on fresh data (2023, 2303.05479).",
    ),
    "edac": Entry(
        "learners.edac:EDAC", GROUPS[4], "Soft actor-critic with many critics kept diverse (2021, 2110.01548)."
    ),
    "msg": Entry(
        "learners.msg:MSG", GROUPS[4], "Independent critics and a lower confidence bound of them (2022, 2205.13703)."
    ),
    "bcq": Entry(
        "learners.bcq:BCQ", GROUPS[5], "Chooses among actions that a model of the data proposes (2018, 1812.02900)."
    ),
    "qtopt": Entry(
        "learners.qtopt:QTOpt",
        GROUPS[5],
        "QT-Opt: a Q-network maximised by the cross-entropy method (2018, 1806.10293).",
    ),
    "sac": Entry("learners.sac:SAC", GROUPS[6], "Soft actor-critic (2018, 1812.05905)."),
    "td3": Entry("learners.td3:TD3", GROUPS[6], "Twin delayed deep deterministic policy gradients (2018, 1802.09477)."),
    "redq": Entry(
        "learners.redq:REDQ", GROUPS[6], "Soft actor-critic with a random subset of many critics (2021, 2101.05982)."
    ),
    "rlpd": Entry("learners.rlpd:RLPD", GROUPS[6], "REDQ on half logs and half fresh data (2023, 2302.02948)."),
    "lstd": Entry(
        "learners.lstd:LSTD", GROUPS[7], "The value of the data's policy by least squares, in closed form (1996)."
    ),
    "lspi": Entry("learners.lspi:LSPI", GROUPS[7], "Least-squares policy iteration, in closed form (2003)."),
}
"""By the name that a run is asked for."""
