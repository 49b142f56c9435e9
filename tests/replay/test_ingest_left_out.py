"""Pictures that come channels first are turned, and what is not ingested is named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import replay
from replay.errors import DataError
from replay.ingest import ingest
from tests.replay import logs

CHW = np.random.default_rng(0).integers(0, 256, (6, 3, 40, 36), np.uint8)


@pytest.mark.parametrize("scheme", ["npz", "hdf5", "robomimic", "parquet"])
def test_pictures_that_come_channels_first_are_turned(tmp_path: Path, scheme: str) -> None:
    make = {
        "npz": lambda: logs.npz(tmp_path, observations=CHW),
        "hdf5": lambda: logs.hdf5(tmp_path, observations=CHW, next_observations=CHW),
        "robomimic": lambda: logs.robomimic(tmp_path, obs__x=CHW[:3], next_obs__x=CHW[:3]),
        "parquet": lambda: logs.parquet(
            tmp_path,
            observation=pa.FixedShapeTensorArray.from_numpy_ndarray(CHW),
            next_observation=pa.FixedShapeTensorArray.from_numpy_ndarray(CHW),
        ),
    }[scheme]
    report = ingest(make(), tmp_path / "out", observation="x" if scheme == "robomimic" else None)
    assert any("pictures come channels first, (3, 40, 36); kept as (40, 36, 3)" in note for note in report.notes)
    dataset = replay.open(tmp_path / "out")
    assert dataset.spaces.observation == replay.Image((40, 36, 3))
    batch = dataset.sample(seed=0, sequence=0, count=8, split=None)
    pictures = {bytes(picture.transpose(2, 0, 1).tobytes()) for picture in batch.observation}
    assert pictures <= {picture.tobytes() for picture in CHW}


def test_pictures_of_which_nobody_knows_where_the_channels_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"observations: found rows of shape \(3, 64, 3\), which may be pictures with"):
        ingest(logs.npz(tmp_path, observations=np.zeros((6, 3, 64, 3), np.uint8)), tmp_path / "out")
    # Small ones are grids of symbols, and stay vectors.
    ingest(logs.npz(tmp_path, observations=np.zeros((6, 3, 7, 7), np.uint8)), tmp_path / "out")
    assert replay.open(tmp_path / "out").spaces.observation == replay.Box((3, 7, 7), "uint8")


def test_what_is_left_out_is_named_cameras_first(tmp_path: Path) -> None:
    camera = np.zeros((6, 64, 64, 3), np.uint8)
    notes = ingest(logs.hdf5(tmp_path, eye=camera, **{"info/force": np.zeros(6)}), tmp_path / "a").notes
    assert "not ingested, and pictures it seems: eye; give a name with --rename to keep one" in notes
    assert "not ingested: info/force; give a name with --rename to keep one" in notes
    notes = ingest(logs.parquet(tmp_path, wrist=[b"picture"] * 6, force=[0.0] * 6), tmp_path / "b").notes
    assert "not ingested, and pictures it seems: wrist; give a name with --rename to keep one" in notes
    notes = ingest(logs.npz(tmp_path, qpos=np.zeros((6, 2))), tmp_path / "c").notes
    assert any(note.startswith("not ingested: qpos;") for note in notes)
    notes = ingest(logs.robomimic(tmp_path, states=np.zeros((3, 9))), tmp_path / "d").notes
    assert any(note.startswith("not ingested: states;") for note in notes)


def test_a_part_that_is_not_wanted_is_not_judged(tmp_path: Path) -> None:
    changes = {"observation": None, "observation.x": [[0.0]] * 6, "observation.words": ["go"] * 6}
    source = logs.parquet(tmp_path, **changes)
    with pytest.raises(DataError, match=r"observation.words: holds text"):
        ingest(source, tmp_path / "out")
    ingest(source, tmp_path / "out", observation="x")
    assert replay.open(tmp_path / "out").spaces.observation == replay.Box((1,))
    with pytest.raises(DataError, match=r"observations have no key 'y'; found x"):
        ingest(logs.robomimic(tmp_path), tmp_path / "again", observation="y")


def test_the_videos_of_lerobot_are_named(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "data" / "chunk-000").mkdir(parents=True)
    features = {"observation.images.top": {"dtype": "video"}, "action": {"dtype": "float32"}}
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"features": features}))
    notes = ingest(logs.parquet(tmp_path / "data" / "chunk-000"), tmp_path / "out").notes
    assert "not ingested, as they are videos beside the tables: observation.images.top" in notes


@pytest.mark.parametrize("kind", ["PNG", "MPO"])
def test_files_of_several_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    target = io.BytesIO()
    first, second = (Image.fromarray(picture.transpose(1, 2, 0)) for picture in CHW[:2])
    first.save(target, kind, save_all=True, append_images=[second])
    with pytest.raises(DataError, match=r"log.parquet, observation: not a picture \(it is several pictures"):
        ingest(logs.parquet(tmp_path, observation=[target.getvalue()] * 6), tmp_path / "out")
