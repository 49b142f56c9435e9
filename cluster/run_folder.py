"""A run's folder: its configuration, metrics, TensorBoard events, checkpoints and summary."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cluster import durable
from cluster.errors import RunError
from replay.spaces import Box, Discrete, Spaces, from_json, to_json


class RunFolder:
    """Paths, and the one writer of each file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"

    def begin(self, config: dict[str, Any], *, again: bool) -> None:
        """Start a run here, or go on with it `again`. Raises `RunError` where one has begun already."""
        if not again and (self.path / "config.json").exists():
            raise RunError(
                f"{self.path}: holds a run already. Continue it with --resume, or give --run another folder."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.metrics.touch()
        durable.write_json(self.path / "config.json", config)

    def read_config(self) -> dict[str, Any]:
        path = self.path / "config.json"
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise RunError(f"{path}: not found; {self.path} is not a run folder.") from None
        except json.JSONDecodeError as error:
            raise RunError(f"{path}: not valid JSON ({error}).") from error

    def write_summary(self, summary: dict[str, Any]) -> None:
        durable.write_json(self.path / "summary.json", summary)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All records so far, in the order they were written."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]


class MetricsWriter:
    """Appends to `metrics.jsonl` and to TensorBoard; on a resume, first cuts both back to the checkpoint."""

    def __init__(self, folder: RunFolder, *, offset: int, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a run needs it

        with folder.metrics.open("ab") as file:
            file.truncate(offset)
        self._file = folder.metrics.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, step: int, kind: str, record: dict[str, Any]) -> None:
        """One record: `kind` is train, validation, probe or evaluation."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        self._file.write(json.dumps({"step": step, "kind": kind, **clean}) + "\n")
        self._file.flush()
        for name, value in clean.items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def offset(self) -> int:
        """Bytes written so far, made durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        self._events.close()


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
