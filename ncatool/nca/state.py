"""Cell states, and whether one still lives."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from ncatool.nca.types import State

ALPHA = 3
"""Index of the alpha channel."""


def middle_cell(height: int, width: int) -> tuple[int, int]:
    """Return the row and column of the cell that a picture grows around."""
    return height // 2, width // 2


def has_living_cells(state: State, threshold: float) -> Bool[Tensor, "batch"]:
    """Return which states have a cell with an alpha above the threshold: the others have died, and stay dead."""
    return (state[..., ALPHA] > threshold).flatten(1).any(dim=1)
