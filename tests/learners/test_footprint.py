"""What an algorithm takes of memory is known before it is taken, and what cannot fit is refused."""

from __future__ import annotations

import time

import pytest
import torch

import learners
from learners.base import footprint as memory
from learners.base.footprint import footprint, footprint_of, require_memory
from learners.errors import LearnerError
from replay.spaces import Box, Discrete, Image, Spaces
from tests.learners.batches import random_batch
from tests.learners.test_contract import CASES, KINDS, STATISTICS, small

GIGABYTE = 10**9
NUMBERS = KINDS["numbers"]
MEASURED = [case for case in CASES if case[1] != "pixels" or case[0] in {"awr", "iql", "bcq"}]
"""Every algorithm, and pictures where they are read in different ways."""
WIDE = Spaces(Box((10_000,)), NUMBERS.action)


def made(case):
    name, kind, knobs = case
    return learners.create(name, KINDS[kind], statistics=STATISTICS, **small(name, kind), **knobs)


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: "-".join([case[0], case[1], *case[2]]))
def test_it_is_that_of_the_real_thing(case):
    algorithm = made(case)
    batch = random_batch(algorithm.spaces, algorithm.requires, 6)
    told = footprint(type(algorithm), algorithm.spaces, algorithm.config, 6)
    found = footprint_of(algorithm, batch)
    assert told[:2] == found[:2]
    # Never more than a step really makes; less where episodes have several steps, or members are taken one by one.
    assert 0 < told.inputs <= found.inputs
    assert 0 < told.activations <= found.activations
    if case[0] != "awr":
        assert told.activations > 0.5 * found.activations


@pytest.fixture
def gigabytes(monkeypatch):
    """`gigabytes(16)`: so many are left."""
    return lambda number: monkeypatch.setattr(memory, "available_bytes", lambda: int(number * GIGABYTE))


@pytest.mark.parametrize(
    ("name", "spaces", "rows", "knobs", "words"),
    [
        ("iql", NUMBERS, 0, {"hidden": (65_536,) * 64}, r"hidden \(65536, .*IQL takes at least"),
        ("bcq", NUMBERS, 0, {"generative_hidden": (65_536,) * 3}, r"generative_hidden \(65536, 65536, 65536\)"),
        ("msg", NUMBERS, 0, {"members": 10_000, "hidden": (1024, 1024)}, r"hidden .* and members 10000: MSG"),
        ("qtopt", NUMBERS, 0, {"hidden": (16_384, 16_384), "lag_steps": 10**12}, r"hidden \(16384, 16384\)"),
        ("lstd", NUMBERS, 0, {"features": 65_536}, "features 65536"),
        ("lspi", KINDS["choices"], 0, {"features": 20_000}, "features 20000"),
        (
            "iql",
            KINDS["pixels"],
            0,
            {"encoder_width": 65_536, "hidden": (65_536,)},
            "encoder_width 65536 and hidden|hidden .* and encoder_width 65536",
        ),
        ("iql", Spaces(Image((50_000, 50_000, 3)), NUMBERS.action), 0, {}, "encoder_width 512"),
        ("iql", Spaces(Box((10**9,)), NUMBERS.action), 0, {}, "observation space: found 1,000,000,000 numbers"),
        ("td3", Spaces(NUMBERS.observation, Box((10**5, 10**5), low=(0.0,), high=(1.0,))), 0, {}, "action: found"),
        ("iql", WIDE, 10**6, {}, "batches of 1,000,000: IQL"),
        (
            "cql",
            NUMBERS,
            256,
            {"sampled_actions": 10_000},
            "sampled_actions 10000.* and hidden",
        ),
        ("qtopt", NUMBERS, 16_384, {"samples": 10_000, "iterations": 10}, "samples 10000"),
        ("bcq", NUMBERS, 4096, {"sampled_actions": 10_000}, "sampled_actions 10000"),
        ("lspi", NUMBERS, 8, {"candidates": 100_000, "features": 30_000}, "features 30000"),
        ("redq", NUMBERS, 65_536, {"members": 100}, "members 100"),
    ],
)
def test_what_cannot_fit_is_refused_at_once(gigabytes, name, spaces, rows, knobs, words):
    gigabytes(12)
    start = time.process_time()
    with pytest.raises(LearnerError, match=rf"({words}).* memory, and 12\.0 GB are left on cpu"):
        learners.create(name, spaces, rows=rows, **knobs)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(("name", "rows"), [("iql", 0), ("iql", 64), ("lstd", 0), ("edac", 64)])
def test_what_just_fits_is_made(gigabytes, name, rows):
    need = sum(footprint(learners.algorithm_class(name), NUMBERS, learners.config_class(name)(), rows)) / GIGABYTE
    gigabytes(need + 1e-9)
    assert learners.create(name, NUMBERS, rows=rows).step == 0
    gigabytes(need - 2e-9)
    with pytest.raises(LearnerError, match="takes at least"):
        learners.create(name, NUMBERS, rows=rows)


def test_a_compiled_step_may_keep_less(gigabytes):
    gigabytes(0.02)
    asked = learners.algorithm_class("iql"), NUMBERS, learners.config_class("iql")(), torch.device("cpu")
    with pytest.raises(LearnerError, match="batches of 100,000"):
        require_memory(*asked, rows=100_000)
    require_memory(*asked, rows=100_000, compile=True)


def test_spaces_are_named_where_no_knob_is_to_blame(gigabytes):
    gigabytes(0.001)
    with pytest.raises(LearnerError, match="observation and action spaces: BC takes at least"):
        learners.create("bc", Spaces(NUMBERS.observation, Discrete(60_000)), hidden=())
