"""TIFF files of any depth, with all their pages: 8-bit ones by Pillow, deeper ones by imageio's plugin of tifffile.

Each reads what the other has no codec for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ncatool.data.file_spec import Part
from ncatool.data.raster import Raster, turn_upright
from ncatool.data.readers.limits import check_pixels
from ncatool.data.readers.pillow import convert_image
from ncatool.data.window import convert_colours, find_finite
from ncatool.errors import NcatoolError, shorten

WHITE_IS_ZERO, PALETTE, SEPARATE, UNSIGNED = 0, 3, 2, 1
"""Values of the tags PhotometricInterpretation, PlanarConfiguration, and SampleFormat."""


def read_tiff(path: Path, part: Part, may_reduce: bool = False) -> Raster:
    """Read one page.

    Raises NcatoolError for a page with too many pixels, or whose compression no installed package can read.
    """
    import imageio.v3 as imageio

    part.refuse_array(path)
    part.refuse_plane(path, "pages")
    file: Any
    with imageio.imopen(path, "r", plugin="tifffile") as file:
        count = int(file.properties(index=..., page=...).n_images)
        page = part.choose_index(count, path, "page")
        tags, shape = file.metadata(index=..., page=page), file.properties(index=..., page=page).shape
        samples = int(np.prod(shape, dtype=object)) // max(1, int(tags["ImageWidth"]) * int(tags["ImageLength"]))
        check_pixels(path, int(tags["ImageLength"]) * max(1, samples // 4), int(tags["ImageWidth"]))
        raster = _read_page(file, path, page, tags)
    if count == 1:
        return raster
    return dataclasses.replace(raster, is_volume=True, part=str(page), facts={"slice": page, "slices": count})


def _read_page(file: Any, path: Path, page: int, tags: Mapping[str, Any]) -> Raster:
    """Return a page as the first of both readers decodes it that can."""
    readers: list[Callable[[], Raster]] = [
        lambda: _read_by_pillow(path, page, tags),
        lambda: _convert(file.read(index=..., page=page), tags),
    ]
    errors = []
    is_plain = np.max(tags.get("BitsPerSample", 1)) <= 8 and np.max(tags.get("SampleFormat", UNSIGNED)) == UNSIGNED
    for read in readers if is_plain else readers[::-1]:
        try:
            return read()
        except Exception as error:  # a codec is missing, or the page is damaged
            errors.append(error)
    needs = next((error for error in errors if "imagecodecs" in str(error)), None)
    hint = "give a whole TIFF file" if needs is None else "pip install imagecodecs"
    raise NcatoolError(f"{path} cannot be read: {shorten(str(needs or errors[0]))}", hint)


def _convert(values: NDArray[Any], tags: Mapping[str, Any]) -> Raster:
    """Return a page as tifffile decodes it, [height, width], [height, width, samples] or [samples, height, width]."""
    values = np.squeeze(values)
    if values.ndim == 3 and tags.get("planar_configuration") == SEPARATE:
        values = np.moveaxis(values, 0, -1)
    photometric = int(tags["PhotometricInterpretation"])
    if photometric == PALETTE:
        values = np.moveaxis(np.asarray(tags["ColorMap"]), 0, -1)[values]
    if values.ndim == 3 and values.shape[-1] not in (3, 4):
        values = values[..., 0]  # grey with alpha or other samples
    if values.ndim not in (2, 3):
        raise ValueError(f"a page of shape {list(values.shape)}")
    finite, spacing = find_finite(values), _find_spacing(tags)
    if values.ndim == 3:
        raster = Raster(convert_colours(values), finite, spacing)
    else:
        raster = Raster(values, finite, spacing, is_inverted=photometric == WHITE_IS_ZERO)
    return turn_upright(raster, tags.get("Orientation", 1))


def _find_spacing(tags: Mapping[str, Any]) -> tuple[float, float]:
    """Return the height and width of a pixel from the resolutions, which count pixels a unit."""
    try:
        across, down = tags["XResolution"], tags["YResolution"]
        return 1.0, down[0] * across[1] / (down[1] * across[0])
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return 1.0, 1.0


def _read_by_pillow(path: Path, page: int, tags: Mapping[str, Any]) -> Raster:
    with Image.open(path) as image:
        image.seek(page)
        raster = convert_image(image)
    is_inverted = raster.is_grey and int(tags["PhotometricInterpretation"]) == WHITE_IS_ZERO
    return dataclasses.replace(raster, spacing=_find_spacing(tags), is_inverted=is_inverted)
