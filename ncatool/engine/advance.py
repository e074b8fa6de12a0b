"""Rollouts of a trained model without gradients, of any length, and the error along the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.engine.rollout import draw_fire_masks, rollout
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State

MASK_STEPS = 64
"""Steps whose fire masks are drawn at once, which bounds the memory of long rollouts."""


def advance(model: ModelData, state: State, steps: int, generator: torch.Generator) -> State:
    """Return the state after `steps` more steps, computed on the device of model and state.

    Fire masks are drawn on the device of `generator`, which may be another.
    """
    with torch.no_grad():
        for done in range(0, steps, MASK_STEPS):
            fire = draw_fire_masks(min(MASK_STEPS, steps - done), state, model.config.fire_rate, generator)
            state = rollout(state, model.weights, model.config, fire)
    return state


def measure_mse(
    model: ModelData, steps: Sequence[int], rollouts: int, generator: torch.Generator
) -> Float[Tensor, "steps rollouts"]:
    """Return the MSE over RGBA of independent rollouts from the seed, at each of the ascending `steps`."""
    target = torch.from_numpy(model.target.premultiply()).to(model.device)
    state = model.place_seeds(rollouts)
    values, done = [], 0
    for step in steps:
        state, done = advance(model, state, step - done, generator), step
        values.append(compute_mse(compute_error(state, target)))
    return torch.stack(values).cpu()
