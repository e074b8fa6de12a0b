"""The Shepp-Logan head phantom, the default target: it needs no file and no download."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncatool.data.pixels import Pixels

# Shepp and Logan, "The Fourier reconstruction of a head section", IEEE Trans. Nucl. Sci. 21 (1974);
# the contrast of Toft, "The Radon Transform: Theory and Implementation" (1996), appendix B.3.
# Grey added, half axes along x and y, centre x and y, degrees of rotation; the head spans [-1, 1].
_ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)
_SAMPLES_PER_AXIS = 8
"""Points along each axis of a pixel over which the phantom is averaged."""
_ROWS_AT_ONCE = 16
"""Rows of pixels that are drawn at a time: 8 MB an array of their points, for the largest phantom."""


def _is_inside(x: NDArray[Any], y: NDArray[Any], ellipse: tuple[float, ...]) -> NDArray[np.bool_]:
    _, a, b, x0, y0, degrees = ellipse
    angle = np.deg2rad(degrees)
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def draw_phantom(size: int) -> Pixels:
    """Draw the Shepp–Logan head phantom with `size` pixels a side, transparent outside the skull."""
    position = (np.arange(size * _SAMPLES_PER_AXIS) + 0.5) / (size * _SAMPLES_PER_AXIS) * 2 - 1
    rows = _ROWS_AT_ONCE * _SAMPLES_PER_AXIS
    starts = range(0, len(position), rows)
    return np.concatenate([_draw_rows(position, -position[start : start + rows]) for start in starts])


def _draw_rows(x: NDArray[Any], y: NDArray[Any]) -> Pixels:
    """Draw the rows of pixels whose points are at these positions."""
    x, y = x[None, :], y[:, None]
    grey = sum(ellipse[0] * _is_inside(x, y, ellipse) for ellipse in _ELLIPSES)
    alpha = _is_inside(x, y, _ELLIPSES[0]).astype(np.float64)
    coverage = _average_blocks(alpha)
    shade = _average_blocks(np.clip(grey, 0, 1) * alpha) / np.where(coverage > 0, coverage, 1)
    rgba = np.stack([shade, shade, shade, coverage], axis=-1)
    return np.round(rgba * 255).astype(np.uint8)


def _average_blocks(values: NDArray[Any]) -> NDArray[Any]:
    height, width = (length // _SAMPLES_PER_AXIS for length in values.shape)
    return values.reshape(height, _SAMPLES_PER_AXIS, width, _SAMPLES_PER_AXIS).mean(axis=(1, 3))
