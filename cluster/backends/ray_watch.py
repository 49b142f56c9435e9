"""Whether Ray itself still lives: looked at from beside the run, so that no wait on Ray is a wait for ever.

What is watched is Ray and never the work: a chunk may take an hour, and an environment may hang, without any of this.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table

from cluster.errors import RayLostError, RunError

logger = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two looks at whether Ray answered; it is asked half as often."""
GCS_TIMEOUT = 30.0
"""Seconds without an answer of the GCS, after which it is lost. After 60 Ray aborts this process without a remedy."""
REPLACEMENT_TIMEOUT = 60.0
"""Seconds that a run waits for another node, where the nodes left cannot hold the roles of one that was lost."""
REMOVAL_TIMEOUT = 5.0
"""Seconds without a placement group after which the run is over."""
GRACE = 10.0
"""Seconds for the main thread to come back from a call of Ray's, once Ray is lost, before the process is ended."""
MISUSED = 2
"""The exit status of what can be put right, as in cluster/cli.py."""


@dataclass(frozen=True)
class RayState:
    """What Ray said of itself at one look."""

    nodes: dict[str, dict[str, Any]]
    """By node id, an entry of `ray.nodes()` each."""
    group: str | None = None
    """State of the placement group: CREATED once every role has a place; None where there is no group yet."""
    placed: list[str] = field(default_factory=list)
    """The node id of each bundle; empty for one without a place."""
    missing: str = ""
    """What the bundles without a place lack."""


@dataclass
class Judgement:
    """What the looks so far amount to. Time is counted in looks: whoever was stopped for an hour has not waited so
    long."""

    driver: str
    """The id of the node that this process is on."""
    gcs: str
    """Its address."""
    logs: str
    """Where Ray's logs are."""
    remedy: str
    """How to go on once Ray is lost."""
    placed: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """By id, the nodes of the run that died, in words."""
    silence: float = 0.0
    """Seconds without an answer."""
    homeless: float = 0.0
    """Seconds without a place for every role."""
    removed: float = 0.0
    """Seconds without a placement group."""

    def silent(self, seconds: float) -> RunError | None:
        """Another `seconds` went by without an answer. Returns why the run cannot go on, if it cannot."""
        self.silence += seconds
        if self.silence < GCS_TIMEOUT:
            return None
        return RayLostError(
            f"Ray's GCS at {self.gcs} has not answered for {self.silence:.0f} s: its process or the head node is gone, "
            f"or cut off. Its log is gcs_server.out in {self.logs} on the head node. {self.remedy}"
        )

    def seen(self, state: RayState, seconds: float) -> RunError | None:
        """Ray answered, `seconds` after the time before. Returns why the run cannot go on, if it cannot."""
        self.silence = 0.0
        ours = state.nodes.get(self.driver)
        if ours is not None and not ours["Alive"]:
            return RayLostError(
                f"Ray on the machine of this process ended: {_death(ours)}. Its logs are raylet.out and "
                f"dashboard_agent.log in {self.logs}. {self.remedy}"
            )
        for node in {*self.placed, *state.placed} & set(state.nodes) - set(self.lost):
            if not state.nodes[node]["Alive"]:
                self.lost[node] = _death(state.nodes[node])
                logger.warning("%s; its roles go to other nodes, if those have room", self.lost[node])
        if state.group == "REMOVED":
            return self._removed(seconds)
        if state.group is None or not self.placed:
            return None
        if state.group != "CREATED":
            return self._homeless(seconds, state.missing)
        if self.homeless:
            logger.warning("every role has a place again")
        self.homeless, self.placed = 0.0, state.placed
        return None

    def _removed(self, seconds: float) -> RunError | None:
        # A job is over for Ray once its driver's node is: that node's death may show a moment later.
        self.removed += seconds
        if self.removed < REMOVAL_TIMEOUT:
            return None
        return RunError(
            "Ray took away the places of this run's actors: somebody removed its placement group, or ended its job. "
            f"Ray's logs are in {self.logs} on the head node. Go on with --resume."
        )

    def _homeless(self, seconds: float, missing: str) -> RunError | None:
        if not self.homeless:
            logger.warning("waiting up to %.0f s for places for all roles (%s)", REPLACEMENT_TIMEOUT, missing)
        self.homeless += seconds
        if self.homeless < REPLACEMENT_TIMEOUT:
            return None
        lost = "; ".join(self.lost.values()) or "the placement of the run's roles was lost"
        return RunError(
            f"{lost}. No other node had room for its roles within {REPLACEMENT_TIMEOUT:.0f} s ({missing}). "
            f"Ray's logs are in {self.logs} on that node. Start Ray there again, or lower the counts of the roles, "
            "then go on with --resume."
        )


