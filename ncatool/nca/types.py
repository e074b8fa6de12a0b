"""TODO."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

State = Float[Tensor, "batch height width channel"]


Mask = Bool[Tensor, "height width"]


Fire = Bool[Tensor, "steps batch height width"]


Parameters = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden weight and bias, output weight and bias, as in `Weights`."""
