"""What an environment is, in a form that fits in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from envs.errors import EnvError

RECORDED = ("id", "kwargs", "reset_options")
"""The parts of a spec that can run code or open files."""


@dataclass(frozen=True)
class EnvSpec:
    """An environment by name. Two equal specs make environments that behave alike, step for step."""

    id: str
    """A gymnasium, gymnasium-robotics or OGBench id (`PointMaze_UMaze-v3`, `cube-single-v0`), the name of an
    OGBench dataset (`cube-single-play-singletask-task2-v0`), or `module:id` for ids that a module registers."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """For the constructor, and gymnasium's own such as `max_episode_steps`."""
    reset_options: Mapping[str, Any] | None = None
    """Given to every reset, over those of the caller. Lists become arrays: `{"goal_cell": [3, 1]}`."""
    observation_key: str | None = None
    """Of a dictionary observation, keep this part alone, as a plain array."""
    recorded: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What data has named, and no person: `id`, `kwargs` or `reset_options`, each with the file that says so. Of these
    `make` takes what `envs.trust` allows. No part of what the environment is: it is not written, nor compared."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise EnvError(f"environment id: found {self.id!r}, expected a name such as 'PointMaze_UMaze-v3'.")
        for name in ("kwargs", "reset_options"):
            value = getattr(self, name)
            if value is None and name == "reset_options":
                continue
            if not isinstance(value, Mapping):
                raise EnvError(f"environment {self.id}, {name}: found {value!r}, expected a mapping of names.")
            object.__setattr__(self, name, _plain(value, f"environment {self.id}, {name}"))
        if self.observation_key is not None and not isinstance(self.observation_key, str):
            raise EnvError(
                f"environment {self.id}, observation_key: found {self.observation_key!r}, expected a name or nothing."
            )

    def trusted(self) -> EnvSpec:
        """The same, as a person has named it: it may import modules and open files."""
        return replace(self, recorded={})

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `from_json` takes back; what is not set is left out."""
        found: dict[str, Any] = {"id": self.id}
        if self.kwargs:
            found["kwargs"] = self.kwargs
        if self.reset_options is not None:
            found["reset_options"] = self.reset_options
        if self.observation_key is not None:
            found["observation_key"] = self.observation_key
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "a file") -> EnvSpec:
        """What the file `where` names, which is data (`recorded`), until somebody calls `trusted`.

        Raises `EnvError` for anything `to_json` would not write.
        """
        if not isinstance(value, Mapping) or "id" not in value:
            raise EnvError(f"environment: found {value!r} in {where}, expected an object with an 'id'.")
        known = {item.name for item in fields(cls)} - {"recorded"}
        if surplus := sorted(set(value) - known):
            raise EnvError(f"environment {value['id']}: unknown {surplus}; expected some of {sorted(known)}.")
        return cls(**value, recorded=dict.fromkeys(RECORDED, where))


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types: arrays and tuples as lists, so that equality survives a round trip."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    try:
        json.dumps(value)
    except TypeError:
        raise EnvError(
            f"{where}: found {type(value).__name__}, expected what JSON can hold: a run must be able to make "
            "its environment again from its configuration."
        ) from None
    return value
