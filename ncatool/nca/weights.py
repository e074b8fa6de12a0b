"""The weights of the update network: how they are drawn, and how a sense of direction is turned in them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.schema import ModelConfig
from ncatool.errors import UsageError
from ncatool.nca.filters import filter_pair


class Weights(NamedTuple):
    """The update network: all that training changes."""

    hidden_weight: Float[Tensor, "hidden perception"]
    """Columns: all channels' identity, then all channels' filter, then all channels' transposed filter."""
    hidden_bias: Float[Tensor, "hidden"]
    output_weight: Float[Tensor, "channel hidden"]
    output_bias: Float[Tensor, "channel"] | None = None


def draw_weights(model: ModelConfig, generator: torch.Generator) -> Weights:
    """Draw the weights of a new model: uniform in ±1/sqrt(fan in), as torch's own layers.

    The output weights are zero, so a new model changes no cell.
    """
    fan_in = 3 * model.channels
    bound = fan_in**-0.5

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1) * bound

    return Weights(uniform(model.hidden, fan_in), uniform(model.hidden), torch.zeros(model.channels, model.hidden))


def rotate_weights(weights: Weights, model: ModelConfig, degrees: float) -> Weights:
    """Return weights that grow the picture turned counter-clockwise.

    The article (https://distill.pub/2020/growing-ca) turns what a cell perceives: the two filtered values (a, b) become
    (a cos t - b sin t, a sin t + b cos t). The hidden layer is linear in them, so its weights can be turned instead.
    Raises UsageError for a symmetric filter.
    """
    original, transposed = filter_pair(model.filter)
    if torch.equal(original, transposed):
        raise UsageError(
            f"the {model.filter} filter is symmetric: its cells have no sense of direction to rotate",
            "leave --rotate out",
        )
    own, first, second = weights.hidden_weight.chunk(3, dim=1)
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    rotated = torch.cat([own, cos * first + sin * second, cos * second - sin * first], dim=1)
    return weights._replace(hidden_weight=rotated)
