"""Gathering: from row numbers to a batch, out of memory-mapped shards (`replay.gather.addresses` says how and why)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay import images
from replay.batch import Batch, Request, concatenate
from replay.draw import draw
from replay.errors import DataError
from replay.gather.addresses import Addresses, keep_freed_memory
from replay.gather.batch_checks import (
    SMALL,
    STEP_BYTES,
    check_choices,
    check_discrete,
    check_flags,
    check_room,
    no_flags,
)
from replay.gather.derived_columns import following, returns_to_go
from replay.gather.open_shards import OpenShards
from replay.gather.relabelled import check_asked, of_tasks, towards_goals
from replay.gather.returns import backward, n_step
from replay.random_words import TRAIN
from replay.ranges import shown
from replay.records import listed
from replay.rows import Rows
from replay.schema import COMPUTED, FOLLOWING, RETURN_TO_GO
from replay.spaces import Dict, Discrete, observation_columns
from replay.view import View

_PLANS = 64
"""Requests whose addresses are remembered."""


class Store:
    """The open shards of a view, or of some of them.

    `shards`: the global shard numbers it may open (all, if None). `max_maps`: files open at once, by
    default a quarter of what the kernel allows. `verify`: check a file's hash at its first opening.
    `stage`: a local folder that files are copied to, and verified in, before they are mapped.

    Threads may share one; their gathers take turns.
    """

    def __init__(
        self,
        view: View,
        *,
        shards: Sequence[int] | None = None,
        max_maps: int | None = None,
        verify: bool = True,
        stage: Path | None = None,
    ) -> None:
        self._open = OpenShards(view, shards=shards, max_maps=max_maps, verify=verify, stage=stage)
        self.rows_served = 0
        self._observations = tuple(observation_columns(view.spaces.observation))
        self._pictures = self._open.pictures.intersection(self._observations)
        self._nested = isinstance(view.spaces.observation, Dict)
        leaves = {**observation_columns(view.spaces.observation), "action": view.spaces.action}
        self._discrete = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Discrete)}
        self._lock = threading.RLock()
        keep_freed_memory()
        self._plans: dict[Request, _Plan] = {}  # emptied when a file is opened or closed
        self._request: Request | None = None
        self._plan: _Plan | None = None
        self._observing: Addresses | None = None

    @property
    def view(self) -> View:
        return self._open.view

    @property
    def shards(self) -> tuple[int, ...]:
        """The global numbers of those it may open."""
        return self._open.held

    @property
    def open_files(self) -> int:
        """Files mapped at the moment."""
        return len(self._open.maps)

    def grow(self, view: View, shards: Sequence[int] | None = None) -> None:
        """Serve further shards: `view` is the present one with some behind it, because its last member became longer
        or another one was added (see `view.extended`).

        Of the new shards it may open `shards` (None: all). Files that are open stay open. Raises `DataError` for a view
        that is not the present one to begin with.
        """
        with self._lock:
            self._open.grow(view, shards)
            self._changed()

    def gather(self, rows: Rows, request: Request, key: tuple[int, int] = (0, 0)) -> Batch[np.ndarray]:
        """The batch of these rows, in their order: each is the start of what `request.kind` says.

        - transitions: n-step sums, (B, ...).
        - windows: `request.length` steps, (B, T, ...), with a mask. Behind the episode's end stands its last
          observation, with zero action, reward, flags and discount.
        - episodes: the same, T being the most steps that any of the rows has left.

        Arrays are copies; the two observations of one-step transitions are views of one array. Of the columns,

        - return_to_go is the discounted sum of rewards (after scale and shift) up to the episode's end, or to and
          including its next terminated step: float32 (B,) or (B, T). It does not bootstrap: of a truncated episode
          it is the sum of what was recorded.
        - next_action is the logged action taken in `next_observation`: (B, ...) as actions are. Where none is stored
          (the sum ended in a terminated step or at the episode's stored end) the row's own action stands in, and
          has_next_action, uint8 (B,), is 0.

        Where the request has goals or tasks, rewards are those of the rows' goals or tasks. Goals are joined where the
        rows have them, and may lie in other stores, which `observe` them, where they do not.

        Raises `DataError` for a shard that the store does not hold or that is damaged, for rows outside of
        it, for columns that the view does not have, for a batch that memory cannot hold, and for flags and discrete
        values that are none.
        """
        check_asked(rows, request)
        with self._lock:
            batch = self._gather(rows, request, key, _steps(rows, request))
            self.rows_served += len(rows.index)
            for name, space in self._discrete.items():
                check_discrete(self.view, name, space, batch)
            if rows.task is not None:
                batch = replace(batch, task=rows.task)
            if request.goals is not None and rows.reached is not None:
                batch = towards_goals(batch, rows.reached, request)
            return batch if rows.goal is None else replace(batch, goal=self.observe(rows.goal))

    def observe(self, rows: Rows) -> Any:
        """The observations of these rows, (B, ...) or a dictionary of them. They may stand after the last action of
        their episodes, where no step remains. Raises `DataError` as `gather` does."""
        # An address is of a step: the last observation is the one after the last step.
        after = (rows.remaining == 0).astype(np.int64)
        steps = replace(rows, row=rows.row - after)
        with self._lock:
            shards = np.unique(rows.shard).tolist() if self._open.bounded else []
            if len(shards) > 1 and len(self._open.files(shards, self._observations)) > self._open.maps.max_maps:
                return self._observe_halves(rows, shards[len(shards) // 2])
            self._ensure(shards, self._observations)
            addresses = self._observed()
            at = addresses.locate(steps)
            if at is None:
                self._ensure(np.unique(rows.shard).tolist(), self._observations)
                addresses = self._observed()
                at = addresses.locate(steps)
                if at is None:
                    raise DataError("store: rows outside of their shard: they were located in another view.")
            found = self._nest(
                {
                    name: self._decode(name, rows, np.zeros((len(rows), 1), np.int64))[:, 0]
                    if name in self._pictures
                    else addresses.take(name, at, after)
                    for name in self._observations
                }
            )
            for name, space in self._discrete.items():
                if name != "action":
                    check_choices(self.view, name, space, [found])
            return found

    def _observed(self) -> Addresses:
        """Where observations lie, as the files are open now."""
        if self._observing is None:
            self._observing = self._open.addresses(self._observations)
        return self._observing

    def _observe_halves(self, rows: Rows, middle: int) -> Any:
        """Observations that need more files than may be open at once, of the shards before `middle` and the others."""
        later = rows.shard >= middle
        parts = [self.observe(rows.take(part)) for part in (~later, later)]
        order = np.argsort(np.argsort(later, kind="stable"), kind="stable")
        if self._nested:
            return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
        return np.concatenate(parts)[order]

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
                if name in self._pictures:
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
        """Copy all shards it holds to the local folder now and verify them there, instead of at first use."""
        with self._lock:
            self._open.maps.stage(self._open.files(self.shards, self._open.columns))

    def close(self) -> None:
        """Close every file; they are opened again when rows are asked for."""
        with self._lock:
            self._open.close()
            self._changed()

    def _gather(self, rows: Rows, request: Request, key: tuple[int, int], length: int) -> Batch[np.ndarray]:
        plan = self._plan
        if request is not self._request or plan is None:
            plan = self._prepare(request)
        if len(rows) * length * plan.step_bytes > SMALL:
            check_room(rows, request, length, plan.row_bytes)
        if self._open.bounded:
            shards = np.unique(rows.shard).tolist()
            if len(shards) > 1 and len(self._open.files(shards, plan.names)) > self._open.maps.max_maps:
                return self._halves(rows, request, key, length)
            self._ensure(shards, plan.names)
            plan = self._prepare(request)
        span = None if plan.single else rows.remaining
        at = self._locate(plan, rows, span)
        if at is None:
            self._ensure(np.unique(rows.shard).tolist(), plan.names)
            plan = self._prepare(request)
            at = self._locate(plan, rows, span)
            if at is None:
                raise DataError("store: rows outside of their shard: they were located in another view.")
        if plan.single:
            return self._transitions(plan, at, rows, request, key)
        if request.kind == "transitions":
            return self._sums(plan, at, rows, request, key, length)
        return self._windows(plan, at, rows, request, key, length)

    def _transitions(
        self, plan: _Plan, at: np.ndarray, rows: Rows, request: Request, key: tuple[int, int]
    ) -> Batch[np.ndarray]:
        """One-step transitions: what nearly every training step asks for, and so spared whatever can be."""
        take = plan.addresses.take
        observation, next_observation = self._pair(plan, at, rows, None)
        reward = take("reward", at) if rows.task is None else self._reward(plan, at, rows)
        if plan.scaled:
            reward = request.scaled(reward)
        terminated, truncated = plan.addresses.flags(at)
        try:
            discount = plan.discounts.take(terminated)
        except IndexError as error:
            raise no_flags(self.view) from error
        extras = {name: take(name, at) for name in plan.extras}
        if plan.following:
            extras |= following(plan.following, plan.addresses, at, 1, rows.remaining, terminated)
        return Batch(
            observation,
            take("action", at),
            reward,
            discount,
            next_observation,
            terminated,
            truncated,
            rows.index,
            None,
            rows.weight,
            extras,
            key,
        )

    def _sums(
        self, plan: _Plan, at: np.ndarray, rows: Rows, request: Request, key: tuple[int, int], length: int
    ) -> Batch[np.ndarray]:
        take = plan.addresses.take
        steps = np.minimum(np.arange(length), rows.remaining[:, None] - 1)
        reward = request.scaled(self._reward(plan, at, rows, steps))
        flags = (
            check_flags(self.view, take("terminated", at, steps)),
            check_flags(self.view, take("truncated", at, steps)),
        )
        sums = n_step(reward, *flags, rows.remaining, request.discount)
        extras = {name: take(name, at) for name in plan.extras}
        if plan.to_go:
            extras[RETURN_TO_GO] = returns_to_go(plan.addresses, at, rows.remaining, request).astype(np.float32)
        if plan.following:
            extras |= following(plan.following, plan.addresses, at, sums.steps, rows.remaining, sums.terminated)
        observation, next_observation = self._pair(plan, at, rows, sums.steps)
        return Batch(
            observation=observation,
            action=take("action", at),
            reward=sums.reward,
            discount=sums.discount,
            next_observation=next_observation,
            terminated=sums.terminated,
            truncated=sums.truncated,
            index=rows.index,
            weight=rows.weight,
            extras=extras,
            key=key,
        )

    def _windows(
        self, plan: _Plan, at: np.ndarray, rows: Rows, request: Request, key: tuple[int, int], length: int
    ) -> Batch[np.ndarray]:
        take = plan.addresses.take
        # Behind the end stands the last row, which has the last observation and otherwise zeros.
        steps = np.minimum(np.arange(length + 1), rows.remaining[:, None])
        inner = steps[:, :-1]
        mask = (np.arange(length) < rows.remaining[:, None]).astype(np.uint8)
        reward = request.scaled(self._reward(plan, at, rows, inner)) * mask.astype(np.float32)
        terminated = check_flags(self.view, take("terminated", at, inner)) * mask
        extras = {name: take(name, at, inner) for name in plan.extras}
        if plan.to_go:
            after = np.zeros(len(rows))
            behind = np.flatnonzero(rows.remaining > length)
            if len(behind):
                further = at[:, behind] + length * plan.addresses.strides
                after[behind] = returns_to_go(plan.addresses, further, rows.remaining[behind] - length, request)
            extras[RETURN_TO_GO] = backward(reward, terminated, after, request.discount).astype(np.float32)
        both = {name: self._observe(plan, name, at, rows, steps) for name in self._observations}
        return Batch(
            observation=self._nest({name: np.ascontiguousarray(part[:, :-1]) for name, part in both.items()}),
            action=take("action", at, inner),
            reward=reward,
            discount=(request.discount * mask * (terminated == 0)).astype(np.float32),
            next_observation=self._nest({name: np.ascontiguousarray(part[:, 1:]) for name, part in both.items()}),
            terminated=terminated,
            truncated=check_flags(self.view, take("truncated", at, inner)) * mask,
            index=rows.index,
            mask=mask,
            weight=rows.weight,
            extras=extras,
            key=key,
        )

    def _reward(self, plan: _Plan, at: np.ndarray, rows: Rows, steps: np.ndarray | None = None) -> np.ndarray:
        """Of the rows, or `steps` rows on: from the column of each row's task, where it has one."""
        if rows.task is None:
            return plan.addresses.take("reward", at, steps)
        return of_tasks([plan.addresses.take(name, at, steps) for name in plan.rewards], rows.task)

    def _pair(self, plan: _Plan, at: np.ndarray, rows: Rows, steps: np.ndarray | None) -> tuple[Any, Any]:
        """Observations, and those `steps` rows on (None: one)."""
        take = plan.addresses.take
        if steps is None and not self._nested and not self._pictures:
            return plan.addresses.pair("observation", at)
        now, later = {}, {}
        for name in self._observations:
            if name in self._pictures:
                ends = np.zeros((len(rows), 2), np.int64)
                ends[:, 1] = 1 if steps is None else steps
                both = self._decode(name, rows, ends)
                now[name], later[name] = np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])
            elif steps is None:
                now[name], later[name] = plan.addresses.pair(name, at)
            else:
                now[name], later[name] = take(name, at), take(name, at, steps)
        return self._nest(now), self._nest(later)

    def _observe(self, plan: _Plan, name: str, at: np.ndarray, rows: Rows, steps: np.ndarray) -> np.ndarray:
        return self._decode(name, rows, steps) if name in self._pictures else plan.addresses.take(name, at, steps)

    def _decode(self, name: str, rows: Rows, steps: np.ndarray) -> np.ndarray:
        """uint8 (B, T, H, W, C): each picture is decoded once, however often the batch shows it."""
        row = rows.row[:, None] + steps
        shard = np.broadcast_to(rows.shard[:, None], row.shape)
        distinct, place = np.unique(np.stack([shard.ravel(), row.ravel()]), axis=1, return_inverse=True)
        shape = self._open.columns[name].shape
        pixels = np.empty((distinct.shape[1], *shape), np.uint8)
        for i, (number, position) in enumerate(distinct.T.tolist()):
            where = f"{self.view.files[number][self._open.group(number, name)].path}, row {position}"
            pixels[i] = images.decode(self._open.mapped(number, name).blobs[name].row(position), shape, where)
        return pixels[place.reshape(row.shape)]

    def _nest(self, parts: dict[str, np.ndarray]) -> Any:
        if not self._nested:
            return parts["observation"]
        return {name.removeprefix("observation."): part for name, part in parts.items()}

    def _halves(self, rows: Rows, request: Request, key: tuple[int, int], length: int) -> Batch[np.ndarray]:
        """A batch that needs more files than may be open at once, in two parts."""
        order = np.argsort(rows.shard, kind="stable")
        middle = int(np.searchsorted(rows.shard[order], rows.shard[order][len(order) // 2]))
        middle = middle or int(np.searchsorted(rows.shard[order], rows.shard[order][0], "right"))
        parts = [self._gather(rows.take(part), request, key, length) for part in (order[:middle], order[middle:])]
        return concatenate(parts).take(np.argsort(order, kind="stable"))

    def _prepare(self, request: Request) -> _Plan:
        """The plan of a request, with the addresses of its columns as the files lie now."""
        self._request = request
        self._plan = self._plans.get(request)
        if self._plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plan = self._plans[request] = self._new_plan(request)
        return self._plan

    def _new_plan(self, request: Request) -> _Plan:
        extras = tuple(name for name in request.columns if name not in COMPUTED)
        for name in extras:
            if name not in self.view.extras:
                known = listed([*sorted(self.view.extras), *COMPUTED])
                raise DataError(f"request.columns: the data has no {shown(name)}; it has {known}.")
        rewards = () if request.tasks is None else request.tasks.columns
        for name in rewards:
            if name != "reward" and (name not in self.view.extras or self.view.extras[name].shape):
                raise DataError(f"request.tasks: the data has no column {shown(name)} of one number a step.")
        others = dict.fromkeys((*extras, *(name for name in rewards if name != "reward")))
        names = (*self._observations, "action", "reward", "terminated", "truncated", *others)  # flags side by side
        columns = self._open.columns
        widths = {name: columns[name].items * np.dtype(columns[name].dtype).itemsize for name in names}
        # Now and next, and a copy that they are cut from.
        row_bytes = sum(widths.values()) + 3 * sum(widths[name] for name in self._observations)
        return _Plan(request, names, extras, self._open.addresses(names), row_bytes)

    def _locate(self, plan: _Plan, rows: Rows, span: np.ndarray | None) -> np.ndarray | None:
        try:
            return plan.addresses.locate(rows, span)
        except IndexError as error:
            raise DataError(f"store: rows of a shard beyond the view's {len(self._open.rows)}.") from error

    def _ensure(self, shards: Sequence[int], names: Iterable[str]) -> None:
        if self._open.open(shards, names):
            self._changed()

    def _changed(self) -> None:
        """Addresses in use are void once a file was opened or closed, and tables of them once there are more shards."""
        self._plan = self._observing = None
        self._plans.clear()


class _Plan:
    """What can be known of a request before its rows are: columns, addresses, and which path it takes."""

    def __init__(
        self,
        request: Request,
        names: tuple[str, ...],
        extras: tuple[str, ...],
        addresses: Addresses,
        row_bytes: int,
    ) -> None:
        self.names = names
        self.row_bytes = row_bytes
        self.step_bytes = row_bytes + STEP_BYTES
        """The most that a step of a row may take."""
        self.extras = extras
        self.addresses = addresses
        self.rewards = () if request.tasks is None else request.tasks.columns
        """Of the tasks, by their numbers."""
        self.to_go = RETURN_TO_GO in request.columns
        self.following = tuple(name for name in request.columns if name in FOLLOWING)
        self.single = request.kind == "transitions" and request.n_step == 1 and not self.to_go
        self.scaled = request.reward_scale != 1.0 or request.reward_shift != 0.0
        self.discounts = np.array([request.discount, 0.0], np.float32)


def _steps(rows: Rows, request: Request) -> int:
    """Of each row's sum or window."""
    if request.kind == "windows":
        return request.length
    if request.kind == "transitions" and request.n_step == 1:
        return 1
    most = int(rows.remaining.max(initial=0))
    # No sum goes beyond the end of its episode; that it could makes a difference of one step.
    return most if request.kind == "episodes" else min(request.n_step, most + 1)


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
