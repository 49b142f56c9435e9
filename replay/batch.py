"""What an algorithm asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np

from replay.errors import DataError
from replay.goals import Goals
from replay.ranges import Range, Share, check_fields, shown
from replay.schema import COMPUTED, FOLLOWING, RETURN_TO_GO
from replay.tasks import Tasks

Array = TypeVar("Array")
"""`numpy.ndarray` on the way to the learner, `torch.Tensor` inside it."""

Kind = Literal["transitions", "windows", "episodes"]

MOST_TOGETHER = 1_000_000
"""Steps that are summed, or make a window."""


@dataclass(frozen=True)
class Request:
    """What every batch must hold. It comes from the algorithm; what the data cannot give is refused
    before work starts."""

    kind: Kind = "transitions"
    n_step: Annotated[int, Range(1, MOST_TOGETHER)] = 1
    """Rewards summed before bootstrapping (transitions only)."""
    discount: Share = 0.99
    reward_scale: Annotated[float, Range(-1e30, 1e30)] = 1.0
    """The reward of a batch is `reward_scale * reward + reward_shift`, applied before discounting."""
    reward_shift: Annotated[float, Range(-1e30, 1e30)] = 0.0
    length: Annotated[int, Range(1, MOST_TOGETHER)] = 1
    """Steps of a window (windows only)."""
    history: Annotated[int, Range(0, MOST_TOGETHER)] = 0
    """Steps before each observation that come with it, for what is conditioned on its past (transitions only)."""
    action_chunk: Annotated[int, Range(0, MOST_TOGETHER)] = 0
    """Actions of a transition that is as many steps long, for policies that act in chunks; 0: one action, and no
    dimension for it (transitions only). With it `n_step` is 1, or says the same."""
    columns: Annotated[tuple[str, ...], Range(entries=10_000)] = ()
    """Columns beyond the standard ones, by name; they arrive in `Batch.extras`. Three are computed: `return_to_go`, and
    (transitions only) `next_action` and `has_next_action`; see `Store.gather`."""
    goals: Goals | None = None
    """A goal for each row, and the reward that it implies (one-step transitions only)."""
    tasks: Tasks | None = None
    """The task that each row is trained as, and the columns that rewards are taken from."""

    def __post_init__(self) -> None:
        check_fields(self, DataError, lambda name: f"request.{name}")
        if self.kind != "transitions" and self.n_step != 1:
            raise DataError(f"request.n_step: {self.n_step} with kind={self.kind!r}; n-step sums are for transitions.")
        following = [name for name in self.columns if name in FOLLOWING]
        if self.kind != "transitions" and following:
            raise DataError(
                f"request.columns: {', '.join(following)} with kind={self.kind!r}, expected transitions; {self.kind} "
                "hold the actions that follow already: use action[:, 1:] and mask[:, 1:]."
            )
        for name in ("history", "action_chunk"):
            if self.kind != "transitions" and getattr(self, name):
                raise DataError(
                    f"request.{name}: {getattr(self, name)} with kind={self.kind!r}, expected 0; {self.kind} hold the "
                    "steps one after the other already."
                )
        if self.action_chunk and self.n_step not in (1, self.action_chunk):
            raise DataError(
                f"request.n_step: {self.n_step} with action_chunk={self.action_chunk}, expected 1 or "
                f"{self.action_chunk}: the rewards of a transition are those of its actions."
            )
        if self.action_chunk and following:
            raise DataError(
                f"request.columns: {', '.join(following)} with action_chunk={self.action_chunk}; the action that "
                "follows a chunk would be a single one. Leave the column or the chunk out."
            )
        if self.goals is not None:
            self._check_goals(self.goals)
        if self.tasks is not None:
            self._check_tasks(self.tasks)

    def _check_goals(self, goals: Goals) -> None:
        if not isinstance(goals, Goals):
            raise DataError(f"request.goals: found {shown(goals)}, expected replay.Goals, or none.")
        if self.kind != "transitions" or self.steps_ahead > 1:
            n_step, chunk = f"n_step={self.n_step}", f"action_chunk={self.action_chunk}"
            found = f"kind={self.kind!r}" if self.kind != "transitions" else chunk if self.action_chunk else n_step
            raise DataError(f"request.goals: found with {found}, expected one-step transitions; leave one of them out.")
        if self.tasks is not None:
            raise DataError("request.goals: found with tasks, and each of them says what the reward is; leave one out.")
        if computed := [name for name in self.columns if name in COMPUTED]:
            raise DataError(
                f"request.goals: found with columns {', '.join(computed)}, which are of the data's own reward; leave "
                "one of them out."
            )

    def _check_tasks(self, tasks: Tasks) -> None:
        if not isinstance(tasks, Tasks):
            raise DataError(f"request.tasks: found {shown(tasks)}, expected replay.Tasks, or none.")
        if RETURN_TO_GO in self.columns:
            raise DataError(
                f"request.tasks: found with column {RETURN_TO_GO}, which is of the data's own reward; leave one out."
            )
        if tasks.balance and self.kind == "episodes":
            raise DataError("request.tasks: balance is for transitions and windows, found episodes; leave it out.")

    @property
    def steps_ahead(self) -> int:
        """The most steps that a transition is long: those of its sum or of its chunk."""
        return max(self.n_step, self.action_chunk)

    @property
    def reads_of_rows(self) -> tuple[str, ...]:
        """The columns of `Rows` that gathering reads besides shard and row."""
        reads = {
            "remaining": self.kind != "transitions" or self.steps_ahead > 1 or bool(self.columns),
            "step": self.history > 0,
            "reached": self.goals is not None,
            "task": self.tasks is not None,
        }
        return tuple(name for name, read in reads.items() if read)

    def scaled(self, reward: np.ndarray) -> np.ndarray:
        """Rewards as a batch has them: scaled and shifted, float32 for float32."""
        return reward * np.float32(self.reward_scale) + np.float32(self.reward_shift)


@dataclass(frozen=True)
class Batch(Generic[Array]):
    """B transitions, or B windows or episodes of T steps (then every field has leading dimensions (B, T)).

    Raw: normalising belongs to the algorithm. Observations that are dictionaries in the dataset are dictionaries here.

    Transitions of a request with a history H have observations (B, H + 1, ...), the oldest first and the present one
    last; those of a request with action chunks of h have actions (B, h, *shape), and otherwise what n-step sums of h
    have.
    """

    observation: Array | dict[str, Array]
    action: Array
    reward: Array
    """float32 (B,): the n-step sum, Σ γ^i r_{t+i}, after the request's scale and shift."""
    discount: Array
    """float32 (B,): γⁿ·(1 − terminated), n being the steps summed, so that a target is
    `reward + discount * value(next_observation)`."""
    next_observation: Array | dict[str, Array]
    terminated: Array
    """uint8 (B,): 1 where the sum ends in a terminal step."""
    truncated: Array
    """uint8 (B,): 1 where it stops early but bootstraps."""
    index: Array
    """int64 (B,): the position in the view of each transition (or of the first step of each window); −1 where
    shard actors were not told, since only prioritised sampling needs it."""
    mask: Array | None = None
    """uint8 (B, T): 1 for real steps, 0 for padding (windows and episodes); (B, h) of the actions of chunks."""
    history_mask: Array | None = None
    """uint8 (B, H + 1): 1 for steps that there are, 0 where the first observation of the episode stands in for them."""
    next_history_mask: Array | None = None
    """The same of `next_observation`."""
    weight: Array | None = None
    """float32 (B,): importance weights, where sampling is prioritised."""
    extras: dict[str, Array] = field(default_factory=dict)
    key: tuple[int, int] = (0, 0)
    """(seed, sequence): the address of all randomness spent on this batch."""
    goal: Array | dict[str, Array] | None = None
    """A goal for each row, as observations are, where the request has goals. Reward, discount and flags are then those
    that the goal implies: `terminated` where the row is at its goal, `truncated` where its episode ends otherwise."""
    task: Array | None = None
    """int64 (B,): the number of the task that each row is trained as, where the request has tasks."""

    def __len__(self) -> int:
        return len(self.reward)  # type: ignore[arg-type]

    def columns(self) -> Iterator[tuple[str, Array]]:
        """The arrays that there are, by name; those of a dictionary as `observation.…`, in its order."""
        for name in _ARRAYS:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                for key, array in value.items():
                    yield f"{name}.{key}", array
            elif value is not None:
                yield name, value

    @staticmethod
    def of(columns: Mapping[str, Any], key: tuple[int, int] = (0, 0)) -> Batch[Any]:
        """The inverse of `columns`. Raises `TypeError` for columns that are missing or unknown."""
        found: dict[str, Any] = {}
        for column, array in columns.items():
            name, dot, part = column.partition(".")
            if dot:
                found.setdefault(name, {})[part] = array
            else:
                found[name] = array
        return Batch(**found, key=key)

    def map(self, function: Callable[[Any], Any]) -> Batch[Any]:
        """The same batch with `function` applied to every array."""
        return Batch.of({name: function(array) for name, array in self.columns()}, self.key)

    def rows(self, start: int, stop: int, *, key: tuple[int, int] | None = None) -> Batch[Array]:
        """Rows [start, stop), as views."""
        part = self.map(lambda array: array[start:stop])
        return part if key is None else replace(part, key=key)

    def take(self, order: Any) -> Batch[Array]:
        """Rows in the given order, copied."""
        return self.map(lambda array: array[order])


