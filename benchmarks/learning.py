"""Every method learns: last scores over seeds, beside d3rlpy's version of each method that it has.

Claim: on the same transitions, with the same widths, batch, learning rates and rewards, our version of a method is at
least as good as d3rlpy's within the spread of the seeds.

A job is a task, a method, a library and a seed. Jobs run in processes of their own, one thread each, side by side over
Ray; each leaves a file, so that the same command goes on where it was ended and does nothing twice. Seed 0 of
everything comes before seed 1 of anything, and the two versions of a method are neighbours. What was not run is
printed as not run.

    python benchmarks/learning.py --dry-run                       # what would run, and for how long
    python benchmarks/learning.py --minimal                       # about three hours on two cores
    python benchmarks/learning.py --tasks umaze --methods iql bc  # a part
    python benchmarks/learning.py --table                         # the tables again, from the stored results

It needs Quiver's environment (`make install`) for the simulators; d3rlpy is found in another one, named by --peers
(`make bench` makes it), because it pins a gymnasium that the simulators do not work with.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _common as bench
import _learning_results as results
import _learning_table as table
from _learning_job import D3RLPY, LIBRARIES, QUIVER, Job, expected_seconds, run, settings
from _learning_methods import METHODS
from _learning_tasks import REPOSITORY, TASKS, dataset
from _stored import duration

import learners

Outcome = dict[str, Any]


def main() -> int:
    options = _options()
    needs_simulators()
    bench.quiet()
    peers = add_peers(options.peers)
    unregistered = {method.algorithm for method in METHODS.values()} - set(learners.names())
    if not options.table:
        jobs, told = to_do(options, unregistered, peers)
        print("\n".join(told), flush=True)
        if options.dry_run:
            show_plan(jobs, options)
            return 0
        try:
            execute(jobs, options, peers)
        except KeyboardInterrupt:
            print("Stopped. The same command goes on with the jobs that have not finished.")
            return 130
    held = table.write(options.results, plan(), options.steps_scale, unregistered, command(options))
    print(options.results.with_suffix(".md").read_text().split("## Knobs")[0])
    return 0 if held else 1


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--tasks", nargs="+", choices=TASKS, help="all that need no GPU, by default")
    made.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    made.add_argument("--seeds", nargs="+", type=int, help="those of the task, by default")
    made.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    made.add_argument("--steps-scale", type=float, default=1.0, help="multiplies every budget of gradient steps")
    made.add_argument("--minimal", action="store_true", help="the subset for two cores and about three hours")
    made.add_argument("--dry-run", action="store_true", help="print the jobs and their expected cost")
    made.add_argument("--table", action="store_true", help="only write the tables again")
    made.add_argument("--serial", action="store_true", help="one job after the other in this process, without Ray")
    made.add_argument("--parallel", type=int, default=0, help="jobs at once; one for each core by default")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--data", type=Path, help="the folder of the logs; shared/data by default")
    made.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "learning", help="where datasets are kept")
    made.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results" / "learning")
    made.add_argument("--peers", type=Path, default=REPOSITORY / ".venv-peers", help="an environment with d3rlpy")
    options = made.parse_args()
    options.parallel = options.parallel or bench.machine()["cores"]
    return options


def command(options: argparse.Namespace) -> str:
    """What makes the tables again, as far as it matters to a reader."""
    scale = [] if options.steps_scale == 1.0 else ["--steps-scale", f"{options.steps_scale:g}"]
    return shlex.join(["python", "benchmarks/learning.py", *scale])


def needs_simulators() -> None:
    missing = [name for name in ("gymnasium_robotics", "ogbench") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"learning.py: {', '.join(missing)} not installed here; run it with what `make install` makes.")


def add_peers(environment: Path) -> list[str]:
    """Makes d3rlpy importable where it is installed in another environment, behind everything of this one's.

    What was added to the path; nothing, where there is no such environment.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [str(path) for path in environment.absolute().glob(f"lib/{version}/site-packages")]
    sys.path.extend(found)
    return found


# --- The plan ---


def plan(
    tasks: Sequence[str] = tuple(TASKS),
    methods: Sequence[str] = tuple(METHODS),
    libraries: Sequence[str] = LIBRARIES,
    seeds: Sequence[int] | None = None,
    *,
    minimal: bool = False,
) -> list[Job]:
    """Jobs in the order in which they say most: every method once before any of them again."""
    chosen = [TASKS[name] for name in tasks]
    seeds_of = {task.name: seeds or (task.minimal_seeds if minimal else task.seeds) for task in chosen}
    jobs = []
    for seed in sorted({seed for given in seeds_of.values() for seed in given}):
        for task in chosen:
            only = (task.minimal_methods if minimal else None) or methods
            jobs += [
                Job(task.name, name, library, seed)
                for name in methods
                if name in only and seed in seeds_of[task.name]
                for library in libraries
                if library == QUIVER or METHODS[name].peer
            ]
    return jobs


