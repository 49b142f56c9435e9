"""What a checkpoint holds besides the learner, `pipeline.safetensors`, held to what the run that goes on will take.

    weights.VERSION                 published weights by which chunks are still to be labelled, or rows imagined
    evaluation.STEP                 those of evaluations that were under way
    rows.CHUNK.DRAW.FIELD           draws that were made by priorities which have changed since
    priorities.NAME                 of the transitions
    buffer.NUMBER.batch.… targets.… labelled rows that later steps take part in
    imagined.batch.…                imagined rows that later steps may draw, the oldest first

The record's hash tells damage. This tells a file that somebody made for another run, or by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.checkpoint import Arrays, Checkpoint
from cluster.errors import RunError
from cluster.options import Recipe
from cluster.roles.train_buffer import chunk_from_arrays
from cluster.schedule import Schedule
from learners.algorithm import Algorithm
from replay.batch import Request
from replay.drawing import as_asked
from replay.errors import DataError
from replay.random_words import PRIORITY
from replay.rows import GOAL
from replay.spaces import Discrete, Spaces, observation_columns
from replay.view import View, locate

Kind = tuple[str, tuple[int, ...]]
"""dtype and shape."""

ROW_FIELDS = ("index", "shard", "row", "remaining", "step")
LATER_FIELDS = ("step",)
"""Of those, what checkpoints of earlier versions do not hold."""
PRIORITY_FIELDS = ("powers", "fresh", "highest")
_REMEDY = "No run writes that: restore the checkpoint, or go on from another with --resume-from."


def check_pipeline(
    where: Path, start: Checkpoint, recipe: Recipe, algorithm: Algorithm, spaces: Spaces, view: View | None
) -> None:
    """Raises `RunError`, naming the checkpoint `where` and the array, unless `start.pipeline` is what a run of this
    recipe takes from there: all of it, of the right types and shapes, and with numbers that can be.

    `view` is that of the logs, which draws by priorities are from.
    """
    schedule = recipe.schedule
    chunk = -(-start.step // recipe.chunk_steps)
    expected: dict[str, Kind] = {}
    if not recipe.fused or recipe.imagine_every is not None:
        layout = _layout_of(algorithm.imagine_weights() if recipe.fused else algorithm.target_weights())
        present = [name for name in start.pipeline if re.fullmatch(r"weights\.\d{1,18}", name, re.ASCII)]
        versions = range(schedule.version_for(chunk), chunk + 1)
        needed = [version for version in versions if not recipe.fused or schedule.imagined_by(version)]
        expected |= dict.fromkeys([*present, *(f"weights.{version}" for version in needed)], layout)
    policy = _layout_of(algorithm.policy_weights())
    expected |= {name: policy for name in start.pipeline if re.fullmatch(r"evaluation\.\d{1,18}", name, re.ASCII)}
    if recipe.priority_exponent > 0:
        assert view is not None
        expected |= _priorities(view) | _draws(start.pipeline, schedule, chunk, recipe.batch_size, algorithm.requires)
    if recipe.label_reuse > 1:
        expected |= _buffer(start.pipeline, schedule, chunk, recipe, spaces, algorithm.requires)
    if recipe.imagined_capacity is not None and chunk > 0:
        expected |= _imagined(start.pipeline, recipe.imagined_capacity, spaces, algorithm.requires)
    _check(where, start.pipeline, expected)
    if recipe.priority_exponent > 0 and view is not None:
        _check_draws(where, start.pipeline, view, schedule, recipe.seed, algorithm.requires)
    if recipe.label_reuse > 1:
        _check_buffer(where, start.pipeline, algorithm, spaces)
    if recipe.imagined_capacity is not None and chunk > 0:
        _check_values(where, start.pipeline, "imagined.", spaces)


def _priorities(view: View) -> dict[str, Kind]:
    count = (view.transitions,)
    return {
        "priorities.powers": ("float64", count),
        "priorities.fresh": ("uint8", count),
        "priorities.highest": ("float64", ()),
    }


def _draws(pipeline: Arrays, schedule: Schedule, first: int, size: int, request: Request) -> dict[str, Kind]:
    """Of `first` and the chunks after it, as many as were asked for: whole chunks, none left out."""
    expected: dict[str, Kind] = {}
    chunk = first
    while any(name.startswith(f"rows.{chunk}.") for name in pipeline):
        for draw in range(len(schedule.draws_of(chunk))):
            start = f"rows.{chunk}.{draw:03d}."
            fields = [name for name in ROW_FIELDS if name not in LATER_FIELDS or f"{start}{name}" in pipeline]
            fields += ["task"] if request.tasks is not None else []
            if request.goals is not None:
                fields += [f"{GOAL}{field}" for field in ROW_FIELDS]
                expected[f"{start}reached"] = ("uint8", (size,))
            expected |= {f"{start}{field}": ("int64", (size,)) for field in fields}
            expected[f"{start}weight"] = ("float32", (size,))
        chunk += 1
    return expected


def _buffer(
    pipeline: Arrays, schedule: Schedule, chunk: int, recipe: Recipe, spaces: Spaces, request: Request
) -> dict[str, Kind]:
    """The last chunks' rows. Labels are as they are: `_check_buffer` compares them with those of the algorithm."""
    expected: dict[str, Kind] = {}
    for number, entered in enumerate(range(max(0, chunk - recipe.label_reuse), chunk)):
        rows, prefix = len(schedule.draws_of(entered)) * recipe.batch_size, f"buffer.{number:03d}."
        expected |= _batch(pipeline, prefix, rows, spaces, request)
        if recipe.priority_exponent > 0:
            expected[f"{prefix}batch.weight"] = ("float32", (rows,))
        for name, array in pipeline.items():
            if name.startswith(f"{prefix}targets."):
                expected[name] = (array.dtype.name, (rows, *array.shape[1:]))
    return expected


