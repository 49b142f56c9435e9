"""Several environments side by side: in one process, in one process each, or as one that is written that way."""

from __future__ import annotations

from typing import Literal, get_args

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from envs.errors import EnvError
from envs.make import make, register
from envs.spec import EnvSpec
from envs.stepper import VectorEnv
from envs.trust import check

Vectorization = Literal["sync", "async", "native"]
VECTORIZATIONS: tuple[str, ...] = get_args(Vectorization)


def make_vector(spec: EnvSpec, num_envs: int, vectorization: str = "sync") -> VectorEnv:
    """`num_envs` environments of `spec`.

    - sync: in this process, one after the other.
    - async: in a process each, all at once; for simulators that take longer than a message does.
    - native: the vector environment that the id itself is registered with, in whatever autoreset mode it has, as
      simulators on a GPU bring it.

    The first two leave resets to whoever steps them (AutoresetMode.DISABLED): no step goes by without a transition,
    and what ended an episode is seen before its reset. Raises `EnvError` as `make` does, and for a native one that
    there is not, or that is to be wrapped.
    """
    if vectorization not in VECTORIZATIONS:
        raise EnvError(f"vectorization: found {vectorization!r}, expected one of {', '.join(VECTORIZATIONS)}.")
    if vectorization == "native":
        return _native(spec, num_envs)
    kind = SyncVectorEnv if vectorization == "sync" else AsyncVectorEnv
    return kind([lambda: make(spec)] * num_envs, autoreset_mode=AutoresetMode.DISABLED)


def _native(spec: EnvSpec, num_envs: int) -> VectorEnv:
    if spec.reset_options is not None or spec.observation_key is not None:
        raise EnvError(
            f"environment {spec.id}: a native vector environment is taken as it is, found reset options or an "
            "observation key. Leave them out, or choose sync or async."
        )
    register(spec.id)
    check(spec)
    try:
        return gym.make_vec(
            spec.id, num_envs=num_envs, vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT, **spec.kwargs
        )
    except (gym.error.Error, TypeError, ValueError) as error:
        raise EnvError(
            f"environment {spec.id}, kwargs {dict(spec.kwargs)}: no native vector environment could be made ({error}). "
            "Choose sync or async."
        ) from error
