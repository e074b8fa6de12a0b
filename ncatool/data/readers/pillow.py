"""Pictures that Pillow reads: PNG, JPEG, GIF, WebP, BMP and many more, in any of their modes, with all their frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError

from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster, turn_upright
from ncatool.data.readers.limits import MAX_PIXELS, check_pixels
from ncatool.data.window import hide_infinite
from ncatool.errors import NcatoolError

ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are a film, so that the middle one is shown; those of others are layers or thumbnails."""

MAX_REDUCED_PIXELS = 1_000_000_000
"""Largest number of pixels of a picture that is reduced as it is read."""

_ORIENTATION_TAG = 0x0112


def read_pillow(path: Path, part: Part) -> Raster:
    """Read one frame; a JPEG with too many pixels is reduced as it is read.

    Raises NcatoolError for a picture with too many pixels, and for a file that is none.
    """
    part.refuse_other(path, "pictures")
    try:
        with _open_image(path) as image:
            height, width = image.height, image.width
            is_reduced = _reduce(image)
            if not is_reduced:
                check_pixels(path, height, width)
            chosen, facts = _choose_frame(image, part, path)
            raster = convert_image(image, _read_depth(path), (height, width) if is_reduced else None)
    except UnidentifiedImageError:
        raise NcatoolError(
            f"{path} is not a picture that can be read", "give a PNG, JPEG, TIFF, DICOM, NIfTI, npy, video, ..."
        ) from None
    return dataclasses.replace(raster, part=chosen, facts=facts)


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """Open a picture while the block runs. Pillow's own limit does not hold: what is reduced may be larger."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _choose_frame(image: Image.Image, part: Part, path: Path) -> tuple[Part, dict[str, Any]]:
    """Move to the frame that is asked for, and return it and what the record says of it.

    By default it is the middle of a film, and the picture itself of formats with layers or thumbnails.
    """
    count = getattr(image, "n_frames", 1)
    if count == 1:
        part.choose_index(1, path, "frame")
        return Part(), {}
    if image.format not in ANIMATIONS and part.index is None:
        return Part(), {}
    frame = part.choose_index(count, path, "frame")
    image.seek(frame + getattr(image, "_min_frame", 0))  # the layers of PSD are counted from 1
    return Part(index=frame), {"frame": frame, "frames": count}


def _reduce(image: Image.Image) -> bool:
    """Let a picture with too many pixels come smaller from its file, where its format can; return whether it does."""
    count = image.width * image.height
    if not MAX_PIXELS < count <= MAX_REDUCED_PIXELS:
        return False
    factor = next((factor for factor in (2, 4) if count // factor**2 <= MAX_PIXELS), 8)
    return image.draft(None, (image.width // factor, image.height // factor)) is not None


def _read_depth(path: Path) -> int:
    """Return the bits of a sample in a PNG; 8 for any other file."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if head.startswith(b"\x89PNG\r\n") and len(head) == 26 else 8


def convert_image(image: Image.Image, depth: int = 8, full_shape: tuple[int, int] | None = None) -> Raster:
    """Return an image of any mode as grey values, where they are deeper than 8 bits, or as RGBA, both upright.

    `depth` is the number of bits of a sample in its file, in which a transparent grey or colour is given; `full_shape`
    are height and width of an image that is reduced.
    """
    image.load()  # which turns a TIFF by itself
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        key = image.info.get("transparency")
        raster = Raster(values, (values != key).astype(float) if isinstance(key, int) else hide_infinite(values))
    else:
        rgba = _apply_transparency(image, image.info.get("transparency"), depth)
        raster = Raster(np.asarray(rgba), has_palette=image.mode == "P")
    return turn_upright(dataclasses.replace(raster, full_shape=full_shape), _read_orientation(image))


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
