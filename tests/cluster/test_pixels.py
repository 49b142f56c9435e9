"""Pictures and discrete actions: from an environment to a dataset, and through shard actors to a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs
import replay
from cluster import cli, routing
from cluster.backends.backend import Backend
from cluster.backends.serial_backend import SerialBackend
from cluster.options import Role, Topology
from cluster.recording import spaces_of
from cluster.roles.replay_shard import ReplayShard
from cluster.serialization import pack_rows
from replay import Batch, Box, Discrete, Image, Request, Rows, Store, View
from tests import pixel_reach

COMPUTED = ("next_action", "has_next_action", "return_to_go")
SEED = 40


@pytest.fixture(scope="module", params=[False, True], ids=["continuous", "discrete"])
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> replay.Dataset:
    """Twelve scripted episodes in several shards."""
    folder = tmp_path_factory.mktemp("logs") / "pixels"
    return replay.open(
        pixel_reach.collect(folder, 12, SEED, request.param, shard_bytes=10_000, validation_fraction=0.0)
    )


def assert_rendered(dataset: replay.Dataset, **kwargs: Any) -> None:
    """Every picture is the one that the environment shows again, when it is taken through the logged actions."""
    env = envs.make(pixel_reach.spec(**kwargs))
    store, view, start = Store(dataset.view(None)), dataset.view(None), 0
    for number in range(dataset.num_episodes):
        episode = dataset.episode(number)
        shown = [env.reset(seed=SEED + number)[0]["pixels"]]
        shown += [env.step(action)[0]["pixels"] for action in episode.action]
        rows = replay.locate(view, np.arange(start, start + len(episode)))
        batch = store.gather(rows, Request())
        np.testing.assert_array_equal(batch.observation["pixels"], shown[:-1])
        np.testing.assert_array_equal(batch.next_observation["pixels"], shown[1:])
        start += len(episode)
    assert start == dataset.num_transitions
    env.close()


# --- The environment ---


def test_the_target_is_seen_and_not_told() -> None:
    env = envs.make(pixel_reach.spec())
    inner: Any = env.unwrapped
    first, _ = env.reset(seed=0)
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(first["pixels"], again["pixels"])
    np.testing.assert_array_equal(first["position"], inner.position.astype(np.float32))
    inner.target = 1 - inner.target
    moved, *_ = env.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(moved["position"], first["position"])
    assert (moved["pixels"] != first["pixels"]).any()


@pytest.mark.parametrize("discrete", [False, True])
def test_an_episode_ends_at_the_target(discrete: bool) -> None:
    """From x = 0.5 to within 0.1 of x = 0.1, at 0.08 a step: the fourth arrives at 0.18. Velocity −3 counts as −1."""
    env = envs.make(pixel_reach.spec(discrete=discrete))
    env.reset(seed=0)
    inner: Any = env.unwrapped
    inner.position, inner.target = np.array([0.5, 0.5]), np.array([0.1, 0.5])
    told = [env.step(2 if discrete else np.array([-3.0, 0.0], np.float32)) for _ in range(4)]
    assert [reward for _, reward, *_ in told] == [0, 0, 0, 1]
    assert [terminated for _, _, terminated, *_ in told] == [False, False, False, True]
    assert [info["success"] for *_, info in told] == [False, False, False, True]
    np.testing.assert_allclose(told[-1][0]["position"], [0.18, 0.5], atol=1e-6)


def test_thirty_steps_are_the_limit_and_dense_rewards_are_distances() -> None:
    env = envs.make(pixel_reach.spec(dense=True, discrete=True))
    env.reset(seed=0)
    inner: Any = env.unwrapped
    inner.position, inner.target = np.array([0.2, 0.2]), np.array([0.8, 1.0])
    told = [env.step(0) for _ in range(30)]
    # 0.6 to the right and 0.8 down are 1 in all.
    np.testing.assert_allclose([float(reward) for _, reward, *_ in told], -1.0)
    assert [truncated for *_, truncated, _ in told] == [False] * 29 + [True]


# --- To a dataset ---


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("keys", [("pixels", "position"), ("pixels",), "pixels"])
def test_what_an_environment_declares_is_what_a_dataset_records(keys: Any, discrete: bool) -> None:
    env = envs.make(pixel_reach.spec(keys=keys, discrete=discrete))
    spaces = spaces_of(env, "PixelReach")
    assert spaces == pixel_reach.dataset_spaces(keys, discrete)


@pytest.mark.parametrize(
    ("shape", "kind"), [((16, 16, 1), Image), ((84, 84, 4), Image), ((7, 7, 3), Box), ((84, 84, 2), Box)]
)
def test_small_grids_of_bytes_are_no_pictures(shape: tuple[int, ...], kind: type) -> None:
    env = envs.make(pixel_reach.spec())
    env.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
    assert type(spaces_of(env, "grid").observation) is kind


@pytest.mark.parametrize("discrete", ["false", "true"])
def test_quiver_collect_records_pictures(tmp_path: Path, discrete: str) -> None:
    out = str(tmp_path / "logs")
    command = ["collect", "--env", pixel_reach.ID, "--policy", "random", "--episodes", "2", "--seed", str(SEED)]
    assert cli.main([*command, "--env-kwargs", f'{{"discrete": {discrete}}}', "--out", out]) == 0
    dataset = replay.open(out, verify=True)
    assert dataset.spaces == pixel_reach.dataset_spaces(discrete=discrete == "true")
    assert_rendered(dataset, discrete=discrete == "true")


def test_the_writer_records_pictures(logs: replay.Dataset) -> None:
    discrete = isinstance(logs.spaces.action, Discrete)
    assert logs.spaces == pixel_reach.dataset_spaces(discrete=discrete)
    assert logs.num_episodes == 12
    assert set(logs.episodes["return"].tolist()) <= {0.0, 1.0}
    assert_rendered(logs, discrete=discrete)


# --- To a batch ---


def served(backend: Backend, view: View, request: Request, rows: Rows) -> Batch[np.ndarray]:
    """The batch as two shard actors give it, as if on two nodes: one has the even shards, the other the odd ones."""
    owner = np.arange(len(view.files)) % 2
    actors = [
        backend.start(
            f"replay_shard-{number}",
            ReplayShard,
            view,
            np.flatnonzero(owner == number).tolist(),
            request,
            None,
            restartable=True,
        )
        for number in (0, 1)
    ]
    route = routing.route(rows, owner)
    assert len(route.parts) == 2
    asked = [backend.call(actors[number], "gather", pack_rows(part, request)) for number, part in route.parts]
    return routing.assemble(route.assembly, [backend.get(answer) for answer in asked])


def contents(batch: Batch[np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and bytes of every array; the index is not sent where nobody needs it."""
    found = {}
    for entry in fields(batch):
        value = getattr(batch, entry.name)
        if entry.name in ("key", "index") or value is None:
            continue
        for name, array in value.items() if isinstance(value, Mapping) else (("", value),):
            found[f"{entry.name}.{name}"] = (array.dtype.str, array.shape, array.tobytes())
    return found


