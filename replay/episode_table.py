"""The table of a dataset's episodes: its columns, and what can be said in them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from replay.contents import Episodes

EPISODE_COLUMNS: dict[str, pa.DataType] = {
    "shard": pa.int32(),
    "first_row": pa.int64(),
    "length": pa.int64(),
    "terminated": pa.uint8(),
    "truncated": pa.uint8(),
    "return": pa.float64(),
    "task": pa.string(),
    "source": pa.string(),
    "success": pa.int8(),
    "split": pa.string(),
}
_LARGEST = float(np.finfo(np.float64).max)
_FACTS = {"terminated": (0, 1), "truncated": (0, 1), "success": (-1, 1), "return": (-_LARGEST, _LARGEST)}
"""What may be said of an episode, from and to."""
_EXPECTED = {
    "terminated": "0 or 1",
    "truncated": "0 or 1",
    "success": "1, 0, or -1 where unknown",
    "return": "a number",
}


def impossible(episodes: Episodes, rows: np.ndarray) -> str | None:
    """What is wrong with the first episode that cannot be; None where all can. They must lie inside their shards, which
    have `rows`, int64 (S,), in order and without overlap: every address is computed from them."""
    shard, first, length = (episodes[name].astype(np.int64) for name in ("shard", "first_row", "length"))
    inside = (shard >= 0) & (shard < len(rows)) & (first >= 0) & (length >= 1)
    if inside.all():
        inside = length < rows[shard] - first  # whose numbers cannot overflow, as those of a sum could
        same = shard[1:] == shard[:-1]
        follows = np.where(same, first[1:] >= first[:-1] + length[:-1] + 1, shard[1:] > shard[:-1])
        inside[1:] &= follows
    if not inside.all():
        bad = int(np.argmin(inside))
        return (
            f"episode {bad} (shard {shard[bad]}, first row {first[bad]}, {length[bad]} steps) lies outside its shard "
            "or over another episode"
        )
    for name, (least, most) in _FACTS.items():
        wrong = ~((episodes[name] >= least) & (episodes[name] <= most))
        if wrong.any():
            bad = int(np.argmax(wrong))
            return f"episode {bad}: {name}: found {episodes[name][bad]}, expected {_EXPECTED[name]}"
    return None
