"""Several processes: a writer that is killed at any moment, and readers that follow one that lives."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import replay
from replay import OnlineReader, OnlineStore
from tests.replay.conftest import SPACES, make_episode

ROOT = Path(replay.__file__).parents[1]

WRITER = """
import sys
import replay.online.store
from replay import Eviction, OnlineStore
from tests.replay.conftest import make_episode

replay.online.store.CHECKPOINT_EVERY = 2  # so that many a moment lies in the writing of one
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with OnlineStore(path) as store:
    print("open", flush=True)
    for number in range(first, last, 2):
        batch = [(f"e{n}", make_episode(n, 1 + n % 7)) for n in (number, number + 1)]
        for name in store.insert(batch).accepted:
            print(name, flush=True)
        if number % 20 == 0:
            store.evict(Eviction(max_transitions=60))
"""

READER = """
import sys, time
from replay import OnlineReader

reader = OnlineReader(sys.argv[1])
while reader.refresh() < int(sys.argv[2]):
    time.sleep(0.01)
print(reader.episodes, reader.dataset().sample(seed=3, sequence=5, count=40).reward.tolist())
"""


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_acknowledged_outlives_the_writer(tmp_path):
    """Killed at random moments, over and over; in the end each id is there once, with its own rows."""
    path = tmp_path / "online"
    OnlineStore.create(path, SPACES, provenance={}).close()
    moments = random.Random(0)
    acknowledged, first = set(), 0
    for life in range(1, 6):
        with start(WRITER, path, first, 10**6) as writer:
            assert writer.stdout.readline() == "open\n"
            time.sleep(moments.uniform(0.02, 0.4))
            writer.send_signal(signal.SIGKILL)
            told = writer.stdout.read().split("\n")[:-1]  # a last line without its end was not told
        assert writer.returncode == -signal.SIGKILL
        acknowledged.update(told)
        reader, slow = OnlineReader(path), OnlineReader(path, from_journal=True)
        assert (reader.snapshot, reader.ids) == (slow.snapshot, slow.ids)
        assert reader.live().tolist() == slow.live().tolist()
        assert reader.rows_since(0) == slow.rows_since(0)
        assert len(set(reader.ids)) == len(reader.ids)
        assert acknowledged <= set(reader.ids)
        assert len(reader.ids) <= len(acknowledged) + 2 * life  # at most one batch of each life was not told
        # As a caller would that does not know what became of its last calls.
        first = max(0, 2 * (len(acknowledged) // 2) - 10)
    assert acknowledged
    with OnlineStore(path) as store:
        known = set(OnlineReader(path).ids)
        again = [(f"e{n}", make_episode(n, 1 + n % 7)) for n in range(first + 40)]
        inserted = store.insert(again)
        assert set(inserted.duplicates) == known & {name for name, _ in again}
    assert len(list(path.glob("state-*.checkpoint"))) == 1
    assert not list(path.glob(".state-*"))
    reader = OnlineReader(path)
    assert sorted(reader.ids) == sorted({*known, *inserted.accepted})
    dataset = replay.open(path, verify=True)
    for place, number in enumerate(reader.live().tolist()):
        n = int(reader.ids[number][1:])
        np.testing.assert_array_equal(dataset.episode(place).observation, make_episode(n, 1 + n % 7).observation)


def test_a_reader_in_another_process_follows(tmp_path):
    path = tmp_path / "online"
    with OnlineStore.create(path, SPACES, provenance={}) as store, start(READER, path, 12) as reader:
        for number in range(12):
            store.insert([(f"e{number}", make_episode(number, 3))])
            time.sleep(0.01)
        told = reader.stdout.read()
    rewards = OnlineReader(path).dataset(12).sample(seed=3, sequence=5, count=40).reward.tolist()
    assert told == f"12 {rewards}\n"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_writer_keeps_others_out_while_it_lives(tmp_path, end):
    path = tmp_path / "online"
    OnlineStore.create(path, SPACES, provenance={}).close()
    with start(WRITER, path, 0, 10**6) as writer:
        assert writer.stdout.readline() == "open\n"
        os.kill(writer.pid, end)
        if end == signal.SIGSTOP:  # stopped is not dead
            with pytest.raises(replay.DataError, match=rf"process {writer.pid} on .* is writing to it already"):
                OnlineStore(path)
        writer.kill()
        writer.wait()
        OnlineStore(path).close()
