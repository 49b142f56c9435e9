"""Pictures: encoded on disk, decoded where they are sampled. Pillow is imported when the first one is met."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.spaces import Image

_QUALITY = 95
"""Of JPEG, which loses detail; PNG, the default, does not."""
_FORMATS = ("PNG", "JPEG")
"""The only decoders that bytes from outside may reach: Pillow has others that start programs."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""By channels. Other modes have as many bands and mean something else: palettes, CMYK."""


def encode(pixels: np.ndarray, space: Image) -> bytes:
    """`pixels`: (H, W, C) uint8, C of 1, 3 or 4. Raises `DataError` for another shape, dtype or encoding."""
    pillow = _pillow()
    if pixels.shape != space.shape or pixels.dtype != np.uint8 or len(space.shape) != 3:
        raise DataError(f"picture: found {pixels.shape} {pixels.dtype}, expected {space.shape} uint8 (H, W, C).")
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    target = io.BytesIO()
    try:
        if space.encoding == "png":
            pillow.fromarray(flat).save(target, "PNG", compress_level=3)
        elif space.encoding == "jpeg":
            pillow.fromarray(flat).save(target, "JPEG", quality=_QUALITY)
        else:
            raise DataError(f"picture: encoding {space.encoding!r}, expected png or jpeg.")
    except (OSError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"picture: {space.shape} cannot be kept as {space.encoding} ({error}).") from error
    return target.getvalue()


def decode(data: bytes | memoryview, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The pixels, (H, W, C) uint8. Raises `DataError`, naming `where`, for what is not a picture of that shape:
    before anything is decoded where the header says so."""
    with _refusing(where, "restore the file from a copy or ingest again"), _opened(data) as picture:
        found = _shape(picture)
        if found != shape:
            raise DataError(f"{where}: found a picture {found} uint8, expected {shape} uint8.")
        pixels = np.asarray(picture)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise DataError(f"{where}: found a picture {pixels.shape} {pixels.dtype}, expected {shape} uint8.")
    return pixels


def library() -> str:
    """What decodes, and its version. Raises `DataError` where it is not installed."""
    pillow = _pillow()
    from PIL import features

    # JPEG's pixels are the business of a library of its own; PNG's leave no choice.
    return f"pillow {pillow.__version__}, libjpeg {features.version('jpg') or 'none'}"


def look(data: bytes, where: str) -> Image:
    """The space that the header of a PNG or a JPEG declares. Raises `DataError`, naming `where`, for anything else."""
    remedy = "convert it to PNG or JPEG, or leave the column out"
    with _refusing(where, remedy), _not_too_large(), _opened(data) as picture:
        return Image(_shape(picture), str(picture.format).lower())


def check(data: bytes, space: Image, where: str) -> None:
    """Whether encoded bytes are a whole picture of the space: decoded once, to the last pixel, and not at all where
    the header already says otherwise. Raises `DataError`, naming `where`."""
    with _refusing(where, "repair or leave out this episode"), _not_too_large():
        with _opened(data) as picture:
            found, kind, mode = _shape(picture), str(picture.format).lower(), picture.mode
            if found != space.shape or kind != space.encoding:
                raise DataError(
                    f"{where}: found a {kind} picture {found}, the dataset's space is {space.encoding} {space.shape}; "
                    "convert it before ingesting."
                )
            if mode != _MODES.get(space.shape[-1]):
                raise DataError(
                    f"{where}: found a picture of mode {mode}, expected {_MODES.get(space.shape[-1])}; convert it "
                    "before ingesting."
                )
            picture.load()
        if kind == "png":
            # Decoding does not look at the checksums of its pixels.
            with _opened(data) as picture:
                picture.verify()


def _shape(picture: Any) -> tuple[int, int, int]:
    return (picture.height, picture.width, len(picture.getbands()))


@contextlib.contextmanager
def _opened(data: bytes | memoryview) -> Iterator[Any]:
    """A picture of which the header was read."""
    with _pillow().open(io.BytesIO(data), formats=_FORMATS) as picture:
        # Of several, the decoder of JPEG gives the first and calls it something else.
        if picture.format not in _FORMATS or getattr(picture, "n_frames", 1) != 1:
            raise ValueError("it is several pictures in one file")
        yield picture


@contextlib.contextmanager
def _not_too_large() -> Iterator[None]:
    """Of more pixels than it should decode Pillow only warns, up to twice as many. Not for several threads at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", _pillow().DecompressionBombWarning)
        yield


@contextlib.contextmanager
def _refusing(where: str, remedy: str) -> Iterator[None]:
    """Decoders raise whatever they stumble over."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{where}: not a picture ({error}); {remedy}.") from error


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError as error:
        raise DataError("this dataset holds pictures, which need pillow: pip install pillow.") from error
    return PIL.Image
