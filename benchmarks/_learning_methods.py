"""The methods of `learning.py`: our knobs, and how d3rlpy calls them.

Whatever both libraries have is written once, in our names, and translated: widths, batch, learning rates, discount,
rewards and the knobs of the method are the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from _learning_tasks import Task

HIDDEN = (256, 256)
LEARNING_RATE = 3e-4
BATCH = 256


@dataclass(frozen=True)
class Peer:
    """d3rlpy's version of a method."""

    config: str
    """The name of its configuration's class."""
    names: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Our knob → its option, or options. Each must be among the method's knobs, so that no default differs unseen."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options that make it the method that ours is."""
    learning_rates: tuple[str, ...] = ("actor_learning_rate", "critic_learning_rate")
    """Options that `learning_rate` is."""


@dataclass(frozen=True)
class Method:
    name: str
    algorithm: str
    """Ours, as `learners.create` knows it."""
    milliseconds: tuple[float, float]
    """Roughly, of a gradient step with its sampling on one core, ours and d3rlpy's: for the estimate of time."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Knobs that a task wants otherwise."""
    peer: Peer | None = None
    batch: int = BATCH
    """Transitions, or episodes where the method learns from whole ones."""
    budget: float = 1.0
    """Share of the task's gradient steps: fewer where a step is expensive."""

    def knobs_for(self, task: Task) -> dict[str, Any]:
        common = {
            "discount": task.discount,
            "reward_scale": task.reward_scale,
            "reward_shift": task.reward_shift,
            "hidden": HIDDEN,
            "learning_rate": LEARNING_RATE,
        }
        return {**common, **self.knobs, **self.by_task.get(task.name, {})}

    def peer_options(self, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """What d3rlpy's configuration is made of, in plain values."""
        if self.peer is None:
            raise ValueError(f"{self.name}: d3rlpy has no such method.")
        options: dict[str, Any] = {
            "config": self.peer.config,
            "hidden_units": list(knobs["hidden"]),
            "critic_layer_norm": knobs.get("layer_norm", False),
            **dict.fromkeys(self.peer.learning_rates, knobs["learning_rate"]),
        }
        for ours, theirs in {"discount": "gamma", **self.peer.names}.items():
            options |= dict.fromkeys((theirs,) if isinstance(theirs, str) else theirs, knobs[ours])
        return options | dict(self.peer.fixed)


_CQL: dict[str, str | tuple[str, ...]] = {
    "policy_learning_rate": ("actor_learning_rate", "temp_learning_rate"),
    "conservative_weight": "conservative_weight",
    "sampled_actions": "n_action_samples",
    "max_target_backup": "max_q_backup",
}
_CQL_KNOBS = {
    "policy_learning_rate": 1e-4,
    "conservative_weight": 5.0,
    "sampled_actions": 10,
    "max_target_backup": False,
}
# A step takes 30 actions for each state: eight times as long with 256 units, which the U maze does not need.
_CQL_BY_TASK = {"umaze": {"hidden": (64, 64)}}
_WITH_IMITATOR = ("actor_learning_rate", "critic_learning_rate", "imitator_learning_rate")

METHODS = {
    method.name: method
    for method in (
        # The squared error for both: d3rlpy's stochastic cloning is the squared error of a sample.
        Method("bc", "bc", (3.0, 8.0), {"loss": "mse"}, peer=Peer("BCConfig", learning_rates=("learning_rate",))),
        # The authors' for the ant mazes; for the cube as in OGBench (arXiv 2410.20092).
        Method(
            "iql",
            "iql",
            (8.0, 13.0),
            {"expectile": 0.7, "temperature": 3.0, "advantage_clip": 100.0},
            {"umaze": {"expectile": 0.9, "temperature": 10.0}, "medium": {"expectile": 0.9, "temperature": 10.0}}
            | {"cube": {"expectile": 0.9, "temperature": 1.0}},
            peer=Peer(
                "IQLConfig",
                {"expectile": "expectile", "temperature": "weight_temp", "advantage_clip": "max_weight"},
            ),
        ),
        Method("td3bc", "td3bc", (9.0, 11.0), {"alpha": 2.5}, peer=Peer("TD3PlusBCConfig", {"alpha": "alpha"})),
        Method(
            "rebrac",
            "rebrac",
            (9.0, 13.0),
            {"layer_norm": True, "policy_penalty": 0.1, "critic_penalty": 0.01},
            {"cube": {"policy_penalty": 1.0, "critic_penalty": 0.0}, "halfcheetah": {"policy_penalty": 0.01}},
            peer=Peer("ReBRACConfig", {"policy_penalty": "actor_beta", "critic_penalty": "critic_beta"}),
        ),
        # d3rlpy weighs by a softmax over the batch; ours by an exponential that is clipped.
        Method(
            "awac",
            "awac",
            (11.0, 14.0),
            {"temperature": 1.0, "sampled_actions": 1, "policy_weight_decay": 0.0},
            peer=Peer("AWACConfig", {"temperature": "lam", "sampled_actions": "n_action_samples"}),
        ),
        # The authors' for the cube; for the mazes of D4RL they use 10.
        Method("fql", "fql", (18.0, 0.0), {"distillation_weight": 10.0}, {"cube": {"distillation_weight": 300.0}}),
        Method("awr", "awr", (22.0, 0.0), batch=16, budget=0.5),
        Method("brac", "brac", (12.0, 0.0)),
        # Returns lie in [0, 1] for the cross-entropy loss: 1 at the goal, where the episode ends.
        Method(
            "qtopt",
            "qtopt",
            (60.0, 0.0),
            {"polyak": 0.005, "lag_steps": 100},
            {"umaze": {"reward_scale": 1.0}, "cube": {"reward_shift": 1.0}, "medium": {"reward_shift": 1.0}}
            | {"halfcheetah": {"loss": "squared"}},
            budget=0.5,
        ),
        Method("lstd", "lstd", (5.0, 0.0), budget=0.2),
        Method("lspi", "lspi", (5.0, 0.0), budget=0.2),
        Method(
            "cql",
            "cql",
            (60.0, 65.0),
            _CQL_KNOBS,
            _CQL_BY_TASK,
            peer=Peer("CQLConfig", _CQL, {"alpha_learning_rate": 0.0}),
        ),
        Method(
            "calql",
            "calql",
            (60.0, 65.0),
            _CQL_KNOBS,
            _CQL_BY_TASK,
            peer=Peer("CalQLConfig", _CQL, {"alpha_learning_rate": 0.0}),
        ),
        Method(
            "bcq",
            "bcq",
            (25.0, 32.0),
            {
                "learning_rate": 1e-3,
                "generative_hidden": HIDDEN,
                "kl_weight": 0.5,
                "perturbation": 0.05,
                "minimum_weight": 0.75,
                "sampled_actions": 10,
                "acting_samples": 10,  # d3rlpy has one number for both
            },
            peer=Peer(
                "BCQConfig",
                {
                    "kl_weight": "beta",
                    "perturbation": "action_flexibility",
                    "minimum_weight": "lam",
                    "sampled_actions": "n_action_samples",
                },
                learning_rates=_WITH_IMITATOR,
            ),
            budget=0.5,
        ),
        # d3rlpy's has an entropy bonus, which neither the paper nor ours has: it is turned off.
        Method(
            "bear",
            "bear",
            (22.0, 18.0),
            {
                "generative_hidden": HIDDEN,
                "kl_weight": 0.5,
                "kernel": "laplacian",
                "bandwidth": 20.0,
                "divergence_threshold": 0.05,
                "multiplier_learning_rate": 1e-3,
                "warm_up_steps": 1_000,
                "sampled_actions": 10,
                "target_samples": 10,
                "acting_samples": 10,
                "minimum_weight": 0.75,
            },
            peer=Peer(
                "BEARConfig",
                {
                    "kl_weight": "vae_kl_weight",
                    "kernel": "mmd_kernel",
                    "bandwidth": "mmd_sigma",
                    "divergence_threshold": "alpha_threshold",
                    "multiplier_learning_rate": "alpha_learning_rate",
                    "warm_up_steps": "warmup_steps",
                    "sampled_actions": "n_mmd_action_samples",
                    "target_samples": "n_target_samples",
                    "acting_samples": "n_action_samples",
                    "minimum_weight": "lam",
                },
                {"initial_temperature": 1e-8, "temp_learning_rate": 0.0},
                learning_rates=_WITH_IMITATOR,
            ),
            budget=0.5,
        ),
        Method(
            "sacn",
            "edac",
            (32.0, 45.0),
            {"members": 10, "diversity": 0.0},
            peer=Peer("SACConfig", {"members": "n_critics"}),
            budget=0.5,
        ),
        Method("edac", "edac", (50.0, 0.0), {"members": 10, "diversity": 1.0}, budget=0.5),
        Method("redq", "redq", (32.0, 0.0), budget=0.5),
        Method("msg", "msg", (50.0, 0.0), {"members": 16}, budget=0.5),
    )
}
