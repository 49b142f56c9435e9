"""A report's page, read back: its sections, and in each the charts with their points, the tables and the sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "line", "polyline", "polygon"})

Points = list[tuple[int, float]]
"""(step, value) of a curve's marks."""


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    content: list[Element | str] = field(default_factory=list)

    def within(self, *tags: str) -> Iterator[Element]:
        """The elements of these tags below this one, in the page's order."""
        for part in self.content:
            if isinstance(part, Element):
                if part.tag in tags:
                    yield part
                yield from part.within(*tags)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.content).strip()


class Page(HTMLParser):
    """Fails for a tag that does not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.elements: list[Element] = []
        self.feed(html)
        assert self.open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)

    def count(self, tag: str) -> int:
        return sum(element.tag == tag for element in self.elements)

    @property
    def title(self) -> str:
        [heading] = self.root.within("h1")
        return heading.text

    @property
    def state(self) -> str:
        """The line below the title: which run, and how far."""
        [header] = self.root.within("header")
        [line] = header.within("p")
        return line.text

    @property
    def headline(self) -> dict[str, str]:
        """The figures at the top, by their names."""
        [tiles] = (section for section in self.root.within("section") if section.attributes.get("class") == "tiles")
        return {_only(tile, "span"): _only(tile, "b") for tile in tiles.within("div")}

    @property
    def sections(self) -> dict[str, Element]:
        found = {}
        for section in self.root.within("section"):
            for heading in section.within("h2"):
                found[heading.text] = section
        return found

    def charts(self, section: str) -> dict[str, dict[str, Points]]:
        """By a chart's title and a curve's name, the points that have a mark, as their tooltips tell them."""
        found: dict[str, dict[str, Points]] = {}
        for figure in self.sections[section].within("figure"):
            curves: dict[str, Points] = {}
            for legend in (span for span in figure.within("span")):
                curves[legend.text] = []
            for mark in figure.within("circle"):
                told = re.fullmatch(r"(.*): (\S+) at step ([\d,]+)", mark.text)
                assert told is not None, mark.text
                curves[told[1]].append((int(told[3].replace(",", "")), float(told[2])))
            found[_only(figure, "figcaption")] = curves
        return found

    def tables(self, section: str) -> list[list[list[str]]]:
        """Each table's rows, its head first where it has one."""
        return [
            [[cell.text for cell in row.within("th", "td")] for row in table.within("tr")]
            for table in self.sections[section].within("table")
        ]

    def sentences(self, section: str) -> list[str]:
        return [paragraph.text for paragraph in self.sections[section].within("p")]

    def commands(self) -> list[str]:
        return _only(self.sections["Do it again"], "pre").splitlines()


def _only(element: Element, tag: str) -> str:
    [found] = element.within(tag)
    return found.text