REQUESTS = [
    Request(),
    Request(columns=("next_action", "has_next_action")),
    Request(n_step=3, columns=COMPUTED, reward_scale=2.0, reward_shift=-1.0),
    Request(kind="windows", length=4),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=["one-step", "next-action", "n-step", "windows"])
def test_shard_actors_give_the_bytes_of_the_serial_store(logs: replay.Dataset, request_: Request) -> None:
    view = logs.view()
    rows = replay.draw(view, seed=1, sequence=2, count=64)
    expected = contents(Store(view).gather(rows, request_))
    assert contents(served(SerialBackend(), view, request_, rows)) == expected
    assert {f"extras.{name}" for name in request_.columns} <= set(expected)
    assert {"observation.pixels", "observation.position", "next_observation.pixels"} <= set(expected)


@pytest.mark.slow
def test_shard_actors_over_ray_give_the_same_bytes(logs: replay.Dataset) -> None:
    pytest.importorskip("ray")
    from cluster.backends.ray_backend import RayBackend
    from cluster.backends.room import Place

    view, request = logs.view(), Request(n_step=3, columns=COMPUTED)
    rows = replay.draw(view, seed=1, sequence=2, count=64)
    places = [Place(f"replay_shard-{number}", Role(num_cpus=0.1)) for number in (0, 1)]
    backend = RayBackend(Topology(), places, threads=1)
    try:
        found = served(backend, view, request, rows)
    finally:
        backend.stop()
    assert contents(found) == contents(Store(view).gather(rows, request))
