"""Changes of text that people write: expressions, and the words of a command line, one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.fuzz.target import Mutation

NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "10" * 40,
    "9" * 5000,
    "0x10",
    "1_000",
    "²",
    "٣",
    "",
    " ",
    "True",
)
TEXT = (
    "text",
    "None",
    "../../x",
    "/dev/zero",
    "\u202e",
    "[/b]",
    "{",
    '{"a": 1}',
    "[]",
    "a=b",
    "=",
    "x" * 10_000,
    "'",
    '"',
    "\\",
)


def in_lines(name: str, more: Sequence[str] = ()) -> Mutation:
    """Replaces, removes, repeats, inserts or exchanges lines of a file; new ones are `more`, numbers or text."""

    def mutate(folder: Path, random: Random) -> str:
        path = folder / name
        words = path.read_text().splitlines()
        done = [_change(words, (*more, *more, *NUMBERS, *TEXT), random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        path.write_text("".join(f"{word}\n" for word in words), errors="surrogateescape")
        return f"{name}: {', '.join(done)}"

    return mutate


def in_expression(name: str, more: Sequence[str]) -> Mutation:
    """The same of an expression, whose words blanks divide; and absurd depth and length."""
    deep: tuple[Callable[[str], str], ...] = (
        lambda text: "(" * 500 + text + ")" * 500,
        lambda text: "(" * 100_000 + text,
        lambda text: "not " * 20_000 + text,
        lambda text: "-" * 50_000 + "1 < 2",
        lambda text: " and ".join([text] * 3_000),
        lambda text: f"{text} or " * 1_000 + text,
        lambda text: "[" * 200 + "1" + "]" * 200 + " == return",
        lambda text: " < ".join(["return"] * 5_000),
        lambda text: f"return < {'9' * 5000}",
        lambda text: "success in (" + "1, " * 50_000 + ")",
        lambda text: "1" + "+1" * 30_000,
    )

    def mutate(folder: Path, random: Random) -> str:
        path = folder / name
        text = path.read_text().strip()
        if random.random() < 0.2:
            text = random.choice(deep)(text)
            done = f"{text[:60]}…"
        else:
            words = text.split(" ")
            times = random.choice((1, 1, 2, 3, 6))
            done = ", ".join(_change(words, (*more, *more, *NUMBERS[:12], *TEXT), random) for _ in range(times))
            text = " ".join(words)
        path.write_text(text, errors="surrogateescape")
        return f"{name}: {done}"

    return mutate


def _change(words: list[str], more: Sequence[str], random: Random) -> str:
    position = random.randrange(len(words)) if words else 0
    way = random.choice(("replace", "replace", "replace", "insert", "remove", "repeat", "exchange"))
    new = random.choice(more)
    if way == "insert" or not words:
        words.insert(position, new)
        return f"{new[:40]!r} before word {position}"
    old = words[position]
    if way == "replace":
        words[position] = new
        return f"{old[:40]!r} becomes {new[:40]!r}"
    if way == "remove":
        del words[position]
        return f"{old[:40]!r} is removed"
    if way == "repeat":
        words.insert(position, old)
        return f"{old[:40]!r} is there twice"
    other = random.randrange(len(words))
    words[position], words[other] = words[other], old
    return f"words {position} and {other} are exchanged"