_ARRAYS = tuple(entry.name for entry in fields(Batch) if entry.name != "key")


def concatenate(parts: list[Batch[np.ndarray]]) -> Batch[np.ndarray]:
    """Batches with the same fields, one after the other, padded to the longest episode. The key is the first one's."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].reward.ndim > 1:
        length = max(part.reward.shape[1] for part in parts)
        parts = [part if part.reward.shape[1] == length else _lengthened(part, length) for part in parts]
    columns = [dict(part.columns()) for part in parts]
    return Batch.of({name: np.concatenate([column[name] for column in columns]) for name in columns[0]}, parts[0].key)


def joined_observations(parts: Sequence[Any], order: np.ndarray | None) -> Any:
    """Observations, arrays or dictionaries of them, one after the other, and then in that order, where one is given."""

    def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return whole if order is None else whole[order]

    if isinstance(parts[0], Mapping):
        return {name: joined([part[name] for part in parts]) for name in parts[0]}
    return joined(parts)


def _lengthened(batch: Batch[np.ndarray], length: int) -> Batch[np.ndarray]:
    """Episodes (B, T, …) with padding behind them: the last observation again, and nothing else."""
    more = length - batch.reward.shape[1]

    def zeros(array: np.ndarray) -> np.ndarray:
        return array if array.ndim < 2 else np.pad(array, [(0, 0), (0, more), *[(0, 0)] * (array.ndim - 2)])

    def last(array: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.repeat(after[:, -1:], more, axis=1)], axis=1)

    behind = batch.next_observation
    observation, next_observation = (
        {name: last(array, behind[name]) for name, array in found.items()}
        if isinstance(found, Mapping) and isinstance(behind, Mapping)
        else last(found, behind)  # type: ignore[arg-type]
        for found in (batch.observation, behind)
    )
    return replace(batch.map(zeros), observation=observation, next_observation=next_observation)
