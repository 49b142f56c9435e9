"""d3rlpy's side of `learning.py`: its own replay buffer, of the transitions of the same dataset, and its own update."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from _learning_trainer import Values

from replay import Batch, Dataset, Request

with contextlib.redirect_stderr(io.StringIO()):  # what gym has to say when it is imported
    import d3rlpy


class D3rlpyTrainer:
    """`options` are `Method.peer_options`. Actions of all tasks are in [-1, 1] already, as d3rlpy wants them."""

    def __init__(
        self,
        dataset: Dataset,
        options: Mapping[str, Any],
        batch: int,
        request: Request,
        probe: Batch[np.ndarray],
        *,
        seed: int,
        device: str,
    ) -> None:
        d3rlpy.seed(seed)
        self._batch, self._probe = batch, probe
        self._buffer = buffer(dataset, request)
        configured = configuration(options, dataset.statistics["observation"])
        self._algorithm = configured.create(device="cuda:0" if device == "cuda" else "cpu:0")
        self._algorithm.build_with_dataset(self._buffer)

    def train(self, start: int, stop: int) -> None:
        for _ in range(start, stop):
            self._algorithm.update(self._buffer.sample_transition_batch(self._batch))

    def act(self, observation: Any, state: Any, first: Any) -> tuple[Any, Any]:
        return self._algorithm.predict(np.asarray(observation, np.float32)), state

    def values(self) -> Values:
        if isinstance(self._algorithm, d3rlpy.algos.BC):
            return Values(None, None)
        observation, action = self._probe.observation, self._probe.action
        q_data = self._algorithm.predict_value(observation, action)
        q_policy = self._algorithm.predict_value(observation, self._algorithm.predict(observation))
        return Values(float(q_data.mean()), float(q_policy.mean()))


def configuration(options: Mapping[str, Any], statistics: Mapping[str, Any]) -> Any:
    """d3rlpy's configuration. Observations are normalised as ours are: by the dataset's statistics, and an element
    without any spread is only centred."""
    rest = dict(options)
    make = getattr(d3rlpy.algos, rest.pop("config"))
    hidden, layer_norm = rest.pop("hidden_units"), rest.pop("critic_layer_norm")
    encoders = [entry.name for entry in dataclasses.fields(make) if entry.name.endswith("encoder_factory")]
    for name in encoders:
        rest[name] = d3rlpy.models.VectorEncoderFactory(
            hidden_units=hidden, use_layer_norm=layer_norm and name.startswith("critic")
        )
    std = np.asarray(statistics["std"], np.float32)
    scaler = d3rlpy.preprocessing.StandardObservationScaler(
        mean=np.asarray(statistics["mean"], np.float32), std=np.where(std > 1e-6, std, 1.0), eps=0.0
    )
    return make(**rest, observation_scaler=scaler)


def buffer(dataset: Dataset, request: Request) -> Any:
    """All transitions of the training split, rewards scaled and shifted, in d3rlpy's own buffer.

    d3rlpy ends an episode at a terminated step, so an episode that goes on behind one becomes several; and it leaves
    out the last transition of an episode that has not terminated, whose next observation it does not know. Ours is
    known: it goes in as one more step, which is never drawn. Its action stands for the next action of ReBRAC's target:
    the last one again, as in ours.
    """
    episodes = []
    for number in np.flatnonzero(dataset.episodes["split"] == "train"):
        episode = dataset.episode(int(number))
        reward = request.scaled(episode.reward)
        terminated = np.asarray(episode.terminated, bool)
        ends = sorted({*(np.flatnonzero(terminated) + 1).tolist(), len(reward)})
        for start, stop in zip([0, *ends[:-1]], ends, strict=True):
            more = 0 if terminated[stop - 1] else 1
            episodes.append(
                d3rlpy.dataset.Episode(
                    observations=episode.observation[start : stop + more],
                    actions=np.concatenate([episode.action[start:stop], episode.action[stop - more : stop]]),
                    rewards=np.pad(reward[start:stop], (0, more)).reshape(-1, 1),
                    terminated=not more,
                )
            )
    with contextlib.redirect_stdout(io.StringIO()):
        return d3rlpy.dataset.ReplayBuffer(d3rlpy.dataset.InfiniteBuffer(), episodes=episodes)
