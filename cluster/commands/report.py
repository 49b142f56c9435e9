"""`quiver report`: a run on one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cluster.commands import options as shared
from cluster.commands.output import print_lines
from cluster.settings import PATH, CheckedSettings


@dataclass(frozen=True)
class Report(CheckedSettings):
    """Write a run's curves and facts as one HTML page, report.html in its folder, that needs nothing else."""

    positional = "run"

    run: tyro.conf.Positional[Annotated[str, PATH, tyro.conf.arg(metavar="RUN")]]
    """The run's folder, finished or not."""
    open: bool = False
    """Show the page in the browser."""


def parse(arguments: Sequence[str]) -> Report:
    return shared.parse(Report, "report", arguments)


def run(options: Report) -> None:
    from cluster.report.page import write_report

    path = write_report(Path(options.run))
    print_lines(path)
    if options.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
