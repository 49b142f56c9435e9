"""What the benchmarks share: the machine's line, made-up logs, interleaved rounds, tables and JSON.

Machines differ and drift, so that only ratios between programs run in turns, in the same minutes, are worth
keeping: contestants take their rounds A B A B, and each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import replay
from replay import Box, Dataset, DatasetWriter, Episode, Spaces

OBSERVATION, ACTION = 17, 6
"""Sizes of a two-legged walker's, which the field measures with."""

SPACES = Spaces(Box((OBSERVATION,)), Box((ACTION,), low=(-1.0,), high=(1.0,)))
EPISODE = 1000


# --- The program ---


def parser(text: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has. `text` is the module's docstring."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="store the figures there, too")
    made.add_argument("--data", type=Path, metavar="DIR", help="make the data there and keep it")
    return made


@contextlib.contextmanager
def data_folder(kept: Path | None) -> Iterator[Path]:
    """The folder to make data in: a temporary one, or `kept`."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="quiver-bench-") as folder:
        yield Path(folder)


def needs(*modules: str) -> None:
    """Ends the program with a remedy where a peer is not installed."""
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{sys.argv[0]}: {', '.join(missing)} not installed here; `make bench` makes an environment that has.")


def quiet() -> None:
    """Ends warnings and log lines, of Ray and the peers, that would stand between the lines of a table."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.disable(logging.WARNING)


def start_ray(*, cpus: int) -> None:
    """Ray on this machine, for all contestants alike. `cpus` is what it books; who computes is up to the kernel."""
    import ray

    quiet()
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


# --- The machine ---


def machine() -> dict[str, Any]:
    """Where the figures were taken, and how busy it was with other things."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions(*more: str) -> dict[str, str]:
    """Of Python, of what scores in simulators depend on, and of `more` packages."""
    names = ("torch", "numpy", "gymnasium", "mujoco", *more)
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def machine_line(found: Mapping[str, Any]) -> str:
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory_gb']} GB; Python {found['python']}, "
        f"torch {found['torch']}, numpy {found['numpy']}, {found['threads']} thread(s); "
        f"load {found['load']} at the start; {found['date']}"
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# --- Data ---


def episodes(rows: int, *, seed: int = 0, length: int = EPISODE) -> Iterator[Episode]:
    """Made-up logs of `rows` transitions: every third episode terminates, the others are truncated; rewards lie in
    [0, 1]. The same numbers every time."""
    for number, start in enumerate(range(0, rows, length)):
        rng = np.random.default_rng((seed, number))
        steps = min(length, rows - start)
        ends = np.zeros((2, steps), np.uint8)
        ends[number % 3 != 0, -1] = 1
        yield Episode(
            observation=rng.standard_normal((steps + 1, OBSERVATION), np.float32),
            action=rng.uniform(-1.0, 1.0, (steps, ACTION)).astype(np.float32),
            reward=rng.random(steps, np.float32),
            terminated=ends[0],
            truncated=ends[1],
        )


def make_dataset(path: Path, rows: int, *, seed: int = 0, validation: float = 0.0) -> Dataset:
    """Those logs as a dataset, made once."""
    if path.exists():
        return replay.open(path)
    writer = DatasetWriter(
        path,
        SPACES,
        provenance={"source": "made up for a benchmark"},
        expected_rows=rows + rows // EPISODE,
        validation_fraction=validation,
    )
    with writer:
        for episode in episodes(rows, seed=seed):
            writer.add(episode)
    return replay.open(path)


# --- Measuring ---


def rate(call: Callable[[], Any], count: int, seconds: float) -> float:
    """`count` per call, over as many calls as fit into `seconds`: items per second."""
    clock = time.perf_counter
    began = clock()
    end = began + seconds
    calls = 0
    while clock() < end:
        call()
        calls += 1
    return calls * count / (clock() - began)


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The figure of each contestant in each round; they take turns."""
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            figures[name].append(contestant())
    return figures


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def summary(values: Sequence[float]) -> dict[str, Any]:
    """What is stored of a figure's rounds."""
    return {"median": median(values), "least": min(values), "most": max(values), "rounds": list(values)}


# --- Showing ---


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Columns under their heads; all but the first to the right."""
    widths = [max(len(str(line[column])) for line in [head, *lines]) for column in range(len(head))]
    for number, line in enumerate([head, *lines]):
        cells = [
            str(cell).rjust(width) if i else str(cell).ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)
        if number == 0:
            print("  ".join("-" * width for width in widths), flush=True)


def verdict(claim: str, held: bool) -> str:
    print(f"{'holds' if held else 'DOES NOT HOLD'}: {claim}", flush=True)
    return claim


def store(path: Path | None, claim: str, found: Mapping[str, Any], options: argparse.Namespace, figures: Any) -> None:
    """Write the figures with all that is needed to read them."""
    if path is None:
        return
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    settings = {name: value for name, value in settings.items() if name not in ("json", "data")}
    record = {"claim": claim, "machine": dict(found), "settings": settings, "figures": figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"stored in {path}")


def millions(value: float) -> str:
    return f"{value / 1e6:.2f}M"
