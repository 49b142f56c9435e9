"""Cuts flat logs into episodes: one place, so that every flat format obeys the same rules.

A flat log is a sequence of rows (observation, action, reward, flags), one per transition, many episodes
one after the other. An episode ends

- after a row that the source marks as an end (a flag, a change of episode number, the end of the file),
- after row t where `next_observation[t]` differs from `observation[t + 1]`, or where the number of the step
  does not grow by one: rows are missing there (counted).

Its final observation is `next_observation` of its last row. A source without that column does not have it:
the last row is lost, its observation becoming the final one, unless it terminated; then a copy of its own
observation stands in, since 0 * value(anything finite) is right and 0 * NaN is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from replay import memory
from replay.episode import Episode
from replay.errors import DataError

RULES = {
    "next": "next_observation of the last row; a new episode starts where next_observation differs from "
    "the following row's observation",
    "lost": "not in the source: the last transition of an episode is left out unless it terminated "
    "(then its own observation stands in)",
    "row": "the last row of each stored trajectory, which is not a transition",
    "stored": "stored by the source, one observation more than actions",
}
"""What `provenance["final_observation"]` says, by kind of source."""


@dataclass
class Counts:
    """What happened on the way; filled while the episodes are consumed."""

    episodes: int = 0
    transitions: int = 0
    discontinuities: int = 0
    """Episodes cut where rows are missing."""
    dropped: int = 0
    """Transitions left out because their next observation is unknown."""
    stand_ins: int = 0
    """Terminated last steps whose final observation is a copy."""
    quarantined: int = 0
    """Episodes left out because they were damaged."""


@dataclass(frozen=True)
class Block:
    """n consecutive rows. Observations and columns are by column name; flags are 0 or 1."""

    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    end: np.ndarray
    """(n,) 1 on the last row of each episode, as far as the source says."""
    next_observation: dict[str, np.ndarray] = field(default_factory=dict)
    """Empty where the source has none."""
    number: np.ndarray | None = None
    """(n,) episode number; an episode also ends where it changes."""
    position: np.ndarray | None = None
    """(n,) number of the step in its episode; rows are missing where it does not grow by one."""
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    tags: dict[str, np.ndarray] = field(default_factory=dict)
    """`task` and `success`, one value per row; the one on the last row counts."""
    faults: np.ndarray | None = None
    """(n,) objects: what is wrong with a row, None where nothing is. The episode that the row belongs to is damaged.
    Only for a source with episode numbers: elsewhere a row that may be an end belongs to nobody knows which."""

    def __len__(self) -> int:
        return len(self.reward)

    def rows(self, start: int, stop: int) -> Block:
        """Rows [start, stop), as views."""
        return replace(self, **{e.name: _slice(getattr(self, e.name), start, stop) for e in fields(self)})


def segment(
    blocks: Iterable[Block], counts: Counts, *, source: str = "", final_row: bool = False
) -> Iterator[tuple[str, Episode | DataError]]:
    """The episodes of a flat log, each with a label saying which rows of the log it came from; a damaged one is the
    `DataError` that says why.

    `final_row` says that the last row of each episode only carries the final observation (OGBench).
    Holds at most one block and one episode in memory. Adds to `counts`.
    """
    pending: list[Block] = []
    pending_bytes = 0
    first_row = number = 0
    for block in blocks:
        start = 0
        if pending and len(block):
            ends, jump = _cuts(_join([pending[-1].rows(-1, len(pending[-1])), block.rows(0, 1)]))
            if ends[0]:
                counts.discontinuities += int(jump[0])
                rows = _join(pending)
                yield from _episode(rows, counts, f"episode {number}", first_row, source, final_row)
                first_row, number, pending = first_row + len(rows), number + 1, []
        ends, jump = _cuts(block)
        for stop in np.flatnonzero(ends[:-1]) + 1:
            counts.discontinuities += int(jump[stop - 1])
            rows = _join([*pending, block.rows(start, int(stop))])
            yield from _episode(rows, counts, f"episode {number}", first_row, source, final_row)
            first_row, number, pending, start = first_row + len(rows), number + 1, [], int(stop)
        if start < len(block):
            pending.append(block.rows(start, len(block)))
            pending_bytes = _bytes(pending[-1]) + (pending_bytes if len(pending) > 1 else 0)
            # Joined, with its final observation, and as it will be written.
            memory.require(
                3 * pending_bytes, f"{source}: episode {number} (from row {first_row})", "the episode", _SHORTER
            )
    if pending:
        yield from _episode(_join(pending), counts, f"episode {number}", first_row, source, final_row)


_SHORTER = "say where episodes end, or cut it into shorter ones."


def _bytes(block: Block) -> int:
    """In memory, about; of columns of objects the references."""
    columns = [*block.observation.values(), *block.next_observation.values(), *block.extras.values(), block.action]
    return sum(column.nbytes for column in columns)


def _cuts(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """(n,) booleans: where an episode ends, and which of those ends the source does not mark.
    The last row's is what the source says, as the row after it is not here."""
    ends = block.end.astype(bool)
    if block.number is not None:
        ends[:-1] |= block.number[1:] != block.number[:-1]
    jump = np.zeros(len(block), bool)
    if block.position is not None:
        jump[:-1] |= block.position[1:] != block.position[:-1] + 1
    for name, after in block.next_observation.items():
        jump[:-1] |= _differ(after[:-1], block.observation[name][1:])
    jump &= ~ends
    return ends | jump, jump


