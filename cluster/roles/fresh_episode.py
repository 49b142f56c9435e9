"""What a runner hands over and the writer stores: in a file of its own, so that the writer needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from replay.episode import Episode


@dataclass(frozen=True)
class FreshEpisode:
    """On its way to the store."""

    id: str
    """The same however often the episode is handed over."""
    episode: Episode
    versions: tuple[int, ...]
    """Gradient steps behind the weights that acted in it, each once, ascending."""
