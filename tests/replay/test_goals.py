"""Goals by hand: where they lie, what they imply, and that nothing else of a draw changes."""

from dataclasses import replace

import numpy as np
import pytest

from replay import DataError, Dict, Goals, Image, Priorities, Request, Spaces, Store, View, draw, sample, scan
from replay.draw_goals import steps_ahead
from replay.mixing import draw_mixed
from tests.replay.conftest import SPACES

ONLY = {kind: Goals(**{"future": 0.0, kind: 1.0}, discount=0.5) for kind in ("current", "future", "final", "random")}
MIXED = Goals(current=0.25, future=0.25, final=0.25, random=0.25, discount=0.9)


@pytest.fixture
def dataset(write, episode):
    """Episodes of 3 to 7 steps, in several shards. Row t of episode e observes (e, t, 100 e + t)."""
    return write([episode(number, 3 + number) for number in range(5)])


def drawn(dataset, goals, count=4000, **changes):
    return dataset.sample(seed=0, sequence=3, count=count, request=Request(goals=goals, **changes))


def steps_to(batch):
    """From each row to its goal, and whether both are of one episode."""
    return batch.goal[:, 1] - batch.observation[:, 1], batch.goal[:, 0] == batch.observation[:, 0]


def remaining(batch):
    return 3 + batch.observation[:, 0] - batch.observation[:, 1]


def test_the_same_transitions_are_drawn_with_goals_and_without(dataset):
    plain, with_goals = (dataset.sample(seed=4, sequence=9, count=64, request=Request(goals=g)) for g in (None, MIXED))
    np.testing.assert_array_equal(plain.index, with_goals.index)
    for name in ("observation", "action", "next_observation"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(with_goals, name))
    assert plain.goal is None


def test_each_kind_of_goal_lies_where_it_says(dataset):
    batch = drawn(dataset, ONLY["current"])
    np.testing.assert_array_equal(batch.goal, batch.observation)
    batch = drawn(dataset, ONLY["final"])
    ahead, same = steps_to(batch)
    assert same.all()
    np.testing.assert_array_equal(ahead, remaining(batch))  # after the last action, where no transition is
    batch = drawn(dataset, ONLY["future"])
    ahead, same = steps_to(batch)
    assert same.all()
    assert (ahead >= 1).all()
    assert (ahead <= remaining(batch)).all()


def test_random_goals_are_any_transition(dataset):
    batch = drawn(dataset, ONLY["random"], 50_000)
    _, counts = np.unique(batch.goal[:, 2], return_counts=True)
    assert len(counts) == 25
    assert counts == pytest.approx(np.full(25, 2000), rel=0.15)


def test_future_goals_are_geometric_up_to_the_end():
    uniform = (np.arange(1000) + 0.5) / 1000
    found = steps_ahead(uniform, 0.5, np.full(1000, 3))
    assert np.bincount(found).tolist() == [0, 500, 250, 250]  # ½, ¼, and all beyond on the last
    assert np.bincount(steps_ahead(uniform, 1.0, np.full(1000, 4))).tolist() == [0, 250, 250, 250, 250]
    assert set(steps_ahead(uniform, 0.0, np.full(1000, 9))) == {1}


def test_shares_are_those_asked_for(dataset):
    goals = Goals(current=0.5, future=0.0, final=0.5)
    reached = drawn(dataset, goals, 20_000).terminated.mean()
    assert reached == pytest.approx(0.5, abs=0.02)


def test_a_goal_implies_reward_discount_and_flags(dataset):
    goals = Goals(current=0.5, future=0.5, step_reward=-1.0, goal_reward=0.0)
    batch = drawn(dataset, goals, discount=0.9, reward_scale=2.0, reward_shift=1.0)
    at_goal = (batch.goal == batch.observation).all(1)
    np.testing.assert_array_equal(batch.reward, np.where(at_goal, 1.0, -1.0).astype(np.float32))
    np.testing.assert_array_equal(batch.discount, np.where(at_goal, 0, np.float32(0.9)))
    np.testing.assert_array_equal(batch.terminated, at_goal)
    np.testing.assert_array_equal(batch.truncated, ~at_goal & (remaining(batch) == 1))
    assert [a.dtype for a in (batch.reward, batch.discount, batch.terminated, batch.truncated)] == [
        np.float32, np.float32, np.uint8, np.uint8,
    ]  # fmt: skip


def test_an_episode_that_was_terminated_bootstraps_towards_another_goal(write, episode):
    ended = {"terminated": np.array([0, 0, 1], np.uint8), "truncated": np.zeros(3, np.uint8)}
    batch = drawn(write([episode(0, 3, **ended)]), ONLY["final"], 50)
    assert (batch.discount == np.float32(0.99)).all()
    assert (batch.terminated == 0).all()
    np.testing.assert_array_equal(batch.truncated, remaining_of_three(batch) == 1)


