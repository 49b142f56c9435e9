"""Several environments side by side: in one process, in one process each, or as one that is written that way."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Literal, get_args

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from envs.errors import MOST_ENVS, EnvError, EnvFailedError, whole
from envs.guard import FAILURE, SUCCESS, Blaming
from envs.make import make, register
from envs.spec import EnvSpec
from envs.stepper import VectorEnv
from envs.trust import check

Vectorization = Literal["sync", "async", "native"]
VECTORIZATIONS: tuple[str, ...] = get_args(Vectorization)

MOST_PROCESSES = 1_024
"""Of environments in a process each."""


def make_vector(spec: EnvSpec, num_envs: int, vectorization: str = "sync") -> VectorEnv:
    """`num_envs` environments of `spec`.

    - sync: in this process, one after the other.
    - async: in a process each, all at once; for simulators that take longer than a message does.
    - native: the vector environment that the id itself is registered with, in whatever autoreset mode it has, as
      simulators on a GPU bring it.

    The first two leave resets to whoever steps them (AutoresetMode.DISABLED): no step goes by without a transition,
    and what ended an episode is seen before its reset; their infos hold nothing but success, since those of several
    need not fit together. Raises `EnvError` as `make` does, for a native one that there is not, or that is to be
    wrapped, and for more of them than make sense.
    """
    if vectorization not in VECTORIZATIONS:
        raise EnvError(f"vectorization: found {vectorization!r}, expected one of {', '.join(VECTORIZATIONS)}.")
    whole("num_envs", num_envs, 1, MOST_PROCESSES if vectorization == "async" else MOST_ENVS)
    if vectorization == "native":
        return _native(spec, num_envs)
    with Blaming(lambda said: f"environment {spec.id}, {num_envs} side by side: {said} in their construction"):
        if vectorization == "sync":
            return SyncVectorEnv([lambda: _Terse(make(spec))] * num_envs, autoreset_mode=AutoresetMode.DISABLED)
        return _in_processes(spec, num_envs)


def let_go(vector: VectorEnv) -> None:
    """Close what may be broken: nobody waits for a process that hangs, and nothing that it raises is told."""
    with contextlib.suppress(Exception):
        inner = vector.unwrapped
        if isinstance(inner, AsyncVectorEnv):
            for process in inner.processes:
                process.kill()
            # Else it waits for the answer of a process that is gone.
            inner._state = AsyncState.DEFAULT
            vector.close(terminate=True)
        else:
            vector.close()


class _Terse(gym.Wrapper[Any, Any, Any, Any]):
    """Infos hold success alone."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {name: info[name] for name in SUCCESS if name in info}


class _Telling(_Terse):
    """Of a process: what goes wrong is told by its infos. gymnasium would print a trace, and end the process."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        try:
            return super().reset(seed=seed, options=options)
        except EnvError as error:
            return self.observation_space.sample(), {FAILURE: str(error)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            return super().step(action)
        except EnvError as error:
            return self.observation_space.sample(), 0.0, True, False, {FAILURE: str(error)}


def _in_processes(spec: EnvSpec, num_envs: int) -> VectorEnv:
    here = os.getpid()

    def telling() -> gym.Env[Any, Any]:
        try:
            return _Telling(make(spec))
        except EnvError as error:
            if os.getpid() == here:
                raise
            # The process that was to hold it has no other way to tell.
            print(f"note: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    try:
        return AsyncVectorEnv([telling] * num_envs, autoreset_mode=AutoresetMode.DISABLED)
    except (EOFError, OSError) as error:
        raise EnvFailedError(
            f"environment {spec.id}: one of {num_envs} processes ended in its construction ({error!r}). Look at what "
            "it said, and at how many there can be; sync steps them in one process."
        ) from error


def _native(spec: EnvSpec, num_envs: int) -> VectorEnv:
    if spec.reset_options is not None or spec.observation_key is not None:
        raise EnvError(
            f"environment {spec.id}: a native vector environment is taken as it is, found reset options or an "
            "observation key. Leave them out, or choose sync or async."
        )
    register(spec.id)
    check(spec)
    with Blaming(lambda said: f"environment {spec.id}, {num_envs} side by side: {said} in their construction"):
        try:
            return gym.make_vec(
                spec.id, num_envs=num_envs, vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT, **spec.kwargs
            )
        except (gym.error.Error, ModuleNotFoundError, TypeError, ValueError) as error:
            raise EnvError(
                f"environment {spec.id}, kwargs {dict(spec.kwargs)}: no native vector environment could be made "
                f"({error}). Choose sync or async."
            ) from error
