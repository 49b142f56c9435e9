from __future__ import annotations

import numpy as np
import pytest

from cluster.schedule import Schedule


def test_chunks_cover_every_step_once_and_the_last_may_be_short() -> None:
    schedule = Schedule(steps=10, chunk_steps=4, depth=1)
    assert schedule.chunks == 3
    assert [list(schedule.steps_of(chunk)) for chunk in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_chunk_is_labelled_by_the_weights_of_depth_chunks_before() -> None:
    schedule = Schedule(steps=100, chunk_steps=4, depth=2)
    # Version v is the weights before chunk v; the first two chunks have nothing older than the initial ones.
    assert [schedule.version_for(chunk) for chunk in range(5)] == [0, 0, 0, 1, 2]


def test_staleness_is_the_mean_age_of_the_labels_in_steps() -> None:
    schedule = Schedule(steps=100, chunk_steps=4, depth=2)
    # Steps 12..15 labelled with the weights of step 4: ages 8, 9, 10, 11.
    assert schedule.staleness(3) == pytest.approx(9.5)
    assert Schedule(steps=100, chunk_steps=1, depth=0).staleness(7) == 0.0


def test_label_reuse_draws_one_batch_for_every_u_steps() -> None:
    schedule = Schedule(steps=16, chunk_steps=8, depth=0, label_reuse=4)
    assert list(schedule.draws_of(0)) == [0, 1]
    assert list(schedule.draws_of(1)) == [2, 3]


@pytest.mark.parametrize(
    ("every", "due"),
    [
        (3, [True, True, True, True]),  # 3, 6, 9, 12 and 15 lie in steps 1..4, 5..8, 9..12, 13..16
        (6, [False, True, True, False]),  # 6 and 12
        (8, [False, True, False, True]),
        (0, [False, False, False, False]),
    ],
)
def test_what_is_due_falls_on_the_next_chunk_boundary(every: int, due: list[bool]) -> None:
    schedule = Schedule(steps=16, chunk_steps=4, depth=0)
    assert [schedule.due(chunk, every) for chunk in range(4)] == due


def test_draw_sequences_never_repeat() -> None:
    schedule = Schedule(steps=37, chunk_steps=6, depth=3, label_reuse=2)
    sequences = np.concatenate([list(schedule.draws_of(chunk)) for chunk in range(schedule.chunks)])
    assert len(set(sequences.tolist())) == len(sequences)
