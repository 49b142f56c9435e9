"""What commands print: one JSON object for programs, lines and tables for people, progress on standard error.

Data sets and runs come from others. What they say is printed as text (`plain_text`), on consoles that read no markup.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.plain_text import plain_text

__all__ = ["error_console", "plain_text", "print_json", "print_lines", "progress", "table_console"]

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def print_lines(*lines: Any) -> None:
    """Each on a line of its own of standard output, with no control character in it."""
    print("\n".join(plain_text(line, keep="") for line in lines))


def table_console() -> Console:
    """Standard output, for tables and styles; text in it is neither markup nor the name of an emoji."""
    return Console(markup=False, emoji=False, highlight=False)


def error_console() -> Console:
    """Likewise standard error, for how work goes on; it breaks no lines."""
    return Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)


def print_json(record: dict[str, Any]) -> None:
    """One object on standard output. NaN, which JSON has not, becomes null; characters that a terminal might obey are
    escaped as JSON has it."""
    text = json.dumps(_plain(record), indent=1, ensure_ascii=False, allow_nan=False)
    print(_BEYOND_ASCII.sub(_escaped, text), file=sys.stdout)


def _escaped(found: re.Match[str]) -> str:
    """In JSON, all beyond ASCII stands in strings."""
    character = found.group()
    return character if plain_text(character) == character else json.dumps(character)[1:-1]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with what is done and what there is, which draws a bar where somebody looks."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(plain_text(what, keep=""), style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
