"""What an algorithm is made for and fed with: refused, by name, where it cannot be what it says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learners.errors import LearnerError
from replay.batch import Batch, Request
from replay.ranges import Seed, expected, fits, shown
from replay.spaces import Box, Dict, Discrete, Image, Spaces, observation_columns

LARGEST = float(np.finfo(np.float32).max)
"""That networks can hold: they compute in float32."""


def check_seed(seed: Any) -> None:
    """Raises `LearnerError` for what is no seed."""
    if not fits(seed, Seed):
        raise LearnerError(f"seed: found {shown(seed)}, expected {expected(Seed)}.")


def usable_device(device: Any) -> torch.device:
    """What PyTorch calls it. Raises `LearnerError` for what is neither cpu nor cuda, and for a GPU that is missing."""
    text = str(device) if isinstance(device, torch.device) else device
    kind, colon, number = text.partition(":") if isinstance(text, str) else ("", "", "")
    whole = number.isascii() and number.isdigit() and len(number) < 6
    if kind not in ("cpu", "cuda") or (colon and not whole) or (kind == "cpu" and int(number or 0)):
        raise LearnerError(f"device: found {shown(device)}, expected cpu, cuda, or cuda:N for the GPU of that number.")
    if kind == "cuda" and int(number or 0) >= (count := torch.cuda.device_count()):
        raise LearnerError(
            f"device: found {text!r}, but PyTorch {torch.__version__} finds {count or 'no'} GPU{'s' * (count != 1)} "
            "here; use another, or cpu."
        )
    return torch.device(text)


# --- Spaces ---


def check_spaces(spaces: Any) -> None:
    """Raises `LearnerError` for spaces without elements, and for bounds that none can lie between."""
    if not isinstance(spaces, Spaces):
        raise LearnerError(f"spaces: found {shown(spaces)}, expected replay.spaces.Spaces, such as dataset.spaces.")
    if not isinstance(spaces.observation, (Box, Discrete, Image, Dict)):
        raise LearnerError(f"observation space: found {shown(spaces.observation)}, expected one of replay.spaces.")
    columns = observation_columns(spaces.observation)
    for name, leaf in columns.items():
        _check_leaf(f"{name.replace('observation', 'observation space', 1)}", leaf)
    if not sum(math.prod(leaf.shape) for leaf in columns.values()):
        raise LearnerError(f"observation space: found {shown(spaces.observation)}, expected at least one element.")
    _check_leaf("action space", spaces.action)
    if isinstance(spaces.action, Box):
        _check_bounds(spaces.action)


def _check_leaf(where: str, leaf: Any) -> None:
    match leaf:
        case Discrete():
            good = _whole(leaf.n, 1) and _whole(leaf.start, -(2**63)) and leaf.start + leaf.n <= 2**63
            wanted = "at least one action, all of them numbers of 64 bits"
        case Image():
            good = len(leaf.shape) == 3 and all(_whole(size, 1) for size in leaf.shape)
            wanted = "a shape of height, width and channels, each at least 1"
        case Box():
            good = (
                isinstance(leaf.shape, tuple) and all(_whole(size, 0) for size in leaf.shape) and _numeric(leaf.dtype)
            )
            wanted = "a tuple of whole numbers as shape, and a dtype of numbers"
        case _:
            raise LearnerError(
                f"{where}: found {shown(leaf)}, expected a Box, a Discrete or an Image of replay.spaces."
            )
    if not good:
        raise LearnerError(f"{where}: found {shown(leaf)}, expected {wanted}.")


def _check_bounds(space: Box) -> None:
    size = math.prod(space.shape)
    if not size:
        raise LearnerError(f"action space: found {shown(space)}, expected at least one element.")
    for name, bounds in (("low", space.low), ("high", space.high)):
        if len(bounds) not in (1, size):
            raise LearnerError(f"action space: found {len(bounds)} bounds as {name}, expected 1 or {size}.")
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    if not (low <= high).all():
        raise LearnerError(f"action space: found {shown(space)}, expected no low above its high, and none of them NaN.")
    ends = np.concatenate([low, high])
    if (np.isfinite(ends) & (np.abs(ends) > LARGEST)).any():
        raise LearnerError(
            f"action space: found {shown(space)}, expected bounds that a float32 can hold, up to {LARGEST:g}; infinite "
            "ones leave an element open."
        )


def check_chunks(action_chunk: int, spaces: Spaces) -> None:
    """Raises `LearnerError` for chunks of actions that are not continuous."""
    if action_chunk and isinstance(spaces.action, Discrete):
        raise LearnerError(
            f"action_chunk: found {action_chunk} with {spaces.action}, expected continuous actions (a Box); leave it "
            "out."
        )


def _whole(number: Any, least: int) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= least


def _numeric(dtype: Any) -> bool:
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


# --- Statistics ---


def check_statistics(spaces: Spaces, statistics: Any, config: Any) -> None:
    """Raises `LearnerError` where statistics that are read, all but which are missing, are no finite numbers."""
    if statistics is None:
        return
    if not isinstance(statistics, Mapping):
        raise LearnerError(f"statistics: found {shown(statistics)}, expected them by column, as dataset.statistics is.")
    for column, names in _read(spaces, config):
        entry = statistics.get(column, {})
        if not isinstance(entry, Mapping):
            raise LearnerError(f"statistics of {column!r}: found {shown(entry)}, expected mean, std, min and max.")
        for name in sorted(names & entry.keys()):
            _check_values(column, name, entry[name])


def _read(spaces: Spaces, config: Any) -> Iterator[tuple[str, set[str]]]:
    if config.normalise_observation:
        for column, space in observation_columns(spaces.observation).items():
            if not isinstance(space, Image):
                yield column, {"mean", "std"}
    if isinstance(spaces.action, Box) and not spaces.action.bounded:
        yield "action", {"min", "max"}
    yield "reward", {"min", "max"}
    if getattr(config, "normalise_reward", False):
        yield "return", {"min", "max"}


def _check_values(column: str, name: str, given: Any) -> None:
    try:
        values: NDArray[np.float64] = np.asarray(given, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise LearnerError(f"statistics of {column!r}: found {shown(given)} as {name}, expected numbers.") from None
    # Rewards are scaled in float64, all else in float32.
    most = math.inf if column in ("reward", "return") else LARGEST
    good = np.isfinite(values) & (np.abs(values) <= most) & (name != "std" or values >= 0)
    if not good.all():
        place = int(np.argmin(good))
        raise LearnerError(
            f"statistics of {column!r}: found {values[place]:g} as {name} of element {place}, expected a number that a "
            "float32 can hold; scale the data, or leave its damaged episodes out."
        )


# --- Batches ---

HISTORY_MASKS = {"observation": "history_mask", "next_observation": "next_history_mask"}
"""Of a batch's observations with their history: the field that says which of its steps there are."""


