"""Datasets small enough to be worked out by hand."""

import numpy as np
import pytest

from replay import Box, DatasetWriter, Episode, Spaces

SPACES = Spaces(Box((3,)), Box((2,), low=(-1.0,), high=(1.0,)))


def make_episode(number, length, **changes):
    """Row t of episode e observes (e, t, 100 e + t), acts (t / 100, -t / 100) and earns 100 e + t; the last step
    is truncated."""
    t = np.arange(length + 1, dtype=np.float32)
    observation = np.stack([np.full(length + 1, number, np.float32), t, 100 * number + t], axis=1)
    last = np.zeros(length, np.uint8)
    last[-1] = 1
    fields = {
        "observation": observation,
        "action": np.stack([t[:-1], -t[:-1]], axis=1) / 100,
        "reward": 100 * number + t[:-1],
        "terminated": np.zeros(length, np.uint8),
        "truncated": last,
        "source": f"log {number}",
    }
    return Episode(**{**fields, **changes})


@pytest.fixture
def episode():
    return make_episode


@pytest.fixture
def write(tmp_path):
    """write(episodes, name="data", **writer options) -> Dataset, all of it in split `train`, several shards."""

    def build(episodes, name="data", spaces=SPACES, **options):
        options = {"provenance": {"by": "a test"}, "validation_fraction": 0.0, "shard_bytes": 400, **options}
        with DatasetWriter(tmp_path / name, spaces, **options) as writer:
            for entry in episodes:
                writer.add(entry)
            return writer.finish()

    return build
