"""Rows served by two Ray actors to one consumer, beside TorchRL's RayReplayBuffer.

Claim: at least twice as many transitions per second reach one consumer, at 256, 4,096 and 16,384 rows a request.

Ours is what a fused run does: the rows are drawn here, asked of the shard actors (the run's own actors starts them and
routes the request), and put together where they are used, two requests being in flight for each actor. Every one of
these steps is counted, and each actor tells how many rows it served. Both actors are on this node and share its memory
maps, so a request is one call, to either in turn.

TorchRL keeps its buffer in one actor, by design. It holds the same transitions, in memory. The claim is judged against
its `sample()` as documented. Beside it, and not judged, stand its prefetching, several clients in threads of the
consumer, both, and the ratio to the fastest of the four. Its actor books one CPU: with two threads it is slower.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import _common as bench
import numpy as np
import torch
from rich.console import Console

from cluster.actor_plan import plan_actors
from cluster.actors import Actors
from cluster.build import AlgorithmSpec
from cluster.claim import Claim
from cluster.gathered import Gathered
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.routing import assemble
from cluster.run import Run
from replay import Batch, Dataset, Request, View, draw

CLAIM = 2.0
OURS, PLAIN = "Quiver", "TorchRL"
REQUEST = Request()
CHUNK = 50_000
"""Transitions that TorchRL's actor is filled with at a time."""


def main() -> int:
    options = _options()
    bench.needs("torchrl", "ray")
    torch.set_num_threads(1)
    found = bench.machine()
    print(bench.machine_line(found))
    bench.start_ray(cpus=options.shards + 4)  # room in Ray's books for every actor of both
    with bench.data_folder(options.data) as folder:
        dataset = bench.make_dataset(folder / f"rows-{options.rows}", options.rows)
        served = Served(dataset, options.shards, options.in_flight)
        figures: dict[str, Any] = {}
        lines, ratios = [], []
        for count in options.batch:
            served.check(count)
            theirs = TorchRL(options.rows, count, options.in_flight)
            contestants: dict[str, Callable[[], float]] = {
                OURS: lambda count=count: served.rate(count, options.seconds),  # type: ignore[misc]
                **theirs.contestants(options.seconds),
            }
            before = served.rows_served()
            rounds = bench.interleave(contestants, options.rounds)
            rows = [after - earlier for after, earlier in zip(served.rows_served(), before, strict=True)]
            theirs.close()
            peers = {name: bench.median(values) for name, values in rounds.items() if name != OURS}
            best = max(peers, key=lambda name: peers[name])
            ratio, other = (
                bench.median([a / b for a, b in zip(rounds[OURS], rounds[peer], strict=True)]) for peer in (PLAIN, best)
            )
            ratios.append(ratio)
            lines.append([f"{count:,}", *(bench.millions(bench.median(values)) for values in rounds.values())])
            lines[-1] += [f"{ratio:.1f}", f"{other:.1f}", " ".join(bench.millions(number) for number in rows)]
            figures[str(count)] = {name: bench.summary(values) for name, values in rounds.items()}
            figures[str(count)] |= {
                "ratio": ratio,
                "ratio_to_the_fastest": other,
                "best": best,
                "rows_served_by_each_actor": rows,
            }
            if min(rows) <= 0:
                sys.exit(f"an actor served nothing: {rows}")
        served.close()
    print(f"transitions received per second, {options.rows:,} stored; median of {options.rounds} rounds")
    print(f"Quiver: {options.shards} shard actors, {options.in_flight} requests in flight; TorchRL: one actor")
    bench.table(["rows", *rounds, "ratio", "to the fastest", "rows served by each actor"], lines)
    claim = f"at least {CLAIM:g} times TorchRL's RayReplayBuffer at equal rows per request"
    bench.verdict(claim, min(ratios) >= CLAIM)
    bench.store(options.json, claim, found, options, figures)
    return 0 if min(ratios) >= CLAIM else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--rows", type=int, default=1_000_000)
    made.add_argument("--batch", type=int, nargs="+", default=[256, 4096, 16384])
    made.add_argument("--shards", type=int, default=2)
    made.add_argument("--in-flight", type=int, default=4, help="requests of ours, and clients and prefetches of theirs")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=1.0, help="of each contestant in each round")
    return made.parse_args()


