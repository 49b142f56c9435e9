"""Logs of every format that `quiver ingest` reads."""

from __future__ import annotations

import io
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from replay.ingest import ingest
from tests.fuzz.mutations import seals
from tests.fuzz.mutations.arrays import in_hdf5, in_npz
from tests.fuzz.mutations.arrow import in_arrow, in_parquet
from tests.fuzz.mutations.bytes import in_files, numbers_in
from tests.fuzz.mutations.files import in_folder
from tests.fuzz.mutations.values import in_json
from tests.fuzz.target import Target
from tests.fuzz.targets import datasets


def ingested(scheme: str, name: str = "") -> Callable[[Path], Any]:
    """The door: an ingest of the file, folder or pattern `name`, and all that the dataset holds then."""

    def read(folder: Path) -> Any:
        out = folder.parent / "out"
        prefix = f"{scheme}:" if scheme else ""
        ingest(f"{prefix}{folder / name}", out, validation_fraction=0.0)
        return datasets.content(out, verify=False, provenance=False)

    return read


# --- Good inputs ---

ROWS = 12


def columns() -> dict[str, Any]:
    """Three episodes of four steps."""
    rows = np.arange(ROWS, dtype=np.float32)
    return {
        "observations": np.stack([rows, -rows, rows / 7], 1),
        "actions": np.stack([np.sin(rows), np.cos(rows)], 1),
        "terminals": rows % 4 == 3,
    }


def make_npz(folder: Path) -> None:
    np.savez_compressed(folder / "log.npz", **columns(), qpos=columns()["observations"])


def make_stored_npz(folder: Path) -> None:
    np.savez(folder / "log.npz", **columns())


def make_d4rl(folder: Path) -> None:
    import h5py

    arrays = columns()
    with h5py.File(folder / "log.hdf5", "w") as file:
        file.attrs["env"] = "Line-v0"
        file["observations"] = arrays["observations"]
        file["next_observations"] = arrays["observations"] + 1
        file["actions"] = arrays["actions"]
        file["rewards"] = np.arange(ROWS, dtype=np.float32)
        file["terminals"] = arrays["terminals"]
        file["timeouts"] = np.zeros(ROWS, bool)


def make_robomimic(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "log.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        data.attrs["total"] = 6
        for number in range(2):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = 3
            demo["actions"] = np.full((3, 2), 0.25, np.float32)
            demo["rewards"] = np.arange(3, dtype=np.float32)
            demo["dones"] = np.array([0, 0, 1])
            for part, shift in (("obs", 0), ("next_obs", 1)):
                demo[f"{part}/joints"] = np.arange(6, dtype=np.float64).reshape(3, 2) + shift
                demo[f"{part}/view"] = np.full((3, 32, 32, 3), 3 * number + shift, np.uint8)
        file["mask/train"] = np.array([b"demo_0"])
        file["mask/valid"] = np.array([b"demo_1"])


def make_parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "observation.state": [[float(row), 0.5] for row in range(ROWS)],
        "action": [[0.1 * (row % 5), 0.0] for row in range(ROWS)],
        "next.reward": [float(row) for row in range(ROWS)],
        "next.done": [row % 4 == 3 for row in range(ROWS)],
        "episode_index": [row // 4 for row in range(ROWS)],
        "frame_index": [row % 4 for row in range(ROWS)],
        "task_index": [row // 4 for row in range(ROWS)],
    }
    for number in range(2):
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=7)


def make_pictures_parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    pictures = []
    for shade in range(4):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 9, 3), 20 * shade, np.uint8)).save(buffer, format="JPEG" if shade % 2 else "PNG")
        pictures.append({"bytes": buffer.getvalue(), "path": "x.png"})
    same = [pictures[0], pictures[2]] * 2
    columns = {
        "observation.eye": same,
        "observation.arm": [[0.5]] * 4,
        "action": [[0.5]] * 4,
        "reward": [1.0] * 4,
        "terminated": [False, True] * 2,
    }
    pq.write_table(pa.table(columns), folder / "log.parquet")


