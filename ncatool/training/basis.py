"""The basis in which the hidden weight is trained where the filter is symmetric.

What a gaussian or a mean gives is nearly the cell's own value, so its columns and those of the identity are hard to
tell apart for an optimiser. Trained instead are `A` and `B` in A·x + B·c(K∗x − sx), where s is the sum of the stencil
K, and c a factor that makes all symmetric stencils alike; stored is the same map in the columns of the rule.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.names import Filter
from ncatool.nca.filters import filter_pair
from ncatool.nca.weights import Weights

_MIDDLE_WEIGHT = 4.0
"""Weight of the middle cell in c(K∗x − sx), less its sign: that of the five-point Laplacian."""

HiddenWeight = Float[Tensor, "hidden perception"]
BasisWeight = Float[Tensor, "hidden basis"]
"""Columns: all channels' A, then all channels' B."""


@cache
def _measure_stencil(filter_: Filter) -> tuple[float, float]:
    """Return the sum s of a stencil, and the factor c."""
    stencil = filter_pair(filter_)[0]
    total = stencil.sum().item()
    return total, _MIDDLE_WEIGHT / (total - stencil[1, 1].item())


def fold_basis(trained: BasisWeight, filter_: Filter) -> HiddenWeight:
    """Return the columns that the rule has for a weight in the basis; differentiable."""
    total, factor = _measure_stencil(filter_)
    own, difference = trained.chunk(2, dim=1)
    half = factor / 2 * difference  # filter and transposed filter are the same
    return torch.cat([own - 2 * total * half, half, half], dim=1)


def unfold_basis(weight: HiddenWeight, filter_: Filter) -> BasisWeight:
    """Return the weight in the basis that `fold_basis` makes these columns of, but for rounding."""
    total, factor = _measure_stencil(filter_)
    own, first, second = weight.chunk(3, dim=1)
    return torch.cat([own + total * (first + second), (first + second) / factor], dim=1)


def draw_basis(weights: Weights) -> Weights:
    """Return new weights whose hidden weight is one in the basis."""
    return weights._replace(hidden_weight=weights.hidden_weight[:, : 2 * weights.hidden_weight.shape[1] // 3])
