"""Tensor types that all packages share, each defined once.

Tests check them in every call: axes of one name then have one length.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

State = Float[Tensor, "batch height width channel"]
"""Cell states: channels 0–2 are RGB premultiplied by alpha, 3 is alpha, the rest are hidden."""

Seed = Float[Tensor, "_rows _columns channel"]
"""The cells that growth starts from: what is not 0 in it. Its cell [rows // 2, columns // 2] is the middle."""

Seeds = Float[Tensor, "pictures _rows _columns channel"]
"""The seeds of several pictures, all of one size."""

Mask = Bool[Tensor, "height width"]
"""Some cells of one picture or grid."""

StepFire = Bool[Tensor, "batch height width"]
"""Which cells update in one step."""

Fire = Bool[Tensor, "steps batch height width"]
"""Which cells update in which step of a rollout."""

FireBytes = UInt8[Tensor, "steps batch height width"]
"""The same as bytes, for GPU kernels, which know a third value: the rollout of this sample is over."""

FilterPair = Float[Tensor, "2 3 3"]
"""A filter and its transpose."""

Parameters = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden weight and bias, output weight and bias, with the shapes of `Weights`."""
