"""The seed: the cells that growth starts from, how they are laid out, and how they are put on a grid.

From one cell, a rule that sees alike in all directions can only grow what looks alike from all sides. Three cells of
different colours, not in line, give it a direction: Mordvintsev et al., "Growing Isotropic Neural Cellular Automata",
2022, https://arxiv.org/abs/2205.01681.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.config.names import SeedCells
from ncatool.errors import UsageError
from ncatool.nca.state import ALPHA, middle_cell
from ncatool.nca.types import Seed, Seeds, State

SQUARE_SIDE = 5
"""Cells along a side of a square seed. A code in all of them reaches more cells than that of a single one."""

CANDIDATES = 256
"""Random codes from which that is taken which differs most from those of the other pictures."""


def make_seed(channels: int, cells: SeedCells = SeedCells.ONE, radius: float = 2.0) -> Seed:
    """Return a seed of one cell, of a square of them, or of three on a circle: red above its middle, the others below.

    Alpha and hidden channels of the one cell and of those of the square are 1. Of three, each has alpha 1, every third
    hidden channel 1 and the others -1, so that they differ in all channels. `radius` is that of the circle in cells, at
    least 1; places are rounded to cells.
    """
    if cells is not SeedCells.THREE:
        side = SQUARE_SIDE if cells is SeedCells.SQUARE else 1
        seed = torch.zeros(side, side, channels)
        seed[..., ALPHA:] = 1
        return seed
    reach = round(radius)
    seed = torch.zeros(2 * reach + 1, 2 * reach + 1, channels)
    for colour, (row, column) in enumerate(_lay_out_three(radius)):
        y, x = reach + row, reach + column
        seed[y, x, [colour, ALPHA]] = 1
        seed[y, x, ALPHA + 1 :] = -1
        seed[y, x, ALPHA + 1 + colour :: 3] = 1
    return seed


def _lay_out_three(radius: float) -> list[tuple[int, int]]:
    """Return the places of three cells, as rows and columns from their middle."""
    # By halves: with cosines of 120° and 240°, rounding errors would move one of the lower two where the radius is odd.
    below, beside = round(radius / 2), round(radius * math.sqrt(3) / 2)
    return [(-round(radius), 0), (below, beside), (below, -beside)]


def draw_codes(count: int, channels: int, generator: torch.Generator) -> Float[Tensor, "pictures channels"]:
    """Draw a code of -1 and 1 for each of several pictures, by which cells tell them apart; no two are alike.

    Each is the one of some random codes that differs in the most channels from the nearest of those before it. Raises
    UsageError where there are not so many codes.
    """
    if channels < 62 and count > 2**channels:
        raise UsageError(
            f"{count} pictures need as many codes, but {channels} hidden channels have {2**channels}",
            "give more --channels",
        )
    codes = torch.empty(0, channels)
    while len(codes) < count:
        drawn = 2.0 * torch.randint(2, (CANDIDATES, channels), generator=generator) - 1
        differences = (drawn[:, None] != codes).sum(dim=-1)
        nearest = differences.amin(dim=1) if len(codes) else torch.ones(CANDIDATES)
        if nearest.max() > 0:
            codes = torch.cat([codes, drawn[nearest.argmax()][None]])
    return codes


def apply_codes(seed: Seed, codes: Float[Tensor, "pictures hidden"]) -> Seeds:
    """Return the seed of each picture: as `seed`, with its hidden channels times the picture's code."""
    seeds = seed.repeat(len(codes), 1, 1, 1)
    seeds[..., ALPHA + 1 :] *= codes[:, None, None]
    return seeds


def choose_radius(opaque: Bool[np.ndarray, "height width"]) -> float:
    """Return the distance of three cells from the middle of a picture, in cells; `opaque` is where cells live in it.

    Cells tell where they are from the three, so they should lie apart: with a third of the shorter side gaussian and
    laplacian grew the phantom ten times nearer than with two cells, see tests/benchmarks/recipe.md. It is less where
    the three would not all lie on what is opaque: what a cell tells does not cross empty space, in which none lives.
    """
    largest = max(1, round(min(opaque.shape) / 3))
    (y, x), padded = middle_cell(*opaque.shape), np.pad(opaque, largest)

    def count_opaque(radius: int) -> int:
        return sum(int(padded[largest + y + row, largest + x + column]) for row, column in _lay_out_three(radius))

    return max(range(1, largest + 1), key=lambda radius: (count_opaque(radius), radius))


def is_plain(seed: Seed) -> bool:
    """Return whether a seed is the plain one cell, which files do not have to hold."""
    return torch.equal(seed, make_seed(seed.shape[-1]))


def list_cells(seed: Seed) -> list[tuple[int, int]]:
    """Return the places of a seed's cells that are not empty, as rows and columns from its middle."""
    y, x = middle_cell(*seed.shape[:2])
    return [(row - y, column - x) for row, column in seed.any(dim=-1).nonzero().tolist()]


def place_seed(seed: Seed, count: int, height: int, width: int, at: Sequence[tuple[int, int]] = ()) -> State:
    """Return `count` states that are 0 but for seeds, whose middles are `at` these rows and columns.

    By default the only one is in the middle of the grid. What lies beyond an edge comes in at the opposite one.
    """
    state = torch.zeros(count, height, width, seed.shape[-1])
    for place in at or [middle_cell(height, width)]:
        sow_seed(state, seed, place)
    return state


def sow_seed(state: State, seed: Seed, at: tuple[int, int]) -> None:
    """Put the cells of a seed in place of those that are there, its middle at this row and column; in place."""
    height, width = state.shape[1:3]
    y, x = middle_cell(*seed.shape[:2])
    for row, column in list_cells(seed):
        state[:, (at[0] + row) % height, (at[1] + column) % width] = seed[y + row, x + column].to(state.device)


def fits_grid(seed: Seed, height: int, width: int, at: tuple[int, int] | None = None) -> bool:
    """Return whether all cells of a seed lie on a grid; by default its middle is that of the grid."""
    y, x = at or middle_cell(height, width)
    return all(0 <= y + row < height and 0 <= x + column < width for row, column in list_cells(seed))


def check_fit(seed: Seed, height: int, width: int) -> None:
    """Raise UsageError for a seed that does not fit into the middle of a grid."""
    if not fits_grid(seed, height, width):
        raise UsageError(
            f"the seed's cells do not fit a grid of {height}x{width} cells",
            "give a smaller --seed-radius, or a larger --size or --padding",
        )


def turn_seed(seed: Seed, degrees: float, mirror: bool = False) -> Seed:
    """Return a seed turned counter-clockwise about its middle, after it is mirrored left to right where asked for.

    Each place is rounded to the nearest cell.
    """
    cells = list_cells(seed)
    y, x = middle_cell(*seed.shape[:2])
    reach = math.ceil(max((math.hypot(*cell) for cell in cells), default=0))
    turned = torch.zeros(2 * reach + 1, 2 * reach + 1, seed.shape[-1])
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for row, column in cells:
        across = -column if mirror else column
        turned[reach + round(row * cos - across * sin), reach + round(row * sin + across * cos)] = seed[
            y + row, x + column
        ]
    return turned
