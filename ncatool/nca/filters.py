"""The 3×3 filters as tensors."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ncatool.config.names import Filter
from ncatool.nca.stencils import STENCILS
from ncatool.nca.types import FilterPair


def filter_pair(name: Filter) -> FilterPair:
    """Return the filter and its transpose, float32 on the CPU."""
    rows, divisor = STENCILS[name]
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
