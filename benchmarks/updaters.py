"""Bellman updaters: labels made in parallel, in the manner of QT-Opt.

Claim: on two cores, two updaters train QT-Opt with at least 1.5 times the gradient steps per second of the fused run
on one thread (which computes its own labels, some thirty times the work of the step itself). The fused run is taken in
one process and over Ray, and the faster counts. All runs are the product's own loop and actors, take turns, and have
one thread a process.

Then the growth from 1 to 8 updaters where each label costs a fixed time: the labels of a small network, made to
wait. One machine stands in for many there: waiting takes no processor, so that only the loop limits the growth.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _common as bench
from rich.console import Console

from cluster import process
from cluster.actor_plan import ActorPlan, plan_actors
from cluster.actors import Actors
from cluster.backends.backend import Backend
from cluster.backends.serial_backend import SerialBackend
from cluster.build import AlgorithmSpec
from cluster.claim import Claim
from cluster.loop import IN_FLIGHT, Listeners, Loop
from cluster.options import Cadence, Recipe, Role, Topology
from cluster.run import Run
from cluster.schedule import Schedule
from cluster.source import LogSource
from learners.algorithm import Algorithm, Targets
from replay import Batch, Dataset

CLAIM = 1.5
SMALL = {"hidden": (16, 16), "iterations": 1, "samples": 8, "elites": 2}
"""QT-Opt whose labels take next to nothing, but for the wait."""


@dataclass(frozen=True)
class WaitingSpec(AlgorithmSpec):
    """An algorithm whose every label takes `delay` seconds more."""

    delay: float = 0.0

    def create(self, device: str, *, rows: int = 0) -> Algorithm:
        algorithm = super().create(device, rows=rows)
        compute = algorithm.targets

        def targets(batch: Batch[Any]) -> Targets:
            time.sleep(self.delay)
            return compute(batch)

        algorithm.targets = targets  # type: ignore[method-assign]
        return algorithm


def main() -> int:
    options = _options()
    bench.needs("ray")
    process.prepare(1, "cpu")
    found = bench.machine()
    print(bench.machine_line(found))
    bench.start_ray(cpus=max(4, found["cores"] or 1))
    with bench.data_folder(options.data) as folder:
        dataset = bench.make_dataset(folder / f"rows-{options.rows}", options.rows)
        speedup = against_fused(dataset, options)
        growth = growing(dataset, options)
    best = max(("fused, one process", "fused, Ray"), key=lambda name: bench.median(speedup[name]))
    labelled = next(name for name in speedup if name.endswith("updaters"))
    ratio = bench.median([a / b for a, b in zip(speedup[labelled], speedup[best], strict=True)])
    print(
        f"QT-Opt, batch {options.batch}, K = {options.chunk_steps}, D = {options.depth}, labels from weights "
        f"{_staleness(options.chunk_steps, options.depth):g} steps old on average; median of {options.rounds} rounds"
    )
    bench.table(
        ["run", "steps/s", f"against {best}"],
        [
            [name, f"{bench.median(rates):.1f}", f"{bench.median(rates) / bench.median(speedup[best]):.2f}"]
            for name, rates in speedup.items()
        ],
    )
    print()
    print(
        f"each label {options.delay * 1e3:g} ms, K = 1, D = {max(options.updaters)}, labels from weights "
        f"{_staleness(1, max(options.updaters)):g} steps old"
    )
    alone = bench.median(growth[options.updaters[0]])
    bench.table(
        ["updaters", "steps/s", f"against {options.updaters[0]}", "of the most possible"],
        [
            [
                str(number),
                f"{bench.median(rates):.1f}",
                f"{bench.median(rates) / alone:.2f}",
                f"{bench.median(rates) * options.delay / number:.0%}",
            ]
            for number, rates in growth.items()
        ],
    )
    claim = f"{options.two} updaters give at least {CLAIM:g} times the steps per second of the fused run"
    bench.verdict(claim, ratio >= CLAIM)
    figures = {
        "steps_per_second": {name: bench.summary(rates) for name, rates in speedup.items()},
        "ratio": ratio,
        "staleness": _staleness(options.chunk_steps, options.depth),
        "growth": {str(number): bench.summary(rates) for number, rates in growth.items()},
    }
    bench.store(options.json, claim, found, options, figures)
    return 0 if ratio >= CLAIM else 1


def _options() -> Any:
    made = bench.parser(__doc__)
    made.add_argument("--rows", type=int, default=100_000)
    made.add_argument("--batch", type=int, default=256)
    made.add_argument("--steps", type=int, default=64, help="of each run in each round")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--chunk-steps", type=int, default=2, help="K")
    made.add_argument("--depth", type=int, default=3, help="D: at least the number of updaters")
    made.add_argument("--two", type=int, default=2, metavar="N", help="updaters against the fused run")
    made.add_argument("--updaters", type=int, nargs="+", default=[1, 2, 4, 8], help="of the waiting kind")
    made.add_argument("--delay", type=float, default=0.1, help="seconds that each label of those takes")
    made.add_argument("--waits", type=int, default=40, help="steps of each of those runs, for each updater")
    return made.parse_args()


def against_fused(dataset: Dataset, options: Any) -> dict[str, list[float]]:
    """Steps per second of the run with updaters and of the fused ones."""
    recipe = _recipe(dataset, options.steps, options.batch, options.chunk_steps, options.depth)
    fused = replace(recipe, fused=True)
    spec = AlgorithmSpec("qtopt", {}, dataset.spaces, None, 0)
    labelled = KeptActors(dataset, spec, recipe, options.two)
    runs = {
        "fused, one process": KeptActors(dataset, spec, fused, 0, serial=True),
        "fused, Ray": KeptActors(dataset, spec, fused, 0),
        f"{options.two} updaters": labelled,
    }
    for run in runs.values():
        run.rate(recipe=replace(run.recipe, steps=options.chunk_steps * 4))  # nothing is measured of the first steps
    rates = bench.interleave({name: run.rate for name, run in runs.items()}, options.rounds)
    if min(labelled.labelled_by) == 0:
        sys.exit(f"an updater labelled nothing: {labelled.labelled_by}")
    for run in runs.values():
        run.close()
    return rates


def growing(dataset: Dataset, options: Any) -> dict[int, list[float]]:
    """Steps per second by number of updaters, each label taking a fixed time. Of one set of actors, some are used."""
    most = max(options.updaters)
    spec = WaitingSpec("qtopt", SMALL, dataset.spaces, None, 0, delay=options.delay)
    # Filling and emptying the pipeline takes D chunks each, of which nothing is measured.
    steps = {number: options.waits * number + 3 * most for number in options.updaters}
    run = KeptActors(dataset, spec, _recipe(dataset, max(steps.values()), options.batch, 1, most), most)
    run.rate(recipe=replace(run.recipe, steps=4 * most))  # nothing is measured of the first steps
    contestants: dict[str, Callable[[], float]] = {
        str(number): lambda number=number: run.rate(  # type: ignore[misc]
            number, recipe=replace(run.recipe, steps=steps[number])
        )
        for number in options.updaters
    }
    rates = bench.interleave(contestants, 1)
    run.close()
    return {int(name): values for name, values in rates.items()}


def _recipe(dataset: Dataset, steps: int, batch: int, chunk_steps: int, depth: int) -> Recipe:
    return Recipe(
        ((str(dataset.path), None),),
        "qtopt",
        batch_size=batch,
        steps=steps,
        chunk_steps=chunk_steps,
        depth=depth,
    )


def _staleness(chunk_steps: int, depth: int) -> float:
    return Schedule(10_000, chunk_steps, depth).staleness(1_000)


class KeptActors:
    """Actors that are kept, and the product's loop over it as often as one likes."""

    def __init__(
        self, dataset: Dataset, spec: AlgorithmSpec, recipe: Recipe, updaters: int, *, serial: bool = False
    ) -> None:
        self.recipe = recipe
        view = dataset.view()
        request = spec.create("cpu").requires
        topology = Topology(serial=serial, bellman_updaters=Role(count=updaters))
        cadence = Cadence(validate_every=0, checkpoint_every=0)
        claim = Claim(Path("nowhere"), resume=False)
        self._run = Run(recipe, topology, cadence, claim, Console(), spec, request, view, view)
        plan = plan_actors(self._run)
        self._backend = SerialBackend() if serial else _ray_backend(topology, plan)
        self._actors = Actors(self._backend, self._run, plan)
        self.labelled_by: list[int] = []

    def rate(self, updaters: int | None = None, *, recipe: Recipe | None = None) -> float:
        """Steps per second with the first so many updaters (all, if None), while the pipeline is full.

        `recipe` may have fewer steps than the actors were made for, not more.
        """
        recipe = recipe or self.recipe
        actors = copy.copy(self._actors)
        actors.updaters = actors.updaters[:updaters]
        seen: list[tuple[float, int]] = []
        listeners = Listeners(
            trained=lambda done, metrics: seen.append((time.perf_counter(), done)),
            diagnosed=lambda *_: None,
            evaluated=lambda *_: None,
            checkpointed=lambda *_: None,
        )
        run = replace(self._run, recipe=recipe)
        loop = Loop(run, actors, LogSource(run, actors), listeners)
        loop.run(None)
        self.labelled_by = loop.labelled_by
        return _steady(seen, 0 if recipe.fused else recipe.depth)

    def close(self) -> None:
        self._backend.stop()


def _steady(seen: Sequence[tuple[float, int]], depth: int) -> float:
    """Steps per second from the first chunk that the pipeline was full for to the last one it was full at."""
    last = max(len(seen) - 1 - IN_FLIGHT - depth, 1)
    first = min(depth, last - 1)
    return (seen[last][1] - seen[first][1]) / (seen[last][0] - seen[first][0])


def _ray_backend(topology: Topology, plan: ActorPlan) -> Backend:
    from cluster.backends.ray_backend import RayBackend
    from cluster.backends.room import Place

    # Small shares in Ray's books: the actors of several runs live side by side, and take turns.
    return RayBackend(topology, [Place(actor.name, Role(num_cpus=0.1)) for actor in plan], threads=1)


if __name__ == "__main__":
    sys.exit(main())
