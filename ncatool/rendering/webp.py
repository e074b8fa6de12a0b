"""TODO."""

from __future__ import annotations

import struct
from typing import BinaryIO

from ncatool.nca.picture import Picture, enlarged
from ncatool.rendering.layout import Canvas
from ncatool.rendering.timeline import Moment
from ncatool.rendering.writer import _Clock, _compressed, _corner, changed


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
