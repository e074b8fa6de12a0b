"""Animations, frame by frame into an open file: GIF, WebP and APNG.

Pillow compresses every frame; the container is written here, because Pillow's own writers keep all
frames in memory until the last. Of each frame only the rectangle that has changed is stored.
"""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from ncatool.nca.picture import Picture
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment


class Writer(Protocol):
    """Takes frames, then is closed; what is then in the file is whole."""

    def __init__(self, file: BinaryIO, canvas: Layout) -> None: ...
    def add(self, picture: Picture, moment: Moment) -> None:
        """The next frame, as the canvas painted it."""

    def close(self) -> None:
        """After the last frame."""


class FrameClock:
    """Durations in whole ticks whose sum never strays from the time that has passed."""

    def __init__(self, milliseconds: float) -> None:
        self._tick, self._time, self._told = milliseconds, 0.0, 0

    def ticks(self, pause: float) -> int:
        self._time += pause
        ticks = round(self._time / self._tick) - self._told
        self._told += ticks
        return ticks


def find_changed_box(before: np.ndarray | None, now: np.ndarray) -> tuple[slice, slice]:
    """The rectangle outside of which nothing changed, at least one cell; its corner is even, as WebP asks."""
    if before is None:
        return slice(0, now.shape[0]), slice(0, now.shape[1])
    different = (before != now).reshape(*now.shape[:2], -1).any(axis=-1)
    rows, columns = different.any(axis=1).nonzero()[0], different.any(axis=0).nonzero()[0]
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0] & ~1, rows[-1] + 1), slice(columns[0] & ~1, columns[-1] + 1)


def corner_pixels(box: tuple[slice, slice], scale: int) -> tuple[int, int]:
    """In pixels, x first."""
    return int(box[1].start) * scale, int(box[0].start) * scale


def compress(picture: Picture, kind: str, **how: int | bool) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, kind, **how)
    return buffer.getvalue()
