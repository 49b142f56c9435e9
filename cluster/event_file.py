"""Curves for TensorBoard: a copy of what `metrics.jsonl` records. Where it cannot be written, the run goes on."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from cluster import durable
from cluster.errors import RunError

logger = logging.getLogger(__name__)

VERSION = "brain.Event:2"


class EventFile:
    """A new event file in a folder. PyTorch's and TensorBoard's own writers have a thread each, whose error on a full
    disk nobody could catch; so the records go through TensorBoard's encoder into a file that is written here.

    `purge_step` is told to TensorBoard: what earlier files have from that step on is replaced by this one.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow to import, and only a run needs it

        self._folder, self._file = folder, None
        begun = [Event(wall_time=time.time(), file_version=VERSION)]
        if purge_step is not None:
            session = SessionLog(status=SessionLog.START)
            begun.append(Event(wall_time=time.time(), step=purge_step, file_version=VERSION))
            begun.append(Event(wall_time=time.time(), step=purge_step, session_log=session))
        try:
            folder.mkdir(exist_ok=True)
            self._file = durable.Appended(_free_name(folder))
        except (OSError, RunError) as error:
            self._give_up(error)
        self._write([event.SerializeToString() for event in begun])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by the names of their curves. Where there is no room it says so once, and writes nothing from then
        on."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._file is not None:
            summaries = [Summary(value=[Summary.Value(tag=tag, simple_value=value)]) for tag, value in values.items()]
            events = [Event(wall_time=time.time(), step=step, summary=summary) for summary in summaries]
            self._write([event.SerializeToString() for event in events])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, events: list[bytes]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        if self._file is None:
            return
        content = BytesIO()
        writer = RecordWriter(content)
        for event in events:
            writer.write(event)
        try:
            self._file.append(content.getvalue())
        except (OSError, RunError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | RunError) -> None:
        self.close()
        reason = error.reason if isinstance(error, durable.NoRoomError) else error
        logger.warning(
            "%s: TensorBoard's curves end here (%s); the run goes on, and metrics.jsonl has all of it.",
            self._folder,
            reason,
        )


def _free_name(folder: Path) -> Path:
    """As TensorBoard looks for it: when, where and by which process it was begun."""
    begun = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
    names = (folder / f"{begun}.{number}" for number in itertools.count())
    return next(name for name in names if not name.exists() and not name.is_symlink())
