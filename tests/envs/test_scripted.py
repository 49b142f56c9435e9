from __future__ import annotations

import numpy as np
import pytest

from envs import EnvError, EnvSpec, Perturbed, collect, scripted
from envs.scripted import ManipSpacePolicy
from envs.scripted.routes import Routes


def test_routes_go_the_shortest_way() -> None:
    maze = np.array(
        [
            [1, 1, 1, 0],
            [0, 0, 1, 0],
            [1, 1, 1, 0],
        ],
        dtype=bool,
    )
    routes = Routes(maze)
    assert routes.distances((2, 0)).tolist() == [[6, 5, 4, -1], [-1, -1, 3, -1], [0, 1, 2, -1]]
    way = [(0, 0)]
    while way[-1] != (2, 0):
        way.append(routes.next(way[-1], (2, 0)))
    assert way == [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0)]
    assert routes.next((0, 3), (2, 0)) == (0, 3)  # no way out


def test_the_waypoint_controller_goes_round_the_u_maze() -> None:
    """From one end to the other, round the wall, with noise; the task ends there."""
    spec = EnvSpec(
        "PointMaze_UMaze-v3",
        kwargs={"continuing_task": False},
        reset_options={"goal_cell": [3, 1], "reset_cell": [1, 1]},
        observation_key="observation",
    )
    for episode in collect(spec, scripted(spec, noise=0.5), episodes=5, seed=0):
        assert episode.success is True
        assert episode.terminated[-1]
        assert 100 < len(episode) < 180
        assert episode.observation[:, 0].max() > 0.5  # it went through the right-hand side
        assert episode.reward.sum() == 1.0


def test_it_goes_from_goal_to_goal_until_the_time_is_up() -> None:
    spec = EnvSpec("PointMaze_UMaze-v3")
    policy = scripted(spec)
    assert policy.prepare(spec).kwargs == {"reset_target": True}
    (episode,) = collect(spec, policy, episodes=1, seed=0)
    goals = np.unique(episode.observation["desired_goal"], axis=0)
    assert len(episode) == 300
    assert episode.truncated[-1]
    assert episode.reward.sum() == len(goals) - 1 >= 2

    waits = EnvSpec("PointMaze_UMaze-v3", kwargs={"reset_target": False})
    (episode,) = collect(waits, scripted(waits), episodes=1, seed=0)
    assert len(np.unique(episode.observation["desired_goal"], axis=0)) == 1
    assert episode.reward[-50:].tolist() == [1.0] * 50


def test_the_controller_reads_any_map() -> None:
    room = [[1, 1, 1, 1, 1], [1, "r", 0, 0, 1], [1, 1, 1, 0, 1], [1, "g", 0, 0, 1], [1, 1, 1, 1, 1]]
    spec = EnvSpec("PointMaze_UMaze-v3", kwargs={"maze_map": room, "continuing_task": False})
    assert all(episode.success for episode in collect(spec, scripted(spec), episodes=3, seed=0))


def test_ogbench_mazes_are_crossed_to_random_goals_or_to_the_task() -> None:
    spec = EnvSpec("pointmaze-medium-navigate-v0")
    episodes = list(collect(spec, scripted(spec), episodes=3, seed=0))
    assert all(len(episode) == 1000 and episode.truncated[-1] for episode in episodes)
    assert all(episode.reward.sum() >= 3 for episode in episodes)
    starts = np.stack([episode.observation[0] for episode in episodes])
    assert len(np.unique(np.round(starts / 4), axis=0)) > 1

    task = EnvSpec("pointmaze-medium-navigate-singletask-task1-v0")
    (episode,) = collect(task, scripted(task, noise=0.2), episodes=1, seed=0)
    assert episode.success is True
    assert episode.terminated[-1]
    assert episode.reward[-1] == 0.0
    assert np.abs(episode.observation[0]).max() <= 1.0  # the task's start, as it is
    assert np.linalg.norm(episode.observation[-1] - 20.0) <= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("oracle", ["plan", "markov"])
def test_the_oracles_move_the_cube(oracle: str) -> None:
    spec = EnvSpec("cube-single-v0", kwargs={"max_episode_steps": 200})
    policy = Perturbed(ManipSpacePolicy(oracle), noise=0.1 if oracle == "markov" else 0.0)
    (episode,) = collect(spec, policy, episodes=1, seed=0)
    again = next(collect(spec, policy, episodes=1, seed=0))
    np.testing.assert_array_equal(again.observation, episode.observation)
    assert episode.success is True
    # Columns 19 to 21 are the cube's position, ten times life size: it was lifted and carried.
    cube = episode.observation[:, 19:22] / 10.0
    assert cube[:, 2].max() - cube[0, 2] > 0.05
    assert np.linalg.norm(cube[-1, :2] - cube[0, :2]) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("id", ["scene-v0", "puzzle-3x3-play-v0"])
def test_the_oracles_play_with_drawers_windows_and_buttons(id: str) -> None:
    spec = EnvSpec(id, kwargs={"max_episode_steps": 150})
    (episode,) = collect(spec, scripted(spec), episodes=1, seed=0)
    assert episode.success is True
    assert len(episode) == 150


def test_environments_without_a_controller_are_refused_with_those_that_have_one() -> None:
    with pytest.raises(EnvError, match=r"HalfCheetah-v5: no scripted controller.*PointMaze_\*.*pointmaze-\*.*cube-\*"):
        scripted(EnvSpec("HalfCheetah-v5"))
    spec = EnvSpec("cube-single-singletask-task2-v0")
    with pytest.raises(EnvError, match="without 'singletask', such as cube-single-v0"):
        collect(spec, scripted(spec), episodes=1, seed=0)
    spec = EnvSpec("cube-single-v0", kwargs={"mode": "task"})
    with pytest.raises(EnvError, match="kwargs mode: found 'task'"):
        collect(spec, scripted(spec), episodes=1, seed=0)
    with pytest.raises(EnvError, match="oracle: found 'best'"):
        ManipSpacePolicy("best")
