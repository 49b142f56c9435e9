"""The tasks of `learning.py`: real logs, how they become a dataset, and where a policy is scored."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import replay
from envs import EnvSpec
from replay import Dataset
from replay.ingest import Hook, ingest

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Task:
    """One set of logs and what is to be learned from it."""

    name: str
    reader: str
    file: str
    """Below the folder of the data."""
    environment: EnvSpec
    metric: Literal["success", "return"]
    steps: int
    """Gradient steps; a method may take a share of them only (`Method.budget`)."""
    episodes: int
    """Of each evaluation."""
    evaluation_seconds: float
    """Roughly, of one evaluation on one core: for the estimate of the time that is left."""
    ingest_options: Mapping[str, Any] = field(default_factory=dict)
    reward_function: str | None = None
    """`FILE.py:FUNCTION` of this repository: what rewards the logs in hindsight."""
    discount: float = 0.99
    reward_scale: float = 1.0
    reward_shift: float = 0.0
    """What all methods learn from is scale·r + shift, unless a method says otherwise (`Method.knobs`)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    minimal_seeds: tuple[int, ...] = ()
    """Those of the subset that two cores finish in about three hours."""
    minimal_methods: tuple[str, ...] | None = None
    """Those of that subset; None: all."""
    gpu_only: bool = False
    """Whether its budget is out of reach of a CPU."""


TASKS = {
    task.name: task
    for task in (
        # The goals are stripped off, and the far end is the goal; as in examples/demo.sh. Here an episode ends at the
        # goal, as it does in the data, so that the discounted returns of the two can be compared.
        # A reward of 10 at the goal: CORL's scale for the ant mazes (arXiv 2210.07105), without its shift of −5; with
        # 1 the advantages that weigh actions would be tiny. With −1 until the goal instead, a log that is cut short
        # of it would look better than it is, and so would an untrained Q of 0.
        Task(
            name="umaze",
            reader="minari",
            file="minari/quiver/pointmaze-umaze-v0",
            environment=EnvSpec(
                "PointMaze_UMaze-v3",
                {"max_episode_steps": 150, "continuing_task": False},
                {"goal_cell": [3, 1]},
                "observation",
            ),
            metric="success",
            steps=10_000,
            episodes=20,
            evaluation_seconds=2,
            ingest_options={"observation": "observation"},
            reward_function="examples/far_goal.py:reach_far_end",
            reward_scale=10.0,
            minimal_seeds=(0, 1, 2),
        ),
        # Rewards are already −1 until the success and 0 at it.
        Task(
            name="cube",
            reader="ogbench",
            file="cube-single-play-200episodes.npz",
            environment=EnvSpec("cube-single-play-singletask-task2-v0"),
            metric="success",
            steps=25_000,
            episodes=20,
            evaluation_seconds=18,
            ingest_options={"env": "cube-single-play-singletask-task2-v0"},
            minimal_seeds=(0,),
            minimal_methods=("bc", "iql", "td3bc", "rebrac", "awac", "fql"),
        ),
        # A replay of returns from −300 to 4,400: rewards of about 5 a step, which a fifth brings to the usual unit
        # (1000 / (largest − smallest return) in arXiv 2110.06169).
        Task(
            name="halfcheetah",
            reader="hdf5",
            file="halfcheetah-sac-replay.hdf5",
            environment=EnvSpec("HalfCheetah-v5"),
            metric="return",
            steps=50_000,
            episodes=5,
            evaluation_seconds=3,
            ingest_options={"env": "HalfCheetah-v5"},
            reward_scale=0.2,
        ),
        Task(
            name="medium",
            reader="ogbench",
            file="pointmaze-medium-navigate-v0.npz",
            environment=EnvSpec("pointmaze-medium-navigate-singletask-task1-v0"),
            metric="success",
            steps=500_000,
            episodes=20,
            evaluation_seconds=20,
            ingest_options={"env": "pointmaze-medium-navigate-singletask-task1-v0"},
            discount=0.995,
            gpu_only=True,
        ),
    )
}


def data_folder(given: Path | None) -> Path:
    """Where the logs lie: `given`, or `shared/data` in or beside the repository.

    Raises `FileNotFoundError` with what to do where there is none.
    """
    candidates = [given] if given else [REPOSITORY / "shared" / "data", REPOSITORY.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.resolve()
    raise FileNotFoundError("the logs: no folder shared/data in or beside the repository; name theirs with --data.")


def dataset(task: Task, data: Path | None, work: Path) -> Dataset:
    """The task's dataset, ingested at the first time and kept in `work`.

    Raises `DataError` for logs that are missing or damaged.
    """
    out = work / task.name
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        ingest(
            f"{task.reader}:{data_folder(data) / task.file}",
            out,
            reward=_function(task.reward_function),
            **task.ingest_options,
        )
    return replay.open(out)


def _function(where: str | None) -> Hook | None:
    if where is None:
        return None
    file, _, name = where.partition(":")
    found: Hook = runpy.run_path(str(REPOSITORY / file))[name]
    return found
