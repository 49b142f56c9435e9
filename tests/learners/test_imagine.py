"""Imagining: logged starts in, synthetic transitions out, by a model that is a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import learners
from learners.errors import LearnerError
from replay.batch import Batch
from replay.spaces import Box, Discrete, Spaces
from tests.learners.tabular_model import TabularModel, TabularModelConfig

SPACES = Spaces(Discrete(3), Discrete(2, start=1))
"""Action 1 goes on, 2 stays. Going on from state 1 ends in state 2 with a reward of 1; from state 0 it slips once in
four times."""
LOG = [(0, 1, 0.0, 1, 0)] * 3 + [(0, 1, 0.0, 0, 0)] + [(0, 2, 0.0, 0, 0)] * 2 + [(1, 1, 1.0, 2, 1)] * 2


def batch_of(rows, key=(0, 0)) -> Batch[np.ndarray]:
    state, action, reward, after, end = (np.array(column) for column in zip(*rows, strict=True))
    return Batch(
        observation=state,
        action=action,
        reward=reward.astype(np.float32),
        discount=np.float32(0.9) * (1 - end).astype(np.float32),
        next_observation=after,
        terminated=end.astype(np.uint8),
        truncated=np.zeros(len(end), np.uint8),
        index=np.arange(len(end)),
        key=key,
    )


def model() -> TabularModel:
    return TabularModel(SPACES, TabularModelConfig(discount=0.9), seed=0)


@pytest.fixture
def trained() -> TabularModel:
    algorithm = model()
    for part in (LOG[:4], LOG[4:]):
        algorithm.update(batch_of(part))
    return algorithm


def starts(*states, key=(0, 7)) -> Batch[np.ndarray]:
    """Logged rows that begin in these states; what else they hold is recognised where it comes through."""
    return batch_of([(state, 2, -9.0, 2, 0) for state in states], key)


def test_the_table_is_the_counts_of_the_log(trained):
    assert trained.table.count[0].tolist() == [[1.0, 3.0, 0.0], [2.0, 0.0, 0.0]]
    assert trained.table.count[1].tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
    assert trained.table.ends.sum() == trained.table.reward.sum() == 2.0


def test_what_is_certain_is_imagined_exactly(trained):
    found = trained.imagine(starts(1, 1))
    assert dict(found.columns()).keys() == dict(starts(1).columns()).keys()
    assert (found.observation.tolist(), found.action.tolist()) == ([1, 1], [1, 1])
    assert (found.next_observation.tolist(), found.reward.tolist()) == ([2, 2], [1.0, 1.0])
    assert (found.terminated.tolist(), found.discount.tolist()) == ([1, 1], [0.0, 0.0])


def test_what_is_not_is_imagined_as_often_as_it_happened(trained):
    found = trained.imagine(starts(*[0] * 8000))
    goes_on = found.action == 1
    assert goes_on.mean() == pytest.approx(0.5, abs=0.03)
    assert (found.next_observation[goes_on] == 1).mean() == pytest.approx(0.75, abs=0.03)
    assert (found.next_observation[~goes_on] == 0).all()
    assert np.unique(found.discount).tolist() == [np.float32(0.9)]


def test_a_state_that_was_never_seen_stays_as_it_was_logged(trained):
    found = trained.imagine(starts(2))
    assert (found.action.tolist(), found.reward.tolist()) == ([2], [-9.0])


def test_imagining_is_addressed_by_the_key_and_leaves_its_batch_alone(trained):
    batch = starts(*[0] * 20)
    first, again = trained.imagine(batch), trained.imagine(batch)
    for (name, one), (_, other) in zip(first.columns(), again.columns(), strict=True):
        assert np.array_equal(one, other), name
    other = trained.imagine(replace(batch, key=(0, 8)))
    assert not np.array_equal(other.next_observation, first.next_observation)
    assert (batch.reward == -9.0).all()


def test_an_updater_needs_the_published_weights_alone(trained):
    updater = model()
    updater.load_imagine_weights(trained.imagine_weights())
    batch = starts(0, 1, 0, 1)
    for (name, one), (_, other) in zip(trained.imagine(batch).columns(), updater.imagine(batch).columns(), strict=True):
        assert np.array_equal(one, other), name


def test_a_checkpoint_is_the_table(trained):
    other = model()
    other.load_state_dict(trained.state_dict())
    assert torch.equal(other.table.count, trained.table.count)
    assert other.state_layout().keys() == trained.state_dict().keys()


def test_two_learners_count_what_one_counts():
    whole, halves = model(), [model(), model()]
    whole.update(batch_of(LOG))
    sums: list[torch.Tensor] = []
    for rank, half in enumerate([model(), model()]):
        half.distribute(rank, 2, lambda vector: sums.append(vector.clone()))
        half.update(batch_of(LOG[4 * rank : 4 * rank + 4]))
    for rank, half in enumerate(halves):
        half.distribute(rank, 2, lambda vector: vector.copy_((sums[0] + sums[1]) / 2))
        half.update(batch_of(LOG[4 * rank : 4 * rank + 4]))
        assert torch.equal(half.table.count, whole.table.count)


def test_who_has_no_model_says_so():
    algorithm = learners.create("bc", Spaces(Box((3,)), Box((2,), low=(-1.0,), high=(1.0,))))
    assert not algorithm.imagines
    assert len(algorithm.imagine_weights()) == 0
    with pytest.raises(LearnerError, match="imagine: BC has no model"):
        algorithm.imagine(starts(0))
