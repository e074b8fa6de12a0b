"""TODO."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from ncatool.config.names import Loss
from ncatool.config.schema import TrainConfig
from ncatool.nca.loss import LOSSES, compute_error, compute_mse, compute_psnr
from ncatool.nca.types import State


def measure_errors(state: State, wanted: Float[np.ndarray, "height width 4"]) -> dict[str, float]:
    """MSE, PSNR in dB and the four losses of the first sample of a state."""
    values = compute_error(state[:1].cpu(), torch.from_numpy(wanted))
    squared = compute_mse(values).item()
    losses = {name.value: LOSSES[name](values, TrainConfig.margin).item() for name in Loss}
    return {"mse": squared, "psnr": compute_psnr(squared), **losses}
