"""The algorithms by name: where each is, what kind of method it is, and what it does, in a line. Importing it imports
no algorithm, so that help and messages need not wait for PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    where: str
    """`module:Class`."""
    group: str
    does: str
    """In a line, with the paper's authors and year."""


IMITATION = "imitation"
IN_SAMPLE = "values of logged actions only"
CONSTRAINED = "policies held near the data"
PESSIMISTIC = "pessimistic values"
ONLINE = "online, and fine-tuning"
LINEAR = "linear values, in closed form"

ALGORITHMS = {
    "bc": Entry("learners.bc:BC", IMITATION, "Behaviour cloning: the policy that makes the logged actions likeliest."),
    "iql": Entry(
        "learners.iql:IQL",
        IN_SAMPLE,
        "Implicit Q-learning: expectile values, weighted cloning (Kostrikov et al. 2021).",
    ),
    "awac": Entry("learners.awac:AWAC", IN_SAMPLE, "Advantage-weighted actor-critic (Nair et al. 2020)."),
    "awr": Entry("learners.awr:AWR", IN_SAMPLE, "Advantage-weighted regression on returns (Peng et al. 2019)."),
    "td3bc": Entry("learners.td3bc:TD3BC", CONSTRAINED, "TD3 with a cloning term (Fujimoto and Gu 2021)."),
    "rebrac": Entry(
        "learners.rebrac:ReBRAC", CONSTRAINED, "TD3+BC with penalties in actor and critic (Tarasov et al. 2023)."
    ),
    "bcq": Entry("learners.bcq:BCQ", CONSTRAINED, "Batch-constrained Q-learning (Fujimoto, Meger and Precup 2018)."),
    "bear": Entry(
        "learners.bear:BEAR", CONSTRAINED, "Support matching by maximum mean discrepancy (Kumar et al. 2019)."
    ),
    "brac": Entry(
        "learners.brac:BRAC", CONSTRAINED, "Behaviour-regularised actor-critic (Wu, Tucker and Nachum 2019)."
    ),
    "fql": Entry("learners.fql:FQL", CONSTRAINED, "Flow Q-learning: a one-step policy from a flow (Park et al. 2025)."),
    "cql": Entry("learners.cql:CQL", PESSIMISTIC, "Conservative Q-learning (Kumar et al. 2020)."),
    "calql": Entry("learners.calql:CalQL", PESSIMISTIC, "Calibrated CQL, to be fine-tuned (Nakamoto et al. 2023)."),
    "edac": Entry("learners.edac:EDAC", PESSIMISTIC, "SAC-N with diversified critics (An et al. 2021)."),
    "msg": Entry("learners.msg:MSG", PESSIMISTIC, "Ensembles with independent targets (Ghasemipour et al. 2022)."),
    "sac": Entry("learners.sac:SAC", ONLINE, "Soft actor-critic (Haarnoja et al. 2018)."),
    "td3": Entry("learners.td3:TD3", ONLINE, "Twin delayed deterministic policy gradients (Fujimoto et al. 2018)."),
    "redq": Entry("learners.redq:REDQ", ONLINE, "SAC with many updates on an ensemble (Chen et al. 2021)."),
    "rlpd": Entry("learners.rlpd:RLPD", ONLINE, "SAC from fresh data and logs at once (Ball et al. 2023)."),
    "qtopt": Entry(
        "learners.qtopt:QTOpt", ONLINE, "QT-Opt: no actor, a search over the critic (Kalashnikov et al. 2018)."
    ),
    "lstd": Entry(
        "learners.lstd:LSTD", LINEAR, "Least-squares temporal differences of the data (Bradtke and Barto 1996)."
    ),
    "lspi": Entry("learners.lspi:LSPI", LINEAR, "Least-squares policy iteration (Lagoudakis and Parr 2003)."),
}


def names() -> list[str]:
    return sorted(ALGORITHMS)


def listing() -> str:
    """All of them, grouped, a line each."""
    width = max(map(len, ALGORITHMS))
    lines = []
    for group in dict.fromkeys(entry.group for entry in ALGORITHMS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}  {entry.does}" for name, entry in ALGORITHMS.items() if entry.group == group]
    return "\n".join(lines[1:])
