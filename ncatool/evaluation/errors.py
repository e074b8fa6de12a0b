"""TODO."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from ncatool.config.names import Loss
from ncatool.config.schema import TrainConfig
from ncatool.nca.loss import LOSSES, error, mse, psnr
from ncatool.nca.types import State


def figures(state: State, wanted: Float[np.ndarray, "height width 4"]) -> dict[str, float]:
    """MSE, PSNR in dB and the four losses of the first sample of a state."""
    values = error(state[:1].cpu(), torch.from_numpy(wanted))
    squared = mse(values).item()
    losses = {name.value: LOSSES[name](values, TrainConfig.margin).item() for name in Loss}
    return {"mse": squared, "psnr": psnr(squared), **losses}
