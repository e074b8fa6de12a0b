"""The region of the grid in which a large picture grows: early in training it widens, from the middle to all of it.

Cells learn from the seed where they are, and pass it on outwards, a cell at each of their updates. On a large grid that
takes longer than a rollout, and cells that do not know their places yet can only learn the mean of the colours around
them. In a region that widens, those inside it have always learnt their places already.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ncatool.nca.types import Fire

Region = tuple[slice, slice]
"""Rows and columns of a grid."""

FIRST_SIDE = 24
"""Longer side of the region at first, in cells; at least that of the seed."""


def choose_region(progress: float, widening: float, grid: Sequence[int], seed_side: int) -> Region:
    """Return the region in which cells update and are compared with the target.

    `progress` is the share of the iterations done, `widening` the one after which the region is the whole `grid`, a
    height and a width in cells; `seed_side` is the longer side of the seed.
    """
    side = max(grid)
    if progress < widening:
        first = min(side, max(FIRST_SIDE, seed_side))
        side = round(first + (side - first) * progress / widening)
    height, width = grid
    return _centre(side, height), _centre(side, width)


def _centre(side: int, length: int) -> slice:
    """Return so many cells around the middle of a side of the grid; all of it where there are not so many."""
    start = max(0, length // 2 - side // 2)
    return slice(start, min(length, start + side))


def restrict_fire(fire: Fire, region: Region) -> Fire:
    """Return fire masks under which only the cells of a region update."""
    if _count_cells(region) == fire.shape[2] * fire.shape[3]:
        return fire
    inside = torch.zeros(fire.shape[2:], dtype=torch.bool, device=fire.device)
    inside[region] = True
    return fire & inside


def compute_mean_area(widening: float, grid: Sequence[int], seed_side: int, done: float = 0.0) -> float:
    """Return the mean share of the grid that the region is, over the iterations after the share `done` of them."""
    points = [done + (1 - done) * i / 100 for i in range(100)]
    areas = [_count_cells(choose_region(point, widening, grid, seed_side)) for point in points]
    return sum(areas) / len(areas) / (grid[0] * grid[1])


def _count_cells(region: Region) -> int:
    rows, columns = region
    count: int = (rows.stop - rows.start) * (columns.stop - columns.start)
    return count