def _death(node: dict[str, Any]) -> str:
    """A dead node in words."""
    reason = str(node.get("DeathReasonMessage") or "it gave no reason").strip().splitlines()[0].rstrip(".")
    return f"node {node.get('NodeManagerAddress', '?')} ({str(node['NodeID'])[:8]}) was lost: {reason}"


class Watch:
    """Two threads: one asks Ray, and may wait for ever; one counts for how long the other has not been answered.

    Whoever waits for Ray calls `check` between short waits, inside `calling`. Where the main thread does not come back
    from a call even so, the process is ended with the reason: nothing else can interrupt such a call.
    """

    def __init__(self, logs: str, remedy: str) -> None:
        context = ray.get_runtime_context()
        self._judgement = Judgement(context.get_node_id(), str(context.gcs_address), logs, remedy)
        self._group: PlacementGroup | None = None
        self._missing: Callable[[], str] = str
        self._failure: RunError | None = None
        self._states: list[RayState] = []
        self._waited = 0.0
        self._calls = 0
        self._inside = False
        self._ended = threading.Event()
        self._asking = threading.Thread(target=self._ask, name="quiver_ask_ray", daemon=True)
        self._counting = threading.Thread(target=self._count, name="quiver_watch_ray", daemon=True)
        self._asking.start()
        self._counting.start()

    def follow(self, group: PlacementGroup, placed: list[str], missing: Callable[[], str]) -> None:
        """Watch over a placement group, too; `missing` says what it would lack without its places."""
        self._judgement.placed, self._missing = placed, missing
        self._group = group

    @property
    def placed(self) -> list[str]:
        """The node id of each bundle."""
        return self._judgement.placed

    @property
    def lost(self) -> bool:
        """Whether no call of Ray's may be expected to return."""
        return isinstance(self._failure, RayLostError)

    def check(self) -> None:
        """Raises `RunError` where the run cannot go on, `RayLostError` where this process cannot use Ray any more."""
        if self._failure is not None:
            raise self._failure

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """The main thread is in one of Ray's functions."""
        self._calls += 1
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def explain(self, seconds: float = GCS_TIMEOUT + 5.0) -> None:
        """Ray raised an error of its own: wait for the reason to show, at most so long. Raises what `check` raises."""
        waiting = threading.Event()
        for _ in range(int(seconds / PERIOD)):
            self.check()
            waiting.wait(PERIOD)
        self.check()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        if not self.lost:
            # It must not ask while Ray is shut down.
            self._asking.join(GRACE)

    def _ask(self) -> None:
        while not self._ended.is_set():
            # Whatever goes wrong here is no answer.
            with contextlib.suppress(Exception):
                state, placed = (None, []) if self._group is None else group_state(self._group)
                missing = "" if state in (None, "CREATED") else self._missing()
                self._states.append(RayState({node["NodeID"]: node for node in ray.nodes()}, state, placed, missing))
            self._ended.wait(2 * PERIOD)

    def _count(self) -> None:
        stuck, call = 0.0, 0
        while not self._ended.wait(PERIOD):
            if self._failure is None:
                self._failure = self._judge()
                stuck, call = 0.0, self._calls
            elif self._inside and self._calls == call:
                stuck += PERIOD
                if stuck >= GRACE:
                    end_process(str(self._failure))
            else:
                stuck, call = 0.0, self._calls

    def _judge(self) -> RunError | None:
        self._waited += PERIOD
        if not self._states:
            return self._judgement.silent(PERIOD)
        state, waited = self._states[-1], self._waited
        self._states.clear()
        self._waited = 0.0
        return self._judgement.seen(state, waited)


def group_state(group: PlacementGroup) -> tuple[str, list[str]]:
    """A placement group's state, and the node id of each of its bundles."""
    table = placement_group_table(group)
    nodes = table["bundles_to_node_id"]
    return table["state"], [nodes[number] for number in range(len(nodes))]


@contextlib.contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    """End the process with a message where what is called in here has not returned by then: for what cannot be
    interrupted."""
    ended = threading.Event()

    def wait() -> None:
        if not ended.wait(seconds):
            end_process(f"{message} (waited {seconds:.0f} s)")

    threading.Thread(target=wait, name="quiver_time_limit", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def end_process(message: str) -> None:
    """Say why, and end this process at once, from any thread, with what Ray started for it."""
    with contextlib.suppress(Exception):
        print(f"error: {message}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    end_started()
    os._exit(MISUSED)


def end_started() -> None:
    """End the processes of Ray that this process started, without asking them; those of a cluster that it joined are
    none of its descendants. They would notice that Ray is lost, but only in a minute or two."""
    import psutil  # type: ignore[import-untyped]  # Ray brings it along

    with contextlib.suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if any(part.startswith("ray::") or "/ray/" in part for part in command[:3]):
                    process.kill()
