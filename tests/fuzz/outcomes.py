"""What a mutated input may lead to, and what it may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    REFUSED = "refused"
    """One of our errors, each line of which names the input, and nothing left behind."""
    EQUAL = "equal"
    """Read, with the content of the original."""
    OTHER = "other"
    """Read, with other content, which nothing in the input contradicts: a number changed that no hash covers."""
    WRONG = "wrong"
    """Read, with other content, although a hash covers it."""
    UNCLEAR = "unclear"
    """One of our errors, which does not say in one line what it is about."""
    LEFT = "left"
    """Refused, with something left behind."""
    TRACEBACK = "traceback"
    """Any other exception."""
    CRASH = "crash"
    """The process ended."""
    HANG = "hang"
    MEMORY = "memory"
    """More memory was taken, or asked for, than the bound."""


FINE = (Outcome.REFUSED, Outcome.EQUAL, Outcome.OTHER)


@dataclass(frozen=True)
class Job:
    """One mutation: the same whenever, and in whichever process, it is asked for."""

    target: str
    seed: int
    number: int

    def again(self) -> str:
        """The command that repeats it."""
        return f"make fuzz ARGS='--target {self.target} --seed {self.seed} --only {self.number}'"


@dataclass(frozen=True)
class Result:
    job: Job
    outcome: Outcome
    change: str = ""
    """What was done to the input."""
    what: str = ""
    """The message, or the last lines of the traceback."""
    kind: str = ""
    """What failures of one cause have in common: the error and the line that it comes from."""
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        return self.outcome in FINE


def table(results: Iterable[Result]) -> str:
    """Outcomes counted by target."""
    counts: dict[str, Counter[Outcome]] = {}
    for result in results:
        counts.setdefault(result.job.target, Counter())[result.outcome] += 1
    total: Counter[Outcome] = sum(counts.values(), Counter())
    width = max(map(len, [*counts, "total"]))
    lines = [" ".join([" " * width, f"{'all':>6}", *(f"{outcome:>9}" for outcome in Outcome)])]
    for name, row in [*sorted(counts.items()), ("total", total)]:
        cells = (f"{row[outcome] or '·':>9}" for outcome in Outcome)
        lines.append(" ".join([f"{name:<{width}}", f"{row.total():>6}", *cells]))
    return "\n".join(lines)


def failures(results: Iterable[Result]) -> str:
    """Failures, one cause a paragraph, the most frequent first, each with the first mutation that shows it."""
    causes: dict[tuple[str, Outcome, str], list[Result]] = {}
    for result in results:
        if not result.fine:
            causes.setdefault((result.job.target, result.outcome, result.kind), []).append(result)
    paragraphs = []
    for (target, outcome, kind), found in sorted(causes.items(), key=lambda entry: -len(entry[1])):
        first = min(found, key=lambda result: result.job.number)
        what = "\n".join(f"    {line[:300]}" for line in first.what.splitlines()[-12:])
        paragraphs.append(f"{target}: {outcome}, {len(found)} times: {kind}\n  {first.change[:300]}\n{what}\n  {first.job.again()}")
    return "\n\n".join(paragraphs)
