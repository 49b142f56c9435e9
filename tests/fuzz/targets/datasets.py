"""Datasets and online stores: their manifests, tables, shards, journals and segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import replay
from replay import Box, DatasetWriter, Episode, Eviction, OnlineStore, Spaces
from replay.batch import Request
from replay.spaces import Dict, Image, to_json
from tests.fuzz.mutations import seals
from tests.fuzz.mutations.arrow import in_arrow
from tests.fuzz.mutations.bytes import in_files, numbers_in
from tests.fuzz.mutations.files import in_folder
from tests.fuzz.mutations.values import in_json, in_json_lines
from tests.fuzz.target import Target

SPACES = Spaces(Box((3,)), Box((2,), low=(-1.0,), high=(1.0,)))
PICTURES = Spaces(
    Dict.of({"camera": Image((32, 32, 3), "png"), "joints": Box((2,))}), Box((2,), low=(-1.0,), high=(1.0,))
)


def episode(number: int, steps: int, *, pictures: bool = False) -> Episode:
    """Numbers that say where they stand; the last step ends the episode."""
    rows = np.arange(steps + 1, dtype=np.float32)
    observation: Any = np.stack([rows, rows + number, 0.5 * rows], 1)
    if pictures:
        shades = [np.full((32, 32, 3), 10 * number + step, np.uint8) for step in range(steps + 1)]
        observation = {"camera": np.stack(shades), "joints": observation[:, :2]}
    ends = np.zeros(steps, np.uint8)
    ends[-1] = 1
    return Episode(
        observation=observation,
        action=np.stack([rows[:-1], -rows[:-1]], 1) / 100,
        reward=rows[:-1] + number,
        terminated=ends if number % 2 else 0 * ends,
        truncated=0 * ends if number % 2 else ends,
        task=f"task {number % 2}",
        source=f"log {number}",
        success=bool(number % 2),
        split="validation" if number == 4 else "train",
    )


def make_dataset(folder: Path) -> None:
    with DatasetWriter(folder / "data", SPACES, provenance={"by": ["a", "fuzzer"], "n": 3}, shard_bytes=250) as writer:
        for number in range(5):
            writer.add(episode(number, 2 + number))
        writer.finish()
    _up(folder)


def make_pictures(folder: Path) -> None:
    with DatasetWriter(folder / "data", PICTURES, provenance={"by": "a fuzzer"}, shard_bytes=2_000) as writer:
        for number in range(3):
            writer.add(episode(number, 2, pictures=True))
        writer.finish()
    _up(folder)


def make_store(folder: Path) -> None:
    with OnlineStore.create(folder / "data", SPACES, provenance={"by": "a fuzzer"}) as store:
        for number in range(4):
            store.insert([(f"e{number}", episode(number, 3))], {"version": number})
        store.evict(Eviction(max_transitions=9))
    _up(folder)


def _up(folder: Path) -> None:
    """What was written as `data` becomes the folder itself."""
    for path in (folder / "data").iterdir():
        path.rename(folder / path.name)
    (folder / "data").rmdir()


def content(folder: Path, *, verify: bool = True, provenance: bool = True) -> Any:
    """All that a dataset says, and every row, as it is stored and as it is sampled."""
    dataset = replay.open(folder, verify=verify)
    spaces = {"observation": to_json(dataset.spaces.observation), "action": to_json(dataset.spaces.action)}
    episodes = [vars(dataset.episode(number)) for number in range(dataset.num_episodes)]
    sampled = dataset.sample(seed=0, sequence=0, count=8, request=Request(n_step=2), split="all")
    told: Any = dataset.provenance if provenance else None
    return [spaces, dataset.statistics, dataset.reference_scores, dataset.episodes, episodes, vars(sampled), told]


def unverified(folder: Path) -> Any:
    return content(folder, verify=False)


def inspected(folder: Path) -> Any:
    """As `quiver inspect` shows it, for programs and for people."""
    from cluster.commands import inspect

    record = inspect.describe(replay.open(folder, verify=True), verified=True)
    inspect.show(record)
    return {name: value for name, value in record.items() if name != "path"}


def written_on(folder: Path) -> Any:
    """A store is opened by its writer, and grows."""
    with OnlineStore(folder) as store:
        store.insert([("one more", episode(7, 2))], {"version": 9})
    return content(folder)


SHARDS = "shards/*.arrow"


def _target(name: str, make: Callable[[Path], None], *mutations: Any, **options: Any) -> Target:
    return Target(
        name,
        make,
        mutations,
        **{"open": content, "modules": ("replay.online.store", "cluster.commands.inspect"), **options},
    )


TARGETS = [
    _target("dataset.json", make_dataset, in_json("dataset.json"), in_json("dataset.json"), in_files("dataset.json")),
    _target("inspect", make_dataset, in_json("dataset.json"), open=inspected),
    _target("shards.arrow", make_dataset, in_files("shards.arrow"), in_arrow("shards.arrow"), guarded=True),
    _target(
        "shards.arrow.sealed",
        make_dataset,
        in_files("shards.arrow", seals.tables),
        numbers_in("shards.arrow", seals.tables),
        in_arrow("shards.arrow", seals.tables),
    ),
    _target("episodes.arrow", make_dataset, in_files("episodes.arrow"), in_arrow("episodes.arrow"), guarded=True),
    _target(
        "episodes.arrow.sealed",
        make_dataset,
        in_files("episodes.arrow", seals.tables),
        numbers_in("episodes.arrow", seals.tables),
        in_arrow("episodes.arrow", seals.tables),
    ),
    _target("shard", make_dataset, in_files(SHARDS), in_arrow(SHARDS), guarded=True),
    _target(
        "shard.sealed",
        make_dataset,
        in_files(SHARDS, seals.shards),
        numbers_in(SHARDS, seals.shards),
        in_arrow(SHARDS, seals.shards),
        open=unverified,
    ),
    _target(
        "pictures.sealed",
        make_pictures,
        in_files(SHARDS, seals.shards),
        numbers_in(SHARDS, seals.shards),
        in_arrow(SHARDS, seals.shards),
        open=unverified,
    ),
    _target("dataset.files", make_dataset, in_folder(), guarded=True),
    _target("store.json", make_store, in_json("store.json"), in_json("store.json"), in_files("store.json")),
    _target("journal", make_store, in_files("journal.jsonl"), in_json_lines("journal.jsonl")),
    _target(
        "journal.sealed",
        make_store,
        in_json_lines("journal.jsonl", seals.journal),
        in_files("journal.jsonl", seals.journal),
    ),
    _target("journal.written", make_store, in_json_lines("journal.jsonl", seals.journal), open=written_on, share=0.5),
    _target("segment", make_store, in_files("segments/*.arrow"), in_arrow("segments/*.arrow"), guarded=True),
    _target(
        "segment.sealed",
        make_store,
        in_files("segments/*.arrow", seals.journal),
        numbers_in("segments/*.arrow", seals.journal),
        in_arrow("segments/*.arrow", seals.journal),
        open=unverified,
    ),
    _target("store.files", make_store, in_folder(), guarded=True),
]
