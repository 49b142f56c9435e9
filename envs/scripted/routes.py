"""Shortest ways through a maze of square cells."""

from __future__ import annotations

from collections import deque

import numpy as np

Cell = tuple[int, int]


class Routes:
    """Breadth-first distances to any goal cell, kept once computed."""

    def __init__(self, free: np.ndarray) -> None:
        """free: (rows, columns) bool, True where one may be."""
        self.free = free
        self.cells: list[Cell] = [(int(i), int(j)) for i, j in np.argwhere(free)]
        self._distances: dict[Cell, np.ndarray] = {}

    def distances(self, goal: Cell) -> np.ndarray:
        """(rows, columns) int64: steps to `goal`, -1 for walls and cells that cannot reach it."""
        if goal not in self._distances:
            found = np.full(self.free.shape, -1, dtype=np.int64)
            found[goal] = 0
            queue = deque([goal])
            while queue:
                cell = queue.popleft()
                for beside in self._beside(cell):
                    if found[beside] == -1:
                        found[beside] = found[cell] + 1
                        queue.append(beside)
            self._distances[goal] = found
        return self._distances[goal]

    def next(self, cell: Cell, goal: Cell) -> Cell:
        """The neighbour of `cell` on a shortest way to `goal`; `cell` itself at the goal and where there is no way."""
        distances = self.distances(goal)
        closer = [beside for beside in self._beside(cell) if 0 <= distances[beside] < distances[cell]]
        return min(closer, key=lambda beside: int(distances[beside])) if closer else cell

    def _beside(self, cell: Cell) -> list[Cell]:
        i, j = cell
        rows, columns = self.free.shape
        around = ((i - 1, j), (i, j - 1), (i + 1, j), (i, j + 1))
        return [(k, m) for k, m in around if 0 <= k < rows and 0 <= m < columns and self.free[k, m]]
