"""Limits on what is read from a file, which may be damaged or hostile, and the packages that some files need."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncatool.errors import NcatoolError

MAX_PIXELS = 64_000_000
"""Largest number of pixels of a picture that is held in memory; a file with more may be a decompression bomb."""
MAX_VOLUME_VALUES = 2**30
"""Largest number of values of all slices of a volume."""
MAX_BYTES = 2**30
"""Largest part of an archive, which is read as a whole."""
MAX_FRAMES = 10_000
"""Most pictures of a DICOM file, and of a series."""
MAX_FILM_FRAMES = 1_000_000
"""Most frames that are counted in a film that does not say how many it has."""


def check_pixels(path: Path, height: int, width: int) -> None:
    """Raise NcatoolError for a picture without pixels, or with too many, before memory is asked for."""
    if height < 1 or width < 1:
        raise NcatoolError(f"{path} has {width} × {height} pixels", "give a picture that shows something")
    if height * width > MAX_PIXELS:
        raise NcatoolError(
            f"{path} has {width} × {height} pixels, but {MAX_PIXELS:,} are the most", "scale it down first"
        )


def check_volume(path: Path, shape: Sequence[int]) -> None:
    """Raise NcatoolError for a volume of no or too many values."""
    if min(shape) < 1 or math.prod(map(int, shape)) > MAX_VOLUME_VALUES:
        text = " × ".join(map(str, shape))
        raise NcatoolError(f"{path} holds {text} values, but {MAX_VOLUME_VALUES:,} are the most", "give a smaller one")


def import_package(name: str, extra: str, path: Path) -> Any:
    """Return an optional package; NcatoolError, with the command that installs it, where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NcatoolError(
            f"{path} needs the package {name}, which is not installed", f"pip install 'ncatool[{extra}]'"
        ) from None
