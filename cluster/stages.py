"""Stages: a run begins with parts of others. `--init NAME=RUN` takes a module from a checkpoint, and `all` takes
whatever the checkpoint holds of its learner; fine-tuning from an offline run is `all`.

Which checkpoint that was, by its hash, stands in `config.json` under `init`. A run that goes on has what it took in its
own checkpoints, so the other run is not asked for again.

A module reads observations as they were normalised where it was trained. So a run that begins with one normalises as
that run did, by its statistics, which are recorded as this run's own; where the networks would still see other numbers
than there (other spaces, other knobs of the normaliser, two modules of runs that differ), it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch

from cluster import checkpoint, durable
from cluster.build import AlgorithmSpec
from cluster.checkpoint import Arrays, Checkpoint
from cluster.errors import RunError
from cluster.run_folder import RunFolder
from cluster.settings import CHECKPOINT, NAME, PATH, WHOLE, CheckedSettings, Text, init_of, step_of
from learners.algorithm import Algorithm
from learners.errors import LearnerError

_HASH = Text("a sha256, or nothing", lambda text: len(text) == 64)


@dataclass(frozen=True)
class Stage(CheckedSettings):
    """A part of another run that a run begins with."""

    name: Annotated[str, NAME]
    """A module, or `all`."""
    run: Annotated[str, PATH]
    """The other run's folder."""
    checkpoint: Annotated[str, CHECKPOINT] = "latest"
    """`step-N`, once it has been looked for."""
    sha256: Annotated[str | None, _HASH] = None
    """Of its `learner.safetensors`; None where an earlier version wrote the record, and before it has been read."""
    frozen: bool = False
    """Whether it is not trained on."""

    def __str__(self) -> str:
        return f"{self.name}={self.run}@{self.checkpoint}{':frozen' if self.frozen else ''}"


@dataclass(frozen=True)
class Beginning:
    """What a run begins with, before its first step or in the past."""

    stages: tuple[Stage, ...]
    statistics: dict[str, Any] | None
    """By which observations are normalised: they stay, whatever the data of this run is."""
    reference_scores: Sequence[float] | None
    states: tuple[Arrays, ...] = field(default=(), repr=False)
    """What the checkpoint of each stage holds of its learner; none where the run goes on from a checkpoint of its
    own."""

    @property
    def frozen(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages if stage.frozen)

    def record(self) -> list[dict[str, Any]]:
        """As `config.json` has it."""
        return [asdict(stage) for stage in self.stages]


def asked(texts: Sequence[str]) -> tuple[Stage, ...]:
    """What `--init` names, as it was written. Raises `RunError` for a module that is named twice."""
    found: list[Stage] = []
    for text in texts:
        parts = init_of(text)
        assert parts is not None  # `settings.INIT` has looked
        name, run, which, frozen = parts
        if any(stage.name == name for stage in found):
            raise RunError(f"--init {text}: {name} is given twice; give it once.")
        found.append(Stage(name, str(Path(run).absolute()), which, frozen=frozen))
    # Whatever replaces a part of the whole comes after it.
    return tuple(sorted(found, key=lambda stage: stage.name != WHOLE))


