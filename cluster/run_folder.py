"""A run's folder: its configuration, metrics, TensorBoard events, checkpoints and summary."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cluster import durable
from cluster.errors import RunError
from replay.spaces import Box, Discrete, Spaces, from_json, to_json

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of `config.json`."""


class RunFolder:
    """Paths, and the one writer of each file. Whoever writes holds the folder: see `claim.Claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.online = path / "online"
        self.snapshots = path / "snapshots.jsonl"
        self.episodes = path / "episodes.jsonl"
        self.tensorboard = path / "tensorboard"
        self.written = (
            self.config,
            self.checkpoints,
            self.metrics,
            self.online,
            self.snapshots,
            self.episodes,
            self.tensorboard,
        )
        """What belongs to a run alone, and is in its folder from the first to the last."""

    def write_config(self, config: dict[str, Any]) -> None:
        durable.write_json(self.config, config)

    def read_config(self) -> dict[str, Any]:
        """Raises `RunError` where there is none, and for one that is no object or of another version."""
        try:
            config = durable.read_json(self.config)
        except FileNotFoundError:
            raise RunError(f"{self.config}: not found; {self.path} is not a run folder.") from None
        if config.get("format") != FORMAT:
            raise RunError(
                f"{self.config}: format is {config.get('format')!r}, and this version of Quiver reads {FORMAT}; use "
                "the version that wrote it."
            )
        return config

    def write_summary(self, summary: dict[str, Any]) -> None:
        durable.write_json(self.path / "summary.json", summary)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All records so far, in the order they were written."""
        try:
            return [json.loads(line) for line in durable.read_bytes(self.metrics).decode().splitlines()]
        except FileNotFoundError:
            return []


class MetricsWriter:
    """Appends to `metrics.jsonl` and to TensorBoard; on a resume, first cuts both back to the checkpoint."""

    def __init__(self, folder: RunFolder, *, offset: int, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a run needs it

        self._file = durable.open_to_append(folder.metrics)
        self._file.truncate(_end_of_records(folder.metrics, offset))
        self._events = SummaryWriter(str(folder.tensorboard), purge_step=step + 1 if step else None)

    def write(self, step: int, kind: str, record: dict[str, Any]) -> None:
        """One record: `kind` is train, validation, probe or evaluation."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        self._file.write(json.dumps({"step": step, "kind": kind, **clean}).encode() + b"\n")
        self._file.flush()
        for name, value in clean.items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def offset(self) -> int:
        """Bytes written so far, made durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()
        self._events.close()


def _end_of_records(metrics: Path, offset: int) -> int:
    """Where to go on writing: at `offset`, or behind the last whole record where the file has become shorter."""
    size = metrics.stat().st_size
    if size >= offset:
        return offset
    logger.warning(
        "%s: has %d bytes, and the checkpoint that the run goes on from was written after %d: records are missing, "
        "and the curves have a gap.",
        metrics,
        size,
        offset,
    )
    return durable.read_bytes(metrics).rfind(b"\n") + 1


def spaces_to_json(spaces: Spaces) -> dict[str, Any]:
    return {"observation": to_json(spaces.observation), "action": to_json(spaces.action)}


def spaces_from_json(record: dict[str, Any]) -> Spaces:
    action = from_json(record["action"], "spaces.action")
    assert isinstance(action, Box | Discrete)
    return Spaces(from_json(record["observation"], "spaces.observation"), action)


def plain(record: Any) -> Any:
    """Arrays and NumPy numbers as JSON's own types; numbers survive the round trip exactly."""
    if isinstance(record, Mapping):
        return {str(name): plain(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [plain(value) for value in record]
    return record.tolist() if isinstance(record, np.ndarray | np.generic) else record
