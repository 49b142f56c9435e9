"""What the loop needs of a world to run in: actors, calls that return references, and waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cluster.errors import RunError

Actor = Any
Reference = Any


class LearnerDiedError(RunError):
    """The learner's process is gone: go back to the last checkpoint."""


class ActorEndedError(RunError):
    """The process of an actor that steps environments ended in a call, as often as its role lets that be repeated."""


class Backend(Protocol):
    """The same loop runs over Ray and, with references that are plain values, in one process."""

    def start(self, name: str, role: type, *args: Any, restartable: bool) -> Actor:
        """An actor. `restartable` ones hold nothing that a restart loses, and every call to them may be repeated: as
        often as the role's `retries` say, or without end."""

    def call(self, actor: Actor, method: str, *args: Any, returns: int = 1) -> Any:
        """A reference to the result (or to each of `returns` results). Arguments may be references."""

    def get(self, reference: Reference) -> Any:
        """The value. Raises what the call raised; `LearnerDiedError` where it is lost with its process; `RunError`, as
        all methods may, where the world that the actors live in is lost."""

    def wait(self, references: Sequence[Reference], timeout: float | None) -> list[Reference]:
        """Those that are ready once at least one is, or once `timeout` seconds have passed."""

    def put(self, value: Any) -> Reference:
        """A reference to a value that several actors will need."""

    def gauges(self, values: Mapping[str, float], labels: Mapping[str, str]) -> None:
        """Show numbers to whoever watches the cluster (Prometheus, through Ray), with labels that name the run."""

    def node_of(self, name: str) -> str:
        """The machine that an actor of this name is (or will be) on."""

    def nodes(self) -> int:
        """How many machines the actors are on."""

    def end(self, actors: Sequence[Actor]) -> None:
        """End these actors; the dead stay dead."""

    def stop(self) -> None:
        """End all actors, and what was started for them."""
