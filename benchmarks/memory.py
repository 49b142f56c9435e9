"""Data larger than memory: ingesting it, and training on it.

Claim: both work on a dataset three times larger than what the process may allocate. The limit is the kernel's
(RLIMIT_DATA: every private writable page, the interpreter's and PyTorch's among them), set on the commands themselves:
`quiver ingest` of a D4RL file, then `quiver train --serial`. A control shows that it bites: a process with the same
limit that reads the file's columns into memory, as loaders usually do, must fail.

Linux only. Shown besides: how much of the limit a training process takes before it has any data, and the most that
each command took, by the kernel's count (VmData) and in pages of its own that were really there (RssAnon).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _common as bench
import numpy as np

CLAIM = 3.0
BLOCK = 50_000
REFUSED = ("MemoryError", "Cannot allocate memory", "can't allocate memory")
"""How NumPy, the kernel and PyTorch say so."""
QUIVER = "import sys; from cluster.cli import main; sys.exit(main())"
IDLE = """
import numpy as np, cluster.train, learners
from replay import Batch, Box, Spaces
spaces = Spaces(Box((60,)), Box((8,), low=(-1.0,), high=(1.0,)))
one = np.ones(256, np.float32)
wide = np.ones((256, 60), np.float32)
flags = np.zeros(256, np.uint8)
learner = learners.create("iql", spaces)
learner.update(Batch(wide, wide[:, :8], one, one, wide, flags, flags, np.arange(256)))
"""
CONTROL = """
import sys, h5py
with h5py.File(sys.argv[1]) as file:
    columns = {name: file[name][()] for name in file}
"""


def main() -> int:
    options = _options()
    bench.needs("h5py", "rich", "tyro")
    found = bench.machine()
    print(bench.machine_line(found))
    limit = options.limit * 1_000_000
    with bench.data_folder(options.data) as folder:
        log, dataset, run = folder / "log.hdf5", folder / "dataset", folder / "run"
        write_log(log, int(CLAIM * limit * 1.02), options)
        train = ["train", "--dataset", dataset, "--algo", "iql", "--run", run, "--steps", options.steps, "--serial"]
        train += ["--device", "cpu"]
        results = {
            "a learner, without data": limited(["-c", IDLE], None),
            "reading all into memory": limited(["-c", CONTROL, log], limit),
            "quiver ingest": limited(["-c", QUIVER, "ingest", f"hdf5:{log}", "--out", dataset], limit),
            "quiver train --serial": limited(["-c", QUIVER, *train], limit),
        }
        size = sum(file.stat().st_size for file in (dataset / "shards").glob("*.arrow")) if dataset.exists() else 0
        print(
            f"limit {limit / 1e6:,.0f} MB, log {log.stat().st_size / 1e6:,.0f} MB, dataset {size / 1e6:,.0f} MB: "
            f"{size / limit:.2f} times the limit"
        )
    bench.table(
        ["process", "outcome", "seconds", "most RssAnon", "most VmData"],
        [
            [name, r.outcome, f"{r.seconds:.1f}", f"{r.rss_anon / 1e6:,.0f} MB", f"{r.vm_data / 1e6:,.0f} MB"]
            for name, r in results.items()
        ],
    )
    done = all(results[name].outcome == "done" for name in results if name != "reading all into memory")
    for name, result in results.items():
        if result.outcome == "failed":
            print(f"\n{name}:\n{result.message}")
    bites = results["reading all into memory"].outcome == "out of memory"
    claim = f"ingesting and training on a dataset {CLAIM:g} times larger than the memory the process may allocate works"
    held = done and bites and size >= CLAIM * limit
    bench.verdict(claim, held)
    figures = {
        "limit_bytes": limit,
        "dataset_bytes": size,
        # A traceback would carry paths of this machine.
        "processes": {
            name: asdict(r) | {"message": r.message[r.message.rstrip().rfind("\n") + 1 :]}
            for name, r in results.items()
        },
    }
    bench.store(options.json, claim, found, options, figures)
    return 0 if held else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--limit", type=int, default=512, metavar="MB", help="that a process may allocate")
    made.add_argument("--steps", type=int, default=300, help="gradient steps of the training run")
    made.add_argument("--observation", type=int, default=60, help="numbers per observation")
    made.add_argument("--action", type=int, default=8, help="numbers per action")
    return made.parse_args()


def write_log(path: Path, size: int, options: Any) -> None:
    """A file in D4RL's layout, whose columns take `size` bytes, written block by block."""
    import h5py

    if path.exists():
        return
    rows = -(-size // (4 * (options.observation + options.action + 1) + 2))
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shapes = {"observations": (rows, options.observation), "actions": (rows, options.action), "rewards": (rows,)}
        for name, shape in shapes.items():
            file.create_dataset(name, shape, np.float32)
        for name in ("terminals", "timeouts"):
            file.create_dataset(name, (rows,), bool)
        for start in range(0, rows, BLOCK):
            part = slice(start, min(start + BLOCK, rows))
            for name, shape in shapes.items():
                file[name][part] = rng.uniform(-1.0, 1.0, (part.stop - start, *shape[1:]))
            step = np.arange(start, part.stop)
            file["timeouts"][part] = step % bench.EPISODE == bench.EPISODE - 1


@dataclass(frozen=True)
class Result:
    """What became of a process."""

    outcome: str
    """done, out of memory, or failed."""
    seconds: float
    rss_anon: int
    """The most bytes seen; looked at a hundred times a second."""
    vm_data: int
    message: str
    """The end of what it said, where it failed."""


def limited(arguments: list[Any], limit: int | None) -> Result:
    """Run Python with these arguments and one thread, allowed to allocate `limit` bytes."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    most = {"RssAnon": 0, "VmData": 0}
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, **threads},
            stdout=subprocess.DEVNULL,
            stderr=output,
            preexec_fn=restrict,
        )
        while process.poll() is None:
            for name, value in _status(process.pid).items():
                most[name] = max(most[name], value)
            time.sleep(0.01)
        output.seek(0)
        said = output.read()
    outcome = "done" if process.returncode == 0 else "failed"
    if outcome == "failed" and any(words in said for words in REFUSED):
        outcome = "out of memory"
    return Result(
        outcome,
        time.monotonic() - began,
        most["RssAnon"],
        most["VmData"],
        "" if outcome == "done" else said[-2000:],
    )


def _status(process: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return {}
    found = (line.split() for line in lines if line.startswith(("RssAnon:", "VmData:")))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in found}


if __name__ == "__main__":
    sys.exit(main())
