"""Pictures that come encoded are decoded once, where they come in: what cannot be decoded is named, or left out."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture

import replay
from replay import Box, DataError, Image, Spaces, images
from replay.ingest import ingest

SHAPE = (12, 10, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def saved(picture: Picture.Image, encoding: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, encoding)
    return buffer.getvalue()


def whole(encoding: str = "png") -> bytes:
    return images.encode(PIXELS, Image(SHAPE, encoding))


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be so large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


DAMAGE = {
    "cut png": (whole()[:-60], "png", r"not a picture"),
    "cut jpeg": (whole("jpeg")[:-200], "jpeg", r"not a picture"),
    "no pixels": (whole()[:60], "png", r"not a picture"),
    "a flipped bit of the pixels": (flipped(whole(), 200), "png", r"not a picture"),
    "a flipped bit of a checksum": (flipped(whole(), len(whole()) - 14), "png", r"not a picture"),
    "text": (b"no picture", "png", r"not a picture"),
    "nothing": (b"", "png", r"not a picture"),
    "gif": (saved(Picture.fromarray(PIXELS), "GIF"), "png", r"not a picture"),
    "another size": (images.encode(PIXELS[:4], Image((4, 10, 3))), "png", r"found a png picture \(4, 10, 3\)"),
    "a palette": (saved(Picture.fromarray(PIXELS).convert("P")), "png", r"found a png picture \(12, 10, 1\)"),
    "a bomb": (bomb(30_000, 30_000), "png", r"not a picture \(Image size .* exceeds limit"),
    "half a bomb": (bomb(12_000, 8_000), "png", r"not a picture \(Image size .* exceeds limit"),
    "a claim": (bomb(5_000, 5_000), "png", r"found a png picture \(5000, 5000, 3\)"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_picture_is_refused_before_it_is_stored(name: str, write: Any, episode: Any) -> None:
    data, encoding, message = DAMAGE[name]
    spaces = Spaces(Image(SHAPE, encoding), Box((2,)))
    good = whole(encoding)
    with pytest.raises(DataError, match=rf"episode 1 .*, observation, step 2: {message}"):
        write([episode(n, 3, observation=[good, good, data if n else good, good]) for n in (0, 1)], spaces=spaces)


@pytest.mark.parametrize(("mode", "shape"), [("P", (12, 10, 1)), ("CMYK", (12, 10, 4)), ("YCbCr", (12, 10, 3))])
def test_bands_that_mean_something_else_are_refused(mode: str, shape: tuple[int, ...]) -> None:
    """A palette's numbers are no shades of grey, and CMYK is not RGB with transparency."""
    encoding = "PNG" if mode == "P" else "JPEG"
    data = saved(Picture.fromarray(PIXELS).convert(mode), encoding)
    if mode == "YCbCr":  # what every JPEG holds, and Pillow converts
        images.check(data, Image(shape, "jpeg"), "here")
        return
    with pytest.raises(DataError, match=rf"here: found a picture of mode {mode}, expected (L|RGBA)"):
        images.check(data, Image(shape, encoding.lower()), "here")


def test_a_claim_is_refused_where_pictures_are_decoded_too() -> None:
    for data in (bomb(30_000, 30_000), bomb(5_000, 5_000), saved(Picture.fromarray(PIXELS), "GIF")):
        with pytest.raises(DataError, match=r"here: (not|found) a picture"):
            images.decode(data, SHAPE, "here")


def log(path: Path, pictures: list[bytes]) -> str:
    table = {
        "observation.eye": pictures,
        "action": [[0.0]] * 6,
        "terminated": [False, False, True] * 2,
        "episode_index": [0, 0, 0, 1, 1, 1],
    }
    pq.write_table(pa.table(table), path)
    return f"parquet:{path}"


def test_ingest_names_the_step_or_leaves_the_episode_out(tmp_path: Path) -> None:
    source = log(tmp_path / "log.parquet", [*[whole()] * 4, whole()[:-60], whole()])
    message = r"log.parquet: episode 1 \(rows 3 to 5\), observation.eye, step 1: not a picture"
    with pytest.raises(DataError, match=message):
        ingest(source, tmp_path / "out")
    report = ingest(source, tmp_path / "out", quarantine=True)
    assert (report.episodes, report.counts.quarantined) == (1, 1)
    assert replay.open(tmp_path / "out", verify=True).sample(seed=0, sequence=0, count=4).observation["eye"].any()


def test_each_picture_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, episode: Any
) -> None:
    decoded = []
    check = images.check

    def counting(data: bytes, space: Image, where: str) -> None:
        decoded.append(where)
        check(data, space, where)

    monkeypatch.setattr(images, "check", counting)
    source = log(tmp_path / "log.parquet", [whole()] * 6)
    for name, quarantine in (("a", False), ("b", True)):
        decoded.clear()
        ingest(source, tmp_path / name, quarantine=quarantine)
        assert len(set(decoded)) == len(decoded) == 8
    decoded.clear()
    pixels = np.zeros((4, *SHAPE), np.uint16)  # of a type that bytes can hold
    data = write([episode(0, 3, observation=pixels)], spaces=Spaces(Image(SHAPE), Box((2,))))
    assert decoded == []
    assert not data.sample(seed=0, sequence=0, count=4).observation.any()


def test_the_first_picture_of_a_log_cannot_ask_for_a_world_of_memory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log.parquet, observation.eye: not a picture \(Image size"):
        ingest(log(tmp_path / "log.parquet", [bomb(12_000, 8_000)] * 6), tmp_path / "out")
