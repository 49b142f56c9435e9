"""Deterministic pipelining: which steps a chunk holds, which draws it needs, which weights label it.

Staleness is a setting, not an accident: everything here is a function of the step, never of who is how fast.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Chunk c is the steps [c·K, (c+1)·K), labelled with the weights of step (c − D)·K."""

    steps: int
    chunk_steps: int
    """K."""
    depth: int
    """D."""
    label_reuse: int = 1
    """u: a chunk of K steps draws K/u batches."""
    imagine_every: int = 0
    """Gradient steps, whole chunks of them, from one imagination to the next; 0: none."""

    @property
    def chunks(self) -> int:
        return -(-self.steps // self.chunk_steps)

    def steps_of(self, chunk: int) -> range:
        """The gradient steps of a chunk; the last chunk may be shorter."""
        return range(chunk * self.chunk_steps, min((chunk + 1) * self.chunk_steps, self.steps))

    def draws_of(self, chunk: int) -> range:
        """The sequence numbers of the batches a chunk draws: its steps, or one in u of them."""
        per_chunk = self.chunk_steps // self.label_reuse
        count = -(-len(self.steps_of(chunk)) // self.label_reuse)
        return range(chunk * per_chunk, chunk * per_chunk + count)

    def version_for(self, chunk: int) -> int:
        """The version that labels a chunk; version v is the weights before chunk v."""
        return max(0, chunk - self.depth)

    def imagines(self, chunk: int) -> bool:
        """Whether transitions are imagined that the steps from this chunk on may draw. Its version is that of the
        chunk's labels, `version_for`."""
        return self.imagine_every > 0 and chunk * self.chunk_steps % self.imagine_every == 0

    def imagined_by(self, version: int) -> bool:
        """Whether any chunk's transitions are imagined with this version."""
        return self.imagine_every > 0 and (version == 0 or self.imagines(version + self.depth))

    def staleness(self, chunk: int) -> float:
        """The mean age, in gradient steps, of the weights that label a chunk."""
        steps = self.steps_of(chunk)
        return (steps[0] + steps[-1]) / 2 - self.version_for(chunk) * self.chunk_steps

    def due(self, chunk: int, every: int) -> bool:
        """Whether something that happens every so many steps falls due at the end of a chunk."""
        steps = self.steps_of(chunk)
        return every > 0 and steps.stop // every > steps.start // every
