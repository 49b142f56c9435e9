"""Gathering: from row numbers to a batch, out of memory-mapped shards.

A request has a plan (`plan`), and is gathered in one of three ways: one-step transitions (`transitions`), sums and
chunks (`sums`), or windows (`windows`). Rows are read by their addresses (`addresses` says how and why), under the
store's lock; what is encoded is copied then, and decoded once the lock is free (`observations`, `decoders`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay.batch import Batch, Request, concatenate, joined_observations
from replay.drawing import draw
from replay.errors import DataError
from replay.gather.addresses import Addresses, keep_freed_memory
from replay.gather.batch_checks import SMALL, check_choices, check_discrete, check_room
from replay.gather.decoders import DECODERS, DecoderThreads, Encoded
from replay.gather.history import steps_before
from replay.gather.observations import Observations
from replay.gather.open_shards import OpenShards
from replay.gather.plan import Plan, steps_together
from replay.gather.relabelled import check_asked, towards_goals
from replay.gather.sums import sums
from replay.gather.transitions import one_step
from replay.gather.windows import windows
from replay.random_words import TRAIN
from replay.rows import Rows
from replay.spaces import Discrete, observation_columns
from replay.view import View

_PLANS = 64
"""Requests whose addresses are remembered."""


class Store:
    """The open shards of a view, or of some of them.

    `shards`: the global shard numbers it may open (all, if None). `max_maps`: files open at once, by
    default a quarter of what the kernel allows. `verify`: check a file's hash at its first opening.
    `stage`: a local folder that files are copied to, and verified in, before they are mapped. `threads`: that decode
    the pictures of a batch.

    Threads may share one; they read in turns, and decode at the same time.
    """

    def __init__(
        self,
        view: View,
        *,
        shards: Sequence[int] | None = None,
        max_maps: int | None = None,
        verify: bool = True,
        stage: Path | None = None,
        threads: int = 1,
    ) -> None:
        self._open = OpenShards(view, shards=shards, max_maps=max_maps, verify=verify, stage=stage)
        self.rows_served = 0
        self._observations = Observations(self._open)
        self._decoding = DecoderThreads(threads)
        leaves = {**observation_columns(view.spaces.observation), "action": view.spaces.action}
        self._discrete = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Discrete)}
        self._lock = threading.RLock()
        keep_freed_memory()
        self._plans: dict[Request, Plan] = {}  # emptied when a file is opened or closed
        self._request: Request | None = None
        self._plan: Plan | None = None
        self._observed: Addresses | None = None

    @property
    def view(self) -> View:
        return self._open.view

    @property
    def shards(self) -> tuple[int, ...]:
        """The global numbers of those it may open."""
        return self._open.assigned

    @property
    def open_files(self) -> int:
        """Files mapped at the moment."""
        return len(self._open.maps)

    @property
    def decoders(self) -> dict[str, str]:
        """What decodes the columns that need it (library and version), by their kind; see `replay.gather.decoders`."""
        return {kind: DECODERS[kind].version() for kind in self._observations.encoded_kinds}

    def extend(self, view: View, shards: Sequence[int] | None = None) -> None:
        """Serve further shards: `view` is the present one with some behind it, because its last member became longer
        or another one was added (see `view.extended`).

        Of the new shards it may open `shards` (None: all). Files that are open stay open. Raises `DataError` for a view
        that is not the present one to begin with.
        """
        with self._lock:
            self._open.extend(view, shards)
            self._changed()

    def gather(self, rows: Rows, request: Request, key: tuple[int, int] = (0, 0)) -> Batch[np.ndarray]:
        """The batch of these rows, in their order: each is the start of what `request.kind` says.

        - transitions: n-step sums, (B, ...).
        - transitions with action chunks of h: the same with n = h, and the actions of the steps that are summed, (B, h,
          ...), with a mask. Behind them stands the action of an episode's last row, zero or a discrete one's first.
        - windows: `request.length` steps, (B, T, ...), with a mask. Behind the episode's end stands its last
          observation, with zero action, reward, flags and discount.
        - episodes: the same, T being the most steps that any of the rows has left.

        With a history H the observations of transitions are (B, H + 1, ...): the steps before, the oldest first, and
        the present one. At an episode's beginning, and behind a terminated step inside of it, the first observation
        stands in for those that there are not, and `history_mask` is 0. The past of the next observation holds the
        steps inside of a sum or a chunk.

        Arrays are copies; the two observations of one-step transitions are views of one array. Of the columns,

        - return_to_go is the discounted sum of rewards (after scale and shift) up to the episode's end, or to and
          including its next terminated step: float32 (B,) or (B, T). It does not bootstrap: of a truncated episode
          it is the sum of what was recorded. With chunks it is that of the chunk's first step.
        - next_action is the logged action taken in `next_observation`: (B, ...) as actions are. Where none is stored
          (the sum ended in a terminated step or at the episode's stored end) the row's own action stands in, and
          has_next_action, uint8 (B,), is 0.

        Where the request has goals or tasks, rewards are those of the rows' goals or tasks. Goals are joined where the
        rows have them; where they lie in other stores, those `observe` them.

        Raises `DataError` for a shard that is not assigned to the store or that is damaged, for rows outside of
        it, for columns that the view does not have, for a batch that memory cannot hold, and for flags and discrete
        values that are none.
        """
        if request.goals is not None or request.tasks is not None:
            check_asked(rows, request)
        with self._lock:
            parts, encoded, order = self._gathered(rows, request, key)
            self.rows_served += len(rows.index)
        for column in encoded:
            self._decoding.fill(column)
        batch = parts[0] if order is None else concatenate(parts).take(np.argsort(order))
        for name, space in self._discrete.items():
            check_discrete(self.view, name, space, batch)
        if request.tasks is not None:
            batch = replace(batch, task=rows.task)
        if request.goals is not None and rows.reached is not None:
            batch = towards_goals(batch, rows.reached, request)
        return batch if rows.goal is None else replace(batch, goal=self.observe(rows.goal))

    def observe(self, rows: Rows) -> Any:
        """The observations of these rows, (B, ...) or a dictionary of them. They may stand after the last action of
        their episodes, where no step remains. Raises `DataError` as `gather` does."""
        names = self._observations.names
        # An address is of a step: the last observation is the one after the last step.
        after = (rows.remaining == 0).astype(np.int64)
        steps = replace(rows, row=rows.row - after)
        with self._lock:
            portions = self._portions(steps, names) if self._open.bounded else [np.arange(len(rows))]
            parts = [self._observe(steps.take(portion), after[portion]) for portion in portions]
        for _, encoded in parts:
            for column in encoded:
                self._decoding.fill(column)
        found = parts[0][0]
        if len(parts) > 1 or self._open.bounded:
            back = np.argsort(np.concatenate(portions))
            found = joined_observations([part for part, _ in parts], back)
        for name, space in self._discrete.items():
            if name != "action":
                check_choices(self.view, name, space, [found])
        return found

    def episode(self, shard: int, first_row: int, length: int) -> dict[str, np.ndarray | list[bytes]]:
        """One episode as it is stored: (T + 1, ...) arrays by column name, pictures as encoded bytes."""
        values: dict[str, np.ndarray | list[bytes]] = {}
        with self._lock:
            self._ensure([shard], self._open.columns)
            rows = self._open.rows[shard]
            if not 0 <= first_row <= first_row + length < rows:
                raise DataError(f"store: rows {first_row} to {first_row + length} of shard {shard}, which has {rows}.")
            for name in self._open.columns:
                mapped = self._open.mapped(shard, name)
                if name in self._open.pictures:
                    blobs = mapped.blobs[name]
                    values[name] = [bytes(blobs.row(first_row + step)) for step in range(length + 1)]
                else:
                    values[name] = mapped.arrays[name][first_row : first_row + length + 1].copy()
        return values

    def populate(self) -> int:
        """Open every shard, as far as files may be open at once, and touch each of their pages, so that no
        later gather waits for the disk. Returns the number of bytes mapped."""
        total = 0
        with self._lock:
            for shard in self.shards:
                self._ensure([shard], self._open.columns)
                for key in self._open.files([shard], self._open.columns):
                    buffer = self._open.maps.get(*key).buffer
                    np.frombuffer(buffer, np.uint8)[::4096].max()
                    total += int(buffer.size)
        return total

    def stage(self) -> None:
        """Copy all shards assigned to it to the local folder now and verify them there, instead of at first use."""
        with self._lock:
            self._open.maps.stage(self._open.files(self.shards, self._open.columns))

    def close(self) -> None:
        """Close every file; they are opened again when rows are asked for."""
        with self._lock:
            self._open.close()
            self._changed()
        self._decoding.close()

    def _gathered(
        self, rows: Rows, request: Request, key: tuple[int, int]
    ) -> tuple[list[Batch[np.ndarray]], Sequence[Encoded], np.ndarray | None]:
        """The rows as batches, what must be decoded before they are whole, and which row of the request each of theirs
        is: one batch, in the order of the rows (None), but where they lie in more files than may be open at once."""
        plan = self._plan
        if request is not self._request or plan is None:
            plan = self._prepare(request)
        length = 1 if plan.one_step else steps_together(rows, request)
        if len(rows.index) * length * plan.step_bytes > SMALL:
            check_room(rows, request, length, plan.row_bytes)
        if not self._open.bounded:
            batch, encoded = self._one_batch(plan, rows, key, length)
            return [batch], encoded, None
        portions = self._portions(rows, plan.names)
        if len(portions) == 1:
            batch, encoded = self._portion(rows, request, key, length)
            return [batch], encoded, None
        parts = [self._portion(rows.take(portion), request, key, length) for portion in portions]
        together = [column for _, encoded in parts for column in encoded]
        return [batch for batch, _ in parts], together, np.concatenate(portions)

    def _portions(self, rows: Rows, names: Sequence[str]) -> list[np.ndarray]:
        """Positions in `rows`, shard by shard, in parts of no more files than may be open at once."""
        order = np.argsort(rows.shard, kind="stable")
        shards, first = np.unique(rows.shard[order], return_index=True)
        cuts, files = [], 0
        for shard, start in zip(shards.tolist(), first.tolist(), strict=True):
            more = len(self._open.files([shard], names))
            if files and files + more > self._open.maps.max_maps:
                cuts.append(start)
                files = 0
            files += more
        return np.split(order, cuts)

    def _portion(
        self, rows: Rows, request: Request, key: tuple[int, int], length: int
    ) -> tuple[Batch[np.ndarray], Sequence[Encoded]]:
        """A batch whose files can be open at once."""
        self._ensure(np.unique(rows.shard).tolist(), self._prepare(request).names)
        return self._one_batch(self._prepare(request), rows, key, length)

    def _one_batch(
        self, plan: Plan, rows: Rows, key: tuple[int, int], length: int
    ) -> tuple[Batch[np.ndarray], Sequence[Encoded]]:
        at = self._locate(plan, rows)
        if at is None:
            self._ensure(np.unique(rows.shard).tolist(), plan.names)
            plan = self._prepare(plan.request)
            at = self._locate(plan, rows)
            if at is None:
                raise DataError("store: rows outside of their shard: they were located in another view.")
        if plan.one_step:
            return one_step(plan, at, rows, key)
        if plan.request.kind == "transitions":
            return sums(plan, at, rows, key, length)
        return windows(plan, at, rows, key, length)

    def _observe(self, rows: Rows, after: np.ndarray) -> tuple[Any, Sequence[Encoded]]:
        """The observations `after` rows on, whose files can be open at once, and what must be decoded before they are
        whole."""
        observations = self._observations
        if self._open.bounded:
            self._ensure(np.unique(rows.shard).tolist(), observations.names)
        at = self._observation_addresses().locate(rows)
        if at is None:
            self._ensure(np.unique(rows.shard).tolist(), observations.names)
            at = self._observation_addresses().locate(rows)
            if at is None:
                raise DataError("store: rows outside of their shard: they were located in another view.")
        no_others = np.zeros((len(rows), 0), np.int64)
        found, _, encoded = observations.read(self._observation_addresses(), at, rows, after, no_others)
        return found, encoded

    def _observation_addresses(self) -> Addresses:
        """As the files lie now."""
        if self._observed is None:
            self._observed = self._open.addresses(self._observations.names)
        return self._observed

    def _prepare(self, request: Request) -> Plan:
        """The plan of a request, as the files lie now."""
        self._request = request
        self._plan = self._plans.get(request)
        if self._plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plan = self._plans[request] = Plan(request, self._open, self._observations)
        return self._plan

    def _locate(self, plan: Plan, rows: Rows) -> np.ndarray | None:
        span = None if plan.one_step else rows.remaining
        before = steps_before(rows.step, plan.history) if plan.history else None
        try:
            return plan.addresses.locate(rows, span, before)
        except IndexError as error:
            raise DataError(f"store: rows of a shard beyond the view's {len(self._open.rows)}.") from error

    def _ensure(self, shards: Sequence[int], names: Iterable[str]) -> None:
        if self._open.open(shards, names):
            self._changed()

    def _changed(self) -> None:
        """Addresses in use are void once a file was opened or closed, and tables of them once there are more shards."""
        self._plan = self._observed = None
        self._plans.clear()


def sample(
    view: View,
    store: Store,
    *,
    seed: int,
    sequence: int,
    count: int,
    request: Request,
    stream: int = TRAIN,
    shards_per_draw: int | None = None,
) -> Batch[np.ndarray]:
    """Draw and gather: the batch at (seed, stream, sequence)."""
    rows = draw(
        view,
        seed=seed,
        sequence=sequence,
        count=count,
        stream=stream,
        shards_per_draw=shards_per_draw,
        request=request,
    )
    return store.gather(rows, request, (seed, sequence))
