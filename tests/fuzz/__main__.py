"""`make fuzz`: changes good inputs at random and opens them: each is refused, or read with equal content."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.driver import Limits, deal, fuzz
from tests.fuzz.outcomes import Job, Result, failures, table
from tests.fuzz.targets import find


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="another seed, other mutations (0)")
    parser.add_argument("--mutations", type=int, default=4000, metavar="N", help="in all, over all targets (4000)")
    parser.add_argument("--seconds", type=float, default=900.0, help="no mutation begins after so many (900)")
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="only this one; may end in *")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only this mutation, of one --target")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="with --only: leave the mutated input there")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--hang", type=float, default=20.0, metavar="SECONDS", help="a mutation may take (20)")
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="a mutation may take (1024)")
    parser.add_argument("--brief", action="store_true", help="a line of each failure's message instead of many")
    parser.add_argument("--list", action="store_true", help="the targets, and nothing else")
    return parser.parse_args()


def main() -> int:
    given = options()
    try:
        targets = find(given.target)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(target.name for target in targets))
        return 0
    limits = Limits(given.workers, given.hang, given.memory << 20, given.seconds)
    if given.only is not None:
        if len(targets) != 1:
            print("--only: goes with one --target.", file=sys.stderr)
            return 2
        jobs = iter([Job(targets[0].name, given.seed, given.only)])
    else:
        jobs = deal(targets, given.seed, given.mutations)
    began = time.monotonic()
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="quiver-fuzz-", dir=shared if shared.is_dir() else None) as work:
        results = fuzz(targets, jobs, Path(work), limits, progress)
        if given.keep is not None and given.only is not None:
            keep(Path(work), given.keep)
    if not results:
        print("nothing was tried", file=sys.stderr)
        return 1
    if wrong := failures(results, brief=given.brief):
        print(wrong, end="\n\n")
    elif given.only is not None:
        print(f"{results[0].change}\n{results[0].what}")
    print(table(results))
    print(f"seed {given.seed}, {len(results)} mutations, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def keep(work: Path, where: Path) -> None:
    """The last mutated input, as its door left it."""
    for job in work.glob("worker-*/job"):
        shutil.copytree(job, where, symlinks=True, dirs_exist_ok=True, ignore=_special)


def _special(where: str, names: list[str]) -> list[str]:
    """Pipes and sockets, which cannot be copied."""
    paths = [Path(where, name) for name in names]
    return [path.name for path in paths if not (path.is_symlink() or path.is_file() or path.is_dir())]


def progress(result: Result) -> None:
    if not result.fine and sys.stderr.isatty():
        print(f"{result.job.target} {result.job.number}: {result.outcome}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
