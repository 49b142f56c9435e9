"""The ranges of what a run is told: each is declared once here, for the record that holds it and for its option."""

from __future__ import annotations

from typing import Annotated

from replay.ranges import MOST_STEPS, Range, Seed, Share, Steps, StepsOrNone

__all__ = ["MOST_STEPS", "Seed", "Share", "Steps", "StepsOrNone"]

# --- The recipe ---

BatchSize = Annotated[int, Range(1, 2**24)]
"""Transitions of one gradient step."""
ChunkSteps = Annotated[int, Range(1, 1_000_000)]
Depth = Annotated[int, Range(0, 10_000)]
"""Chunks: the weights of each are kept."""
LabelReuse = Annotated[int, Range(1, 10_000)]
PriorityExponent = Annotated[float, Range(0, 10)]
ImportanceExponent = Annotated[float, Range(0, 1)]
ShardsPerDraw = Annotated[int | None, Range(1, 1_000_000)]
Threads = Annotated[int, Range(1, 1_024)]
DATASETS = Range(0, 1e12, above=True, entries=10_000)
"""Of their weights, and how many there may be."""

MOST_IMAGINED = 1_000_000_000
"""Rows that a learner holds in its memory."""
ImagineEvery = Annotated[int | None, Range(1, MOST_STEPS)]
ImagineStarts = Annotated[int | None, Range(1, 2**24)]
ImaginedCapacity = Annotated[int | None, Range(1, MOST_IMAGINED)]
ImaginedShare = Annotated[float | None, Range(0, 1, above=True, below=True)]

# --- Interaction ---

UpdatesPerStep = Annotated[float, Range(0, 10_000, above=True)]
Slack = Annotated[float | None, Range(0, 1e15, above=True)]
ShareOrNone = Annotated[float | None, Range(0, 1)]
Noise = Annotated[float, Range(0, 1_000_000)]
NoiseOrNone = Annotated[float | None, Range(0, 1_000_000)]
EnvironmentsPerRunner = Annotated[int, Range(1, 10_000)]
RolloutSteps = Annotated[int, Range(1, 1_000_000)]
StepsOrAll = Annotated[int | None, Range(1, MOST_STEPS)]
"""None sets no bound."""
Return = Annotated[float | None, Range()]

# --- Who runs where ---

MOST_ACTORS = 10_000
"""Of one role: each is a process."""
LEAST_SHARE = 0.0001
"""Of a CPU, a GPU or another resource: what Ray counts in."""
MOST_RESOURCES = 1_000_000
"""Of a CPU, a GPU or another resource, that one actor may ask for: no node has so many."""

Actors = Annotated[int, Range(0, MOST_ACTORS)]
ANY_ACTORS, SOME_ACTORS = Range(0, MOST_ACTORS), Range(1, MOST_ACTORS)
"""Of a role that a run may do without, and of one that it needs."""
Amount = Annotated[float, Range(0, MOST_RESOURCES)]
Restarts = Annotated[int, Range(0, 1_000_000)]
Seconds = Annotated[float, Range(0, 10_000_000, above=True)]
"""Months: far longer than anybody waits, and what every clock can count."""
EnvTimeout = Annotated[float, Range(0, 10_000_000)]
"""Seconds that one call of an environment may take; 0: as long as it likes."""

# --- What is reported and saved ---

Keep = Annotated[int, Range(1, 1_000_000)]
MOST_EPISODES = 10_000_000
"""Of an evaluation or a recording, whose figures are held in memory."""
Episodes = Annotated[int, Range(1, MOST_EPISODES)]
EpisodesOrNone = Annotated[int, Range(0, MOST_EPISODES)]
"""0 leaves them out."""
ValidationFraction = Annotated[float, Range(0, 1, below=True)]
