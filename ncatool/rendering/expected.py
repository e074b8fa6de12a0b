"""The picture that a state should show: the target at each seed, possibly mirrored and rotated."""

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
"""RGBA premultiplied by alpha, from 0 to 1, one pixel a cell."""


def draw_expected(
    models: Sequence[ModelData], grid: tuple[int, int], seeds: Sequence[tuple[int, int]], degrees: float = 0,
    mirror: bool = False,
) -> ExpectedImage:  # fmt: skip
    """Return the targets of models around the places of their seeds; later ones cover earlier ones.

    They are mirrored left to right where asked for, then rotated counter-clockwise, both about their middle cells.
    Where the grid wraps, so does a target; otherwise it is cut at the edge.
    """
    canvas = np.zeros((*grid, 4), np.float32)
    for model, (row, column) in zip(models, seeds, strict=True):
        picture, centre = model.target.premultiply(), middle_cell(*model.target.shape)
        if mirror:
            picture, centre = picture[:, ::-1], (centre[0], picture.shape[1] - 1 - centre[1])
        if degrees:
            picture, centre = _rotate(picture, centre, degrees)
        _paste(canvas, picture, row - centre[0], column - centre[1], model.config.boundary)
    return canvas


def _paste(
    canvas: ExpectedImage, picture: Float[np.ndarray, "tall wide 4"], top: int, left: int, boundary: Boundary
) -> None:
    """Copy the pixels that are not transparent to row `top` and column `left` of the canvas, in place."""
    rows, columns = np.nonzero(picture[..., 3] > 0)
    y, x = rows + top, columns + left
    if boundary is Boundary.WRAP:
        y, x = y % canvas.shape[0], x % canvas.shape[1]
    inside = (y >= 0) & (y < canvas.shape[0]) & (x >= 0) & (x < canvas.shape[1])
    canvas[y[inside], x[inside]] = picture[rows[inside], columns[inside]]


def _rotate(
    picture: Float[np.ndarray, "height width 4"], centre: tuple[int, int], degrees: float
) -> tuple[Float[np.ndarray, "tall wide 4"], tuple[int, int]]:
    """Return the picture rotated about its centre cell, padded to fit its corners, and the new place of that cell."""
    padding = math.ceil(max(picture.shape[:2]) / 2)
    padded = np.pad(picture, ((padding, padding), (padding, padding), (0, 0)))
    y, x = centre[0] + padding, centre[1] + padding
    rotated = [
        Image.fromarray(channel).rotate(degrees, Image.Resampling.BICUBIC, center=(x + 0.5, y + 0.5))
        for channel in np.moveaxis(padded, -1, 0)
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in rotated], axis=-1), 0, 1), (y, x)
