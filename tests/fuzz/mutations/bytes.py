"""Changes of bytes, which know nothing of what they mean."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.target import Mutation, UnchangedError

_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LONG_NUMBERS = (*_NUMBERS, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 8)


def flip(data: bytearray, other: bytes, random: Random) -> str:
    count = random.choice((1, 1, 1, 2, 8, 64))
    for _ in range(count):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return f"{count} bits flipped"


def overwrite(data: bytearray, other: bytes, random: Random) -> str:
    start, length = _block(data, random)
    kind = random.choice(("zeros", "ones", "random bytes"))
    fill = {"zeros": b"\0" * length, "ones": b"\xff" * length, "random bytes": random.randbytes(length)}
    data[start : start + length] = fill[kind]
    return f"{length} bytes at {start} overwritten with {kind}"


def number(data: bytearray, other: bytes, random: Random) -> str:
    """A little-endian whole number, as headers hold lengths and offsets, becomes another one."""
    width = random.choice((1, 2, 4, 4, 8, 8))
    if len(data) < width:
        raise UnchangedError
    start = random.randrange(len(data) - width + 1)
    if random.random() < 0.8:
        start -= start % width
    old = int.from_bytes(data[start : start + width], "little")
    near = (old + 1, old - 1, old * 2, old + 8, -old, len(data), len(data) - start, len(data) + 1)
    new = random.choice((*near, *_LONG_NUMBERS)) % (1 << 8 * width)
    data[start : start + width] = new.to_bytes(width, "little")
    return f"{width} bytes at {start}: {old} becomes {new}"


def real(data: bytearray, other: bytes, random: Random) -> str:
    """A floating-point number becomes NaN, infinite, or huge."""
    code, width = random.choice((("<f", 4), ("<d", 8)))
    if len(data) < width:
        raise UnchangedError
    start = random.randrange(len(data) - width + 1) // width * width
    value = random.choice((float("nan"), float("inf"), float("-inf"), -0.0, 3e38, -1e-40))
    data[start : start + width] = struct.pack(code, value)
    return f"{width} bytes at {start} become {value}"


def truncate(data: bytearray, other: bytes, random: Random) -> str:
    length = random.choice((0, 1, random.randrange(len(data)), len(data) - 1, len(data) - random.randrange(1, 64)))
    del data[max(length, 0) :]
    return f"cut to {len(data)} bytes"


def extend(data: bytearray, other: bytes, random: Random) -> str:
    more = random.choice(
        (b"\0", b"\0" * 4096, b"\xff" * 17, bytes(data[:100]), bytes(data), b"\n", b"{}\n", other[:200])
    )
    data += more
    return f"{len(more)} bytes more"


def duplicate(data: bytearray, other: bytes, random: Random) -> str:
    start, length = _block(data, random)
    data[start:start] = data[start : start + length]
    return f"{length} bytes at {start} twice"


def remove(data: bytearray, other: bytes, random: Random) -> str:
    start, length = _block(data, random)
    del data[start : start + length]
    return f"{length} bytes at {start} removed"


def swap(data: bytearray, other: bytes, random: Random) -> str:
    start, length = _block(data, random)
    second = random.randrange(len(data) - length + 1)
    one, two = bytes(data[start : start + length]), bytes(data[second : second + length])
    data[start : start + length], data[second : second + length] = two, one
    return f"{length} bytes at {start} and {second} exchanged"


def splice(data: bytearray, other: bytes, random: Random) -> str:
    if not other:
        raise UnchangedError
    start, length = _block(data, random)
    begin = random.randrange(len(other))
    piece = other[begin : begin + length]
    data[start : start + len(piece)] = piece
    return f"{len(piece)} bytes at {start} from another file"


_WAYS: tuple[Callable[[bytearray, bytes, Random], str], ...] = (
    flip,
    flip,
    overwrite,
    overwrite,
    number,
    number,
    number,
    real,
    truncate,
    extend,
    duplicate,
    remove,
    swap,
    splice,
)


def mutated(content: bytes, other: bytes, random: Random) -> tuple[bytes, str]:
    """The content with one change, rarely a few; what was done. `other` is a file to take bytes from."""
    data, done = bytearray(content), []
    for _ in range(random.choice((1, 1, 1, 1, 2, 4))):
        if data:
            done.append(random.choice(_WAYS)(data, other, random))
    return bytes(data), ", ".join(done)


def numbers_in(pattern: str, finish: Callable[[Path], None] | None = None) -> Mutation:
    """Changes numbers alone, a few of them at once: lengths, offsets and counts in headers, mostly."""

    def mutate(folder: Path, random: Random) -> str:
        path = random.choice(sorted(folder.glob(pattern)))
        data = bytearray(path.read_bytes())
        done = [number(data, b"", random) for _ in range(random.choice((1, 2, 4, 8)))]
        path.write_bytes(data)
        if finish is not None:
            finish(folder)
        return f"{path.relative_to(folder)}: {', '.join(done)}"

    return mutate


def in_files(pattern: str, finish: Callable[[Path], None] | None = None) -> Mutation:
    """Changes the bytes of one of the files that match; then `finish` makes hashes right again."""

    def mutate(folder: Path, random: Random) -> str:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        matching = [path for path in files if path.match(pattern)]
        path = random.choice(matching)
        content, done = mutated(path.read_bytes(), random.choice(files).read_bytes(), random)
        path.write_bytes(content)
        if finish is not None:
            finish(folder)
        return f"{path.relative_to(folder)}: {done}"

    return mutate


def _block(data: bytearray, random: Random) -> tuple[int, int]:
    length = min(random.choice((1, 2, 4, 8, 16, 64, 512, 4096)), len(data))
    return random.randrange(len(data) - length + 1), length
