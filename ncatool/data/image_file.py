"""Reading of image files in any mode that Pillow knows, with limits against hostile files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ncatool.data.pixels import Pixels, fit_size
from ncatool.data.sources import describe_missing
from ncatool.errors import NcatoolError, UsageError

MAX_FILE_PIXELS = 64_000_000
"""Largest number of pixels of an image file; a larger one may be a decompression bomb."""


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file while the block runs; Pillow's and numpy's warnings of its content are not printed.

    Raises NcatoolError for one with too many pixels.
    """
    with warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(path) as image:
                _check_pixels(path, image)
                yield image
        except Image.DecompressionBombError:
            raise NcatoolError(f"{path} has more than {MAX_FILE_PIXELS:,} pixels", "scale it down first") from None


def _check_pixels(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_FILE_PIXELS:
        raise NcatoolError(
            f"{path} has {image.width} × {image.height} pixels, but {MAX_FILE_PIXELS:,} are the most",
            "scale it down first",
        )


def convert_to_rgba(image: Image.Image) -> Image.Image:
    """Convert any mode to RGBA; greys of 16 or 32 bits are scaled to 8 bits, where Pillow would clip them."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64))
        white = 65535 if image.mode != "F" or grey.max(initial=0) > 255 else 255
        image = Image.fromarray(np.clip(np.round(grey * (255 / white)), 0, 255).astype(np.uint8))
    return image.convert("RGBA")


def convert_array(values: NDArray[Any]) -> Image.Image:
    """Return an array as an image; UsageError for one of another shape or type than `convert_picture` takes."""
    if (
        values.dtype.kind == "f"
        and np.isfinite(values).all()
        and values.min(initial=0) >= 0
        and values.max(initial=0) <= 1
    ):
        values = np.round(values * 255).astype(np.uint8)
    if values.dtype != np.uint8 or values.shape[2:] not in ((), (3,), (4,)) or values.ndim < 2 or not values.size:
        raise UsageError(
            f"the target is an array of {values.dtype} {list(values.shape)}",
            "give uint8, or floats from 0 to 1, of the shape [height, width], [height, width, 3] or [height, width, 4]",
        )
    return Image.fromarray(values)


def read_image(path: Path, size: int) -> Pixels:
    """Read an image and scale it so that its longer side is `size` pixels; the aspect ratio is kept.

    Raises UsageError where there is no such file, and NcatoolError where it is empty, not an image, damaged, too
    large, or transparent everywhere.
    """
    hint = "give --target a whole image file (PNG, JPEG, GIF, TIFF, ...)"
    try:
        if path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", hint)
        with open_image(path) as image:
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(fit_size(convert_to_rgba(upright), size))
    except FileNotFoundError:
        raise describe_missing(str(path)) from None
    except UnidentifiedImageError:
        raise NcatoolError(f"{path} is not an image that can be read", hint) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise NcatoolError(f"{path} cannot be read: {error}", hint) from None
    if not pixels[..., 3].any():
        raise NcatoolError(f"{path} is transparent everywhere: nothing can grow", "give a picture that shows something")
    return pixels
