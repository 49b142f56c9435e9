"""The environment runners as the driver sees them: who is asked for what, who is late, who was left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.backends.backend import Actor, Backend, LearnerDiedError, Reference
from cluster.errors import RayLostError, RunError
from cluster.roles.env_runner import RolloutReport
from envs import EnvError, EnvStalledError

logger = logging.getLogger(__name__)

FAILURES = 5
"""In a row, after which a runner is left out for good."""
WARNINGS = 10
"""Episodes left out of which a runner's warnings tell each; afterwards every hundredth."""
FIRST_PAUSE = 1.0
"""Seconds before a runner whose environment failed is asked again; twice as many each further time."""


class NoRunnerError(RunError):
    """Every environment runner was left out. Once the environment is put right, the run goes on with --resume."""


@dataclass
class _Runner:
    actor: Actor
    report: Reference | None = None
    """Of the call that is under way; None where there is none."""
    episodes: Reference | None = None
    asked: int = 0
    """Environment steps of that call."""
    since: float = 0.0
    pending: int = 0
    """Steps in episodes that have not ended, as it last told."""
    told_late: bool = False
    failures: int = 0
    resume_at: float = 0.0
    dropped: bool = False
    steps: int = 0
    stored: int = 0
    quarantined: int = 0
    all_failures: int = 0


