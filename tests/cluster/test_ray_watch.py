"""What looks at Ray amount to: dead Ray is told from slow work, and a lost node from one that comes back."""

from __future__ import annotations

import logging
from typing import Any

import pytest

pytest.importorskip("ray")

from cluster.backends.ray_watch import GCS_TIMEOUT, REPLACEMENT_TIMEOUT, Judgement, RayState
from cluster.errors import RayLostError, RunError

DRIVER, ROBOT, SPARE = "d" * 56, "a" * 56, "b" * 56


def node(id: str, reason: str | None = None) -> dict[str, Any]:
    address = {DRIVER: "10.0.0.1", ROBOT: "10.0.0.2", SPARE: "10.0.0.3"}[id]
    return {"NodeID": id, "NodeManagerAddress": address, "Alive": reason is None, "DeathReasonMessage": reason or ""}


def state(*nodes: dict[str, Any], group: str = "CREATED", placed: tuple[str, ...] = (DRIVER, ROBOT)) -> RayState:
    return RayState({entry["NodeID"]: entry for entry in nodes}, group, list(placed), "GPU: 1 wanted, 0 in the cluster")


@pytest.fixture
def judgement() -> Judgement:
    found = Judgement(DRIVER, "10.0.0.1:6379", "/logs", "Start Ray again first, then go on with --resume.")
    found.placed = [DRIVER, ROBOT]
    return found


def test_work_may_take_as_long_as_it_likes(judgement: Judgement) -> None:
    for _ in range(10_000):
        assert judgement.seen(state(node(DRIVER), node(ROBOT)), 2.0) is None


def test_a_gcs_that_answers_now_and_then_lives(judgement: Judgement) -> None:
    for _ in range(10):
        assert judgement.silent(GCS_TIMEOUT - 1) is None
        assert judgement.seen(state(node(DRIVER), node(ROBOT)), 1.0) is None


def test_a_gcs_that_does_not_answer_is_lost(judgement: Judgement) -> None:
    assert judgement.silent(GCS_TIMEOUT / 2) is None
    lost = judgement.silent(GCS_TIMEOUT / 2)
    assert isinstance(lost, RayLostError)
    assert str(lost).startswith("Ray's GCS at 10.0.0.1:6379 has not answered for 30 s")
    assert str(lost).endswith("Start Ray again first, then go on with --resume.")


def test_the_node_of_this_process_is_told_from_another(judgement: Judgement) -> None:
    lost = judgement.seen(
        state(node(DRIVER, "dashboard_agent failed and raylet fate-shares with it."), node(ROBOT)), 1.0
    )
    assert isinstance(lost, RayLostError)
    assert "node 10.0.0.1 (dddddddd) was lost: dashboard_agent failed and raylet fate-shares with it. " in str(lost)


def test_a_lost_node_that_another_stands_in_for(judgement: Judgement, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        gone = node(ROBOT, "missed heartbeats")
        assert judgement.seen(state(node(DRIVER), gone, group="RESCHEDULING", placed=(DRIVER, "")), 1.0) is None
        assert judgement.seen(state(node(DRIVER), gone, node(SPARE), placed=(DRIVER, SPARE)), 1.0) is None
    assert judgement.placed == [DRIVER, SPARE]
    first, second, third = caplog.messages
    assert (
        first == "node 10.0.0.2 (aaaaaaaa) was lost: missed heartbeats; its roles go to other nodes, if those have room"
    )
    assert second == "waiting up to 60 s for places for all roles (GPU: 1 wanted, 0 in the cluster)"
    assert third == "every role has a place again"
    # The time without a place began anew.
    assert judgement.seen(state(node(DRIVER), gone, group="RESCHEDULING"), REPLACEMENT_TIMEOUT - 1) is None


def test_a_lost_node_that_nothing_stands_in_for(judgement: Judgement) -> None:
    gone = state(node(DRIVER), node(ROBOT, "missed heartbeats"), group="RESCHEDULING", placed=(DRIVER, ""))
    assert judgement.seen(gone, REPLACEMENT_TIMEOUT - 1) is None
    lost = judgement.seen(gone, 1.0)
    # Ray itself lives: this process may end its actors as ever.
    assert isinstance(lost, RunError)
    assert not isinstance(lost, RayLostError)
    assert "node 10.0.0.2 (aaaaaaaa) was lost: missed heartbeats. No other node had room" in str(lost)
    assert "GPU: 1 wanted, 0 in the cluster" in str(lost)


def test_a_job_that_somebody_ended(judgement: Judgement) -> None:
    removed = state(node(DRIVER), node(ROBOT), group="REMOVED")
    # It is over for Ray, too, where this process's node is gone: that shows a moment later.
    assert judgement.seen(removed, 2.0) is None
    assert "somebody removed its placement group" in str(judgement.seen(removed, 5.0))
    assert isinstance(judgement.seen(state(node(DRIVER, "killed"), group="REMOVED"), 1.0), RayLostError)


def test_before_there_are_places_nothing_is_missing(judgement: Judgement) -> None:
    judgement.placed = []
    assert judgement.seen(state(node(DRIVER), group="PENDING", placed=()), 10 * REPLACEMENT_TIMEOUT) is None