class Served:
    """A run's actors, of which the shard actors are used and the consumer is this process."""

    def __init__(self, dataset: Dataset, shards: int, in_flight: int) -> None:
        from cluster.backends.ray_backend import RayBackend
        from cluster.backends.room import Place

        self._dataset, self._in_flight = dataset, in_flight
        self._view: View = dataset.view()
        recipe = Recipe(((str(dataset.path), None),), "bc", fused=True)
        topology = Topology(replay_shards=Role(count=shards))
        spec = AlgorithmSpec("bc", {}, dataset.spaces, None, 0)
        claim = Claim(Path("nowhere"), resume=False)
        run = Run(recipe, topology, Cadence(), claim, Console(), spec, REQUEST, self._view, self._view)
        plan = plan_actors(run)
        places = [Place(actor.name, Role(num_cpus=0.5)) for actor in plan]
        self._backend = RayBackend(topology, places, threads=1)
        self._actors = Actors(self._backend, run, plan)
        self._sequence = itertools.count()

    def _ask(self, sequence: int, count: int) -> Gathered:
        rows = draw(self._view, seed=0, sequence=sequence, count=count)
        return self._actors.gather(rows)

    def _receive(self, asked: Gathered) -> Batch[np.ndarray]:
        import ray

        # All parts at once, as an actor's arguments are resolved.
        return assemble(asked.assembly, ray.get(asked.parts))

    def rate(self, count: int, seconds: float) -> float:
        flying = deque(self._ask(next(self._sequence), count) for _ in range(self._in_flight))

        def step() -> None:
            received = self._receive(flying.popleft())
            flying.append(self._ask(next(self._sequence), count))
            assert len(received) == count

        found = bench.rate(step, count, seconds)
        while flying:
            self._receive(flying.popleft())
        return found

    def check(self, count: int) -> None:
        """The same rows as sampled in this process."""
        sequence = next(self._sequence)
        received = self._receive(self._ask(sequence, count))
        expected = self._dataset.sample(seed=0, sequence=sequence, count=count, request=REQUEST)
        for name in ("observation", "action", "reward", "discount", "next_observation", "terminated"):
            np.testing.assert_array_equal(getattr(received, name), getattr(expected, name), err_msg=name)

    def rows_served(self) -> list[int]:
        return [self._backend.get(self._backend.call(shard, "rows_served")) for shard in self._actors.shards]

    def close(self) -> None:
        self._backend.stop()


class TorchRL:
    """Its Ray buffer twice, without and with prefetching, both holding all transitions. One request size, since
    prefetching is for one."""

    def __init__(self, rows: int, count: int, several: int) -> None:
        from torchrl.data import LazyTensorStorage, RayReplayBuffer

        self._count, self._clients = count, several
        self._buffers = {
            prefetch: RayReplayBuffer(
                storage=partial(LazyTensorStorage, rows),
                batch_size=count,
                remote_config={"num_cpus": 1, "num_gpus": 0},
                **({"prefetch": prefetch} if prefetch else {}),
            )
            for prefetch in (0, several)
        }
        for chunk in _chunks(rows):
            for buffer in self._buffers.values():
                buffer.extend(chunk)
        self._threads = ThreadPoolExecutor(several)

    def contestants(self, seconds: float) -> dict[str, Callable[[], float]]:
        plain, prefetching = self._buffers[0], self._buffers[self._clients]
        return {
            PLAIN: lambda: self._one(plain, seconds),
            f"{self._clients} clients": lambda: self._several(plain, seconds),
            "prefetch": lambda: self._one(prefetching, seconds),
            f"prefetch, {self._clients} clients": lambda: self._several(prefetching, seconds),
        }

    def _one(self, buffer: Any, seconds: float) -> float:
        def step() -> None:
            assert len(buffer.sample()) == self._count

        step()
        return bench.rate(step, self._count, seconds)

    def _several(self, buffer: Any, seconds: float) -> float:
        """Clients in threads of this process, as many as we have requests in flight."""
        return sum(self._threads.map(lambda client: self._one(client, seconds), buffer.clients(self._clients)))

    def close(self) -> None:
        self._threads.shutdown()
        for buffer in self._buffers.values():
            buffer.close()


def _chunks(rows: int) -> Any:
    from sampling import source, tensordict

    arrays = source(rows)
    for start in range(0, rows, CHUNK):
        yield tensordict({name: array[start : start + CHUNK] for name, array in arrays.items()})


if __name__ == "__main__":
    sys.exit(main())
