"""What an algorithm takes of memory, known before any of it is taken.

It is built, and goes through the losses of one step, on PyTorch's meta device, whose tensors have shapes and no
contents: any width is answered at once, and by the very code that would allocate it. All figures are lower bounds, so
that nothing that fits is refused.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from learners.base.inputs import Inputs
from learners.errors import LearnerError
from learners.networks.critics import MLP
from replay.batch import Batch, Request
from replay.memory import amount, available_bytes
from replay.spaces import Box, Dict, Discrete, Image, Leaf, Space, Spaces, observation_columns

if TYPE_CHECKING:
    from learners.base.torch_algorithm import TorchAlgorithm

META = torch.device("meta")
NORMALISER_BYTES = 40
"""For each number of an observation or an action, while its mean and spread, or its range, are made ready."""

FEW = 4
"""A number that is no larger is not to blame."""


class Footprint(NamedTuple):
    """Bytes, at the least."""

    built: int
    """By all that stays: parameters, their gradient, target networks, sums."""
    moments: int
    """Of the optimiser, from the first step on."""
    inputs: int
    """Of one step: a batch as networks see it, and its noise."""
    activations: int
    """What the networks make of it and keep for the gradient, and the gradient."""


def require_memory(
    algorithm: type[TorchAlgorithm],
    spaces: Spaces,
    config: Any,
    device: torch.device,
    *,
    rows: int = 0,
    compile: bool = False,
) -> None:
    """Raises `LearnerError`, naming the knobs that matter, unless the algorithm fits in the memory of the device, with
    the steps on batches of `rows` transitions where there are any."""
    left = _left(device)
    for where, leaf in {**observation_columns(spaces.observation), "action": spaces.action}.items():
        size = math.prod(leaf.shape) if isinstance(leaf, Box) else 0
        if size * NORMALISER_BYTES > left:
            raise LearnerError(
                f"{where.replace('observation', 'observation space', 1)}: found {size:,} numbers, whose scales alone "
                f"take {amount(size * NORMALISER_BYTES)} of memory, and {amount(left)} are left on {device}."
            )

    def needed_by(config: Any, rows: int) -> int:
        found = footprint(algorithm, _plain(spaces), config, rows)
        # A compiler keeps what it likes, and on a GPU what is kept may be of half the width.
        kept = (
            0
            if compile
            else found.activations // (1 + int(device.type == "cuda" and getattr(config, "mixed_precision", False)))
        )
        return found.built + found.moments + found.inputs + kept

    needed = needed_by(config, rows)
    if needed > left:
        *others, last = _what_matters(needed_by, config, rows, needed)
        raise LearnerError(
            f"{', '.join(others)}{' and ' if others else ''}{last}: {algorithm.__name__} takes at least "
            f"{amount(needed)} of memory, and {amount(left)} are left on {device}; lower {'them' if others else 'it'}, "
            "or use a machine with more."
        )


@functools.lru_cache(maxsize=64)
def footprint(algorithm: type[TorchAlgorithm], spaces: Spaces, config: Any, rows: int = 0) -> Footprint:
    """Of the algorithm in float32, and of a step on batches of `rows` transitions where there are any."""
    if getattr(config, "normalise_reward", False):  # for which there are no statistics here
        config = replace(config, normalise_reward=False)
    twin = algorithm(_plain(spaces), config, seed=0, device="meta")
    return footprint_of(twin, _batch(twin.spaces, twin.requires, rows) if rows else None)


def footprint_of(algorithm: TorchAlgorithm, batch: Batch[Any] | None) -> Footprint:
    """Of one that is there, with contents or without, and of a step on the batch; no parameter moves."""
    built = _storages(_tensors(algorithm))
    if batch is None:
        return Footprint(_bytes(built), 0, 0, 0)
    with _largest_product() as largest:
        inputs, made = algorithm.rehearse(batch)
    gradient = 4 * sum(part.stop - part.start for part in algorithm.optimiser.groups.values())
    moments = 4 * sum(torch.Size(shape).numel() for shape in algorithm.optimiser.state_shapes().values())
    read = {place: part for place, part in _storages(_flat(inputs)).items() if place not in built}
    kept = {place: part for place, part in _storages(_graph(made)).items() if place not in built | read}
    noise = _bytes(_storages(algorithm.target_noise(batch).values()))
    return Footprint(_bytes(built), moments, _bytes(read), max(_bytes(kept), gradient, noise, *largest))


def _left(device: torch.device) -> int:
    if device.type != "cuda":
        return available_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    # What PyTorch holds for later use is free as well.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


# --- Shapes without contents ---


def _plain(spaces: Spaces) -> Spaces:
    """The same shapes, for which no statistics are needed."""

    def plain(leaf: Leaf) -> Leaf:
        match leaf:
            case Discrete():
                return Discrete(leaf.n, leaf.start)
            case Image():
                return Image(tuple(leaf.shape))
            case Box():
                return Box(tuple(leaf.shape), low=(-1.0,), high=(1.0,))

    observation: Space = (
        Dict.of({name: plain(leaf) for name, leaf in spaces.observation.items()})
        if isinstance(spaces.observation, Dict)
        else plain(spaces.observation)
    )
    return Spaces(observation, plain(spaces.action))  # type: ignore[arg-type]


def _batch(spaces: Spaces, request: Request, rows: int) -> Batch[Tensor]:
    """What `request` asks for; episodes are of one step."""
    lead = (rows,) if request.kind == "transitions" else (rows, 1)
    seen = (*lead, request.history + 1) if request.history else lead
    done = (*lead, request.action_chunk) if request.action_chunk else lead

    def of(leaf: Leaf, lead: tuple[int, ...]) -> Tensor:
        return torch.empty((*lead, *leaf.shape), dtype=getattr(torch, leaf.dtype), device=META)

    def flags(lead: tuple[int, ...]) -> Tensor:
        return torch.empty(lead, dtype=torch.uint8, device=META)

    def observation() -> Any:
        return (
            {name: of(leaf, seen) for name, leaf in spaces.observation.items()}
            if isinstance(spaces.observation, Dict)
            else of(spaces.observation, seen)
        )

    number, flag = torch.empty(lead, device=META), flags(lead)
    return Batch(
        observation=observation(),
        action=of(spaces.action, done),
        reward=number,
        discount=number,
        next_observation=observation(),
        terminated=flag,
        truncated=flag,
        index=number,
        mask=flags(done) if request.kind != "transitions" or request.action_chunk else None,
        history_mask=flags(seen) if request.history else None,
        next_history_mask=flags(seen) if request.history else None,
        extras={name: of(spaces.action, lead) if name == "next_action" else number for name in request.columns},
    )


def _tensors(algorithm: TorchAlgorithm) -> Iterator[Tensor]:
    for module in [*algorithm.modules.values(), algorithm.normaliser]:
        yield from module.parameters()
        yield from module.buffers()
    yield from _tensors_in(vars(algorithm).values())
    yield from algorithm.target_vectors.values()
    yield from _tensors_in(vars(algorithm.optimiser).values())


def _flat(inputs: Inputs) -> Iterator[Tensor]:
    for part in inputs:
        yield from _tensors_in(part.values() if isinstance(part, dict) else (part,))


def _graph(made: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors, and those that are kept for their gradients."""
    waiting: list[Any] = []
    seen: set[Any] = set()
    for tensor in made:
        yield tensor
        waiting.append(tensor.grad_fn)
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for name in dir(node):
            if name.startswith("_saved_"):
                saved = getattr(node, name)
                yield from _tensors_in(saved if isinstance(saved, tuple) else (saved,))
        waiting.extend(following for following, _ in node.next_functions)


