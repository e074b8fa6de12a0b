"""TODO."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from ncatool.nca.picture import Picture, enlarged
from ncatool.rendering.layout import Canvas
from ncatool.rendering.timeline import Moment
from ncatool.rendering.writer import _Clock, _compressed, _corner, changed


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
