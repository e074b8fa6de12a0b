"""How well a model does, in numbers: rollouts from the seed, measured on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.checkpoint import Model
from ncatool.config import Loss, TrainConfig
from ncatool.loss import LOSSES, error, mse, psnr
from ncatool.rollout import fire_masks, rollout
from ncatool.state import State, seed

PIECE = 64
"""Steps whose fire masks are drawn at once: bounds memory on long rollouts."""


def advance(model: Model, state: State, steps: int, generator: torch.Generator) -> State:
    """`steps` more steps, without gradients, where model and state are; fire masks are drawn where `generator` is."""
    with torch.no_grad():
        for done in range(0, steps, PIECE):
            fire = fire_masks(min(PIECE, steps - done), state, model.config.fire_rate, generator)
            state = rollout(state, model.weights, model.config, fire)
    return state


def mse_at(
    model: Model, steps: Sequence[int], rollouts: int, generator: torch.Generator
) -> Float[Tensor, "steps rollouts"]:
    """MSE over RGBA of independent rollouts from the seed, at each of the ascending `steps`."""
    wanted = torch.from_numpy(model.target.premultiplied()).to(model.device)
    state = seed(rollouts, *model.target.shape, model.config.channels).to(model.device)
    values, done = [], 0
    for step in steps:
        state, done = advance(model, state, step - done, generator), step
        values.append(mse(error(state, wanted)))
    return torch.stack(values).cpu()


def figures(state: State, wanted: Float[np.ndarray, "height width 4"]) -> dict[str, float]:
    """MSE, PSNR in dB and the four losses of the first sample of a state."""
    values = error(state[:1].cpu(), torch.from_numpy(wanted))
    squared = mse(values).item()
    losses = {name.value: LOSSES[name](values, TrainConfig.margin).item() for name in Loss}
    return {"mse": squared, "psnr": psnr(squared), **losses}