def remaining_of_three(batch):
    return 3 - batch.observation[:, 1]


def test_a_draw_is_the_same_however_the_goals_are_gathered(dataset):
    view, request = dataset.view(), Request(goals=MIXED)
    expected = drawn(dataset, MIXED, 256)
    few = Store(view, max_maps=1)
    found = sample(view, few, seed=0, sequence=3, count=256, request=request)
    assert len(view.files) > 1
    for (name, array), (other, value) in zip(expected.columns(), found.columns(), strict=True):
        assert name == other
        np.testing.assert_array_equal(array, value, err_msg=name)


def test_with_few_shards_a_draw_and_its_goals_stay_in_them(dataset):
    view = dataset.view()
    for sequence in range(20):
        rows = draw(view, seed=0, sequence=sequence, count=50, shards_per_draw=1, request=Request(goals=ONLY["random"]))
        assert set(rows.goal.shard) == set(rows.shard)


def test_a_weighted_view_weighs_random_goals_too(write, episode):
    few = write([episode(0, 5)], "few")
    many = write([episode(1, 45)], "many")
    view = View.of([(few, 1.0), (many, 1.0)])
    rows = draw(view, seed=0, sequence=0, count=20_000, request=Request(goals=ONLY["random"]))
    assert (rows.goal.shard < view.members[0].shards[1]).mean() == pytest.approx(0.5, abs=0.02)


def test_in_mixed_draws_goals_lie_behind_the_logs_as_their_rows_do(write, episode):
    logged, fresh = (write([episode(number, 9)], f"{number}").view() for number in range(2))
    rows = draw_mixed(logged, fresh, 0.5, seed=0, sequence=0, count=64, request=Request(goals=MIXED))
    new = rows.shard >= len(logged.files)
    assert new.sum() == 32
    np.testing.assert_array_equal(rows.goal.shard >= len(logged.files), new)
    known = rows.goal.index >= 0
    np.testing.assert_array_equal((rows.goal.index >= logged.transitions)[known], new[known])
    assert (~known).any()


def test_goals_by_priority_are_those_of_their_address(dataset):
    view, request = dataset.view(), Request(goals=MIXED)
    priorities = Priorities(view.transitions)
    rows = priorities.draw(view, seed=0, sequence=1, count=32, request=request)
    again = priorities.draw(view, seed=0, sequence=1, count=32, request=request)
    plain = priorities.draw(view, seed=0, sequence=1, count=32)
    assert rows.weight is not None
    np.testing.assert_array_equal(rows.index, plain.index)
    np.testing.assert_array_equal(rows.goal.row, again.goal.row)


def test_goals_are_pictures_where_observations_are(write, episode):
    spaces = Spaces(Dict.of({"camera": Image((4, 5, 3)), "arm": SPACES.observation}), SPACES.action)
    pixels = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 5, 3), np.uint8)
    arm = episode(0, 3).observation
    dataset = write([episode(0, 3, observation={"camera": pixels, "arm": arm})], spaces=spaces)
    batch = drawn(dataset, ONLY["final"], 8)
    assert batch.goal["camera"].shape == (8, 4, 5, 3)
    assert (batch.goal["camera"] == 3).all()
    assert (batch.goal["arm"] == arm[3]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Goals(future=0.5),
            "goals: found shares of 0.5 in all .current 0, future 0.5, final 0, random 0",
        ),
        (lambda: Goals(future=1.5), "goals.future: found 1.5, expected a number, 0 to 1"),
        (lambda: Goals(step_reward=float("nan")), "goals.step_reward: found nan"),
        (lambda: Request(goals=MIXED, n_step=3), "request.goals: found with n_step=3, expected one-step transitions"),
        (lambda: Request(goals=MIXED, kind="windows"), "request.goals: found with kind='windows'"),
        (lambda: Request(goals=MIXED, columns=("return_to_go",)), "request.goals: found with columns return_to_go"),
        (lambda: Request(goals=0.5), "request.goals: found 0.5, expected replay.Goals"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_rows_without_goals_are_refused_where_goals_are_asked_for(dataset):
    view = dataset.view()
    with pytest.raises(DataError, match=r"request.goals: the rows were drawn without; .* An ordered pass has none"):
        next(scan(view, Store(view), Request(goals=MIXED), 4))
    rows = draw(view, seed=0, sequence=0, count=4, request=Request(goals=MIXED))
    outside = replace(rows, goal=replace(rows.goal, row=rows.goal.row + 1000))
    with pytest.raises(DataError, match="outside of their shard"):
        Store(view).gather(outside, Request(goals=MIXED))
