"""Controllers that know the simulator's state: hand-written, so their data may be made anywhere, at any size."""

from __future__ import annotations

from envs.errors import EnvError
from envs.policies import Policy
from envs.scripted.manipspace import ManipSpacePolicy
from envs.scripted.ogbench_maze import OGBenchMazePolicy
from envs.scripted.point_maze import PointMazePolicy
from envs.spec import EnvSpec

CONTROLLERS = (PointMazePolicy, OGBenchMazePolicy, ManipSpacePolicy)


def scripted(spec: EnvSpec, *, noise: float | None = None, random_probability: float = 0.0) -> Policy:
    """The controller for `spec`, perturbed: `noise` and `random_probability` as in `Perturbed`.

    None means the controller's own default noise. Raises `EnvError` for an environment without a
    controller, naming those that have one.
    """
    for controller in CONTROLLERS:
        if controller.ids.fullmatch(spec.id):
            return controller.perturbed(noise, random_probability)
    known = "; ".join(f"{controller.family}" for controller in CONTROLLERS)
    raise EnvError(f"environment {spec.id}: no scripted controller. There is one for {known}. Use a random policy.")


__all__ = ["CONTROLLERS", "ManipSpacePolicy", "OGBenchMazePolicy", "PointMazePolicy", "scripted"]