class RunnerPool:
    """One call at a time for each runner. None of them is ever waited for alone.

    A runner that has not answered for `stalled_seconds` is no longer counted on; should it answer after all, what it
    brings is welcome. One whose environment fails pauses, longer each time, and is left out after `FAILURES` in a row;
    so is one whose environments have each given `FAILURES` damaged episodes in a row, and at once one whose environment
    has used up its patience (`EnvStalledError`).
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        backend: Backend,
        num_envs: int,
        rollout_steps: int,
        *,
        first_sequence: int,
        stalled_seconds: float,
    ) -> None:
        self._runners = [_Runner(actor) for actor in actors]
        self._backend, self._num_envs, self._rollout_steps = backend, num_envs, rollout_steps
        self._sequence = first_sequence
        self._stalled = stalled_seconds

    # --- Asking ---

    def idle(self) -> list[int]:
        """Runners that may be asked for something now."""
        now = time.monotonic()
        return [
            number
            for number, runner in enumerate(self._runners)
            if runner.report is None and not runner.dropped and runner.resume_at <= now
        ]

    def steps_for(self, left: int) -> int:
        """Environment steps of the next call, where so many are left to be taken: whole ones of each environment."""
        return self._num_envs * min(self._rollout_steps, -(-left // self._num_envs))

    def collect(self, number: int, version: int, weights: Reference, steps: int) -> None:
        self._call(number, steps, "collect", self._sequence, version, weights, steps // self._num_envs)
        self._sequence += 1

    def cut(self, number: int) -> None:
        """Ask for the episodes under way, if there are any."""
        if self._runners[number].pending:
            self._call(number, 0, "cut")

    def _call(self, number: int, steps: int, method: str, *arguments: Any) -> None:
        runner = self._runners[number]
        runner.report, runner.episodes = self._backend.call(runner.actor, method, *arguments, returns=2)
        runner.asked, runner.since, runner.told_late = steps, time.monotonic(), False

    # --- Answers ---

    def references(self) -> list[Reference]:
        return [runner.report for runner in self._runners if runner.report is not None]

    def take(self, ready: Sequence[Reference]) -> list[tuple[RolloutReport, Reference]]:
        """The answers among `ready`: reports, and references to their episodes.

        Raises `LearnerDiedError` where weights were lost with their learner, `RunError` once no runner is left, and
        `RayLostError` where Ray is gone.
        """
        found = []
        for number, runner in enumerate(self._runners):
            if runner.report is None or not any(runner.report is reference for reference in ready):
                continue
            report, episodes = runner.report, runner.episodes
            runner.report = runner.episodes = None
            try:
                told: RolloutReport = self._backend.get(report)
            except (LearnerDiedError, RayLostError):
                raise
            except Exception as error:
                self._failed(number, error)
                continue
            runner.failures = 0
            runner.pending = told.pending
            runner.steps += told.taken
            found.append((told, episodes))
            self._quarantined(number, told)
        return found

    def stored(self, report: RolloutReport) -> None:
        """Its episodes are in the store."""
        self._runners[report.runner].stored += report.episodes

    def _quarantined(self, number: int, told: RolloutReport) -> None:
        runner = self._runners[number]
        for reason in told.quarantined:
            runner.quarantined += 1
            if runner.quarantined <= WARNINGS or runner.quarantined % 100 == 0:
                logger.warning("env_runner-%d: %s The episode is left out of the store.", number, reason)
        if told.damaged_in_a_row >= FAILURES and told.quarantined:
            last = told.quarantined[-1]
            self._drop(number, f"gave {FAILURES} damaged episodes in a row in each of its environments", last)

    def _failed(self, number: int, error: Exception) -> None:
        runner = self._runners[number]
        runner.failures += 1
        runner.all_failures += 1
        runner.pending = 0
        if isinstance(error, EnvStalledError):
            self._drop(number, "hangs in its environment", str(error), error)
            return
        if runner.failures < FAILURES:
            pause = FIRST_PAUSE * 2.0 ** (runner.failures - 1)
            runner.resume_at = time.monotonic() + pause
            logger.warning("env_runner-%d failed (%s); again in %.0f s", number, _told(error), pause)
            return
        self._drop(number, f"failed {FAILURES} times in a row", _told(error), error)

    def _drop(self, number: int, what: str, reason: str, error: Exception | None = None) -> None:
        """Leave a runner out for good. Raises `RunError` where it was the last one."""
        self._runners[number].dropped = True
        logger.warning("env_runner-%d %s (%s); going on without it", number, what, reason)
        if all(other.dropped for other in self._runners):
            raise NoRunnerError(
                f"no environment runner is left: the last one {what}, with {reason.rstrip('.')}. What was acknowledged "
                "is stored; put the environment right, then go on with --resume."
            ) from error

    @property
    def resting(self) -> bool:
        """Whether nobody is asked for anything, and nobody pauses who may be asked again later."""
        now = time.monotonic()
        return not any(
            runner.report is not None or (runner.resume_at > now and not runner.dropped) for runner in self._runners
        )

    # --- How it goes ---

    @property
    def under_way(self) -> int:
        """Environment steps that runners are taking now, those left out that may never answer."""
        return sum(runner.asked for runner in self._runners if runner.report is not None and not self._late(runner))

    @property
    def pending(self) -> int:
        """Environment steps in episodes that have not ended, of runners that are counted on."""
        return sum(runner.pending for runner in self._runners if not runner.dropped and not self._late(runner))

    @property
    def quarantined(self) -> int:
        """Episodes left out because they were damaged."""
        return sum(runner.quarantined for runner in self._runners)

    @property
    def busy(self) -> int:
        return sum(runner.report is not None for runner in self._runners)

    def _late(self, runner: _Runner) -> bool:
        late = runner.report is not None and time.monotonic() - runner.since > self._stalled
        if late and not runner.told_late:
            runner.told_late = True
            number = self._runners.index(runner)
            logger.warning("env_runner-%d has not answered for %.0f s; going on without it", number, self._stalled)
        return late

    def describe(self) -> str:
        """In a few words, for a message about waiting."""
        dropped = sum(runner.dropped for runner in self._runners)
        late = sum(self._late(runner) for runner in self._runners)
        return f"{self.busy} of {len(self._runners)} runners are busy, {late} of them late; {dropped} dropped out"

    def summary(self) -> list[dict[str, Any]]:
        return [
            {
                "name": f"env_runner-{number}",
                "steps": runner.steps,
                "episodes": runner.stored,
                "quarantined": runner.quarantined,
                "failures": runner.all_failures,
                "dropped": runner.dropped,
            }
            for number, runner in enumerate(self._runners)
        ]


def _told(error: Exception) -> str:
    """What went wrong. Our own errors need no type: they are sentences."""
    text = str(error) if isinstance(error, EnvError | RunError) else f"{type(error).__name__}: {error}"
    return text.rstrip(".")
