"""The fixed batches, of the logs and of their validation split, that all diagnoses of a run are taken on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cluster.actors import Actors
from cluster.datasets import Weighted
from cluster.options import Recipe
from cluster.run import Run
from replay.drawing import draw
from replay.errors import DataError
from replay.random_words import PROBE, VALIDATION
from replay.rows import concatenate_rows
from replay.view import View

logger = logging.getLogger(__name__)

DIAGNOSTIC_BATCHES = 4
"""Batches of the validation split, and of the probe on training data, that every diagnosis averages over."""


def validation_view(datasets: Sequence[Weighted], recipe: Recipe) -> View | None:
    """The same datasets' validation episodes; None where one of them has none, or the run trains on them."""
    if not datasets or recipe.split != "train":
        return None
    try:
        return View.of(datasets, split="validation", where=recipe.where)
    except DataError as error:
        logger.info("no validation curves: %s", error)
        return None


def diagnostic_batches(logged: View | None, validation: View | None) -> int:
    """How many batches the learner keeps for its diagnoses."""
    return DIAGNOSTIC_BATCHES * sum(view is not None for view in (logged, validation))


def keep_diagnostic_batches(run: Run, actors: Actors) -> None:
    """Give the learner fixed batches: a probe of the logs, and of their validation split, where there are any."""
    recipe = run.recipe
    for name, view, stream in (("probe", run.logged, PROBE), ("validation", run.validation, VALIDATION)):
        if view is None:
            continue
        draws = [
            draw(
                view,
                seed=recipe.seed,
                sequence=number,
                count=recipe.batch_size,
                stream=stream,
                request=run.request,
            )
            for number in range(DIAGNOSTIC_BATCHES)
        ]
        gathered = actors.gather(concatenate_rows(draws))
        # Rank 0 diagnoses for all.
        kept = actors.learners.ask("keep_batches", name, recipe.batch_size, gathered.assembly, *gathered.parts)
        actors.learners.get(kept)
