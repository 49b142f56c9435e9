"""Text of others as text: nothing in it steers a terminal, or hides what is written."""

from __future__ import annotations

import unicodedata
from typing import Any

_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters (ESC among them), of invisible ones such as those that turn the direction
of writing, of halves of characters, which no file can hold, and of separators of lines and paragraphs."""
_JOINERS = "\u200c\u200d"
"""Invisible ones that scripts and emoji are written with; they change no other character."""


def plain_text(value: Any, keep: str = "\n\t") -> str:
    """`value` as text, each character that a terminal or a browser might obey written as Python would: `\\x1b`.

    Line ends and tabs stay, unless `keep` says otherwise.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character, keep) for character in text)


def _visible(character: str, keep: str) -> str:
    if character in keep or character in _JOINERS or unicodedata.category(character) not in _ESCAPED:
        return character
    code = ord(character)
    if code <= 0xFF:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
