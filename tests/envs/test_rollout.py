from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envs import EnvError, EnvSpec, Rollout, make
from tests import pixel_reach
from tests.envs.counting import SPEC, Counting, Parts, expected, numbered, of, plain, side_by_side

MODES = list(AutoresetMode)


def still(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
    return np.zeros((len(observation), 1)), None


# --- Any autoreset mode ---


@pytest.mark.parametrize("mode", MODES)
def test_episodes_are_the_same_in_every_mode(mode: AutoresetMode) -> None:
    with Rollout(SPEC, seed=5, vector=side_by_side(mode)) as rollout:
        episodes = rollout.run(numbered, 7) + rollout.run(numbered, 1) + rollout.run(numbered, 40)
        assert rollout.steps_taken == sum(map(len, episodes)) + rollout.steps_under_way
        if mode is not AutoresetMode.NEXT_STEP:
            assert rollout.steps_taken == 3 * 48
    for seed in (5, 6, 7):
        found = of(episodes, seed)
        # Episodes last 2 steps on average; in the mode NEXT_STEP a third step goes for each reset.
        assert len(found) >= 15
        assert found == [expected(seed, number) for number in range(len(found))]


@pytest.mark.parametrize("mode", MODES)
def test_steps_by_hand(mode: AutoresetMode) -> None:
    # Seed 0: episodes of 1, 2, 3, 1, … steps, and in the mode NEXT_STEP a step for each reset between them.
    with Rollout(SPEC, seed=0, vector=side_by_side(mode, count=1)) as rollout:
        lengths = [[len(episode) for episode in rollout.run(numbered, 1)] for _ in range(8)]
    if mode is AutoresetMode.NEXT_STEP:
        assert lengths == [[1], [], [], [2], [], [], [], [3]]
        assert rollout.steps_taken == 1 + 2 + 3
    else:
        assert lengths == [[1], [], [2], [], [], [3], [1], []]
        assert rollout.steps_taken == 8


@pytest.mark.parametrize("mode", MODES)
def test_processes_of_their_own_give_the_same(mode: AutoresetMode) -> None:
    with Rollout(SPEC, seed=5, vector=side_by_side(mode, count=2, processes=True)) as rollout:
        episodes = rollout.run(numbered, 20)
    for seed in (5, 6):
        assert of(episodes, seed) == [expected(seed, number) for number in range(len(of(episodes, seed)))]
    assert len(episodes) > 10


@pytest.mark.parametrize("mode", MODES)
def test_dictionaries_come_part_by_part_in_the_types_of_the_space(mode: AutoresetMode) -> None:
    def act(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        assert observation["names"].shape == observation["rest"].shape == (2, 2)
        return 100.0 * observation["names"][:, 1:] + observation["rest"][:, :1], None

    with Rollout(SPEC, seed=5, vector=side_by_side(mode, 2, Parts)) as rollout:
        episodes = rollout.run(act, 20)
    assert len(episodes) > 10
    numbers = {5: 0, 6: 0}
    for episode in episodes:
        seed = int(episode.observation["names"][0, 0])
        wanted = expected(seed, numbers[seed])
        numbers[seed] += 1
        assert episode.observation["names"].tolist() == [row[:2] for row in wanted["observation"]]
        assert episode.observation["rest"].tolist() == [row[2:] for row in wanted["observation"]]
        assert episode.observation["names"].dtype == np.uint8
        assert episode.observation["rest"].dtype == np.float32
        assert episode.reward.tolist() == wanted["reward"]


@pytest.mark.parametrize("mode", MODES)
def test_pictures(mode: AutoresetMode) -> None:
    spec = pixel_reach.spec()

    def aside(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        assert observation["pixels"].shape == (2, 24, 24, 3)
        return np.tile(np.array([[5.0, -0.5]]), (2, 1)), None

    with Rollout(spec, seed=3, vector=side_by_side(mode, 2, lambda: make(spec))) as rollout:
        episodes = rollout.run(aside, 70)
    assert len(episodes) >= 4
    for episode in episodes:
        pixels, position = episode.observation["pixels"], episode.observation["position"]
        assert (pixels.dtype, position.dtype) == (np.uint8, np.float32)
        # Every transition moves as the clipped action says, from the first observation to the last.
        moved = np.clip(position[:-1] + pixel_reach.MAX_STEP * np.array([1.0, -0.5]), 0.0, 1.0)
        np.testing.assert_allclose(position[1:], moved, atol=1e-6)
        assert (episode.action == np.array([1.0, -0.5], np.float32)).all()
        # The agent's colour is in the picture where it stands.
        for image, (x, y) in zip(pixels, position, strict=True):
            row, column = (min(int(24 * value), 23) for value in (y, x))
            assert image[row, column, 1] > 60
        assert episode.success is bool(episode.terminated[-1])
        assert episode.truncated[-1] == (not episode.terminated[-1])


def test_the_default_makes_the_environments_of_the_spec() -> None:
    with Rollout(EnvSpec("PointMaze_UMaze-v3", kwargs={"max_episode_steps": 5}), num_envs=2, seed=0) as rollout:
        episodes = rollout.run(lambda observation, state, first: (np.full((2, 2), 3.0), None), 12)
        assert rollout.action_space.shape == (2,)
        assert rollout.num_envs == 2
    assert [len(episode) for episode in episodes] == [5] * 4
    assert [episode.seed for episode in episodes] == [0, 1, None, None]
    assert set(episodes[0].observation) == {"observation", "achieved_goal", "desired_goal"}
    starts = np.stack([episode.observation["observation"][0] for episode in episodes])
    assert len(np.unique(starts, axis=0)) == 4  # no reset repeats another's seed
    assert all((episode.action == 1.0).all() for episode in episodes)


# --- What vector environments say of themselves ---


def test_without_metadata_the_mode_is_that_of_gymnasium() -> None:
    def silent() -> Any:
        vector = side_by_side(AutoresetMode.NEXT_STEP)()
        del vector.metadata["autoreset_mode"]
        return vector

    with Rollout(SPEC, seed=5, vector=silent) as rollout:
        found = of(rollout.run(numbered, 20), 6)
    assert found == [expected(6, number) for number in range(len(found))]


def test_a_mode_that_does_not_exist_is_refused() -> None:
    vector = side_by_side(AutoresetMode.NEXT_STEP)()
    vector.metadata["autoreset_mode"] = "Sometimes"
    with pytest.raises(EnvError, match=r"Counting-v0: metadata autoreset_mode: found 'Sometimes', expected.*SameStep"):
        Rollout(SPEC, seed=0, vector=lambda: vector)
    assert vector.closed


def test_final_observations_that_are_missing_are_told() -> None:
    def forgetful() -> Any:
        vector = side_by_side(AutoresetMode.DISABLED)()
        vector.metadata["autoreset_mode"] = AutoresetMode.SAME_STEP
        return vector

    with pytest.raises(EnvError, match="expected 'final_obs' as the mode SAME_STEP promises"):
        Rollout(SPEC, seed=0, vector=forgetful).run(numbered, 5)


def test_final_observations_may_be_batches() -> None:
    """As vector environments on a GPU have them: one array for all, of which the ended rows count."""

    class Batched(gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
        def step(self, actions: Any) -> Any:
            observation, rewards, terminated, truncated, infos = self.env.step(actions)
            if "final_obs" in infos:
                whole = {name: part.copy() for name, part in observation.items()}
                for i in np.flatnonzero(terminated | truncated):
                    for name in whole:
                        whole[name][i] = infos["final_obs"][i][name]
                infos["final_obs"] = whole
            return observation, rewards, terminated, truncated, infos

    def act(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        return observation["rest"][:, :1], None

    with Rollout(SPEC, seed=5, vector=lambda: Batched(side_by_side(AutoresetMode.SAME_STEP, 2, Parts)())) as rollout:
        episodes = rollout.run(act, 20)
    assert len(episodes) > 10
    for episode in episodes:
        assert episode.observation["rest"][:, 0].tolist() == list(range(len(episode) + 1))


def test_reused_buffers_are_copied() -> None:
    def reusing() -> Any:
        return gym.vector.SyncVectorEnv([Counting] * 2, copy=False, autoreset_mode=AutoresetMode.DISABLED)

    with Rollout(SPEC, seed=5, vector=reusing) as rollout:
        found = of(rollout.run(numbered, 18), 5)  # three times 3, 1 and 2 steps
    assert found == [expected(5, number) for number in range(9)]


def test_observations_that_no_array_holds_are_refused() -> None:
    class Pair(Counting):
        observation_space = gym.spaces.Tuple([gym.spaces.Discrete(2)] * 2)

    with pytest.raises(EnvError, match=r"observation: Tuple.*cannot be recorded, expected Box"):
        Rollout(SPEC, seed=0, vector=side_by_side(AutoresetMode.DISABLED, 1, Pair))


# --- Ends ---


@pytest.mark.parametrize("mode", MODES)
def test_cutting_ends_what_is_under_way_and_begins_anew(mode: AutoresetMode) -> None:
    # Seeds 1 and 2: the first episodes last 2 and 3 steps.
    with Rollout(SPEC, seed=1, vector=side_by_side(mode, count=2)) as rollout:
        assert rollout.cut() == []
        assert rollout.run(numbered, 1) == []
        assert rollout.steps_under_way == 2
        one, other = rollout.cut()
        for episode, seed in ((one, 1), (other, 2)):
            whole = expected(seed, 0)
            assert plain(episode) == {
                **whole,
                "observation": whole["observation"][:2],
                "action": [[0.0]],
                "reward": [0.0],
                "terminated": [False],
                "truncated": [True],
            }
        assert rollout.steps_under_way == 0
        assert rollout.cut() == []
        # Episode 1 of both, whole; the seed is that of a generator that went on. They last 3 steps and 1.
        last, first = sorted(rollout.run(numbered, 3)[:2], key=len, reverse=True)[:2]
        assert plain(last) == expected(1, 1)
        assert plain(first) == expected(2, 1)
        assert rollout.steps_taken == sum(map(len, (one, other, last, first))) + 2 - (mode is AutoresetMode.NEXT_STEP)


def test_streams_without_end_are_cut_and_go_on() -> None:
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 10})
    with Rollout(spec, num_envs=2, seed=0, max_steps=4) as rollout:
        episodes = rollout.run(still, 12)
    mine = episodes[::2]
    assert [len(episode) for episode in mine] == [4, 4, 2]
    assert [episode.seed for episode in mine] == [0, None, None]
    for before, after in pairwise(mine):
        np.testing.assert_array_equal(after.observation[0], before.observation[-1])
    for episode in mine:
        assert episode.truncated.tolist() == [False] * (len(episode) - 1) + [True]
        assert not episode.terminated.any()


def test_an_end_at_the_limit_is_the_environments_own(countdown: str) -> None:
    # Seeds 0 and 1 of Countdown last 2 and 3 steps, and terminate; at 2 steps, only the second is cut.
    with Rollout(EnvSpec(countdown), num_envs=2, seed=0, max_steps=2) as rollout:
        ended, cut = rollout.run(still, 2)
    assert (ended.terminated.tolist(), ended.truncated.tolist()) == ([False, True], [False, False])
    assert (cut.terminated.tolist(), cut.truncated.tolist()) == ([False, False], [False, True])


# --- Policies that remember ---


class Remembering:
    """Its state counts the steps of each row's episode; the action tells the count, and what the state should say."""

    def __init__(self) -> None:
        self.began: list[list[bool]] = []

    def __call__(self, observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        assert state is not None or first.all()
        self.began.append(first.tolist())
        count = np.where(first, 0, 0 if state is None else state)
        return count[:, None].astype(float), count + 1


@pytest.mark.parametrize("mode", MODES)
def test_first_marks_where_each_episode_begins(mode: AutoresetMode) -> None:
    # Seeds 0 and 1: episodes of 1, 2, 3, 1, … and of 2, 3, 1, 2, … steps.
    act = Remembering()
    with Rollout(SPEC, seed=0, vector=side_by_side(mode, 2)) as rollout:
        episodes = rollout.run(act, 5) + rollout.run(act, 8)  # what it remembers goes on in the next call
        rollout.cut()
        rollout.run(act, 1)
    assert len(episodes) >= 8
    for episode in episodes:
        assert episode.action[:, 0].tolist() == list(range(len(episode)))
    if mode is AutoresetMode.NEXT_STEP:  # a row that is reset has not begun, and begins with the step after
        assert [first for first, _ in act.began[:8]] == [True, False, True, False, False, True, False, False]
    else:
        assert [first for first, _ in act.began[:8]] == [True, True, False, True, False, False, True, True]
    assert act.began[-1] == [True, True]


def test_environments_made_anew_begin_without_a_state() -> None:
    states = []

    def act(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        states.append((state, first.tolist()))
        return np.zeros((1, 1)), len(states)

    wire = Wire(ConnectionError("the wire is loose"), step=3)
    with Rollout(SPEC, seed=3, vector=side_by_side(AutoresetMode.DISABLED, 1, lambda: Loose(wire))) as rollout:
        with pytest.raises(EnvError, match="the wire is loose"):
            rollout.run(act, 9)
        rollout.run(act, 2)
    assert states == [(None, [True]), (1, [True]), (2, [False]), (None, [True]), (4, [False])]


def test_a_stream_that_is_cut_begins_anew_for_the_policy() -> None:
    act = Remembering()
    spec = EnvSpec("Pendulum-v1", kwargs={"max_episode_steps": 10})
    with Rollout(spec, num_envs=1, seed=0, max_steps=4) as rollout:
        rollout.run(act, 11)
    assert [first for (first,) in act.began] == [step in (0, 4, 8, 10) for step in range(11)]


def test_an_episode_tells_every_version_that_acted_in_it() -> None:
    # Seed 0: episodes of 1, 2, 3, 1, … steps.
    with Rollout(SPEC, seed=0, vector=side_by_side(AutoresetMode.DISABLED, 1)) as rollout:
        episodes = rollout.run(numbered, 2, version=4) + rollout.run(numbered, 2, version=9) + rollout.run(numbered, 2)
        episodes += rollout.run(numbered, 1, version=9)
    assert [episode.versions for episode in episodes] == [(4,), (4, 9), (9,), (9,)]


# --- What may go wrong ---


class Wire:
    """What fails, once, at which step of all those that are taken."""

    def __init__(self, error: BaseException, step: int) -> None:
        self.error, self.left, self.made, self.closed = error, step, 0, 0


class Loose(Counting):
    """A robot whose wire comes loose."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        wire.made += 1

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.wire.left -= 1
        if self.wire.left == 0:
            raise self.wire.error
        return super().step(action)

    def close(self) -> None:
        self.wire.closed += 1


@pytest.mark.parametrize("mode", MODES)
def test_a_robot_that_drops_out_does_not_end_the_rollout(mode: AutoresetMode) -> None:
    # Seed 3: episodes of 1, 2, 3, … steps. The wire comes loose at the third step, the second one of episode 1.
    wire = Wire(ConnectionError("the wire is loose"), step=3)
    rollout = Rollout(SPEC, seed=3, vector=side_by_side(mode, 1, lambda: Loose(wire)))
    with pytest.raises(
        EnvError, match=r"Counting-v0, 1 side by side since seed 3: raised ConnectionError: the wire is loose at step"
    ):
        rollout.run(numbered, 9)
    assert (wire.made, wire.closed) == (1, 1)
    assert rollout.steps_taken == 2
    assert rollout.steps_under_way == 0  # episode 1 is given up

    # It goes on with a seed that was not used: 3 + 1, whose first episodes last 2 and 3 steps.
    ended, fresh, *_ = rollout.run(numbered, 4)
    assert plain(ended) == expected(3, 0)  # it had ended before
    assert plain(fresh) == expected(4, 0)
    assert wire.made == 2
    assert rollout.steps_taken == 2 + 4 - (mode is AutoresetMode.NEXT_STEP)
    rollout.close()
    assert wire.closed == 2


def test_an_interruption_leaves_nothing_half_done() -> None:
    wire = Wire(KeyboardInterrupt(), step=3)
    rollout = Rollout(SPEC, seed=3, vector=side_by_side(AutoresetMode.DISABLED, 1, lambda: Loose(wire)))
    with pytest.raises(KeyboardInterrupt):
        rollout.run(numbered, 9)
    assert [plain(episode) for episode in rollout.cut()] == [expected(3, 0)]
    assert [plain(episode) for episode in rollout.run(numbered, 2)] == [expected(4, 0)]


def test_environments_that_cannot_be_made_again_are_tried_again() -> None:
    wire = Wire(ConnectionError("loose"), step=1)
    refusals = [ConnectionError("still loose"), ConnectionError("still loose")]

    def robot() -> Loose:
        if wire.made == 1 and refusals:
            raise refusals.pop()
        return Loose(wire)

    rollout = Rollout(SPEC, seed=3, vector=side_by_side(AutoresetMode.DISABLED, 1, robot))
    for message in ("loose at step 1", "still loose in its construction", "still loose in its construction"):
        with pytest.raises(EnvError, match=f"Counting-v0.*: raised ConnectionError: {message}"):
            rollout.run(numbered, 1)
        assert rollout.cut() == []
    assert [plain(episode) for episode in rollout.run(numbered, 2)] == [expected(4, 0)]


def test_a_process_that_is_killed_is_replaced() -> None:
    made: list[Any] = []

    def processes() -> Any:
        made.append(side_by_side(AutoresetMode.NEXT_STEP, 2, processes=True)())
        return made[-1]

    with Rollout(SPEC, seed=5, vector=processes) as rollout:
        rollout.run(numbered, 1)
        made[0].processes[0].kill()
        made[0].processes[0].join()
        with pytest.raises(
            EnvError, match=r"2 side by side since seed 5: the process of number 0 ended \(signal 9\) at step 2"
        ):
            rollout.run(numbered, 5)
        made.clear()
        found = rollout.run(numbered, 10)
    for seed in (7, 8):
        mine = of(found, seed)
        assert len(mine) >= 3
        assert mine == [expected(seed, number) for number in range(len(mine))]


class Lost(Counting):
    """Number 6 earns no number."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        return observation, np.nan if self.seed == 6 else reward, *rest


def test_a_reward_that_is_not_finite_is_recorded_in_its_own_episode() -> None:
    with Rollout(SPEC, seed=5, vector=side_by_side(AutoresetMode.DISABLED, env=Lost)) as rollout:
        episodes = rollout.run(numbered, 3)
        assert rollout.origins == [1, 2, 0, 1]
        assert of(episodes, 5) == [expected(5, 0)]
        assert of(episodes, 7) == [expected(7, 0)]
        assert [episode.reward.tolist() for episode in episodes if episode.observation[0, 0] == 6] == [
            pytest.approx([np.nan], nan_ok=True),
            pytest.approx([np.nan, np.nan], nan_ok=True),
        ]


def test_an_action_that_is_no_number_does_not_reach_the_environment() -> None:
    def broken(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        actions, _ = numbered(observation, state, first)
        return np.where(observation[:, :1] == 6, np.nan, actions), None

    with Rollout(SPEC, seed=5, vector=side_by_side(AutoresetMode.DISABLED)) as rollout:
        with pytest.raises(EnvError, match=r"environment tests/Counting-v0: the policy gave nan in its actions"):
            rollout.run(broken, 3)
        assert rollout.steps_taken == 0


class Blind(Counting):
    """Its second part observes NaN, infinity and more than float32 holds at step 1 of episode 0."""

    observation_space = gym.spaces.Dict(
        {"names": gym.spaces.Box(0, 255, (2,), np.uint8), "rest": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)}
    )

    def _observe(self) -> Any:
        whole = super()._observe()
        rest = [np.nan, -np.inf, 1e39] if whole[1:3].tolist() == [0, 1] else [1.0, 2.0, 3.0]
        return {"names": whole[:2].astype(np.uint8), "rest": np.array(rest)}


def test_numbers_that_are_not_finite_are_shown_and_recorded_as_they_come() -> None:
    seen = []

    def watching(observation: Any, state: Any, first: Any) -> tuple[np.ndarray, Any]:
        seen.append(observation["rest"].copy())
        return np.zeros((2, 1)), None

    with Rollout(SPEC, seed=4, vector=side_by_side(AutoresetMode.DISABLED, 2, Blind)) as rollout:
        episodes = rollout.run(watching, 3)
    broken, whole = [np.nan, -np.inf, 1e39], [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(seen, [[whole, whole], [broken, broken], [whole, whole]])
    np.testing.assert_array_equal(episodes[0].observation["rest"][1], [np.nan, -np.inf, 1e39])


def test_a_bad_policy_is_refused_without_a_step() -> None:
    with Rollout(SPEC, seed=5, vector=side_by_side(AutoresetMode.DISABLED)) as rollout:
        with pytest.raises(EnvError, match=r"gave actions \(3, 2\), expected \(3, 1\)"):
            rollout.run(lambda observation, state, first: (np.zeros((3, 2)), None), 1)
        assert rollout.steps_taken == 0
        assert of(rollout.run(numbered, 3), 5) == [expected(5, 0)]


def test_discrete_actions() -> None:
    with Rollout(EnvSpec("CartPole-v1"), num_envs=2, seed=0) as rollout:
        episodes = rollout.run(lambda observation, state, first: (np.array([0, 1]), None), 30)
    assert {tuple(np.unique(episode.action)) for episode in episodes} == {(0,), (1,)}
    assert all(episode.action.dtype == np.int64 and episode.action.ndim == 1 for episode in episodes)
    assert all(7 < len(episode) < 12 for episode in episodes)  # pushed one way, the pole falls at once


def test_nonsense_is_refused(countdown: str) -> None:
    with pytest.raises(EnvError, match="num_envs: found 0"):
        Rollout(EnvSpec(countdown), num_envs=0, seed=0)
    with pytest.raises(EnvError, match="max_steps: found 0"):
        Rollout(EnvSpec(countdown), seed=0, max_steps=0)
    with pytest.raises(EnvError, match="unknown"):
        Rollout(EnvSpec("Nowhere-v0"), seed=0)
    with Rollout(EnvSpec(countdown), seed=0) as rollout, pytest.raises(EnvError, match="steps: found 0"):
        rollout.run(still, 0)
