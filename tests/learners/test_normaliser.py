"""Units: from those of the data to those of the networks and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learners.errors import LearnerError
from learners.normaliser import Normaliser
from replay.spaces import Box, Dict, Discrete, Image, Spaces

UNIT = Box((1,), low=(-1.0,), high=(1.0,))


def column(mean, std, low=(0,), high=(1,)):
    return {"mean": mean, "std": std, "min": low, "max": high}


def test_observations_get_zero_mean_and_unit_spread():
    statistics = {"observation": column([1.0, 10.0], [2.0, 5.0])}
    normaliser = Normaliser(Spaces(Box((2,)), UNIT), statistics, normalise_observation=True)
    observed = normaliser.observation(torch.tensor([[3.0, 10.0], [1.0, 0.0]]))
    torch.testing.assert_close(observed, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))


def test_a_constant_element_is_centred_and_not_divided():
    statistics = {"observation": column([7.0], [0.0])}
    normaliser = Normaliser(Spaces(Box((1,)), UNIT), statistics, normalise_observation=True)
    assert normaliser.observation(torch.tensor([[7.0], [7.5]])).tolist() == [[0.0], [0.5]]


@pytest.mark.parametrize("statistics", [None, {"observation": column([7.0], [2.0])}])
def test_observations_can_stay_as_they_are(statistics):
    normaliser = Normaliser(Spaces(Box((1,)), UNIT), statistics, normalise_observation=False)
    assert normaliser.observation(torch.tensor([[7.5]])).tolist() == [[7.5]]


def test_dictionaries_are_joined_in_the_order_of_their_names():
    space = Dict.of({"velocity": Box((2,)), "arm": Box((1, 2), dtype="float64"), "mode": Discrete(3)})
    statistics = {
        "observation.arm": column([1.0, 2.0], [1.0, 1.0]),
        "observation.mode": column([1.0], [1.0]),
        "observation.velocity": column([0.0, 0.0], [10.0, 10.0]),
    }
    normaliser = Normaliser(Spaces(space, UNIT), statistics, normalise_observation=True)
    assert normaliser.observation_size == 5
    observed = normaliser.observation(
        {
            "velocity": torch.tensor([[10.0, 20.0]]),
            "mode": torch.tensor([2]),
            "arm": torch.tensor([[[1.0, 5.0]]], dtype=torch.float64),
        }
    )
    assert observed.dtype == torch.float32
    assert observed.tolist() == [[0.0, 3.0, 1.0, 1.0, 2.0]]  # arm, mode, velocity


def test_actions_are_mapped_to_the_unit_box_and_back():
    action_space = Box((2,), low=(-2.0, 0.0), high=(2.0, 1.0))
    normaliser = Normaliser(Spaces(Box((1,)), action_space), None, normalise_observation=True)
    actions = torch.tensor([[-2.0, 1.0], [1.0, 0.5]])
    unit = normaliser.action(actions)
    torch.testing.assert_close(unit, torch.tensor([[-1.0, 1.0], [0.5, 0.0]]))
    torch.testing.assert_close(normaliser.environment_action(unit), actions)


def test_open_bounds_are_taken_from_the_data_and_closed_ones_kept():
    action_space = Box((2,), low=(-np.inf, -1.0), high=(np.inf, 1.0))
    statistics = {"action": column([0, 0], [1, 1], low=[-4.0, -0.5], high=[8.0, 0.5])}
    normaliser = Normaliser(Spaces(Box((1,)), action_space), statistics, normalise_observation=False)
    assert normaliser.action(torch.tensor([[8.0, 1.0], [2.0, -1.0]])).tolist() == [[1.0, 1.0], [0.0, -1.0]]


def test_an_action_that_never_varies_is_no_division_by_zero():
    action_space = Box((1,), low=(3.0,), high=(3.0,))
    normaliser = Normaliser(Spaces(Box((1,)), action_space), None, normalise_observation=False)
    assert torch.isfinite(normaliser.action(torch.tensor([[3.0]]))).all()
    assert normaliser.environment_action(torch.tensor([[0.0]])).item() == pytest.approx(3.0, abs=1e-5)


def test_what_cannot_be_served_is_refused():
    with pytest.raises(LearnerError, match=r"observation\.camera: images \(8, 8, 3\) need an encoder"):
        Normaliser(Spaces(Dict.of({"camera": Image((8, 8, 3))}), UNIT), None, normalise_observation=True)
    with pytest.raises(LearnerError, match=r"action space: Discrete\(2\)"):
        Normaliser(Spaces(Box((1,)), Discrete(2)), None, normalise_observation=True)
    with pytest.raises(LearnerError, match="no finite bounds, and no statistics"):
        Normaliser(Spaces(Box((1,)), Box((1,))), None, normalise_observation=True)


def test_statistics_that_do_not_fit_are_refused():
    spaces = Spaces(Box((2,)), UNIT)
    with pytest.raises(LearnerError, match=r"no mean of column 'observation'; found \['action'\]"):
        Normaliser(spaces, {"action": column([0], [1])}, normalise_observation=True)
    with pytest.raises(LearnerError, match=r"'observation': 3 values of mean, expected 2"):
        Normaliser(spaces, {"observation": column([0, 0, 0], [1, 1])}, normalise_observation=True)
