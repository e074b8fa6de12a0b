"""MP4 and WebM, by the FFmpeg in PyAV (the extra `video`)."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ncatool.errors import NcatoolError, UsageError
from ncatool.nca.picture import Picture, enlarge
from ncatool.rendering.layout import Layout
from ncatool.rendering.timeline import Moment

if TYPE_CHECKING:
    from av import VideoStream

INSTALL_HINT = "pip install 'ncatool[video]'"


def check_available() -> None:
    """Raises NcatoolError where the extra is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise NcatoolError("videos need the package av, which is not installed", INSTALL_HINT) from None


class _Video:
    """Frames at a constant rate: one that stays longer is repeated, which costs next to nothing."""

    container: str
    codec: str
    options: dict[str, str]

    def __init__(self, file: BinaryIO, canvas: Layout) -> None:
        check_available()
        import av

        if canvas.background.transparent:
            raise UsageError(
                f"a .{self.container} is not transparent", "choose .webp, .apng or .gif, or another background"
            )
        self._canvas = canvas
        self._container = av.open(file, "w", format=self.container)
        self._rate = Fraction(canvas.settings.fps).limit_denominator(1000)
        self._stream: VideoStream | None = None
        self._shown, self._due = 0, 0.0

    def add(self, picture: Picture, moment: Moment) -> None:
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(_pad_to_even(enlarge(picture, self._canvas.scale)), format="rgb24")
        if self._stream is None:
            self._stream = self._open_stream(frame.width, frame.height)
        self._due += moment.pause / 1000 * self._rate
        while self._shown < round(self._due):
            frame.pts, frame.time_base = self._shown, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self._shown += 1

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _open_stream(self, width: int, height: int) -> VideoStream:
        stream: Any = self._container.add_stream(self.codec, rate=self._rate, options=self.options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        return stream


class Mp4(_Video):
    """H.264."""

    container, codec = "mp4", "libx264"
    options = {"crf": "18", "preset": "fast"}  # noqa: RUF012 - never changed


class WebM(_Video):
    """VP9."""

    container, codec = "webm", "libvpx-vp9"
    options = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}  # noqa: RUF012 - never changed


def _pad_to_even(picture: Picture) -> Picture:
    """Colours are stored for two pixels a side together: the last row and column are repeated where one is missing."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
