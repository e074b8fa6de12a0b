"""Cell states: the seed that rollouts start from, and whether a state still lives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from ncatool.nca.types import State

ALPHA = 3
"""Index of the alpha channel."""


def middle_cell(height: int, width: int) -> tuple[int, int]:
    """Return the row and column of the cell that a picture grows from."""
    return height // 2, width // 2


def make_seed(batch: int, height: int, width: int, channels: int, at: Sequence[tuple[int, int]] = ()) -> State:
    """Return states that are 0 except for the seed cells, whose alpha and hidden channels are 1.

    `at` lists them by row and column; by default the only one is in the middle.
    """
    state = torch.zeros(batch, height, width, channels)
    for y, x in at or [middle_cell(height, width)]:
        state[:, y, x, ALPHA:] = 1
    return state


def has_living_cells(state: State, threshold: float) -> Bool[Tensor, "batch"]:
    """Return which states have a cell with an alpha above the threshold: the others have died, and stay dead."""
    return (state[..., ALPHA] > threshold).flatten(1).any(dim=1)
