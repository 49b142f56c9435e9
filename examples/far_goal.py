"""A new task for old logs: reach the far end of the U maze. Given to `quiver ingest --reward examples/far_goal.py:...`.

The robot went to goals all over the maze when it was recorded; nothing in the logs is about this one.
"""

from dataclasses import replace

import numpy as np

from replay import Episode

FAR_END = np.array([-1.0, -1.0])
"""Where the U ends: the centre of the cell in row 3, column 1."""
NEAR = 0.45
"""How near counts, as in the environment itself."""


def reach_far_end(episode: Episode) -> Episode:
    """Reward 1 for a step that ends near the far end, where the task is done: nothing is bootstrapped from there."""
    position = episode.observation["achieved_goal"][1:]
    there = np.linalg.norm(position - FAR_END, axis=-1) <= NEAR
    return replace(
        episode,
        reward=there.astype(np.float32),
        terminated=there,
        truncated=np.asarray(episode.truncated, bool) & ~there,
        success=bool(there.any()),
    )
