"""HTML and SVG from the files of `templates/`: every value that a template is given is escaped, so that data stay text.

What comes out is `Markup`, which later templates take as it is; nothing else makes `Markup`, but the style of the page.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cluster.plain_text import plain_text

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> Markup:
    """The template of this name with these values. Raises `jinja2.UndefinedError` for a value that it lacks."""
    return Markup(_environment().get_template(template).render(values))


def page(title: str, sections: Iterable[Markup]) -> str:
    """A page that holds all it needs, in the report's style; empty sections are left out.

    Its policy lets a browser use that one style, known by its hash, and nothing else: no script, from nowhere.
    """
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    found = [section for section in sections if section]
    return render("page.html", title=title, style=Markup(style), style_hash=digest, sections=found)


def section(title: str, parts: Sequence[Markup], empty: str = "") -> Markup:
    """A heading and what is below it, or the sentence `empty`; nothing at all where there is neither."""
    parts = [part for part in parts if part]
    return render("section.html", title=title, parts=parts, empty=empty) if parts or empty else Markup()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> Markup:
    """A table whose columns `numeric` are set to the right."""
    return render("table.html", heads=heads if any(heads) else (), rows=rows, numeric=numeric)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_text,
    )


def _text(value: Any) -> Any:
    return value if isinstance(value, Markup) else plain_text(value)
