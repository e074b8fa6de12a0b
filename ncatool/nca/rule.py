"""The rule, one step at a time, dense and written to be read.

Source: Mordvintsev et al., "Growing Neural Cellular Automata", Distill 2020,
https://distill.pub/2020/growing-ca. The package `engine` computes the same, fast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.config.names import Boundary
from ncatool.config.schema import ModelConfig
from ncatool.nca.filters import pair_for
from ncatool.nca.state import ALPHA
from ncatool.nca.types import State, StepFire
from ncatool.nca.weights import Weights

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A layer as a function of input, weight and bias, such as `torch.nn.functional.linear`."""


Perception = Float[Tensor, "batch height width perception"]
"""What cells perceive; 3 · channels values each."""


def _pad(x: Float[Tensor, "n c h w"], boundary: Boundary) -> Float[Tensor, "n c h+2 w+2"]:
    return F.pad(x, (1, 1, 1, 1), mode="circular" if boundary is Boundary.WRAP else "constant")


def find_alive(state: State, model: ModelConfig) -> Bool[Tensor, "batch height width 1"]:
    """Return the cells that have an alpha above the threshold in their 3×3 neighbourhood."""
    alpha = _pad(state[..., ALPHA].unsqueeze(1), model.boundary)
    return (F.max_pool2d(alpha, 3, stride=1) > model.threshold).permute(0, 2, 3, 1)


def perceive(state: State, model: ModelConfig) -> Perception:
    """Return what each cell perceives: its own channels, then the filter, then the transposed filter over them."""
    channels = state.shape[-1]
    image = _pad(state.permute(0, 3, 1, 2), model.boundary)
    pair = pair_for(state, model.filter)
    filtered = [F.conv2d(image, one.expand(channels, 1, 3, 3), groups=channels).permute(0, 2, 3, 1) for one in pair]
    return torch.cat([state, *filtered], dim=-1)


def update(perception: Perception, weights: Weights, linear: Linear = F.linear) -> State:
    """Return the change of each cell: the network applied to what the cell perceives."""
    hidden = torch.relu(linear(perception, weights.hidden_weight, weights.hidden_bias))
    return linear(hidden, weights.output_weight, weights.output_bias)


def step(state: State, weights: Weights, model: ModelConfig, fire: StepFire, linear: Linear = F.linear) -> State:
    """Return the state after one step: perceive, update the cells that fire, keep those alive before and after."""
    pre = find_alive(state, model)
    updated = state + update(perceive(state, model), weights, linear) * fire.unsqueeze(-1)
    return updated * (pre & find_alive(updated, model))
