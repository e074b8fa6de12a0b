"""TODO."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.names import Filter

_STENCILS: dict[Filter, tuple[tuple[tuple[float, float, float], ...], float]] = {
    Filter.SOBEL: (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), 8),
    Filter.SCHARR: (((-3, 0, 3), (-10, 0, 10), (-3, 0, 3)), 16),
    Filter.GAUSSIAN: (((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16),
    Filter.LAPLACIAN: (((0, 1, 0), (1, -4, 1), (0, 1, 0)), 8),
    Filter.MEAN: (((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
}


def filter_pair(name: Filter) -> Float[Tensor, "2 3 3"]:
    """The filter and its transpose."""
    rows, divisor = _STENCILS[name]
    kernel = torch.tensor(rows, dtype=torch.float32) / divisor
    return torch.stack([kernel, kernel.T])


@cache
def _cached_pair(name: Filter, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "2 3 3"]:
    return filter_pair(name).to(device, dtype)


def pair_for(state: Tensor, name: Filter) -> Float[Tensor, "2 3 3"]:
    """The kernels beside a state; brought to a GPU once, for a transfer in each step would halt it."""
    # Not kept on the CPU, where an exporter's tracing would leave a tensor that is none.
    return filter_pair(name).to(state) if state.device.type == "cpu" else _cached_pair(name, state.device, state.dtype)