def to_do(options: argparse.Namespace, unregistered: set[str], peers: list[str]) -> tuple[list[Job], list[str]]:
    """The jobs that are to be run, and lines about those that are not."""
    tasks = options.tasks or [name for name, task in TASKS.items() if options.device == "cuda" or not task.gpu_only]
    jobs, told, stored = [], [], 0
    peer_found = importlib.util.find_spec("d3rlpy") is not None
    for job in plan(tasks, options.methods, options.libraries, options.seeds, minimal=options.minimal):
        task, method = job.parts
        result = results.load(options.results, job)
        if task.gpu_only and options.device != "cuda":
            told.append(f"{job}: not run (its budget wants --device cuda)")
        elif job.library == QUIVER and method.algorithm in unregistered:
            told.append(f"{job}: not run (not registered)")
        elif job.library == D3RLPY and not peer_found:
            told.append(f"{job}: not run (no d3rlpy here nor in {options.peers.name}: see --peers)")
        elif result is None:
            jobs.append(job)
        elif changed := results.difference(result, job, options.steps_scale):
            told.append(f"{job}: again ({changed})")
            jobs.append(job)
        elif "error" in result:
            told.append(f"{job}: again (it failed: {result['error']})")
            jobs.append(job)
        else:
            stored += 1
    if stored:
        told.append(f"{stored} jobs are stored already")
    return jobs, told


def expected(job: Job, options: argparse.Namespace) -> float:
    """Seconds: as another seed of the same took, or by the table of the methods."""
    steps = settings(job, options.steps_scale)["steps"]
    for seed in TASKS[job.task].seeds:
        sibling = results.load(options.results, Job(job.task, job.method, job.library, seed))
        if sibling and "seconds" in sibling and sibling["settings"]["steps"] == steps:
            return float(sibling["seconds"])
    return expected_seconds(job, steps)


def show_plan(jobs: Sequence[Job], options: argparse.Namespace) -> None:
    costs = [expected(job, options) for job in jobs]
    steps = [settings(job, options.steps_scale)["steps"] for job in jobs]
    bench.table(
        ["job", "steps", "about"],
        [[str(job), f"{n:,}", duration(cost)] for job, n, cost in zip(jobs, steps, costs, strict=True)],
    )
    at_once = 1 if options.serial else options.parallel
    print(f"{len(jobs)} jobs, about {duration(sum(costs) / at_once)} with {at_once} at once")


# --- Running ---


def execute(jobs: Sequence[Job], options: argparse.Namespace, peers: list[str]) -> None:
    """All jobs, a line for each as it ends."""
    if not jobs:
        return
    data = {name: dataset(TASKS[name], options.data, options.work).path for name in {job.task for job in jobs}}
    costs = {job: expected(job, options) for job in jobs}
    began, spent = time.perf_counter(), 0.0
    outcomes = one_by_one(jobs, data, options) if options.serial else over_ray(jobs, data, options, peers)
    for done, (job, outcome) in enumerate(outcomes, 1):
        results.save(options.results, job, outcome)
        spent += costs.pop(job)
        # The estimates are of one machine; how far this one is off shows as jobs end.
        left = sum(costs.values()) * (time.perf_counter() - began) / spent
        told = (
            f"failed: {outcome['error']}"
            if "error" in outcome
            else f"{outcome['last']:.2f} in {outcome['seconds']:.0f} s"
        )
        print(f"[{done}/{len(jobs)}] {job}: {told.format(**outcome)}; about {duration(left)} left", flush=True)


def one_by_one(
    jobs: Sequence[Job], data: dict[str, Path], options: argparse.Namespace
) -> Iterator[tuple[Job, Outcome]]:
    for job in jobs:
        yield job, attempt(job, data[job.task], options.steps_scale, options.device)


def over_ray(
    jobs: Sequence[Job], data: dict[str, Path], options: argparse.Namespace, peers: list[str]
) -> Iterator[tuple[Job, Outcome]]:
    """In the order given, so many at once; in the order in which they end."""
    import ray

    bench.start_ray(cpus=options.parallel)
    # A process for each job: none inherits another's threads, random numbers or memory.
    remote = ray.remote(num_cpus=1, max_calls=1, max_retries=0)(in_worker)
    waiting = list(jobs)
    running: dict[Any, Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < options.parallel:
                job = waiting.pop(0)
                running[remote.remote(job, data[job.task], options.steps_scale, options.device, peers)] = job
            (ended,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(ended)
            try:
                yield job, ray.get(ended)
            except ray.exceptions.RayError as error:  # the process died
                yield job, results.failed(job, options.steps_scale, error)
    finally:
        ray.shutdown()


def in_worker(job: Job, data: Path, steps_scale: float, device: str, peers: list[str]) -> Outcome:
    sys.path.extend(peers)
    return attempt(job, data, steps_scale, device)


def attempt(job: Job, data: Path, steps_scale: float, device: str) -> Outcome:
    """A job's result, or why there is none: what one method does must not end all others."""
    try:
        return run(job, data, steps_scale, device)
    except Exception as error:
        return results.failed(job, steps_scale, error)


if __name__ == "__main__":
    sys.exit(main())
