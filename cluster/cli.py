"""`quiver`: finds the command, and turns what can go wrong into one line.

Commands are imported when they are called, so that `quiver --help` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from cluster.errors import RunError
from cluster.plain_text import plain_text
from cluster.signals import EndingSignals


@dataclass(frozen=True)
class Command:
    module: str
    does: str
    usage: str


COMMANDS = {
    "ingest": Command("cluster.commands.ingest", "make a dataset from logs in another format", "SOURCE --out DATASET"),
    "inspect": Command("cluster.commands.inspect", "show what is in a dataset, and check it", "DATASET [--verify]"),
    "collect": Command(
        "cluster.commands.collect",
        "record episodes of a random, scripted or trained policy",
        "--env ENV --policy random|scripted|RUN --episodes N --out DATASET",
    ),
    "train": Command(
        "cluster.commands.train",
        "train a policy on datasets, in one process or on a Ray cluster",
        "--dataset DATASET --algo NAME --run RUN --steps N",
    ),
    "finetune": Command(
        "cluster.commands.finetune",
        "go on with an offline policy in an environment, on logs and fresh data",
        "--from RUN --env ENV --run RUN2 --env-steps N",
    ),
    "evaluate": Command(
        "cluster.commands.evaluate", "score a trained policy in an environment", "RUN --env ENV --episodes N"
    ),
    "report": Command("cluster.commands.report", "write a run's curves and facts as one HTML page", "RUN"),
}

_EXPECTED = (("replay.errors", "DataError"), ("learners.errors", "LearnerError"), ("envs.errors", "EnvError"))
_MISUSED = 2
_FORMAT_WARNING = warnings.formatwarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0; 2 for what can be put right; 130 after Ctrl-C, 143 after SIGTERM, 129
    after SIGHUP."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if arguments else _MISUSED
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("quiver-rl"))
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}."
        return complain(f"quiver {name}: no such command; {hint}")
    say_as_text()
    status = guarded(lambda: call(COMMANDS[name].module, rest), name)
    end_if_ray_does_not(status)
    return status


def call(module: str, arguments: Sequence[str]) -> int:
    """Parse the options of a command, and run it."""
    command = importlib.import_module(module)
    options = command.parse(arguments)
    if getattr(options, "json", False):
        # Whatever a library prints must not end up beside the one object.
        with contextlib.redirect_stdout(sys.stderr):
            record = command.run(options)
        from cluster.commands.output import print_json

        print_json(record)
    else:
        command.run(options)
    return 0


def guarded(work: Callable[[], int], name: str) -> int:
    """`work`'s exit code, or that of what stopped it. QUIVER_TRACEBACK=1 lets everything through."""
    with EndingSignals() as signals:
        try:
            return work()
        except KeyboardInterrupt as interruption:
            return interrupted(name, signals, *interruption.args)
        except BrokenPipeError:
            if signals.received is not None:
                return interrupted(name, signals)
            # `quiver inspect … | head`: whoever reads has seen enough. What is left must not be flushed into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            if os.environ.get("QUIVER_TRACEBACK") == "1":
                raise
            if signals.received is not None:
                # Whatever failed while the command cleaned up after the signal.
                return interrupted(name, signals)
            if not isinstance(error, expected()):
                raise
            return complain(message(error))


def end_if_ray_does_not(status: int) -> None:
    """End the process here where Ray was lost: on its own way out, Ray would wait for what is gone, or crash."""
    backend = sys.modules.get("cluster.backends.ray_backend")
    if backend is not None and backend.RayBackend.abandoned:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def interrupted(name: str, signals: EndingSignals, *told: object) -> int:
    """Say that a signal ended the command, and how to go on. The terminal may be gone with it."""
    with contextlib.suppress(OSError):
        line = f"\nquiver {name}: {signals.describe()}. {' '.join(map(str, told))}".rstrip()
        print(plain_text(line), file=sys.stderr)
    return signals.status


def expected() -> tuple[type[BaseException], ...]:
    """What is told without a traceback. An error whose module nobody has imported cannot have been raised."""
    found: list[type[BaseException]] = [RunError, OSError]
    for module, kind in _EXPECTED:
        if module in sys.modules:
            found.append(getattr(sys.modules[module], kind))
    return tuple(found)


def message(error: BaseException) -> str:
    """An error as one line (or one for each mistake), with the file where the system knows it."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, _ours()):
        where = f"{error.filename}: " if error.filename else ""
        import errno

        remedy = " Free some space, or name another place." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{where}{error.strerror}.{remedy}"
    return str(error) or repr(error)


def complain(text: str) -> int:
    """The red line on standard error."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    console.print(Text("error: ", "bold red") + Text(further_lines_aside(plain_text(text)), "red"))
    return _MISUSED


class _Notes(logging.Formatter):
    """`note: …`: a log line may quote data, so it is text and nothing else."""

    def format(self, record: logging.LogRecord) -> str:
        return further_lines_aside(plain_text(super().format(record)))


def further_lines_aside(text: str) -> str:
    """All lines but the first set in, so that a line end in a name cannot begin what looks like another message."""
    return text.replace("\n", "\n  ")


def say_as_text() -> None:
    """Log lines, warnings and tracebacks of this program, all of which may quote data, reach the terminal as text; what
    a terminal has no characters for is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    notes = logging.StreamHandler(sys.stderr)
    notes.setFormatter(_Notes("note: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[notes])
    warnings.formatwarning = _format_warning
    sys.excepthook = _show_traceback


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return plain_text(_FORMAT_WARNING(message, category, filename, lineno, line))


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(plain_text("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def overview() -> str:
    """What `quiver --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [
        "quiver: offline reinforcement learning from large robot logs",
        "",
        "usage: quiver COMMAND ...",
        "",
        *(f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items()),
        "",
        "in short:",
        *(f"  quiver {name} {command.usage}" for name, command in COMMANDS.items()),
        "",
        "`quiver COMMAND --help` tells its options; `quiver train --algo NAME --help` the algorithm's, too.",
    ]
    return "\n".join(lines)


def _ours() -> tuple[type[BaseException], ...]:
    return tuple(kind for kind in expected() if kind is not OSError)


if __name__ == "__main__":
    sys.exit(main())
