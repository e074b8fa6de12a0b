"""Rollouts of a trained model without gradients, of any length, and the error along the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.engine.choose import create_engine
from ncatool.engine.rollout import draw_fire_masks, fill_parameters
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State

MASK_STEPS = 64
"""Steps whose fire masks are drawn at once, which bounds the memory of long rollouts."""


def advance(model: ModelData, state: State, steps: int, generator: torch.Generator) -> State:
    """Return the state after `steps` more steps, computed on the device of model and state.

    Fire masks are drawn on the device of `generator`, which may be another.
    """
    states = _advance_by(MASK_STEPS, model, state, steps, generator)
    return deque(chain([state], states), maxlen=1).pop()


def iterate_states(model: ModelData, state: State, steps: int, generator: torch.Generator) -> Iterator[State]:
    """Yield the state after each of `steps` more steps; the last is what `advance` returns."""
    return _advance_by(1, model, state, steps, generator)


def _advance_by(stride: int, model: ModelData, state: State, steps: int, generator: torch.Generator) -> Iterator[State]:
    """Yield the state after every `stride` of so many steps, and after the last; one engine takes them all."""
    engine = create_engine(state, model.config, fill_parameters(model.weights))
    for done in range(0, steps, MASK_STEPS):
        fire = draw_fire_masks(min(MASK_STEPS, steps - done), state, model.config.fire_rate, generator)
        for part in fire.split(stride):
            with torch.no_grad():
                state = engine.run(state, part)
            yield state


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