def recorded(config: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages in a run's configuration; earlier versions knew one, `from`."""
    begun = config.get("from")
    earlier = () if begun is None else (Stage(WHOLE, begun["run"], begun["checkpoint"]),)
    return earlier or tuple(Stage(**entry) for entry in config.get("init") or ())


def begin(
    stages: Sequence[Stage], own: RunFolder, before: Mapping[str, Any] | None, algorithm: str
) -> Beginning | None:
    """What a run of `algorithm` in the folder `own` begins with; None where it begins anew. With `before`, the
    configuration of a run that goes on, it is what that began with, and `stages`, where there are any, must be those.

    Raises `RunError` where they are not, and for a run or a checkpoint that is not there, damaged, another algorithm's
    where all of it is asked for, or, where it is on record, not as it was.
    """
    if before is not None:
        begun = recorded(before)
        _check_same(stages, begun)
        if begun and checkpoint.available(own.checkpoints):
            return Beginning(begun, before["statistics"], before["reference_scores"])
        stages = begun
    if not stages:
        return None
    found, states, configs = [], [], []
    for stage in stages:
        folder = RunFolder(Path(stage.run))
        config = folder.read_config()
        theirs = config["recipe"]["algorithm"]
        if stage.name == WHOLE and theirs != algorithm:
            raise RunError(
                f"--algo {algorithm}: {stage.run}, with all of which it is to begin, trained {theirs}, whose networks "
                "are others; leave --algo out where it is --from, or name single modules with --init."
            )
        path, saved = checkpoint.read(folder.checkpoints, stage.checkpoint, _option(stage))
        digest = hashlib.sha256(durable.read_bytes(path / "learner.safetensors")).hexdigest()
        if stage.sha256 not in (None, digest):
            raise RunError(f"{path}: is not what the run began with (its sha256 differs); restore it from a copy.")
        found.append(replace(stage, run=str(folder.path.absolute()), checkpoint=path.name, sha256=digest))
        states.append(saved.learner)
        configs.append(config)
    for stage, config in zip(found[1:], configs[1:], strict=True):
        if config["statistics"] != configs[0]["statistics"]:
            raise RunError(
                f"--init {stage.name}: {stage.run} normalised observations by other statistics than {found[0].run}; a "
                "run has one normalisation, so take all modules from runs on the same data."
            )
    return Beginning(tuple(found), configs[0]["statistics"], configs[0]["reference_scores"], tuple(states))


def create(spec: AlgorithmSpec, beginning: Beginning | None, rows: int) -> tuple[AlgorithmSpec, Algorithm]:
    """`spec` for a run that begins so, with what is frozen and how it normalises, and its algorithm on the CPU.

    Raises `LearnerError`, naming the other run where its statistics do not fit, and `RunError` where all that is
    trained is frozen.
    """
    if beginning is None:
        return spec, spec.create("cpu", rows=rows)
    spec = replace(spec, statistics=beginning.statistics)
    try:
        algorithm = spec.create("cpu", rows=rows)
    except LearnerError as error:
        raise LearnerError(f"{beginning.stages[0].run}: {error}") from error
    if WHOLE in beginning.frozen:
        raise RunError(f"--init {WHOLE}: with all of it frozen, nothing is left to train; leave :frozen out.")
    spec = replace(spec, frozen=beginning.frozen)
    if spec.frozen:
        try:
            algorithm.freeze(spec.frozen)
        except LearnerError as error:
            raise RunError(f"--init: {error}") from error
    return spec, algorithm


def first_state(beginning: Beginning | None, algorithm: Algorithm) -> Checkpoint | None:
    """The state that a run begins with: of `algorithm`, as it was made for this run, with the parts of others in it.
    None where there is nothing to take.

    Raises `RunError` for a module that this algorithm or that checkpoint has not, and for one that does not fit.
    """
    if beginning is None or not beginning.states:
        return None
    for stage, state in zip(beginning.stages, beginning.states, strict=True):
        where = Path(stage.run) / "checkpoints" / stage.checkpoint
        if stage.name == WHOLE:
            checkpoint.check_layout(where, state, algorithm)
            if len(beginning.stages) == 1:
                return Checkpoint(0, state, {}, 0, {})  # as it is
            algorithm.load_state_dict(_tensors(state))
            continue
        part = {key.partition(".")[2]: t for key, t in _tensors(state).items() if key.startswith(f"{stage.name}.")}
        ours, theirs = _modules(algorithm.state_dict()), _modules(state)
        if stage.name not in ours & theirs:
            owner, has = (f"{stage.run} has", theirs) if stage.name in ours else ("this algorithm has", ours)
            raise RunError(f"--init {stage.name}: no such module; {owner} {', '.join(sorted(has))}.")
        _check_normaliser(stage, state, algorithm)
        try:
            algorithm.load_modules({stage.name: part})
        except LearnerError as error:
            raise RunError(f"--init {stage.name}: {where}: {error}") from error
    state = {name: tensor.cpu().numpy().copy() for name, tensor in algorithm.state_dict().items()}
    return Checkpoint(0, state, {}, 0, {})


def _option(stage: Stage) -> str:
    """What the checkpoint of a stage is named with."""
    return "--checkpoint" if stage.name == WHOLE else f"--init {stage.name}={stage.run}, and behind an @"


def _check_same(stages: Sequence[Stage], begun: Sequence[Stage]) -> None:
    """Raises `RunError` for stages that are asked for, and are not those that the run goes on from."""
    told = ", ".join(map(str, begun)) or "with none"
    for stage in stages:
        other = next((other for other in begun if other.name == stage.name), None)
        # "latest" and "best" were settled when the run began.
        step = step_of(stage.checkpoint)
        same = other is not None and (
            Path(stage.run).resolve() == Path(other.run).resolve()
            and stage.frozen == other.frozen
            and (step is None or checkpoint.folder_name(step) == other.checkpoint)
        )
        if not same:
            raise RunError(
                f"--init {stage}: the run began {'from ' if begun else ''}{told}. Leave --init, --from and "
                "--checkpoint out, or start another run."
            )


def _check_normaliser(stage: Stage, state: Arrays, algorithm: Algorithm) -> None:
    for name, tensor in algorithm.state_dict().items():
        ours, theirs = tensor.cpu().numpy(), state.get(name)
        if name.startswith("normaliser.") and (theirs is None or ours.tobytes() != theirs.tobytes()):
            raise RunError(
                f"--init {stage.name}: {stage.run} was trained on other numbers than this run would show it ({name} "
                "differs); give both runs the same spaces, --normalise-observation and --normalise-reward."
            )


def _modules(state: Mapping[str, Any]) -> set[str]:
    """The names of modules in a state."""
    return {key.partition(".")[0] for key in state} - {"optimiser", "normaliser", "averages", "step"}


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


__all__ = ["Beginning", "Stage", "asked", "begin", "create", "first_state", "recorded"]
