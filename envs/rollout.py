"""Stepping vectorised environments, and cutting what happens into whole episodes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.actions import Act, as_actions, ask
from envs.episode import RecordedEpisode, Recording
from envs.errors import MOST_ENVS, MOST_STEPS, EnvError, seeds, shown, whole
from envs.evaluate import MAX_STEPS
from envs.guard import Blaming
from envs.spec import EnvSpec
from envs.stepper import Stepper, VectorEnv
from envs.vector import let_go, make_vector
from envs.watch import Patience, Watch
from envs.watcher import CONSTRUCTION


class Rollout:
    """Steps B environments side by side, for as long as it is asked, and hands over each episode when it has ended.

    They are `num_envs` of `spec` in this process, or those of `vector()`, however many it has; `spec` then only names
    them in messages. Every autoreset mode of gymnasium works: an environment's episodes are the same in each, as long
    as actions depend on nothing but observations. Success is what an episode's infos tell at any of its steps.

    Environment i is first reset with `seed + i`; its later resets go on with its own generator. An episode that has
    lasted `max_steps` is cut there, truncated, without a reset, and the next one goes on from its last observation:
    a robot's stream need not end.

    Numbers that are not finite, such as a broken sensor's, are shown to the policy and recorded as they come: the
    policy knows what it can be shown, and whoever stores the episode decides what becomes of it.

    A policy may keep a state: `run` hands it from step to step and goes on with it in its next call, and tells with
    `first` in which rows an episode begins. Where all environments begin, the state is None.

    What an environment raises, or gives though no environment may, is `EnvFailedError`; with `patience`, a call that
    takes longer is `EnvStalledError`. The episodes under way are given up, the environments are closed, and the next
    `run` makes new ones, with seeds not used before. Episodes that had ended by then are handed over by the next `run`
    or `cut`.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        num_envs: int = 1,
        seed: int,
        max_steps: int = MAX_STEPS,
        vector: Callable[[], VectorEnv] | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Makes the environments at once: what cannot be made or stepped is refused here, with `EnvError`."""
        whole("num_envs", num_envs, 1, MOST_ENVS)
        whole("max_steps", max_steps, 1, MOST_STEPS)
        seeds(seed, num_envs)
        self.spec = spec
        self._watch = Watch(patience)
        self.steps_taken = 0
        """Transitions of all environments together, those of episodes that were given up included."""
        self._max_steps = max_steps
        self._make = vector if vector is not None else lambda: make_vector(spec, num_envs)
        self._next_seed = int(seed)
        self._first_seed: int | None = None
        self._reset_all = True
        self.origins: list[int] = []
        """The environment of each episode that was handed over last, by its number."""
        self._ended: list[tuple[int, RecordedEpisode]] = []
        self._recordings: list[Recording | None] = []
        """One for each environment; None where the next step is its reset, or follows it."""
        self._seeds: list[int | None] = []
        """Of resets whose episode has no recording yet."""
        self._state: Any = None
        """The policy's."""
        self._vector: VectorEnv | None = None
        self._stepper: Stepper | None = None
        self._open()

    # --- What it is asked for ---

    def run(self, act: Act, steps: int, *, version: int | None = None) -> list[RecordedEpisode]:
        """Every environment takes `steps` steps; the episodes that ended, in the order in which they did.

        A vector environment in the mode NEXT_STEP spends one of them on each reset, and what the policy answers for
        that row is not used. Actions are clipped to their Box. `version` numbers what acts, and is recorded in each
        episode in which it acted.

        Raises `EnvError` for actions of the wrong shape, without a step; for a vector environment that does not keep
        to its mode, as a step that failed.
        """
        whole("steps", steps, 1, MOST_STEPS)
        where = f"environment {self.spec.id}"
        with self._watch:
            stepper = self._stepper if self._stepper is not None else self._open()
            for _ in range(steps):
                self._begin(stepper)
                answer, state = ask(act, stepper.latest, self._state, self._first(), where)
                actions = as_actions(answer, self.action_space, self.num_envs, self.spec.id)
                self._state = state
                self._step(stepper, actions, version)
        return self._hand_over()

    def cut(self) -> list[RecordedEpisode]:
        """Ends every episode under way that has a step, as truncated. The next `run` resets all environments."""
        for i, recording in enumerate(self._recordings):
            if recording is not None and len(recording):
                self._ended.append((i, recording.finish(terminated=False, truncated=True)))
        self._forget()
        return self._hand_over()

    @property
    def steps_under_way(self) -> int:
        """Transitions in episodes that have not ended."""
        return sum(len(recording) for recording in self._recordings if recording is not None)

    def close(self) -> None:
        """Gives up the episodes under way. A later `run` makes new environments."""
        vector = self._leave()
        if vector is not None:
            let_go(vector)
        self._watch.close()

    def __enter__(self) -> Rollout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Steps ---

    def _begin(self, stepper: Stepper) -> None:
        with self._giving_up():
            if self._reset_all:
                stepper.reset(self._first_seed)
                self._seeds = [None if self._first_seed is None else self._first_seed + i for i in range(self.num_envs)]
                self._first_seed, self._reset_all = None, False
            stepper.begin()
            for i, recording in enumerate(self._recordings):
                if recording is None and stepper.under_way(i):
                    self._recordings[i] = Recording(stepper.row(i), self._seeds[i])
                    self._seeds[i] = None

    def _first(self) -> np.ndarray:
        """bool (B,): the rows in which an episode begins. In the mode NEXT_STEP, a row that is to be reset still shows
        the end of the episode before: it begins with the step after."""
        return np.array([recording is not None and len(recording) == 0 for recording in self._recordings])

    def _step(self, stepper: Stepper, actions: Any, version: int | None) -> None:
        with self._giving_up():
            for i, outcome in enumerate(stepper.step(actions)):
                recording = self._recordings[i]
                if outcome is None or recording is None:
                    continue
                self.steps_taken += 1
                recording.add(actions[i].copy(), outcome.observation, outcome.reward, outcome.success, version)
                done = outcome.terminated or outcome.truncated
                if done or len(recording) == self._max_steps:
                    episode = recording.finish(
                        terminated=outcome.terminated, truncated=outcome.truncated or not outcome.terminated
                    )
                    self._ended.append((i, episode))
                    self._recordings[i] = None

    def _hand_over(self) -> list[RecordedEpisode]:
        ended, self._ended = self._ended, []
        self.origins = [i for i, _ in ended]
        return [episode for _, episode in ended]

    # --- Environments that come and go ---

    def _open(self) -> Stepper:
        where = f"environment {self.spec.id}"
        with self._watch, Blaming(lambda said: f"{where}: {said} in its construction"):
            self._watch.begin(where, CONSTRUCTION)
            vector = self._make()
            try:
                if not isinstance(vector, gym.vector.VectorEnv):
                    raise EnvError(f"{where}: found {shown(vector)}, expected a vector environment of gymnasium's.")
                stepper = Stepper(vector, where, self._watch)
            except EnvError:
                let_go(vector)
                raise
        self.num_envs = vector.num_envs
        self.action_space: spaces.Space[Any] = vector.single_action_space
        self._vector, self._stepper = vector, stepper
        self._first_seed = self._next_seed
        self._next_seed += self.num_envs
        self._forget()
        return stepper

    def _forget(self) -> None:
        self._recordings = [None] * self.num_envs
        self._seeds = [None] * self.num_envs
        self._state = None
        self._reset_all = True

    def _leave(self) -> VectorEnv | None:
        vector, self._vector, self._stepper = self._vector, None, None
        self._forget()
        return vector

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Whatever is raised inside, an interruption too, leaves environments in a state that nobody knows."""
        try:
            yield
        except BaseException:
            # What is broken may not close either; the first error is the one to tell.
            vector = self._leave()
            if vector is not None:
                let_go(vector)
            raise
