"""Masks: segmentations, label maps and black-and-white pictures, of any kind that a target may be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image

from ncatool.config.names import Window
from ncatool.data.file_spec import FileSpec
from ncatool.data.pixels import compute_luminance
from ncatool.data.raster import Raster
from ncatool.data.readers.registry import read_raster
from ncatool.data.window import convert_greys

MAX_LABELS = 32
"""Most levels of grey of a picture of labels; in one with more, they are greys."""


def read_mask(spec: FileSpec, picture: Raster | None = None) -> Bool[np.ndarray, "height width"]:
    """Read a mask: True inside.

    Outside is what is 0 in a segmentation, what is as dark as the darkest in a picture of few levels, and in any other
    what is darker than half. Of a mask of several slices, that of the `picture` is read. Raises what `read_raster`
    raises.
    """
    raster = read_raster(spec, picture)
    if raster.is_grey:
        inside = _find_inside(raster)
    else:
        rgb, alpha = raster.values[..., :3], raster.values[..., 3:]
        over_black = np.round(rgb * (alpha / 255)).astype(np.uint8) if alpha.size else rgb
        inside = _find_bright(compute_luminance(over_black), raster.has_palette)
    return inside if raster.opacity is None else inside & (raster.opacity > 0.5)


def scale_mask(inside: Bool[np.ndarray, "rows columns"], height: int, width: int) -> Float[np.ndarray, "height width"]:
    """Return which share of each cell of a grid is inside, from 0 to 1."""
    image = Image.fromarray(inside.astype(np.uint8) * np.uint8(255))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX)) / 255


def _find_inside(raster: Raster) -> Bool[np.ndarray, "height width"]:
    values = np.where(np.isfinite(raster.values), raster.values, raster.values.dtype.type(0))
    if raster.is_inverted and not raster.is_volume:
        values = values.max() - values.astype(np.int64 if values.dtype.kind in "bui" else np.float64)
    if values.dtype.kind in "bui" or bool(np.all(values == np.round(values))):
        if raster.is_volume:
            return values != 0
        whole = values if values.dtype.kind in "ui" else np.clip(values.astype(np.float64), -(2.0**62), 2.0**62)
        return _find_bright(whole.astype(np.int64) if whole.dtype.kind == "f" else whole)
    if values.min() >= 0 and values.max() <= 1:  # shares, such as probabilities
        return values > 0.5
    return _find_bright(convert_greys(raster, Window.AUTO.value)[0])


def _find_bright(
    values: Integer[np.ndarray, "height width"], is_labels: bool = False
) -> Bool[np.ndarray, "height width"]:
    levels = np.unique(values)
    if len(levels) == 1:
        return values > 0
    if is_labels or len(levels) <= MAX_LABELS:
        return values > levels[0]
    white = 255 if values.dtype == np.uint8 else levels[-1]
    return values > white / 2
