"""The stored episodes of an online run, one line each, for people and for plots."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cluster import durable

RECENT = 20
"""Episodes that the curves of fresh returns are means of."""


class EpisodeLog:
    """`episodes.jsonl`: written from the store alone, in its order, so that the two agree whatever was killed."""

    def __init__(self, path: Path, stored: Iterable[Mapping[str, Any]]) -> None:
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=RECENT)
        self.count = 0
        """Of those that stand there."""
        self.best: float | None = None
        """The highest return of them."""
        self._steps = 0
        self._file = durable.Appended(path)
        self._file.truncate(0)
        self.add(stored)

    def add(self, episodes: Iterable[Mapping[str, Any]]) -> None:
        """Each with id, length, return, success (1, 0, or −1 where unknown), runner and versions. Raises `RunError`
        where there is no room for all of them."""
        lines = []
        for episode in episodes:
            self.count += 1
            self._steps += int(episode["length"])
            self.best = episode["return"] if self.best is None else max(self.best, episode["return"])
            lines.append(json.dumps({**episode, "env_steps": self._steps}).encode() + b"\n")
            self._recent.append(episode)
        self._file.append(b"".join(lines))

    def recent(self) -> dict[str, float]:
        """Mean return, and success where it is known, of the last episodes."""
        if not self._recent:
            return {}
        found = {"fresh_return": float(np.mean([episode["return"] for episode in self._recent]))}
        told = [int(episode["success"]) for episode in self._recent if episode["success"] >= 0]
        return found | ({"fresh_success": float(np.mean(told))} if told else {})

    def close(self) -> None:
        self._file.close()
