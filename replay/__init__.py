"""Robot logs as sharded Arrow datasets: written, opened, sampled reproducibly, walked through. No Ray here."""

from replay.batch import Batch, Request, concatenate
from replay.dataset import Dataset, open
from replay.draw import draw, draw_episodes
from replay.episode import Episode
from replay.errors import DataError
from replay.gather.store import Store, sample
from replay.goals import Goals
from replay.online.store import Eviction, Inserted, OnlineReader, OnlineStore
from replay.priority import Priorities
from replay.rows import Rows
from replay.scan import scan
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
