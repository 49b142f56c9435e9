"""Ray: each role an actor owned by the driver, placed by one placement group."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import ray
from ray.exceptions import (
    GetTimeoutError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.metrics import Gauge
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.backends import ray_local
from cluster.backends.backend import ActorEndedError, LearnerDiedError
from cluster.backends.ray_session import connect, log_folder
from cluster.backends.ray_watch import Watch, end_started, group_state
from cluster.backends.room import Place, check_this_machine, fit, missing
from cluster.errors import RunError
from cluster.options import Topology
from cluster.reporter import GAUGES

logger = logging.getLogger(__name__)

PLACEMENT_TIMEOUT = 300.0
"""Seconds to wait for the resources of a run."""
TELL_FIRST, TELL_EVERY = 3.0, 30.0
"""Seconds after which that wait says what is missing, and then again."""
PATIENCE = 1.0
"""Seconds that one call waits, before it is seen again whether Ray lives."""
STOP_TIMEOUT = 20.0
"""Seconds that Ray has to end the actors of a run, and itself where the run started it."""
REJOIN, RESTART = "Start Ray again first, then go on with --resume.", "Go on with --resume: it starts Ray anew."
_LOST = (RayActorError, ObjectLostError, LocalRayletDiedError, NodeDiedError, WorkerCrashedError)
"""A result is gone with its process, or with the node that held it."""
_FULL = (ObjectStoreFullError, OutOfDiskError, OutOfMemoryError)
"""Errors of a Ray that lives."""


class RayBackend:
    """The driver owns every actor, so that none outlives the run and no reference dies with an actor.

    Whatever waits for Ray here looks again and again whether Ray still lives (`cluster/backends/ray_watch.py`), and
    raises `RunError` where the run cannot go on: nothing waits for ever for what is gone.
    """

    abandoned: ClassVar[bool] = False
    """Whether Ray was left as it is in this process. What it does when the interpreter ends may then take minutes, or
    crash: end the process by `os._exit`."""

    def __init__(self, topology: Topology, places: Sequence[Place], *, threads: int) -> None:
        """Join or start Ray and reserve room for all `places` at once.

        Raises `RunError` where the cluster has no room for them, saying what is missing.
        """
        self._started = not ray.is_initialized()
        self._actors: dict[str, Any] = {}
        self._bounded: dict[str | None, str] = {}
        """By Ray's id, the name of each actor whose calls are repeated a few times only."""
        self._gauges: dict[str, Gauge] = {}
        self._group: PlacementGroup | None = None
        self._environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        joined = not self._started or connect(topology.address)
        self._watch = Watch(str(log_folder()), REJOIN if joined else RESTART)
        try:
            with self._watch.calling():
                if not joined:
                    check_this_machine(places, ray.cluster_resources())
                self._places = fit(places, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            self._reserve()
        except BaseException:
            # Interrupted while it waited, perhaps: nobody else may know of what was started and reserved.
            self.stop()
            raise
        self._bundle = {place.name: number for number, place in enumerate(self._places)}

    def start(self, name: str, role: type, *args: Any, restartable: bool) -> Any:
        place = self._places[self._bundle[name]].role
        retries = getattr(role, "retries", -1)
        with self._calling():
            self._actors[name] = (
                ray.remote(role)
                .options(
                    num_cpus=place.num_cpus,
                    num_gpus=place.num_gpus,
                    resources=place.resources,
                    max_restarts=-1 if restartable else 0,
                    max_task_retries=retries if restartable else 0,
                    runtime_env={"env_vars": self._environment},
                    scheduling_strategy=PlacementGroupSchedulingStrategy(
                        placement_group=self._group, placement_group_bundle_index=self._bundle[name]
                    ),
                )
                .remote(*args)
            )
            if retries >= 0:
                self._bounded[self._actors[name]._actor_id.hex()] = name
        return self._actors[name]

    def call(self, actor: Any, method: str, *args: Any, returns: int = 1) -> Any:
        function = getattr(actor, method)
        with self._calling():
            # Options cost as much as a small call itself.
            return function.remote(*args) if returns == 1 else function.options(num_returns=returns).remote(*args)

    def get(self, reference: Any) -> Any:
        while True:
            try:
                with self._calling():
                    return ray.get(reference, timeout=PATIENCE)
            except RayTaskError as error:
                cause = error.cause
                if isinstance(cause, _LOST):
                    raise LearnerDiedError(_death(cause)) from error
                if cause is not None and not isinstance(cause, RayError):
                    raise cause from None
                raise self._trouble(error) from error
            except GetTimeoutError:
                continue
            except _LOST as error:
                if isinstance(error, RayActorError) and error.actor_init_failed:
                    raise RunError(f"an actor could not start: {str(error).strip().splitlines()[-1]}") from error
                if (name := self._bounded.get(getattr(error, "actor_id", None))) is not None:
                    raise ActorEndedError(
                        f"{name}: its process ended in the same call each time that it was made. {_death(error)}"
                    ) from error
                # Every other role restarts by itself, without end.
                raise LearnerDiedError(_death(error)) from error

    def wait(self, references: Sequence[Any], timeout: float | None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = PATIENCE if deadline is None else min(PATIENCE, max(deadline - time.monotonic(), 0.0))
            with self._calling():
                ready, waiting = ray.wait(list(references), num_returns=1, timeout=left)
                if ready and waiting:
                    ready, _ = ray.wait(list(references), num_returns=len(references), timeout=0)
            if ready or (deadline is not None and time.monotonic() >= deadline):
                return ready

    def put(self, value: Any) -> Any:
        with self._calling():
            return ray.put(value)

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """For every call of Ray's: raises `RunError` where Ray is lost, in the place of Ray's own errors."""
        self._watch.check()
        try:
            with self._watch.calling():
                yield
        except (RayTaskError, GetTimeoutError, *_LOST):
            raise
        except (RayError, ConnectionError) as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> RunError:
        """What to say of an error of Ray's own: that Ray is lost, where that comes out soon after."""
        if not isinstance(error, _FULL):
            self._watch.explain()
        return RunError(
            f"Ray failed: {_first_line(error)}. Its logs are in {log_folder()} on each node; put that right, then go "
            "on with --resume."
        )

    def gauges(self, values: Mapping[str, float], labels: Mapping[str, str]) -> None:
        for name, value in values.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"quiver_{name}", description=GAUGES[name], tag_keys=tuple(labels))
            self._gauges[name].set(value, tags=dict(labels))

    def node_of(self, name: str) -> str:
        return self._watch.placed[self._bundle[name]]

    def nodes(self) -> int:
        return len(set(self._watch.placed))

    def end(self, actors: Sequence[Any]) -> None:
        with self._calling():
            for actor in actors:
                ray.kill(actor)

    def stop(self) -> None:
        """Ends within `STOP_TIMEOUT`, whatever Ray does. Where Ray is lost there is nothing to ask it for: its actors
        end with it."""
        self._watch.stop()
        if self._watch.lost:
            end_started()
            RayBackend.abandoned = True
            return

        # What is refused before there are actors needs no logs.
        failed = isinstance(sys.exception(), Exception) and bool(self._actors)

        def stop() -> None:
            with contextlib.suppress(Exception):
                for actor in self._actors.values():
                    ray.kill(actor)
                if self._group is not None:
                    remove_placement_group(self._group)
            if self._started:
                with contextlib.suppress(Exception):
                    ray_local.end(keep_logs=failed)

        # In a thread, since none of these calls has a time limit.
        thread = threading.Thread(target=stop, name="quiver_stop_ray", daemon=True)
        thread.start()
        thread.join(STOP_TIMEOUT)
        if thread.is_alive():
            logger.warning("Ray did not let go of the actors within %.0f s; they end with this process", STOP_TIMEOUT)
            end_started()
            RayBackend.abandoned = True
        self._actors.clear()

    def _reserve(self) -> None:
        """Room for all places at once. Raises `RunError` where there is none, saying what is missing."""
        bundles = [place.bundle for place in self._places]
        with self._calling():
            self._group = group = placement_group(bundles, strategy="SPREAD")
        begun, tell_at = time.monotonic(), TELL_FIRST
        while True:
            with self._calling():
                # In short waits, since it listens to no signal.
                if group.wait(PATIENCE):
                    break
                waited = time.monotonic() - begun
                if waited < min(tell_at, PLACEMENT_TIMEOUT):
                    continue
                lacking = missing(bundles, ray.cluster_resources())
                message = f"{lacking}; waited {waited:.0f} s for a placement of {len(bundles)} roles"
            if waited >= PLACEMENT_TIMEOUT:
                raise RunError(f"{message}. Add nodes, or lower the counts in ray_config.yaml's metadata.quiver.")
            logger.warning(message)
            tell_at = waited + TELL_EVERY
        with self._calling():
            _, placed = group_state(group)
        self._watch.follow(group, placed, lambda: missing(bundles, ray.cluster_resources()))


def _first_line(error: Exception) -> str:
    """Ray's messages run to a page; what happened is in their first line."""
    return str(error).strip().splitlines()[0]


def _death(error: Exception) -> str:
    return f"{_first_line(error)} Its log is in {log_folder()} on its node."
