"""The writer of APNG animations; it writes the chunks, and Pillow compresses the pixels."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from ncatool.nca.picture import Picture, enlarge
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment
from ncatool.rendering.writer import FrameClock, compress, find_changed_box, locate_corner


class Apng:
    """An APNG file, with all colours and transparency.

    Source: Portable Network Graphics (PNG) Specification, Third Edition, section 11.3.6.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._scale, self._count = file, layout.scale, len(layout.moments)
        self._before: Picture | None = None
        self._sequence_number = 0
        self._clock = FrameClock(1)

    def add(self, picture: Picture, moment: Moment) -> None:
        box = find_changed_box(self._before, picture)
        patch = enlarge(picture[box], self._scale)
        x, y = locate_corner(box, self._scale)
        content = compress(patch, "PNG", compress_level=6)
        chunks = list(_split_chunks(content))
        if self._before is None:
            self._file.write(content[:8])
            self._write_chunk(b"IHDR", chunks[0][1])
            self._write_chunk(b"acTL", struct.pack(">II", self._count, 0))
        size = patch.shape[1], patch.shape[0]
        milliseconds = min(65535, self._clock.count_ticks(moment.pause))
        control = struct.pack(">IIIIHHBB", *size, x, y, milliseconds, 1000, 0, 0)
        self._write_chunk(b"fcTL", self._take_sequence_number() + control)
        for data in (data for kind, data in chunks if kind == b"IDAT"):
            if self._before is None:
                self._write_chunk(b"IDAT", data)
            else:
                self._write_chunk(b"fdAT", self._take_sequence_number() + data)
        self._before = picture

    def close(self) -> None:
        self._write_chunk(b"IEND", b"")

    def _take_sequence_number(self) -> bytes:
        self._sequence_number += 1
        return struct.pack(">I", self._sequence_number - 1)

    def _write_chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _split_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and data of each chunk of a PNG file."""
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks
