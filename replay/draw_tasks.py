"""Drawing tasks: which one each row is trained as, at an address of its own, and rows balanced by success."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from replay.errors import DataError
from replay.random_words import TASKS, uniforms
from replay.ranges import shown
from replay.records import listed
from replay.rows import Rows
from replay.tasks import Tasks
from replay.view import View, episode_at


def with_tasks(view: View, rows: Rows, tasks: Tasks, *, seed: int, stream: int, sequence: int) -> Rows:
    """The rows with `task`: that of their episode, or any other where a row impersonates."""
    task = own_tasks(view, tasks)[episode_at(view, rows.index)]
    if tasks.impersonation:
        swapped, other = uniforms(seed, TASKS + stream, sequence, 2 * len(rows)).reshape(2, -1)
        count = len(tasks.names)
        others = (task + 1 + (other * (count - 1)).astype(np.int64)) % count
        task = np.where(swapped < tasks.impersonation, others, task)
    return replace(rows, task=task)


def balanced(view: View, tasks: Tasks, uniform: np.ndarray) -> np.ndarray:
    """int64 (B,): transitions of which, in each task, as many are of successful as of failed episodes.

    An episode by the first half of the numbers, its step by the second.
    """
    count = len(uniform) // 2
    edges, last = _edges(view, tasks)
    episode = np.minimum(np.searchsorted(edges, uniform[:count] * edges[-1], "right"), last)
    return view.starts[episode] + (uniform[count:] * view.length[episode]).astype(np.int64)


def check_tasks(view: View, tasks: Tasks) -> None:
    """Raises `DataError` where the view's data cannot give these tasks: for a tag that is none of them, a reward column
    that is missing or no number, and, where rows are balanced, episodes whose success is not known."""
    for name, column in zip(tasks.names, tasks.columns, strict=True):
        if column == "reward":
            continue
        if column not in view.extras:
            raise DataError(
                f"tasks: the data has no column {shown(column)} for the reward of task {shown(name)}; it has "
                f"{listed(sorted(view.extras)) or 'no extra columns'}. Name the column of each task, or ingest the "
                "rewards as extra columns."
            )
        if view.extras[column].shape != ():
            raise DataError(
                f"tasks: column {shown(column)}, the reward of task {shown(name)}, has shape "
                f"{view.extras[column].shape}, expected one number a step."
            )
    own_tasks(view, tasks)
    if tasks.balance:
        _edges(view, tasks)


@functools.lru_cache(maxsize=4)
def own_tasks(view: View, tasks: Tasks) -> np.ndarray:
    """int64 (E,): the number of each episode's own task."""
    number = {name: place for place, name in enumerate(tasks.names)}
    tags = [] if view.task is None else view.task.tolist()
    found = np.array([number.get(tag, -1) for tag in tags], np.int64)
    if len(found) != view.episodes:
        raise DataError("tasks: the view does not know the tasks of its episodes; make it of datasets (`View.of`).")
    if (found < 0).any():
        place = int(np.argmax(found < 0))
        raise DataError(
            f"{view.members[int(view.dataset[place])].path}: episode {view.episode[place]} is tagged with task "
            f"{shown(tags[place])}, which is none of {listed(tasks.names)} ({int((found < 0).sum()):,} such episodes). "
            "Name its task, too, or leave such episodes out (`where`)."
        )
    return found


@functools.lru_cache(maxsize=4)
def _edges(view: View, tasks: Tasks) -> tuple[np.ndarray, int]:
    """float64 (E,): the cumulative probability of episodes, up to a factor, and the last that has any."""
    task, success = own_tasks(view, tasks), view.success
    if success is None or (success < 0).any():
        place = 0 if success is None else int(np.argmax(success < 0))
        raise DataError(
            f"{view.members[int(view.dataset[place])].path}: the success of episode {view.episode[place]} is not "
            "known, and rows cannot be balanced by it. Leave such episodes out (`where`: success >= 0), or balance off."
        )
    mass = view.length.astype(np.float64)
    if view.weighted:
        mass *= (view.shares / np.diff(view.member_starts))[view.dataset]
    cell = 2 * task + success
    of_cell = np.bincount(cell, mass, 2 * len(tasks.names))
    of_task = of_cell.reshape(-1, 2).sum(1)
    outcomes = (of_cell.reshape(-1, 2) > 0).sum(1)
    mass *= (of_task / np.maximum(outcomes, 1))[task] / of_cell[cell]
    return np.cumsum(mass), int(np.flatnonzero(mass)[-1])
