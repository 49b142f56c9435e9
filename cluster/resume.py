"""Going on with a run: by the recipe it began with, from a checkpoint that fits, on a machine that computes alike."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import learners
from cluster import checkpoint, process
from cluster.checkpoint import Checkpoint
from cluster.checkpoint_pipeline import check_pipeline
from cluster.claim import Claim
from cluster.errors import RunError
from cluster.options import OnlineRecipe, Recipe, as_json
from cluster.run_folder import plain
from cluster.run_record import read_recipe
from learners.algorithm import Algorithm
from replay.spaces import Spaces
from replay.view import View

logger = logging.getLogger(__name__)


def check_kind(claim: Claim, *, online: bool) -> None:
    """Raises `RunError` for a run of fine-tuning that would go on as another one, or the reverse."""
    if claim.before is not None and ("online" in claim.before) != online:
        run, command = claim.folder.path, "train" if online else "finetune"
        raise RunError(f"{run}: go on with this run by `quiver {command} --run {run} --resume`.")


def check_recipe(
    claim: Claim,
    recipe: Recipe,
    online: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """A run goes on as it began: only its length may grow, and its topology and cadence change. Of its datasets,
    `datasets.open_datasets` says whether they are the same.

    `online` and `environment` are those of fine-tuning, as JSON. Raises `RunError`, naming what differs.
    """
    before, where = claim.before, claim.folder.config
    if before is None:
        return
    then, now = _spelled_out(read_recipe(before["recipe"], str(where))), _spelled_out(recipe)
    if online is not None:
        then = {**then, **as_json(OnlineRecipe(**before["online"])), "environment": before["environment"]}
        now = {**now, **online, "environment": plain(environment)}
    for name, theirs in then.items():
        ours = now.get(name)
        longer = name == "steps" or (name == "env_steps" and then["final_share"] is None)
        # A share that moves would have moved more slowly in a longer run.
        if ours != theirs and name != "datasets" and not (longer and ours is not None and ours > theirs):
            raise RunError(
                f"{where}: the run began with {name} = {theirs!r}, now it is {ours!r}. A resumed run keeps its recipe: "
                "use the same options, or start another run."
            )


def _spelled_out(recipe: Recipe) -> dict[str, Any]:
    """Its fields, with all knobs: those that were left at their defaults need not be on record."""
    config = learners.config_class(recipe.algorithm)
    return {**vars(recipe), "knobs": dataclasses.asdict(config(**recipe.knobs))}


def resume_point(
    claim: Claim, which: str | None, recipe: Recipe, algorithm: Algorithm, spaces: Spaces, view: View | None
) -> Checkpoint | None:
    """The checkpoint to go on from: `which` (`step-N`, None for the newest); None for a new run, and where none was
    written yet. `view` is that of the logs, None where there are none.

    Raises `RunError` for one that is damaged, naming the one before it, and for one of another algorithm or run.
    """
    folder = claim.folder.checkpoints
    if claim.before is None and which is not None:
        raise RunError(f"--resume-from {which}: goes with --resume, which is not given.")
    if claim.before is None or (which is None and (start := checkpoint.latest(folder)) is None):
        return None
    if which is not None:
        start = checkpoint.read(folder, which, "--resume --resume-from")[1]
    assert start is not None
    where = folder / checkpoint.folder_name(start.step)
    checkpoint.check_layout(where, start.learner, algorithm)
    check_pipeline(where, start, recipe, algorithm, spaces, view)
    return start


def identity(before: Mapping[str, Any] | None) -> str:
    """What a run's checkpoints know it by: drawn when it begins."""
    return str((before or {}).get("id") or secrets.token_hex(8))


def machines(
    where: Path, before: Mapping[str, Any] | None, step: int, now: dict[str, str], *, allow_mixed: bool
) -> list[dict[str, Any]]:
    """Which steps were, and will be, computed on which kind of machine: each entry a first step and a fingerprint.

    `step` is where the run goes on, on the machines whose fingerprint is `now`. Raises `RunError` where the steps
    before were computed on another kind, unless `allow_mixed`.
    """
    before = before or {}
    first = [{"step": 0, "machine": before["machine"]}] if before.get("machine") else []
    past = [entry for entry in before.get("machines") or first if entry["step"] < step]
    if not past or not (difference := process.describe_difference(past[-1]["machine"], now)):
        # Earlier versions did not record all that is now: from here on it is known.
        known = past and past[-1]["machine"].keys() >= now.keys()
        return past if known else [*past, {"step": step, "machine": now}]
    message = (
        f"{where}: the steps up to {step} were computed on another kind of machine than this learner's "
        f"({'; '.join(difference)})"
    )
    if not allow_mixed:
        raise RunError(
            f"{message}: the run would not end as on either of them. Resume it on the kind that it began on, or accept "
            "that with --resume --allow-mixed."
        )
    logger.warning("%s: the run's results are those of neither; config.json records both.", message)
    return [*past, {"step": step, "machine": now}]
