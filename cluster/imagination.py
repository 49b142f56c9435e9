"""Imagining: logged starts, drawn at their own addresses, on which updaters make transitions by published weights."""

from __future__ import annotations

from cluster.actors import Actors
from cluster.backends.backend import Reference
from cluster.run import Run
from cluster.updater_pool import PendingLabels, UpdaterPool
from replay.drawing import draw
from replay.random_words import STARTS


class Imagination:
    """Asks for what enters the learner's ring. An imagination is several calls, of a batch of starts each, whose number
    follows from the recipe: so any number of updaters gives the same rows."""

    def __init__(self, run: Run, actors: Actors, updaters: UpdaterPool) -> None:
        self._view, self._recipe, self._request = run.logged, run.recipe, run.request
        self._actors, self._updaters = actors, updaters

    def ask(self, chunk: int, version: int, weights: Reference) -> list[PendingLabels]:
        """The calls whose rows enter before a chunk is trained, in the order in which they enter."""
        recipe, view = self._recipe, self._view
        assert recipe.imagine_every is not None
        assert recipe.imagine_starts is not None
        assert view is not None
        calls = -(-recipe.imagine_starts // recipe.batch_size)
        number = chunk * recipe.chunk_steps // recipe.imagine_every
        pending = []
        for call in range(calls):
            sequence = number * calls + call
            count = min(recipe.batch_size, recipe.imagine_starts - call * recipe.batch_size)
            starts = draw(view, seed=recipe.seed, sequence=sequence, count=count, stream=STARTS, request=self._request)
            rows = self._actors.gather(starts)
            key = (recipe.seed, sequence)
            pending.append(self._updaters.ask("imagine", version, weights, key, rows.assembly, *rows.parts))
        return pending
