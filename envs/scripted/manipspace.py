"""OGBench's robot arm: cubes, the scene and the puzzles, driven by the oracles that its package ships."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from envs.errors import EnvError
from envs.policies import Actor, Perturbed, Policy
from envs.randomness import LegacyRandomness
from envs.spec import EnvSpec

_ORACLES = ("cube", "button", "drawer", "window")
_STACKING = 0.35
"""How often, at most, a cube is to be put on another one where there are several."""


@dataclass(frozen=True)
class ManipSpacePolicy(Policy):
    """Plays: one random task after another (move this cube there, press that button), until the time is up.

    `plan` follows smooth trajectories with correlated noise of its own, `markov` decides anew at every
    step from where things are. Neither sees the reward of any benchmark task: relabel for those.
    """

    oracle: str = "plan"
    plan_noise: float = 0.1

    ids: ClassVar[re.Pattern[str]] = re.compile(r"(visual-)?(cube|scene|puzzle)-.+")
    family: ClassVar[str] = "OGBench cube-*, scene-* and puzzle-*"

    def __post_init__(self) -> None:
        if self.oracle not in ("plan", "markov"):
            raise EnvError(f"oracle: found {self.oracle!r}, expected 'plan' or 'markov'.")

    @classmethod
    def perturbed(cls, noise: float | None, random_probability: float) -> Policy:
        # Its noise shakes the plan, not the actions: the arm must still come back to grasp.
        return Perturbed(cls() if noise is None else cls(plan_noise=noise), 0.0, random_probability)

    @property
    def description(self) -> dict[str, Any]:
        # Not `noise`, which is of the actions: the plan's comes besides.
        settings = {"plan_noise": self.plan_noise} if self.oracle == "plan" else {}
        return {
            "collected_by": "scripted",
            "policy": f"ogbench {self.oracle} oracle",
            "stochastic": True,
            **settings,
        }

    def prepare(self, spec: EnvSpec) -> EnvSpec:
        if "singletask" in spec.id.split("-"):
            raise EnvError(
                f"environment {spec.id}: the oracles play at random tasks. Collect in the environment without "
                "'singletask', such as cube-single-v0, and relabel the rewards."
            )
        needed = {"mode": "data_collection", "terminate_at_goal": False, "max_episode_steps": 1000}
        return replace(spec, kwargs={**needed, **spec.kwargs})

    def __call__(self, env: gym.Env[Any, Any], rng: np.random.Generator) -> Actor:
        inner: Any = env.unwrapped
        if inner._mode != "data_collection":
            raise EnvError(f"kwargs mode: found {inner._mode!r}; the oracles need 'data_collection'.")
        randomness = LegacyRandomness(int(rng.integers(2**63)))
        oracles = {task: self._oracle(task, env) for task in _ORACLES}
        stacking = rng.uniform(0.0, _STACKING)
        current: Any = None

        def act(observation: Any, info: dict[str, Any]) -> np.ndarray:
            nonlocal current
            with randomness.lent():
                if current is None or current.done:
                    if current is not None:
                        observation, info = inner.set_new_target(p_stack=stacking)
                    current = oracles[info["privileged/target_task"]]
                    current.reset(observation, info)
                return np.asarray(current.select_action(observation, info))

        return Actor(act)

    def _oracle(self, task: str, env: gym.Env[Any, Any]) -> Any:
        module = import_module(f"ogbench.manipspace.oracles.{self.oracle}.{task}_{self.oracle}")
        settings: dict[str, Any] = {"noise": self.plan_noise} if self.oracle == "plan" else {}
        if task == "button" and hasattr(env.unwrapped, "_num_rows"):
            # On a puzzle's board of buttons, open fingers would press the neighbours.
            settings["gripper_always_closed"] = True
        return getattr(module, f"{task.capitalize()}{self.oracle.capitalize()}Oracle")(env=env, **settings)
