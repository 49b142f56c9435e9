"""From logs to a dataset: reads a source, checks every episode, writes Arrow shards, says what happened."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from replay import memory
from replay.episode import LONGEST_TAG, Episode
from replay.errors import DataError
from replay.hooks import Hook, applied, described
from replay.new_folder import NewFolder
from replay.ranges import shown
from replay.readers import Options, Source, read
from replay.readers.columns import MOST_NUMBERS, check_name, left_out, some
from replay.readers.segment import Counts
from replay.records import is_utf8
from replay.spaces import Box, Dict, Image, Spaces, observation_columns, part_named
from replay.writer import SHARD_BYTES, DatasetWriter

__all__ = ["Hook", "IngestReport", "ingest"]


@dataclass(frozen=True)
class IngestReport:
    """What was read and what became of it."""

    source: str
    out: Path
    counts: Counts
    seconds: float
    notes: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    """Why, for each episode left out."""

    @property
    def episodes(self) -> int:
        return self.counts.episodes

    @property
    def transitions(self) -> int:
        return self.counts.transitions

    def lines(self) -> list[str]:
        """The report as text, one fact a line."""
        counts = self.counts
        lines = [
            f"{self.source} -> {self.out}",
            f"{counts.transitions:,} transitions in {counts.episodes:,} episodes, {self.seconds:.1f} s",
        ]
        if counts.discontinuities:
            lines.append(f"{counts.discontinuities:,} episodes cut where rows are missing")
        if counts.dropped:
            lines.append(f"{counts.dropped:,} last transitions left out: their next observation is unknown")
        if counts.stand_ins:
            lines.append(f"{counts.stand_ins:,} terminal observations are copies: the source has none")
        if self.quarantined:
            lines.append(f"{len(self.quarantined):,} damaged episodes left out:")
            lines += [f"  {reason}" for reason in self.quarantined[:20]]
            if len(self.quarantined) > 20:
                lines.append(f"  and {len(self.quarantined) - 20:,} more (provenance.quarantined has all)")
        return lines + [f"note: {note}" for note in self.notes]


def ingest(
    source: str | Path,
    out: str | Path,
    *,
    env: str | None = None,
    reward: Hook | None = None,
    observation: str | None = None,
    rename: Mapping[str, str] | None = None,
    success_timing: str | None = None,
    validation_fraction: float = 0.05,
    split_seed: int = 0,
    collected_by: str | None = None,
    licence: str | None = None,
    quarantine: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int | None], None] | None = None,
) -> IngestReport:
    """Write the dataset `out` from `source` (`minari:…`, `ogbench:…`, `hdf5:…`, `parquet:…` or a dataset folder).

    `reward` sees each episode as the source has it, before `observation` keeps one key of a dictionary as the plain
    observation. `env` names the task whose reward OGBench computes (`success_timing` `pre` or `post`), and elsewhere
    the environment to evaluate in. `progress` is called with transitions done and expected. Damaged episodes
    (not finite, wrong shapes, flags that are none, pictures that cannot be decoded) stop everything unless
    `quarantine` leaves them out.

    Raises `DataError` and leaves nothing behind, whatever is wrong; at once where somebody else is writing `out`.
    """
    started = time.monotonic()
    quarantined: list[str] = []
    # The target is ours before anything is read: a log may take hours.
    with _enough_memory(str(source)), NewFolder(out) as new:
        _check_words(env=env, observation=observation, collected_by=collected_by, licence=licence)
        wanted = None if reward else observation  # a reward function sees all of the source
        opened = read(str(source), Options(env, dict(rename or {}), success_timing, observation=wanted))
        spaces = _keep_key(opened.spaces, observation, str(source))
        notes = [note for note in opened.notes if observation is None or _concerns(note, observation)]
        notes += _left_out(opened.spaces, observation)
        extra_provenance = {"collected_by": collected_by, "licence": licence, "observation_key": observation}
        counts: dict[str, int] = {}  # filled at the end: the writer keeps a reference and writes it last
        provenance = {
            "source": str(source),
            "files": [{"name": file.name, "bytes": file.stat().st_size} for file in opened.files],
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "tool": f"quiver {_version()}",
            **opened.provenance,
            **{name: value for name, value in extra_provenance.items() if value is not None},
            **({"reward": {"from": f"function {getattr(reward, '__name__', repr(reward))}"}} if reward else {}),
            "notes": notes,
            "counts": counts,
            "quarantined": quarantined,
        }
        _check_names(spaces, opened.extras, str(source))
        with DatasetWriter(
            new,
            spaces,
            provenance=provenance,
            extras=opened.extras,
            expected_rows=opened.expected_rows,
            validation_fraction=validation_fraction,
            split_seed=split_seed,
            shard_bytes=shard_bytes,
            reference_scores=opened.reference_scores,
        ) as writer:
            for label, found in opened.episodes:
                made = found
                if reward is not None and isinstance(found, Episode):
                    # Of a function that fails no episode can be left out: it is not the source that is damaged.
                    made = applied(reward, found, _where(opened, label))
                try:
                    episode = _finished(made, observation, label)
                    encoded = writer.encode(episode, _where(opened, label))
                except DataError as error:
                    if reward is not None and isinstance(found, Episode):
                        error = DataError(f"{error} ({described(reward)} had it last.)")
                    if not quarantine:
                        # Of many files, not every reader can say which it was.
                        where = "" if any(str(file) in str(error) for file in opened.files) else f"{source}: "
                        raise DataError(f"{where}{error} {_REMEDY}") from error
                    quarantined.append(str(error))
                    opened.counts.quarantined += 1
                    continue
                writer.append(encoded)
                opened.counts.episodes += 1
                opened.counts.transitions += len(episode)
                if progress is not None:
                    progress(opened.counts.transitions, opened.expected_transitions)
            if quarantined and not opened.counts.episodes:
                raise DataError(f"{source}: every episode is damaged; the first: {quarantined[0]}")
            counts.update(vars(opened.counts))
    return IngestReport(str(source), Path(out), opened.counts, time.monotonic() - started, notes, quarantined)


@contextlib.contextmanager
def _enough_memory(source: str) -> Iterator[None]:
    """Makes a `DataError` of what could not be known before: that others take the memory, too."""
    try:
        yield
    except MemoryError as error:
        left = memory.amount(memory.available_bytes())
        raise DataError(
            f"{source}: memory does not suffice ({error}; {left} are left). Use a machine or a limit with more, or cut "
            "episodes into shorter ones."
        ) from error


_REMEDY = "Repair the source, or ingest with quarantine to leave such episodes out."


def _finished(found: Episode | DataError, observation: str | None, label: str) -> Episode:
    if isinstance(found, DataError):
        raise found
    if observation is None:
        return found
    kept = part_named(found.observation, observation) if isinstance(found.observation, Mapping) else None
    if kept is None:
        raise DataError(f"{label}: has no observation {observation!r} any more; a reward function must leave it there.")
    return replace(found, observation=kept)


def _check_words(**words: str | None) -> None:
    """Raises `DataError` for what a person has said in no words, or in ones that cannot be kept."""
    for name, word in words.items():
        if word is None:
            continue
        if not word.strip() or not is_utf8(word) or len(word.encode()) > LONGEST_TAG:
            raise DataError(
                f"{name}: found {shown(word)}, expected 1 to {LONGEST_TAG:,} characters; leave the option out."
            )


def _check_names(spaces: Spaces, extras: Mapping[str, Box], name: str) -> None:
    """Raises `DataError` for columns whose names cannot be kept, and for more numbers in a row than can be described:
    dataset.json holds four statistics of each."""
    columns = observation_columns(spaces.observation)
    for column in (*columns, *extras):
        check_name(column.removeprefix("observation."), name)
    leaves = [leaf for leaf in columns.values() if not isinstance(leaf, Image)]
    total = sum(math.prod(leaf.shape) for leaf in [*leaves, spaces.action, *extras.values()])
    if total > MOST_NUMBERS:
        raise DataError(
            f"{name}: has {total:,} numbers in a row of all columns, expected at most {MOST_NUMBERS:,}. Leave columns "
            "out, or keep one part with --observation."
        )


def _keep_key(spaces: Spaces, key: str | None, source: str) -> Spaces:
    if key is None:
        return spaces
    if not isinstance(spaces.observation, Dict):
        raise DataError(f"{source}: observations are no dictionary, so {key!r} cannot be kept; leave the key out.")
    parts = dict(spaces.observation.items())
    part = part_named(parts, key)
    if part is None:
        raise DataError(f"{source}: observations have no key {key!r}; found {some(parts)}.")
    return replace(spaces, observation=Dict.of(part) if isinstance(part, dict) else part)


def _left_out(spaces: Spaces, key: str | None) -> list[str]:
    """A note that names the parts that are not kept, pictures first."""
    if key is None or not isinstance(spaces.observation, Dict):
        return []
    others = {
        name: isinstance(leaf, Image)
        for name, leaf in spaces.observation.items()
        if name != key and not name.startswith(f"{key}.")
    }
    return left_out(others, f"{key!r} alone is kept")


def _concerns(note: str, key: str) -> bool:
    """Whether a note is of use where only one key of the observation is kept."""
    return not note.startswith("observation.") or note.startswith((f"observation.{key}:", f"observation.{key}."))


def _where(source: Source, label: str) -> str:
    """Readers of many files name the file in the label."""
    return label if len(source.files) != 1 or str(source.files[0]) in label else f"{source.files[0]}: {label}"


def _version() -> str:
    try:
        return importlib.metadata.version("quiver-rl")
    except importlib.metadata.PackageNotFoundError:
        return "from a source tree"
