"""TODO."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from ncatool.config.names import Boundary
from ncatool.nca.model_file import ModelData
from ncatool.nca.state import middle_cell

ExpectedImage = Float[np.ndarray, "height width 4"]


def draw_expected(
    model: ModelData, grid: tuple[int, int], seeds: Sequence[tuple[int, int]], degrees: float = 0
) -> ExpectedImage:
    """The target around each seed of the grid, rotated about it; premultiplied RGBA, what comes later on top."""
    stamp, centre = model.target.premultiply(), middle_cell(*model.target.shape)
    if degrees:
        stamp, centre = _rotate(stamp, centre, degrees)
    whole = np.zeros((*grid, 4), np.float32)
    for seed_cell in seeds:
        _paste(whole, stamp, seed_cell[0] - centre[0], seed_cell[1] - centre[1], model.config.boundary)
    return whole


def _paste(
    whole: ExpectedImage, stamp: Float[np.ndarray, "tall wide 4"], top: int, left: int, boundary: Boundary
) -> None:
    rows, columns = np.nonzero(stamp[..., 3] > 0)
    y, x = rows + top, columns + left
    if boundary is Boundary.WRAP:
        y, x = y % whole.shape[0], x % whole.shape[1]
    inside = (y >= 0) & (y < whole.shape[0]) & (x >= 0) & (x < whole.shape[1])
    whole[y[inside], x[inside]] = stamp[rows[inside], columns[inside]]


def _rotate(
    stamp: Float[np.ndarray, "height width 4"], centre: tuple[int, int], degrees: float
) -> tuple[Float[np.ndarray, "tall wide 4"], tuple[int, int]]:
    """A picture rotated about its seed cell, with room for its corners, and where that cell then is."""
    room = math.ceil(max(stamp.shape[:2]) / 2)
    padded = np.pad(stamp, ((room, room), (room, room), (0, 0)))
    y, x = centre[0] + room, centre[1] + room
    turned = [
        Image.fromarray(channel).rotate(degrees, Image.Resampling.BICUBIC, center=(x + 0.5, y + 0.5))
        for channel in np.moveaxis(padded, -1, 0)
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in turned], axis=-1), 0, 1), (y, x)
