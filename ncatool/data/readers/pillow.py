"""Pictures that Pillow reads: PNG, JPEG, GIF, WebP, BMP and many more, in any of their modes, with all their frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError

from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster, turn_upright
from ncatool.data.readers.limits import MAX_FILE_PIXELS, check_pixels
from ncatool.data.window import find_finite
from ncatool.errors import NcatoolError

ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are a film, so that the middle one is shown; those of others are layers or thumbnails."""

MAX_REDUCED_PIXELS = 1_000_000_000
"""Largest number of pixels of a picture that is reduced as it is read."""

_ORIENTATION_TAG = 0x0112


def read_pillow(path: Path, part: Part, may_reduce: bool = False) -> Raster:
    """Read one frame; a JPEG with too many pixels is reduced as it is read, where it may be.

    Raises NcatoolError for a picture with too many pixels, and for a file that is none.
    """
    part.refuse_array(path)
    part.refuse_plane(path, "pictures")
    try:
        with _open(path) as image:
            text, facts = _choose_frame(image, part, path)
            if may_reduce:
                _reduce(image)
            check_pixels(path, image.height, image.width)
            raster = convert_image(image, _read_depth(path))
    except UnidentifiedImageError:
        raise NcatoolError(
            f"{path} is not a picture that can be read", "give a PNG, JPEG, TIFF, DICOM, NIfTI, npy, video, ..."
        ) from None
    return dataclasses.replace(raster, part=text, facts=facts)


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Open a picture while the block runs. Pillow's own limit does not hold: what is reduced may be larger."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _choose_frame(image: Image.Image, part: Part, path: Path) -> tuple[str, dict[str, Any]]:
    """Move to the frame that is asked for, and return its text and what the record says of it."""
    count = getattr(image, "n_frames", 1)
    if count == 1:
        part.choose_index(1, path, "frame")
        return "", {}
    middle = image.format in ANIMATIONS or part.index is not None
    frame = part.choose_index(count, path, "frame") if middle else 0
    image.seek(frame)
    return str(frame), {"frame": frame, "frames": count}


def _reduce(image: Image.Image) -> None:
    """Let a picture with too many pixels come smaller from its file, where its format can."""
    if not MAX_FILE_PIXELS < image.width * image.height <= MAX_REDUCED_PIXELS:
        return
    factor = math.ceil(math.sqrt(image.width * image.height / MAX_FILE_PIXELS))
    image.draft(None, (image.width // factor, image.height // factor))


def _read_depth(path: Path) -> int:
    """Return the bits of a sample in a PNG; 8 for any other file."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if head.startswith(b"\x89PNG\r\n") and len(head) == 26 else 8


def convert_image(image: Image.Image, depth: int = 8) -> Raster:
    """Return an image of any mode as grey values, where they are deeper than 8 bits, or as RGBA, both upright.

    `depth` is the number of bits of a sample in its file, in which a transparent grey or colour is given.
    """
    image.load()  # which turns a TIFF by itself
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        key, finite = image.info.get("transparency"), find_finite(values)
        raster = Raster(values, values != key if isinstance(key, int) else finite)
    else:
        raster = Raster(np.asarray(_apply_transparency(image, image.info.get("transparency"), depth)))
    return turn_upright(raster, _read_orientation(image))


def _read_orientation(image: Image.Image) -> Any:
    """Return EXIF's tag `Orientation`; None where EXIF has none, or is damaged: the picture is as good without."""
    try:
        return image.getexif().get(_ORIENTATION_TAG)
    except Exception:
        return None


def _apply_transparency(image: Image.Image, key: Any, depth: int) -> Image.Image:
    """Convert to RGBA, the transparent grey or colour of a PNG at its own depth included, which Pillow takes for 8."""
    rgba = image.convert("RGBA")
    if image.mode == "L" and isinstance(key, int) and depth in (2, 4):
        opaque = np.asarray(image) != key * (255 // (2**depth - 1))
    elif image.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        opaque = (np.asarray(image) != [value >> 8 for value in key]).any(axis=-1)
    else:
        return rgba
    rgba.putalpha(_make_mask(opaque))
    return rgba


def _make_mask(opaque: Bool[np.ndarray, "height width"]) -> Image.Image:
    return Image.fromarray(np.where(opaque, np.uint8(255), np.uint8(0)))
