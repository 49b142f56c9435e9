"""`hdf5:<file>`: the two layouts in which robot logs are kept in HDF5, told apart by what the file holds.

D4RL: flat arrays `observations`, `actions`, `rewards`, `terminals` and, if there, `timeouts` and
`next_observations`; any of them may have another name (`rename`), and further arrays may be renamed into columns.
robomimic: a group `data/demo_i` per episode with `actions`, `rewards`, `dones`, `obs/*` and, if there, `next_obs/*`;
`mask/train` and `mask/valid` say which episodes are for training and which for validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay.episode import Episode, flags
from replay.errors import DataError
from replay.flags import as_flags
from replay.readers.hdf5_safety import check_contained
from replay.readers.source import (
    Options,
    Source,
    action_space,
    array_space,
    box,
    conversion_notes,
    existing,
    minimum_and_maximum,
    one_each,
    refuse,
)
from replay.segment import RULES, Block, Counts, segment
from replay.spaces import Dict, Leaf, Spaces

_FLAT = {
    "observations": "observation",
    "next_observations": "next_observation",
    "actions": "action",
    "rewards": "reward",
    "terminals": "terminated",
    "timeouts": "truncated",
}
"""D4RL's names and ours."""
_FLAT_NEEDED = ("observation", "action", "reward", "terminated")
_DEMO_NEEDED = ("actions", "rewards", "dones", "obs")


def read(location: str, options: Options) -> Source:
    """Opens an HDF5 file. Raises `DataError`, listing what the file holds, for any other layout, and for a file that
    would have other files opened."""
    refuse(options, "hdf5", "success_timing")
    import h5py

    path = existing(location, "hdf5")
    try:
        store = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: is no HDF5 file, or is cut short ({error}). Fetch it again.") from error
    try:
        check_contained(store, path)
        return _layout(path, store, options)
    except BaseException:
        store.close()
        raise


def _layout(path: Path, store: Any, options: Options) -> Source:
    data = store.get("data")
    if hasattr(data, "keys") and any(_demo_number(name) is not None for name in data):
        return _robomimic(path, store, options)
    names = _names(store, options.rename, path)
    missing = [name for name in _FLAT_NEEDED if name not in names]
    if missing:
        raise DataError(
            f"{path}: has no column for {', '.join(missing)}; found {_contents(store)}. Expected the D4RL layout "
            "(observations, actions, rewards, terminals) or robomimic's (data/demo_0, …). "
            "Give other names with --rename source=standard."
        )
    return _d4rl(path, store, names, options)


def _names(store: Any, rename: Mapping[str, str], path: Path) -> dict[str, str]:
    """Standard name to path in the file."""
    import h5py

    names = {ours: theirs for theirs, ours in _FLAT.items() if isinstance(store.get(theirs), h5py.Dataset)}
    for theirs, ours in rename.items():
        if not isinstance(store.get(theirs), h5py.Dataset):
            raise DataError(f"{path}: rename names {theirs!r}; found {_contents(store)}.")
        names[_FLAT.get(ours, ours)] = theirs
    return names


def _contents(store: Any) -> str:
    """The names in a file, the first twenty."""
    names: list[str] = []

    def note(name: str, node: Any) -> bool | None:
        if hasattr(node, "shape"):
            names.append(f"{name} {node.shape}")
        return True if len(names) > 20 else None

    store.visititems(note)
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "") if names else "no arrays"


