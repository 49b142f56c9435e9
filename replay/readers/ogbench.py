"""`ogbench:<file.npz>`: OGBench data, of which rewards are no part.

Each stored trajectory has a row more than it has transitions; `terminals` marks that last row and says
nothing about the task. Rewards and masks come from a single-task environment, computed by OGBench's own code
from the recorded states: a success terminates (mask 0) wherever it falls, and the trajectory goes on after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from replay.episode import Episode
from replay.errors import DataError
from replay.flags import as_flags
from replay.readers.columns import channels_last, check_column, column_space, left_out, some
from replay.readers.npz import Header, Npz, rows_together
from replay.readers.segment import RULES, Block, Counts, segment
from replay.readers.source import (
    Options,
    Source,
    action_space,
    box,
    conversion_notes,
    existing,
    minimum_and_maximum,
    one_each,
    refuse,
)
from replay.spaces import Spaces

_NEEDED = ("observations", "actions", "terminals")
_STATES = ("qpos", "button_states")
"""What OGBench's relabelling reads."""


def read(location: str, options: Options) -> Source:
    """Opens one .npz file. Raises `DataError` for a missing array and for an environment without a task."""
    refuse(options, "ogbench", "rename")
    path = existing(location, "ogbench")
    npz = Npz(path)
    missing = [name for name in _NEEDED if name not in npz.names]
    if missing:
        raise DataError(
            f"{path}: lacks {', '.join(missing)}; found {some(npz.names) or 'nothing'}. Expected an OGBench file."
        )
    states = [name for name in _STATES if options.env is not None and name in npz.names]
    headers = npz.headers([*_NEEDED, *states])
    rows = {name: header.rows for name, header in headers.items()}
    if len(set(rows.values())) != 1:
        raise DataError(f"{path}: arrays of different lengths: {rows}. Fetch the file again.")
    if not rows["observations"]:
        raise DataError(f"{path}: has no rows, expected one for each step. Fetch the file again.")
    for name, header in headers.items():
        check_column(header.shape, header.dtype, f"{path}, {name}")
    task = _Task(options.env, options.success_timing) if options.env is not None else None
    observation, action = headers["observations"], headers["actions"]
    notes = conversion_notes({"observation": observation.dtype, "action": action.dtype})
    if task is None:
        if options.success_timing:
            raise DataError("ogbench: success_timing says how an env gives rewards; name the env as well.")
        notes.append("reward: not in the source, 0 everywhere; name a single-task env to compute it")
    elif "qpos" not in headers:
        raise DataError(f"{path}: lacks qpos, from which OGBench computes rewards. Ingest it without env.")
    others = [name for name in npz.names if name not in headers]
    notes += left_out(dict.fromkeys(others, False), "OGBench's other arrays are the simulator's state")
    read_rows = rows_together(headers.values(), options.block_rows)
    low, high = minimum_and_maximum(npz.blocks("actions", read_rows))
    trajectories = sum(int(ends.sum()) for ends in _ends(npz, read_rows))
    if task:
        task.check_widths(headers, path)
    spaces = Spaces(
        column_space(observation.shape, observation.dtype, f"{path}, observations", "observation", notes),
        box(action.shape, action.dtype, *task.action_bounds)
        if task
        else action_space(low, high, action.shape, action.dtype, notes, where=f"{path}, actions"),
    )
    provenance: dict[str, Any] = {"format": "ogbench", "final_observation": RULES["row"]}
    if task:
        provenance |= task.provenance()
    counts = Counts()
    return Source(
        spaces=spaces,
        episodes=_episodes(npz, task, spaces.observation, [*_NEEDED[:2], *states], read_rows, counts),
        provenance=provenance,
        files=[path],
        expected_rows=rows["observations"],
        expected_transitions=rows["observations"] - trajectories,
        notes=notes,
        counts=counts,
    )


def _episodes(
    npz: Npz, task: _Task | None, space: Any, names: list[str], read_rows: int, counts: Counts
) -> Iterator[tuple[str, Episode | DataError]]:
    with npz, closing(task) if task else nullcontext():
        blocks = _blocks(npz, task, space, names, read_rows)
        if task and task.timing == "post":
            blocks = _reward_of_next(blocks)
        for label, episode in segment(blocks, counts, source=f"ogbench:{npz.path.stem}", final_row=True):
            if task and isinstance(episode, Episode):
                success = bool(episode.terminated.any())
                episode = replace(episode, task=task.name, success=success)
            yield label, episode


def _ends(npz: Npz, read_rows: int) -> Iterator[np.ndarray]:
    """(n,) flags, block by block: the last rows of trajectories."""
    where, first = f"{npz.path}, terminals", 0
    for part in npz.blocks("terminals", read_rows):
        yield as_flags(one_each(part, where), where, first=first)
        first += len(part)


def _blocks(npz: Npz, task: _Task | None, space: Any, names: list[str], read_rows: int) -> Iterator[Block]:
    columns_of_blocks = zip(*(npz.blocks(name, read_rows) for name in names), strict=True)
    first = 0
    for parts, ends in zip(columns_of_blocks, _ends(npz, read_rows), strict=True):
        columns = {**dict(zip(names, parts, strict=True)), "terminals": ends}
        n = len(columns["actions"])
        zeros = np.zeros(n, np.uint8)
        where = f"{npz.path}, rows {first} to {first + n - 1}"
        reward, terminated = task.label(columns, where) if task else (np.zeros(n, np.float32), zeros)
        first += n
        yield Block(
            observation={"observation": channels_last(columns["observations"], space)},
            action=columns["actions"],
            reward=reward,
            terminated=terminated,
            truncated=zeros,
            end=ends.astype(bool),
        )


