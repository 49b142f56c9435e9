"""Pictures: encoded on disk, decoded where they are sampled. Pillow is imported when the first one is met."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from replay.errors import DataError
from replay.spaces import Image

_QUALITY = 95
"""Of JPEG, which loses detail; PNG, the default, does not."""


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
    """The pixels, (H, W, C) uint8. Raises `DataError`, naming `where`, for what is not a picture of that shape."""
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(data)) as picture:
            pixels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{where}: not a picture ({error}); restore the file from a copy or ingest again.") from error
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise DataError(f"{where}: found a picture {pixels.shape} {pixels.dtype}, expected {shape} uint8.")
    return pixels


def check(data: bytes, space: Image, where: str) -> None:
    """Whether encoded bytes are a picture of the space, from their header alone. Raises `DataError`."""
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(data)) as picture:
            found = (picture.height, picture.width, len(picture.getbands()))
            kind = str(picture.format).lower()
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{where}: not a picture ({error}); repair or leave out this episode.") from error
    if found != space.shape or kind != space.encoding:
        raise DataError(
            f"{where}: found a {kind} picture {found}, the dataset's space is {space.encoding} {space.shape}; "
            f"convert it before ingesting."
        )


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError as error:
        raise DataError("this dataset holds pictures, which need pillow: pip install pillow.") from error
    return PIL.Image
