"""What a run is, as one object: whoever takes part in it is given this, from the last check to the last step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from cluster.build import AlgorithmSpec
from cluster.checkpoint import Checkpoint
from cluster.claim import Claim
from cluster.options import Cadence, OnlineRecipe, Recipe, Topology
from cluster.roles.env_runner import RunnerSpec
from cluster.roles.evaluator import EvaluationSpec
from cluster.run_folder import RunFolder
from replay.batch import Request
from replay.mixing import Mixing
from replay.online.store import Eviction
from replay.view import View


@dataclass(frozen=True)
class Interaction:
    """What a fine-tuning run has besides: its store of fresh episodes, what the runners do, and how both are mixed."""

    recipe: OnlineRecipe
    store: str
    """The folder of the online store."""
    eviction: Eviction | None
    runner: RunnerSpec
    mixing: Mixing
    stalled_seconds: float
    """After which a runner that has not answered is not counted on."""


@dataclass(frozen=True)
class Run:
    """A run, once every check has passed that needs no actors."""

    recipe: Recipe
    topology: Topology
    cadence: Cadence
    claim: Claim
    """Its folder, held by this process."""
    console: Console
    algorithm: AlgorithmSpec
    request: Request
    """What its batches hold."""
    view: View
    """What the shard actors serve."""
    logged: View | None
    """The logs that batches are drawn from; None where all data is fresh."""
    validation: View | None = None
    """The logs' validation split; None where there is none."""
    evaluation: EvaluationSpec | None = None
    interaction: Interaction | None = None
    """None for a run on logs alone."""
    config: dict[str, Any] = field(default_factory=dict)
    """`config.json`, but for the machine: that is the learner's, which is not there yet."""
    start: Checkpoint | None = None
    """Where it begins; None: at the algorithm's own beginning."""

    @property
    def folder(self) -> RunFolder:
        return self.claim.folder