def _d4rl(path: Path, store: Any, names: dict[str, str], options: Options) -> Source:
    columns = {ours: store[theirs] for ours, theirs in names.items()}
    lengths = {names[ours]: column.shape[0] if column.shape else 0 for ours, column in columns.items()}
    rows = lengths[names["reward"]]
    if set(lengths.values()) != {rows} or rows == 0:
        raise DataError(f"{path}: columns of different lengths, or empty: {lengths}. Expected one row per step.")
    observation, action = columns["observation"], columns["action"]
    if "next_observation" in columns and columns["next_observation"].shape != observation.shape:
        raise DataError(
            f"{path}, {names['next_observation']}: found shape {columns['next_observation'].shape}, "
            f"expected {observation.shape} as {names['observation']} has."
        )
    notes = conversion_notes({"observation": observation.dtype, "action": action.dtype})
    if "truncated" not in columns:
        notes.append("timeouts: not in the source; episodes end only where they terminate, or where rows are missing")
    extras = {name: column for name, column in columns.items() if name not in _FLAT.values()}
    ignored = [name for name in store if name not in names.values() and hasattr(store[name], "shape")]
    if ignored:
        notes.append(f"not ingested: {', '.join(ignored)}; give a name with --rename to keep one")
    low, high = minimum_and_maximum(
        action[start : start + options.block_rows] for start in range(0, rows, options.block_rows)
    )
    spaces = Spaces(
        array_space(observation.shape[1:], observation.dtype),
        action_space(low, high, action.shape[1:], action.dtype, notes),
    )
    counts = Counts()
    return Source(
        spaces=spaces,
        episodes=_closing(
            path,
            store,
            segment(_d4rl_blocks(path, columns, names, extras, options.block_rows), counts, source=f"hdf5:{path.stem}"),
        ),
        provenance={
            "format": "hdf5 (D4RL)",
            "attributes": {name: str(value) for name, value in store.attrs.items()},
            "final_observation": RULES["next" if "next_observation" in columns else "lost"],
            **_env_spec(options.env),
        },
        files=[path],
        expected_rows=rows,
        expected_transitions=rows,
        extras={name: box(column.shape[1:], column.dtype) for name, column in extras.items()},
        notes=notes,
        counts=counts,
    )


def _d4rl_blocks(
    path: Path, columns: dict[str, Any], names: dict[str, str], extras: dict[str, Any], block_rows: int
) -> Iterator[Block]:
    for start in range(0, columns["reward"].shape[0], block_rows):
        part = {name: column[start : start + block_rows] for name, column in columns.items()}
        for name in ("reward", "terminated", "truncated"):
            if name in part:
                part[name] = one_each(part[name], f"{path}, {names[name]}")
        # Whose flag it is, is what flags say: with one that is none, no episode can be left out.
        for name in ("terminated", "truncated"):
            if name in part:
                part[name] = as_flags(part[name], f"{path}, {names[name]}", first=start)
        terminated = part["terminated"]
        truncated = part.get("truncated", flags(len(terminated)))
        after = part.get("next_observation")
        yield Block(
            observation={"observation": part["observation"]},
            action=part["action"],
            reward=part["reward"],
            terminated=terminated,
            truncated=truncated,
            end=terminated | truncated,
            next_observation={} if after is None else {"observation": after},
            extras={name: part[name] for name in extras},
        )


def _robomimic(path: Path, store: Any, options: Options) -> Source:
    if options.rename:
        raise DataError(f"{path}: rename is for flat arrays; this file has robomimic's layout.")
    data = store["data"]
    demos = sorted((name for name in data if _demo_number(name) is not None), key=lambda name: _demo_number(name) or 0)
    for name in demos:
        _check_demo(data[name], f"{path}, data/{name}")
    first = data[demos[0]]
    observation: dict[str, Leaf] = {
        key: array_space(column.shape[1:], column.dtype) for key, column in first["obs"].items()
    }
    if not observation:
        raise DataError(f"{path}, data/{demos[0]}/obs: is empty. Extract observations before ingesting.")
    notes = conversion_notes({f"observation.{key}": column.dtype for key, column in first["obs"].items()})
    notes += conversion_notes({"action": first["actions"].dtype})
    notes.append("terminated: the source's dones, as they are")
    low, high = minimum_and_maximum(data[name]["actions"][()] for name in demos)
    spaces = Spaces(
        Dict.of(observation),
        action_space(low, high, first["actions"].shape[1:], first["actions"].dtype, notes),
    )
    splits = _splits(store, notes)
    steps = sum(data[name]["actions"].shape[0] for name in demos)
    task = _robomimic_task(data, path)
    provenance: dict[str, Any] = {
        "format": "hdf5 (robomimic)",
        "final_observation": RULES["next" if "next_obs" in first else "lost"],
        **_env_spec(options.env),
    }
    if task:
        provenance["task"] = task
    counts = Counts()
    return Source(
        spaces=spaces,
        episodes=_closing(path, store, _demos(data, demos, splits, task, counts, path)),
        provenance=provenance,
        files=[path],
        expected_rows=steps + len(demos),
        expected_transitions=steps,
        notes=notes,
        counts=counts,
    )