def make_minari(folder: Path) -> None:
    _minari(folder, "hdf5")


def make_minari_arrow(folder: Path) -> None:
    _minari(folder, "arrow")


def _minari(folder: Path, backend: str) -> None:
    import minari
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    buffers = [
        EpisodeBuffer(
            observations={
                "arm": np.linspace(0, 1, steps + 1, dtype=np.float32)[:, None],
                "goal": np.full((steps + 1, 2), 0.5, np.float32),
            },
            actions=[np.full(2, 0.1 * step, np.float32) for step in range(steps)],
            rewards=[float(step) for step in range(steps)],
            terminations=[False] * (steps - 1) + [True],
            truncations=[False] * steps,
            infos={"success": [True] * (steps + 1)},
        )
        for steps in (3, 2)
    ]
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    space = spaces.Dict({"arm": spaces.Box(0, 1, (1,), np.float32), "goal": spaces.Box(0, 1, (2,), np.float32)})
    with warnings.catch_warnings(action="ignore"):
        minari.create_dataset_from_buffers(
            "line-v0",
            buffers,
            observation_space=space,
            action_space=spaces.Box(-1, 1, (2,), np.float32),
            data_format=backend,
            algorithm_name="by hand",
        )
    for path in (folder / "line-v0" / "data").iterdir():
        shutil.move(path, folder / path.name)
    shutil.rmtree(folder / "line-v0")
    for path in folder.glob("namespace*"):
        path.unlink()


# --- Targets ---


def _target(name: str, make: Callable[[Path], None], door: Callable[[Path], Any], *mutations: Any) -> Target:
    modules = ("replay.ingest", "h5py", "pyarrow.parquet", "PIL.Image", "replay.readers.minari", "minari")
    return Target(name, make, (*mutations, *mutations, in_folder()), door, modules=modules)


_SHARDS = "shards/*.arrow"

TARGETS = [
    _target("npz", make_npz, ingested("ogbench", "log.npz"), in_npz("*.npz"), in_files("*.npz"), numbers_in("*.npz")),
    _target("npz.stored", make_stored_npz, ingested("ogbench", "log.npz"), in_files("*.npz"), numbers_in("*.npz")),
    _target(
        "hdf5", make_d4rl, ingested("hdf5", "log.hdf5"), in_hdf5("*.hdf5"), in_files("*.hdf5"), numbers_in("*.hdf5")
    ),
    _target(
        "robomimic",
        make_robomimic,
        ingested("hdf5", "log.hdf5"),
        in_hdf5("*.hdf5"),
        in_files("*.hdf5"),
        numbers_in("*.hdf5"),
    ),
    _target(
        "parquet",
        make_parquet,
        ingested("parquet", "*.parquet"),
        in_parquet("*.parquet"),
        in_files("*.parquet"),
        numbers_in("*.parquet"),
    ),
    _target(
        "parquet.pictures",
        make_pictures_parquet,
        ingested("parquet", "*.parquet"),
        in_parquet("*.parquet"),
        in_files("*.parquet"),
        numbers_in("*.parquet"),
    ),
    _target(
        "minari",
        make_minari,
        ingested("minari"),
        in_hdf5("*.hdf5"),
        in_files("*.hdf5"),
        numbers_in("*.hdf5"),
        in_json("metadata.json"),
    ),
    _target(
        "minari.arrow",
        make_minari_arrow,
        ingested("minari"),
        in_arrow("*/*.arrow"),
        in_files("*.arrow"),
        numbers_in("*/*.arrow"),
        in_json("metadata.json"),
    ),
    _target(
        "folder",
        datasets.make_pictures,
        ingested(""),
        in_files(_SHARDS, seals.shards),
        in_arrow(_SHARDS, seals.shards),
        in_json("dataset.json"),
        in_files("episodes.arrow", seals.tables),
    ),
]
