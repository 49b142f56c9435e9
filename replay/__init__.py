"""Robot logs as sharded Arrow datasets: written, opened, sampled reproducibly, walked through. No Ray here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.batch import Batch, Request, concatenate
    from replay.dataset import Dataset, open
    from replay.drawing import draw, draw_episodes
    from replay.episode import Episode
    from replay.errors import DataError
    from replay.gather.store import Store, sample
    from replay.goals import Goals
    from replay.online.store import Eviction, Inserted, OnlineReader, OnlineStore
    from replay.priority import Priorities
    from replay.rows import Rows
    from replay.scanning import scan
    from replay.spaces import Box, Dict, Discrete, Image, Spaces
    from replay.tasks import Tasks
    from replay.view import View, locate, permanent_ids
    from replay.writer import DatasetWriter

__all__ = [
    "Batch",
    "Box",
    "DataError",
    "Dataset",
    "DatasetWriter",
    "Dict",
    "Discrete",
    "Episode",
    "Eviction",
    "Goals",
    "Image",
    "Inserted",
    "OnlineReader",
    "OnlineStore",
    "Priorities",
    "Request",
    "Rows",
    "Spaces",
    "Store",
    "Tasks",
    "View",
    "concatenate",
    "draw",
    "draw_episodes",
    "locate",
    "open",
    "permanent_ids",
    "sample",
    "scan",
]

_HOMES = {
    "Batch": "replay.batch",
    "Box": "replay.spaces",
    "DataError": "replay.errors",
    "Dataset": "replay.dataset",
    "DatasetWriter": "replay.writer",
    "Dict": "replay.spaces",
    "Discrete": "replay.spaces",
    "Episode": "replay.episode",
    "Eviction": "replay.online.store",
    "Goals": "replay.goals",
    "Image": "replay.spaces",
    "Inserted": "replay.online.store",
    "OnlineReader": "replay.online.store",
    "OnlineStore": "replay.online.store",
    "Priorities": "replay.priority",
    "Request": "replay.batch",
    "Rows": "replay.rows",
    "Spaces": "replay.spaces",
    "Store": "replay.gather.store",
    "Tasks": "replay.tasks",
    "View": "replay.view",
    "concatenate": "replay.batch",
    "draw": "replay.drawing",
    "draw_episodes": "replay.drawing",
    "locate": "replay.view",
    "open": "replay.dataset",
    "permanent_ids": "replay.view",
    "sample": "replay.gather.store",
    "scan": "replay.scanning",
}
"""Which module each name is from. It is imported when the name is asked for, so that who needs a range alone, as the
help of a command does, waits neither for NumPy nor for Arrow."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
