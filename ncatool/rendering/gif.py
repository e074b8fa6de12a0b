"""TODO."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import GifImagePlugin, Image

from ncatool.nca.picture import Picture, enlarge
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment
from ncatool.rendering.writer import FrameClock, corner_pixels, find_changed_box

Indices = UInt8[np.ndarray, "height width"]


_BACKGROUND_INDEX, _TRANSPARENT_INDEX = 254, 255
"""Entries of a GIF's palette: the background's own colour; transparent, or as before."""


_SAMPLE_FRAMES, _SAMPLE_PIXELS = 64, 2**20
"""Frames, and pixels of them, that the palette is found on; Pillow takes some 50 bytes a pixel."""


_MAX_BUFFER_BYTES = 32 * 2**20
"""Bytes of frames that wait for the palette."""


class Gif:
    """One palette for all frames, found on a sample of the first ones and of what they lead to."""

    def __init__(self, file: BinaryIO, canvas: Layout) -> None:
        self._file, self._canvas = file, canvas
        self._palette: Image.Image | None = None
        self._before: Indices | None = None
        self._buffer: UInt8[np.ndarray, "frames height width colours"] | None = None
        """Frames that wait for the palette, in one piece of memory: among others they would tear it to shreds."""
        self._moments: list[Moment] = []
        self._clock = FrameClock(10)

    def add(self, picture: Picture, moment: Moment) -> None:
        if self._palette is not None:
            self._write_frame(picture, moment, self._palette)
            return
        if self._buffer is None:
            room = min(max(1, _MAX_BUFFER_BYTES // picture.nbytes), len(self._canvas.moments))
            self._buffer = np.empty((room, *picture.shape), np.uint8)
        self._buffer[len(self._moments)] = picture
        self._moments.append(moment)
        if len(self._moments) == len(self._buffer):
            self._write_header()

    def close(self) -> None:
        if self._buffer is not None:
            self._write_header()
        self._file.write(b";")

    def _write_header(self) -> None:
        """Palette, logical screen, the block that makes it loop for ever, and what has been waiting."""
        assert self._buffer is not None
        waiting, self._buffer = self._buffer[: len(self._moments)], None
        self._palette = _find_palette([*waiting, *self._canvas.palette_pictures()], self._canvas.background.colour)
        height, width = (side * self._canvas.scale for side in waiting.shape[1:3])
        self._file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0))
        self._file.write(bytes(self._palette.getpalette() or []).ljust(768, b"\0"))
        self._file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        for picture, moment in zip(waiting, self._moments, strict=True):
            self._write_frame(picture, moment, self._palette)

    def _write_frame(self, picture: Picture, moment: Moment, palette: Image.Image) -> None:
        indices = self._quantise(picture, palette)
        scale, transparent = self._canvas.scale, self._canvas.background.transparent
        # On a transparent ground every frame is whole, and the one before is taken away.
        before = None if transparent else self._before
        box = find_changed_box(before, indices)
        patch = (
            indices[box] if before is None else np.where(indices[box] == before[box], _TRANSPARENT_INDEX, indices[box])
        )
        how = {
            "duration": 10 * self._clock.ticks(moment.pause),
            "transparency": _TRANSPARENT_INDEX,
            "disposal": 2 if transparent else 1,
        }
        image = Image.fromarray(enlarge(patch.astype(np.uint8), scale))
        self._file.write(b"".join(GifImagePlugin.getdata(image, corner_pixels(box, scale), **how)))
        self._before = indices

    def _quantise(self, picture: Picture, palette: Image.Image) -> Indices:
        rgb = np.ascontiguousarray(picture[..., :3])
        indices = np.array(Image.fromarray(rgb).quantize(palette=palette, dither=Image.Dither.NONE))
        # Pillow takes colours for nearest that are only near; the ground would not be quite white.
        indices[(rgb == np.asarray(self._canvas.background.colour)).all(axis=-1)] = _BACKGROUND_INDEX
        if picture.shape[-1] == 4:
            indices[picture[..., 3] < 128] = _TRANSPARENT_INDEX
        return indices


def _find_palette(pictures: list[Picture], ground: tuple[int, int, int]) -> Image.Image:
    """The colours of a sample of pictures (the last two always among them), and the ground's."""
    sample = [*pictures[:: max(1, len(pictures) // _SAMPLE_FRAMES)], *pictures[-2:]]
    pixels = np.concatenate([_opaque_pixels(picture) for picture in sample])
    pixels = pixels[:: max(1, len(pixels) // _SAMPLE_PIXELS)]
    found = Image.fromarray(pixels[None]).quantize(_BACKGROUND_INDEX, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(bytes(found).ljust(3 * _BACKGROUND_INDEX, b"\0") + bytes(ground))
    return palette


def _opaque_pixels(picture: Picture) -> UInt8[np.ndarray, "pixels 3"]:
    """The colours of all pixels that show any."""
    flat = picture.reshape(-1, picture.shape[-1])
    if flat.shape[1] == 4:
        flat = flat[flat[:, 3] >= 128] if (flat[:, 3] >= 128).any() else flat
    return flat[:, :3]
