"""Observations with the steps before them."""

import numpy as np
import pytest

from replay import Box, DataError, Dict, Image, Request, Rows, Spaces, Store, draw, locate, scan

F32 = np.float32
MASKS = ("history_mask", "next_history_mask")


def flags(*values):
    return np.array(values, np.uint8)


def everything(view, **request):
    return Store(view).gather(locate(view, np.arange(view.transitions)), Request(**request))


def seen(batch):
    """The number that each row of an observation has: 100 e + t."""
    return batch.observation[:, :, 2].tolist(), batch.next_observation[:, :, 2].tolist()


def test_an_episode_begins_with_its_first_observation_again(write, episode):
    batch = everything(write([episode(0, 3), episode(1, 2)]).view(), history=2)
    now, later = seen(batch)
    assert now == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [100, 100, 100], [100, 100, 101]]
    assert later == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [100, 100, 101], [100, 101, 102]]
    assert batch.history_mask.tolist() == [[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert batch.next_history_mask.tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert {getattr(batch, name).dtype for name in MASKS} == {np.dtype(np.uint8)}
    assert batch.observation.shape == batch.next_observation.shape == (5, 3, 3)
    assert (batch.action.shape, batch.reward.tolist()) == ((5, 2), [0, 1, 2, 100, 101])


def test_behind_a_terminated_step_another_attempt_begins(write, episode):
    """And the next observation of the terminated step is the last of the attempt that it ends."""
    going_on = episode(0, 5, terminated=flags(0, 1, 0, 0, 0))
    batch = everything(write([going_on]).view(), history=2)
    now, later = seen(batch)
    assert now == [[0, 0, 0], [0, 0, 1], [2, 2, 2], [2, 2, 3], [2, 3, 4]]
    assert later == [[0, 0, 1], [0, 1, 2], [2, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert batch.history_mask.tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert batch.next_history_mask.tolist() == [[0, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]


def test_of_several_attempts_the_newest_counts(write, episode):
    attempts = episode(0, 5, terminated=flags(1, 0, 1, 0, 0))
    now, later = seen(everything(write([attempts]).view(), history=4))
    assert now == [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 2], [3, 3, 3, 3, 3], [3, 3, 3, 3, 4]]
    assert later == [[0, 0, 0, 0, 1], [1, 1, 1, 1, 2], [1, 1, 1, 2, 3], [3, 3, 3, 3, 4], [3, 3, 3, 4, 5]]


def test_behind_a_truncated_step_the_episode_goes_on(write, episode):
    going_on = episode(0, 3, truncated=flags(0, 1, 1))
    batch = everything(write([going_on]).view(), history=1)
    assert seen(batch) == ([[0, 0], [0, 1], [1, 2]], [[0, 1], [1, 2], [2, 3]])
    assert batch.history_mask.tolist() == [[0, 1], [1, 1], [1, 1]]


def test_the_past_of_a_sums_next_observation_has_the_steps_inside_of_it(write, episode):
    ends = {"terminated": flags(0, 1, 0, 0, 0, 0), "truncated": flags(0, 0, 0, 1, 0, 1)}
    view = write([episode(0, 6, **ends)]).view()
    batch = everything(view, history=2, n_step=3)
    now, later = seen(batch)
    # Sums end behind steps 1 (terminated), 3 (truncated) and 5.
    assert later == [[0, 1, 2], [0, 1, 2], [2, 3, 4], [2, 3, 4], [4, 5, 6], [4, 5, 6]]
    assert now == [[0, 0, 0], [0, 0, 1], [2, 2, 2], [2, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert batch.next_history_mask.tolist() == [[1, 1, 1]] * 6
    plain = everything(view, n_step=3)
    for name in ("reward", "discount", "action", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(plain, name), err_msg=name)
    np.testing.assert_array_equal(batch.observation[:, -1], plain.observation)
    np.testing.assert_array_equal(batch.next_observation[:, -1], plain.next_observation)


def test_pictures_and_dictionaries(write, episode):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3), np.uint8)
    arm = np.arange(4, dtype=F32)[:, None]
    spaces = Spaces(Dict.of({"eye": Image((2, 3, 3)), "arm": Box((1,))}), Box((2,)))
    entry = episode(0, 3, observation={"eye": pixels, "arm": arm}, terminated=flags(1, 0, 0))
    batch = everything(write([entry], spaces=spaces).view(), history=1)
    now, later = [[0, 0], [1, 1], [1, 2]], [[0, 1], [1, 2], [2, 3]]
    np.testing.assert_array_equal(batch.observation["eye"], pixels[now])
    np.testing.assert_array_equal(batch.next_observation["eye"], pixels[later])
    assert batch.observation["arm"][:, :, 0].tolist() == now
    assert batch.next_observation["arm"][:, :, 0].tolist() == later


@pytest.mark.parametrize("more", [{}, {"n_step": 3}, {"action_chunk": 3}])
def test_few_maps_give_the_same_histories(write, episode, more):
    view = write([episode(n, 3 + n) for n in range(6)], shard_bytes=1).view()
    request = Request(history=2, **more)
    rows = draw(view, seed=0, sequence=0, count=40).take(np.random.default_rng(0).permutation(40))
    expected, found = Store(view).gather(rows, request), Store(view, max_maps=2).gather(rows, request)
    for name, array in expected.columns():
        np.testing.assert_array_equal(dict(found.columns())[name], array, err_msg=name)


def test_a_pass_in_order_has_them_too(write, episode):
    view = write([episode(0, 3), episode(1, 2)]).view()
    parts = list(scan(view, Store(view), Request(history=1), 2))
    assert [part.observation[:, :, 2].tolist() for part in parts] == [
        [[0, 0], [0, 1]],
        [[1, 2], [100, 100]],
        [[100, 101]],
    ]


def test_a_step_that_leads_out_of_the_shard_is_not_read(write, episode):
    view = write([episode(0, 3)]).view()
    for row, step in ((0, 1), (1, 2), (1, -1), (2, 1 << 62)):
        one = Rows(*(np.array([value]) for value in (0, 0, row, 1, step)))
        with pytest.raises(DataError, match="rows outside of their shard"):
            Store(view).gather(one, Request(history=3))


@pytest.mark.parametrize("name", ["history", "action_chunk"])
@pytest.mark.parametrize("kind", ["windows", "episodes"])
def test_windows_have_their_steps_already(kind, name):
    with pytest.raises(DataError, match=rf"request.{name}: 2 with kind='{kind}', expected 0; {kind} hold the steps"):
        Request(kind=kind, **{name: 2})


def test_only_the_step_travels():
    assert Request(history=3).reads_of_rows == ("step",)
    assert Request(history=3, n_step=2).reads_of_rows == ("remaining", "step")
    assert Request(action_chunk=2).reads_of_rows == ("remaining",)
    assert Request(action_chunk=1).reads_of_rows == ()  # one step remains, at least
    assert Request().reads_of_rows == ()


def test_a_history_that_memory_cannot_hold_is_not_made(write, episode, monkeypatch):
    dataset = write([episode(0, 9)])
    monkeypatch.setattr("replay.memory.available_bytes", lambda: 1_000_000)
    for request in (Request(history=1_000_000), Request(action_chunk=1_000_000)):
        with pytest.raises(DataError, match=r"batch: 20 transitions.* of memory, and .* are left"):
            dataset.sample(seed=0, sequence=0, count=20, request=request)
