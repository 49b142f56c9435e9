"""Sampling in one process, beside TorchRL.

Claim: the whole of a sample (draw, both observations, action, reward, discount, flags) takes at most a third of
the time it takes TorchRL's LazyMemmapStorage, at 256 and at 4,096 rows a batch: the same million transitions of 17-d
observations and 6-d actions in both, all of it in memory, one thread, in turns.

TorchRL is sampled through both of its buffers over that storage, and the faster counts. It gives no discount.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as bench
import numpy as np
import torch

from replay import Dataset, Request

CLAIM, AIM = 3.0, 5.0
REQUEST = Request()


def main() -> int:
    options = _options()
    bench.needs("torchrl")
    bench.quiet()
    torch.set_num_threads(1)
    found = bench.machine()
    print(bench.machine_line(found))
    with bench.data_folder(options.data) as folder:
        dataset = bench.make_dataset(folder / f"rows-{options.rows}", options.rows)
        arrays = source(options.rows)
        buffers = torchrl_buffers(arrays, folder / "torchrl")
        check(dataset, buffers, arrays)
        page_in(dataset, buffers)
        figures: dict[str, Any] = {}
        lines, ratios = [], []
        for batch in options.batch:
            contestants: dict[str, Callable[[], float]] = {
                "Quiver": ours(dataset, batch, options.seconds),
                **{name: theirs(buffer, batch, options.seconds) for name, buffer in buffers.items()},
            }
            rounds = bench.interleave(contestants, options.rounds)
            best = max((name for name in buffers), key=lambda name: bench.median(rounds[name]))
            # Of each round on its own, so that a slow minute is slow for both.
            ratio = bench.median([a / b for a, b in zip(rounds["Quiver"], rounds[best], strict=True)])
            ratios.append(ratio)
            lines.append(
                [f"{batch:,}", *(bench.millions(bench.median(rounds[name])) for name in contestants), f"{ratio:.1f}"]
            )
            figures[str(batch)] = {name: bench.summary(values) for name, values in rounds.items()} | {"ratio": ratio}
    print(f"transitions sampled per second, {options.rows:,} stored; median of {options.rounds} rounds")
    bench.table(["batch", "Quiver", *buffers, "ratio"], lines)
    claim = f"at least {CLAIM:g} times TorchRL's LazyMemmapStorage (aim: {AIM:g})"
    bench.verdict(claim, min(ratios) >= CLAIM)
    bench.store(options.json, claim, found, options, figures)
    return 0 if min(ratios) >= CLAIM else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--rows", type=int, default=1_000_000)
    made.add_argument("--batch", type=int, nargs="+", default=[256, 4096])
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--seconds", type=float, default=1.0, help="of each contestant in each round")
    return made.parse_args()


def source(rows: int) -> dict[str, np.ndarray]:
    """The logs as flat arrays (N, ...), transition by transition: what both are given."""
    parts = list(bench.episodes(rows))
    arrays = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("action", "reward", "terminated", "truncated")
    }
    arrays["observation"] = np.concatenate([part.observation[:-1] for part in parts])
    arrays["next_observation"] = np.concatenate([part.observation[1:] for part in parts])
    return arrays


def torchrl_buffers(arrays: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    """TorchRL's two buffers over one memory-mapped storage of the arrays."""
    from torchrl.data import LazyMemmapStorage, ReplayBuffer, TensorDictReplayBuffer

    rows = len(arrays["reward"])
    shared = LazyMemmapStorage(rows, scratch_dir=str(folder), existsok=True)
    first = TensorDictReplayBuffer(storage=shared)
    for start in range(0, rows, 100_000):
        first.extend(tensordict({name: array[start : start + 100_000] for name, array in arrays.items()}))
    return {"TensorDictReplayBuffer": first, "ReplayBuffer": ReplayBuffer(storage=shared)}


def tensordict(arrays: dict[str, np.ndarray]) -> Any:
    """Transitions in the layout that TorchRL's losses read."""
    from tensordict import TensorDict

    def flag(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values != 0)[:, None]

    after = {
        "observation": torch.from_numpy(arrays["next_observation"]),
        "reward": torch.from_numpy(arrays["reward"])[:, None],
        "done": flag(arrays["terminated"] | arrays["truncated"]),
        "terminated": flag(arrays["terminated"]),
        "truncated": flag(arrays["truncated"]),
    }
    now = {"observation": torch.from_numpy(arrays["observation"]), "action": torch.from_numpy(arrays["action"])}
    return TensorDict({**now, "next": after}, batch_size=[len(arrays["reward"])])


def check(dataset: Dataset, buffers: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Both give the rows they say they give, and ours the discount."""
    batch = dataset.sample(seed=1, sequence=0, count=4096, request=REQUEST)
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.asarray(getattr(batch, name)), array[batch.index], err_msg=name)
    expected = (REQUEST.discount * (arrays["terminated"][batch.index] == 0)).astype(np.float32)
    np.testing.assert_array_equal(batch.discount, expected)
    for buffer in buffers.values():
        drawn, info = buffer.sample(4096, return_info=True)
        place = np.asarray(info["index"]).reshape(-1)
        np.testing.assert_array_equal(drawn["observation"].numpy(), arrays["observation"][place])
        np.testing.assert_array_equal(drawn["next", "observation"].numpy(), arrays["next_observation"][place])
        np.testing.assert_array_equal(drawn["next", "reward"].numpy()[:, 0], arrays["reward"][place])


def page_in(dataset: Dataset, buffers: dict[str, Any]) -> None:
    """Read all of both once."""
    for batch in dataset.scan(REQUEST, 65_536):
        assert len(batch)
    stored = next(iter(buffers.values()))
    for start in range(0, len(stored), 65_536):
        stored[start : start + 65_536].clone()


def ours(dataset: Dataset, count: int, seconds: float) -> Callable[[], float]:
    sequence = itertools.count()

    def sample() -> object:
        return dataset.sample(seed=0, sequence=next(sequence), count=count, request=REQUEST)

    return lambda: bench.rate(sample, count, seconds)


def theirs(buffer: Any, count: int, seconds: float) -> Callable[[], float]:
    return lambda: bench.rate(lambda: buffer.sample(count), count, seconds)


if __name__ == "__main__":
    sys.exit(main())
