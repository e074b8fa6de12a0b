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
from ncatool.data.window import convert_colours, hide_infinite
from ncatool.errors import NcatoolError, shorten

WHITE_IS_ZERO, RGB, PALETTE, CMYK = 0, 2, 3, 5
"""Values of the tag PhotometricInterpretation."""
SEPARATE, UNSIGNED = 2, 1
"""Values of the tags PlanarConfiguration and SampleFormat."""
ASSOCIATED, UNASSOCIATED = 1, 2
"""Values of the tag ExtraSamples: alpha that the colours are multiplied by, and alpha that they are not."""
NOT_WHOLE = 1 | 4
"""Bits of the tag NewSubfileType of a reduced copy of another page, and of a mask."""
MAX_EXAMINED_PAGES = 64
"""Pages that are examined for previews and reduced copies."""
MAX_RESOLUTION_RATIO = 10
"""Largest ratio of the resolutions across and down; tags that say more are taken for mistakes."""


def read_tiff(path: Path, part: Part) -> Raster:
    """Read one page.

    Raises NcatoolError for a page with too many pixels, or whose compression no installed package can read.
    """
    import imageio.v3 as imageio

    part.refuse_other(path, "pages")
    file: Any
    with imageio.imopen(path, "r", plugin="tifffile") as file:
        count = int(file.properties(index=..., page=...).n_images)
        page = _choose_page(file, count, part, path)
        tags, shape = file.metadata(index=..., page=page), file.properties(index=..., page=page).shape
        samples = int(np.prod(shape, dtype=object)) // max(1, int(tags["ImageWidth"]) * int(tags["ImageLength"]))
        check_pixels(path, int(tags["ImageLength"]) * max(1, samples // 4), int(tags["ImageWidth"]))
        raster = _read_page(file, path, page, tags)
    if count == 1:
        return raster
    return dataclasses.replace(raster, is_volume=True, part=Part(index=page), facts={"page": page, "pages": count})


def _choose_page(file: Any, count: int, part: Part, path: Path) -> int:
    """Return the page that is asked for, by default the middle one; previews and reduced copies are passed over."""
    if part.index is None and not part.inherited_count:
        examined = range(min(count, MAX_EXAMINED_PAGES))
        whole = [i for i in examined if not int(file.metadata(index=..., page=i).get("NewSubfileType", 0)) & NOT_WHOLE]
        if 0 < len(whole) < len(examined):
            return whole[len(whole) // 2]
    return part.choose_index(count, path, "page")


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
    shown = next((error for error in errors if isinstance(error, ValueError)), errors[0]) if needs is None else needs
    raise NcatoolError(f"{path} cannot be read: {shorten(str(shown))[1:-1]}", hint)


def _convert(values: NDArray[Any], tags: Mapping[str, Any]) -> Raster:
    """Return a page as tifffile decodes it, [height, width], [height, width, samples] or [samples, height, width].

    Raises ValueError for a page that is no picture in grey, a palette, RGB or CMYK.
    """
    if values.ndim == 3 and tags.get("planar_configuration") == SEPARATE:
        values = np.moveaxis(values, 0, -1)
    values = np.abs(values) if values.dtype.kind == "c" else values
    photometric = int(tags["PhotometricInterpretation"])
    samples = values[..., None] if values.ndim == 2 else values
    colours, extra = {RGB: 3, CMYK: 4}.get(photometric, 1), np.atleast_1d(tags.get("ExtraSamples", ()))
    if samples.ndim != 3 or samples.shape[-1] != colours + len(extra) or len(extra) > 1:
        raise ValueError(f"a page of {list(values.shape)} is neither grey nor RGB nor CMYK, with alpha or without")
    opacity = hide_infinite(samples[..., :colours])
    if len(extra) and extra[0] in (ASSOCIATED, UNASSOCIATED):
        opacity = samples[..., -1] / _find_white(samples)
    is_grey = colours == 1 and photometric != PALETTE
    if is_grey:
        shown = samples[..., 0]
    elif photometric == PALETTE:
        shown = convert_colours(np.moveaxis(np.asarray(tags["ColorMap"]), 0, -1)[samples[..., 0]])
    else:
        shown = _convert_to_rgb(samples[..., :colours])
    if not is_grey and opacity is not None and len(extra) and extra[0] == ASSOCIATED:
        shown = np.round(np.clip(shown / np.maximum(opacity, 1e-9)[..., None], 0, 255)).astype(np.uint8)
    is_inverted = is_grey and photometric == WHITE_IS_ZERO
    raster = Raster(shown, opacity, _find_spacing(tags), is_inverted=is_inverted, has_palette=photometric == PALETTE)
    return turn_upright(raster, tags.get("Orientation", 1))


def _find_white(samples: NDArray[Any]) -> float:
    return float(np.iinfo(samples.dtype).max) if samples.dtype.kind in "ui" else 1.0


def _convert_to_rgb(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Return RGB or CMYK in RGB of 8 bits, the latter as Pillow does it: each ink takes its share of the light."""
    if colours.shape[-1] == 3:
        return convert_colours(colours)
    ink = convert_colours(colours).astype(np.float64) / 255
    return np.round(255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])).astype(np.uint8)


def _find_spacing(tags: Mapping[str, Any]) -> tuple[float, float]:
    """Return the height and width of a pixel, by the resolutions in pixels a unit; 1 and 1 where they make no sense."""
    try:
        across, down = tags["XResolution"], tags["YResolution"]
        width = down[0] * across[1] / (down[1] * across[0])
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return 1.0, 1.0
    return (1.0, width) if 1 / MAX_RESOLUTION_RATIO <= width <= MAX_RESOLUTION_RATIO else (1.0, 1.0)


def _read_by_pillow(path: Path, page: int, tags: Mapping[str, Any]) -> Raster:
    with path.open("rb") as stream, Image.open(stream) as image:  # by name, Pillow maps turned pages wrongly
        image.seek(page)
        raster = convert_image(image)
    is_inverted = raster.is_grey and int(tags["PhotometricInterpretation"]) == WHITE_IS_ZERO
    height, width = _find_spacing(tags)
    is_turned = tags.get("Orientation", 1) in (5, 6, 7, 8)  # Pillow has turned the pixels
    return dataclasses.replace(
        raster, spacing=(width, height) if is_turned else (height, width), is_inverted=is_inverted
    )
