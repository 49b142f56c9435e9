"""Environments from specs: which package an id belongs to, and what its environments need to behave well."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import io
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym

from envs.errors import EnvError
from envs.guard import Blaming, Guarded
from envs.spec import EnvSpec
from envs.trust import OGBENCH_NAMES, check
from envs.wrappers import FixedResetOptions, FlatObservations, OwnRandomness, SelectObservation, is_flat

__all__ = ["EnvSpec", "make"]

Env = gym.Env[Any, Any]

_PACKAGES = {
    "gymnasium_robotics": ("robotics", re.compile(r"(PointMaze|AntMaze|Fetch|Hand|Adroit|FrankaKitchen|Multi)")),
    "ogbench": ("ogbench", OGBENCH_NAMES),
}
"""Package to (extra of this distribution that installs it, how its ids begin)."""

_NOISE = (
    # Spaces that the packages declare in float64 and use in float32.
    r".*Box (low|high)'s precision lowered",
    # mujoco.viewer is imported on machines without a screen, where nothing is ever shown.
    r".*DISPLAY environment variable is missing",
)


def make(spec: EnvSpec, *, finite: bool = False) -> Env:
    """Makes the environment of `spec`; ids of other packages are registered when they are first asked for.

    What it does and gives is held to what gymnasium says (`Guarded`; `finite` is its). Raises `EnvError` for an unknown
    id (with ids close to it, or the package to install), for arguments or reset options the environment does not take,
    for an observation key it lacks, and for what data has named and only a person may (`envs.trust`): nothing of that
    has been imported then; and `EnvFailedError` for whatever else its construction raises.
    """
    given = f", kwargs {dict(spec.kwargs)}" if spec.kwargs else ""
    with _quiet(), Blaming(lambda said: f"environment {spec.id}{given}: {said} in its construction"):
        register(spec.id)
        check(spec)
        env = _construct(spec)
        try:
            return _wrapped(env, spec, finite)
        except BaseException:
            with contextlib.suppress(Exception):
                env.close()
            raise


def _wrapped(env: Env, spec: EnvSpec, finite: bool) -> Env:
    if type(env.unwrapped).__module__.startswith("ogbench."):
        env = OwnRandomness(env)
    if spec.reset_options:
        env = FixedResetOptions(env, spec.id, spec.reset_options)
    if not is_flat(env.observation_space):
        env = FlatObservations(env, spec.id)
    if spec.observation_key is not None:
        env = SelectObservation(env, spec.id, spec.observation_key)
    return Guarded(env, spec.id, finite=finite)


def register(id: str) -> None:
    """Brings in the package that `id` seems to come from, as long as nothing knows it: one of `_PACKAGES`, whatever the
    id. A `module:id` is left to gymnasium, which imports the module when it makes the environment."""
    # OGBench's names begin with a small letter and nobody else's do.
    packages = sorted(_PACKAGES, reverse=id[:1].islower())
    for package in packages:
        if id in gym.registry or ":" in id:
            return
        _import(package)


def _import(package: str) -> None:
    if package in sys.modules or importlib.util.find_spec(package) is None:
        return
    # gymnasium-robotics prints a notice about its Adroit hands, whatever is being made.
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        module = importlib.import_module(package)
    for line in printed.getvalue().splitlines():
        if not line.startswith("AdroitHand"):
            print(line, file=sys.stderr)
    if package == "gymnasium_robotics":
        gym.register_envs(module)


def _construct(spec: EnvSpec) -> Env:
    # The checker costs time at every step and warns about packages that nobody here can change.
    kwargs: Mapping[str, Any] = {"disable_env_checker": True, **spec.kwargs}
    try:
        if spec.id not in gym.registry and ":" not in spec.id and "ogbench" in sys.modules:
            # Knows the names of datasets: leaves out `play` or `navigate`, keeps `singletask-task2`.
            env: Env = sys.modules["ogbench"].make_env_and_datasets(spec.id, env_only=True, **kwargs)
            if not isinstance(env, gym.Env):
                raise TypeError(f"made {type(env).__name__}, no environment")
            return env
        return gym.make(spec.id, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        raise EnvError(f"environment {spec.id}: {error}") from error
    except (gym.error.Error, ModuleNotFoundError) as error:
        named = f" {spec.recorded['id']} names it." if "id" in spec.recorded else ""
        raise EnvError(f"{_unknown(spec.id, error)}{named}") from error


def _unknown(id: str, error: Exception) -> str:
    for package, (extra, ids) in _PACKAGES.items():
        if ids.match(id) and importlib.util.find_spec(package) is None:
            return f'environment {id}: comes with {package}, not installed here: pip install "quiver-rl[{extra}]"'
    if ":" in id or id in gym.registry:  # and what it needs is not here
        return f"environment {id}: {error}"
    if close := difflib.get_close_matches(id, list(gym.registry), n=4):
        return f"environment {id}: unknown; did you mean {', '.join(close)}?"
    return f"environment {id}: unknown. An id that another package registers is written 'module:{id}'."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield
