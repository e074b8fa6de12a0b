"""The writer of GIF animations: one palette for all frames, chosen from the first ones."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ncatool.nca.picture import Picture, enlarge
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment
from ncatool.rendering.writer import FrameClock, compress, find_changed_box, locate_corner

Indices = UInt8[np.ndarray, "height width"]

_BACKGROUND_INDEX, _TRANSPARENT_INDEX = 254, 255
"""Entries of the palette: the exact colour of the background; transparent, or the same as in the frame before."""
_SAMPLE_FRAMES, _SAMPLE_PIXELS = 64, 2**20
"""Frames and pixels that the palette is chosen from; Pillow takes about 50 bytes a pixel."""
_MAX_BUFFER_BYTES = 32 * 2**20
"""Size of the frames that are buffered until the palette is chosen."""


class Gif:
    """A GIF file with one palette, chosen from a sample of the first frames and from the target.

    Source: Graphics Interchange Format, Version 89a.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._palette: Image.Image | None = None
        self._before: Indices | None = None
        self._buffer: UInt8[np.ndarray, "frames height width colours"] | None = None
        """Frames until the palette is chosen, in one array: many small ones would fragment memory."""
        self._moments: list[Moment] = []
        self._fixed_colours = [*layout.list_line_colours(), layout.background.colour]
        """The palette's last colours, of which that of the background is entry 254."""
        self._clock = FrameClock(10)

    def add(self, picture: Picture, moment: Moment) -> None:
        if self._palette is not None:
            self._write_frame(picture, moment, self._palette)
            return
        if self._buffer is None:
            capacity = min(max(1, _MAX_BUFFER_BYTES // picture.nbytes), len(self._layout.moments))
            self._buffer = np.empty((capacity, *picture.shape), np.uint8)
        self._buffer[len(self._moments)] = picture
        self._moments.append(moment)
        if len(self._moments) == len(self._buffer):
            self._write_header()

    def close(self) -> None:
        if self._buffer is not None:
            self._write_header()
        self._file.write(b";")

    def _write_header(self) -> None:
        """Choose the palette, and write the header, the block for an endless loop, and the buffered frames."""
        assert self._buffer is not None
        frames, self._buffer = self._buffer[: len(self._moments)], None
        self._palette = _choose_palette([*frames, *self._layout.list_palette_pictures()], self._fixed_colours)
        height, width = (side * self._layout.scale for side in frames.shape[1:3])
        self._file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0))
        self._file.write(bytes(self._palette.getpalette() or []).ljust(768, b"\0"))
        self._file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        for picture, moment in zip(frames, self._moments, strict=True):
            self._write_frame(picture, moment, self._palette)

    def _write_frame(self, picture: Picture, moment: Moment, palette: Image.Image) -> None:
        indices = self._quantise(picture, palette)
        scale, transparent = self._layout.scale, self._layout.background.transparent
        # A frame cannot make pixels transparent again, so on a transparent background each one replaces the last.
        before = None if transparent else self._before
        box = find_changed_box(before, indices)
        patch = (
            indices[box] if before is None else np.where(indices[box] == before[box], _TRANSPARENT_INDEX, indices[box])
        )
        disposal = 2 if transparent else 1
        ticks = self._clock.count_ticks(moment.pause)
        self._file.write(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | 1, ticks, _TRANSPARENT_INDEX, 0))
        self._file.write(_encode_image(enlarge(patch.astype(np.uint8), scale), locate_corner(box, scale)))
        self._before = indices

    def _quantise(self, picture: Picture, palette: Image.Image) -> Indices:
        rgb = np.ascontiguousarray(picture[..., :3])
        indices = np.array(Image.fromarray(rgb).quantize(palette=palette, dither=Image.Dither.NONE))
        # Pillow's search for the nearest colour is approximate and would change the background a little.
        for i, colour in enumerate(reversed(self._fixed_colours)):
            indices[(rgb == np.asarray(colour)).all(axis=-1)] = _BACKGROUND_INDEX - i
        if picture.shape[-1] == 4:
            indices[picture[..., 3] < 128] = _TRANSPARENT_INDEX
        return indices


def _encode_image(indices: Indices, corner: tuple[int, int]) -> bytes:
    """Return a GIF's image block, compressed by Pillow, with its upper left corner at x and y.

    Pillow writes a whole file: header and screen (13 bytes), palette, blocks that begin with `!`, the image, and `;`.
    """
    content = compress(indices, "GIF", optimize=False, interlace=False)
    position = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    while content[position] == ord("!"):
        position += 2
        while content[position]:
            position += 1 + content[position]
        position += 1
    if content[position] != ord(","):
        raise ValueError("Pillow has written a GIF without an image")
    return b"," + struct.pack("<HH", *corner) + content[position + 5 : -1]


def _choose_palette(pictures: list[Picture], fixed: list[tuple[int, int, int]]) -> Image.Image:
    """Return an image with a palette for a sample of pictures, the last two included, that ends in fixed colours."""
    sample = [*pictures[:: max(1, len(pictures) // _SAMPLE_FRAMES)], *pictures[-2:]]
    pixels = np.concatenate([_opaque_pixels(picture) for picture in sample])
    pixels = pixels[:: max(1, len(pixels) // _SAMPLE_PIXELS)]
    free = _BACKGROUND_INDEX + 1 - len(fixed)
    colours = Image.fromarray(pixels[None]).quantize(free, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(bytes(colours).ljust(3 * free, b"\0") + bytes(value for colour in fixed for value in colour))
    return palette


def _opaque_pixels(picture: Picture) -> UInt8[np.ndarray, "pixels 3"]:
    """Return the colours of the pixels that are not transparent; of all, where each is."""
    pixels = picture.reshape(-1, picture.shape[-1])
    if pixels.shape[1] == 4:
        pixels = pixels[pixels[:, 3] >= 128] if (pixels[:, 3] >= 128).any() else pixels
    return pixels[:, :3]
