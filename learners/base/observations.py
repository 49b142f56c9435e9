"""What a policy is shown, held to the spaces of its data before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from learners.algorithm import Observation
from learners.base.checks import LARGEST
from learners.errors import LearnerError
from replay.errors import DataError
from replay.spaces import Box, Discrete, Image, Leaf, channels_last, flattened, is_nested


class ObservationCheck:
    """Turns one observation, or a stack of them, into a batch as datasets give it.

    Nested dictionaries and tuples are flattened (`replay.spaces.flattened`), pictures with their channels first turned
    (`replay.spaces.channels_last`), as they are in data. This is on the path of every environment step.
    """

    def __init__(self, columns: Mapping[str, Leaf]) -> None:
        """`columns` as of `replay.spaces.observation_columns`."""
        self._plain = columns.get("observation")
        self._parts = {name.removeprefix("observation."): leaf for name, leaf in columns.items()}

    def __call__(self, observation: Any) -> tuple[Observation, bool]:
        """A batch (B, …), or a dictionary of such arrays, and whether it was made of a single observation.

        Raises `LearnerError`, naming the part, for parts that are missing or too many, for another shape or type, for
        NaN and infinities, and for values outside a `Discrete` space.
        """
        if self._plain is not None:
            if isinstance(observation, Mapping):
                raise LearnerError(
                    f"act: found a dictionary of {_listed(observation)}, expected one array: the data has plain "
                    "observations. Pass the part that it was recorded from."
                )
            array = _part(observation, self._plain, "observation")
            single = array.ndim == len(self._plain.shape)
            return (array[None] if single else array), single
        parts = self._named(observation)
        arrays = {key: _part(parts[key], leaf, f"observation.{key}") for key, leaf in self._parts.items()}
        rows = {key: None if array.ndim == len(self._parts[key].shape) else len(array) for key, array in arrays.items()}
        if len(set(rows.values())) > 1:
            found = ", ".join(f"{key}: {'one' if n is None else n}" for key, n in rows.items())
            raise LearnerError(f"act: found parts of different numbers of observations ({found}), expected the same.")
        single = None in rows.values()
        return ({key: array[None] for key, array in arrays.items()} if single else arrays), single

    def _named(self, observation: Any) -> Mapping[str, Any]:
        if not is_nested(observation):
            raise LearnerError(
                f"act: found {type(observation).__name__}, expected a dictionary of {_listed(self._parts)}."
            )
        if isinstance(observation, Mapping) and observation.keys() == self._parts.keys():
            return observation
        try:
            flat = flattened(observation, "observation")
        except DataError as error:
            raise LearnerError(f"act: {error}") from error
        if flat.keys() != self._parts.keys():
            raise LearnerError(f"act: found a dictionary of {_listed(flat)}, expected exactly {_listed(self._parts)}.")
        return flat


def observations_in(batch: Observation) -> int:
    """How many there are in a batch (B, …), or in a dictionary of such arrays."""
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch)


def finite(observation: Any) -> tuple[Any, bool]:
    """An array, or a dictionary of arrays, with 0 in the place of what float32 cannot hold, NaN too; and whether there
    was any. What cannot be judged stays as it is, for `ObservationCheck`."""
    if isinstance(observation, Mapping):
        found = {name: finite(part) for name, part in observation.items()}
        if not any(changed for _, changed in found.values()):
            return observation, False
        return {name: part for name, (part, _) in found.items()}, True
    if not isinstance(observation, np.ndarray) or observation.dtype.kind != "f":
        return observation, False
    good = np.abs(observation) <= LARGEST  # which NaN is not
    if good.all():
        return observation, False
    return np.where(good, observation, np.zeros_like(observation)), True


def _part(value: Any, leaf: Leaf, name: str) -> np.ndarray:
    """(shape) or (B, shape), of numbers that networks can hold."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        # Lists of different lengths; tensors on a device, or with gradients.
        raise LearnerError(f"act: {name}: found {type(value).__name__} that is no array ({error}).") from error
    kind = array.dtype.kind
    if kind not in _KINDS[type(leaf)] or (leaf.dtype == "uint8" and kind == "f"):
        raise LearnerError(f"act: {name}: found {array.dtype}, expected {_EXPECTED[type(leaf)]} ({leaf.dtype}).")
    if isinstance(leaf, Image):
        if array.dtype != np.uint8:
            raise LearnerError(f"act: {name}: found pixels of {array.dtype}, expected uint8 from 0 to 255.")
        array = channels_last(array, leaf.shape)
    rank = len(leaf.shape)
    if array.shape[array.ndim - rank :] != tuple(leaf.shape) or array.ndim - rank not in (0, 1):
        raise LearnerError(
            f"act: {name}: found shape {np.shape(value)}, expected {tuple(leaf.shape)} for one observation, or one "
            "axis more for several. Is it an observation of the environment that the data is from?"
        )
    if kind == "f":
        if not (np.abs(array) <= LARGEST).all():
            bad = int((~(np.abs(array) <= LARGEST)).sum())
            raise LearnerError(
                f"act: {name}: NaN or infinite in {bad} of {array.size} numbers, expected such as float32 can hold."
            )
    elif isinstance(leaf, Discrete) and array.size:
        low, high = int(array.min()), int(array.max())
        if low < leaf.start or high >= leaf.start + leaf.n:
            raise LearnerError(
                f"act: {name}: found {low if low < leaf.start else high}, expected {leaf.start} to "
                f"{leaf.start + leaf.n - 1}."
            )
    if not array.dtype.isnative or array.dtype.itemsize > 8:
        # Which PyTorch cannot read.
        array = array.astype(np.float64 if kind == "f" else array.dtype.newbyteorder("="))
    return array


_KINDS: dict[type, str] = {Box: "biuf", Discrete: "iu", Image: "iu"}
_EXPECTED: dict[type, str] = {Box: "numbers", Discrete: "integers", Image: "bytes"}


def _listed(parts: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, parts))) or "nothing"
