"""Frames of videos, by imageio's plugin of PyAV (the extra `video`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster
from ncatool.data.readers.limits import check_pixels
from ncatool.errors import NcatoolError

VIDEO_INSTALL_HINT = "pip install 'ncatool[video]'"
MAX_FRAMES = 1_000_000
"""Most frames that are counted in a file that does not say how many it has."""


def read_video(path: Path, part: Part, may_reduce: bool = False) -> Raster:
    """Read one frame, by default the middle one. Raises NcatoolError where PyAV is not installed."""
    part.refuse_array(path)
    part.refuse_plane(path, "frames")
    try:
        import av  # noqa: F401
    except ImportError:
        raise NcatoolError(f"{path}: videos need the package av, which is not installed", VIDEO_INSTALL_HINT) from None
    import imageio.v3 as imageio

    with imageio.imopen(path, "r", plugin="pyav") as file:
        height, width = file.properties(index=0).shape[:2]
        check_pixels(path, height, width)
    count = _count_frames(path)
    frame = part.choose_index(count, path, "frame")
    with imageio.imopen(path, "r", plugin="pyav") as file:
        for number, values in enumerate(file.iter(format="rgb24")):
            if number == frame:
                return Raster(values, part=str(frame), facts={"frame": frame, "frames": count})
    raise NcatoolError(f"{path} ends before frame {frame}", "give an earlier frame, as FILE:FRAME")


def _count_frames(path: Path) -> int:
    """Return how many frames there are; where the file does not say it, by decoding all of them."""
    import imageio.v3 as imageio

    file: Any
    with imageio.imopen(path, "r", plugin="pyav") as file:
        count = int(file.properties(index=...).shape[0])
        if count > 0:
            return min(count, MAX_FRAMES)
        return sum(1 for _, _ in zip(file.iter(), range(MAX_FRAMES), strict=False))
