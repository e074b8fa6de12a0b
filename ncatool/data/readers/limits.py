"""Limits on what is read from a file, which may be damaged or hostile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ncatool.errors import NcatoolError

MAX_FILE_PIXELS = 64_000_000
"""Largest number of pixels of a picture that is held in memory; a file with more may be a decompression bomb."""

MAX_VALUES = 2**30
"""Largest number of values of all slices of a volume."""


def check_pixels(path: Path, height: int, width: int) -> None:
    """Raise NcatoolError for a picture without pixels, or with too many, before memory is asked for."""
    if height < 1 or width < 1:
        raise NcatoolError(f"{path} has {width} × {height} pixels", "give a picture that shows something")
    if height * width > MAX_FILE_PIXELS:
        raise NcatoolError(
            f"{path} has {width} × {height} pixels, but {MAX_FILE_PIXELS:,} are the most", "scale it down first"
        )


def check_volume(path: Path, shape: Sequence[int]) -> None:
    """Raise NcatoolError for a volume of no or too many values."""
    if min(shape) < 1 or math.prod(map(int, shape)) > MAX_VALUES:
        text = " × ".join(map(str, shape))
        raise NcatoolError(f"{path} holds {text} values, but {MAX_VALUES:,} are the most", "give a smaller volume")
