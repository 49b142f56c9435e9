"""The tasks and methods of `finetune.py`: weakened logs, budgets, and each method's knobs, as options of `quiver`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

POINTS = 20
"""Evaluations of an online stage, evenly spaced, besides the one before it."""


OFFLINE_THEN_ONLINE, LOGS_FROM_THE_START, FROM_SCRATCH = ("offline-online", "with-logs", "scratch")
"""Trained on the log, then on it and fresh data; on both from the start; on fresh data alone."""


@dataclass(frozen=True)
class Task:
    name: str
    source: str
    """`reader:file below the folder of the data`."""
    ingested: tuple[str, ...]
    """Options of `quiver ingest`."""
    reward: str | None
    """`FILE.py:FUNCTION` of this repository: what rewards the log in hindsight."""
    weakened: tuple[str, ...]
    """Options that leave a part of the log out, where it is not left out while ingesting."""
    weakening: str
    """The same in words."""
    environment: tuple[str, ...]
    metric: Literal["success_rate", "return_mean"]
    reference: float
    """What counts as 1."""
    offline_steps: int
    env_steps: int
    """The budget of every online stage."""
    episodes: int
    """Of each evaluation."""
    evaluation_seconds: float
    milliseconds: float
    """Of an environment step with its action, roughly: for the estimate of time, as is the line before."""


@dataclass(frozen=True)
class Method:
    name: str
    """As `learners.create` knows it."""
    ways: tuple[str, ...]
    milliseconds: Mapping[str, float]
    """Of a gradient step on one core, roughly, by task."""
    knobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By task."""
    online: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Knobs that change after the offline stage, besides those that the method itself changes."""
    updates_per_step: float = 1.0
    offline_steps: Mapping[str, int] = field(default_factory=dict)
    """Where they are not the task's: by task."""


SEEDS = (0, 1, 2)
PROVEN = ("iql", "calql")
"""The methods that claims are made of."""

_FAR_END = (
    *("--env", "PointMaze_UMaze-v3", "--env-kwargs", '{"max_episode_steps": 150, "continuing_task": false}'),
    *("--reset-options", '{"goal_cell": [3, 1]}', "--observation-key", "observation"),
)

TASKS = {
    task.name: task
    for task in (
        # The task of `learning.py`, with a tenth of its log: nine tenths are kept for validation, which nothing here
        # looks at. All of it gives IQL .95.
        Task(
            name="umaze",
            source="minari:minari/quiver/pointmaze-umaze-v0",
            ingested=("--observation", "observation", "--validation-fraction", "0.9"),
            reward="examples/far_goal.py:reach_far_end",
            weakened=(),
            weakening="A tenth of the U maze's log: 90 episodes to random goals, rewarded for the far end.",
            environment=_FAR_END,
            metric="success_rate",
            reference=1.0,
            offline_steps=8_000,
            env_steps=8_000,
            episodes=20,
            evaluation_seconds=1.5,
            milliseconds=1.0,
        ),
        # The replay of a SAC run from scratch, without its better episodes.
        Task(
            name="halfcheetah",
            source="hdf5:halfcheetah-sac-replay.hdf5",
            ingested=("--env", "HalfCheetah-v5"),
            reward=None,
            weakened=("--where", "return < 3200"),
            weakening="A SAC run's replay without its episodes of 3,200 or more. A score of 100 is its best, 4,825.",
            environment=("--env", "HalfCheetah-v5"),
            metric="return_mean",
            reference=4_825.0,
            offline_steps=16_000,
            env_steps=10_000,
            episodes=3,
            evaluation_seconds=2.0,
            milliseconds=1.0,
        ),
    )
}

# The U maze's rewards are scaled up for methods with an entropy bonus or a conservative weight, so that these are small
# beside the returns; the widths of the expensive ones are small, too.
_NARROW = ("--hidden", "64", "64")
_MIDDLE, _WIDE = ("--hidden", "128", "128"), ("--hidden", "256", "256")
_CALQL = ("--policy-learning-rate", "3e-4", "--sampled-actions", "10", *_NARROW)

_RLPD = ("--policy-every", "5", *_NARROW)
# Rewards of about 5 a step: the usual unit of the methods that weigh actions by their advantage (arXiv 2110.06169).
_FIFTH = ("--reward-scale", "0.2")

METHODS = {
    method.name: method
    for method in (
        Method(
            "iql",
            (OFFLINE_THEN_ONLINE, FROM_SCRATCH),
            {"umaze": 11.0, "halfcheetah": 5.5},
            {
                "umaze": (*("--expectile", "0.9", "--temperature", "10", "--reward-scale", "10"), *_WIDE),
                "halfcheetah": (*_FIFTH, "--expectile", "0.7", "--temperature", "1", *_MIDDLE),
            },
        ),
        Method(
            "calql",
            (OFFLINE_THEN_ONLINE, FROM_SCRATCH),
            {"umaze": 17.0, "halfcheetah": 17.0},
            {
                "umaze": (*_CALQL, "--max-target-backup", "--conservative-weight", "1", "--reward-scale", "100"),
                "halfcheetah": (*_FIFTH, *_CALQL, "--no-max-target-backup", "--conservative-weight", "5"),
            },
            # With 3e-4 it swings from one fall to the next; with 1e-4 offline, it stays near 0 for so few steps.
            online={"halfcheetah": ("--policy-learning-rate", "1e-4")},
            offline_steps={"halfcheetah": 8_000},  # a step takes three times as long as IQL's
        ),
        Method(
            "awac",
            (OFFLINE_THEN_ONLINE,),
            {"umaze": 12.0, "halfcheetah": 6.0},
            {
                "umaze": (*("--temperature", "1", "--sampled-actions", "1", "--reward-scale", "10"), *_WIDE),
                "halfcheetah": (*_FIFTH, "--temperature", "1", "--sampled-actions", "1", *_MIDDLE),
            },
        ),
        # Its authors take 20 gradient steps for each environment step, and one of the policy; on two cores that would
        # be 40 minutes a seed. In sparse tasks they leave the entropy out of targets: it rewards not to arrive.
        Method(
            "rlpd",
            (LOGS_FROM_THE_START,),
            {"umaze": 12.0, "halfcheetah": 12.0},
            {"umaze": (*_RLPD, "--reward-scale", "100", "--no-backup-entropy"), "halfcheetah": _RLPD},
            updates_per_step=5.0,
        ),
        Method(
            "sac",
            (FROM_SCRATCH,),
            {"umaze": 11.0, "halfcheetah": 5.5},
            {"umaze": (*_WIDE, "--reward-scale", "100"), "halfcheetah": _MIDDLE},
        ),
        Method(
            "td3",
            (FROM_SCRATCH,),
            {"umaze": 9.0, "halfcheetah": 4.5},
            {"umaze": (*_WIDE, "--reward-scale", "10"), "halfcheetah": _MIDDLE},
        ),
    )
}
