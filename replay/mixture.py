"""Datasets that are sampled together: whether they can be, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from replay import statistics as moments
from replay.contents import Contents
from replay.errors import DataError
from replay.records import listed
from replay.spaces import Box, Discrete, Leaf, Spaces, observation_columns


def check_same_spaces(first: Spaces, path: str, b: Contents) -> None:
    """Raises `DataError` unless dataset `b` can be sampled together with one at `path` that has the spaces `first`.

    Observations must have the same parts, shapes and dtypes; actions must be the same, bounds and all, because policies
    squash to them. The bounds of the first dataset's observations are kept.
    """
    ours, theirs = observation_columns(first.observation), observation_columns(b.manifest.spaces.observation)
    if set(ours) != set(theirs):
        raise DataError(
            f"{b.path}: observations are {listed(theirs)}, those of {path} are {listed(ours)}; "
            f"rename or drop keys when ingesting."
        )
    for name, leaf in ours.items():
        if _form(leaf) != _form(theirs[name]):
            raise DataError(
                f"{b.path}: {name} is {_form(theirs[name])}, in {path} it is {_form(leaf)}; datasets sampled together "
                "need the same."
            )
    if first.action != b.manifest.spaces.action:
        raise DataError(
            f"{b.path}: the action space is {b.manifest.spaces.action}, in {path} it is {first.action}; "
            f"datasets sampled together need the same."
        )


def _form(leaf: Leaf) -> str:
    """What learners go by: choices are one-hot vectors."""
    return str(leaf) if isinstance(leaf, Discrete) else f"{type(leaf).__name__} {leaf.shape} {leaf.dtype}"


def common_extras(extras: Sequence[Mapping[str, Box]]) -> dict[str, Box]:
    """The extra columns that all have, in the same shape and dtype, with the first one's bounds."""
    return {
        name: box
        for name, box in extras[0].items()
        if all(name in e and (e[name].shape, e[name].dtype) == (box.shape, box.dtype) for e in extras[1:])
    }


def pooled_statistics(datasets: Sequence[Contents], shares: np.ndarray | None) -> dict[str, dict[str, Any]]:
    """count, mean, std, min and max by column that all have, of whole datasets that are drawn from in `shares` (M,);
    without them, in proportion to their rows."""
    statistics = [dataset.manifest.statistics for dataset in datasets]
    names = [name for name in statistics[0] if all(name in own for own in statistics)]
    merged: dict[str, dict[str, Any]] = {}
    for name in names:
        entries: list[Mapping[str, Any]] = [own[name] for own in statistics]
        if len({np.shape(entry["mean"]) for entry in entries}) > 1:
            continue  # an extra of the same name and another shape
        merged[name] = _merged(entries, shares)
    return merged


def pooled_returns(
    datasets: Sequence[Contents], parts: Sequence[Mapping[str, np.ndarray]], shares: np.ndarray | None
) -> dict[str, Any]:
    """The same of the returns of selected episodes, whose numbers each part has as `episode`: from the tables of
    episodes, whatever the manifests say, as a relabelled dataset has returns of its own."""
    entries: list[Mapping[str, Any]] = []
    for dataset, part in zip(datasets, parts, strict=True):
        collected = moments.Moments(())
        collected.add(dataset.episodes["return"][part["episode"]])
        entries.append(collected.entry())
    return _merged(entries, shares)


def _merged(entries: Sequence[Mapping[str, Any]], shares: np.ndarray | None) -> dict[str, Any]:
    """In these shares; without them, each entry counts for as much as it has rows."""
    counts = np.array([float(entry["count"]) for entry in entries])
    return moments.merge(entries, (counts / counts.sum() if shares is None else shares).tolist())
