"""The writers of MP4 and WebM videos, which use FFmpeg through PyAV (the extra `video`)."""

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

VIDEO_INSTALL_HINT = "pip install 'ncatool[video]'"


def check_available() -> None:
    """Raise NcatoolError where PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise NcatoolError("videos need the package av, which is not installed", VIDEO_INSTALL_HINT) from None


class _Video:
    """A video with a constant frame rate: a frame that stays longer is repeated, which adds few bytes."""

    container: str
    codec: str
    options: dict[str, str]

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        check_available()
        import av

        if layout.background.transparent:
            raise UsageError(
                f"a .{self.container} is not transparent", "choose .webp, .apng or .gif, or another background"
            )
        self._layout = layout
        self._container = av.open(file, "w", format=self.container)
        self._rate = Fraction(layout.settings.fps).limit_denominator(1000)
        self._stream: VideoStream | None = None
        self._frame_count, self._due_count = 0, 0.0

    def add(self, picture: Picture, moment: Moment) -> None:
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(_pad_to_even(enlarge(picture, self._layout.scale)), format="rgb24")
        if self._stream is None:
            self._stream = self._open_stream(frame.width, frame.height)
        self._due_count += moment.pause / 1000 * self._rate
        while self._frame_count < round(self._due_count):
            frame.pts, frame.time_base = self._frame_count, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self._frame_count += 1

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def _open_stream(self, width: int, height: int) -> VideoStream:
        stream: Any = self._container.add_stream(self.codec, rate=self._rate, options=self.options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        return stream


class Mp4(_Video):
    """An MP4 file with H.264 video."""

    container, codec = "mp4", "libx264"
    options = {"crf": "18", "preset": "fast"}  # noqa: RUF012 - never changed


class WebM(_Video):
    """A WebM file with VP9 video."""

    container, codec = "webm", "libvpx-vp9"
    options = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}  # noqa: RUF012 - never changed


def _pad_to_even(picture: Picture) -> Picture:
    """Repeat the last row or column of an odd side: yuv420p stores the colour of 2 × 2 pixels together."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