def _differ(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n,) booleans; two NaN do not differ: that is for the validation of values to report."""
    unequal = left != right
    if left.dtype.kind == "f":
        unequal &= ~(np.isnan(left) & np.isnan(right))
    return np.asarray(unequal.any(axis=tuple(range(1, unequal.ndim))))


def _episode(
    rows: Block, counts: Counts, label: str, first_row: int, source: str, final_row: bool
) -> Iterator[tuple[str, Episode | DataError]]:
    last = len(rows) - 1
    ended = bool(rows.terminated[last])
    label = f"{label} (rows {first_row} to {first_row + last})"
    fault = None if rows.faults is None else next((fault for fault in rows.faults if fault is not None), None)
    if fault is not None:
        yield label, DataError(str(fault))
        return
    if rows.next_observation and not final_row:
        T, final = len(rows), rows.next_observation
        if ended and not all(_finite(column[last]) for column in final.values()):
            final = rows.observation
            counts.stand_ins += 1
    elif ended and not final_row:
        T, final = len(rows), rows.observation
        counts.stand_ins += 1
    else:
        T, final = last, rows.observation
        counts.dropped += not final_row
    if T == 0:
        return
    kept = rows.rows(0, T)
    truncated = kept.truncated.astype(np.uint8)
    if not kept.terminated[-1]:
        truncated[-1] = 1  # whatever cut the log here, the step before the cut bootstraps and stops
    tags = {name: values[last] for name, values in rows.tags.items()}
    yield (
        label,
        Episode(
            observation=_observation(kept.observation, {name: column[last] for name, column in final.items()}),
            action=kept.action,
            reward=kept.reward,
            terminated=kept.terminated.astype(np.uint8),
            truncated=truncated,
            extras=kept.extras,
            task=str(tags.get("task", "")),
            success=bool(tags["success"]) if "success" in tags else None,
            source=source,
        ),
    )


def _observation(columns: dict[str, np.ndarray], final: dict[str, Any]) -> Any:
    whole: dict[str, Any] = {}
    for name, column in columns.items():
        if column.dtype == object:  # encoded pictures
            whole[name.removeprefix("observation.")] = [*column, final[name]]
        else:
            whole[name.removeprefix("observation.")] = np.concatenate([column, final[name][None]])
    return whole["observation"] if set(columns) == {"observation"} else whole


def _finite(row: Any) -> bool:
    return not isinstance(row, np.ndarray | np.floating) or bool(np.isfinite(row).all())


def _slice(value: Any, start: int, stop: int) -> Any:
    if isinstance(value, dict):
        return {name: column[start:stop] for name, column in value.items()}
    return None if value is None else value[start:stop]


def _join(parts: list[Block]) -> Block:
    """One block, in memory of its own: an episode must not keep the blocks alive that it came from."""
    changes: dict[str, Any] = {}
    for entry in fields(Block):
        values = [getattr(part, entry.name) for part in parts]
        if isinstance(values[0], dict):
            changes[entry.name] = {name: np.concatenate([value[name] for value in values]) for name in values[0]}
        else:
            changes[entry.name] = None if values[0] is None else np.concatenate(values)
    return Block(**changes)
