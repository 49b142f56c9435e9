"""What opening an online store costs, which each restarted shard, the run's reader and its writer pay.

Claim: a store of 20,000 inserts opens in at most 0.3 s, as a reader and as the writer. Each insert is one short episode
of 17-d observations and 6-d actions; every hundredth is followed by an eviction. The time is the processor's, of this
process, so that others on the machine do not count. Beside it, how long it takes from the journal alone, without the
checkpoint of the store's state; and the reader's first `dataset()`, of which nothing is promised. The store is made
without flushing to the disk, as it is made to be opened only.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _common as bench
import numpy as np

from replay import Episode, Eviction, OnlineReader, OnlineStore

CLAIM = 0.3
STEPS = 5
CAPACITY = 50_000


def main() -> int:
    options = _options()
    found = bench.machine()
    print(bench.machine_line(found))
    with bench.data_folder(options.data) as folder:
        path = folder / f"online-{options.inserts}"
        if not path.exists():
            make_store(path, options.inserts)
        contestants: dict[str, Callable[[], float]] = {
            "reader": lambda: seconds(lambda: OnlineReader(path)),
            "reader, with its dataset": lambda: seconds(lambda: OnlineReader(path).dataset()),
            "writer": lambda: seconds(lambda: OnlineStore(path).close()),
            "reader, from the journal alone": lambda: seconds(lambda: OnlineReader(path, from_journal=True)),
        }
        rounds = bench.interleave(contestants, options.rounds)
        size = (path / "journal.jsonl").stat().st_size
    print(f"{options.inserts:,} inserts, journal of {size / 1e6:.1f} MB; median of {options.rounds} rounds")
    bench.table(["opened as", "s"], [[name, f"{bench.median(taken):.3f}"] for name, taken in rounds.items()])
    claim = f"a store of {options.inserts:,} inserts opens in at most {CLAIM} s"
    held = max(bench.median(rounds["reader"]), bench.median(rounds["writer"])) <= CLAIM
    bench.verdict(claim, held)
    figures = {"seconds": {name: bench.summary(taken) for name, taken in rounds.items()}, "journal_bytes": size}
    bench.store(options.json, claim, found, options, figures)
    return 0 if held else 1


def make_store(path: Path, inserts: int) -> None:
    """One episode an insert, as a run's runners bring them."""
    rng = np.random.default_rng(0)
    with unflushed(), OnlineStore.create(path, bench.SPACES, provenance={"source": "made up for a benchmark"}) as store:
        for number in range(inserts):
            ends = np.zeros((2, STEPS), np.uint8)
            ends[number % 2, -1] = 1
            episode = Episode(
                observation=rng.standard_normal((STEPS + 1, bench.OBSERVATION), np.float32),
                action=rng.uniform(-1.0, 1.0, (STEPS, bench.ACTION)).astype(np.float32),
                reward=rng.random(STEPS, np.float32),
                terminated=ends[0],
                truncated=ends[1],
                source="a benchmark",
            )
            name = f"runner-{number % 4}-episode-{number}"
            store.insert([(name, episode)], {"runner": number % 4, "version": number})
            if number % 100 == 99:
                store.evict(Eviction(max_transitions=CAPACITY))


@contextlib.contextmanager
def unflushed() -> Iterator[None]:
    """Nothing is flushed to the disk inside the block."""
    flush = os.fsync
    os.fsync = lambda fd: None
    try:
        yield
    finally:
        os.fsync = flush


def seconds(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--inserts", type=int, default=20_000)
    made.add_argument("--rounds", type=int, default=5)
    return made.parse_args()


if __name__ == "__main__":
    sys.exit(main())
