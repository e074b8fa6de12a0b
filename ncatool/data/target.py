"""The target of a model, one picture or several, and the description of it that files hold."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ncatool.config.schema import SEPARATOR
from ncatool.data.pixels import Pixels

PICTURE_FACTS = ("source", "meaning")
"""What the table `[target]` of several pictures says of each, in lists named by the plural."""


@dataclass(frozen=True)
class Target:
    """The picture that a model grows, or the first of several."""

    pixels: Pixels
    """RGBA, not premultiplied, without padding."""
    padding: int
    """Empty cells on each side."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Source, label, licence and the like, for the `[target]` table of the record."""
    name: str = ""
    """What the picture is called in a model of several; else empty."""
    others: tuple[Target, ...] = ()
    """The other pictures of a model of several, of the same size and padding."""

    @cached_property
    def pictures(self) -> list[Target]:
        """All pictures, each as a target of its own."""
        return [dataclasses.replace(self, others=()), *self.others]

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
        """Return the `[target]` table of the record, with the SHA-256 of the pixels.

        Of several pictures, it has what they have in common, their names, and lists of their sources and labels.
        """
        pixels = np.stack([one.pixels for one in self.pictures])
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
        origin = self._list_origins() if self.others else self.origin
        return {**origin, "size": max(self.pixels.shape[:2]), "padding": self.padding, "sha256": digest}

    def _list_origins(self) -> dict[str, Any]:
        origins = [one.origin for one in self.pictures]
        shared = {name: value for name, value in self.origin.items() if all(one.get(name) == value for one in origins)}
        own = {name: [one.get(name, "") for one in origins] for name in PICTURE_FACTS if name in self.origin}
        names = [one.name for one in self.pictures]
        # The sources as one text, too, as a run's settings have them: its record repeats it.
        source = {"source": SEPARATOR.join(own["source"])} if "source" in own else {}
        return {**shared, **source, "names": names, **{f"{key}s": own[key] for key in own}}