@contextmanager
def _largest_product() -> Iterator[list[int]]:
    """What the largest layers of perceptrons write, also where no gradient is asked for: filled while inside."""
    found: list[int] = []

    def look(module: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(module, MLP):
            rows = output.numel() // output.shape[-1]
            widest = max(layer.out_features for layer in module.layers if isinstance(layer, nn.Linear))
            found.append(4 * rows * widest)

    handle = nn.modules.module.register_module_forward_hook(look)
    try:
        yield found
    finally:
        handle.remove()


def _storages(tensors: Iterable[Tensor]) -> dict[int, tuple[int, Tensor]]:
    """Address of each storage to its bytes, and a tensor that keeps it."""
    return {tensor.untyped_storage()._cdata: (tensor.untyped_storage().nbytes(), tensor) for tensor in tensors}


def _bytes(storages: dict[int, tuple[int, Tensor]]) -> int:
    return sum(size for size, _ in storages.values())


def _tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    return (value for value in values if isinstance(value, Tensor))


# --- What to lower ---


def _what_matters(needed_by: Callable[[Any, int], int], config: Any, rows: int, needed: int) -> list[str]:
    """The knobs, or else what is given, without which much of it would not be needed: first those that were changed."""
    found: list[tuple[bool, int, str]] = []
    for field in fields(config):
        value = getattr(config, field.name)
        many = isinstance(value, tuple)
        if not many and (not isinstance(value, int) or value <= FEW):
            continue
        for least in (1, 2, 16):
            try:
                smaller = needed_by(replace(config, **{field.name: (least,) * len(value) if many else least}), rows)
            except LearnerError:  # another knob does not let it be so small
                continue
            found.append((value == field.default, smaller, f"{field.name} {value}"))
            break
    if rows > 1:
        found.append((False, needed_by(config, 1), f"batches of {rows:,}"))
    matter = [name for _, smaller, name in sorted(found) if smaller < 0.75 * needed]
    return matter[:3] or ["observation and action spaces"]
