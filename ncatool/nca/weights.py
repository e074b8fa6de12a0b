"""The weights of the update network, and how they are drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.schema import ModelConfig


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
