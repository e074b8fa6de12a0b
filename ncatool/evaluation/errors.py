"""Errors of a single state: the numbers that `ncatool render` prints for the last one."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from ncatool.config.names import Loss
from ncatool.config.schema import TrainConfig
from ncatool.nca.loss import LOSSES, compute_error, compute_mse, compute_psnr
from ncatool.nca.types import State


def measure_errors(state: State, target: Float[np.ndarray, "height width 4"]) -> dict[str, float]:
    """Return the MSE, the PSNR in dB and the four losses of the first sample of a state, by name."""
    error = compute_error(state[:1].cpu(), torch.from_numpy(target))
    mse = compute_mse(error).item()
    losses = {name.value: LOSSES[name](error, TrainConfig.margin).item() for name in Loss}
    return {"mse": mse, "psnr": compute_psnr(mse), **losses}
