"""The 3×3 filters that cells perceive their neighbours with, as numbers.

Source: https://github.com/erikhelmut/neural-cellular-automata.
"""

from __future__ import annotations

from ncatool.config.names import Filter

STENCILS: dict[Filter, tuple[tuple[tuple[float, float, float], ...], float]] = {
    Filter.SOBEL: (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), 8),
    Filter.SCHARR: (((-3, 0, 3), (-10, 0, 10), (-3, 0, 3)), 16),
    Filter.GAUSSIAN: (((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16),
    Filter.LAPLACIAN: (((0, 1, 0), (1, -4, 1), (0, 1, 0)), 8),
    Filter.MEAN: (((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
}
"""Rows, and the number that all are divided by."""