def _reward_of_next(blocks: Iterator[Block]) -> Iterator[Block]:
    """Rewards and masks moved one row up. A trajectory's final row gets a stranger's, but is no transition."""
    previous = None
    for block in blocks:
        if previous is not None:
            yield _moved(previous, block)
        previous = block
    if previous is not None:
        yield _moved(previous, previous)


def _moved(block: Block, after: Block) -> Block:
    return replace(
        block,
        reward=np.concatenate([block.reward[1:], after.reward[:1]]),
        terminated=np.concatenate([block.terminated[1:], after.terminated[:1]]),
    )


class _Task:
    """The task of a single-task environment, and OGBench's own relabelling for it."""

    def __init__(self, name: str, timing: str | None) -> None:
        try:
            import gymnasium
            import ogbench  # noqa: F401  registers the environments
            from ogbench.relabel_utils import relabel_dataset
        except ImportError as error:
            raise DataError(f"ogbench: env {name!r} needs ogbench ({error}). Install quiver-rl[ogbench].") from error
        self.name = _environment_id(name, list(gymnasium.registry))
        self._relabel = relabel_dataset
        env = gymnasium.make(self.name)
        inner: Any = env.unwrapped
        if getattr(inner, "_reward_task_id", None) is None:
            raise DataError(
                f"ogbench: env {self.name!r} has goals but no single task, so no reward. "
                f"Use a name with singletask, such as {_single_task(self.name)!r}."
            )
        self.timing = timing or getattr(inner, "_success_timing", "pre")
        if self.timing not in ("pre", "post"):
            raise DataError(f"ogbench: success_timing is {timing!r}, expected 'pre' or 'post'.")
        env.reset()
        self.close = env.close
        self._frozen = _Frozen(inner)
        self.task_id = int(inner.cur_task_id)
        self.action_bounds = (env.action_space.low, env.action_space.high)  # type: ignore[attr-defined]
        self._widths = {"actions": tuple(self.action_bounds[0].shape), **_state_widths(inner)}
        self.max_episode_steps = env.spec.max_episode_steps if env.spec else None

    def check_widths(self, headers: Mapping[str, Header], path: Path) -> None:
        """Raises `DataError` unless states and actions have the environment's widths."""
        for name, expected in self._widths.items():
            if name in headers and headers[name].shape != expected:
                raise DataError(
                    f"{path}, {name}: found rows of shape {headers[name].shape}, expected {expected} as {self.name} "
                    "has. Name the environment that the file was recorded in."
                )

    def label(self, columns: dict[str, np.ndarray], where: str) -> tuple[np.ndarray, np.ndarray]:
        """Reward float32 (n,) and terminated uint8 (n,) of each row's own state. Raises `DataError`, naming `where`,
        for states that are no states of this environment."""
        dataset = dict(columns)
        for name in _STATES:
            if name in columns and not np.isfinite(columns[name]).all():
                raise DataError(f"{where}, {name}: NaN or infinite, expected the simulator's state. Repair the source.")
        try:
            self._relabel(self.name, self._frozen, dataset)
        except Exception as error:  # OGBench's code, on numbers that it did not make
            raise DataError(
                f"{where}: OGBench cannot compute the rewards of {self.name} from these states "
                f"({type(error).__name__}: {error}). Name the environment that the file was recorded in."
            ) from error
        return dataset["rewards"], (dataset["masks"] == 0).astype(np.uint8)

    def provenance(self) -> dict[str, Any]:
        import importlib.metadata

        return {
            "env_spec": {"id": self.name, "kwargs": {}, "max_episode_steps": self.max_episode_steps},
            "reward": {
                "from": f"ogbench {importlib.metadata.version('ogbench')} relabel_dataset",
                "task": self.task_id,
                "success_timing": self.timing,
            },
        }


def _state_widths(inner: Any) -> dict[str, tuple[int, ...]]:
    """The shape of a row of each state, as far as the environment tells it."""
    widths: dict[str, tuple[int, ...]] = {}
    data = getattr(inner, "data", None) or getattr(inner, "_data", None)
    if data is not None and hasattr(data, "qpos"):
        widths["qpos"] = tuple(np.shape(data.qpos))
    if hasattr(inner, "_num_buttons"):
        widths["button_states"] = (int(inner._num_buttons),)
    return widths


class _Frozen:
    """An environment already reset: relabelling resets it for each block, and the goal must not move."""

    def __init__(self, unwrapped: Any) -> None:
        self.unwrapped = unwrapped

    def reset(self) -> None:
        """Nothing: the task is set."""


def _environment_id(name: str, registered: list[str]) -> str:
    """The registered id, for an environment's name or a dataset's (`…-navigate-singletask-…`)."""
    if name in registered:
        return name
    parts = name.split("-")
    if "singletask" in parts:
        position = parts.index("singletask")
        shorter = "-".join(parts[: position - 1] + parts[position:])
        if shorter in registered:
            return shorter
    close = get_close_matches(name, [other for other in registered if "singletask" in other], n=3)
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    raise DataError(f"ogbench: no environment {name!r}.{hint}")


def _single_task(name: str) -> str:
    stem, _, version = name.rpartition("-")
    return f"{stem}-singletask-{version}"