def _imagined(pipeline: Arrays, capacity: int, spaces: Spaces, request: Request) -> dict[str, Kind]:
    """As many rows as there are rewards, up to what the ring holds."""
    reward = pipeline.get("imagined.batch.reward")
    rows = 1 if reward is None or not reward.shape else min(max(len(reward), 1), capacity)
    return _batch(pipeline, "imagined.", rows, spaces, request)


def _batch(pipeline: Arrays, prefix: str, rows: int, spaces: Spaces, request: Request) -> dict[str, Kind]:
    """The columns of so many rows as they are in a batch of the run."""
    past = (request.history + 1,) if request.history else ()
    actions = (request.action_chunk,) if request.action_chunk else ()
    leaves = observation_columns(spaces.observation)
    columns: dict[str, Kind] = {name: (leaf.dtype, (*past, *leaf.shape)) for name, leaf in leaves.items()}
    step: dict[str, Kind] = {"action": (spaces.action.dtype, (*actions, *spaces.action.shape))}
    step |= columns | {f"next_{name}": column for name, column in columns.items()}
    step |= dict.fromkeys(("reward", "discount"), ("float32", ()))
    step |= dict.fromkeys(("terminated", "truncated"), ("uint8", ()))
    if request.kind != "transitions" or actions:
        step["mask"] = ("uint8", actions)
    if past:
        step |= dict.fromkeys(("history_mask", "next_history_mask"), ("uint8", past))
    if request.goals is not None:
        step |= {name.replace("observation", "goal", 1): (leaf.dtype, leaf.shape) for name, leaf in leaves.items()}
    row: dict[str, Kind] = {"index": ("int64", ())}
    if request.tasks is not None:
        row["task"] = ("int64", ())
    reward = pipeline.get(f"{prefix}batch.reward")
    # Windows and episodes have a second dimension, as long as the longest of the chunk.
    lead = (rows,) if request.kind == "transitions" or reward is None else (rows, *reward.shape[1:2])
    expected = {f"{prefix}batch.{name}": (dtype, (*lead, *shape)) for name, (dtype, shape) in step.items()}
    expected |= {f"{prefix}batch.{name}": (dtype, (rows, *shape)) for name, (dtype, shape) in row.items()}
    for name, array in pipeline.items():
        if name.startswith(f"{prefix}batch.extras."):
            expected[name] = (array.dtype.name, (rows, *array.shape[1:]))
    return expected


