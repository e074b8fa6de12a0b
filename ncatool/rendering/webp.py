"""The writer of WebP animations; it writes the chunks, and Pillow compresses the pixels."""

from __future__ import annotations

import struct
from typing import BinaryIO

from ncatool.nca.picture import Picture, enlarge
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment
from ncatool.rendering.writer import FrameClock, compress, find_changed_box, locate_corner


class WebP:
    """A lossless WebP file, with all colours and transparency.

    Source: RFC 9649, sections 2.7.1.1 and 2.7.1.2.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._before: Picture | None = None
        self._clock = FrameClock(1)

    def add(self, picture: Picture, moment: Moment) -> None:
        scale = self._layout.scale
        if self._before is None:
            self._write_header(picture.shape[0] * scale, picture.shape[1] * scale)
        box = find_changed_box(self._before, picture)
        patch = enlarge(picture[box], scale)
        x, y = locate_corner(box, scale)
        still = compress(patch, "WEBP", lossless=True, method=1, quality=20)
        sizes = (x // 2, y // 2, patch.shape[1] - 1, patch.shape[0] - 1, self._clock.count_ticks(moment.pause))
        flags = b"\x02"  # replace pixels instead of blending them with the last frame
        self._write_chunk(b"ANMF", b"".join(map(_pack_24_bits, sizes)) + flags + still[12:])
        self._before = picture

    def close(self) -> None:
        size = self._file.tell() - 8
        self._file.seek(4)
        self._file.write(struct.pack("<I", size))

    def _write_header(self, height: int, width: int) -> None:
        flags = 0x12 if self._layout.background.transparent else 0x02
        self._file.write(b"RIFF\0\0\0\0WEBP")
        self._write_chunk(b"VP8X", struct.pack("<I", flags) + _pack_24_bits(width - 1) + _pack_24_bits(height - 1))
        self._write_chunk(b"ANIM", struct.pack("<IH", 0, 0))

    def _write_chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))


def _pack_24_bits(number: int) -> bytes:
    return struct.pack("<I", number)[:3]
