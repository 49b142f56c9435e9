"""Goals and tasks over several nodes: each row beside its goal, wherever both lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import replay
from cluster.roles.replay_shard import ReplayShard
from cluster.routing import assemble, route
from cluster.serialization import pack_goals, pack_observation, pack_rows, unpack_observation, unpack_rows
from replay import Box, DatasetWriter, Dict, Episode, Goals, Image, Request, Spaces, Store, Tasks, View, draw
from replay.rows import concatenate_rows

SPACES = Spaces(Dict.of({"eye": Image((4, 5, 3)), "arm": Box((2,))}), Box((2,), low=(-1.0,), high=(1.0,)))
GOALS = Goals(current=0.25, future=0.25, final=0.25, random=0.25, discount=0.9)
TASKS = Tasks(("push", "pull"), ("reward", "reward.pull"), impersonation=0.5)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    """Eight episodes of 3 to 10 steps, a shard each."""
    folder = tmp_path_factory.mktemp("logs") / "pictures"
    rng = np.random.default_rng(0)
    extras = {"reward.pull": Box((), "float32")}
    with DatasetWriter(folder, SPACES, provenance={"by": "a test"}, shard_bytes=1, extras=extras) as writer:
        for steps in range(3, 11):
            seen = {
                "eye": rng.integers(0, 256, (steps + 1, 4, 5, 3), np.uint8),
                "arm": rng.normal(size=(steps + 1, 2)).astype(np.float32),
            }
            action, reward = rng.uniform(-1, 1, (steps, 2)).astype(np.float32), rng.random(steps).astype(np.float32)
            ends = np.arange(steps) == steps - 1
            writer.add(
                Episode(
                    seen,
                    action,
                    reward,
                    terminated=ends.astype(np.uint8),
                    truncated=np.zeros(steps, np.uint8),
                    task="pull" if steps % 2 else "push",
                    extras={"reward.pull": -reward},
                )
            )
        writer.finish()
    return replay.open(Path(folder)).view("all")


@pytest.mark.parametrize("request_", [Request(goals=GOALS), Request(tasks=TASKS), Request(tasks=TASKS, n_step=3)])
@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_nodes_together_give_the_batch_of_one(view: View, request_: Request, nodes: int) -> None:
    # A chunk is several draws, one after the other, whose rows do not walk the shards forward.
    rows = concatenate_rows([draw(view, seed=0, sequence=n, count=16, request=request_) for n in range(3)])
    expected = dict(Store(view).gather(rows, request_).columns())
    owner = np.arange(len(view.files)) * nodes // len(view.files)
    shards = [ReplayShard(view, np.flatnonzero(owner == node).tolist(), request_) for node in range(nodes)]
    routed = route(rows, owner)
    parts = [shards[node].gather(pack_rows(part, request_)) for node, part in routed.parts]
    parts += [shards[node].observe(pack_goals(part)) for node, part in routed.goals]
    assert len(routed.goals) == routed.assembly.goals == (nodes if request_.goals else 0)
    found = dict(assemble(routed.assembly, parts).columns())
    del expected["index"], found["index"]  # sent along where priorities are updated only
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype, name


def test_an_observation_arrives_as_it_was() -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(unpack_observation(pack_observation(array)), array)
    found = unpack_observation(pack_observation({"arm": array, "eye.left": array.astype(np.uint8)}))
    assert found.keys() == {"arm", "eye.left"}
    assert found["eye.left"].dtype == np.uint8


def test_rows_are_sent_without_their_goals(view: View) -> None:
    rows = draw(view, seed=0, sequence=0, count=8, request=Request(goals=GOALS))
    assert [name for name, _, _ in pack_rows(rows, Request(goals=GOALS))[0]] == ["shard", "row", "reached"]
    assert rows.goal is not None
    found = unpack_rows(pack_goals(rows.goal))
    np.testing.assert_array_equal(found.row, rows.goal.row)
    np.testing.assert_array_equal(found.remaining, rows.goal.remaining)
