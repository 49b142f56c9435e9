"""What a mutated input may lead to, and what it may not."""

from __future__ import annotations

from collections import Counter, defaultdict
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
    seconds: dict[str, float] = defaultdict(float)
    for result in results:
        counts.setdefault(result.job.target, Counter())[result.outcome] += 1
        seconds[result.job.target] += result.seconds
        seconds["total"] += result.seconds
    total: Counter[Outcome] = sum(counts.values(), Counter())
    width = max(map(len, [*counts, "total"]))
    lines = [" ".join([" " * width, "   all", " seconds", *(f"{outcome:>9}" for outcome in Outcome)])]
    for name, row in [*sorted(counts.items()), ("total", total)]:
        cells = (f"{row[outcome] or '·':>9}" for outcome in Outcome)
        lines.append(" ".join([f"{name:<{width}}", f"{row.total():>6}", f"{seconds[name]:>8.0f}", *cells]))
    return "\n".join(lines)


def failures(results: Iterable[Result], *, brief: bool = False) -> str:
    """Failures, one cause a paragraph, the most frequent first, each with the first mutation that shows it. `brief`:
    a cause is two lines."""
    causes: dict[tuple[Outcome, str], list[Result]] = {}
    for result in results:
        if not result.fine:
            causes.setdefault((result.outcome, result.kind), []).append(result)
    paragraphs = []
    for (outcome, kind), found in sorted(causes.items(), key=lambda entry: -len(entry[1])):
        first = min(found, key=lambda result: result.job.number)
        told = [line for line in first.what.splitlines() if line.strip()] or [""]
        what = [f"{told[-1][:200]}"] if brief else [f"  {line[:300]}" for line in told[-12:]]
        targets = ", ".join(sorted({result.job.target for result in found}))
        head = f"{outcome}, {len(found)} times, {targets}: {kind}"
        paragraphs.append("\n  ".join([head, first.change[:200], *what, first.job.again()]))
    return "\n\n".join(paragraphs)
