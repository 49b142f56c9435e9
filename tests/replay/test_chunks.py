"""Transitions of several actions."""

import numpy as np
import pytest

from replay import Box, DataError, Dict, Discrete, Image, Request, Spaces, Store, concatenate, locate

F32 = np.float32


def flags(*values):
    return np.array(values, np.uint8)


def everything(view, **request):
    return Store(view).gather(locate(view, np.arange(view.transitions)), Request(discount=0.5, **request))


def five_steps(write, episode, **fields):
    """Rewards 1, 2, 4, 8, 16."""
    return write([episode(0, 5, reward=F32([1, 2, 4, 8, 16]), **fields)]).view()


def actions(batch):
    """Hundredths: the number of the step that each was taken in."""
    return np.round(batch.action[:, :, 0] * 100).astype(int).tolist()


def test_a_chunk_ends_with_its_episode(write, episode):
    batch = everything(five_steps(write, episode), action_chunk=3)
    assert batch.action.shape == (5, 3, 2)
    assert actions(batch) == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0], [4, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert batch.reward.tolist() == [3, 6, 12, 16, 16]
    assert batch.discount.tolist() == [0.125, 0.125, 0.125, 0.25, 0.5]
    assert batch.next_observation[:, 1].tolist() == [3, 4, 5, 5, 5]
    assert batch.truncated.tolist() == [0, 0, 1, 1, 1]
    assert batch.terminated.tolist() == [0] * 5
    assert batch.observation.shape == (5, 3)
    assert batch.mask.dtype == np.uint8


def test_a_chunk_ends_with_a_terminated_step(write, episode):
    """The actions behind it are those of another attempt."""
    batch = everything(five_steps(write, episode, terminated=flags(0, 1, 0, 0, 0)), action_chunk=3)
    assert actions(batch) == [[0, 1, 0], [1, 0, 0], [2, 3, 4], [3, 4, 0], [4, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert batch.reward.tolist() == [2, 2, 12, 16, 16]
    assert batch.discount.tolist() == [0, 0, 0.125, 0.25, 0.5]
    assert batch.terminated.tolist() == [1, 1, 0, 0, 0]
    assert batch.next_observation[:, 1].tolist() == [2, 2, 5, 5, 5]


def test_a_chunk_ends_with_a_truncated_step_and_bootstraps(write, episode):
    batch = everything(five_steps(write, episode, truncated=flags(0, 1, 0, 0, 1)), action_chunk=3)
    assert actions(batch) == [[0, 1, 0], [1, 0, 0], [2, 3, 4], [3, 4, 0], [4, 0, 0]]
    assert batch.reward.tolist() == [2, 2, 12, 16, 16]
    assert batch.discount.tolist() == [0.25, 0.5, 0.125, 0.25, 0.5]
    assert batch.truncated.tolist() == [1, 1, 1, 1, 1]
    assert batch.next_observation[:, 1].tolist() == [2, 2, 5, 5, 5]


@pytest.mark.parametrize("n_step", [1, 4])
@pytest.mark.parametrize("more", [{}, {"history": 2}, {"columns": ("return_to_go",), "reward_shift": -1.0}])
def test_chunks_are_sums_with_all_of_their_actions(write, episode, n_step, more):
    rng = np.random.default_rng(0)
    ends = [{name: (rng.random(9) < 0.2).astype(np.uint8) for name in ("terminated", "truncated")} for _ in range(5)]
    view = write([episode(n, 9, **ends[n]) for n in range(5)]).view()
    chunks, sums = everything(view, action_chunk=4, n_step=n_step, **more), everything(view, n_step=4, **more)
    found, expected = dict(chunks.columns()), dict(sums.columns())
    np.testing.assert_array_equal(found.pop("action")[:, 0], expected.pop("action"))
    assert found.pop("mask").shape == (45, 4)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_chunk_of_one_is_a_one_step_transition(write, episode):
    view = five_steps(write, episode, terminated=flags(0, 1, 0, 0, 0))
    chunk, step = everything(view, action_chunk=1), everything(view)
    np.testing.assert_array_equal(chunk.action[:, 0], step.action)
    assert chunk.mask.tolist() == [[1]] * 5
    for name in ("observation", "reward", "discount", "next_observation", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(chunk, name), getattr(step, name), err_msg=name)


def test_a_chunk_longer_than_any_episode(write, episode):
    batch = everything(write([episode(0, 2)]).view(), action_chunk=6)
    assert actions(batch) == [[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    assert batch.mask.tolist() == [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]


def test_behind_discrete_actions_stands_the_first_of_them(write, episode):
    spaces = Spaces(Box((3,)), Discrete(4, start=2))
    view = write([episode(0, 3, action=np.array([5, 4, 3]), terminated=flags(0, 1, 0))], spaces=spaces).view()
    batch = everything(view, action_chunk=3)
    assert batch.action.tolist() == [[5, 4, 2], [4, 2, 2], [3, 2, 2]]


def test_pictures_with_a_history(write, episode):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 3, 3), np.uint8)
    spaces = Spaces(Dict.of({"eye": Image((2, 3, 3)), "arm": Box((1,))}), Box((2,)))
    seen = {"eye": pixels, "arm": np.arange(6, dtype=F32)[:, None]}
    view = write([episode(0, 5, observation=seen, terminated=flags(0, 1, 0, 0, 0))], spaces=spaces).view()
    batch = everything(view, action_chunk=2, history=1)
    now, later = [[0, 0], [0, 1], [2, 2], [2, 3], [3, 4]], [[1, 2], [1, 2], [3, 4], [4, 5], [4, 5]]
    np.testing.assert_array_equal(batch.observation["eye"], pixels[now])
    np.testing.assert_array_equal(batch.next_observation["eye"], pixels[later])
    assert batch.next_observation["arm"][:, :, 0].tolist() == later
    assert actions(batch) == [[0, 1], [1, 0], [2, 3], [3, 4], [4, 0]]


def test_chunks_gathered_apart_are_those_gathered_together(write, episode):
    view = write([episode(0, 2), episode(1, 5)]).view()
    request = Request(action_chunk=3, history=1)
    store = Store(view)
    apart = concatenate([store.gather(locate(view, np.array([index])), request) for index in range(7)])
    together = store.gather(locate(view, np.arange(7)), request)
    for name, array in together.columns():
        np.testing.assert_array_equal(dict(apart.columns())[name], array, err_msg=name)


@pytest.mark.parametrize("n_step", [2, 5])
def test_other_sums_are_refused(n_step):
    with pytest.raises(DataError, match=f"request.n_step: {n_step} with action_chunk=4, expected 1 or 4"):
        Request(n_step=n_step, action_chunk=4)


def test_the_action_behind_a_chunk_is_refused_by_name():
    with pytest.raises(DataError, match=r"request.columns: next_action, has_next_action with action_chunk=4"):
        Request(action_chunk=4, columns=("next_action", "has_next_action"))