def _check(where: Path, pipeline: Arrays, expected: Mapping[str, Kind]) -> None:
    for name in sorted({*pipeline, *expected}):
        if name not in pipeline:
            raise _refusal(where, name, "is missing")
        if name not in expected:
            raise _refusal(where, name, "is none that the run takes")
        found, (dtype, shape) = pipeline[name], expected[name]
        if (found.dtype.name, found.shape) != (dtype, shape):
            raise _refusal(where, name, f"is {found.dtype.name} {found.shape}, expected {dtype} {shape}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise _refusal(where, name, "holds what is no finite number")
        if name.startswith("priorities.") and (found < 0).any():
            raise _refusal(where, name, "holds a number below 0")


def _check_draws(where: Path, pipeline: Arrays, view: View, schedule: Schedule, seed: int, request: Request) -> None:
    """Rows must be those of their index, and their tasks and goals those of their address, or another shard would be
    read than was drawn from."""
    for name in pipeline:
        found = re.fullmatch(r"rows\.(\d{1,18})\.(\d{3,18})\.index", name, re.ASCII)
        if found is None:
            continue
        start = name.removesuffix("index")
        chunk, draw = (int(part) for part in found.groups())
        try:
            rows = locate(view, pipeline[name])
        except DataError as error:
            raise _refusal(where, name, f"is of no transitions ({error})") from error
        sequence = schedule.draws_of(chunk)[draw]
        rows = as_asked(view, rows, request, seed=seed, stream=PRIORITY, sequence=sequence)
        for field, column in rows.columns():
            if start + field in pipeline and not np.array_equal(column, pipeline[start + field]):
                raise _refusal(where, start + field, "is not that of its index")
        weight = pipeline[f"{start}weight"]
        if not ((weight >= 0) & (weight <= 1)).all():
            raise _refusal(where, f"{start}weight", "holds a weight that is not from 0 to 1")


def _check_buffer(where: Path, pipeline: Arrays, algorithm: Algorithm, spaces: Spaces) -> None:
    """Labels must be named and shaped as those that the algorithm computes."""
    for prefix in sorted({name[: len("buffer.000.")] for name in pipeline if name.startswith("buffer.")}):
        _check_values(where, pipeline, prefix, spaces)
        chunk = chunk_from_arrays(pipeline, prefix)
        made = algorithm.targets(chunk.batch.rows(0, 1, key=(0, 0)))
        labels = {f"{prefix}targets.{name}": _layout_of(label) for name, label in made.items()}
        found = {name for name in pipeline if name.startswith(f"{prefix}targets.")}
        for name in sorted(found ^ labels.keys()):
            raise _refusal(where, name, "is missing" if name in labels else "is none that the run takes")
        for name, (dtype, shape) in labels.items():
            array = pipeline[name]
            if (array.dtype.name, array.shape[1:]) != (dtype, shape[1:]):
                raise _refusal(where, name, f"is {array.dtype.name} {array.shape}, expected {dtype} (…, {shape[1:]})")


def _check_values(where: Path, pipeline: Arrays, prefix: str, spaces: Spaces) -> None:
    """Actions must be some of the space's, discounts and ends from 0 to 1."""
    action = pipeline[f"{prefix}batch.action"]
    if isinstance(spaces.action, Discrete):
        first, mask = spaces.action.start, pipeline.get(f"{prefix}batch.mask")
        action = action if mask is None else action[mask > 0]  # padding is none of them
        if not ((action >= first) & (action < first + spaces.action.n)).all():
            raise _refusal(where, f"{prefix}batch.action", "holds an action that is none of the space's")
    for name in ("discount", "terminated", "truncated"):
        array = pipeline[f"{prefix}batch.{name}"]
        if not ((array >= 0) & (array <= 1)).all():
            raise _refusal(where, f"{prefix}batch.{name}", "holds a number that is not from 0 to 1")


def _layout_of(array: Any) -> Kind:
    found: NDArray[Any] = np.asarray(array)
    return found.dtype.name, found.shape


def _refusal(where: Path, name: str, what: str) -> RunError:
    return RunError(f"{where}: pipeline.safetensors: {name} {what}. {_REMEDY}")
