"""MP4 and WebM, by the FFmpeg in PyAV (the extra `video`)."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ncatool.errors import NcatoolError, UsageError
from ncatool.nca.picture import Picture, enlarged
from ncatool.rendering.layout import Canvas
from ncatool.rendering.timeline import Moment

if TYPE_CHECKING:
    from av import VideoStream

MISSING = "pip install 'ncatool[video]'"


def check() -> None:
    """Raises NcatoolError where the extra is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise NcatoolError("videos need the package av, which is not installed", MISSING) from None


class _Video:
    """Frames at a constant rate: one that stays longer is repeated, which costs next to nothing."""

    form: str
    codec: str
    options: dict[str, str]

    def __init__(self, file: BinaryIO, canvas: Canvas) -> None:
        check()
        import av

        if canvas.ground.transparent:
            raise UsageError(f"a .{self.form} is not transparent", "choose .webp, .apng or .gif, or another background")
        self._canvas = canvas
        self._container = av.open(file, "w", format=self.form)
        self._rate = Fraction(canvas.how.fps).limit_denominator(1000)
        self._stream: VideoStream | None = None
        self._shown, self._due = 0, 0.0

    def add(self, picture: Picture, moment: Moment) -> None:
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(_even(enlarged(picture, self._canvas.scale)), format="rgb24")
        if self._stream is None:
            self._stream = self._begin(frame.width, frame.height)
        self._due += moment.pause / 1000 * self._rate
        while self._shown < round(self._due):
            frame.pts, frame.time_base = self._shown, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self._shown += 1

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _begin(self, width: int, height: int) -> VideoStream:
        stream: Any = self._container.add_stream(self.codec, rate=self._rate, options=self.options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        return stream


class Mp4(_Video):
    """H.264."""

    form, codec = "mp4", "libx264"
    options = {"crf": "18", "preset": "fast"}  # noqa: RUF012 - never changed


class WebM(_Video):
    """VP9."""

    form, codec = "webm", "libvpx-vp9"
    options = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}  # noqa: RUF012 - never changed


def _even(picture: Picture) -> Picture:
    """Colours are stored for two pixels a side together: the last row and column are repeated where one is missing."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
