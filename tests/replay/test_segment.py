"""Flat logs become episodes: where they are cut, and what their final observation is."""

import itertools

import numpy as np

from replay.readers.segment import Block, Counts, segment


def block(observation, *, after=None, terminated=None, truncated=None, number=None, position=None, tags=None):
    """One row per number; action 10 x observation, reward 100 x observation."""
    observation = np.asarray(observation, np.float32)[:, None]
    n = len(observation)
    terminated = np.zeros(n, np.uint8) if terminated is None else np.asarray(terminated, np.uint8)
    truncated = np.zeros(n, np.uint8) if truncated is None else np.asarray(truncated, np.uint8)
    return Block(
        observation={"observation": observation},
        action=10 * observation,
        reward=100 * observation[:, 0],
        terminated=terminated,
        truncated=truncated,
        end=terminated | truncated,
        next_observation={} if after is None else {"observation": np.asarray(after, np.float32)[:, None]},
        number=None if number is None else np.asarray(number),
        position=None if position is None else np.asarray(position),
        tags={name: np.asarray(values) for name, values in (tags or {}).items()},
    )


def split_up(whole, sizes):
    starts = np.cumsum([0, *sizes])
    return [whole.rows(int(a), int(b)) for a, b in itertools.pairwise(starts)]


def run(*blocks, final_row=False):
    counts = Counts()
    episodes = [episode for _, episode in segment(blocks, counts, source="log", final_row=final_row)]
    return episodes, counts


def observations(episodes):
    return [episode.observation[:, 0].tolist() for episode in episodes]


def test_flags_end_episodes_and_next_observations_complete_them():
    episodes, counts = run(block([0, 1, 2, 5, 6], after=[1, 2, 3, 6, 7], terminated=[0, 0, 1, 0, 0]))
    assert observations(episodes) == [[0, 1, 2, 3], [5, 6, 7]]
    assert [episode.terminated.tolist() for episode in episodes] == [[0, 0, 1], [0, 0]]
    assert [episode.truncated.tolist() for episode in episodes] == [[0, 0, 0], [0, 1]]  # the log just stops
    assert episodes[0].action[:, 0].tolist() == [0, 10, 20]
    assert episodes[1].reward.tolist() == [500, 600]
    assert episodes[0].source == "log"
    assert counts == Counts()


def test_an_episode_is_cut_where_rows_are_missing():
    episodes, counts = run(block([0, 1, 4, 5], after=[1, 2, 5, 6]))
    assert observations(episodes) == [[0, 1, 2], [4, 5, 6]]
    assert counts.discontinuities == 1


def test_a_gap_in_the_step_numbers_is_a_missing_row_too():
    episodes, counts = run(block([0, 1, 4, 5, 8], number=[7, 7, 7, 7, 8], position=[0, 1, 3, 4, 0]))
    assert observations(episodes) == [[0, 1], [4, 5]]  # each lost its last transition, and row 8 is alone
    assert counts == Counts(discontinuities=1, dropped=3)


def test_without_a_final_observation_the_last_transition_is_lost_unless_it_terminated():
    episodes, counts = run(block([0, 1, 2, 5, 6, 7], terminated=[0, 0, 1, 0, 0, 0], truncated=[0, 0, 0, 0, 0, 1]))
    assert observations(episodes) == [[0, 1, 2, 2], [5, 6, 7]]
    assert episodes[0].terminated.tolist() == [0, 0, 1]
    assert episodes[1].truncated.tolist() == [0, 1]
    assert counts == Counts(dropped=1, stand_ins=1)


def test_a_terminal_next_observation_that_is_not_finite_is_replaced():
    episodes, counts = run(block([0, 1], after=[1, np.nan], terminated=[0, 1]))
    assert observations(episodes) == [[0, 1, 1]]
    assert counts.stand_ins == 1


def test_a_final_row_is_an_observation_and_masks_do_not_end_trajectories():
    rows = block([0, 1, 2, 3, 4, 5], terminated=[0, 1, 0, 1, 0, 0])
    ends = np.array([0, 0, 0, 1, 0, 1], np.uint8)
    rows = Block(**{**vars(rows), "end": ends})
    episodes, counts = run(rows, final_row=True)
    assert observations(episodes) == [[0, 1, 2, 3], [4, 5]]
    assert [episode.terminated.tolist() for episode in episodes] == [[0, 1, 0], [0]]
    assert counts == Counts()


def test_block_borders_change_nothing():
    whole = block(
        [0, 1, 2, 5, 6, 7, 9, 9, 10],
        after=[1, 2, 3, 6, 7, 8, 9.5, 10, 11],
        terminated=[0, 0, 1, 0, 0, 0, 0, 0, 0],
        number=[1, 1, 1, 2, 2, 2, 2, 3, 3],
        tags={"task": list("aaabbbbcc"), "success": [0, 0, 1, 0, 0, 0, 0, 1, 1]},
    )
    expected, counted = run(whole)
    assert observations(expected) == [[0, 1, 2, 3], [5, 6, 7, 8], [9, 9.5], [9, 10, 11]]
    assert [(e.task, e.success) for e in expected] == [("a", True), ("b", False), ("b", False), ("c", True)]
    assert counted.discontinuities == 1
    for sizes in ([1] * 9, [3, 6], [2, 2, 2, 2, 1], [7, 2], [4, 4, 1]):
        episodes, counts = run(*split_up(whole, sizes))
        assert observations(episodes) == observations(expected)
        assert [e.terminated.tolist() for e in episodes] == [e.terminated.tolist() for e in expected]
        assert [e.truncated.tolist() for e in episodes] == [e.truncated.tolist() for e in expected]
        assert counts == counted


def test_dictionaries_and_encoded_pictures():
    pictures = np.empty(3, object)
    pictures[:] = [b"a", b"b", b"c"]
    rows = block([0, 1, 2], terminated=[0, 0, 0])
    rows = Block(**{**vars(rows), "observation": {"observation.eye": pictures, "observation.arm": np.arange(3.0)}})
    (episode,), _ = run(rows)
    assert episode.observation["eye"] == [b"a", b"b", b"c"]
    assert episode.observation["arm"].tolist() == [0, 1, 2]
    assert len(episode) == 2
