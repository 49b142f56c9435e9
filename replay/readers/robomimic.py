"""robomimic's layout of HDF5: a group `data/demo_i` per episode with `actions`, `rewards`, `dones`, `obs/*` and, if
there, `next_obs/*`; `mask/train` and `mask/valid` say which episodes are for training and which for validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay import memory
from replay.episode import Episode, flags
from replay.errors import DataError
from replay.flags import as_flags
from replay.readers.columns import channels_last, check_name, column_space, left_out, some
from replay.readers.hdf5_safety import DAMAGE, check_packing, checked_array, closing, pictures, rows_of, text_of
from replay.readers.segment import RULES, Block, Counts, segment
from replay.readers.source import (
    Options,
    Source,
    action_space,
    conversion_notes,
    env_spec,
    minimum_and_maximum,
    one_each,
    told,
)
from replay.spaces import Dict, Leaf, Spaces

_DEMO_NEEDED = ("actions", "rewards", "dones", "obs")


def source(path: Path, store: Any, data: Any, options: Options) -> Source:
    """The episodes of an open file whose group `data` holds some. Raises `DataError` for what is missing, or is no
    array of numbers."""
    if options.rename:
        raise DataError(f"{path}: rename is for flat arrays; this file has robomimic's layout.")
    demos = sorted((name for name in data if demo_number(name) is not None), key=lambda name: demo_number(name) or 0)
    for name in demos:
        _check_demo(data[name], f"{path}, data/{name}")
    first = data[demos[0]]
    keys = _keys(first["obs"], options.observation, f"{path}, data/{demos[0]}/obs")
    notes: list[str] = []
    observation: dict[str, Leaf] = {}
    for key in keys:
        check_name(key, f"{path}, data/{demos[0]}/obs")
        shape, dtype = checked_array(first["obs"][key], f"{path}, data/{demos[0]}/obs/{key}")
        observation[key] = column_space(
            shape[1:], dtype, f"{path}, data/{demos[0]}/obs/{key}", f"observation.{key}", notes
        )
        notes += conversion_notes({f"observation.{key}": dtype})
    if not observation:
        raise DataError(f"{path}, data/{demos[0]}/obs: is empty. Extract observations before ingesting.")
    (_, *acted), kind = checked_array(first["actions"], f"{path}, data/{demos[0]}/actions")
    notes += conversion_notes({"action": kind})
    notes.append("terminated: the source's dones, as they are")
    low, high = minimum_and_maximum(_alike_actions(data, demos, tuple(acted), path))
    spaces = Spaces(
        Dict.of(observation),
        action_space(low, high, acted, kind, notes, where=f"{path}, actions"),
    )
    notes += left_out(_not_kept(first, data), "only actions, rewards, dones, obs and next_obs of demos are read")
    splits = _splits(store, path, notes)
    steps = sum(data[name]["actions"].shape[0] for name in demos)
    task = _robomimic_task(data, path)
    provenance: dict[str, Any] = {
        "format": "hdf5 (robomimic)",
        "final_observation": RULES["next" if "next_obs" in first else "lost"],
        **env_spec(options.env),
    }
    if task:
        provenance["task"] = task
    counts, wanted = Counts(), options.observation in keys
    return Source(
        spaces=spaces,
        episodes=closing(path, store, _demos(data, demos, observation, wanted, splits, task, counts, path)),
        provenance=provenance,
        files=[path],
        expected_rows=steps + len(demos),
        expected_transitions=steps,
        notes=notes,
        counts=counts,
    )


def _keys(group: Any, wanted: str | None, where: str) -> list[str]:
    """Those of a group of observations that are read. Raises `DataError` for names that are no text."""
    keys = list(group)
    if wanted is not None and wanted in keys:
        return [wanted]
    for key in keys:
        if not isinstance(key, str):
            raise DataError(f"{where}: a column is called {key!r}, expected UTF-8. Rename it.")
    return keys


def _alike_actions(data: Any, demos: list[str], row: tuple[int, ...], path: Path) -> Iterator[np.ndarray]:
    """The actions of each episode, but of those whose actions have another shape: they are refused when it is their
    turn."""
    for name in demos:
        where, actions = f"{path}, data/{name}/actions", data[name]["actions"]
        if checked_array(actions, where)[0][1:] == row:
            memory.require(4 * actions.nbytes, where, "an episode", "cut it into shorter ones.")
            check_packing(actions, where)
            yield rows_of(actions, where)


def _not_kept(first: Any, data: Any) -> dict[str, bool]:
    """What lies beside what is read, in the first episode and beside the episodes."""
    import h5py

    named = {key: node for key, node in first.items() if key not in (*_DEMO_NEEDED, "next_obs")}
    found = {text_of(key): pictures(node) for key, node in named.items() if isinstance(node, h5py.Dataset)}
    return found | {f"data/{text_of(name)}": False for name in data if demo_number(name) is None}


def _demos(
    data: Any,
    demos: list[str],
    observation: dict[str, Leaf],
    wanted: bool,
    splits: dict[str, str],
    task: str,
    counts: Counts,
    path: Path,
) -> Iterator[tuple[str, Episode | DataError]]:
    for name in demos:
        try:
            block = _demo_block(data[name], observation, wanted, f"{path}, data/{name}")
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
    for key in _DEMO_NEEDED[:-1]:
        checked_array(demo[key], f"{where}/{key}")
    for group in ("obs", "next_obs"):
        if group in demo and not isinstance(demo[group], h5py.Group):
            raise DataError(f"{where}/{group}: is an array, expected a group of arrays.")


def _demo_block(demo: Any, observation: dict[str, Leaf], wanted: bool, where: str) -> Block:
    arrays = {key: demo[key] for key in ("actions", "rewards", "dones")}
    groups = [group for group in ("obs", "next_obs") if group in demo]
    for group in groups:
        absent = [key for key in observation if key not in demo[group]]
        surplus = [] if wanted else [text_of(key) for key in demo[group] if key not in observation]
        if absent or surplus:
            what = f"lacks {some(absent)}" if absent else f"has {some(surplus)} besides"
            raise DataError(f"{where}/{group}: {what}; expected the keys of the first episode: {some(observation)}.")
        arrays |= {f"{group}/{key}": demo[group][key] for key in observation}
    shapes = {name: checked_array(array, f"{where}/{name}")[0] for name, array in arrays.items()}
    if len({shape[0] for shape in shapes.values()}) != 1:
        found = {name: shape[0] for name, shape in shapes.items()}
        raise DataError(f"{where}: columns of different lengths: {found}.")
    for key in observation:
        if "next_obs" in groups and shapes[f"next_obs/{key}"] != shapes[f"obs/{key}"]:
            raise DataError(
                f"{where}/next_obs/{key}: found shape {shapes[f'next_obs/{key}']}, expected {shapes[f'obs/{key}']} as "
                f"obs/{key} has."
            )
    memory.require(4 * sum(array.nbytes for array in arrays.values()), where, "an episode", "cut it into shorter ones.")
    for name, array in arrays.items():
        check_packing(array, f"{where}/{name}")
    read = {name: rows_of(array, f"{where}/{name}") for name, array in arrays.items()}
    terminated = as_flags(one_each(read["dones"], f"{where}/dones"), f"{where}/dones")
    parts = {
        group: {f"observation.{key}": channels_last(read[f"{group}/{key}"], leaf) for key, leaf in observation.items()}
        for group in groups
    }
    return Block(
        observation=parts["obs"],
        action=read["actions"],
        reward=one_each(read["rewards"], f"{where}/rewards"),
        terminated=terminated,
        truncated=flags(len(terminated)),
        end=flags(len(terminated), last=True),
        next_observation=parts.get("next_obs", {}),
    )


def demo_number(name: str | bytes) -> int | None:
    """The number of an episode by its name, or None for another name."""
    found = re.fullmatch(r"demo_([0-9]{1,18})", text_of(name))
    return int(found[1]) if found else None


def _splits(store: Any, path: Path, notes: list[str]) -> dict[str, str]:
    """Episode name to split, from robomimic's masks."""
    import h5py

    standard = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
    splits: dict[str, str] = {}
    masks = store.get("mask", {})
    if not isinstance(masks, h5py.Group) and masks:
        raise DataError(f"{path}, mask: is no group, expected one of lists of episode names. Take it away.")
    for mask, split in standard.items():
        if mask in masks:
            for name in _episode_names(masks[mask], f"{path}, mask/{mask}"):
                if splits.setdefault(name, split) != split:
                    raise DataError(
                        f"{path}, mask/{mask}: names {name!r}, which is in {splits[name]} as well; expected each "
                        "episode in one split. Repair the masks."
                    )
    ignored = [text_of(mask) for mask in masks if mask not in standard]
    if ignored:
        notes.append(f"mask: {some(ignored)} not kept; train, valid and test are splits")
    return splits


def _episode_names(node: Any, where: str) -> list[str]:
    import h5py

    if not isinstance(node, h5py.Dataset) or len(node.shape or ()) != 1 or h5py.check_string_dtype(node.dtype) is None:
        raise DataError(f"{where}: is no list of text, expected episode names (demo_0, …). Repair the masks.")
    memory.require(256 * node.shape[0], where, "a list of names", "repair the masks.")
    check_packing(node, where)
    return [text_of(name) for name in rows_of(node, where)]


def _robomimic_task(data: Any, path: Path) -> str:
    """The name of the environment, from the JSON that robomimic stores beside the episodes."""
    where = f"{path}, data, env_args"
    try:
        if "env_args" not in data.attrs:
            return ""
        text = text_of(data.attrs["env_args"])
    except DAMAGE as error:
        raise DataError(f"{where}: cannot be read ({told(error)}). Fetch the file again.") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not a JSON object ({told(error)}). Repair the file.") from error
    name = found.get("env_name", "") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise DataError(f"{where}: is not a JSON object with the text env_name. Repair the file.")
    return name
