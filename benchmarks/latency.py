"""Sampling latency and memory against the size of the data.

Claims: a batch out of 100 million transitions takes at most twice as long as out of one million, and the memory beyond
the map does not depend on the number of rows.

The large dataset is made through the manifest from sparse files: real Arrow files of zeros, whose holes take no disk
but, once read, as much memory as any other page, each shard its own. Both are mapped and populated in one process
and sampled in turns, every batch from fresh indices. Memory is measured in a process of its own for each dataset: what
is anonymous (the process's own) before opening and after sampling. Episodes take some, rows must not: a third
dataset has as many rows as the large one, in as many episodes as the small one.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _common as bench
import numpy as np

import replay
from replay import Dataset, Request, Store, View, sample
from replay.contents import Contents, Manifest, Shards
from replay.manifest import write_manifest
from replay.schema import columns_of
from replay.shard import ShardFile, write_shard

CLAIM = 2.0
ALLOWED_MB = 16.0
"""Anonymous memory that two datasets of equal episodes may differ by."""
SHARDS_AT_LEAST = 8
SHARD_ROWS = 1_250_000
"""Of 98 bytes: the usual 128 MB a shard, nearly."""
BLOCK = 1 << 20
REQUEST = Request()


def main() -> int:
    options = _options()
    if options.memory_of is not None:
        print(json.dumps(memory_of(options.memory_of)))
        return 0
    import torch

    torch.set_num_threads(1)
    found = bench.machine()
    print(bench.machine_line(found))
    with bench.data_folder(options.data) as folder:
        small = zeros(folder / "small", options.rows[0], episode=bench.EPISODE)
        large = zeros(folder / "large", options.rows[1], episode=bench.EPISODE)
        same = zeros(folder / "large-few-episodes", options.rows[1], episode=0, like=large, episodes=small.num_episodes)
        names = {
            "small": f"{small.num_transitions:,} rows, {small.num_episodes:,} episodes",
            "large": f"{large.num_transitions:,} rows, {large.num_episodes:,} episodes",
            "same": f"{same.num_transitions:,} rows, {same.num_episodes:,} episodes",
        }
        memory = {
            name: _measured_apart(dataset.path)
            for name, dataset in {"small": small, "large": large, "same": same}.items()
        }
        samplers = {"small": Sampler(small), "large": Sampler(large)}
        mapped = {name: sampler.store.populate() for name, sampler in samplers.items()}
        times = {(name, batch): [] for batch in options.batch for name in samplers}  # type: ignore[var-annotated]
        for batch in options.batch:
            for _ in range(options.rounds):
                for name, sampler in samplers.items():
                    times[name, batch].append(sampler.latencies(batch, options.calls))
        resident = _status("Rss") / max(sum(mapped.values()), 1)
    figures: dict[str, Any] = {"latency": {}, "memory": memory, "mapped_bytes": mapped}
    lines, ratios = [], []
    for batch in options.batch:
        centre = {name: [bench.median(r) for r in times[name, batch]] for name in samplers}
        worst = {name: float(np.percentile(np.concatenate(times[name, batch]), 99)) for name in samplers}
        ratio = bench.median([b / a for a, b in zip(centre["small"], centre["large"], strict=True)])
        ratios.append(ratio)
        for name in samplers:
            lines.append(
                [f"{batch:,} of {names[name]}", f"{bench.median(centre[name]) * 1e6:,.0f}", f"{worst[name] * 1e6:,.0f}"]
            )
            lines[-1].append(f"{ratio:.2f}" if name == "large" else "")
        figures["latency"][str(batch)] = {
            "median_seconds": {name: bench.summary(values) for name, values in centre.items()},
            "p99_seconds": worst,
            "ratio": ratio,
        }
    print(f"microseconds per batch; {options.rounds} rounds of {options.calls} batches each, in turns")
    bench.table(["batch", "median", "99%", "ratio"], lines)
    print()
    print("megabytes of one process for each, from before the dataset is opened to after sampling it")
    bench.table(
        ["dataset", "mapped", "anonymous before", "after", "growth", "bytes per row"],
        [
            [
                names[name],
                f"{entry['mapped'] / 1e6:,.0f}",
                *(f"{entry[key] / 1e6:,.1f}" for key in ("before", "after", "growth")),
                f"{entry['growth'] / entry['rows']:.3f}",
            ]
            for name, entry in memory.items()
        ],
    )
    if resident < 0.99:
        print(f"only {resident:.0%} of the maps stayed resident: short of memory, these latencies are the disk's")
    difference = (memory["same"]["growth"] - memory["small"]["growth"]) / 1e6
    figures["memory_difference_mb"] = difference
    claim = (
        f"latency from {large.num_transitions:,} rows within {CLAIM:g} times that from {small.num_transitions:,}, "
        f"memory beyond the map no different ({difference:+.1f} MB at equal episodes)"
    )
    held = max(ratios) <= CLAIM and difference <= ALLOWED_MB
    bench.verdict(claim, held)
    bench.store(options.json, claim, found, options, figures)
    return 0 if held else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--rows", type=int, nargs=2, default=[1_000_000, 100_000_000], metavar=("SMALL", "LARGE"))
    made.add_argument("--batch", type=int, nargs="+", default=[256, 4096])
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--calls", type=int, default=500, help="batches in each round")
    made.add_argument("--memory-of", type=Path, metavar="DATASET", help="only measure the memory of sampling from it")
    return made.parse_args()


# --- Data ---


def zeros(path: Path, rows: int, *, episode: int, like: Dataset | None = None, episodes: int = 0) -> Dataset:
    """A dataset of about `rows` transitions, all zero, in episodes of `episode` steps; or, over the shard files of
    `like`, in about `episodes` episodes as long as fit."""
    if path.exists():
        return replay.open(path)
    (path / "shards").mkdir(parents=True)
    columns = columns_of(bench.SPACES, {})
    if like is None:
        count = max(SHARDS_AT_LEAST, -(-rows // SHARD_ROWS))
        per_shard = rows // count // episode * (episode + 1)
        values = {column.name: np.zeros((per_shard, *column.shape), column.dtype) for column in columns}
        first = write_shard(path / "shards" / "00000.core.arrow", list(columns), values)
        files = [first] + [
            ShardFile(sparse_copy(first.path, path / "shards" / f"{number:05d}.core.arrow"), *_facts(first))
            for number in range(1, count)
        ]
        sparse_copy(first.path, first.path)
        each = per_shard // (episode + 1)
    else:
        files = [shard["core"] for shard in like.shards]
        each = max(1, episodes // len(files))
        episode = files[0].rows // each - 1
    shards: Shards = [{"core": file} for file in files]
    total = each * len(files)
    table = {
        "shard": np.repeat(np.arange(len(files)), each),
        "first_row": np.tile(np.arange(each) * (episode + 1), len(files)),
        "length": np.full(total, episode),
        **{name: np.zeros(total, int) for name in ("terminated", "truncated")},
        "return": np.zeros(total),
        "success": np.full(total, -1),
        **{name: np.full(total, text, object) for name, text in (("task", ""), ("source", ""), ("split", "train"))},
    }
    statistics = {
        column.name: {
            "count": total * episode,
            **{key: np.zeros(column.shape) for key in ("mean", "std", "min", "max")},
        }
        for column in columns
    }
    statistics["return"] = {"count": total, "mean": 0.0, "std": 0.0, "min": 0.0, "max": 0.0}
    shared = () if like is None else ({"path": os.path.relpath(like.path, path), "sha256": like.fingerprint},)
    manifest = Manifest(bench.SPACES, columns, {}, statistics, {"source": "zeros, for a benchmark"}, parents=shared)
    write_manifest(path, Contents(path, manifest, shards, table))
    return replay.open(path)


def sparse_copy(source: Path, target: Path) -> Path:
    """A file with the same content, its zeros being holes."""
    partial = target.with_suffix(".partial")
    with source.open("rb") as read, partial.open("wb") as write:
        while block := read.read(BLOCK):
            if block.count(0) == len(block):
                write.seek(len(block), os.SEEK_CUR)
            else:
                write.write(block)
        write.truncate(source.stat().st_size)
    partial.replace(target)
    return target


def _facts(file: ShardFile) -> tuple[int, int, str]:
    return file.rows, file.bytes, file.sha256


# --- Measuring ---


class Sampler:
    """Draws and gathers, as `Dataset.sample` does; hashing gigabytes of zeros at their first opening is left out."""

    def __init__(self, dataset: Dataset) -> None:
        self.view: View = dataset.view()
        self.store = Store(self.view, verify=False)
        self._sequence = itertools.count()

    def latencies(self, count: int, calls: int) -> list[float]:
        clock, found = time.perf_counter, []
        for _ in range(calls):
            began = clock()
            sample(self.view, self.store, seed=0, sequence=next(self._sequence), count=count, request=REQUEST)
            found.append(clock() - began)
        return found


def memory_of(path: Path) -> dict[str, int]:
    """Bytes of this process before the dataset is opened, and after it was mapped, populated and sampled."""
    before = _status("Anonymous")
    dataset = replay.open(path)
    sampler = Sampler(dataset)
    mapped = sampler.store.populate()
    sampler.latencies(4096, 50)
    after = _status("Anonymous")
    return {
        "rows": dataset.num_transitions,
        "mapped": mapped,
        "before": before,
        "after": after,
        "growth": after - before,
    }


def _measured_apart(path: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _status(name: str) -> int:
    """A line of what the kernel says of this process's memory, in bytes."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


if __name__ == "__main__":
    sys.exit(main())
