"""From a weakened log, fine-tuning keeps what it began with, goes beyond it, and beats a new start.

Claims, for IQL and Cal-QL on each task, of means over seeds: the offline policy scores .3 to .6, so that there is
something to gain; the online stage is below it by more than the offline scores' spread for at most a tenth of its
environment steps; it ends above it; and above the same method that had the same number of environment steps alone. AWAC
and RLPD stand in the same table, SAC and TD3 from scratch are the controls.

A job is a task, a method, a way and a seed: one or two commands of `quiver`, each a process with one thread. As many
run side by side as there are cores; each leaves a file, so that the same command goes on where it was ended. Seed 0 of
everything comes before seed 1 of anything. What was not run is printed as not run.

    python benchmarks/finetune.py --dry-run                         # what would run, and for how long
    python benchmarks/finetune.py                                   # about two hours on two cores
    python benchmarks/finetune.py --tasks umaze --methods iql       # a part
    python benchmarks/finetune.py --table                           # the tables again, from the stored results
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common as bench
import _finetune_table as table
import _stored as stored
from _finetune_job import Job, expected_seconds, log_of, path_of, run, stored_result
from _finetune_tasks import METHODS, SEEDS, TASKS
from _learning_tasks import REPOSITORY

Outcome = dict[str, Any]


def main() -> int:
    options = _options()
    if not options.table:
        jobs = to_do(plan(options.tasks, options.methods, options.seeds), options.results)
        if options.dry_run:
            show_plan(jobs, options.parallel)
            return 0
        try:
            execute(jobs, options)
        except KeyboardInterrupt:
            print("Stopped. The same command goes on with the jobs that have not finished.")
            return 130
    held = table.write(options.results, plan(), "python benchmarks/finetune.py")
    print(options.results.with_suffix(".md").read_text().split("## Commands")[0])
    return 0 if held else 1


def _options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    made.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    made.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    made.add_argument("--dry-run", action="store_true", help="print the jobs and their expected cost")
    made.add_argument("--table", action="store_true", help="only write the tables and curves again")
    made.add_argument("--parallel", type=int, default=bench.machine()["cores"], help="jobs at once (all cores)")
    made.add_argument("--data", type=Path, help="the folder of the logs; shared/data by default")
    made.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "finetune", help="where the runs are kept")
    made.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results" / "finetune")
    return made.parse_args()


# --- The plan ---


def plan(
    tasks: Sequence[str] = tuple(TASKS), methods: Sequence[str] = tuple(METHODS), seeds: Sequence[int] = SEEDS
) -> list[Job]:
    """Jobs in the order in which they say most: everything once before anything again."""
    return [
        Job(task, method, way, seed)
        for seed in seeds
        for task in tasks
        for method in methods
        if task in METHODS[method].milliseconds
        for way in METHODS[method].ways
    ]


def to_do(jobs: Sequence[Job], results: Path) -> list[Job]:
    """Those that are not stored; says why others are run again."""
    left = []
    for job in jobs:
        result, reason = stored_result(results, job)
        if result is not None:
            continue
        if reason != "not run":
            print(f"{job}: again ({reason})")
        left.append(job)
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} jobs are stored already", flush=True)
    return left


def show_plan(jobs: Sequence[Job], parallel: int) -> None:
    costs = [expected_seconds(job) for job in jobs]
    bench.table(["job", "about"], [[str(job), stored.duration(cost)] for job, cost in zip(jobs, costs, strict=True)])
    print(f"{len(jobs)} jobs, about {stored.duration(sum(costs) / parallel)} with {parallel} at once")


# --- Running ---


def execute(jobs: Sequence[Job], options: argparse.Namespace) -> None:
    """All jobs, a line for each as it ends."""
    logs = {name: log_of(TASKS[name], options.data, options.work) for name in dict.fromkeys(job.task for job in jobs)}
    left = {job: expected_seconds(job) for job in jobs}
    began, spent = time.perf_counter(), 0.0
    for done, (job, outcome) in enumerate(side_by_side(jobs, logs, options), 1):
        stored.save(path_of(options.results, job), outcome)
        spent += left.pop(job)
        # The estimates are of one machine; how far this one is off shows as jobs end.
        remaining = stored.duration(sum(left.values()) * (time.perf_counter() - began) / spent)
        if "error" in outcome:
            said = f"failed: {outcome['error']}"
        else:
            first, last = outcome["curve"][0], outcome["curve"][-1]
            said = f"{first['score']:.2f} → {last['score']:.2f} in {outcome['seconds']:.0f} s"
        print(f"[{done}/{len(jobs)}] {job}: {said}; about {remaining} left", flush=True)


def side_by_side(
    jobs: Sequence[Job], logs: dict[str, Path], options: argparse.Namespace
) -> Iterator[tuple[Job, Outcome]]:
    """In the order given, so many at once; in the order in which they end."""
    waiting = list(jobs)
    running: dict[Future[Outcome], Job] = {}
    with ThreadPoolExecutor(options.parallel) as pool:
        while waiting or running:
            while waiting and len(running) < options.parallel:
                job = waiting.pop(0)
                running[pool.submit(attempt, job, logs[job.task], options.work)] = job
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), future.result()


def attempt(job: Job, log: Path, work: Path) -> Outcome:
    """A job's result, or why there is none: what one does must not end all others."""
    try:
        return run(job, log, work)
    except Exception as error:
        return {**asdict(job), "error": stored.told(error)}


if __name__ == "__main__":
    sys.exit(main())
