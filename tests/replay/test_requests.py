"""What is asked for from Python: in its range and as large as memory holds, or refused with what is allowed."""

import numpy as np
import pytest

import replay
from replay import DataError, Eviction, OnlineStore, Priorities, Request, Store, View, draw, locate, operations, scan
from replay.mixing import Mixing, draw_mixed
from replay.random_words import words
from tests.replay.conftest import SPACES

NAN = float("nan")


@pytest.fixture
def dataset(write, episode):
    return write([episode(number, 9) for number in range(4)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "everything"}, "request.kind: found 'everything', expected 'transitions' or 'windows' or 'episodes'"),
        ({"n_step": 10**9}, "request.n_step: found 1000000000, expected a whole number, 1 to 1,000,000"),
        ({"n_step": 0}, "request.n_step: found 0"),
        ({"n_step": 1.5}, "request.n_step: found 1.5, expected a whole number"),
        ({"n_step": True}, "request.n_step: found True"),
        ({"n_step": "3"}, "request.n_step: found '3'"),
        ({"kind": "windows", "length": 10**9}, "request.length: found 1000000000"),
        ({"kind": "windows", "length": -1}, "request.length: found -1"),
        ({"discount": NAN}, "request.discount: found nan, expected a number, 0 to 1"),
        ({"discount": 1.01}, "request.discount: found 1.01"),
        ({"discount": None}, "request.discount: found None"),
        ({"reward_scale": float("inf")}, "request.reward_scale: found inf"),
        ({"reward_scale": 1e300}, "request.reward_scale: found 1e[+]300"),
        ({"reward_shift": 10**400}, "request.reward_shift: found 10*…"),
        ({"columns": ["x"]}, r"request.columns: found \['x'\]"),
        ({"columns": "x"}, "request.columns: found 'x'"),
        ({"columns": (3,)}, r"request.columns: found \(3,\)"),
    ],
)
def test_requests(fields, message):
    with pytest.raises(DataError, match=message):
        Request(**fields)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda data: data.sample(seed=0, sequence=0, count=0), "draw: count: found 0, expected a whole number from 1"),
        (lambda data: data.sample(seed=0, sequence=0, count=-1), "draw: count: found -1"),
        (lambda data: data.sample(seed=0, sequence=0, count=2.0), "draw: count: found 2.0"),
        (lambda data: data.sample(seed=0, sequence=0, count=True), "draw: count: found True"),
        (lambda data: data.sample(seed=0, sequence=0, count="9"), "draw: count: found '9'"),
        (lambda data: data.sample(seed=0, sequence=0, count=10**12), "draw: count: .* of memory, and .* are left"),
        (lambda data: data.sample(seed=0, sequence=0, count=10**15), "draw: count: found 1000000000000000"),
        (lambda data: data.sample(seed=-1, sequence=0, count=1), "seed: found -1, expected a whole number from 0 to"),
        (lambda data: data.sample(seed=1 << 63, sequence=0, count=1), "seed: found 9223372036854775808"),
        (lambda data: data.sample(seed=0.5, sequence=0, count=1), "seed: found 0.5"),
        (lambda data: data.sample(seed=None, sequence=0, count=1), "seed: found None"),
        (lambda data: data.sample(seed=0, sequence=-1, count=1), "sequence: found -1"),
        (lambda data: data.sample(seed=0, sequence=1 << 64, count=1), "sequence: found 18446744073709551616"),
        (lambda data: data.sample(seed=0, sequence=0, count=1, split=3), "split: found 3, expected the name"),
        (lambda data: data.sample(seed=0, sequence=0, count=1, split=["train"]), "split: found .'train'."),
        (lambda data: data.view("nowhere"), "no episodes in split 'nowhere'; it has train"),
        (lambda data: data.view(where=3), "where: found a int, expected text"),
        (lambda data: draw(data.view(), seed=0, sequence=0, count=1, shards_per_draw=0), "shards_per_draw: found 0"),
        (lambda data: draw(data.view(), seed=0, sequence=0, count=1, shards_per_draw=10**9), "shards_per_draw: found"),
        (lambda data: words(0, -1, 0, 1), "stream: found -1"),
        (lambda data: scan(data.view(), None, Request(), 0), "scan: count: found 0"),
        (lambda data: scan(data.view(), None, Request(), 1.5), "scan: count: found 1.5"),
        (lambda data: data.episode(1.0), "episode: found 1.0, expected a whole number"),
        (lambda data: locate(data.view(), np.array([-1])), "index: found -1 to -1, expected 0 to 35"),
        (lambda data: locate(data.view(), np.array([0.5])), "index: found float64"),
        (lambda data: View.of([(data, NAN)]), "weights: found nan, expected a number, above 0"),
        (lambda data: View.of([(data, "1")]), "weights: found '1'"),
        (lambda data: View.of([(data, 0)]), "weights: found 0"),
        (lambda data: Priorities(0), "priorities: found 0 transitions, expected a whole number, 1 to"),
        (lambda data: Priorities(10**12), "priorities: those of 1,000,000,000,000 transitions take"),
        (lambda data: Priorities(1, exponent=NAN), "priorities, exponent: found nan"),
        (lambda data: Priorities(1, importance_exponent=-5), "priorities, importance_exponent: found -5"),
        (lambda data: Mixing(share=NAN), "share: found nan"),
        (lambda data: Mixing(share=0.5, final_share=1, steps=-1), "steps: found -1"),
        (lambda data: draw_mixed(None, data.view(), NAN, seed=0, sequence=0, count=1), "share: found nan"),
        (lambda data: Eviction(min_return="3"), "eviction, min_return: found '3'"),
        (lambda data: Eviction(max_age=0), "eviction, max_age: found 0"),
        (lambda data: operations.split(data, "x", {"train": NAN}), "split: found .*nan.*, expected names"),
        (lambda data: operations.split(data, "x", {"train": 1.0}, seed=-1), "split, seed: found -1"),
        (lambda data: operations.split(data, "x", {3: 1.0}), "split: found .3: 1.0., expected names"),
        (lambda data: operations.copy(data, ""), "folder: found '', expected a name"),
        (lambda data: replay.open(""), "dataset: found '', expected the name of a folder"),
        (lambda data: replay.open(7), "dataset: found 7, expected the name of a folder"),
        (lambda data: replay.open("a\0b"), "null byte"),
    ],
)
def test_what_is_asked_for_is_possible(dataset, ask, message):
    with pytest.raises(DataError, match=message):
        ask(dataset)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(kind="windows", length=1_000_000), "20 windows of 1,000,000 steps takes"),
        (Request(columns=("return_to_go",)), "20 transitions takes"),
    ],
)
def test_a_batch_that_memory_cannot_hold_is_not_made(dataset, monkeypatch, request_, message):
    monkeypatch.setattr("replay.memory.available_bytes", lambda: 0)
    monkeypatch.setattr("replay.gather.store.SMALL", 1000)
    with pytest.raises(DataError, match=rf"batch: {message} .* of memory, and 0 bytes are left; ask for fewer"):
        dataset.sample(seed=0, sequence=0, count=20, request=request_)


