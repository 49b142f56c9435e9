"""Windows, whole episodes and returns-to-go."""

import numpy as np
import pytest

import replay
from replay import Box, Dict, Image, Request, Spaces, Store, locate, sample
from replay.gather.returns import backward, tail

F32 = np.float32


def gather(view, index, **request):
    return Store(view).gather(locate(view, np.asarray(index)), Request(**request))


def flags(*values):
    return np.array(values, np.uint8)


def test_a_window_is_padded_behind_the_end(write, episode):
    view = write([episode(1, 4), episode(2, 3)]).view()
    batch = gather(view, [0, 2, 6], kind="windows", length=3, discount=0.5, reward_shift=1.0)
    assert batch.mask.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert batch.observation[:, :, 2].tolist() == [[100, 101, 102], [102, 103, 104], [202, 203, 203]]
    assert batch.next_observation[:, :, 2].tolist() == [[101, 102, 103], [103, 104, 104], [203, 203, 203]]
    assert batch.reward.tolist() == [[101, 102, 103], [103, 104, 0], [203, 0, 0]]
    assert batch.discount.tolist() == [[0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0]]
    assert batch.truncated.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(batch.action[1], F32([[0.02, -0.02], [0.03, -0.03], [0, 0]]))
    assert batch.index.tolist() == [0, 2, 6]
    assert batch.action.shape == (3, 3, 2)


def test_a_window_crosses_a_terminated_step(write, episode):
    going_on = episode(0, 4, terminated=flags(0, 1, 0, 0))
    batch = gather(write([going_on]).view(), [0], kind="windows", length=4, discount=0.5)
    assert batch.mask.tolist() == [[1, 1, 1, 1]]
    assert batch.terminated.tolist() == [[0, 1, 0, 0]]
    assert batch.discount.tolist() == [[0.5, 0, 0.5, 0.5]]
    assert batch.reward.tolist() == [[0, 1, 2, 3]]


def test_episodes_are_as_long_as_the_longest(write, episode):
    view = write([episode(0, 2), episode(1, 4), episode(2, 3)]).view()
    batch = gather(view, [0, 6], kind="episodes")
    assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.reward.tolist() == [[0, 1, 0], [200, 201, 202]]
    sampled = [batch for s in range(20) for batch in [two_episodes(view, s)]]
    assert {batch.reward.shape[1] for batch in sampled} == {2, 3, 4}
    assert all((batch.observation[:, 0, 1] == 0).all() for batch in sampled)


def test_episodes_gathered_apart_are_those_gathered_together(write, episode):
    view = write([episode(0, 2), episode(1, 4), episode(2, 3)]).view()
    together = gather(view, [0, 2, 6], kind="episodes")
    apart = replay.concatenate([gather(view, [index], kind="episodes") for index in (0, 2, 6)])
    for name in ("observation", "next_observation", "action", "reward", "discount", "terminated", "truncated", "mask"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(together, name), err_msg=name)
    assert apart.index.tolist() == [0, 2, 6]


def two_episodes(view, sequence):
    request = Request(kind="episodes")
    return sample(view, Store(view), seed=0, sequence=sequence, count=2, request=request)


def test_returns_to_go_of_a_truncated_episode_are_the_sum_of_what_was_recorded(write, episode):
    view = write([episode(0, 4, reward=F32([1, 2, 4, 8]))]).view()
    request = {"columns": ("return_to_go",), "discount": 0.5}
    assert gather(view, range(4), **request).extras["return_to_go"].tolist() == [4, 6, 8, 8]
    windows = gather(view, [0, 1, 3], kind="windows", length=2, **request).extras["return_to_go"]
    assert windows.tolist() == [[4, 6], [6, 8], [8, 0]]
    assert gather(view, [0], kind="episodes", **request).extras["return_to_go"].tolist() == [[4, 6, 8, 8]]
    assert windows.dtype == F32


def test_returns_to_go_do_not_cross_a_terminated_step(write, episode):
    view = write([episode(0, 4, reward=F32([1, 2, 4, 8]), terminated=flags(0, 1, 0, 0))]).view()
    request = {"columns": ("return_to_go",), "discount": 0.5, "reward_scale": 10.0}
    assert gather(view, range(4), **request).extras["return_to_go"].tolist() == [20, 20, 80, 80]
    windows = gather(view, [0, 1, 2], kind="windows", length=2, **request).extras["return_to_go"]
    assert windows.tolist() == [[20, 20], [20, 80], [80, 80]]


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_both_ways_to_sum_agree(discount):
    rng = np.random.default_rng(0)
    reward, terminated = rng.normal(size=(7, 30)), (rng.random((7, 30)) < 0.1).astype(np.int64)
    whole = backward(reward, terminated, np.zeros(7), discount)
    first = tail(reward.ravel(), terminated.ravel(), np.full(7, 30), discount)
    np.testing.assert_allclose(first, whole[:, 0], rtol=1e-12)


def test_windows_of_pictures_and_dictionaries(write, episode):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 3, 4, 3), np.uint8)
    spaces = Spaces(Dict.of({"eye": Image((3, 4, 3)), "arm": Box((1,))}), Box((2,)))
    arm = np.arange(5, dtype=F32)[:, None]
    view = write([episode(0, 4, observation={"eye": pixels, "arm": arm})], spaces=spaces).view()
    batch = gather(view, [0, 2], kind="windows", length=3)
    np.testing.assert_array_equal(batch.observation["eye"], pixels[[[0, 1, 2], [2, 3, 4]]])
    np.testing.assert_array_equal(batch.next_observation["eye"], pixels[[[1, 2, 3], [3, 4, 4]]])
    assert batch.observation["arm"][:, :, 0].tolist() == [[0, 1, 2], [2, 3, 4]]
    steps = gather(view, [1, 3], n_step=2)
    np.testing.assert_array_equal(steps.next_observation["eye"], pixels[[3, 4]])


def test_a_picture_alone_is_no_dictionary(write, episode):
    pixels = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2, 1)
    view = write([episode(0, 2, observation=pixels)], spaces=Spaces(Image((2, 2, 1)), Box((2,)))).view()
    batch = gather(view, [0, 1])
    np.testing.assert_array_equal(batch.observation, pixels[:2])
    np.testing.assert_array_equal(batch.next_observation, pixels[1:])
