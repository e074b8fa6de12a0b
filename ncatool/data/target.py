"""The target of a model, and the description of it that files hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ncatool.data.pixels import Pixels


@dataclass(frozen=True)
class Target:
    """The picture that a model grows."""

    pixels: Pixels
    """RGBA, not premultiplied, without padding."""
    padding: int
    """Empty cells on each side."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Source, label, licence and the like, for the `[target]` table of the record."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the grid, padding included."""
        height, width = self.pixels.shape[:2]
        return height + 2 * self.padding, width + 2 * self.padding

    def premultiply(self) -> Float[np.ndarray, "gridheight gridwidth 4"]:
        """Return the values that the first four channels should reach: float32 in [0, 1], padding included."""
        values = self.pixels.astype(np.float32) / 255
        values[..., :3] *= values[..., 3:]
        margin = (self.padding, self.padding)
        return np.pad(values, (margin, margin, (0, 0)))

    @property
    def visible(self) -> Bool[np.ndarray, "height width"]:
        """Mask of the pixels that are not fully transparent, without padding."""
        return self.pixels[..., 3] > 0

    def describe(self) -> dict[str, Any]:
        """Return the `[target]` table of the record, with the SHA-256 of the pixels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes()).hexdigest()
        return {**self.origin, "size": max(self.pixels.shape[:2]), "padding": self.padding, "sha256": digest}
