"""Animations, frame by frame into an open file: GIF, WebP and APNG.

Pillow compresses every frame; the container is written here, because Pillow's own writers keep all
frames in memory until the last. Of each frame only the rectangle that has changed is stored.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import GifImagePlugin, Image

from ncatool.canvas import Canvas
from ncatool.film import Moment
from ncatool.view import Picture, enlarged

Indices = UInt8[np.ndarray, "height width"]


class Writer(Protocol):
    """Takes frames, then is closed; what is then in the file is whole."""

    def __init__(self, file: BinaryIO, canvas: Canvas) -> None: ...
    def add(self, picture: Picture, moment: Moment) -> None:
        """The next frame, as the canvas painted it."""

    def close(self) -> None:
        """After the last frame."""


class _Clock:
    """Durations in whole ticks whose sum never strays from the time that has passed."""

    def __init__(self, milliseconds: float) -> None:
        self._tick, self._time, self._told = milliseconds, 0.0, 0

    def ticks(self, pause: float) -> int:
        self._time += pause
        ticks = round(self._time / self._tick) - self._told
        self._told += ticks
        return ticks


def changed(before: np.ndarray | None, now: np.ndarray) -> tuple[slice, slice]:
    """The rectangle outside of which nothing changed, at least one cell; its corner is even, as WebP asks."""
    if before is None:
        return slice(0, now.shape[0]), slice(0, now.shape[1])
    different = (before != now).reshape(*now.shape[:2], -1).any(axis=-1)
    rows, columns = different.any(axis=1).nonzero()[0], different.any(axis=0).nonzero()[0]
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0] & ~1, rows[-1] + 1), slice(columns[0] & ~1, columns[-1] + 1)


def _corner(box: tuple[slice, slice], scale: int) -> tuple[int, int]:
    """In pixels, x first."""
    return int(box[1].start) * scale, int(box[0].start) * scale


_GROUND, _CLEAR = 254, 255
"""Entries of a GIF's palette: the background's own colour; transparent, or as before."""
_SAMPLE, _PIXELS = 64, 2**20
"""Frames, and pixels of them, that the palette is found on; Pillow takes some 50 bytes a pixel."""
_WAITING = 32 * 2**20
"""Bytes of frames that wait for the palette."""


class Gif:
    """One palette for all frames, found on a sample of the first ones and of what they lead to."""

    def __init__(self, file: BinaryIO, canvas: Canvas) -> None:
        self._file, self._canvas = file, canvas
        self._palette: Image.Image | None = None
        self._before: Indices | None = None
        self._waiting: UInt8[np.ndarray, "frames height width colours"] | None = None
        """Frames that wait for the palette, in one piece of memory: among others they would tear it to shreds."""
        self._moments: list[Moment] = []
        self._clock = _Clock(10)

    def add(self, picture: Picture, moment: Moment) -> None:
        if self._palette is not None:
            self._write(picture, moment, self._palette)
            return
        if self._waiting is None:
            room = min(max(1, _WAITING // picture.nbytes), len(self._canvas.moments))
            self._waiting = np.empty((room, *picture.shape), np.uint8)
        self._waiting[len(self._moments)] = picture
        self._moments.append(moment)
        if len(self._moments) == len(self._waiting):
            self._begin()

    def close(self) -> None:
        if self._waiting is not None:
            self._begin()
        self._file.write(b";")

    def _begin(self) -> None:
        """Palette, logical screen, the block that makes it loop for ever, and what has been waiting."""
        assert self._waiting is not None
        waiting, self._waiting = self._waiting[: len(self._moments)], None
        self._palette = _palette([*waiting, *self._canvas.colours()], self._canvas.ground.colour)
        height, width = (side * self._canvas.scale for side in waiting.shape[1:3])
        self._file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0))
        self._file.write(bytes(self._palette.getpalette() or []).ljust(768, b"\0"))
        self._file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        for picture, moment in zip(waiting, self._moments, strict=True):
            self._write(picture, moment, self._palette)

    def _write(self, picture: Picture, moment: Moment, palette: Image.Image) -> None:
        indices = self._indexed(picture, palette)
        scale, transparent = self._canvas.scale, self._canvas.ground.transparent
        # On a transparent ground every frame is whole, and the one before is taken away.
        before = None if transparent else self._before
        box = changed(before, indices)
        patch = indices[box] if before is None else np.where(indices[box] == before[box], _CLEAR, indices[box])
        how = {
            "duration": 10 * self._clock.ticks(moment.pause),
            "transparency": _CLEAR,
            "disposal": 2 if transparent else 1,
        }
        image = Image.fromarray(enlarged(patch.astype(np.uint8), scale))
        self._file.write(b"".join(GifImagePlugin.getdata(image, _corner(box, scale), **how)))
        self._before = indices

    def _indexed(self, picture: Picture, palette: Image.Image) -> Indices:
        rgb = np.ascontiguousarray(picture[..., :3])
        indices = np.array(Image.fromarray(rgb).quantize(palette=palette, dither=Image.Dither.NONE))
        # Pillow takes colours for nearest that are only near; the ground would not be quite white.
        indices[(rgb == np.asarray(self._canvas.ground.colour)).all(axis=-1)] = _GROUND
        if picture.shape[-1] == 4:
            indices[picture[..., 3] < 128] = _CLEAR
        return indices


def _palette(pictures: list[Picture], ground: tuple[int, int, int]) -> Image.Image:
    """The colours of a sample of pictures (the last two always among them), and the ground's."""
    sample = [*pictures[:: max(1, len(pictures) // _SAMPLE)], *pictures[-2:]]
    pixels = np.concatenate([_opaque(picture) for picture in sample])
    pixels = pixels[:: max(1, len(pixels) // _PIXELS)]
    found = Image.fromarray(pixels[None]).quantize(_GROUND, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(bytes(found).ljust(3 * _GROUND, b"\0") + bytes(ground))
    return palette


def _opaque(picture: Picture) -> UInt8[np.ndarray, "pixels 3"]:
    """The colours of all pixels that show any."""
    flat = picture.reshape(-1, picture.shape[-1])
    if flat.shape[1] == 4:
        flat = flat[flat[:, 3] >= 128] if (flat[:, 3] >= 128).any() else flat
    return flat[:, :3]


def _compressed(picture: Picture, kind: str, **how: int | bool) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, kind, **how)
    return buffer.getvalue()


class Apng:
    """Portable Network Graphics, Third Edition, section 11.3.6: all colours, and transparency."""

    def __init__(self, file: BinaryIO, canvas: Canvas) -> None:
        self._file, self._scale, self._count = file, canvas.scale, len(canvas.moments)
        self._before: Picture | None = None
        self._number = 0
        self._clock = _Clock(1)

    def add(self, picture: Picture, moment: Moment) -> None:
        box = changed(self._before, picture)
        patch = enlarged(picture[box], self._scale)
        x, y = _corner(box, self._scale)
        content = _compressed(patch, "PNG", compress_level=6)
        chunks = list(_png_chunks(content))
        if self._before is None:
            self._file.write(content[:8])
            self._chunk(b"IHDR", chunks[0][1])
            self._chunk(b"acTL", struct.pack(">II", self._count, 0))
        size = patch.shape[1], patch.shape[0]
        pause = min(65535, self._clock.ticks(moment.pause))
        self._chunk(b"fcTL", self._next() + struct.pack(">IIIIHHBB", *size, x, y, pause, 1000, 0, 0))
        for data in (data for kind, data in chunks if kind == b"IDAT"):
            if self._before is None:
                self._chunk(b"IDAT", data)
            else:
                self._chunk(b"fdAT", self._next() + data)
        self._before = picture

    def close(self) -> None:
        self._chunk(b"IEND", b"")

    def _next(self) -> bytes:
        self._number += 1
        return struct.pack(">I", self._number - 1)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


class WebP:
    """RFC 9649, sections 2.7.1.1 and 2.7.1.2: all colours, without loss, and transparency."""

    def __init__(self, file: BinaryIO, canvas: Canvas) -> None:
        self._file, self._canvas = file, canvas
        self._before: Picture | None = None
        self._clock = _Clock(1)

    def add(self, picture: Picture, moment: Moment) -> None:
        scale = self._canvas.scale
        if self._before is None:
            self._head(picture.shape[0] * scale, picture.shape[1] * scale)
        box = changed(self._before, picture)
        patch = enlarged(picture[box], scale)
        x, y = _corner(box, scale)
        still = _compressed(patch, "WEBP", lossless=True, method=1, quality=20)
        sizes = (x // 2, y // 2, patch.shape[1] - 1, patch.shape[0] - 1, self._clock.ticks(moment.pause))
        overwrite = b"\x02"
        self._chunk(b"ANMF", b"".join(map(_three, sizes)) + overwrite + still[12:])
        self._before = picture

    def close(self) -> None:
        size = self._file.tell() - 8
        self._file.seek(4)
        self._file.write(struct.pack("<I", size))

    def _head(self, height: int, width: int) -> None:
        flags = 0x12 if self._canvas.ground.transparent else 0x02
        self._file.write(b"RIFF\0\0\0\0WEBP")
        self._chunk(b"VP8X", struct.pack("<I", flags) + _three(width - 1) + _three(height - 1))
        self._chunk(b"ANIM", struct.pack("<IH", 0, 0))

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))


def _three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]