def test_sums_of_very_many_steps_end_with_their_episodes(dataset):
    """What is not in the episode takes no memory, and changes nothing."""
    rows = locate(dataset.view(), np.arange(36))
    store = Store(dataset.view())
    short, long = (store.gather(rows, Request(n_step=n)) for n in (10, 1_000_000))
    for name in ("reward", "discount", "terminated", "truncated", "next_observation"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name))


def test_rows_that_are_in_no_episode_are_not_read(dataset):
    rows = locate(dataset.view(), np.array([0]))
    for remaining in (0, -5, 11, 1 << 62):
        wrong = replay.Rows(rows.index, rows.shard, rows.row, np.array([remaining]), rows.step)
        with pytest.raises(DataError, match="rows outside of their shard"):
            Store(dataset.view()).gather(wrong, Request(n_step=2))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("powers", np.array([1.0, np.nan, 1.0]), "priorities, powers: found one that is negative or no number"),
        ("powers", np.array([1.0, -1.0, 1.0]), "priorities, powers: found one that is negative"),
        ("powers", np.zeros(3), "priorities: found none above 0"),
        ("fresh", np.ones(2, np.uint8), r"priorities, fresh: found uint8 of shape \(2,\)"),
        ("highest", np.array("x"), "priorities, highest: found <U1"),
        ("highest", np.array(np.inf), "priorities, highest: found one that is negative or no number"),
    ],
)
def test_a_state_of_priorities_that_cannot_be(name, value, message):
    priorities = Priorities(3)
    with pytest.raises(DataError, match=message):
        priorities.load_state_dict({**priorities.state_dict(), name: value})


def test_a_priority_whose_power_is_no_number():
    with pytest.raises(DataError, match="whose power 10 float64 cannot hold"):
        Priorities(3, exponent=10).update(np.array([0]), np.array([1e200]))


def test_provenance_that_could_not_be_read_again_is_not_written(tmp_path):
    deep: list = []
    for _ in range(300):
        deep = [deep]
    for provenance, message in (({"by": deep}, "more than 200 others"), ({"by": float("inf")}, "not JSON compliant")):
        with pytest.raises(DataError, match=message):
            OnlineStore.create(tmp_path / "online", SPACES, provenance=provenance)
        assert list(tmp_path.iterdir()) == []
