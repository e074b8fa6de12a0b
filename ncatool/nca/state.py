"""Where rollouts start: the seed, the pool of states, and damage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from ncatool.nca.types import State

ALPHA = 3
"""Index of the alpha channel."""


def middle_cell(height: int, width: int) -> tuple[int, int]:
    """Row and column of the cell that a picture grows from."""
    return height // 2, width // 2


def make_seed(batch: int, height: int, width: int, channels: int, at: Sequence[tuple[int, int]] = ()) -> State:
    """States that are empty but for the cells `at` (row, column), by default the one in the middle.

    Their alpha and hidden channels are 1.
    """
    state = torch.zeros(batch, height, width, channels)
    for y, x in at or [middle_cell(height, width)]:
        state[:, y, x, ALPHA:] = 1
    return state


def has_living_cells(state: State, threshold: float) -> Bool[Tensor, "batch"]:
    """Which states hold a cell that is above the threshold: the others have died, and stay dead."""
    return (state[..., ALPHA] > threshold).flatten(1).any(dim=1)
