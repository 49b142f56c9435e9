"""One process, no Ray: actors are objects, references are values, and a call runs when it is made.

What an environment does wrong in a call is raised where its result is asked for, as it is over Ray: a checkpoint that
is due is saved before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs import EnvError


@dataclass(frozen=True)
class _Failed:
    """In the place of a result."""

    error: EnvError


class SerialBackend:
    """The oracle of every other way to run, and the one to debug in."""

    def __init__(self) -> None:
        self._actors: list[Any] = []

    def start(self, name: str, role: type, *args: Any, restartable: bool) -> Any:
        self._actors.append(role(*args))
        return self._actors[-1]

    def call(self, actor: Any, method: str, *args: Any, returns: int = 1) -> Any:
        try:
            return getattr(actor, method)(*args)
        except EnvError as error:
            failed = _Failed(error)
            return failed if returns == 1 else (failed,) * returns

    def get(self, reference: Any) -> Any:
        if isinstance(reference, _Failed):
            raise reference.error
        return reference

    def wait(self, references: Sequence[Any], timeout: float | None) -> list[Any]:
        return list(references)

    def put(self, value: Any) -> Any:
        return value

    def gauges(self, values: Mapping[str, float], labels: Mapping[str, str]) -> None:
        pass

    def node_of(self, name: str) -> str:
        return "here"

    def nodes(self) -> int:
        return 1

    def end(self, actors: Sequence[Any]) -> None:
        pass

    def stop(self) -> None:
        # Elsewhere the end of their processes does it.
        for actor in self._actors:
            if hasattr(actor, "close"):
                actor.close()
        self._actors.clear()
