"""What the writers of GIF, WebP and APNG share: durations, the rectangle that changed, and compression.

Pillow compresses each frame, but this package writes the containers: Pillow's own writers keep all frames in memory
until the last one. Only the rectangle of a frame that differs from the frame before is stored.
"""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ncatool.nca.picture import Picture
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment


class Writer(Protocol):
    """A writer of frames into an open file, which is complete after `close`."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None: ...
    def add(self, picture: Picture, moment: Moment) -> None:
        """Add the next frame, as `Layout.paint` returned it."""

    def close(self) -> None:
        """Write what must follow the last frame; the file itself stays open."""


class FrameClock:
    """Durations in whole ticks of a format; rounding errors do not add up over the frames."""

    def __init__(self, tick: float) -> None:
        """Start at 0; `tick` is in milliseconds."""
        self._tick, self._elapsed, self._counted = tick, 0.0, 0

    def count_ticks(self, pause: float) -> int:
        """Return the ticks that a frame stays for `pause` milliseconds."""
        self._elapsed += pause
        ticks = round(self._elapsed / self._tick) - self._counted
        self._counted += ticks
        return ticks


def find_changed_box(before: np.ndarray | None, now: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns outside of which nothing changed, at least one cell, or all without a frame before.

    The first row and column are even, because WebP stores half of them.
    """
    if before is None:
        return slice(0, now.shape[0]), slice(0, now.shape[1])
    different = (before != now).reshape(*now.shape[:2], -1).any(axis=-1)
    rows, columns = different.any(axis=1).nonzero()[0], different.any(axis=0).nonzero()[0]
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0] & ~1, rows[-1] + 1), slice(columns[0] & ~1, columns[-1] + 1)


def locate_corner(box: tuple[slice, slice], scale: int) -> tuple[int, int]:
    """Return x and y of a rectangle's upper left corner, in pixels."""
    return int(box[1].start) * scale, int(box[0].start) * scale


def compress(picture: Picture | UInt8[np.ndarray, "height width"], image_format: str, **options: int | bool) -> bytes:
    """Return the file of a picture in a format of Pillow's, written with Pillow's options."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, image_format, **options)
    return buffer.getvalue()