def check_batch(batch: Batch[Any], spaces: Spaces, request: Request, reads: tuple[str, ...]) -> None:
    """Raises `LearnerError` for a batch that is not what `request` asks for, in names or in shapes."""
    lead = _shape(batch.reward)
    if len(lead) != (1 if request.kind == "transitions" else 2) or 0 in lead:
        wanted = "(B,)" if request.kind == "transitions" else "(B, T)"
        raise LearnerError(f"batch.reward: found shape {lead}, expected {wanted}, for {request.kind}.")
    expected_shapes: list[tuple[str, Any, tuple[int, ...]]] = [
        ("action", batch.action, (*lead, *_axis(request.action_chunk), *spaces.action.shape)),
        ("discount", batch.discount, lead),
    ]
    steps = _axis(request.history and request.history + 1)
    for name in reads:
        expected_shapes += _observation_shapes(name, getattr(batch, name), spaces, (*lead, *steps))
        if steps:
            mask = HISTORY_MASKS[name]
            expected_shapes.append((mask, getattr(batch, mask), (*lead, *steps)))
    if request.kind != "transitions" or request.action_chunk:
        expected_shapes.append(("mask", batch.mask, (*lead, *_axis(request.action_chunk))))
    if batch.weight is not None:
        expected_shapes.append(("weight", batch.weight, lead[:1]))
    for name in request.columns:
        shape = spaces.action.shape if name == "next_action" else ()
        if name not in batch.extras:
            raise LearnerError(f"batch.extras: found no {name!r}, which this algorithm asks for (`requires.columns`).")
        expected_shapes.append((f"extras[{name!r}]", batch.extras[name], (*lead, *shape)))
    for name, array, shape in expected_shapes:
        if _shape(array) != shape:
            raise LearnerError(f"batch.{name}: found {_described(array)}, expected shape {shape}.")


def _observation_shapes(
    name: str, found: Any, spaces: Spaces, lead: tuple[int, ...]
) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    if not isinstance(spaces.observation, Dict):
        yield name, found, (*lead, *spaces.observation.shape)
        return
    keys = [key for key, _ in spaces.observation.items()]
    if not isinstance(found, Mapping) or not found.keys() >= set(keys):
        held = sorted(found) if isinstance(found, Mapping) else _described(found)
        raise LearnerError(f"batch.{name}: found {held}, expected a dictionary of {', '.join(keys)}.")
    for key, leaf in spaces.observation.items():
        yield f"{name}[{key!r}]", found[key], (*lead, *leaf.shape)


def _axis(length: int) -> tuple[int, ...]:
    """A dimension of this length, and none for 0."""
    return (length,) if length else ()


def check_labels(found: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]) -> None:
    """Raises `LearnerError` for labels that are not those of `targets`, in names, dimensions or rows."""
    if found.keys() != wanted.keys():
        raise LearnerError(
            f"targets: found {sorted(found)}, expected {sorted(wanted)}, as `targets(batch)` gives them."
        )
    for name, label in wanted.items():
        shape = _shape(found[name])
        if len(shape) != label.dim() or shape[0] != len(label):
            raise LearnerError(
                f"targets[{name!r}]: found {_described(found[name])}, expected shape {tuple(label.shape)}."
            )


def _shape(array: Any) -> tuple[int, ...]:
    shape = getattr(array, "shape", None)
    return (-1,) if shape is None else tuple(shape)


def _described(array: Any) -> str:
    return shown(array) if not hasattr(array, "shape") else f"shape {tuple(array.shape)}"
