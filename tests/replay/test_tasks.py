"""Tasks by hand: which rows are trained as which, with whose reward, and how many of successful episodes."""

import numpy as np
import pytest

from replay import DataError, Request, Tasks, View, draw
from replay.spaces import Box

EXTRAS = {"reward.push": Box((), "float32"), "reward.pull": Box((), "float64"), "pose": Box((2,), "float32")}
REWARDS = {"reward.push": 1000.0, "reward.pull": 2000.0}
BOTH = ("push", "pull")


def tagged(episode, number, length, task, success=None):
    """An episode whose reward as `push` is 1000 more than its own, and 2000 more as `pull`."""
    made = episode(number, length, task=task, success=success)
    columns = {name: (made.reward + more).astype(EXTRAS[name].dtype) for name, more in REWARDS.items()}
    columns["pose"] = np.zeros((length, 2), np.float32)
    return episode(number, length, task=task, success=success, extras=columns)


@pytest.fixture
def dataset(write, episode):
    """Tasks of 30 and 10 transitions; of push, one episode in three was a success, of pull all."""
    episodes = [tagged(episode, number, 10, "push", success=number == 0) for number in range(3)]
    return write([*episodes, tagged(episode, 3, 10, "pull", success=True)], extras=EXTRAS)


def drawn(dataset, count=4000, kind="transitions", n_step=1, length=1, **fields):
    request = Request(tasks=Tasks(**{"names": BOTH, **fields}), kind=kind, n_step=n_step, length=length)
    return dataset.sample(seed=0, sequence=5, count=count, request=request)


def own(batch):
    return (batch.observation[..., 0] == 3).astype(np.int64)


def test_rows_are_trained_as_their_own_task_with_its_reward(dataset):
    batch = drawn(dataset, 64)
    assert batch.task.dtype == np.int64
    np.testing.assert_array_equal(batch.task, own(batch))
    np.testing.assert_array_equal(batch.reward, batch.observation[:, 2] + np.where(batch.task == 0, 1000, 2000))
    assert batch.reward.dtype == np.float32
    plain = dataset.sample(seed=0, sequence=5, count=64)
    np.testing.assert_array_equal(batch.index, plain.index)
    assert plain.task is None


def test_impersonation_is_of_the_share_asked_for_with_the_other_tasks_reward(dataset):
    batch = drawn(dataset, 20_000, impersonation=0.25)
    assert (batch.task != own(batch)).mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(batch.reward, batch.observation[:, 2] + np.where(batch.task == 0, 1000, 2000))


def test_the_others_are_equally_likely(dataset):
    names = (*BOTH, "lift", "drop")
    batch = drawn(dataset, 40_000, names=names, rewards=("reward",) * 4, impersonation=1.0)
    pushed = batch.task[own(batch) == 0]
    assert np.bincount(pushed) / len(pushed) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.02)
    np.testing.assert_array_equal(batch.reward, batch.observation[:, 2])


def test_balance_draws_successful_and_failed_episodes_alike(dataset):
    batch = drawn(dataset, 40_000, balance=True)
    share = np.bincount(batch.observation[:, 0].astype(int)) / len(batch)
    # Three quarters are of push, half of those of its one success; pull has no failures.
    assert share == pytest.approx([3 / 8, 3 / 16, 3 / 16, 1 / 4], abs=0.01)
    _, counts = np.unique(batch.observation[batch.observation[:, 0] == 0, 1], return_counts=True)
    assert counts / counts.sum() == pytest.approx(np.full(10, 0.1), abs=0.02)


def test_balance_keeps_the_shares_of_datasets(write, episode):
    made = [
        write([tagged(episode, n, 10, "push", success=n % 2 == 0) for n in numbers], f"{name}", extras=EXTRAS)
        for name, numbers in (("a", [0]), ("b", [1, 2, 4, 6]))
    ]
    view = View.of([(made[0], 3.0), (made[1], 1.0)])
    rows = draw(view, seed=0, sequence=0, count=40_000, request=Request(tasks=Tasks(("push",), balance=True)))
    share = np.bincount(np.searchsorted(view.ends, rows.index, "right")) / len(rows)
    # Successes have 3/4 + 3/16 of the mass, and are halved; the failure has the other half.
    assert share == pytest.approx([0.4, 0.5, 1 / 30, 1 / 30, 1 / 30], abs=0.01)


def test_sums_and_windows_are_of_the_tasks_reward(dataset):
    batch = drawn(dataset, 32, n_step=2, impersonation=0.5)
    first = batch.observation[:, 2] + np.where(batch.task == 0, 1000, 2000)
    whole = np.where(batch.observation[:, 1] < 9, first + 0.99 * (first + 1), first)
    np.testing.assert_allclose(batch.reward, whole, rtol=1e-6)
    windows = drawn(dataset, 32, kind="windows", length=3, impersonation=0.5)
    expected = (windows.observation[..., 2] + np.where(windows.task == 0, 1000, 2000)[:, None]) * windows.mask
    np.testing.assert_array_equal(windows.reward, expected)
    assert windows.task.shape == (32,)


def test_tasks_are_drawn_at_their_address(dataset):
    request = Request(tasks=Tasks(BOTH, impersonation=0.5))
    a, b, c = (draw(dataset.view(), seed=0, sequence=n, count=50, request=request).task for n in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ()}, "tasks.names: found none"),
        ({"names": ("push", "push")}, "tasks.names: found push more than once"),
        ({"rewards": ("reward",)}, "tasks.rewards: found 1 columns for 2 tasks"),
        ({"impersonation": 2.0}, "tasks.impersonation: found 2.0, expected a number, 0 to 1"),
        ({"names": ("push",), "impersonation": 0.5}, "tasks.impersonation: found 0.5 with one task, push"),
        ({"names": ("push",)}, "data: episode 3 is tagged with task 'pull', which is none of push .1 such episodes."),
        ({"names": (*BOTH, "lift")}, "no column 'reward.lift'"),
        ({"rewards": ("reward", "pose")}, "no column 'pose' of one number a step"),
        ({"kind": "episodes", "balance": True}, "request.tasks: balance is for transitions and windows"),
    ],
)
def test_what_the_data_cannot_give_is_refused(dataset, fields, message):
    with pytest.raises(DataError, match=message):
        drawn(dataset, 4, **fields)


def test_balance_needs_to_know_successes(write, episode):
    dataset = write([tagged(episode, 0, 5, "push", True), tagged(episode, 1, 5, "push")], extras=EXTRAS)
    with pytest.raises(DataError, match="the success of episode 1 is not known"):
        drawn(dataset, 4, names=("push",), balance=True)
