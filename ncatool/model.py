"""The rule, one step at a time, dense and written to be read.

Source: Mordvintsev et al., "Growing Neural Cellular Automata", Distill 2020,
https://distill.pub/2020/growing-ca; the kernels: https://github.com/erikhelmut/neural-cellular-automata.
`rollout` computes the same, fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.config import Boundary, Filter, ModelConfig
from ncatool.errors import UsageError
from ncatool.state import ALPHA

_KERNELS: dict[Filter, tuple[tuple[tuple[float, float, float], ...], float]] = {
    Filter.SOBEL: (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), 8),
    Filter.SCHARR: (((-3, 0, 3), (-10, 0, 10), (-3, 0, 3)), 16),
    Filter.GAUSSIAN: (((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16),
    Filter.LAPLACIAN: (((0, 1, 0), (1, -4, 1), (0, 1, 0)), 8),
    Filter.MEAN: (((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
}


Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A layer's products, by input, weight and bias, as `torch.nn.functional.linear`."""


class Weights(NamedTuple):
    """The update network: the only thing that training changes."""

    hidden_weight: Float[Tensor, "hidden perception"]
    """Columns: all channels' identity, then all channels' filter, then all channels' transposed filter."""
    hidden_bias: Float[Tensor, "hidden"]
    output_weight: Float[Tensor, "channel hidden"]
    output_bias: Float[Tensor, "channel"] | None = None


def initial_weights(model: ModelConfig, generator: torch.Generator) -> Weights:
    """Uniform in ±1/sqrt(fan in) as torch's own layers; the output starts at zero, so a fresh model does nothing."""
    fan_in = 3 * model.channels
    bound = fan_in**-0.5

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1) * bound

    return Weights(uniform(model.hidden, fan_in), uniform(model.hidden), torch.zeros(model.channels, model.hidden))


def kernels(name: Filter) -> Float[Tensor, "2 3 3"]:
    """The filter and its transpose."""
    rows, divisor = _KERNELS[name]
    kernel = torch.tensor(rows, dtype=torch.float32) / divisor
    return torch.stack([kernel, kernel.T])


@cache
def _brought(name: Filter, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "2 3 3"]:
    return kernels(name).to(device, dtype)


def _kernels_for(state: Tensor, name: Filter) -> Float[Tensor, "2 3 3"]:
    """The kernels beside a state; brought to a GPU once, for a transfer in each step would halt it."""
    # Not kept on the CPU, where an exporter's tracing would leave a tensor that is none.
    return kernels(name).to(state) if state.device.type == "cpu" else _brought(name, state.device, state.dtype)


def rotated(weights: Weights, model: ModelConfig, degrees: float) -> Weights:
    """Weights of cells whose sense of direction is turned counter-clockwise: so is the picture they grow.

    The article turns the two filtered channels (a, b) to (a cos t - b sin t, a sin t + b cos t); as the
    hidden layer is linear in them, its weights are turned instead.
    """
    kernel, transposed = kernels(model.filter)
    if torch.equal(kernel, transposed):
        raise UsageError(
            f"the {model.filter} filter is symmetric: its cells have no sense of direction to rotate",
            "leave --rotate out",
        )
    own, first, second = weights.hidden_weight.chunk(3, dim=1)
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    turned = torch.cat([own, cos * first + sin * second, cos * second - sin * first], dim=1)
    return weights._replace(hidden_weight=turned)


def _padded(x: Float[Tensor, "n c h w"], boundary: Boundary) -> Float[Tensor, "n c h+2 w+2"]:
    return F.pad(x, (1, 1, 1, 1), mode="circular" if boundary is Boundary.WRAP else "constant")


def alive(
    state: Float[Tensor, "batch height width channel"], model: ModelConfig
) -> Bool[Tensor, "batch height width 1"]:
    """Cells with an alpha above the threshold in their 3×3 neighbourhood."""
    alpha = _padded(state[..., ALPHA].unsqueeze(1), model.boundary)
    return (F.max_pool2d(alpha, 3, stride=1) > model.threshold).permute(0, 2, 3, 1)


def perceive(
    state: Float[Tensor, "batch height width channel"], model: ModelConfig
) -> Float[Tensor, "batch height width perception"]:
    """What each cell sees: itself, the filter and the transposed filter over its neighbourhood."""
    channels = state.shape[-1]
    image = _padded(state.permute(0, 3, 1, 2), model.boundary)
    kernel = _kernels_for(state, model.filter)
    filtered = [F.conv2d(image, k.expand(channels, 1, 3, 3), groups=channels).permute(0, 2, 3, 1) for k in kernel]
    return torch.cat([state, *filtered], dim=-1)


def update(
    perception: Float[Tensor, "batch height width perception"], weights: Weights, linear: Linear = F.linear
) -> Float[Tensor, "batch height width channel"]:
    """The change that the network wants for each cell."""
    hidden = torch.relu(linear(perception, weights.hidden_weight, weights.hidden_bias))
    return linear(hidden, weights.output_weight, weights.output_bias)


def step(
    state: Float[Tensor, "batch height width channel"],
    weights: Weights,
    model: ModelConfig,
    fire: Bool[Tensor, "batch height width"],
    linear: Linear = F.linear,
) -> Float[Tensor, "batch height width channel"]:
    """One step: perceive, update the cells that `fire`, keep those alive both before and after."""
    pre = alive(state, model)
    updated = state + update(perceive(state, model), weights, linear) * fire.unsqueeze(-1)
    return updated * (pre & alive(updated, model))
