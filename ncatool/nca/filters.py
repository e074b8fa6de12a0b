"""The 3×3 filters that cells perceive their neighbours with.

Source: https://github.com/erikhelmut/neural-cellular-automata.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ncatool.config.names import Filter
from ncatool.nca.types import FilterPair

_FILTERS: dict[Filter, tuple[tuple[tuple[float, float, float], ...], float]] = {
    Filter.SOBEL: (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), 8),
    Filter.SCHARR: (((-3, 0, 3), (-10, 0, 10), (-3, 0, 3)), 16),
    Filter.GAUSSIAN: (((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16),
    Filter.LAPLACIAN: (((0, 1, 0), (1, -4, 1), (0, 1, 0)), 8),
    Filter.MEAN: (((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
}
"""Rows, and the number that all are divided by."""


def filter_pair(name: Filter) -> FilterPair:
    """Return the filter and its transpose, float32 on the CPU."""
    rows, divisor = _FILTERS[name]
    values = torch.tensor(rows, dtype=torch.float32) / divisor
    return torch.stack([values, values.T])


@cache
def _cached_pair(name: Filter, device: torch.device, dtype: torch.dtype) -> FilterPair:
    return filter_pair(name).to(device, dtype)


def pair_for(state: Tensor, name: Filter) -> FilterPair:
    """Return the filter and its transpose with the device and dtype of a state.

    A GPU keeps its copy: one transfer a step would make it wait each time.
    """
    # Not cached on the CPU: tracing for an export would cache a placeholder instead of a tensor.
    return filter_pair(name).to(state) if state.device.type == "cpu" else _cached_pair(name, state.device, state.dtype)
