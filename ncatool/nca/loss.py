"""The four losses, and MSE and PSNR, on RGBA premultiplied by alpha; one number a sample."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.names import Loss
from ncatool.nca.types import State

Error = Float[Tensor, "batch height width 4"]
"""Visible channels less the target."""

PerSample = Float[Tensor, "batch"]


def compute_error(state: State, target: Float[Tensor, "*pictures height width 4"]) -> Error:
    """Return the visible channels (RGBA) less the target, of which there is one, or one a sample."""
    return state[..., :4] - target


def _mean_per_sample(values: Error) -> PerSample:
    return values.mean(dim=(1, 2, 3))


def _hinge_loss(values: Error, margin: float) -> PerSample:
    return _mean_per_sample(torch.relu(values.abs() - margin))


LOSSES: dict[Loss, Callable[[Error, float], PerSample]] = {
    Loss.L1: lambda values, margin: _mean_per_sample(values.abs()),
    Loss.L2: lambda values, margin: compute_mse(values),
    Loss.MANHATTAN: lambda values, margin: values.abs().sum(dim=(1, 2, 3)),
    Loss.HINGE: _hinge_loss,
}
"""By name a function of error and margin: mean |e|; mean e²; sum |e|; mean max(|e| − margin, 0)."""


def compute_mse(values: Error) -> PerSample:
    """Return the mean squared error over RGBA."""
    return _mean_per_sample(values**2)


def compute_psnr(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio in dB for values from 0 to 1: −10 log10 MSE.

    It is ∞ for an MSE of 0, and −∞ for one that is infinite or not a number.
    """
    if mean_squared_error == 0:
        return math.inf
    return -10 * math.log10(mean_squared_error) if math.isfinite(mean_squared_error) else -math.inf
