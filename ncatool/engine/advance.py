"""How well a model does, in numbers: rollouts from the seed, measured on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.engine.rollout import fire_masks, rollout
from ncatool.nca.loss import error, mse
from ncatool.nca.model_file import Model
from ncatool.nca.state import seed
from ncatool.nca.types import State

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
