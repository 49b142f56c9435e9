"""A run's folder: its configuration, metrics, TensorBoard events, checkpoints and summary."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cluster import durable
from cluster.errors import RunError
from cluster.event_file import EventFile
from replay.ranges import shown
from replay.spaces import Spaces, to_json

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
        """All of it is as `run_record` states it. Raises `RunError` where there is none, and, naming the field, for one
        that no run writes, or another version."""
        from cluster.run_record import check_config  # it imports the algorithms, and their knobs

        try:
            config = durable.read_json(self.config)
        except FileNotFoundError:
            raise RunError(f"{self.config}: not found; {self.path} is not a run folder.") from None
        form = config.get("format")
        if type(form) is not int or form != FORMAT:
            raise RunError(
                f"{self.config}: format is {shown(form)}, and this version of Quiver reads {FORMAT}; use the version "
                "that wrote it."
            )
        check_config(config, str(self.config))
        return config

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Raises `RunError` where there is no room."""
        path = self.path / "summary.json"
        try:
            durable.write_json(path, summary)
        except OSError as error:
            raise durable.told(error, path) from error

    def read_metrics(self) -> list[Any]:
        """All records so far, one a line, in the order they were written; one that is being written is left out. Raises
        `RunError`, naming the line, for what is no JSON."""
        try:
            return [record for _, record in durable.read_lines(self.metrics)]
        except FileNotFoundError:
            return []

    def check_places(self) -> None:
        """Raises `RunError`, naming it, where something else stands in the place of a file or folder of the run."""
        folders = (self.checkpoints, self.online, self.tensorboard)
        for path in self.written:
            if path.is_symlink():
                raise RunError(
                    f"{path}: is a link, and nothing is written through links; put the thing itself in its place, or "
                    "let the run's folder as a whole be elsewhere."
                )
            if path.exists() and not (path.is_dir() if path in folders else path.is_file()):
                kind = "folder" if path in folders else "regular file"
                raise RunError(f"{path}: is no {kind}, and a run has one there; put it in its place, or remove this.")


class MetricsWriter:
    """Appends to `metrics.jsonl` and to TensorBoard; on a resume, first cuts both back to the checkpoint."""

    def __init__(self, folder: RunFolder, *, offset: int, step: int) -> None:
        self._file = durable.Appended(folder.metrics)
        self._file.truncate(_end_of_records(self._file, offset))
        self._events = EventFile(folder.tensorboard, purge_step=step + 1 if step else None)

    def write(self, step: int, kind: str, record: dict[str, Any]) -> None:
        """One record: `kind` is train, validation, probe or evaluation. Raises `RunError` where there is no room."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in record.items()
        }
        self._file.append(json.dumps({"step": step, "kind": kind, **clean}).encode() + b"\n")
        self._events.write(
            step, {f"{kind}/{name}": float(value) for name, value in clean.items() if isinstance(value, int | float)}
        )

    def offset(self) -> int:
        """Bytes written so far, made durable."""
        self._file.sync()
        return self._file.size()

    def close(self) -> None:
        self._file.close()
        self._events.close()


def _end_of_records(metrics: durable.Appended, offset: int) -> int:
    """Where to go on writing: at `offset`, or behind the last whole record where the file has become shorter."""
    size = metrics.size()
    if size < offset:
        logger.warning(
            "%s: has %d bytes, and the checkpoint that the run goes on from was written after %d: records are missing, "
            "and the curves have a gap.",
            metrics.path,
            size,
            offset,
        )
    return metrics.end_of_lines(offset)


def spaces_to_json(spaces: Spaces) -> dict[str, Any]:
    return {"observation": to_json(spaces.observation), "action": to_json(spaces.action)}


def plain(record: Any) -> Any:
    """Arrays and NumPy numbers as JSON's own types; numbers survive the round trip exactly."""
    if isinstance(record, Mapping):
        return {str(name): plain(value) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [plain(value) for value in record]
    return record.tolist() if isinstance(record, np.ndarray | np.generic) else record