def _demos(
    data: Any, demos: list[str], splits: dict[str, str], task: str, counts: Counts, path: Path
) -> Iterator[tuple[str, Episode | DataError]]:
    for name in demos:
        try:
            block = _demo_block(data[name], f"{path}, data/{name}")
        except DataError as error:
            yield f"data/{name}", error
            continue
        for label, episode in segment([block], counts, source=f"hdf5:{path.stem}"):
            if isinstance(episode, Episode):
                episode = replace(episode, task=task, split=splits.get(name))
            yield f"data/{name}, {label}", episode


def _check_demo(demo: Any, where: str) -> None:
    """Raises `DataError` unless all that is read of it is there, in arrays."""
    import h5py

    if not isinstance(demo, h5py.Group):
        raise DataError(f"{where}: is an array, expected a group with {', '.join(_DEMO_NEEDED)}.")
    missing = [key for key in _DEMO_NEEDED if key not in demo]
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}; expected {', '.join(_DEMO_NEEDED)}.")
    arrays = {key: demo[key] for key in _DEMO_NEEDED if key != "obs"}
    for group in ("obs", "next_obs"):
        if group in demo:
            if not isinstance(demo[group], h5py.Group):
                raise DataError(f"{where}/{group}: is an array, expected a group of arrays.")
            arrays |= {f"{group}/{key}": demo[group][key] for key in demo[group]}
    for key, array in arrays.items():
        if not isinstance(array, h5py.Dataset) or not array.shape:
            raise DataError(f"{where}/{key}: is no array with one row per step.")


def _demo_block(demo: Any, where: str) -> Block:
    terminated = as_flags(one_each(demo["dones"][()], f"{where}/dones"), f"{where}/dones")
    block = Block(
        observation=_rows(demo["obs"]),
        action=demo["actions"][()],
        reward=one_each(demo["rewards"][()], f"{where}/rewards"),
        terminated=terminated,
        truncated=flags(len(terminated)),
        end=flags(len(terminated), last=True),
        next_observation=_rows(demo["next_obs"]) if "next_obs" in demo else {},
    )
    columns = {"actions": block.action, "rewards": block.reward}
    columns |= {f"obs/{key}": column for key, column in block.observation.items()}
    columns |= {f"next_obs/{key}": column for key, column in block.next_observation.items()}
    if any(len(column) != len(terminated) for column in columns.values()):
        found = {name: len(column) for name, column in columns.items()}
        raise DataError(f"{where}: columns of different lengths: {found}, dones {len(terminated)}.")
    return block


def _rows(group: Any) -> dict[str, np.ndarray]:
    return {f"observation.{key}": column[()] for key, column in group.items()}


def _demo_number(name: str) -> int | None:
    found = re.fullmatch(r"demo_(\d+)", name)
    return int(found[1]) if found else None


def _splits(store: Any, notes: list[str]) -> dict[str, str]:
    """Episode name to split, from robomimic's masks."""
    standard = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
    splits: dict[str, str] = {}
    ignored = []
    for mask in store.get("mask", {}):
        if mask in standard:
            splits |= {_text(name): standard[mask] for name in store["mask"][mask][()]}
        else:
            ignored.append(mask)
    if ignored:
        notes.append(f"mask: {', '.join(ignored)} not kept; train, valid and test are splits")
    return splits


def _robomimic_task(data: Any, path: Path) -> str:
    """The name of the environment, from the JSON that robomimic stores beside the episodes."""
    if "env_args" not in data.attrs:
        return ""
    try:
        return str(json.loads(_text(data.attrs["env_args"])).get("env_name", ""))
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}, data, env_args: is not a JSON object ({error}). Repair the file.") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _env_spec(env: str | None) -> dict[str, Any]:
    return {"env_spec": {"id": env, "kwargs": {}, "max_episode_steps": None}} if env else {}


def _closing(
    path: Path, store: Any, episodes: Iterator[tuple[str, Episode | DataError]]
) -> Iterator[tuple[str, Episode | DataError]]:
    try:
        with store:
            yield from episodes
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read to its end ({error}). Fetch the file again.") from error
