"""Prioritised sampling (Schaul et al., 2016): a sum tree over the transitions of a view, owned by the learner."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from replay.batch import Request
from replay.drawing import as_asked
from replay.errors import DataError
from replay.memory import require
from replay.random_words import PRIORITY, check_count, uniforms
from replay.ranges import Range, Steps, expected, fits, shown
from replay.rows import Rows
from replay.view import View, located

Exponent = Annotated[float, Range(0, 10)]
_TRANSITIONS = Request()
_BYTES = 40
"""Of memory for each transition: a tree of twice as many numbers as the next power of two, and a flag."""


class Priorities:
    """Transition i is drawn with probability proportional to priority_i ** exponent.

    What has not been updated yet has the highest priority seen so far (1 at first), so that everything is
    met soon. Priorities are kept as they are drawn: powers, in a binary tree of sums, stored level by
    level from the root down to the transitions, 16 bytes for each.
    """

    def __init__(self, transitions: int, *, exponent: float = 0.6, importance_exponent: float = 0.4) -> None:
        if not fits(transitions, Steps):
            raise DataError(f"priorities: found {shown(transitions)} transitions, expected {expected(Steps)}.")
        for name, value in (("exponent", exponent), ("importance_exponent", importance_exponent)):
            if not fits(value, Exponent):
                raise DataError(f"priorities, {name}: found {shown(value)}, expected {expected(Exponent)}.")
        require(
            _BYTES * int(transitions), "priorities", f"those of {transitions:,} transitions", "draw without priorities."
        )
        self.transitions = transitions
        self.exponent = exponent
        self.importance_exponent = importance_exponent
        self._depth = (transitions - 1).bit_length()
        self._fresh = np.ones(transitions, bool)
        self._highest = 1.0
        leaves = np.zeros(1 << self._depth)
        leaves[:transitions] = 1.0
        self._levels = [leaves]
        self._sum_up()

    def draw(
        self,
        view: View,
        *,
        seed: int,
        sequence: int,
        count: int,
        stream: int = PRIORITY,
        request: Request = _TRANSITIONS,
    ) -> Rows:
        """`count` transitions with replacement, sorted by index, with `weight` float32 (B,): the importance
        weights (N P(i)) ** -importance_exponent, divided by the largest of the draw. A transition has one priority,
        whatever its goal and the task that it is trained as.

        Pure in (seed, stream, sequence) and the priorities. Raises `DataError` for a view of another size,
        or a weighted one: priorities and weights would each want to decide, as would priorities and balanced tasks.
        """
        if request.tasks is not None and request.tasks.balance:
            raise DataError("priorities: found tasks balanced by success, and each would decide; leave one out.")
        if view.transitions != self.transitions or view.weighted:
            found = "a weighted view" if view.weighted else f"a view of {view.transitions} transitions"
            raise DataError(f"priorities: made for {self.transitions} unweighted transitions, found {found}.")
        check_count("priorities", count)
        total = self._levels[0][0]
        left = uniforms(seed, stream, sequence, count) * total
        index = np.zeros(count, np.int64)
        for level in self._levels[1:]:
            index *= 2
            first, second = level[index], level[index + 1]
            # Rounding must not lead into a branch where nothing is.
            right = (left >= first) & (second > 0)
            left = np.where(right, left - first, left)
            index += right
        index.sort()
        probability = self._levels[-1][index] / total
        weight = (self.transitions * probability) ** -self.importance_exponent
        rows = located(view, index, (weight / weight.max()).astype(np.float32))
        return as_asked(view, rows, request, seed=seed, stream=stream, sequence=sequence)

    def update(self, index: np.ndarray, priority: np.ndarray) -> None:
        """Set the priorities (B,) of transitions `index` (B,); of an index that comes twice, the last counts.

        Raises `DataError` for priorities that are not positive numbers, or for an index beyond the end.
        """
        index, priority = np.asarray(index, np.int64), np.asarray(priority, np.float64)
        if index.shape != priority.shape or index.ndim != 1:
            raise DataError(f"priorities: found index {index.shape} and priority {priority.shape}, expected (B,).")
        if len(index) == 0:
            return
        if not (np.isfinite(priority).all() and (priority > 0).all()):
            raise DataError("priorities: found one that is not a positive number; add a small constant to the error.")
        if index.min() < 0 or index.max() >= self.transitions:
            raise DataError(f"priorities: index {index.min()} to {index.max()} of {self.transitions} transitions.")
        distinct, last = np.unique(index[::-1], return_index=True)
        value = priority[::-1][last]
        with np.errstate(over="ignore", under="ignore"):
            power = value**self.exponent
        if not (np.isfinite(power).all() and power.all()):
            raise DataError(f"priorities: found one whose power {self.exponent} float64 cannot hold; scale the errors.")
        self._fresh[distinct] = False
        self._levels[-1][distinct] = power
        if value.max() > self._highest:
            self._highest = float(value.max())
            self._levels[-1][: self.transitions][self._fresh] = self._highest**self.exponent
            self._sum_up()
            return
        for level, above in zip(self._levels[:0:-1], self._levels[-2::-1], strict=True):
            distinct = np.unique(distinct >> 1)
            above[distinct] = level[2 * distinct] + level[2 * distinct + 1]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Arrays from which `load_state_dict` makes the same tree, bit for bit."""
        return {
            "powers": self._levels[-1][: self.transitions].copy(),
            "fresh": self._fresh.astype(np.uint8),
            "highest": np.array(self._highest),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `DataError` for a state of another number of transitions, or one that says what cannot be."""
        found = {name: np.asarray(state.get(name)) for name in ("powers", "fresh", "highest")}
        shapes = {"powers": (self.transitions,), "fresh": (self.transitions,), "highest": ()}
        for name, array in found.items():
            if array.shape != shapes[name] or array.dtype.kind not in "biuf":
                raise DataError(
                    f"priorities, {name}: found {array.dtype} of shape {array.shape}, expected {shapes[name]}."
                )
            if not (np.isfinite(array).all() and (array >= 0).all()):
                raise DataError(f"priorities, {name}: found one that is negative or no number.")
        powers = found["powers"].astype(np.float64)
        if not powers.any() or found["highest"] == 0:
            raise DataError("priorities: found none above 0, with which nothing could be drawn.")
        self._levels[-1][: self.transitions] = powers
        self._fresh = found["fresh"].astype(bool)
        self._highest = float(found["highest"])
        self._sum_up()

    def _sum_up(self) -> None:
        """Every sum from the transitions up. The same pairs are added as in `update`: the tree depends on the
        priorities alone, not on how they came about."""
        levels = [self._levels[-1]]
        while len(levels[0]) > 1:
            levels.insert(0, levels[0][0::2] + levels[0][1::2])
        self._levels = levels
