"""Frames of videos, by imageio's plugin of PyAV (the extra `video`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster
from ncatool.data.readers.limits import MAX_FILM_FRAMES, check_pixels, import_package
from ncatool.errors import NcatoolError


def read_video(path: Path, part: Part) -> Raster:
    """Read one frame, by default the middle one. Raises NcatoolError where PyAV is not installed."""
    part.refuse_other(path, "frames")
    import_package("av", "video", path)
    import imageio.v3 as imageio

    try:
        with imageio.imopen(path, "r", plugin="pyav") as file:
            height, width = file.properties(index=0).shape[:2]
    except OSError:  # it names only the plugin
        raise NcatoolError(f"{path} is not a video that can be read", "give a whole file") from None
    check_pixels(path, height, width)
    count = _count_frames(path)
    frame = part.choose_index(count, path, "frame")
    turns, aspect = _read_layout(path)
    with imageio.imopen(path, "r", plugin="pyav") as file:
        for number, values in enumerate(file.iter(format="rgb24")):
            if number == frame:
                spacing = (aspect, 1.0) if turns % 2 else (1.0, aspect)
                facts = {"frame": frame, "frames": count}
                return Raster(np.rot90(values, turns).copy(), spacing=spacing, part=Part(index=frame), facts=facts)
    raise NcatoolError(f"{path} ends before frame {frame}", "give an earlier frame, as FILE:FRAME")


def _read_layout(path: Path) -> tuple[int, float]:
    """Return how many quarters counter-clockwise frames are to be turned, and the width of a pixel over its height."""
    import av

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frame = next(file.decode(stream))
        return round(frame.rotation / 90), float(stream.sample_aspect_ratio or 1)


def _count_frames(path: Path) -> int:
    """Return how many frames there are; where the file does not say it, by decoding all of them."""
    import imageio.v3 as imageio

    file: Any
    with imageio.imopen(path, "r", plugin="pyav") as file:
        count = int(file.properties(index=...).shape[0])
        if count > 0:
            return min(count, MAX_FILM_FRAMES)
        return sum(1 for _, _ in zip(file.iter(), range(MAX_FILM_FRAMES), strict=False))
